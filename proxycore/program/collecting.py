"""The garbage collector of a process that serves: it leaves alone what lives as long as the process, and runs rarely.

What the core makes is freed as it ends, without the collector (`tests/playbooks/test_garbage.py`). All that the
collector does by default is to look at live objects again and again: each 700 that are made beyond those that were
freed, as when a crowd connects, and now and then at all there are, which stops every exchange for 20 ms. It is kept
for what users' filters leave behind. The program decides that, never the library: an embedder's process is their own.
"""

from __future__ import annotations

import gc

OBJECTS = 5_000
"""Made beyond those that were freed before the youngest are looked at: more than a full wake-up's accepts make."""


def spare_what_stays() -> None:
    """Everything is loaded: collect once, and look at nothing of what is there now again. Again after a reload."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS, *gc.get_threshold()[1:])

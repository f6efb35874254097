"""How many files the process may have open: each connection, of a client or to a server, is one."""

from __future__ import annotations

import contextlib
import resource


def allow_many() -> None:
    """Raise the limit as far as the system lets us.

    The one that a process begins with, often 1,024, is low for the sake of programs that use `select`. We don't, and
    it would be reached by five hundred clients.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS says "unlimited" and takes less
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

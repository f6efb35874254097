"""Descriptors kept aside for the hour when the process has none left."""

from __future__ import annotations

import contextlib
import os

SIZE = 8
"""Enough for those who were let in to have their upstream dialled, a log reopened, a name looked up."""


class Reserve:
    """Some descriptors held for nothing but their number: `release` frees them, `refill` takes them again.

    Accepting stops when the process runs out of descriptors. Without a reserve there would then be none
    for what the clients already accepted need.
    """

    __slots__ = ("_fds", "_source")

    def __init__(self, source: int) -> None:
        self._source = source
        self._fds: list[int] = []
        self.refill()

    def refill(self) -> None:
        """Take what is missing, as far as there are descriptors."""
        with contextlib.suppress(OSError):
            while len(self._fds) < SIZE:
                self._fds.append(os.dup(self._source))

    def release(self) -> None:
        """Free them all; releasing twice is no error."""
        while self._fds:
            os.close(self._fds.pop())

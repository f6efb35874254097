"""TLS handshakes of clients, of which only `limits.handshakes` are under way at once.

A handshake costs a hundred times what a small request does, and holds memory before anyone is known.
Those above the limit wait in the order in which they came, unread, while their own clock runs: refusing
would turn away everyone else's clients for the sake of those who flood (HAProxy waits too).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol


class Candidate(Protocol):
    """A connection that wants to shake hands."""

    def shake_hands(self) -> None:
        """There is a place: begin. It tells `Handshakes.ended` once it is done."""


class Handshakes:
    """Who shakes hands, and who waits. `under_way` counts the former."""

    __slots__ = ("_is_serving", "_waiting", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self._waiting: OrderedDict[int, Candidate] = OrderedDict()
        self._is_serving = False

    def begin(self, candidate: Candidate, limit: int) -> bool:
        """Take a place. False: there is none, and `candidate` is told when there is, unless it leaves."""
        if self.under_way >= limit:
            self._waiting[id(candidate)] = candidate
            return False
        self.under_way += 1
        return True

    def leave(self, candidate: Candidate) -> None:
        """Wait no more."""
        del self._waiting[id(candidate)]

    def ended(self, limit: int) -> None:
        """One that had a place is done, well or not: the next may begin."""
        self.under_way -= 1
        if self._is_serving:
            return  # the loop below goes on: one that fails at once takes no more stack than one that doesn't
        self._is_serving = True
        try:
            while self._waiting and self.under_way < limit:
                _, candidate = self._waiting.popitem(last=False)
                self.under_way += 1
                candidate.shake_hands()
        finally:
            self._is_serving = False

    def __repr__(self) -> str:
        return f"Handshakes(under_way={self.under_way}, waiting={len(self._waiting)})"

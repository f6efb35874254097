"""Which of many things to keep, in a bounded number of bytes: S3-FIFO (Yang and others, SOSP 2023).

Theory of operation. Most things in a cache are used once, so a scan of them must not drive out what is used again.
What is new stands in a small queue, a tenth of the room. When room is needed, the oldest there moves to the main
queue if it was used meanwhile, and is dropped otherwise; its fingerprint is remembered among ghosts, and if it comes
back soon it goes to the main queue at once. The main queue is a clock: the oldest that was used goes round again
with one use less, the oldest that wasn't is dropped. A use only counts up to three in a byte-sized attribute, so a
hit moves nothing. Beside LRU it hits more on every trace with a skew, and costs less.

Costs are bytes, fingerprints of ghosts among them: `used` never exceeds `capacity`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, Generic, Protocol, TypeVar

_USES_MAX: Final = 3

_SMALL_SHARE: Final = 10
"""The small queue is one part in so many."""

GHOST_COST: Final = 160
"""Bytes that a fingerprint of 16 bytes takes in an ordered dict."""


class Member(Protocol):
    """What is kept. `cost` is in bytes and doesn't change while it is kept; set `uses` to 0 when it is made."""

    fingerprint: bytes
    cost: int
    uses: int


M = TypeVar("M", bound=Member)


class S3Fifo(Generic[M]):
    """See the module's docstring. `dropped` is told of each member that must go; it is kept no more by then."""

    __slots__ = ("_dropped", "_ghosts", "_main", "_main_cost", "_reserved", "_small", "_small_cost", "capacity")

    def __init__(self, capacity: int, dropped: Callable[[M], object]) -> None:
        self.capacity = capacity
        self._dropped = dropped
        self._small: OrderedDict[bytes, M] = OrderedDict()
        self._main: OrderedDict[bytes, M] = OrderedDict()
        self._ghosts: OrderedDict[bytes, None] = OrderedDict()
        self._small_cost = self._main_cost = self._reserved = 0

    @property
    def used(self) -> int:
        """Bytes of all members, ghosts, and of what is reserved."""
        return self._small_cost + self._main_cost + self._reserved + len(self._ghosts) * GHOST_COST

    @property
    def reserved(self) -> int:
        return self._reserved

    def add(self, member: M) -> bool:
        """Keep a member, in the place of one with its fingerprint. False: it is too large for what may be dropped."""
        self.remove(member.fingerprint)
        if member.cost + self._reserved > self.capacity:
            return False
        returns = self._ghosts.pop(member.fingerprint, member) is None
        self._make_room(member.cost)
        if returns:
            self._main[member.fingerprint] = member
            self._main_cost += member.cost
        else:
            self._small[member.fingerprint] = member
            self._small_cost += member.cost
        return True

    def remove(self, fingerprint: bytes) -> M | None:
        """Keep no more what has this fingerprint; `dropped` isn't told, the member is returned."""
        member = self._small.pop(fingerprint, None)
        if member is not None:
            self._small_cost -= member.cost
            return member
        member = self._main.pop(fingerprint, None)
        if member is not None:
            self._main_cost -= member.cost
        return member

    def reserve(self, cost: int) -> bool:
        """Keep room for something that is still coming. False: there isn't as much. `release` gives it back."""
        if self._reserved + cost > self.capacity:
            return False
        self._make_room(cost)
        self._reserved += cost
        return True

    def release(self, cost: int) -> None:
        self._reserved -= cost

    def resize(self, capacity: int) -> None:
        """Another capacity, from a reload. What no longer fits is dropped."""
        self.capacity = capacity
        self._make_room(0)

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    def __iter__(self) -> Iterator[M]:
        yield from self._small.values()
        yield from self._main.values()

    def _make_room(self, cost: int) -> None:
        while self.used + cost > self.capacity and (self._small or self._main):
            if self._small and (self._small_cost * _SMALL_SHARE > self.capacity or not self._main):
                self._shrink_small()
            else:
                self._shrink_main()
        while self._ghosts and self.used + cost > self.capacity:
            self._ghosts.popitem(last=False)

    def _shrink_small(self) -> None:
        """Drop the oldest of the small queue, or move it to the main one if it was used."""
        fingerprint, member = self._small.popitem(last=False)
        self._small_cost -= member.cost
        if member.uses:
            member.uses = 0
            self._main[fingerprint] = member
            self._main_cost += member.cost
            return
        self._ghosts[fingerprint] = None
        # As many ghosts as the main queue has members: a longer memory has nothing to compare with.
        while len(self._ghosts) > len(self._main) + 1:
            self._ghosts.popitem(last=False)
        self._dropped(member)

    def _shrink_main(self) -> None:
        """Drop the oldest of the main queue that wasn't used; each that was used goes round once more."""
        while True:
            fingerprint, member = self._main.popitem(last=False)
            if not member.uses:
                break
            member.uses -= 1
            self._main[fingerprint] = member
        self._main_cost -= member.cost
        self._dropped(member)

    def __repr__(self) -> str:
        return f"S3Fifo({self.used}/{self.capacity} bytes, small={len(self._small)}, main={len(self._main)})"


def used(member: Member) -> None:
    """Count a use."""
    if member.uses < _USES_MAX:
        member.uses += 1

"""Every deadline of the core, in one queue that is cheap to touch.

Theory of operation. A proxy moves deadlines all the time (each read, each request) and almost never
meets one. So a heap that takes an entry for each move fills with dead ones: 30,006 were counted
after 10,000 exchanges. Here each `Timer` has at most one live entry, and `set` to a later time
only stores an attribute:

    timer.at       what the owner asked for, inf when off
    timer._wake    the time of the timer's live entry, inf when it has none; never later than `at`

An entry that comes to the top before its timer is due is put back at `at`: at most one wake-up
comes to nothing for each span between two of them. Only a move to before `_wake` pushes an entry,
and the one that it replaces stays behind dead, as does the entry of a timer that was dropped. The
dead are counted and swept out once they are more than the living, so the heap never holds more than
twice as many entries as there are timers with a live one, and is empty when all were dropped.

Timers that are due at the same time run in the order in which they were made, however often they
were moved: the order doesn't depend on when early wake-ups happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace
from math import inf


class Timers:
    """The queue. Its length is the number of armed timers (counted when asked, for the ledger)."""

    __slots__ = ("_dead", "_heap", "_made")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._dead = 0
        self._made = 0

    def next_deadline(self) -> float | None:
        """When to call `expire` next, or None when that isn't needed.

        Never later than the earliest armed timer. It may be earlier, by a timer that was moved
        or cleared since: `expire` then calls nobody, and the next answer is a later one.
        """
        heap = self._heap
        return heap[0][0] if heap else None

    def expire(self, now: float) -> None:
        """Call `on_due` of each timer whose time has come, the earliest first, once for each arming.

        A timer that was cleared, moved or dropped by one called before it isn't called. One armed
        meanwhile for a time that has already come waits for the next `expire`. If an `on_due`
        raises, the exception passes, and those not yet called stay due.
        """
        if not self._heap or self._heap[0][0] > now:
            return
        due = self._take_due(now)
        try:
            while due:
                timer = due.popleft()
                if timer.at <= now:
                    timer.at = inf
                    timer._on_due()
        finally:
            for timer in due:
                if timer.at < timer._wake:
                    self._push(timer)

    def _take_due(self, now: float) -> deque[Timer]:
        """Take the timers due out of the heap, in order, and put back those that were moved."""
        heap = self._heap
        due: deque[Timer] = deque()
        while heap and heap[0][0] <= now:
            at, sequence, timer = heap[0]
            if timer._wake != at:
                heappop(heap)
                self._dead -= 1
            elif timer.at == inf:
                heappop(heap)
                timer._wake = inf
            elif timer.at > at:
                timer._wake = timer.at
                heapreplace(heap, (timer.at, sequence, timer))
            else:
                heappop(heap)
                timer._wake = inf
                due.append(timer)
        self._sweep_if_due()
        return due

    def _push(self, timer: Timer) -> None:
        replaces = timer._wake != inf
        timer._wake = timer.at
        heappush(self._heap, (timer.at, timer._sequence, timer))
        if replaces:
            self._dead += 1
            self._sweep_if_due()

    def _sweep_if_due(self) -> None:
        if self._dead * 2 <= len(self._heap):
            return
        # A dead entry looks alive if its timer has come to wake at that very time again: one of the two is enough.
        alive = {sequence: (at, sequence, timer) for at, sequence, timer in self._heap if timer._wake == at}
        self._heap[:] = alive.values()
        heapify(self._heap)
        self._dead = 0

    def late(self) -> list[Timer]:
        """Timers that are due before they will be woken. There are none: for checkers."""
        return [timer for wakes_at, _, timer in self._heap if timer._wake == wakes_at and timer.at < wakes_at]

    def __len__(self) -> int:
        return len({sequence for at, sequence, timer in self._heap if timer._wake == at and timer.at != inf})

    def __repr__(self) -> str:
        return f"Timers(armed={len(self)}, entries={len(self._heap)}, dead={self._dead})"


class Timer:
    """One deadline, and what to do then. Its owner calls `drop` when it ends.

    `at` is the time that it is armed for, `inf` when it is off: read it freely, write it by `set`.
    """

    __slots__ = ("_on_due", "_sequence", "_timers", "_wake", "at")

    def __init__(self, timers: Timers, on_due: Callable[[], None]) -> None:
        timers._made += 1
        self._timers = timers
        self._sequence = timers._made
        self._on_due = on_due
        self._wake = inf
        self.at = inf

    def set(self, at: float) -> None:
        """Arm it for `at`, or move it there; `inf` switches it off."""
        self.at = at
        if at < self._wake:
            self._timers._push(self)

    def clear(self) -> None:
        """Switch it off until it is set again."""
        self.at = inf

    def drop(self) -> None:
        """Switch it off for good and let go of its owner. Setting it afterwards does nothing."""
        if self._wake == -inf:
            return
        has_entry = self._wake != inf
        self.at = inf
        self._wake = -inf
        self._on_due = _do_nothing
        if has_entry:
            self._timers._dead += 1
            self._timers._sweep_if_due()

    def __repr__(self) -> str:
        state = "dropped" if self._wake == -inf else "off" if self.at == inf else f"at={self.at}"
        return f"Timer(#{self._sequence}, {state})"


def _do_nothing() -> None:
    """What a dropped timer does."""

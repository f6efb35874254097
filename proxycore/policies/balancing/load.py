"""The least loaded server, from a heap that is put right as it is used."""

from __future__ import annotations

from collections.abc import Container, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from math import inf, log2
from random import Random
from typing import ClassVar

from proxycore.config.units import format_roughly
from proxycore.policies.balancing.tiers import Candidate, Tier


class Seat:
    """A server's standing among those that are picked by load.

    `key` is the load that its live entry in the heap has, never above `load`, inf when it has none.
    `turn` decides among equals: it moves on by 1 / weight at each pick.
    """

    __slots__ = ("key", "latency", "load", "measured", "server", "turn", "weight")

    def __init__(self, server: Candidate) -> None:
        self.server = server
        self.weight = server.weight
        self.load = 0.0
        self.turn = 0.0
        self.key = inf
        self.latency = 0.0
        self.measured = 0


class LeastConnections(Tier):
    """The server with the fewest exchanges in flight for its weight; equals take turns, as often as their weights say.

    A load that rises only stores a number: the entry in the heap is put right when it comes to the top. One that falls
    below its entry's pushes another, and the old one stays behind dead until it comes up or the dead are swept out,
    which happens as soon as they are more than the living.
    """

    reason = "the fewest exchanges in flight for its weight"

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._seats: dict[int, Seat] = {}
        self._heap: list[tuple[float, float, int, Seat]] = []
        self._dead = 0
        self._clock = 0.0

    def _arrange(self, servers: Sequence[Candidate]) -> None:
        self._seats = {server.index: self._seat(server) for server in self._usable}
        self._heap = []
        for index, seat in self._seats.items():
            seat.load = self._load(seat)
            seat.key = inf if seat.server.is_full else seat.load
            if seat.key != inf:
                self._heap.append((seat.load, seat.turn, index, seat))
        heapify(self._heap)
        self._dead = 0

    def _seat(self, server: Candidate) -> Seat:
        """The seat it had, with its turn, or a new one."""
        seat = self._seats.get(server.index) or Seat(server)
        seat.server = server
        seat.weight = server.weight
        return seat

    def _load(self, seat: Seat) -> float:
        return seat.server.active / seat.weight

    def score(self, server: Candidate) -> str:
        return f"{server.active} in flight, weight {server.weight:g}: {server.active / server.weight:.3g}"

    def pick(self, key: bytes | None, tried: Container[Candidate]) -> Candidate | None:
        heap = self._heap
        passed_over: list[Seat] = []
        while heap:
            load, turn, index, seat = heap[0]
            if load != seat.key:
                heappop(heap)
                self._dead -= 1
            elif load != seat.load or turn != seat.turn:
                seat.key = seat.load
                heapreplace(heap, (seat.load, seat.turn, index, seat))
            elif seat.server.is_full or seat.server in tried:
                heappop(heap)
                seat.key = inf
                if not seat.server.is_full:
                    passed_over.append(seat)
            else:
                # Who wasn't picked for long doesn't make up for it: its turn begins where the others stand.
                self._clock = begin = turn if turn > self._clock else self._clock
                seat.turn = begin + 1.0 / seat.weight
                break
        else:
            seat = None
        for other in passed_over:
            self._enter(other)
        return seat.server if seat is not None else None

    def started(self, server: Candidate) -> None:
        seat = self._seats.get(server.index)
        if seat is not None:
            seat.load = self._load(seat)

    def ended(self, server: Candidate, first_byte_seconds: float | None) -> None:
        seat = self._seats.get(server.index)
        if seat is not None:
            seat.load = load = self._load(seat)
            if load < seat.key and not server.is_full:
                self._enter(seat)

    def _enter(self, seat: Seat) -> None:
        """Push an entry for its present load; the one it had, if any, is dead then."""
        replaces = seat.key != inf
        seat.key = seat.load
        heappush(self._heap, (seat.load, seat.turn, seat.server.index, seat))
        if replaces:
            self._dead += 1
            if self._dead * 2 > len(self._heap):
                self._sweep()

    def _sweep(self) -> None:
        # A dead entry looks alive if its seat has come back to that load: one of the two is enough.
        alive = {entry[2]: entry for entry in self._heap if entry[0] == entry[3].key}
        self._heap[:] = alive.values()
        heapify(self._heap)
        self._dead = 0


class LeastTime(LeastConnections):
    """The server whose usual time to the first byte, times its exchanges in flight and this one, is the least for its
    weight.

    The time is an average in which each exchange counts a fifth. What isn't measured any more is
    believed less and less: it halves each time that all servers together have answered as often as 32 times each, so
    that a server that was slow once is tried again. Loads are logarithms: there this decay of all the others
    is a constant added to the one that is measured. A server without a measurement counts as the average.
    """

    reason = "the least time to the first byte, times its exchanges in flight, for its weight"

    KEPT: ClassVar[float] = 0.8
    HALF_LIFE: ClassVar[int] = 32
    FLOOR: ClassVar[float] = 0.000_1
    """Seconds. Below it differences are noise, and 0 has no logarithm."""

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._answers = 0
        self._half_life = 1
        self._average = 0.0

    def _arrange(self, servers: Sequence[Candidate]) -> None:
        half_life = self.HALF_LIFE * max(1, len(self._usable))
        # Ages are counted in half-lives: they stay what they are when the number of servers changes.
        for seat in self._seats.values():
            age = (self._answers - seat.measured) / self._half_life
            seat.measured = self._answers - round(age * half_life)
        self._half_life = half_life
        super()._arrange(servers)

    def _load(self, seat: Seat) -> float:
        latency, measured = (seat.latency, seat.measured) if seat.latency else (self._average, self._answers)
        return log2(max(latency, self.FLOOR) * (seat.server.active + 1) / seat.weight) + measured / self._half_life

    def score(self, server: Candidate) -> str:
        seat = self._seats[server.index]
        seconds = 2.0 ** (self._load(seat) - self._answers / self._half_life)
        known = f"first byte after {format_roughly(seat.latency)}" if seat.latency else "not measured yet"
        return f"{known}, {server.active} in flight, weight {server.weight:g}: {format_roughly(seconds)}"

    def ended(self, server: Candidate, first_byte_seconds: float | None) -> None:
        if first_byte_seconds is not None:
            seat = self._seats.get(server.index)
            if seat is not None:
                self._measure(seat, max(first_byte_seconds, self.FLOOR))
        super().ended(server, first_byte_seconds)

    def _measure(self, seat: Seat, seconds: float) -> None:
        self._answers += 1
        kept = self.KEPT * 2.0 ** ((seat.measured - self._answers) / self._half_life) if seat.latency else 0.0
        seat.latency = seconds + (seat.latency - seconds) * kept
        seat.measured = self._answers
        self._average = seconds + (self._average - seconds) * self.KEPT if self._average else seconds

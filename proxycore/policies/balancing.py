"""Which server of an upstream takes the next exchange.

Theory of operation. A pick is in the path of each request, so nothing is scanned for it. What can be
known before is arranged when servers, weights or availability change (`rebuild`), and what load
changes is moved by one at each start and end of an exchange:

    round_robin           one period of nginx's smooth weighted order, laid out beforehand
    random, random_two    sums of weights, searched by bisection
    least_connections     a heap by load with one live entry for each server, put right when it comes to the top
    least_time            the same heap; load is the first byte's time, times what is in flight
    *_hash                a ring of points, walked from the key's place, with bounded load

Each policy is a `Tier`: a way to pick among servers of one rank. `Tiered` asks that of the primaries
first and that of the backups when no primary can take the exchange. A server that can't (tried,
full) is passed over; where a policy meets too many of those in a row, `OpenTier` hands out any other
from the list of those that aren't full, so a pick stays cheap also when nearly all are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from heapq import heapify, heappop, heappush, heapreplace
from itertools import accumulate, cycle, islice
from math import ceil, gcd, inf, log2
from random import Random
from struct import unpack
from types import MappingProxyType
from typing import ClassVar, Final, Protocol
from zlib import crc32

from proxycore.policies.trace import Trace

ATTEMPTS: Final = 16
"""Servers that a policy looks at before it settles for any that isn't full: 1 us, and enough while half can be used."""


class Candidate(Protocol):
    """What a server shows to be picked. All are read; the owner changes them and tells the balancer.

    `index` is unique among all servers that the upstream ever had, and `name` among those it has: keys are hashed
    onto names, so that all workers, and the next process, agree. `weight` is relative; a server of weight 0 isn't
    picked. It is below `full_weight` while the server starts slowly. `active` counts its exchanges in flight. `reason`
    says why it isn't available. `is_full` changes only with `active` or a `rebuild`.
    """

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def full_weight(self) -> float: ...
    @property
    def active(self) -> int: ...
    @property
    def backup(self) -> bool: ...
    @property
    def available(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def is_full(self) -> bool: ...


class Balancer(Protocol):
    """Picks servers of one upstream. One for each upstream: it keeps turns and loads."""

    def rebuild(self, servers: Sequence[Candidate]) -> None:
        """Take the servers, in their order. Call it when one came, went, or changed weight, limit or availability."""

    def pick(self, key: bytes | None, tried: Container[Candidate] = (), trace: Trace | None = None) -> Candidate | None:
        """The server for an exchange: available, not full, not in `tried`; None only if there is none such.

        `key` is what hash policies go by (a client's address, a URI, a header's value); others don't look at it. Call
        `started` with the answer once the exchange goes there.
        """

    @property
    def follows_load(self) -> bool:
        """Whether `started` and `ended` must be told each time; else only when the server's `is_full` changed."""

    def started(self, server: Candidate) -> None:
        """An exchange went to `server`, by this balancer's choice or not; its `active` has risen by one already."""

    def ended(self, server: Candidate, first_byte_seconds: float | None) -> None:
        """It is over; `active` has fallen by one already. None if no response began."""


class Tier:
    """Servers of one rank, and one way to pick among them.

    A policy overrides `pick` and `_arrange`, and where load matters `started` and `ended`.
    """

    reason: ClassVar[str]
    """Why a server is chosen, for the trace."""

    follows_load: ClassVar[bool] = True

    def __init__(self, random: Random) -> None:
        self._random = random
        self._usable: list[Candidate] = []

    def rebuild(self, servers: Sequence[Candidate]) -> None:
        """Take the servers of this rank, available or not."""
        self._usable = [server for server in servers if server.available and server.weight > 0]
        self._arrange(servers)

    def _arrange(self, servers: Sequence[Candidate]) -> None:
        """Prepare what `pick` goes by: from `servers`, or from those of them that are usable."""
        raise NotImplementedError

    def pick(self, key: bytes | None, tried: Container[Candidate]) -> Candidate | None:
        raise NotImplementedError

    def started(self, server: Candidate) -> None:
        raise NotImplementedError

    def ended(self, server: Candidate, first_byte_seconds: float | None) -> None:
        raise NotImplementedError


class OpenTier(Tier):
    """A tier that knows its servers that aren't full, for when those that the policy prefers are."""

    follows_load = False

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._members: dict[int, Candidate] = {}
        self._open: list[Candidate] = []
        self._place: dict[int, int] = {}
        self._next_open = 0

    def rebuild(self, servers: Sequence[Candidate]) -> None:
        super().rebuild(servers)
        self._members = {server.index: server for server in self._usable}
        self._open = [server for server in self._usable if not server.is_full]
        self._place = {server.index: place for place, server in enumerate(self._open)}

    def started(self, server: Candidate) -> None:
        if not server.is_full or server.index not in self._place:
            return
        place = self._place.pop(server.index)
        last = self._open.pop()
        if last is not server:
            self._open[place] = last
            self._place[last.index] = place

    def ended(self, server: Candidate, first_byte_seconds: float | None) -> None:
        index = server.index
        if index not in self._place and index in self._members and not server.is_full:
            self._place[index] = len(self._open)
            self._open.append(server)

    def _any_open(self, tried: Container[Candidate]) -> Candidate | None:
        """Any server that can take an exchange, in turn: what is left when a policy's own choices can't."""
        count = len(self._open)
        for step in range(self._next_open, self._next_open + count):
            server = self._open[step % count]
            if server not in tried and not server.is_full:
                self._next_open = (step + 1) % count
                return server
        return None


class Tiered:
    """A `Balancer` that picks among the primaries, and among the backups when no primary can take the exchange."""

    def __init__(self, policy: Callable[[Random], Tier], random: Random) -> None:
        self._servers: list[Candidate] = []
        self._primaries = policy(random)
        self._backups = policy(random)
        self.follows_load = self._primaries.follows_load

    def rebuild(self, servers: Sequence[Candidate]) -> None:
        self._servers = list(servers)
        self._primaries.rebuild([server for server in servers if not server.backup])
        self._backups.rebuild([server for server in servers if server.backup])

    def pick(self, key: bytes | None, tried: Container[Candidate] = (), trace: Trace | None = None) -> Candidate | None:
        server = self._primaries.pick(key, tried)
        if server is None:
            server = self._backups.pick(key, tried)
        if trace is not None:
            self._explain(server, tried, trace)
        return server

    def started(self, server: Candidate) -> None:
        if server.backup:
            self._backups.started(server)
        else:
            self._primaries.started(server)

    def ended(self, server: Candidate, first_byte_seconds: float | None) -> None:
        if server.backup:
            self._backups.ended(server, first_byte_seconds)
        else:
            self._primaries.ended(server, first_byte_seconds)

    def _explain(self, chosen: Candidate | None, tried: Container[Candidate], trace: Trace) -> None:
        for server in self._servers:
            why_not = _why_not(server, tried)
            if why_not:
                trace.add("balance", "passed over", server.name, why_not)
        if chosen is None:
            trace.add("balance", "found none", "", "no server can take the exchange")
        elif chosen.backup:
            trace.add("balance", "chosen", chosen.name, f"no primary can take it; {self._backups.reason}")
        else:
            trace.add("balance", "chosen", chosen.name, self._primaries.reason)


def _why_not(server: Candidate, tried: Container[Candidate]) -> str:
    if not server.available:
        return server.reason or "not available"
    if server.weight <= 0:
        return "its weight is 0"
    if server in tried:
        return "tried already"
    return "at max_connections" if server.is_full else ""


# ---- in turn -------------------------------------------------------------------------------------------------------


class RoundRobin(OpenTier):
    """Each server in turn, as often as its weight says, its turns spread evenly (nginx's smooth order)."""

    reason = "its turn"

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._rotation: Iterator[Candidate] = cycle(())

    def _arrange(self, servers: Sequence[Candidate]) -> None:
        turns = [self._usable[position] for position in schedule([server.weight for server in self._usable])]
        # Beginning at the first each time would favour it where changes are frequent.
        changes = next(self._rotation, None) is not None
        first = self._random.randrange(len(turns)) if changes and turns else 0
        self._rotation = cycle(turns[first:] + turns[:first])

    def pick(self, key: bytes | None, tried: Container[Candidate]) -> Candidate | None:
        for server in islice(self._rotation, ATTEMPTS):
            if not server.is_full and server not in tried:
                return server
        return self._any_open(tried)


def schedule(weights: Sequence[float]) -> list[int]:
    """One period of a weighted round robin, as positions in `weights` (all above 0).

    Whole weights whose period is short give nginx's order exactly. Otherwise (large coprime weights,
    fractions, very many different ones) the period has about 4,096 turns, or 8 for each server if that is more:
    each has its turns to within one, at least one, and is never more than 1 + its share of the
    number of servers ahead or behind.
    """
    exact = _whole_turns(weights)
    if exact is not None:
        return smooth_order(exact)
    period = max(4096, 8 * len(weights))
    total = sum(weights)
    return spread_order([max(1, round(weight * period / total)) for weight in weights])


def _whole_turns(weights: Sequence[float]) -> list[int] | None:
    """The least whole numbers in proportion to `weights`, or None where `smooth_order` would take long over them."""
    least = min(weights, default=1.0)
    ratios = [weight / least for weight in weights]
    if any(ratio != int(ratio) for ratio in ratios):
        ratios = list(weights)
        if any(ratio != int(ratio) for ratio in ratios):
            return None
    turns = [int(ratio) for ratio in ratios]
    divisor = gcd(*turns) or 1
    steps = len(set(turns)) * sum(turns) // divisor
    # 5 ms for a hundred servers, 25 for five thousand.
    return [turn // divisor for turn in turns] if steps <= 50_000 + 50 * len(turns) else None


def smooth_order(turns: Sequence[int]) -> list[int]:
    """One period, `sum(turns)` picks, of nginx's smooth weighted round robin.

    There each pick adds to each server's credit its weight, takes the server with the most (the first of equals), and
    takes the sum of all weights from its credit. Servers of equal weight take turns in their order, and the one whose
    turn it is has the most credit of them; so one credit for each different weight is enough.
    """
    period = sum(turns)
    alike: dict[int, list[int]] = {}
    for position, weight in enumerate(turns):
        alike.setdefault(weight, []).append(position)
    credits = dict.fromkeys(alike, 0)
    order: list[int] = []
    laps = {weight: iter(positions) for weight, positions in alike.items()}
    heads = {weight: next(lap) for weight, lap in laps.items()}
    for _ in range(period):
        best, most = 0, -period
        for weight, credit in credits.items():
            credits[weight] = credit = credit + weight
            if credit > most or (credit == most and heads[weight] < heads[best]):
                best, most = weight, credit
        order.append(heads[best])
        head = next(laps[best], None)
        if head is None:
            credits[best] -= period
            laps[best] = iter(alike[best])
            head = next(laps[best])
        heads[best] = head
    return order


def spread_order(turns: Sequence[int]) -> list[int]:
    """Each position as often as `turns` says, at even distances, by sorting the places where its turns would fall.

    The golden ratio shifts them against each other: servers of nearly equal weight would else come in bursts.
    """
    places = (
        ((turn + position * 0.6180339887498949 % 1.0) / count, position)
        for position, count in enumerate(turns)
        for turn in range(count)
    )
    return [position for _, position in sorted(places)]


# ---- at random -----------------------------------------------------------------------------------------------------


class RandomOne(OpenTier):
    """Any server, with a chance in proportion to its weight."""

    reason = "drawn at random"

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._sums: list[float] = []
        self._total = 0.0

    def _arrange(self, servers: Sequence[Candidate]) -> None:
        self._sums = list(accumulate(server.weight for server in self._usable))
        if self._sums:
            self._total = self._sums[-1]
            # A draw is below the total, but rounding may bring it there: it belongs to the last one then.
            self._sums[-1] = inf

    def pick(self, key: bytes | None, tried: Container[Candidate]) -> Candidate | None:
        for _ in range(ATTEMPTS if self._open else 0):
            server = self._usable[self._draw()]
            if not server.is_full and server not in tried:
                return server
        return self._any_open(tried)

    def _draw(self) -> int:
        return bisect_right(self._sums, self._random.random() * self._total)


class RandomTwo(RandomOne):
    """The less loaded of two servers drawn at random: nearly as even as the least loaded of all, and never a herd."""

    reason = "the less loaded of two drawn at random"

    def pick(self, key: bytes | None, tried: Container[Candidate]) -> Candidate | None:
        for _ in range(ATTEMPTS if self._open else 0):
            position = self._draw()
            first = self._usable[position]
            if not first.is_full and first not in tried:
                return self._less_loaded(first, position, tried)
        return self._any_open(tried)

    def _less_loaded(self, first: Candidate, position: int, tried: Container[Candidate]) -> Candidate:
        for _ in range(ATTEMPTS if len(self._open) > 1 else 0):
            second = self._usable[self._draw_other(position)]
            if not second.is_full and second not in tried:
                return second if second.active * first.weight < first.active * second.weight else first
        return first

    def _draw_other(self, position: int) -> int:
        """Draw from the rest as if the server at `position` weren't there."""
        weight = self._usable[position].weight
        spot = self._random.random() * (self._total - weight)
        before = self._sums[position - 1] if position else 0.0
        return bisect_right(self._sums, spot if spot < before else spot + weight)


# ---- by load -------------------------------------------------------------------------------------------------------


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


# ---- by key --------------------------------------------------------------------------------------------------------


class Hashed(OpenTier):
    """The same server for the same key, as long as it can take it and isn't loaded far above the rest.

    Each server has points on a ring, in proportion to its weight, at places that its name alone decides. A key goes to
    the first point from its own place on whose server can take it: one that leaves or joins moves only
    its own share, and unavailable ones are walked over, so the ring changes with names and weights only. A server
    with more than `EXCESS` times its share of all exchanges in flight is walked over too (consistent hashing with
    bounded loads, Mirrokni and others, 2016), unless it has fewer than `SPARE`. An exchange without a key goes to a
    random place. A server that starts slowly has a part of its points only, drawn by their own bits: the ring stays as
    it is, and each step of the start draws keys to it and moves no others.
    """

    follows_load = True
    reason = "its place on the ring"

    EXCESS: ClassVar[float] = 1.25
    SPARE: ClassVar[int] = 4
    """A server with fewer exchanges isn't overloaded, however idle the others are."""

    POINTS: ClassVar[int] = 128
    """For a weight of 1: shares come out right to a tenth or so."""

    MOST_POINTS: ClassVar[int] = 1 << 17
    """On the whole ring, which takes 0.1 s to lay out then: with more, each has half as many, or a quarter ..."""

    WALK: ClassVar[int] = 64
    """Points looked at for one pick."""

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._ring: list[int] = []
        self._named: list[tuple[str, float]] = []
        self._owners: list[Candidate | None] = []
        self._parts: list[float] | None = None
        self._active = 0
        self._weight = 1.0

    def _arrange(self, servers: Sequence[Candidate]) -> None:
        named = [(server.name, server.full_weight) for server in servers]
        if named != self._named:
            self._named = named
            self._ring = _lay_ring(named, self.POINTS, self.MOST_POINTS)
        self._owners = [server if server.available and server.weight > 0 else None for server in servers]
        starting = any(server.weight < server.full_weight for server in self._usable)
        self._parts = [_PARTS * server.weight / (server.full_weight or 1.0) for server in servers] if starting else None
        self._active = sum(server.active for server in self._usable)
        self._weight = sum(server.weight for server in self._usable)

    def pick(self, key: bytes | None, tried: Container[Candidate]) -> Candidate | None:
        if not self._open:
            return None
        ring = self._ring
        at = bisect_left(ring, self._random.getrandbits(_RING_BITS) if key is None else _place_on_ring(key))
        fair = self.EXCESS * (self._active + 1) / self._weight
        parts = self._parts
        for step in range(at, at + min(self.WALK, len(ring))):
            point = ring[step % len(ring)]
            server = self._owners[point & _OWNER_MASK]
            if server is None or server.is_full or server in tried:
                continue
            if parts is not None and (point >> _OWNER_BITS) % _PARTS >= parts[point & _OWNER_MASK]:
                continue
            if server.active < self.SPARE or server.active < fair * server.weight:
                return server
        return self._any_open(tried)

    def started(self, server: Candidate) -> None:
        super().started(server)
        if server.index in self._members:
            self._active += 1

    def ended(self, server: Candidate, first_byte_seconds: float | None) -> None:
        super().ended(server, first_byte_seconds)
        if server.index in self._members:
            self._active -= 1


_OWNER_BITS: Final = 20
_OWNER_MASK: Final = (1 << _OWNER_BITS) - 1
_RING_BITS: Final = 60

_PARTS: Final = 256
"""Of the points of a server that starts slowly."""


def _place_on_ring(key: bytes) -> int:
    # As in nginx. Five times as fast as a digest, and a client who aims at one server meets the bound on its load.
    return crc32(key) << (_RING_BITS - 32)


def _lay_ring(named: Sequence[tuple[str, float]], points: int, most: int) -> list[int]:
    """The points of all servers in order: 40 bits of place, then 20 bits that tell whose it is."""
    scale = float(points)
    while sum(ceil(weight * scale) for _, weight in named) > most and scale > 1.0:
        scale /= 2.0
    return sorted(
        place << _OWNER_BITS | owner
        for owner, (name, weight) in enumerate(named)
        for place in _points_of(name, ceil(weight * scale))
    )


def _points_of(name: str, count: int) -> list[int]:
    """The first `count` places of a server: those of a heavier one begin with those of a lighter one."""
    places: list[int] = []
    for block in range(0, count, 8):
        digest = blake2b(f"{block} {name}".encode()).digest()
        places += [word >> 24 for word in unpack(">8Q", digest)]
    return places[:count]


# ---- by rule of the user -------------------------------------------------------------------------------------------


class Chooser(Protocol):
    """A policy of the user's own: one method over who there is, given as `balance` in Python.

    What it sees of each server is a `Candidate`: `name`, `weight`, `active` ... It keeps what it likes between calls.
    """

    def choose(self, servers: Sequence[Candidate], key: bytes | None) -> Candidate | None:
        """One of `servers` (each can take the exchange; never empty), or None for none of them."""


class Own(Tier):
    """What a `Chooser` says. It gets a list made for each pick: its cost grows with the number of servers."""

    reason = "the answer of a policy of the user's own"

    def __init__(self, chooser: Chooser, random: Random) -> None:
        super().__init__(random)
        self._chooser = chooser

    def _arrange(self, servers: Sequence[Candidate]) -> None:
        """Nothing is known before."""

    def pick(self, key: bytes | None, tried: Container[Candidate]) -> Candidate | None:
        able = [server for server in self._usable if not server.is_full and server not in tried]
        server = self._chooser.choose(able, key) if able else None
        return server if server in able else None

    def started(self, server: Candidate) -> None:
        """It reads the load from the servers."""

    def ended(self, server: Candidate, first_byte_seconds: float | None) -> None:
        """It reads the load from the servers."""


# ---- by name -------------------------------------------------------------------------------------------------------

POLICIES: Final[Mapping[str, type[Tier]]] = MappingProxyType(
    {
        "round_robin": RoundRobin,
        "least_connections": LeastConnections,
        "random": RandomOne,
        "random_two": RandomTwo,
        "least_time": LeastTime,
        "client_ip_hash": Hashed,
        "uri_hash": Hashed,
        "header_hash": Hashed,
    }
)
"""The values of `balance` in a configuration."""


def make_balancer(policy: str | Chooser, random: Random) -> Balancer:
    """A balancer for a value of `balance` (a KeyError if there is no such policy). Call `rebuild` next."""
    return Tiered(POLICIES[policy] if isinstance(policy, str) else partial(Own, policy), random)

"""The same server for the same key: a consistent ring, with bounded load."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Sequence
from hashlib import blake2b
from math import ceil
from random import Random
from struct import unpack
from typing import ClassVar, Final
from zlib import crc32

from proxycore.policies.balancing.tiers import Candidate, OpenTier


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

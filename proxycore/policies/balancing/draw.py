"""Servers at random, by bisection of the sums of their weights."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Sequence
from itertools import accumulate
from math import inf
from random import Random

from proxycore.policies.balancing.tiers import ATTEMPTS, Candidate, OpenTier


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

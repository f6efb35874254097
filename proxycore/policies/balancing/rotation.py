"""Servers in turn: one period of a weighted order, laid out beforehand."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from itertools import cycle, islice
from math import gcd
from random import Random

from proxycore.policies.balancing.tiers import ATTEMPTS, Candidate, OpenTier


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

"""A cache in simulated worlds, and deliberate bugs that its checker catches."""

from __future__ import annotations

import importlib

import pytest

from proxycore.testing.cache_simulation import simulate_cache, statistics
from tests.simulation.mutants import Mutant, Mutated

SEEDS = 4

MUTANTS = (
    Mutant(
        "a response serves for twice as long as it may",
        "policies.caching.reuse",
        '    if age + (asked.seconds(b"min-fresh") or 0) < freshness.lifetime:',
        "    if age < freshness.lifetime * 2:",
        ("cache",),
    ),
    Mutant(
        "what is in the store counts as just received",
        "policies.caching.stored",
        "        return not freshness.no_cache and self.initial_age + now - self.received_at < freshness.lifetime",
        "        return not freshness.no_cache and self.initial_age < freshness.lifetime",
        ("cache",),
    ),
    Mutant(
        "Vary is not looked at",
        "policies.caching.store",
        "            if response.vary and response.vary != vary_of([name for name, _ in response.vary], request):",
        "            if False:",
        ("cache",),
    ),
    Mutant(
        "the path is not in the key",
        "policies.caching.keys",
        "        key = self._beginning + request.target",
        "        key = self._beginning",
        ("cache",),
    ),
    Mutant(
        "nobody waits for another's answer",
        "filters.cache",
        "        if not self._locks or lookup.alone:\n            return None\n",
        "        return None\n",
        ("cache",),
        seed=11,
    ),
    Mutant(
        "no-store is not looked at",
        "policies.caching.storing",
        '    elif b"no-store" in directives:',
        "    elif False:",
        ("cache",),
    ),
    Mutant(
        "private is not looked at",
        "policies.caching.storing",
        '    if directives.is_whole(b"private"):\n        return "private"',
        "    if False:\n        return None",
        ("cache",),
    ),
    Mutant(
        "what was cut is stored as if it were whole",
        "filters.filling",
        "        if not whole:\n            fill.drop()",
        "        if False:\n            fill.drop()",
        ("cache", "conversation"),
    ),
    Mutant(
        "what is reserved for a fill is never given back",
        "filters.filling",
        "            self._store.release(self._size)\n            self._state",
        "            self._state",
        ("cache",),
    ),
    Mutant(
        "the store grows without bound",
        "mechanisms.s3fifo",
        "        while self.used + cost > self.capacity and (self._small or self._main):",
        "        while False:",
        ("cache", "exceptions"),
    ),
    Mutant(
        "who joins in the middle misses the beginning",
        "filters.filling",
        "        self.index = 0\n        self.position = 0",
        "        self.index = len(fill._pieces)\n        self.position = 0",
        ("cache", "conversation", "exceptions", "faults"),
    ),
    Mutant(
        "a flight whose leader died keeps everybody waiting",
        "filters.cache",
        "        self._give_up(lookup)\n        self._land(lookup)",
        "        self._give_up(lookup)",
        ("cache",),
    ),
    Mutant(
        "who leaves first takes the others' rest along",
        "filters.cache",
        " or not lookup.fill.is_read:",
        " or True:",
        ("cache",),
        seed=9,
    ),
    Mutant(
        "no-cache of a client is not looked at",
        "policies.caching.reuse",
        '    if freshness.no_cache or b"no-cache" in asked:',
        "    if freshness.no_cache:",
        ("cache",),
    ),
    Mutant(
        "no-cache of an origin is not looked at",
        "policies.caching.freshness",
        '        no_cache=directives.is_whole(b"no-cache"),',
        "        no_cache=False,",
        ("cache",),
    ),
    Mutant(
        "an age is told as it was when the response came",
        "policies.caching.stored",
        'own = [(b"age", b"%d" % age)',
        'own = [(b"age", b"%d" % self.initial_age)',
        ("cache",),
    ),
    Mutant(
        "a part is said to begin elsewhere",
        "policies.caching.ranges",
        'b"bytes %d-%d/%d" % (span.first,',
        'b"bytes %d-%d/%d" % (span.first + 1,',
        ("cache",),
    ),
    Mutant(
        "a range is one byte short",
        "policies.caching.ranges",
        "        return Span(int(first), end) if int(first) < size else UNSATISFIABLE",
        "        return Span(int(first) + 1, end) if int(first) < size else UNSATISFIABLE",
        ("cache", "exceptions", "faults"),
    ),
)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_false_comes_from_a_cache(seed: int) -> None:
    report = simulate_cache(seed)
    assert 0 < report.hits < report.answers


def test_the_same_seed_gives_the_same_run() -> None:
    assert simulate_cache(1) == simulate_cache(1)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_of_the_cache_is_caught(mutant: Mutant) -> None:
    caught: list[str] = []
    with Mutated(mutant):
        simulation = importlib.import_module("proxycore.testing.cache_simulation")
        failed = importlib.import_module("proxycore.testing.simulator").SimulationFailed
        for seed in [mutant.seed, *range(8)]:
            try:
                simulation.simulate_cache(seed)
            except failed as failure:
                caught = [failure.checker, str(failure)]
                break
    assert caught, f"nobody notices that {mutant.name}"
    assert caught[0] in mutant.caught_by, caught


def test_most_answers_of_a_cache_are_hits_or_joined() -> None:
    total = statistics(range(2))
    assert total["asked"] < total["answers"] / 2

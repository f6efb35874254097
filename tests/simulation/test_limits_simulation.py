"""Rate and concurrency limits in simulated worlds, and deliberate bugs that their checkers catch."""

from __future__ import annotations

import importlib

import pytest

from proxycore.testing.limits_simulation import simulate_limits
from tests.simulation.mutants import Mutant, Mutated

SEEDS = 6

MUTANTS = (
    Mutant(
        "a request in debt costs nothing",
        "policies.limits",
        "full_at if debt > policy.tolerance else full_at + policy.interval",
        "full_at",
        ("limits",),
    ),
    Mutant(
        "the burst is one too large",
        "policies.limits",
        "self.interval * (burst - 1)",
        "self.interval * burst",
        ("limits",),
    ),
    Mutant(
        "a refusal counts like a request",
        "policies.limits",
        "full_at if debt > policy.tolerance else full_at + policy.interval",
        "full_at + policy.interval",
        ("limits",),
    ),
    Mutant(
        "who is pushed out is rid of its debt",
        "policies.limits",
        "                self._pools[pool] = max(full_at, self._pools.get(pool, 0))",
        "                pass",
        ("limits",),
    ),
    Mutant(
        "a new key takes others with it that are in debt",
        "policies.limits",
        "            if table[key] > at:\n                return\n            del",
        "            del",
        ("limits",),
    ),
    Mutant(
        "the table grows without bound",
        "policies.limits",
        "            if len(table) >= self.capacity:\n                self._push_out(at)\n",
        "",
        ("limits",),
    ),
    Mutant(
        "each address of a /64 is a client of its own",
        "policies.limits",
        '    return b"%x::/64" % (number >> 64)',
        "    return client.ip.encode()",
        ("limits",),
    ),
    Mutant(
        "nobody is delayed",
        "filters.limits",
        "            if debt > 0 and limit.delays:",
        "            if False:",
        ("limits",),
    ),
    Mutant(
        "a delay is half of the debt",
        "filters.limits",
        "Wait(Signal(), debt / 1e9,",
        "Wait(Signal(), debt / 2e9,",
        ("limits",),
    ),
    Mutant(
        "who was delayed is held to no further limit",
        "filters.limits",
        "partial(self._pass, position + 1)",
        "partial(self._pass, position + 2)",
        ("limits",),
    ),
    Mutant(
        "a reload forgets all debts",
        "filters.gate",
        "            if limit.name not in self._rates:",
        "            if True:",
        ("limits",),
    ),
    Mutant(
        "one exchange more than the limit goes on",
        "policies.limits",
        "        if count >= most:",
        "        if count > most:",
        ("limits",),
    ),
    Mutant(
        "an exchange whose client left counts for ever",
        "filters.limits",
        "        if key is not None:\n            self._table.leave(key)",
        '        if key is not None and outcome.cause == "completed":\n            self._table.leave(key)',
        ("limits",),
    ),
    Mutant(
        "an exchange is counted twice",
        "filters.limits",
        "        entered = self._table.enter(key, self._most)",
        "        entered = self._table.enter(key, self._most) and self._table.enter(key, self._most)",
        ("limits",),
    ),
)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_limit_lets_more_through_than_it_says(seed: int) -> None:
    report = simulate_limits(seed)
    assert report.passed > 100
    assert report.refused > 100
    assert report.delayed > 20


def test_keys_were_pushed_out_in_some_world() -> None:
    assert any(simulate_limits(seed).pushed_out for seed in range(SEEDS))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_bug_in_a_limit_is_caught(mutant: Mutant) -> None:
    assert caught(mutant) in mutant.caught_by


def caught(mutant: Mutant) -> str:
    """The checker that notices a bug first; empty if none does."""
    with Mutated(mutant) as simulator:
        simulate = importlib.import_module("proxycore.testing.limits_simulation").simulate_limits
        for seed in range(SEEDS):
            try:
                simulate(seed)
            except simulator.SimulationFailed as failure:
                return str(failure.checker)
    return ""

"""Each deliberate bug is caught by the simulator and its checkers alone, within the seeds of a test run."""

from __future__ import annotations

import subprocess
import sys

import pytest

import proxycore.core
from proxycore.testing import simulate
from tests.simulation.mutants import MUTANTS, Mutant, Mutated, first_catch

SEEDS = 120
"""How many seeds `test_simulation` runs when nobody asks for more."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    assert mutant.seed < SEEDS
    # The seed that is known to show it comes first, so that all of them take seconds.
    seeds = [mutant.seed, *(seed for seed in range(SEEDS) if seed != mutant.seed)]
    caught = first_catch(mutant, seeds)
    assert caught is not None, f"no checker notices in {SEEDS} seeds that {mutant.name}"
    seed, checker, text = caught
    assert checker in mutant.caught_by, f"seed {seed} was caught by {checker}: {text}"


def test_there_are_enough_mutants_and_none_twice() -> None:
    assert len(MUTANTS) >= 40
    assert len({mutant.name for mutant in MUTANTS}) == len({(m.module, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)


def test_a_patch_that_no_longer_fits_is_an_error() -> None:
    with pytest.raises(ValueError, match="stands 0 times"):
        Mutant("none", "core", "no such text", "", ()).patched()


def test_the_real_package_is_back_afterwards() -> None:
    before = sys.modules["proxycore.core"]
    with Mutated(MUTANTS[0]) as simulator:
        assert sys.modules["proxycore.core"] is not before
        assert simulator.simulate is not simulate
    assert sys.modules["proxycore.core"] is before is proxycore.core
    assert simulate(0).exchanges > 0


def test_a_mutant_harms_no_other_process() -> None:
    with Mutated(MUTANTS[0]):
        code = "from proxycore.testing import simulate; simulate(0)"
        assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0

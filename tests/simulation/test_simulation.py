"""The whole core in simulated worlds. `--seeds 5000` searches long; a seed that fails says how to have it again."""

from __future__ import annotations

import os
import random as random_module
import subprocess
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from proxycore.config import Config, Listener, Route, Upstream
from proxycore.testing import Simulation, simulate
from proxycore.testing.traffic import FEATURES

AT_ONCE = 10
"""Seeds in one test: a failure is found early, and a long search shows how far it is."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" in metafunc.fixturenames:
        count: int = metafunc.config.getoption("--seeds")
        starts = range(0, count, AT_ONCE)
        metafunc.parametrize("seeds", [range(start, min(start + AT_ONCE, count)) for start in starts], ids=str)


def test_nothing_false_happens(seeds: range) -> None:
    for seed in seeds:
        simulate(seed)


def test_the_same_seed_gives_the_same_run_byte_for_byte() -> None:
    first, second = (simulate(3, with_digest=True) for _ in range(2))
    assert first == second
    assert len(first.digest) == 32


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_seed_gives_the_same_run_in_every_interpreter(hash_seed: str) -> None:
    program = "from proxycore.testing import simulate; print(simulate(3, with_digest=True).digest)"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.strip() == simulate(3, with_digest=True).digest


def test_another_seed_gives_another_run() -> None:
    assert simulate(3, with_digest=True).digest != simulate(4, with_digest=True).digest


def test_a_user_runs_a_configuration_of_their_own() -> None:
    config = Config(
        listeners=[Listener(name="main", bind="127.0.0.1:8080")],
        upstreams={"shop": Upstream(servers=["http://10.1.0.1:80", "http://shop.internal:81"])},
        routes=[
            Route(
                match={"host": "*.example.com", "path": "/shop/*"}, upstream="shop", rewrite={"strip_prefix": "/shop"}
            ),
            Route(respond={"status": 404}),
        ],
    )
    report = simulate(1, config=config, features=["content", "chunked", "pipelining", "local", "interim"])
    assert report.causes == {"completed": report.exchanges}
    assert report.statuses[404] > 0


def test_all_features_at_once() -> None:
    report = simulate(11, features=FEATURES, exchanges=500)
    assert set(report.causes) >= {"completed", "client_left", "refused", "upstream_failed", "timed_out"}


def test_no_features_at_all() -> None:
    assert simulate(12, features=()).causes.keys() == {"completed"}


def poisoned(name: str) -> Callable[..., Any]:
    def refuse(*arguments: object, **options: object) -> Any:
        raise AssertionError(f"{name} was called while the simulation ran")

    return refuse


def test_the_core_asks_neither_the_clock_nor_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    # A Random that was seeded takes neither; all else that the interpreter offers is out of bounds.
    simulation = Simulation(5)
    for name in ("time", "monotonic", "perf_counter", "time_ns", "monotonic_ns", "sleep"):
        monkeypatch.setattr(time, name, poisoned(f"time.{name}"))
    for name in ("random", "randint", "choice", "shuffle", "getrandbits", "uniform", "seed", "SystemRandom"):
        monkeypatch.setattr(random_module, name, poisoned(f"random.{name}"))
    monkeypatch.setattr("os.urandom", poisoned("os.urandom"))
    with pytest.raises(AssertionError, match="time was called"):
        time.time()
    assert simulation.run().exchanges > 0


def test_the_core_leaves_global_chance_alone() -> None:
    random_module.seed(99)
    simulate(6)
    assert random_module.random() == Random(99).random()

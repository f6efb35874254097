"""Servers that flap, are slow, swallow, reset, die, all at once or by halves: simulated, with every policy."""

from __future__ import annotations

from random import Random

import pytest

from proxycore.config import HealthCheck, Outliers
from proxycore.testing import Simulation, simulate
from proxycore.testing.network import Weather
from proxycore.testing.simulator import servers_config, troubled_servers
from tests.core.worlds import config

AT_ONCE = 8


@pytest.mark.parametrize("start", range(0, 16, AT_ONCE))
def test_nothing_false_happens_to_who_asks_them(start: int) -> None:
    for seed in range(start, start + AT_ONCE):
        simulate(seed, **troubled_servers(seed))


def test_the_configuration_has_every_kind_of_policy() -> None:
    drawn = [servers_config(Random(seed)).upstreams["api"] for seed in range(60)]
    assert len({upstream.balance for upstream in drawn}) == 7
    assert {upstream.health_check.type for upstream in drawn if upstream.health_check} == {"http", "tcp"}


# Nothing mends an answer that has begun when its server dies: with these seeds none is under way then.
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5])
def test_a_server_that_dies_of_oom_costs_no_client_its_answer(seed: int) -> None:
    check = HealthCheck(path="/health", interval=1, timeout=1, rise=1, fall=1)
    three = config(*(f"http://10.0.0.{n}:80" for n in (1, 2, 3)), health_check=check, outliers=Outliers(eject=60))
    simulation = Simulation(seed, config=three, features=["pipelining"])
    network, stage = simulation.network, simulation.stage
    network.weather = Weather()
    victim = stage.origins[0]

    def kill() -> None:
        victim.mode = "refused"
        for connection in [one for one in stage.connections.values() if one.host is victim]:
            connection.link.reset()
            connection.lost("killed")

    network.after(8.0, kill)
    network.after(12.0, setattr, victim, "mode", "up")
    report = simulation.run()
    tried = [attempt for scene in stage.scenes.values() for attempt in scene.tries]
    served = [attempt.at - 1_000 for attempt in tried if attempt.origin == victim.name]
    assert set(report.causes) == {"completed"}
    assert any(at < 8 for at in served)
    assert not any(8 < at < 12 for at in served)
    assert any(12 < at < 15 for at in served)

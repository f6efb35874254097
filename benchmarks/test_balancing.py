"""What it costs to pick a server, for each policy, among 2, 100 and 5,000."""

from __future__ import annotations

from collections import deque
from itertools import cycle
from random import Random
from typing import Any

import pytest

from proxycore.policies.balancing.balancers import POLICIES, make_balancer
from proxycore.policies.balancing.tiers import Balancer

COUNTS = [2, 100, 5000]
WEIGHTS = {"equal": [1.0], "weighted": [1.0, 2.0, 3.0, 5.0]}
KEYS = [b"/page/%d" % number for number in range(1000)]


class Server:
    __slots__ = ("active", "available", "backup", "full_weight", "index", "is_full", "name", "reason", "weight")

    def __init__(self, index: int, weight: float) -> None:
        self.index = index
        self.name = f"10.0.{index // 250}.{index % 250}:8080"
        self.weight = self.full_weight = weight
        self.reason = ""
        self.active = 0
        self.available = True
        self.backup = False
        self.is_full = False


def _balancer(policy: str, count: int, weights: list[float]) -> tuple[Balancer, list[Server]]:
    servers = [Server(index, weights[index % len(weights)]) for index in range(count)]
    balancer = make_balancer(policy, Random(1))
    balancer.rebuild(servers)
    return balancer, servers


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_pick(benchmark: Any, policy: str, count: int, weights: str) -> None:
    balancer, _ = _balancer(policy, count, WEIGHTS[weights])
    keys = cycle(KEYS)
    benchmark(lambda: balancer.pick(next(keys)))


@pytest.mark.parametrize("in_flight", [64, 4096])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_exchange(benchmark: Any, policy: str, count: int, in_flight: int) -> None:
    """A pick, the start there, and the end of an older exchange: flat in the number in flight."""
    balancer, _ = _balancer(policy, count, WEIGHTS["weighted"])
    keys = cycle(KEYS)
    running: deque[Any] = deque()

    def exchange() -> None:
        server: Any = balancer.pick(next(keys))
        server.active += 1
        balancer.started(server)
        running.append(server)
        if len(running) > in_flight:
            done = running.popleft()
            done.active -= 1
            balancer.ended(done, 0.01)

    for _ in range(in_flight):
        exchange()
    benchmark(exchange)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_rebuild_after_a_server_fails_or_recovers(benchmark: Any, policy: str, count: int) -> None:
    balancer, servers = _balancer(policy, count, WEIGHTS["weighted"])

    def change() -> None:
        servers[1].available = not servers[1].available
        balancer.rebuild(servers)

    benchmark(change)

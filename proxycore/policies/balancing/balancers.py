"""A balancer for each value of `balance` in a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from random import Random
from types import MappingProxyType
from typing import Final

from proxycore.policies.balancing.chooser import Chooser, Own
from proxycore.policies.balancing.draw import RandomOne, RandomTwo
from proxycore.policies.balancing.load import LeastConnections, LeastTime
from proxycore.policies.balancing.ring import Hashed
from proxycore.policies.balancing.rotation import RoundRobin
from proxycore.policies.balancing.tiers import Balancer, Tier, Tiered

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

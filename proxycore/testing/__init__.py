"""For tests of a proxy, without sockets and without time: a network in memory, a simulator, checkers."""

from proxycore.testing.checkers import Checker, Violation, all_checkers
from proxycore.testing.network import Host, Link, Network, Peer, Weather
from proxycore.testing.simulator import Report, Simulation, SimulationFailed, simulate

__all__ = [
    "Checker",
    "Host",
    "Link",
    "Network",
    "Peer",
    "Report",
    "Simulation",
    "SimulationFailed",
    "Violation",
    "Weather",
    "all_checkers",
    "simulate",
]

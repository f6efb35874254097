"""For tests of a proxy, without sockets and without waiting: `docs/testing.md` shows each of these at work.

- `Proxy` asks a configuration what it does with a request; `explain` says why.
- `Playbook` plays scenarios: facts, and the effects that must answer them (`proxycore.testing.playbook`).
- `simulate` runs a whole proxy in a drawn world of clients, origins and faults, under all checkers.
- `Network` drives any core in memory; `Peer` and `Host` are who it talks to; `all_checkers` watch it.
- `Recorder` writes a run down, `replay` has it again.
- Strategies for hypothesis are in `proxycore.testing.strategies`, since they need it.
"""

from proxycore.testing.checkers import Checker, Violation, all_checkers
from proxycore.testing.explaining import Explanation, explain
from proxycore.testing.network import Host, Link, Network, Peer, Weather
from proxycore.testing.playbook import Handle, Playbook, ScriptMismatch
from proxycore.testing.proxy import Journey, NoListener, Proxy
from proxycore.testing.recording import NotARecording, Recorder, Step, replay
from proxycore.testing.simulator import Report, Simulation, SimulationFailed, simulate

__all__ = [
    "Checker",
    "Explanation",
    "Handle",
    "Host",
    "Journey",
    "Link",
    "Network",
    "NoListener",
    "NotARecording",
    "Peer",
    "Playbook",
    "Proxy",
    "Recorder",
    "Report",
    "ScriptMismatch",
    "Simulation",
    "SimulationFailed",
    "Step",
    "Violation",
    "Weather",
    "all_checkers",
    "explain",
    "replay",
    "simulate",
]

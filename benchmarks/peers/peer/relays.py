"""Reference points: no proxy at all, and relays that don't look at the bytes."""

from __future__ import annotations

from collections.abc import Callable

from harness.origin import APPS
from harness.scenarios import Feature
from peer.peer import Peer, Run
from peer.python_frameworks import PYTHON, versions

FEATURES: frozenset[Feature] = frozenset({"http", "ws"})
HAPROXY_TCP = """
global
  nbthread 1
  maxconn 8000
defaults
  mode tcp
  timeout connect 5s
  timeout client 300s
  timeout server 300s
frontend in
  bind 127.0.0.1:{port} backlog 4096
  default_backend out
backend out
  server origin 127.0.0.1:{upstream_port}
"""


def relay(*loop: str) -> Callable[[Run], list[str]]:
    def command(run: Run) -> list[str]:
        python = [PYTHON.format(installs=run.installs), "-B", str(APPS / "blind_relay.py")]
        return [*python, str(run.port), str(run.upstream_port), *loop]

    return command


def haproxy_tcp(run: Run) -> list[str]:
    configuration = HAPROXY_TCP.format(port=run.port, upstream_port=run.upstream_port)
    return ["haproxy", "-db", "-f", run.write("haproxy.cfg", configuration)]


def reference(
    name: str,
    install: str,
    program: str | None,
    version_argv: tuple[str, ...],
    command: Callable[[Run], list[str]] | None,
) -> Peer:
    return Peer(name, "reference", install, FEATURES, (program,) if program else (), version_argv, command)


PEERS = [
    reference("direct", "nothing: the load talks to the origin", None, ("echo", "-"), None),
    reference("haproxy-tcp", "apt-get install haproxy", "haproxy", ("haproxy", "-v"), haproxy_tcp),
    reference("relay-uvloop", "pip install uvloop", PYTHON, versions("uvloop"), relay("uvloop")),
    reference("relay-asyncio", "python3 -m venv py", PYTHON, (PYTHON, "--version"), relay()),
]

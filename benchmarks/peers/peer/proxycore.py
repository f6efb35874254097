"""proxycore on each binding, run from a checkout with the Python of its environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from peer.peer import Peer, Run

CHECKOUT = Path(__file__).resolve().parents[3]
BINDINGS = ("asyncio", "trio", "gevent")

# What the other peers' configurations say in their words: no access log, no end of a kept connection, room for
# the idle scenario's 2,000 connections from one address.
CONFIGURATION = """
http1 = "{codec}"

[limits]
connections = 9_000
connections_per_client = 9_000
requests_per_connection = "off"

[logging]
access = "off"

[[listeners]]
name = "bench"
bind = "127.0.0.1:{port}"
{tls}
[upstreams.origin]
servers = [{{ url = "http://127.0.0.1:{upstream_port}" }}]
idle_connections = 256
idle_timeout = "75s"
max_exchanges = 9_000
{cache}
[[routes]]
name = "all"
match = {{}}
upstream = "origin"
{use_cache}
"""

TLS = """
[listeners.tls]
certificates = {{ certificate = "{certificate}", key = "{key}" }}
"""


def configuration(run: Run, codec: str) -> str:
    cached = run.mode == "cache"
    return CONFIGURATION.format(
        codec=codec,
        port=run.port,
        upstream_port=run.upstream_port,
        tls=TLS.format(certificate=run.certificate.certificate, key=run.certificate.key) if run.tls else "",
        cache='[caches.main]\nsize = "16MiB"\n' if cached else "",
        use_cache='cache = { store = "main" }' if cached else "",
    )


def serve(python: Path, binding: str, codec: str) -> Callable[[Run], list[str]]:
    def command(run: Run) -> list[str]:
        path = run.write("proxycore.toml", configuration(run, codec))
        return [str(python), "-m", "proxycore", "serve", path, "--binding", binding]

    return command


def peers_of(checkout: Path, suffix: str = "") -> list[Peer]:
    """The bindings of one checkout, and the pure Python codec beside them; names end in `suffix`."""
    python = checkout / ".venv/bin/python"
    if not python.exists():
        python = Path(sys.executable)
    folders = [checkout, *(checkout / "bindings" / binding for binding in BINDINGS)]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, folders)), "PYTHONDONTWRITEBYTECODE": "1"}
    kinds = [(f"proxycore-{binding}", binding, "auto") for binding in BINDINGS]
    kinds.append(("proxycore-h11", "asyncio", "h11"))
    return [
        Peer(
            name=name + suffix,
            kind="proxycore",
            install="make .venv/.installed-test",
            features=frozenset({"http", "tls", "h2", "ws", "cache"}),
            programs=(str(python),),
            version_argv=("git", "-C", str(checkout), "describe", "--always", "--dirty"),
            command=serve(python, binding, codec),
            environment=environment,
        )
        for name, binding, codec in kinds
    ]


PEERS = peers_of(CHECKOUT)

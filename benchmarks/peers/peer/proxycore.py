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

{watch}
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

NOT_WATCHED = """
[logging]
access = "off"
"""

WATCHED = {
    "admin": NOT_WATCHED + '\n[admin]\nbind = "127.0.0.1:0"\n',
    "json-log": '\n[logging]\naccess = "json"\naccess_file = "access.log"\n',
    "trace": NOT_WATCHED + "trace_context = true\n",
}
"""What is told of traffic, by the name of the peer: each beside proxycore-asyncio is the cost of one."""

TLS = """
[listeners.tls]
certificates = {{ certificate = "{certificate}", key = "{key}" }}
"""


def configuration(run: Run, codec: str, watch: str) -> str:
    cached = run.mode == "cache"
    return CONFIGURATION.format(
        codec=codec,
        watch=watch,
        port=run.port,
        upstream_port=run.upstream_port,
        tls=TLS.format(certificate=run.certificate.certificate, key=run.certificate.key) if run.tls else "",
        cache='[caches.main]\nsize = "16MiB"\n' if cached else "",
        use_cache='cache = { store = "main" }' if cached else "",
    )


def serve(python: Path, binding: str, codec: str, watch: str) -> Callable[[Run], list[str]]:
    def command(run: Run) -> list[str]:
        path = run.write("proxycore.toml", configuration(run, codec, watch))
        return [str(python), "-m", "proxycore", "serve", path, "--binding", binding]

    return command


def peers_of(checkout: Path, suffix: str = "") -> list[Peer]:
    """The bindings of one checkout, and the pure Python codec beside them; names end in `suffix`."""
    python = checkout / ".venv/bin/python"
    if not python.exists():
        python = Path(sys.executable)
    folders = [checkout, *(checkout / "bindings" / binding for binding in BINDINGS)]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, folders)), "PYTHONDONTWRITEBYTECODE": "1"}
    kinds = [(f"proxycore-{binding}", binding, "auto", NOT_WATCHED) for binding in BINDINGS]
    kinds.append(("proxycore-h11", "asyncio", "h11", NOT_WATCHED))
    kinds += [(f"proxycore-{name}", "asyncio", "auto", watch) for name, watch in WATCHED.items()]
    return [
        Peer(
            name=name + suffix,
            kind="proxycore",
            install="make .venv/.installed-test",
            features=frozenset({"http", "tls", "h2", "ws", "cache"}),
            programs=(str(python),),
            version_argv=("git", "-C", str(checkout), "describe", "--always", "--dirty"),
            command=serve(python, binding, codec, watch),
            environment=environment,
        )
        for name, binding, codec, watch in kinds
    ]


PEERS = peers_of(CHECKOUT)

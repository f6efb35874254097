"""Varnish, for the cache scenario only: it can't be held to one thread, only to one core."""

from __future__ import annotations

from peer.peer import Peer, Run

CONFIGURATION = """
vcl 4.1;
backend origin {{ .host = "127.0.0.1"; .port = "{upstream_port}"; }}
"""


def command(run: Run) -> list[str]:
    # fmt: off
    return ["varnishd", "-F", "-j", "none", "-n", f"{run.directory}/varnish", "-a", f"127.0.0.1:{run.port}",
            "-f", run.write("bench.vcl", CONFIGURATION.format(upstream_port=run.upstream_port)), "-s", "malloc,32M"]
    # fmt: on


PEERS = [
    Peer(
        name="varnish",
        kind="native",
        install="apt-get install varnish",
        features=frozenset({"cache"}),
        programs=("varnishd",),
        version_argv=("varnishd", "-V"),
        command=command,
    )
]

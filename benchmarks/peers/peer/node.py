"""Node proxies: one process each."""

from __future__ import annotations

from collections.abc import Callable

from harness.origin import APPS
from harness.processes import free_port
from harness.scenarios import Feature
from peer.peer import Peer, Run

MODULES = "{installs}/node/node_modules"
FEATURES: frozenset[Feature] = frozenset({"http", "tls", "ws"})


def middleware(run: Run) -> list[str]:
    script = ["node", str(APPS / "node_middleware.js"), f"{run.installs}/node"]
    return [*script, str(run.port), str(run.upstream_port), *run.cert_and_key]


def configurable(run: Run) -> list[str]:
    # fmt: off
    argv = ["node", MODULES.format(installs=run.installs) + "/configurable-http-proxy/bin/configurable-http-proxy",
            "--ip", "127.0.0.1", "--port", str(run.port), "--api-ip", "127.0.0.1", "--api-port", str(free_port()),
            "--default-target", f"http://127.0.0.1:{run.upstream_port}", "--log-level", "error",
            "--keep-alive-timeout", "75000"]
    # fmt: on
    if run.tls:
        argv += ["--ssl-cert", str(run.certificate.certificate), "--ssl-key", str(run.certificate.key)]
    return argv


def peer(name: str, install: str, package: str, command: Callable[[Run], list[str]]) -> Peer:
    module = f"{MODULES}/{package}"
    version = f"require('{module}/package.json').version + ' on node ' + process.version"
    return Peer(name, "node", install, FEATURES, ("node", module), ("node", "-p", version), command)


PEERS = [
    peer("node-hpm", "npm install express http-proxy-middleware", "http-proxy-middleware", middleware),
    peer("node-chp", "npm install configurable-http-proxy", "configurable-http-proxy", configurable),
]

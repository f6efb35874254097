"""What the playbooks share: one configuration, and the bytes that are sent again and again."""

from __future__ import annotations

from typing import Any

from proxycore.config import Config, Limits, Listener, Retries, Route, Server, Timeouts, Upstream
from proxycore.testing.playbook import Handle, Line, accepted, connect, connected, nothing, received, send, starting

ONE = ("10.0.0.1", 8080)
TWO = ("10.0.0.2", 8080)

GET = b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n"
GET_OUT = starting(b"GET /a HTTP/1.1\r\nhost: a.test\r\n")
POST = b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\n"
POST_OUT = starting(b"POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n")
UPGRADE = b"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n"
DATED = b"Date: Sun, 06 Nov 1994 08:49:37 GMT"
OK = b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: 2\r\n\r\nhi" % DATED
OK_OUT = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nd%b\r\n\r\nhi" % DATED[1:]


def config(*servers: Server | str, **settings: Any) -> Config:
    """One listener, one upstream, one route. `settings` are those of the upstream, or of the whole."""
    whole = {name: settings.pop(name) for name in ("limits", "timeouts", "listeners", "routes") if name in settings}
    return Config(
        listeners=whole.pop("listeners", [Listener(name="web", bind="192.0.2.10:80")]),
        upstreams={"api": Upstream(servers=servers or ["http://10.0.0.1:8080"], **settings)},
        routes=whole.pop("routes", [Route(upstream="api")]),
        **whole,
    )


def two_servers(**settings: Any) -> Config:
    return config("http://10.0.0.1:8080", "http://10.0.0.2:8080", **settings)


def leased(client: Handle, server: Handle, request: bytes = GET) -> tuple[Line, ...]:
    """A client whose request a server has got."""
    return (
        accepted(client) >> nothing,
        received(client, request) >> connect(server, ONE),
        connected(server) >> send(server, starting(request.partition(b"\r\n")[0])),
    )


__all__ = [
    "DATED", "GET", "GET_OUT", "OK", "OK_OUT", "ONE", "POST", "POST_OUT", "SWITCHED", "TWO", "UPGRADE", "Limits",
    "Retries", "Server", "Timeouts", "config", "leased", "two_servers",
]  # fmt: skip

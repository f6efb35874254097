"""A whole proxied exchange without sockets, and what waiting exchanges cost the one that is served."""

from __future__ import annotations

from typing import Literal

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from proxycore.config import Config, Limits, Listener, Route, Server, Upstream
from proxycore.core import Core
from proxycore.mechanisms.websocket.frames import BINARY, frame
from proxycore.words.effects import Connect, Send
from proxycore.words.ids import ConnId

REQUEST = b"GET /small HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 15:31:58 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: 128\r\nConnection: keep-alive\r\n\r\n" + b"x" * 128
)
CLIENT = ("192.0.2.1", 50_000)
LOCAL = ("127.0.0.1", 8080)
Http1 = Literal["h11", "httptools"]


def make_core(
    http1: Http1, *, max_connections: int | str = "off", queue: int = 100, websocket: dict[str, str] | None = None
) -> Core:
    config = Config(
        http1=http1,
        limits=Limits(requests_per_connection="off", connections_per_client="off"),
        listeners=[Listener(name="web", bind="127.0.0.1:0")],
        upstreams={
            "api": Upstream(
                servers=[Server(url="http://127.0.0.1:3000", max_connections=max_connections)],
                queue=queue,
                queue_timeout="1h",
            )
        },
        routes=[Route(upstream="api", websocket=websocket)],
    )
    return Core(config, now=0.0, wall=1e9, seed=1, entropy=bytes)


def accept(core: Core) -> ConnId:
    conn = core.next_conn_id()
    core.accepted(conn, "web", CLIENT, LOCAL, 1.0)
    return conn


def first_exchange(core: Core, client: ConnId) -> ConnId:
    """Have a connection to the server dialled and used once."""
    (dial,) = core.data_received(client, REQUEST, 1.0)
    assert isinstance(dial, Connect)
    core.connected(dial.conn, LOCAL, ("127.0.0.1", 3000), 1.0)
    core.data_received(dial.conn, RESPONSE, 1.0)
    return dial.conn


@pytest.mark.parametrize("http1", ["httptools", "h11"])
def test_exchange(benchmark: BenchmarkFixture, http1: Http1) -> None:
    core = make_core(http1)
    client = accept(core)
    server = first_exchange(core, client)

    def exchange() -> None:
        core.data_received(client, REQUEST, 2.0)
        core.data_received(server, RESPONSE, 2.0)

    benchmark(exchange)
    assert core.ledger().exchanges == 0


OPENING = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
OPENED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


@pytest.mark.parametrize("websocket", [None, {}], ids=["as it comes", "message by message"])
def test_websocket_echo(benchmark: BenchmarkFixture, websocket: dict[str, str] | None) -> None:
    """A message of 64 bytes, there and back."""
    core = make_core("httptools", websocket=websocket)
    client = accept(core)
    (dial,) = core.data_received(client, OPENING, 1.0)
    assert isinstance(dial, Connect)
    core.connected(dial.conn, LOCAL, ("127.0.0.1", 3000), 1.0)
    core.data_received(dial.conn, OPENED, 1.0)
    asked, answered = frame(BINARY, b"m" * 64, b"mask"), frame(BINARY, b"m" * 64)

    def echo() -> None:
        core.data_received(client, asked, 2.0)
        core.data_received(dial.conn, answered, 2.0)

    benchmark(echo)
    assert core.data_received(dial.conn, answered, 2.0) == [Send(client, answered)]


@pytest.mark.parametrize("waiters", [1, 64, 512, 4096])
def test_pool_with_waiters(benchmark: BenchmarkFixture, waiters: int) -> None:
    """One server with room for one: each response lets the next of the queue go, who queues again behind the others."""
    core = make_core("httptools", max_connections=1, queue=10_000)
    first = accept(core)
    server = first_exchange(core, first)
    clients = [accept(core) for _ in range(waiters)]
    for client in [first, *clients]:
        core.data_received(client, REQUEST, 2.0)
    assert core.ledger().queued == waiters

    def serve_one() -> None:
        for effect in core.data_received(server, RESPONSE, 3.0):
            if isinstance(effect, Send) and effect.conn != server:
                core.data_received(effect.conn, REQUEST, 3.0)

    benchmark(serve_one)
    assert core.ledger().queued == waiters

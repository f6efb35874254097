"""WebSockets over sockets: by the `websockets` package on both ends, and by bytes where it would refuse to err."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close
from websockets.sync.client import ClientConnection, connect

from proxycore.config import Config, Route
from proxycore.mechanisms.websocket.frames import TEXT, close_frame, frame
from tests.conformance.echoes import websocket_echo
from tests.conformance.origins import Line, client, fields_of, origin, status_of
from tests.conformance.proxies import Handle, outcome_of_first, soon

Run = Callable[..., AbstractContextManager[Handle]]
Configure = Callable[..., Config]

PLAIN: dict[str, Any] = {}
READ: dict[str, Any] = {"websocket": {"max_message": "2MiB"}}
WAYS = pytest.mark.parametrize("route", [PLAIN, READ], ids=["as it comes", "message by message"])
MASK = b"\x01\x02\x03\x04"

OPEN = (
    b"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


@pytest.fixture(params=["httptools"])
def http1(request: pytest.FixtureRequest) -> str:
    """The handshake's head is the playbooks' matter, with either codec; here it is what follows."""
    name: str = request.param
    return name


def joined(proxy: Handle, **options: Any) -> ClientConnection:
    socket: ClientConnection = connect(f"ws://127.0.0.1:{proxy.port}/", max_size=None, **options)
    return socket


def closed(socket: ClientConnection) -> Close | None:
    """The Close that comes next."""
    with pytest.raises(ConnectionClosed) as found:
        socket.recv(timeout=5)
    return found.value.rcvd


@WAYS
@pytest.mark.parametrize("compression", ["deflate", None])
def test_messages_of_every_size_and_kind_come_back(
    run: Run, configure: Configure, route: dict[str, Any], compression: str | None
) -> None:
    messages: list[str | bytes] = [
        "",
        "hello",
        "ü" * 100,
        b"\x00" * 200_000,
        b"",
        "x" * 70_000,
        bytes(range(256)) * 4_096,
    ]
    with websocket_echo(max_size=None) as url, run(configure(url, route=route)) as proxy:
        with joined(proxy, compression=compression) as socket:
            for message in messages:
                socket.send(message)
                assert socket.recv(timeout=5) == message
            socket.send(itertools.repeat("fragment ", 50))
            assert socket.recv(timeout=5) == "fragment " * 50
            assert socket.ping().wait(5)
            socket.close(4321, "as I like")
        assert outcome_of_first(proxy) == ("completed", "")
        assert proxy.ended[0].messages == (8, 8)
        assert soon(lambda: proxy.ledger().is_empty)


@WAYS
def test_the_servers_close_comes_with_its_code(run: Run, configure: Configure, route: dict[str, Any]) -> None:
    with websocket_echo(max_size=10) as url, run(configure(url, route=route)) as proxy, joined(proxy) as socket:
        socket.send("longer than the server takes")
        found = closed(socket)
        assert found is not None
        assert found.code == 1009


@WAYS
def test_a_subprotocol_is_chosen_by_the_server(run: Run, configure: Configure, route: dict[str, Any]) -> None:
    with websocket_echo(subprotocols=["chat.v2"]) as url, run(configure(url, route=route)) as proxy:
        with joined(proxy, subprotocols=["chat.v1", "chat.v2"]) as socket:
            assert socket.subprotocol == "chat.v2"


@WAYS
def test_a_server_that_declines_is_heard(run: Run, configure: Configure, route: dict[str, Any]) -> None:
    with websocket_echo(origins=["https://other.test"]) as url, run(configure(url, route=route)) as proxy:
        with pytest.raises(InvalidStatus) as refused:
            joined(proxy, origin="https://a.test")
        assert refused.value.response.status_code == 403
        assert b"https://a.test" in (refused.value.response.body or b"")


@WAYS
def test_nothing_passes_before_the_101_and_what_came_too_early_arrives(
    run: Run, configure: Configure, route: dict[str, Any]
) -> None:
    asked, go_on, heard = threading.Event(), threading.Event(), threading.Event()

    def hesitating(line: Line) -> None:
        line.head()
        asked.set()
        assert go_on.wait(5)
        assert not line.buffer
        line.send(SWITCHED)
        assert line.exactly(6 + 9)[0] == 0x81
        heard.set()
        line.to_end()

    with origin(hesitating) as o, run(configure(o.url, route=route)) as proxy, client(proxy.port) as c:
        c.send(OPEN + frame(TEXT, b"too early", MASK))
        assert asked.wait(5)
        go_on.set()
        assert status_of(c.head()) == 101
        assert heard.wait(5)


def test_a_101_that_answers_another_key_is_a_502(run: Run, configure: Configure) -> None:
    def lying(line: Line) -> None:
        line.head()
        line.send(SWITCHED.replace(b"s3pP", b"AAAA") + frame(TEXT, b"smuggled"))
        line.to_end()

    with origin(lying) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(OPEN)
        head, _ = c.message()
        assert status_of(head) == 502
        assert b"http_upgrade_failed" in fields_of(head)[b"proxy-status"]
        assert proxy.ledger().upstreams == 0


@WAYS
def test_a_drain_says_goodbye(run: Run, configure: Configure, route: dict[str, Any]) -> None:
    with websocket_echo() as url, run(configure(url, route=route)) as proxy, joined(proxy) as socket:
        socket.send("hello")
        assert socket.recv(timeout=5) == "hello"
        proxy.request_drain(10)
        found = closed(socket)
        assert found == Close(1001, "going away")
        assert outcome_of_first(proxy) == ("completed", "")


@WAYS
def test_a_listener_that_a_reload_removes_says_goodbye(run: Run, configure: Configure, route: dict[str, Any]) -> None:
    with websocket_echo() as url:
        config = configure(url, route=route)
        (listener,) = config.listeners
        with run(config) as proxy, joined(proxy) as socket:
            proxy.reload(replace(config, listeners=[replace(listener, name="other")]))
            assert closed(socket) == Close(1001, "going away")


def test_the_limits_of_a_route(run: Run, configure: Configure) -> None:
    route = {"websocket": {"max_message": 100, "origins": ["https://a.test"], "ping_interval": "50ms"}}
    with websocket_echo() as url, run(configure(url, route=route)) as proxy:
        with pytest.raises(InvalidStatus) as refused:
            joined(proxy, origin="https://b.test")
        assert refused.value.response.status_code == 403
        with joined(proxy, origin="https://a.test") as socket:
            socket.send("x" * 100)
            assert socket.recv(timeout=5) == "x" * 100
            socket.send("x" * 101)
            found = closed(socket)
            assert found is not None
            assert found.code == 1009
        with client(proxy.port) as silent:
            silent.send(OPEN.replace(b"\r\n\r\n", b"\r\nOrigin: https://a.test\r\n\r\n"))
            silent.head()
            assert silent.exactly(10)[:2] == b"\x89\x08"
            assert silent.to_end().startswith(b"\x88")
        assert soon(lambda: len(proxy.ended) == 3)
        ends = {(one.outcome.cause, one.outcome.detail) for one in proxy.ended}
        assert ends == {("refused", "websocket"), ("timed_out", "ping_interval")}


@WAYS
def test_a_client_that_reads_nothing_slows_its_server(run: Run, configure: Configure, route: dict[str, Any]) -> None:
    is_stuck = threading.Event()

    def flooding(line: Line) -> None:
        line.head()
        line.send(SWITCHED)
        line.socket.settimeout(0.3)
        try:
            line.send(frame(TEXT, b"x" * 60_000) * 1_000)
        except TimeoutError:
            is_stuck.set()

    with origin(flooding) as o, run(configure(o.url, route=route)) as proxy, client(proxy.port) as c:
        c.send(OPEN)
        c.head()
        assert is_stuck.wait(10)


def test_a_route_on_unix_sockets(run: Run, configure: Configure, tmp_path: object) -> None:
    """One proxy behind the other, a Unix socket between them."""
    path = f"unix:{tmp_path}/p.sock"
    with websocket_echo() as url, run(configure(url, listener={"bind": ["127.0.0.1:0", path]})):
        with run(configure(path, route=READ)) as front, joined(front) as socket:
            socket.send("through two")
            assert socket.recv(timeout=5) == "through two"


def test_a_close_that_is_cut_is_no_end(run: Run, configure: Configure) -> None:
    def cutting(line: Line) -> None:
        line.head()
        line.send(SWITCHED + close_frame(1000)[:3])

    with origin(cutting) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(OPEN)
        c.head()
        assert outcome_of_first(proxy) == ("upstream_failed", "tunnel")


def test_other_routes_are_none_the_wiser(run: Run, configure: Configure) -> None:
    with websocket_echo() as url:
        config = configure(url)
        local = Route(name="local", match={"path": "/local"}, respond={"body": "here"})
        with run(replace(config, routes=[local, *config.routes])) as proxy, client(proxy.port) as c:
            c.send(OPEN.replace(b"/a", b"/local"))
            assert c.message()[1] == b"here"

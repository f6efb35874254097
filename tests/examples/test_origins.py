"""The demo's origins: each path does what the page that `make run` prints says of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Message, Request, TextMessage

import origins


def exchange(sent: bytes, *, until: Callable[[bytes], bool] = lambda received: False) -> bytes:
    """All that the origin `red` answers to these bytes, until it closes or `until` holds."""

    async def talk() -> bytes:
        async with await origins.start("red") as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(sent)
            received = b""
            while not until(received) and (data := await reader.read(65536)):
                received += data
            writer.close()
            await writer.wait_closed()
            return received

    return asyncio.run(asyncio.wait_for(talk(), 10))


def get(target: str, *headers: str, method: str = "GET", body: bytes = b"") -> tuple[bytes, bytes]:
    """One exchange on a connection of its own: the answer's head and what follows it."""
    lines = [f"{method} {target} HTTP/1.1", "Host: demo", "Connection: close", *headers, "", ""]
    head, _, content = exchange("\r\n".join(lines).encode() + body).partition(b"\r\n\r\n")
    return head, content


def test_the_root_describes_the_request() -> None:
    head, content = get("/a?b=c", "X-One: 1")
    assert head.startswith(b"HTTP/1.1 200")
    described = json.loads(content)
    assert (described["origin"], described["method"], described["target"]) == ("red", "GET", "/a?b=c")
    assert ["x-one", "1"] in described["headers"]


def test_health() -> None:
    assert get("/health")[1] == b"ok\n"


@pytest.mark.parametrize("seconds", ["0", "-1"])
def test_slow_answers_after_a_while(seconds: str) -> None:
    assert get(f"/slow?seconds={seconds}")[1] == b"red was slow\n"


def test_stream_sends_events() -> None:
    head, content = get("/stream?count=3&every=0")
    assert b"text/event-stream" in head
    assert content.count(b"data: tick") == 3


def test_echo_sends_the_body_back() -> None:
    assert b"hello" in get("/echo", "Content-Length: 5", method="POST", body=b"hello")[1]


def test_a_client_that_waits_for_100_gets_it_first() -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: demo\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    assert exchange(head, until=lambda received: b"\r\n\r\n" in received).startswith(b"HTTP/1.1 100")


def test_head_has_the_length_and_no_content() -> None:
    head, content = get("/health", method="HEAD")
    assert b"content-length: 3" in head
    assert content == b""


def test_a_connection_serves_several_requests() -> None:
    one = b"POST /health HTTP/1.1\r\nHost: demo\r\nContent-Length: 3\r\n\r\nabc"
    assert exchange(one * 3, until=lambda received: received.count(b"ok\n") == 3).count(b"HTTP/1.1 200") == 3


def test_what_is_no_request_is_told_so() -> None:
    assert exchange(b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_a_websocket_echoes() -> None:
    client = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)

    async def talk() -> list[object]:
        async with await origins.start("red") as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(client.send(Request(host="demo", target="/ws")))
            heard: list[object] = []
            while data := await reader.read(65536):
                client.receive_data(data)
                for event in client.events():
                    heard.append(event)
                    if isinstance(event, AcceptConnection):
                        writer.write(client.send(Message("hello")))
                    elif isinstance(event, TextMessage):
                        writer.write(client.send(CloseConnection(1000)))
            writer.close()
            return heard

    accepted, echoed, closed = asyncio.run(asyncio.wait_for(talk(), 10))
    assert isinstance(accepted, AcceptConnection)
    assert isinstance(echoed, TextMessage)
    assert echoed.data == "hello"
    assert isinstance(closed, CloseConnection)

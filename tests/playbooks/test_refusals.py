"""What is refused of a request before any server is asked: each with its status, and a body that a person can read."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

import pytest

from proxycore.config import Limits, Route, Timeouts, WebSocket
from proxycore.core import Core
from proxycore.testing.playbook import (
    CLIENT,
    LOCAL,
    WALL,
    Handle,
    Playbook,
    accepted,
    connect,
    connected,
    nothing,
    received,
    send,
    starting,
)
from proxycore.words.effects import Send
from proxycore.words.notices import ALL_KINDS, ExchangeEnded
from tests.playbooks.scripts import ONE, config

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
JSON = b"Accept: application/json\r\n"

LIMITS = Limits(request_head=2048, request_target=100, header_fields=20, request_body=1000)
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

CONDEMNED_EARLY: list[tuple[str, bytes, int]] = [
    ("no request line", b"hello\r\n" + JSON + b"\r\n", 400),
    ("a control byte", GET + JSON + b"X: \x01\r\n\r\n", 400),
    ("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n" + JSON + b"\r\n", 405),
    ("TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n" + JSON + b"\r\n", 405),
    ("a long target", b"GET /" + b"a" * 100 + b" HTTP/1.1\r\nHost: a\r\n" + JSON + b"\r\n", 414),
    ("many fields", GET + JSON + b"X: y\r\n" * 20 + b"\r\n", 431),
    ("a long head", GET + JSON + b"X: " + b"y" * 2048 + b"\r\n\r\n", 431),
    ("HTTP/2 where none is spoken", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n" + JSON + b"\r\n", 505),
]
"""By a byte of the head, or by its size: whatever follows isn't looked at, so nobody knows what the client prefers."""

CONDEMNED_WHOLE: list[tuple[str, bytes, int]] = [
    ("no Host", b"GET / HTTP/1.1\r\n", 400),
    ("two lengths", POST + b"Content-Length: 1\r\nContent-Length: 2\r\n", 400),
    ("a length and chunks", POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
    ("a path out of the root", b"GET /../a HTTP/1.1\r\nHost: a\r\n", 400),
    ("POST of HTTP/1.0 without a length", b"POST / HTTP/1.0\r\nHost: a\r\n", 411),
    ("the same, on a connection to be kept", b"PUT / HTTP/1.0\r\nConnection: keep-alive\r\n", 411),
    ("long content", POST + b"Content-Length: 1001\r\n", 413),
    ("an expectation", POST + b"Expect: wonders\r\nContent-Length: 1\r\n", 417),
    ("another scheme", b"GET https://a/ HTTP/1.1\r\nHost: a\r\n", 421),
    ("another version of WebSocket", GET + WEBSOCKET + b"Sec-WebSocket-Version: 8\r\n", 426),
    ("a transfer coding", POST + b"Transfer-Encoding: gzip, chunked\r\n", 501),
]
"""By what its fields say together. The empty line isn't here yet."""


def answer_to(*pieces: bytes, seconds: float = 0.0) -> tuple[int, str, bytes]:
    """Status, media type and body of the answer to what is sent in these pieces, with time to think about it then."""
    routes = [Route(upstream="api", websocket=WebSocket())]
    plan = config(limits=LIMITS, timeouts=Timeouts(request_head=5), routes=routes)
    core = Core(plan, now=0.0, wall=WALL, seed=1, entropy=Random(1).randbytes)
    client = core.next_conn_id()
    effects = [*core.accepted(client, "web", CLIENT, LOCAL, 0.0)]
    for piece in pieces:
        effects += core.data_received(client, piece, 0.0)
    effects += core.timer_expired(seconds)
    answer = b"".join(bytes(effect.data) for effect in effects if isinstance(effect, Send))
    head, _, body = answer.partition(b"\r\n\r\n")
    start, *lines = head.decode("ascii").split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert int(fields["content-length"]) == len(body)
    return int(start.split(" ")[1]), fields["content-type"], body


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(("data", "status"), [pytest.param(*rest, id=name) for name, *rest in CONDEMNED_EARLY])
def test_what_is_condemned_early_is_answered_in_plain_text(data: bytes, status: int) -> None:
    answer = answer_to(data)
    assert answer[:2] == (status, "text/plain; charset=utf-8")
    assert answer[2].startswith(b"%d " % status)
    assert answer_to(*one_by_one(data)) == answer


@pytest.mark.parametrize(("data", "status"), [pytest.param(*rest, id=name) for name, *rest in CONDEMNED_WHOLE])
def test_what_is_condemned_whole_is_answered_as_its_sender_prefers(data: bytes, status: int) -> None:
    plain, asked = data + b"\r\n", data + b"aCCept: application/json\r\n\r\n"
    answer = answer_to(plain)
    assert answer[:2] == (status, "text/plain; charset=utf-8")
    assert answer[2].startswith(b"%d " % status)
    answer = answer_to(asked)
    assert answer[:2] == (status, "application/problem+json")
    assert json.loads(answer[2])["status"] == status
    assert answer_to(*one_by_one(asked)) == answer


def test_what_never_comes_whole_is_answered_in_its_time() -> None:
    assert answer_to(GET + b"Accept: application/json", seconds=5.0)[:2] == (408, "text/plain; charset=utf-8")


@pytest.mark.parametrize("request_line", [b"POST / HTTP/1.1", b"GET / HTTP/1.0"])
def test_no_length_is_no_content_where_that_is_legitimate(request_line: bytes) -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        accepted(client) >> nothing,
        received(client, request_line + b"\r\nHost: a\r\n\r\n") >> connect(server, ONE),
        connected(server) >> send(server, starting(request_line[:-1] + b"1\r\n")),
    )


@pytest.mark.parametrize("pieces", [lambda data: [data], one_by_one], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data, _ in CONDEMNED_WHOLE])
def test_the_log_says_what_was_asked_for_where_its_fields_are_at_fault(
    data: bytes, pieces: Callable[[bytes], list[bytes]]
) -> None:
    plan = config(limits=LIMITS, routes=[Route(upstream="api", websocket=WebSocket())])
    core = Core(plan, now=0.0, wall=WALL, seed=1, entropy=Random(1).randbytes, watch=ALL_KINDS)
    client = core.next_conn_id()
    core.accepted(client, "web", CLIENT, LOCAL, 0.0)
    for piece in pieces(data + b"\r\n"):
        core.data_received(client, piece, 0.0)
    (ended,) = (notice for notice in core.take_notices(0.0) if isinstance(notice, ExchangeEnded))
    method, target, _ = data.partition(b"\r\n")[0].split(b" ")
    assert (ended.method, ended.target) == (method, target)

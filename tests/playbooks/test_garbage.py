"""What has ended is freed at once: nothing of a connection or an exchange waits for the garbage collector.

A collector counts objects, not bytes: one that holds the last block read of a connection is as light to it as any
other, so under a flood cycles would hold memory by the megabyte. And the fewer it finds, the rarer it runs.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from proxycore.composition.deliberation import Deliberation
from proxycore.composition.downstream import DownstreamConnection
from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Filter, Respond, Verdict
from proxycore.composition.tunnel import Tunnel
from proxycore.composition.upstream import UpstreamConnection
from proxycore.composition.wire import Wire
from proxycore.mechanisms.http1.reader import RequestReader, ResponseReader
from proxycore.testing.playbook import (
    Fact,
    Handle,
    Playbook,
    accepted,
    connect_failed,
    connected,
    eof,
    lost,
    paused,
    received,
    resumed,
    tick,
)
from proxycore.words.messages import Headers, RequestHead, ResponseHead
from tests.playbooks.scripts import GET, OK, POST, SWITCHED, UPGRADE, Timeouts, config

CLIENT, SERVER = Handle("client"), Handle("server")
CHUNKED = b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"

OF_A_CONNECTION = {
    DownstreamConnection,
    UpstreamConnection,
    Wire,
    Exchange,
    Deliberation,
    Tunnel,
    RequestReader,
    ResponseReader,
    RequestHead,
    ResponseHead,
}

ENDS: dict[str, list[Fact]] = {
    "kept, and left": [received(CLIENT, GET), connected(SERVER), received(SERVER, OK), lost(CLIENT), lost(SERVER)],
    "nothing asked": [lost(CLIENT)],
    "no request": [received(CLIENT, b"\x16\x03\x01\r\n\r\n"), tick(5), lost(CLIENT)],
    "content turns bad": [
        received(CLIENT, CHUNKED + b"1\r\nx\r\n;;\r\n"),
        connect_failed(SERVER, "ECANCELED"),
        tick(5),
        lost(CLIENT),
    ],
    "refused": [received(CLIENT, GET), connect_failed(SERVER), lost(CLIENT)],
    "a bad response": [
        received(CLIENT, GET),
        connected(SERVER),
        received(SERVER, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n;;\r\n"),
        lost(SERVER),
        lost(CLIENT),
    ],
    "a tunnel": [
        received(CLIENT, UPGRADE),
        connected(SERVER),
        received(SERVER, SWITCHED + b"hello"),
        received(CLIENT, b"hello"),
        eof(CLIENT),
        eof(SERVER),
        lost(CLIENT),
        lost(SERVER),
    ],
    "a tunnel that is cut": [
        received(CLIENT, UPGRADE),
        connected(SERVER),
        received(SERVER, SWITCHED),
        lost(CLIENT),
        lost(SERVER),
    ],
    "an upload that is too slow": [
        received(CLIENT, POST + b"01"),
        connected(SERVER),
        tick(60),
        lost(SERVER),
        lost(CLIENT),
    ],
    "a reader that never reads": [
        received(CLIENT, GET),
        connected(SERVER),
        received(SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + b"x" * 100_000),
        paused(CLIENT),
        tick(60),
        lost(SERVER),
        lost(CLIENT),
    ],
    "an answer that left late": [
        received(CLIENT, GET),
        connected(SERVER),
        received(SERVER, OK),
        paused(CLIENT),
        resumed(CLIENT),
        lost(CLIENT),
        lost(SERVER),
    ],
}


class Answering(Filter):
    """Answers by itself: in pieces where it is asked to."""

    def on_request(self, exchange: Exchange) -> Verdict | None:
        body = Pieces() if exchange.request.target == b"/pieces" else b"hi"
        return Respond(ResponseHead(200, Headers()), body)


class Looking(Filter):
    """Lets everything pass."""

    def on_route(self, exchange: Exchange) -> Verdict | None:
        return None


class Pieces:
    """A `BodySource` that keeps whom it may wake until it is closed."""

    def __init__(self) -> None:
        self.left = [b"last", b"first"]

    def begin(self, wake: Callable[[], None]) -> None:
        self.wake: Callable[[], None] | None = wake

    def pull(self) -> bytes | None:
        return self.left.pop() if self.left else b""

    def close(self) -> None:
        self.wake = None


FILTERED: dict[str, tuple[type[Filter], list[Fact]]] = {
    "answered by a filter": (Answering, [received(CLIENT, GET), lost(CLIENT)]),
    "answered by a filter, in pieces": (Answering, [received(CLIENT, GET.replace(b"/a", b"/pieces")), lost(CLIENT)]),
    "seen by a filter": (
        Looking,
        [received(CLIENT, GET), connected(SERVER), received(SERVER, OK), lost(CLIENT), lost(SERVER)],
    ),
}


@pytest.fixture
def garbage() -> Iterator[list[object]]:
    """What the collector finds, once the test has collected."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize("end", [*ENDS, *FILTERED])
def test_what_has_ended_is_freed_at_once(end: str, garbage: list[object]) -> None:
    CLIENT.number = None
    SERVER.number = 2
    kinds, facts = ([FILTERED[end][0]], FILTERED[end][1]) if end in FILTERED else ([], ENDS[end])
    timeouts = Timeouts(request_body=5, send=5, response_head=30)
    playbook = Playbook(config(timeouts=timeouts), filters=[kind() for kind in kinds])
    for fact in (accepted(CLIENT), *facts):
        playbook._tell(fact)
    assert playbook.is_empty(), playbook.core.ledger()
    gc.collect()
    assert {type(thing) for thing in garbage} & OF_A_CONNECTION == set()

"""The cache and compression over real sockets: what is stored, renewed, shared and coded reaches clients whole."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from h2.events import DataReceived, StreamEnded

from proxycore.config import Cache, Config, RouteCache
from tests.conformance.conftest import Run
from tests.conformance.origins import LIMIT, Handler, Line, client, fields_of, origin, response, status_of
from tests.conformance.proxies import soon
from tests.conformance.test_http2_clients import Http2Client, content_of

Configure = Callable[..., Config]

GET = b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n"
MAIN = {"main": Cache(size="8MiB", object_max="4MiB")}
CACHED = {"cache": RouteCache(store="main")}
PAGE = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def cached(configure: Configure) -> Configure:
    def make(server: str, **options: Any) -> Config:
        return configure(server, route=CACHED, caches=MAIN, **options)

    return make


def counting(asked: list[bytes], *answers: bytes) -> Handler:
    """Notes the heads that come, and gives one answer after the other, the last again and again."""

    def handle(line: Line) -> None:
        while True:
            head, _ = line.message()
            asked.append(head)
            line.send(answers[min(len(asked), len(answers)) - 1])

    return handle


def test_a_hit_is_the_same_bytes_and_asks_nobody(run: Run, cached: Configure) -> None:
    asked: list[bytes] = []
    page = response(PAGE, b"Cache-Control: max-age=60", b'ETag: "1"')
    with origin(counting(asked, page)) as o, run(cached(o.url)) as proxy, client(proxy.port) as line:
        for _ in range(3):
            line.send(GET)
            assert line.message()[1] == PAGE
        line.send(GET.replace(b"\r\n\r\n", b"\r\nRange: bytes=1000-1999\r\n\r\n"))
        head, part = line.message()
        assert (status_of(head), part) == (206, PAGE[1000:2000])
        line.send(GET.replace(b"\r\n\r\n", b'\r\nIf-None-Match: "1"\r\n\r\n'))
        assert status_of(line.head()) == 304
        line.send(GET.replace(b"GET", b"HEAD"))
        assert fields_of(line.head())[b"content-length"] == b"%d" % len(PAGE)
        assert len(asked) == 1


def test_what_is_stale_is_renewed_by_a_304(run: Run, cached: Configure) -> None:
    asked: list[bytes] = []
    page = response(b"page", b"Cache-Control: no-cache", b'ETag: "1"')
    same = b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'
    with origin(counting(asked, page, same)) as o, run(cached(o.url)) as proxy, client(proxy.port) as line:
        for _ in range(2):
            line.send(GET)
            assert line.message()[1] == b"page"
        assert b'if-none-match: "1"' in asked[1].lower()


def test_many_who_ask_at_once_are_one_request_and_get_it_as_it_comes(run: Run, cached: Configure) -> None:
    asked: list[bytes] = []
    go_on = threading.Event()
    whole = response(PAGE, b"Cache-Control: max-age=60")

    def halting(line: Line) -> None:
        asked.append(line.head())
        line.send(whole[:-1])
        assert go_on.wait(LIMIT)
        line.send(whole[-1:])

    with origin(halting) as o, run(cached(o.url)) as proxy, ExitStack() as stack:
        lines = [stack.enter_context(client(proxy.port)) for _ in range(4)]
        for line in lines:
            line.send(GET)
        for line in lines:
            assert fields_of(line.head())[b"content-length"] == b"%d" % len(PAGE)
            assert line.exactly(len(PAGE) - 1) == PAGE[:-1]
        go_on.set()
        assert [line.exactly(1) for line in lines] == [PAGE[-1:]] * 4
        assert len(asked) == 1


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_when_the_first_one_leaves_in_the_middle_the_others_get_the_whole(
    run: Run, cached: Configure, protocol: str
) -> None:
    asked: list[bytes] = []
    go_on = threading.Event()
    whole = response(PAGE, b"Cache-Control: max-age=60")

    def halting(line: Line) -> None:
        asked.append(line.head())
        line.send(whole[:-1])
        assert go_on.wait(LIMIT)
        line.send(whole[-1:])

    config = {"listener": {"protocols": ["http/1.1", "h2c"]}}
    with origin(halting) as o, run(cached(o.url, **config)) as proxy, ExitStack() as stack:
        if protocol == "h2":
            peer = stack.enter_context(Http2Client(proxy.port))
            first = peer.ask("/page")
            peer.until(DataReceived, first)
        else:
            leaving = stack.enter_context(client(proxy.port))
            leaving.send(GET)
            leaving.head()
        line = stack.enter_context(client(proxy.port))
        line.send(GET)
        line.head()
        if protocol == "h2":
            peer.h2.reset_stream(first, error_code=8)
            peer.flush()
        else:
            leaving.reset()
        assert soon(lambda: proxy.ledger().downstreams == (2 if protocol == "h2" else 1))
        assert line.exactly(len(PAGE) - 1) == PAGE[:-1]
        go_on.set()
        assert line.exactly(1) == PAGE[-1:]
        line.send(GET)
        assert line.message()[1] == PAGE
        assert len(asked) == 1


def test_clients_of_http2_share_what_is_stored(run: Run, cached: Configure) -> None:
    asked: list[bytes] = []
    config = {"listener": {"protocols": ["http/1.1", "h2c"]}}
    page = response(PAGE, b"Cache-Control: max-age=60")
    with origin(counting(asked, page)) as o, run(cached(o.url, **config)) as proxy:
        with Http2Client(proxy.port) as peer:
            streams = [peer.ask("/page") for _ in range(2)]
            peer.h2.increment_flow_control_window(1 << 24, streams[0])
            assert content_of(peer.until(StreamEnded, streams[0])) == PAGE
            # One that takes its window's worth and goes leaves nothing.
            peer.h2.reset_stream(streams[1], error_code=8)
            peer.flush()
        with client(proxy.port) as line:
            line.send(GET)
            assert line.message()[1] == PAGE
        assert len(asked) == 1
        assert soon(lambda: proxy.ledger().downstreams == proxy.ledger().exchanges == 0)


def test_events_that_are_compressed_arrive_as_they_are_sent(run: Run, configure: Configure) -> None:
    seen = threading.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

    def events(line: Line) -> None:
        line.head()
        line.send(head + b"f\r\ndata: first one\r\n")
        assert seen.wait(LIMIT)
        line.send(b"4\r\n two\r\n0\r\n\r\n")

    with origin(events) as o, run(configure(o.url, route={"compress": ["gzip"]})) as proxy, client(proxy.port) as line:
        line.send(GET.replace(b"\r\n\r\n", b"\r\nAccept-Encoding: gzip\r\n\r\n"))
        assert fields_of(line.head())[b"content-encoding"] == b"gzip"
        decoder = zlib.decompressobj(31)
        text = b""
        while text != b"data: first one":
            text += decoder.decompress(line.exactly(int(line.until(b"\r\n"), 16)))
            line.exactly(2)
        seen.set()
        while size := int(line.until(b"\r\n"), 16):
            text += decoder.decompress(line.exactly(size))
            line.exactly(2)
        assert text == b"data: first one two"
        assert decoder.eof

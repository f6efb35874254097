"""Coded content on its way: heads that say so, pieces that come out as they come in, and what passes untouched."""

from __future__ import annotations

import zlib

import pytest

from proxycore.config import Config, ConfigError, Listener, Route, Upstream
from proxycore.core import Core
from proxycore.testing import Proxy
from proxycore.words.effects import Connect, Send

TEXT = b"All work and no play makes Jack a dull boy.\n" * 100
HTML = {"Content-Type": "text/html", "ETag": '"1"', "Accept-Ranges": "bytes", "Content-Digest": "sha-256=:x:"}
GZIP = {"Accept-Encoding": "gzip"}

CONFIG = Config(
    listeners=[Listener(name="web", bind="127.0.0.1:0")],
    upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"])},
    routes=[Route(upstream="api", compress=["br", "gzip"], response_headers={"set": {"X-Edit": "1"}})],
)


def gunzip(data: bytes) -> bytes:
    return zlib.decompress(data, 16 + zlib.MAX_WBITS)


def test_a_client_that_takes_it_gets_it_coded() -> None:
    journey = Proxy(CONFIG).get("http://a/", headers=GZIP).returns(200, HTML, TEXT).is_answered(200)
    journey.gets(
        content_encoding="gzip", vary="accept-encoding", etag='W/"1"', x_edit="1", accept_ranges=None,
        content_digest=None, content_length=None,
    )  # fmt: skip
    assert gunzip(journey.body) == TEXT
    assert len(journey.body) < len(TEXT) / 5


@pytest.mark.parametrize("accepts", [{}, {"Accept-Encoding": "deflate"}, {"Accept-Encoding": "gzip;q=0, br;q=0"}])
def test_a_client_that_does_not_gets_it_plain_and_caches_are_told(accepts: dict[str, str]) -> None:
    journey = Proxy(CONFIG).get("http://a/", headers=accepts).returns(200, HTML, TEXT)
    journey.is_answered(200, body=TEXT).gets(vary="accept-encoding", etag='"1"', content_encoding=None)
    journey.gets(accept_ranges="bytes", content_digest="sha-256=:x:", content_length=str(len(TEXT)))


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (200, {"Content-Type": "image/png"}),
        (200, {"Content-Type": "text/html", "Content-Encoding": "x-own"}),
        (200, {"Content-Type": "text/html", "Cache-Control": "no-transform"}),
        (206, {"Content-Type": "text/html", "Content-Range": "bytes 0-4399/5000"}),
    ],
)
def test_what_is_not_coded_passes_as_it_is(status: int, fields: dict[str, str]) -> None:
    journey = Proxy(CONFIG).get("http://a/", headers=GZIP).returns(status, {**fields, "ETag": '"1"'}, TEXT)
    journey.is_answered(status, body=TEXT).gets({**fields, "ETag": '"1"', "Vary": None})


def test_a_head_says_what_a_get_would() -> None:
    journey = Proxy(CONFIG).head("http://a/", headers=GZIP).returns(200, HTML, TEXT).is_answered(200, body=b"")
    journey.gets(content_encoding="gzip", vary="accept-encoding", etag='W/"1"', content_length=None)


def test_a_304_names_the_tag_that_the_client_has() -> None:
    asked = {**GZIP, "If-None-Match": 'W/"1"'}
    Proxy(CONFIG).get("http://a/", headers=asked).returns(304, {"ETag": '"1"'}).is_answered(304).gets(
        etag='W/"1"', vary="accept-encoding"
    )


def test_our_own_answers_are_left_alone() -> None:
    journey = Proxy(CONFIG).get("http://a/%zz", headers=GZIP).is_refused(400)
    journey.gets(content_encoding=None)


def test_an_event_stream_stays_live() -> None:
    core = Core(CONFIG, now=0.0, wall=1e9, seed=1, entropy=bytes)
    client = core.next_conn_id()
    core.accepted(client, "web", ("192.0.2.1", 1), ("127.0.0.1", 80), 1.0)
    (dial,) = core.data_received(client, b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n", 1.0)
    assert isinstance(dial, Connect)
    core.connected(dial.conn, ("127.0.0.1", 1), ("127.0.0.1", 3000), 1.0)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    core.data_received(dial.conn, head, 1.0)
    decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
    for number in range(5):
        event = b"data: %d\n\n" % number
        (send,) = core.data_received(dial.conn, b"%x\r\n%b\r\n" % (len(event), event), 2.0 + number)
        assert isinstance(send, Send)
        size, _, chunk = send.data.partition(b"\r\n")
        assert decoder.decompress(chunk[: int(size, 16)]) == event


def test_a_coding_whose_package_is_missing_is_named_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "brotli", None)
    with pytest.raises(ConfigError, match=r'routes "route-1"\.compress: .*proxycore\[brotli\]'):
        Proxy(CONFIG)

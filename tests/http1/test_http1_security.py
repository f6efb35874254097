"""One test, or one line of a table, for every line of SECURITY.md that is about HTTP/1; the names say the hole."""

from __future__ import annotations

import pytest

from proxycore.mechanisms.http1 import writer
from proxycore.mechanisms.http1.codec import Codec, choose
from proxycore.words.errors import Malformed, Refused
from proxycore.words.messages import ABSENT, UNKNOWN, End, Headers, RequestHead, ResponseHead
from tests.http1.replay import (
    MAX_FIELDS,
    MAX_HEAD,
    MAX_TARGET,
    codecs,
    pull,
    read_one,
    replay,
    request_reader,
    response_reader,
    status_of,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED: list[tuple[str, bytes, int]] = [
    # What h11 0.16 lets through.
    ("h11: CL and TE together", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("h11: HTTP/1.0 with TE", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("h11: obs-fold", GET + b"X: a\r\n b\r\n\r\n", 400),
    ("h11: obs-fold on a framing field", POST + b"Content-Length:\r\n 5\r\n\r\nhello", 400),
    ("h11: bare LF line ends", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    ("h11: Host with a blank", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("h11: Host with a slash", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("h11: Content-Length of 2^64", POST + b"Content-Length: 18446744073709551616\r\n\r\n", 400),
    ("h11: CR in a chunk extension", CHUNKED + b"1;a\rb\r\nx\r\n0\r\n\r\n", 400),
    ("h11: NUL in a chunk extension", CHUNKED + b"1;a\x00b\r\nx\r\n0\r\n\r\n", 400),
    ("h11: trailing blanks of a chunk size", CHUNKED + b"1 \r\nx\r\n0\r\n\r\n", 400),
    ("h11: a trailer named Content-Length", CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n", 400),
    ("h11: a trailer named Host", CHUNKED + b"0\r\nHost: b\r\n\r\n", 400),
    ("h11: HTTP/0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    ("h11: HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    ("h11: HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("h11: a control byte in a value", GET + b"X: a\x01b\r\n\r\n", 400),
    ("h11: DEL in a value", GET + b"X: a\x7fb\r\n\r\n", 400),
    ("h11: # in a target", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("h11: a relative target", b"GET admin HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("h11: a relative target with @", b"GET @evil/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("h11: thousands of small fields", GET + b"X:y\r\n" * 5000 + b"\r\n", 431),
    # Published holes.
    ("h11 CVE-2025-43859: any two bytes behind a chunk", CHUNKED + b"1\r\nxAB0\r\n\r\n", 400),
    ("aiohttp CVE-2023-47627: a sign", POST + b"Content-Length: +5\r\n\r\nhello", 400),
    ("aiohttp CVE-2023-47627: an underscore", POST + b"Content-Length: 0_5\r\n\r\nhello", 400),
    ("aiohttp CVE-2023-47627: in a chunk size", CHUNKED + b"0_1\r\nx\r\n0\r\n\r\n", 400),
    ("aiohttp CVE-2024-23829: Unicode digits", POST + b"Content-Length: \xd9\xa5\r\n\r\nhello", 400),
    ("aiohttp CVE-2024-23829: in the version", b"GET / HTTP/1.\xd9\xa1\r\nHost: a\r\n\r\n", 400),
    ("aiohttp CVE-2024-52304: LF in a chunk extension", CHUNKED + b"1;a\nb\r\nx\r\n0\r\n\r\n", 400),
    ("llhttp CVE-2023-30589: bare CR", GET + b"X: a\rContent-Length: 5\r\n\r\nhello", 400),
    ("llhttp CVE-2022-32213: a folded TE", POST + b"Transfer-Encoding: chunked\r\n , identity\r\n\r\n0\r\n\r\n", 400),
    ("llhttp CVE-2024-27982: a blank before CL", POST + b" Content-Length: 5\r\n\r\nhello", 400),
    (
        "gunicorn CVE-2024-1135: two lines of TE",
        POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    ("gunicorn CVE-2024-6827: chunked not last", POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 501),
    ("gunicorn CVE-2024-6827: chunked twice", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501),
    ("gunicorn #3364: \\x0b", POST + b"Content-Length: \x0b5\r\n\r\nhello", 400),
    ("gunicorn #3364: \\x1c", POST + b"Content-Length: \x1c5\r\n\r\nhello", 400),
    ("gunicorn #3364: \\x85", POST + b"Content-Length: \x855\r\n\r\nhello", 400),
    ("gunicorn #3364: \\xa0", POST + b"Transfer-Encoding: chunked\xa0\r\n\r\n0\r\n\r\n", 501),
    ("Node CVE-2025-23167: CR LF CR X", b"GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n", 400),
    ("HAProxy CVE-2019-18277: \\x0b before chunked", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("HAProxy CVE-2021-40346: an overflow", POST + b"Content-Length: 4294967296000000000000\r\n\r\n", 400),
    ("HAProxy CVE-2023-25725: an empty name", POST + b": x\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("HAProxy CVE-2023-45539: # in a target", b"GET /index#.png HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("CVE-2023-39326: overhead", CHUNKED + b"".join(b"1;%b\r\nx\r\n" % (b"a" * 200) for _ in range(100)), 400),
    ("CVE-2025-32094: an obfuscated Expect", POST + b"Expect: y 100-continue\r\nContent-Length: 5\r\n\r\nhello", 417),
    ("hyper #4081: a head that just became whole", GET + b"X: " + b"y" * MAX_HEAD + b"\r\n\r\n", 431),
    ("hyper #4081: the target, too", b"GET /" + b"a" * MAX_TARGET + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    ("hyper #4081: and the fields", GET + b"X: y\r\n" * MAX_FIELDS + b"\r\n", 431),
]


@pytest.mark.parametrize("codec", codecs(), ids=lambda codec: codec.name)
@pytest.mark.parametrize(("data", "status"), [pytest.param(*rest, id=name) for name, *rest in REFUSED])
def test_refused(data: bytes, status: int, codec: Codec) -> None:
    assert status_of(data, codec) == status
    assert codec.disagreements == 0, "refused by the codec, which no refusal may rest on"


def test_h11_tolerates_no_leading_crlf_and_we_do_once() -> None:
    assert read_one(b"\r\n" + GET + b"\r\n").target == b"/"
    assert status_of(b"\r\n\r\n" + GET + b"\r\n") == 400


def test_names_with_underscores_are_dropped_from_requests() -> None:
    head = read_one(GET + b"X_Forwarded_For: 1.2.3.4\r\nContent_Length: 7\r\nX-A: b\r\n\r\n")
    assert head.headers.fields == [(b"x-a", b"b")]
    assert head.length == ABSENT


def test_h11_buffers_without_bound_and_we_say_how_much() -> None:
    reader = request_reader()
    reader.receive(GET + b"\r\n")
    assert isinstance(reader.next_event(), RequestHead)
    for count in range(1, 4):
        reader.receive(b"x" * 1000)
        assert reader.buffered == 1000 * count


@pytest.mark.parametrize(
    "fields",
    [
        [(b"x", b"a\r\nhost: evil")],
        [(b"x", b"a\nb")],
        [(b"x", b"a\rb")],
        [(b"x", b"a\x00b")],
        [(b"x\r\nhost", b"evil")],
        [(b"x: y\r\nhost", b"evil")],
        [(b"host", b"second")],
        [(b"Host", b"second")],
        [(b"content-length", b"5")],
        [(b"Content-Length", b"5")],
        [(b"transfer-encoding", b"chunked")],
        [(b"connection", b"close")],
        [(b"", b"x")],
        [(b"a b", b"x")],
        [(b"a:", b"x")],
    ],
)
def test_h2_cve_2025_57804_checked_again_where_http2_becomes_http1(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ValueError, match=r"field|byte"):
        writer.request_head(RequestHead(b"GET", b"/", b"a", Headers([(b"accept", b"*/*"), *fields])))


@pytest.mark.parametrize("target", [b"/a b", b"/ HTTP/1.1\r\nx: y", b"/a#b", b"/a\x00", b"", b"/\xe9"])
def test_h2_cve_2026_71554_a_target_is_checked_again(target: bytes) -> None:
    with pytest.raises(ValueError, match="target"):
        writer.request_head(RequestHead(b"GET", target, b"a", Headers()))


@pytest.mark.parametrize("method", [b"", b"GET /", b"G\r\nx", b"G\x00"])
def test_h2_cve_2026_71554_a_method_is_checked_again(method: bytes) -> None:
    with pytest.raises(ValueError, match="method"):
        writer.request_head(RequestHead(method, b"/", b"a", Headers()))


@pytest.mark.parametrize("authority", [b"a\r\nx: y", b"a b", b"a/b", b"a\x00", b"u@a"])
def test_h2_cve_2026_71554_an_authority_is_checked_again(authority: bytes) -> None:
    with pytest.raises(ValueError, match="authority"):
        writer.request_head(RequestHead(b"GET", b"/", authority, Headers()))


def test_h11_cve_2025_43859_each_byte_behind_a_chunk_is_looked_at() -> None:
    for end in (b"\rX", b"X\n", b"\n\r", b"\n\n", b"\r\r"):
        assert status_of(CHUNKED + b"1\r\nx" + end + b"0\r\n\r\n") == 400


def test_waitress_cve_2024_49768_nothing_behind_a_bad_message_runs() -> None:
    reader = request_reader()
    events = replay(reader, [GET + b"\r\n" + GET + b"X: \x00\r\n\r\n" + GET + b"\r\n", GET + b"\r\n"])
    assert [type(event) for event in events] == [RequestHead, Refused]
    assert reader.ended
    assert reader.next_event() is None
    assert reader.buffered == 0, "nor is it kept"


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PUT", b"PATCH", b"POST", b"FROB"])
@pytest.mark.parametrize(
    ("framing", "content"),
    [
        (b"Content-Length: 28", b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"1\r\nx\r\n0\r\n\r\n"),
    ],
)
def test_node_http_proxy_cve_2026_29057_all_methods_frame_alike(method: bytes, framing: bytes, content: bytes) -> None:
    data = b"%b / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n%b" % (method, framing, content)
    events = replay(request_reader(), [data, GET + b"\r\n"])
    assert [type(event) for event in events] == [RequestHead, bytes, End, RequestHead]


def test_traefik_cve_2024_45410_what_connection_names_goes_before_we_add_ours() -> None:
    head = read_one(GET + b"X-Forwarded-Host: evil\r\nConnection: close, X-Forwarded-Host, X-Real-IP\r\n\r\n")
    written = writer.request_head(head, [(b"x-forwarded-host", b"a"), (b"x-real-ip", b"192.0.2.1")])
    assert written.count(b"x-forwarded-host") == 1
    assert b"\r\nx-forwarded-host: a\r\nx-real-ip: 192.0.2.1\r\n" in written
    assert b"evil" not in written


def test_apache_cve_2022_31813_connection_takes_neither_framing_nor_host_away() -> None:
    head = read_one(POST + b"Connection: host, content-length, transfer-encoding\r\nContent-Length: 0\r\n\r\n")
    assert (head.authority, head.length) == (b"a", 0)
    assert writer.request_head(head) == b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("start", [GET + b"X: ", GET + b"X-", b"", b"G", CHUNKED + b"0\r\nX: "])
def test_cve_2024_27316_a_block_is_limited_while_it_arrives(start: bytes) -> None:
    reader = request_reader()
    reader.receive(start)
    events = list(pull(reader))
    for _ in range(2 * MAX_HEAD):
        reader.receive(b"a")
        events += pull(reader)
        assert reader.buffered <= MAX_HEAD
    assert isinstance(events[-1], Refused)
    assert events[-1].status == 431


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "]
)
def test_cve_2024_27316_a_response_is_limited_while_it_arrives(head: bytes) -> None:
    events = replay(response_reader(), [head, *[b"a" * 100] * 100])
    assert isinstance(events[-1], Malformed)
    assert events[-1].error in ("http_response_header_section_size", "http_response_trailer_section_size")


def test_cve_2023_39326_small_chunks_alone_are_no_attack() -> None:
    events = replay(request_reader(), [CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n"])
    assert events[1:] == [b"x" * 50_000, End()]


def test_cve_2025_32094_an_expectation_is_told_not_forwarded_as_a_field() -> None:
    head = read_one(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert head.expect_continue
    assert b"expect" not in head.headers
    # An early final answer leaves it open whether content follows; what comes is never read as a request.
    assert head.has_content


@pytest.mark.parametrize("asked", [None, b"h2c", b"websocket2"])
def test_envoy_a_101_that_nobody_asked_for(asked: bytes | None) -> None:
    head = (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    )
    reader = response_reader(upgrade=asked)
    events = replay(reader, [head])
    assert [type(event) for event in events] == [Malformed]
    assert reader.take_rest() == b"", "and the connection is good for nothing"


def test_uvicorn_a_head_that_has_begun_shows() -> None:
    reader = request_reader()
    assert not reader.mid_head
    reader.receive(b"G")
    assert reader.next_event() is None
    assert reader.mid_head, "what an absolute deadline hangs on"
    reader.receive(GET[1:] + b"\r\n")
    assert isinstance(reader.next_event(), RequestHead)
    assert not reader.mid_head


def test_caches_a_fat_get_shows() -> None:
    assert read_one(GET + b"Content-Length: 5\r\n\r\n").has_content
    assert not read_one(GET + b"Content-Length: 0\r\n\r\n").has_content
    assert read_one(GET + b"Transfer-Encoding: chunked\r\n\r\n").length == UNKNOWN


def test_one_byte_too_many_shows() -> None:
    reader = response_reader()
    reader.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert [type(event) for event in pull(reader)] == [ResponseHead, bytes, End]
    assert reader.idle_excess
    with pytest.raises(Malformed, match="before the request"):
        reader.expect(b"GET")
    assert list(pull(reader)) == []


def test_a_codec_that_reads_otherwise_is_refused_and_counted() -> None:
    class Contrary(type(choose("h11"))):  # type: ignore[misc]
        def reads_request(self, head: bytes, method: bytes, target: bytes) -> bool:
            return False

        def reads_response(self, head: bytes, status: int) -> bool:
            return False

    codec: Codec = Contrary()
    assert status_of(GET + b"\r\n", codec) == 400
    (fault,) = replay(response_reader(codec), [b"HTTP/1.1 200 OK\r\n\r\n"])
    assert isinstance(fault, Malformed)
    assert codec.disagreements == 2


@pytest.mark.parametrize("codec", codecs(), ids=lambda codec: codec.name)
def test_a_codec_tells_what_it_reads(codec: Codec) -> None:
    request, response = b"FROB /x HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"
    assert codec.reads_request(request, b"FROB", b"/x")
    assert not codec.reads_request(request, b"FROB", b"/y")
    assert not codec.reads_request(b"FROB /x HTTP/1.1\r\nHo st: a\r\n\r\n", b"FROB", b"/x")
    assert codec.reads_response(response, 200)
    assert not codec.reads_response(response, 201)
    assert not codec.reads_response(b"HTTP/1.1 200 OK\r\nA B: c\r\n\r\n", 200)

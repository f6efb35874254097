"""The codecs agree, pieces don't matter, and what is written is read back, by us and by h11."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxycore.mechanisms.http1 import writer
from proxycore.mechanisms.http1.codec import choose
from proxycore.words.errors import Malformed, Refused
from proxycore.words.messages import ABSENT, UNKNOWN, End, Field, Headers, RequestHead, ResponseHead
from tests.http1.replay import codecs, cut, described, replay, request_reader, response_reader

# ---- what is drawn ----------------------------------------------------------------------------------------------

TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

names = st.one_of(
    st.sampled_from([b"Accept", b"cookie", b"X-Forwarded-For", b"X-A", b"ETAG", b"Trailer"]),
    st.lists(st.sampled_from(TOKEN), min_size=1, max_size=12).map(bytes),
)
texts = st.lists(st.sampled_from([*range(0x20, 0x7F), 0x09, *range(0x80, 0x100)]), max_size=20).map(bytes)
blanks = st.sampled_from([b"", b" ", b"  ", b"\t", b" \t"])
plain_lines = st.builds(lambda *parts: b"%b:%b%b%b" % parts, names, blanks, texts, blanks)

FRAMING = [
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"content-length:5",
    b"CONTENT-LENGTH: 5 ",
    b"Content-Length: 05",
    b"Content-Length: 5, 5",
    b"Content-Length: +5",
    b"Content-Length : 5",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked",
    b"transfer-encoding:CHUNKED",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked ",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: upgrade",
    b"Connection: x-a, te",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"Expect: more",
    b"TE: trailers",
    b"Host: b",
    b"Host: a b",
    b" folded: 1",
    b": empty",
    b"X\x00: 1",
    b"X: \x00",
    b"X: a\rb",
    b"X: a\nb",
]
lines = st.one_of(plain_lines, st.sampled_from(FRAMING))

request_lines = st.one_of(
    st.builds(
        lambda *parts: b" ".join(parts),
        st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE", b"PROPFIND", b"FROB", b"SOURCE", b"get"]),
        st.sampled_from([b"/", b"/a?b=c", b"*", b"http://a/x", b"http://a", b"//a", b"/%zz", b'/{|}"<>^`\\']),
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]),
    ),
    st.sampled_from(
        [
            b"GET / HTTP/1.2",
            b"GET  / HTTP/1.1",
            b"GET /#a HTTP/1.1",
            b"CONNECT a:1 HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b"GET",
        ]
    ),
)
status_lines = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.1 404 ",
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 304 Not Modified",
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 103 Early Hints",
        b"HTTP/1.1 101 Switching Protocols",
        b"HTTP/1.1 999 \xe9\t!",
        b"HTTP/1.2 200 OK",
        b"HTTP/1.1 20 OK",
    ]
)
ends = st.sampled_from(
    [
        b"",
        b"hello",
        b"hel",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\r\nhello\r\n0\r\nX-T: v\r\n\r\n",
        b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nHost: a\r\n\r\n",
    ]
)


def head_of(start: bytes, host: list[bytes], fields: list[bytes]) -> bytes:
    return b"\r\n".join([start, *host, *fields, b"", b""])


hosts = st.sampled_from([[b"Host: a"], [b"Host: a"], [b"host: a:80"], []])
request_heads = st.builds(head_of, request_lines, hosts, st.lists(lines, max_size=5))
response_heads = st.builds(head_of, status_lines, st.just([]), st.lists(lines, max_size=5))
requests = st.builds(lambda pairs: b"".join(map(b"".join, pairs)), st.lists(st.tuples(request_heads, ends), max_size=3))
responses = st.builds(lambda heads, end: b"".join(heads) + end, st.lists(response_heads, min_size=1, max_size=3), ends)


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Valid as a rule, with a few bytes taken out, doubled, or replaced by those that parsers stumble over."""
    data = draw(whole)
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(data)))
        odd = draw(st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\x00", b"\x0b", b",", b";", b"0"]))
        data = data[:place] + odd + data[place + draw(st.integers(0, 2)) :]
    return data


cuts = st.lists(st.integers(0, 400), max_size=6)


# ---- the codecs agree -------------------------------------------------------------------------------------------


@given(mutated(requests))
def test_no_verdict_on_requests_depends_on_the_codec(data: bytes) -> None:
    outcomes = []
    for codec in codecs():
        outcomes.append(described(replay(request_reader(codec), [data])))
        assert codec.disagreements == 0
    assert outcomes[0] == outcomes[-1]


@given(mutated(responses), st.sampled_from([b"GET", b"HEAD"]), st.sampled_from([None, b"websocket"]))
def test_no_verdict_on_responses_depends_on_the_codec(data: bytes, method: bytes, upgrade: bytes | None) -> None:
    outcomes = []
    for codec in codecs():
        outcomes.append(described(replay(response_reader(codec, method, upgrade), [data], eof=True)))
        assert codec.disagreements == 0
    assert outcomes[0] == outcomes[-1]


class Llhttp:
    """What llhttp itself reads in a request head."""

    def __init__(self, head: bytes) -> None:
        httptools = pytest.importorskip("httptools")
        self.target = b""
        self.fields: list[Field] = []
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass

    def on_url(self, url: bytes) -> None:
        self.target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))


def travelling(fields: list[Field]) -> list[Field]:
    """The fields that `strict` leaves in `headers`, where Connection names none of them."""
    ours = (
        b"host content-length transfer-encoding connection keep-alive proxy-connection te upgrade expect http2-settings"
    )
    return [(name, value) for name, value in fields if name not in ours.split() and b"_" not in name]


@given(mutated(st.builds(head_of, st.just(b"GET /x HTTP/1.1"), hosts, st.lists(plain_lines, max_size=6))))
def test_all_three_parsers_read_the_same_fields(head: bytes) -> None:
    events = replay(request_reader(), [head])
    if len(events) != 1 or not isinstance(events[0], RequestHead):
        return
    ours = events[0]
    if ours.method not in (b"GET", b"POST", b"HEAD"):
        return
    connection = h11.Connection(h11.SERVER)
    # h11 doesn't tolerate an empty line before it, and llhttp would go on to what comes behind.
    head = head.removeprefix(b"\r\n")
    head = head[: head.index(b"\r\n\r\n") + 4]
    connection.receive_data(head)
    theirs = connection.next_event()
    assert isinstance(theirs, h11.Request)
    assert travelling(list(theirs.headers)) == ours.headers.fields
    llhttp = Llhttp(head)
    assert travelling(llhttp.fields) == ours.headers.fields
    assert llhttp.target == theirs.target == ours.target


# ---- pieces don't matter ----------------------------------------------------------------------------------------


@given(mutated(requests), cuts)
@example(b"GET /#a HTTP/1.1\r\nX: \x00\r\n\r\n", [5])
@example(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", [1, 2, 3])
def test_requests_in_any_pieces_are_the_same(data: bytes, places: list[int]) -> None:
    whole = replay(request_reader(), [data])
    assert described(replay(request_reader(), cut(data, [p % (len(data) + 1) for p in places]))) == described(whole)
    assert described(replay(request_reader(), cut(data, range(len(data))))) == described(whole)


@given(mutated(responses), cuts, st.sampled_from([b"GET", b"HEAD"]), st.booleans())
@example(b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", [], b"GET", False)
def test_responses_in_any_pieces_are_the_same(data: bytes, places: list[int], method: bytes, eof: bool) -> None:
    def outcome(pieces: list[bytes]) -> list[object]:
        return described(replay(response_reader(None, method, b"websocket"), pieces, eof=eof))

    whole = outcome([data])
    assert outcome(cut(data, [place % (len(data) + 1) for place in places])) == whole
    assert outcome(cut(data, range(len(data)))) == whole


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), cuts)
def test_chunks_in_any_pieces_are_the_same_content(blocks: list[bytes], places: list[int]) -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    data += b"".join(b"".join(writer.chunk(block)) for block in blocks) + writer.last_chunk([(b"x-t", b"v")])
    _, *content, end = replay(request_reader(), cut(data, [place % (len(data) + 1) for place in places]))
    assert b"".join(piece for piece in content if isinstance(piece, bytes)) == b"".join(blocks)
    assert end == End([(b"x-t", b"v")])


@given(st.binary(max_size=200), cuts)
def test_no_bytes_raise_anything_else(data: bytes, places: list[int]) -> None:
    pieces = cut(data, [place % (len(data) + 1) for place in places])
    for event in replay(request_reader(), pieces) + replay(response_reader(), pieces, eof=True):
        assert isinstance(event, (RequestHead, ResponseHead, bytes, End, Refused, Malformed))


# ---- what is written is read back -------------------------------------------------------------------------------

field_names = st.lists(st.sampled_from(b"abcxyz-09"), min_size=1, max_size=10).map(lambda name: b"x-" + bytes(name))
fields = st.lists(st.tuples(field_names, texts.map(lambda text: text.strip(b" \t"))), max_size=6)
lengths = st.sampled_from([ABSENT, 0, 1, 12345, UNKNOWN])


@st.composite
def written_requests(draw: st.DrawFn) -> RequestHead:
    length = draw(lengths)
    has_content = length not in (ABSENT, 0)
    return RequestHead(
        draw(st.sampled_from([b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"FROB"])),
        draw(st.sampled_from([b"/", b"/a/b?c=d%20e", b"//x", b"/|"])),
        draw(st.sampled_from([b"a.example", b"a.example:8080", b"[::1]:80"])),
        Headers(draw(fields)),
        length=length,
        persistent=draw(st.booleans()),
        upgrade=None if has_content else draw(st.sampled_from([None, b"websocket"])),
        expect_continue=has_content and draw(st.booleans()),
        te_trailers=draw(st.booleans()),
    )


@given(written_requests())
def test_a_written_request_is_read_back(head: RequestHead) -> None:
    for codec in codecs():
        assert replay(request_reader(codec), [writer.request_head(head)]) == [head]


@given(written_requests())
def test_h11_reads_what_is_written_to_an_origin(head: RequestHead) -> None:
    server = h11.Connection(h11.SERVER)
    server.receive_data(writer.request_head(head))
    if head.length == UNKNOWN:
        server.receive_data(b"".join(writer.chunk(b"hello")) + writer.last_chunk([(b"x-t", b"v")]))
    elif head.length > 0:
        server.receive_data(bytes(head.length))
    event = server.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (head.method, head.target)
    assert event.headers[0] == (b"host", head.authority)
    assert [(name, value) for name, value in event.headers if name.startswith(b"x-")] == head.headers.fields
    content, trailers = read_all(server)
    assert len(content) == (5 if head.length == UNKNOWN else max(head.length, 0))
    assert trailers == ([(b"x-t", b"v")] if head.length == UNKNOWN else [])
    if not head.upgrade:
        assert (server.their_state is h11.MUST_CLOSE) == (not head.persistent)


@given(
    st.sampled_from([200, 204, 304, 404, 299]),
    fields,
    lengths,
    st.sampled_from([b"GET", b"HEAD"]),
    st.sampled_from([b"1.1", b"1.0"]),
    st.booleans(),
)
def test_h11_and_we_read_what_is_written_to_a_client(
    status: int, extra: list[Field], length: int, method: bytes, version: bytes, persistent: bool
) -> None:
    has_content = length not in (ABSENT, 0) and status not in (204, 304) and method != b"HEAD"
    head = ResponseHead(status, Headers(extra), length=length, has_content=has_content)
    content = b"x" * (5 if length == UNKNOWN else max(length, 0)) if has_content else b""
    data = writer.response_head(head, request_method=method, request_version=version, persistent=persistent)
    data += b"".join(writer.chunk(content)) + writer.last_chunk() if writer.is_chunked(head, version) else content
    by_close = writer.ends_by_close(head, version)

    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.receive_data(data)
    if by_close:
        client.receive_data(b"")
    event = client.next_event()
    assert isinstance(event, h11.Response)
    assert event.status_code == status
    assert [(name, value) for name, value in event.headers if name.startswith(b"x-")] == extra
    assert read_all(client)[0] == content
    assert (client.their_state in (h11.MUST_CLOSE, h11.CLOSED)) == (by_close or not persistent)

    ours, *rest = replay(response_reader(choose("auto"), method), [data], eof=by_close)
    assert isinstance(ours, ResponseHead)
    assert (ours.status, ours.headers.fields, ours.has_content) == (status, extra, has_content)
    assert b"".join(piece for piece in rest if isinstance(piece, bytes)) == content
    assert isinstance(rest[-1], End) if has_content else not rest
    assert ours.persistent == (persistent and not by_close)


def read_all(connection: h11.Connection) -> tuple[bytes, list[Field]]:
    content = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data), event
        content += bytes(event.data)
    return content, list(event.headers)

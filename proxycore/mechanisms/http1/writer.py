"""Writes heads, chunks and trailers. Content of a known length goes out as it is, with nothing around it.

The writer alone puts framing and hop fields into a head (Host, Content-Length, Transfer-Encoding,
Connection, Upgrade, TE, Expect), from the attributes of the head; in `headers` they are an error.
What a filter or an HTTP/2 stream put there is checked once more (h2 CVE-2025-57804): a name that is
no lower-case token, a control byte in a value, or a line that would become two is a ValueError, and
the fault of whoever made the head.

Names go out in lower case. They compare without case (RFC 9110 section 5.1), it is the only form
HTTP/2 has, and Envoy and HAProxy write them so: one form, whatever came in.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from proxycore.words.messages import ABSENT, UNKNOWN, Field, RequestHead, ResponseHead

_CRLF = b"\r\n"
_NAME = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_TOKEN = _NAME + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TARGET = bytes(byte for byte in range(0x21, 0x7F) if byte != ord("#"))
_PLAIN = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])

_OURS_IN_REQUEST = frozenset(
    b"host content-length transfer-encoding connection upgrade te expect keep-alive proxy-connection "
    b"http2-settings".split()
)
_OURS_IN_RESPONSE = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"keep-alive", b"proxy-connection")
)
_OURS_IN_TRAILERS = _OURS_IN_REQUEST | {b"trailer"}

_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"))
_WITH_CONTENT = frozenset((b"POST", b"PUT", b"PATCH"))

_PHRASES = {int(status): status.phrase.encode() for status in HTTPStatus}
_STATUS_LINES = {status: b"HTTP/1.1 %d %b\r\n" % (status, phrase) for status, phrase in _PHRASES.items()}


def request_head(head: RequestHead, extra: Sequence[Field] = ()) -> bytes:
    """The head of a request to an upstream, with `extra` fields after its own.

    Content follows as `head.length` says: that many bytes; in `chunk`s when it is UNKNOWN.
    `persistent` false asks the upstream to close after its response. Raises ValueError.
    """
    fields = [*head.headers.fields, *extra] if extra else head.headers.fields
    method, target = head.method, head.target
    if method not in _METHODS and (not method or method.translate(None, _TOKEN)):
        raise ValueError(f"no method: {method!r}")
    if not target or target.translate(None, _TARGET):
        raise ValueError(f"no request target: {target!r}")
    ours = b""
    length = head.length
    if length == UNKNOWN:
        ours = b"transfer-encoding: chunked\r\n"
    elif length != ABSENT:
        ours = b"content-length: %d\r\n" % length
    elif method in _WITH_CONTENT:
        # RFC 9110 section 8.6: origins ask for it (411) where the method leads them to expect content.
        ours = b"content-length: 0\r\n"
    if head.upgrade or head.te_trailers or head.expect_continue or not head.persistent:
        ours += _request_options(head)
    return _join(
        b"%b %b HTTP/1.1\r\nhost: %b\r\n%b" % (method, target, head.authority, ours),
        fields,
        _OURS_IN_REQUEST,
    )


def _request_options(head: RequestHead) -> bytes:
    options = []
    lines = b""
    if not head.persistent:
        options.append(b"close")
    if head.upgrade:
        options.append(b"upgrade")
        lines += b"upgrade: %b\r\n" % head.upgrade
    if head.te_trailers:
        # RFC 9110 section 10.1.4: named in Connection, so that no proxy behind us passes it on.
        options.append(b"te")
        lines += b"te: trailers\r\n"
    if head.expect_continue:
        lines += b"expect: 100-continue\r\n"
    return b"connection: %b\r\n%b" % (b", ".join(options), lines) if options else lines


def is_chunked(head: ResponseHead, version: bytes) -> bool:
    """Whether the content of this response goes in `chunk`s to a client that speaks `version`."""
    return head.has_content and head.length == UNKNOWN and version == b"1.1"


def ends_by_close(head: ResponseHead, version: bytes) -> bool:
    """Whether only a close can show this client where the content ends (HTTP/1.0 knows no chunks)."""
    return head.has_content and head.length == UNKNOWN and version != b"1.1"


def response_head(
    head: ResponseHead,
    *,
    request_method: bytes,
    request_version: bytes,
    persistent: bool,
    extra: Sequence[Field] = (),
) -> bytes:
    """The head of a response to a client that sent `request_method` in HTTP/`request_version`.

    `persistent` says that we keep the connection afterwards; where `ends_by_close` it must be
    closed, whatever was asked. Content follows as `is_chunked` says. Raises ValueError.
    """
    status = head.status
    fields = [*head.headers.fields, *extra] if extra else head.headers.fields
    start = _STATUS_LINES.get(status)
    if start is None or (head.reason and head.reason != _PHRASES[status]):
        if not 100 <= status <= 999:
            raise ValueError(f"no status: {status}")
        start = b"HTTP/1.1 %d %b\r\n" % (status, head.reason)
    length = head.length
    if status < 200:
        upgrade = head.upgrade
        return _join(
            b"%bconnection: upgrade\r\nupgrade: %b\r\n" % (start, upgrade) if status == 101 and upgrade else start,
            fields,
            _OURS_IN_RESPONSE,
        )
    if length >= 0:
        if status != 204:
            start = b"%bcontent-length: %d\r\n" % (start, length)
    elif head.has_content:
        if request_version == b"1.1":
            start += b"transfer-encoding: chunked\r\n"
        else:
            persistent = False
    elif length == ABSENT and status != 204 and status != 304 and request_method != b"HEAD":
        start += b"content-length: 0\r\n"
    if not persistent:
        start += b"connection: close\r\n"
    elif request_version == b"1.0":
        start += b"connection: keep-alive\r\n"
    return _join(start, fields, _OURS_IN_RESPONSE)


def _join(start: bytes, fields: Sequence[Field], ours: frozenset[bytes]) -> bytes:
    """`start`, the fields and an empty line, after a look at every byte of them."""
    head = b"%b%b\r\n\r\n" % (start, _CRLF.join(map(b": ".join, fields))) if fields else start + _CRLF
    names = dict(fields)
    lines = start.count(b"\n") + len(fields) + 1
    if (
        head.translate(None, _PLAIN) != _CRLF * lines
        or b"".join(names).translate(None, _NAME)
        or b"" in names
        or not ours.isdisjoint(names)
    ):
        raise ValueError(f"fields that make no valid head: {head!r}")
    return head


def chunk(data: bytes) -> tuple[bytes, ...]:
    """The pieces to send for one chunk, `data` itself uncopied among them; none for no data, which would be the end."""
    return (b"%x\r\n" % len(data), data, _CRLF) if data else ()


def last_chunk(trailers: Sequence[Field] = ()) -> bytes:
    """The end of chunked content. Raises ValueError for trailers that make no valid lines, or that are framing."""
    if not trailers:
        return b"0\r\n\r\n"
    return _join(b"0\r\n", trailers, _OURS_IN_TRAILERS)

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

from proxycore.mechanisms.http1.fields import (
    COMMON_METHODS,
    COMMON_NAMES,
    IN_TARGET,
    PLAIN,
    TCHAR,
    WITH_CONTENT,
    table_of,
)
from proxycore.words.messages import ABSENT, UNKNOWN, Field, RequestHead, ResponseHead, WrittenHeaders

_CRLF = b"\r\n"
_NAME = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_IN_AUTHORITY = table_of(byte for byte in range(0x21, 0x7F) if byte not in b"#/?@\\")
_VALUE = PLAIN + b"\t"
_IN_VALUE = table_of(_VALUE)

_OURS_IN_REQUEST = frozenset(
    b"host content-length transfer-encoding connection upgrade te expect keep-alive proxy-connection "
    b"http2-settings".split()
)
_OURS_IN_RESPONSE = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"keep-alive", b"proxy-connection")
)
_OURS_IN_TRAILERS = _OURS_IN_REQUEST | {b"trailer"}


class _Names(dict[bytes, bytes]):
    """From a name to how its line begins, behind the end of the line before. Raises ValueError for other names.

    What isn't common is checked each time: what is remembered of names that peers choose would grow.
    """

    def __init__(self, ours: frozenset[bytes]) -> None:
        super().__init__({name: b"\r\n%b: " % name for name in COMMON_NAMES if name not in ours})
        self._ours = ours

    def __missing__(self, name: bytes) -> bytes:
        if not name or name.translate(None, _NAME):
            raise ValueError(f"no field name in lower case: {name!r}")
        if name in self._ours:
            raise ValueError(f"a field that only the writer writes: {name!r}")
        return b"\r\n%b: " % name


_IN_REQUEST = _Names(_OURS_IN_REQUEST)
_IN_RESPONSE = _Names(_OURS_IN_RESPONSE)
_IN_TRAILERS = _Names(_OURS_IN_TRAILERS)

_PHRASES = {int(status): status.phrase.encode() for status in HTTPStatus}
_STATUS_LINES = {status: b"HTTP/1.1 %d %b" % (status, phrase) for status, phrase in _PHRASES.items()}


def request_head(head: RequestHead, extra: Sequence[Field] = ()) -> bytes:
    """The head of a request to an upstream, with `extra` fields after its own.

    Content follows as `head.length` says: that many bytes; in `chunk`s when it is UNKNOWN.
    `persistent` false asks the upstream to close after its response. Raises ValueError.
    """
    method, target, authority, length = head.method, head.target, head.authority, head.length
    if method not in COMMON_METHODS and (not method or method.translate(None, TCHAR)):
        raise ValueError(f"no method: {method!r}")
    if not target or 0 in target.translate(IN_TARGET):
        raise ValueError(f"no request target: {target!r}")
    if 0 in authority.translate(_IN_AUTHORITY):
        raise ValueError(f"no authority: {authority!r}")
    ours = b""
    if length == UNKNOWN:
        ours = b"\r\ntransfer-encoding: chunked"
    elif length != ABSENT:
        ours = b"\r\ncontent-length: %d" % length
    elif method in WITH_CONTENT:
        # RFC 9110 section 8.6: origins ask for it (411) where the method leads them to expect content.
        ours = b"\r\ncontent-length: 0"
    if head.upgrade or head.te_trailers or head.expect_continue or not head.persistent:
        ours += _request_options(head)
    fields = head.headers.fields
    lines = _lines([*fields, *extra] if extra else fields, _IN_REQUEST)
    return b"%b %b HTTP/1.1\r\nhost: %b%b%b\r\n\r\n" % (method, target, authority, ours, lines)


def _request_options(head: RequestHead) -> bytes:
    options = []
    lines = b""
    if not head.persistent:
        options.append(b"close")
    if head.upgrade:
        options.append(b"upgrade")
        lines += b"\r\nupgrade: %b" % _protocol(head.upgrade)
    if head.te_trailers:
        # RFC 9110 section 10.1.4: named in Connection, so that no proxy behind us passes it on.
        options.append(b"te")
        lines += b"\r\nte: trailers"
    if head.expect_continue:
        lines += b"\r\nexpect: 100-continue"
    return b"\r\nconnection: %b%b" % (b", ".join(options), lines) if options else lines


def _protocol(upgrade: bytes) -> bytes:
    if upgrade.translate(None, TCHAR + b"/"):
        raise ValueError(f"no protocol: {upgrade!r}")
    return upgrade


def is_chunked(head: ResponseHead, version: bytes) -> bool:
    """Whether the content of this response goes in `chunk`s to a client that speaks `version`."""
    return head.has_content and head.length == UNKNOWN and version == b"1.1"


def ends_by_close(head: ResponseHead, version: bytes) -> bool:
    """Whether only a close can show this client where the content ends (HTTP/1.0 knows no chunks)."""
    return head.has_content and head.length == UNKNOWN and version != b"1.1"


def response_head(
    head: ResponseHead,
    request_method: bytes,
    request_version: bytes,
    persistent: bool,
    extra: Sequence[Field] = (),
) -> bytes:
    """The head of a response to a client that sent `request_method` in HTTP/`request_version`.

    `persistent` says that we keep the connection afterwards; where `ends_by_close` it must be
    closed, whatever was asked. Content follows as `is_chunked` says. Raises ValueError.
    """
    status, length = head.status, head.length
    start = _STATUS_LINES.get(status)
    if start is None or (head.reason and head.reason != _PHRASES[status]):
        start = _status_line(status, head.reason)
    if length >= 0:
        if status >= 200 and status != 204:
            start = b"%b\r\ncontent-length: %d" % (start, length)
    elif head.has_content:
        if request_version == b"1.1":
            start += b"\r\ntransfer-encoding: chunked"
        else:
            persistent = False
    elif length == ABSENT and status >= 200 and status not in (204, 304) and request_method != b"HEAD":
        # Nothing follows, and without saying so that would be content until the close.
        start += b"\r\ncontent-length: 0"
    if status < 200:
        if status == 101 and head.upgrade:
            start = b"%b\r\nconnection: upgrade\r\nupgrade: %b" % (start, _protocol(head.upgrade))
    elif status == 426 and head.upgrade:
        upgrade = b", ".join(map(_protocol, head.upgrade.split(b", ")))
        start = b"%b\r\nconnection: upgrade%b\r\nupgrade: %b" % (start, b"" if persistent else b", close", upgrade)
    elif not persistent:
        start += b"\r\nconnection: close"
    elif request_version == b"1.0":
        start += b"\r\nconnection: keep-alive"
    headers = head.headers
    if type(headers) is WrittenHeaders and headers.lines is not None:
        return b"%b%b%b\r\n\r\n" % (start, headers.lines, _lines(extra, _IN_RESPONSE) if extra else b"")
    fields = headers.fields
    lines = _lines([*fields, *extra] if extra else fields, _IN_RESPONSE)
    return b"%b%b\r\n\r\n" % (start, lines)


def response_lines(fields: Sequence[Field]) -> bytes:
    """The lines of a response's fields, for `WrittenHeaders`. Raises ValueError."""
    return _lines(fields, _IN_RESPONSE)


def _status_line(status: int, reason: bytes) -> bytes:
    if not 100 <= status <= 999 or reason.translate(None, _VALUE):
        raise ValueError(f"no status line: {status} {reason!r}")
    return b"HTTP/1.1 %d %b" % (status, reason)


def _lines(fields: Sequence[Field], names: _Names) -> bytes:
    """The fields, each behind a CR LF, after a look at every byte of them."""
    lines = b"".join([names[name] + value for name, value in fields])
    if lines.translate(_IN_VALUE).count(0) != 2 * len(fields):
        raise ValueError(f"a control byte in a field: {lines!r}")
    return lines


def chunk(data: bytes) -> tuple[bytes, ...]:
    """The pieces to send for one chunk, `data` itself uncopied among them; none for no data, which would be the end."""
    return (b"%x\r\n" % len(data), data, _CRLF) if data else ()


def last_chunk(trailers: Sequence[Field] = ()) -> bytes:
    """The end of chunked content. Raises ValueError for trailers that make no valid lines, or that are framing."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0%b\r\n\r\n" % _lines(trailers, _IN_TRAILERS)

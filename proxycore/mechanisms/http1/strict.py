"""What is a valid head, a valid chunk line, valid trailers; and how long the content is. Nothing else decides that.

Theory of operation
-------------------
Request smuggling is two parsers that read the same bytes as different messages. So one place reads
framing, it takes only what RFC 9112 calls valid, and it never repairs: where another parser could
read something else, the message is refused.

A whole head goes to the codec (h11 or llhttp) first, and what comes back is not believed but
proved: the fields are put together again, and must give the very bytes of the head; taking all
plain bytes away from the head must leave one CR LF for each line and nothing more. Together these
say that every line is exactly `name: value`, with no fold, no bare CR or LF and no control byte in
it, and both run at the speed of C. Names are looked up in a table of common spellings, others are
checked byte by byte (also in C).

A head that can't be proved so is not yet wrong: `Name:value` or a TAB is enough. Such heads are read
again, here, line by line, and this reading is the one that counts: it refuses what is wrong, and
what it accepts must be what the codec read. So the verdict on a head never depends on the codec.

Nor does it depend on how the bytes arrived. A head is refused before it is whole when a byte of it
can't be in any head, or when it is over a limit; of several such faults the first in the order of
the bytes counts (`HeadWatch`), the same one that a reader fed byte by byte would have met.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from http import HTTPStatus

from proxycore.mechanisms.http1.codec import Codec, CodecError
from proxycore.words.errors import Malformed, Refused
from proxycore.words.messages import ABSENT, UNKNOWN, Field, Headers, RequestHead, ResponseHead

_TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LOWER = bytes(range(256)).lower()

_PLAIN = bytes([*range(0x20, 0x7F), *range(0x80, 0x100)])
"""What may stand in a line of a head without a second look: all but the controls (of which TAB is legal, too)."""

_TARGET = bytes(byte for byte in range(0x21, 0x7F) if byte != ord("#"))
"""More than RFC 3986 allows (browsers send `|`, `{` and `"` as they are, nginx and HAProxy pass them),
but no blank, no `#` (CVE-2023-45539) and nothing outside ASCII."""

_NAME = b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~!$&'()*+;="
"""A registered name in Host. Less than RFC 3986 allows: a `,` means two hosts that somebody joined, and a
name that needs `%` is none that DNS knows, while parsers differ on what it means."""

_FAULT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?=[^\n])|(?<!\r)\n")
"""A control byte, a CR without its LF, a LF without its CR."""

_CRLF = b"\r\n"


class HeadLimits:
    """How much a head, or a block of trailers, may hold: bytes, bytes of the target, fields."""

    __slots__ = ("fields", "size", "target")

    def __init__(self, *, size: int, fields: int, target: int = 0) -> None:
        self.size = size
        self.fields = fields
        self.target = target


class HeadWatch:
    """Finds what condemns a head before it is whole, at the earliest byte that does.

    Feed it ever longer beginnings of the same head. `leading` is the number of lines before the
    first field: 1, or 0 for trailers.
    """

    __slots__ = ("_leading", "_limits", "_lines", "_seen")

    def __init__(self, limits: HeadLimits, leading: int = 1) -> None:
        self._limits = limits
        self._leading = leading
        self._lines = 0
        self._seen = 0

    def look(self, head: bytes | bytearray) -> None:
        """Raise Refused for the first fault in `head`; call it again when there is more of it."""
        limits, seen = self._limits, self._seen
        # The last byte seen may be a CR whose LF was still to come.
        found = _FAULT.search(head, max(seen - 1, 0))
        faults: list[tuple[int, int, str]] = []
        if found:
            faults.append(
                (found.end() if found[0] == b"\r" else found.start(), 400, "a control byte or a bare CR or LF")
            )
        if self._leading and not self._lines:
            if head.startswith(_CRLF):
                faults.append((1, 400, "an empty line where a message must start"))
            if limits.target:
                self._look_at_target(head, faults)
        lines = self._lines + head.count(_CRLF, max(seen - 1, 0))
        if head.endswith(b"\r\n\r\n"):
            lines -= 1
        if lines - self._leading > limits.fields:
            faults.append((self._end_of_line(head, limits.fields + self._leading), 431, "too many header fields"))
        if len(head) > limits.size:
            faults.append((limits.size, 431, "the header section is too large"))
        if faults:
            _, status, reason = min(faults)
            raise Refused(status, reason)
        self._lines, self._seen = lines, len(head)

    def _look_at_target(self, head: bytes | bytearray, faults: list[tuple[int, int, str]]) -> None:
        line = head.find(_CRLF)
        start = head.find(b" ", 0, len(head) if line < 0 else line) + 1
        end = start + self._limits.target
        target = head[start : end + 1]
        if start and len(target) > self._limits.target and b" " not in target and b"\r" not in target:
            faults.append((end, 414, "the request target is too long"))

    def _end_of_line(self, head: bytes | bytearray, number: int) -> int:
        end = -1
        for _ in range(number + 1):
            end = head.index(_CRLF, end + 1) + 1
        return end


# ---- names ------------------------------------------------------------------------------------------------------

_HOST, _LENGTH, _CODING, _CONNECTION, _TE, _UPGRADE, _EXPECT, _HOP, _UNDERSCORE = range(1, 10)

_SINGLE = {
    _HOST: "more than one Host",
    _LENGTH: "more than one Content-Length",
}

_SPECIAL_NAMES = {
    b"Host": _HOST,
    b"Content-Length": _LENGTH,
    b"Transfer-Encoding": _CODING,
    b"Connection": _CONNECTION,
    b"TE": _TE,
    b"Upgrade": _UPGRADE,
    b"Expect": _EXPECT,
    b"Keep-Alive": _HOP,
    b"Proxy-Connection": _HOP,
    b"HTTP2-Settings": _HOP,
}

_COMMON_NAMES = (
    b"Accept Accept-Charset Accept-Encoding Accept-Language Accept-Ranges Access-Control-Allow-Credentials "
    b"Access-Control-Allow-Headers Access-Control-Allow-Methods Access-Control-Allow-Origin "
    b"Access-Control-Expose-Headers Access-Control-Max-Age "
    b"Access-Control-Request-Headers Access-Control-Request-Method Age Allow Alt-Svc "
    b"Authorization Cache-Control Content-Disposition Content-Encoding Content-Language Content-Location "
    b"Content-Range Content-Security-Policy Content-Type Cookie DNT Date ETag Expires Forwarded From If-Match "
    b"If-Modified-Since If-None-Match If-Range If-Unmodified-Since Last-Modified Link Location Max-Forwards Origin "
    b"Pragma Priority Proxy-Authenticate Proxy-Authorization Proxy-Status Range Referer Referrer-Policy Retry-After "
    b"Sec-CH-UA Sec-CH-UA-Mobile Sec-CH-UA-Platform Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User "
    b"Sec-WebSocket-Accept Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Protocol Sec-WebSocket-Version "
    b"Server Server-Timing Set-Cookie Strict-Transport-Security Trailer Upgrade-Insecure-Requests User-Agent Vary Via "
    b"WWW-Authenticate Warning X-Content-Type-Options X-Forwarded-For X-Forwarded-Host X-Forwarded-Port "
    b"X-Forwarded-Proto X-Frame-Options X-Powered-By X-Real-IP X-Request-ID X-Request-Id X-Requested-With "
    b"X-XSS-Protection traceparent tracestate"
).split()

_ORDINARY = {spelling: name.lower() for name in _COMMON_NAMES for spelling in (name, name.lower())}
"""Common spellings of common names, in lower case: a look-up instead of two checks."""

_SPECIAL = {spelling: kind for name, kind in _SPECIAL_NAMES.items() for spelling in (name, name.lower(), name.upper())}


def _classify(name: bytes) -> tuple[bytes, int]:
    """`name` in lower case, and which special field it is, or 0. Raises Refused where it is no token."""
    if not name or name.translate(None, _TCHAR):
        # An empty name hid the fields after it (CVE-2023-25725); a blank before the colon is RFC 9112 section 5.1.
        raise Refused(400, "an illegal field name")
    lower = name.translate(_LOWER)
    if b"_" in lower:
        return lower, _UNDERSCORE
    return lower, _SPECIAL.get(lower, 0)


def _sort(fields: Sequence[Field], *, keep_underscore: bool) -> tuple[list[Field], dict[int, bytes]]:
    """Part the fields that travel on from those that are about framing or this hop. Raises Refused.

    A name with `_` in a request is dropped, as nginx does: CGI and WSGI can't tell it from one with `-`.
    """
    plain: list[Field] = []
    special: dict[int, bytes] = {}
    for name, value in fields:
        lower = _ORDINARY.get(name)
        if lower is None:
            kind = _SPECIAL.get(name)
            if kind is None:
                lower, kind = _classify(name)
                if kind == _UNDERSCORE and keep_underscore:
                    kind = 0
                if not kind:
                    plain.append((lower, value))
                    continue
            if kind not in special:
                special[kind] = value
            elif kind in _SINGLE:
                raise Refused(400, _SINGLE[kind])
            else:
                special[kind] += b"," + value
        else:
            plain.append((lower, value))
    return plain, special


def _members(value: bytes) -> list[bytes]:
    """The members of a list field, in lower case."""
    members = [member.strip(b" \t") for member in value.translate(_LOWER).split(b",")]
    return [member for member in members if member]


_NO_OPTIONS: frozenset[bytes] = frozenset()
_CLOSE = frozenset((b"close",))
_KEEP_ALIVE = frozenset((b"keep-alive",))
_COMMON_OPTIONS = {
    b"close": _CLOSE,
    b"Close": _CLOSE,
    b"keep-alive": _KEEP_ALIVE,
    b"Keep-Alive": _KEEP_ALIVE,
    b"Upgrade": frozenset((b"upgrade",)),
    b"upgrade": frozenset((b"upgrade",)),
    b"keep-alive, Upgrade": frozenset((b"keep-alive", b"upgrade")),
}
_KNOWN_OPTIONS = frozenset((b"close", b"keep-alive", b"upgrade", b"te"))


def _hop(plain: list[Field], connection: bytes) -> frozenset[bytes]:
    """The options of a Connection field; takes what they name out of `plain` (RFC 9110 section 7.6.1).

    Framing and Host aren't in `plain` any more, so naming them there takes nothing away.
    """
    options = _COMMON_OPTIONS.get(connection)
    if options is None:
        options = frozenset(_members(connection))
        if not options <= _KNOWN_OPTIONS:
            plain[:] = [field for field in plain if field[0] not in options]
    return options


# ---- lengths ----------------------------------------------------------------------------------------------------


def _length(value: bytes) -> int:
    # Digits alone: int() also takes `+5`, `0_5` and blanks (CVE-2023-47627). 18 of them fit every integer type
    # that anyone behind us may use (CVE-2021-40346).
    if not value.isdigit() or len(value) > 18:
        raise Refused(400, "an invalid Content-Length")
    return int(value)


def _declared(special: dict[int, bytes], version: bytes) -> int:
    """The length that Content-Length and Transfer-Encoding declare (RFC 9112 section 6.3). Raises Refused."""
    coding = special.get(_CODING)
    length = special.get(_LENGTH)
    if coding is None:
        return ABSENT if length is None else _length(length)
    if length is not None:
        raise Refused(400, "both Content-Length and Transfer-Encoding")
    if version == b"1.0":
        raise Refused(400, "Transfer-Encoding in HTTP/1.0")
    if coding.translate(_LOWER) != b"chunked":
        raise Refused(501, "a transfer coding other than chunked")
    return UNKNOWN


# ---- heads ------------------------------------------------------------------------------------------------------


def _is_proved(head: bytes, start: int, fields: list[Field], limits: HeadLimits) -> bool:
    """Whether the lines of `head` from `start` on are these fields and nothing else, each `name: value`."""
    return (
        len(fields) <= limits.fields
        and len(head) <= limits.size
        and head.translate(None, _PLAIN) == _CRLF * (len(fields) + 2)
        and head[start:-4] == _CRLF.join(map(b": ".join, fields))
        and head.find(b" \r\n", start) < 0
    )


def _split(head: bytes, start: int) -> list[Field]:
    """The fields of `head`, from `start` to the empty line, read here. Raises Refused."""
    fields: list[Field] = []
    for line in head[start:-4].split(_CRLF) if len(head) - start > 4 else ():
        name, colon, value = line.partition(b":")
        if line.startswith((b" ", b"\t")):
            raise Refused(400, "a folded header line")
        if not colon:
            raise Refused(400, "a header line without a colon")
        fields.append((name, value.strip(b" \t")))
    return fields


def _are_same(ours: list[Field], theirs: list[Field] | None) -> bool:
    """Whether a codec read what we read; h11 gives the value of Transfer-Encoding in lower case."""
    if theirs is None or len(ours) != len(theirs):
        return False
    return all(
        name == other and (value == text.strip(b" \t") or (_SPECIAL.get(name) == _CODING and value.lower() == text))
        for (name, value), (other, text) in zip(ours, theirs, strict=True)
    )


_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"))
_VERSIONS = {b"HTTP/1.1": b"1.1", b"HTTP/1.0": b"1.0"}
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")


def read_request(head: bytes, codec: Codec, limits: HeadLimits, scheme: bytes = b"http") -> RequestHead:
    """Read one whole request head, empty line included, that came over `scheme`. Raises Refused."""
    end = head.find(_CRLF)
    line = head[:end].split(b" ")
    fields: list[Field] | None
    try:
        method, target, fields = codec.request(head)
        agreed = [method, target] == line[:2]
    except CodecError:
        fields, agreed = None, False
    if agreed and fields is not None and len(line[1]) <= limits.target and _is_proved(head, end + 2, fields, limits):
        return _request(line, fields, scheme)
    HeadWatch(limits).look(head)
    ours = _split(head, end + 2)
    request = _request(line, ours, scheme)
    if not agreed or not _are_same(ours, fields):
        codec.disagreements += 1
        raise Refused(400, "a request that our parsers read differently")
    return request


def _request(line: list[bytes], fields: list[Field], scheme: bytes) -> RequestHead:
    method, target, version = _request_line(line)
    plain, special = _sort(fields, keep_underscore=False)
    host = special.get(_HOST)
    if host is None:
        if version == b"1.1":
            raise Refused(400, "no Host")
        authority = b""
    else:
        _check_authority(host)
        authority = host
    if not target.startswith(b"/"):
        target, authority = _other_form(method, target, host, scheme)
    if len(special) < 2 and (host is not None or not special):
        return RequestHead(
            method, target, authority, Headers(plain), scheme=scheme, version=version, persistent=version == b"1.1"
        )
    length = _declared(special, version)
    connection = special.get(_CONNECTION)
    options = _NO_OPTIONS if connection is None else _hop(plain, connection)
    return RequestHead(
        method,
        target,
        authority,
        Headers(plain),
        scheme=scheme,
        version=version,
        length=length,
        persistent=b"close" not in options and (version == b"1.1" or b"keep-alive" in options),
        upgrade=_offer(special, options, version, length),
        expect_continue=_expects_continue(special, version, length),
        te_trailers=_TE in special and b"trailers" in _members(special[_TE]),
    )


def _request_line(line: list[bytes]) -> tuple[bytes, bytes, bytes]:
    """Method, target and version. Raises Refused (RFC 9112 section 3)."""
    if len(line) != 3:
        raise Refused(400, "not a request line")
    method, target, protocol = line
    if method not in _METHODS and (not method or method.translate(None, _TCHAR)):
        raise Refused(400, "an illegal method")
    version = _VERSIONS.get(protocol)
    if version is None:
        if _VERSION.fullmatch(protocol):
            raise Refused(505, "neither HTTP/1.1 nor HTTP/1.0")
        raise Refused(400, "not a request line")
    if not target or target.translate(None, _TARGET):
        raise Refused(400, "an illegal request target")
    if method in (b"CONNECT", b"TRACE"):
        # A tunnel to anywhere, and an echo of credentials that we added: neither is a reverse proxy's to serve.
        raise Refused(405, "a method that isn't served here")
    return method, target, version


def _other_form(method: bytes, target: bytes, host: bytes | None, scheme: bytes) -> tuple[bytes, bytes]:
    """Origin-form and authority of a target in another form. Raises Refused (RFC 9112 section 3.2)."""
    if target == b"*" and method == b"OPTIONS":
        return target, host or b""
    named, colon, rest = target.partition(b"://")
    if not colon or named.lower() not in (b"http", b"https"):
        raise Refused(400, "an illegal request target")
    if named.lower() != scheme:
        raise Refused(421, "a target of another scheme than the connection's")
    end = min(found for found in (rest.find(b"/"), rest.find(b"?"), len(rest)) if found >= 0)
    authority, path = rest[:end], rest[end:]
    _check_authority(authority)
    # RFC 9112 section 3.2.2 has us believe the target. A client that means both gives the same host twice, and one
    # that doesn't wants us and somebody else to read different ones.
    if host is not None and _without_default_port(host, scheme) != _without_default_port(authority, scheme):
        raise Refused(400, "a target that contradicts Host")
    if not path.startswith(b"/"):
        path = b"*" if method == b"OPTIONS" and not path else b"/" + path
    return path, authority


def _without_default_port(authority: bytes, scheme: bytes) -> bytes:
    return authority.lower().removesuffix(b":443" if scheme == b"https" else b":80")


def _check_authority(authority: bytes) -> None:
    """Refuse what is no host with an optional port (RFC 9110 section 7.2)."""
    host, colon, port = authority.partition(b":")
    if authority.startswith(b"["):
        host, _, rest = authority[1:].partition(b"]")
        colon, port = rest[:1], rest[1:]
        if colon not in (b"", b":") or not _is_ipv6(host):
            raise Refused(400, "an invalid Host")
    elif not host or host.translate(None, _NAME):
        raise Refused(400, "an invalid Host")
    if port and (not port.isdigit() or len(port) > 5 or int(port) > 65535):
        raise Refused(400, "an invalid Host")


def _is_ipv6(host: bytes) -> bool:
    try:
        return ipaddress.IPv6Address(host.decode("ascii")).scope_id is None
    except ValueError:
        return False


def _offer(special: dict[int, bytes], options: frozenset[bytes], version: bytes, length: int) -> bytes | None:
    """The protocol that a request offers to change to, if any that we may pass on (RFC 9110 section 7.8).

    Never from HTTP/1.0. Never h2c: an origin that takes it speaks past all our rules. Never with content:
    where that ends and the other protocol begins is a question that servers answer differently.
    """
    if _UPGRADE not in special or b"upgrade" not in options or version == b"1.0" or length not in (ABSENT, 0):
        return None
    for protocol in _members(special[_UPGRADE]):
        if protocol != b"h2c" and not protocol.translate(None, _TCHAR + b"/"):
            return protocol
    return None


def _expects_continue(special: dict[int, bytes], version: bytes, length: int) -> bool:
    if _EXPECT not in special:
        return False
    members = _members(special[_EXPECT])
    if any(member != b"100-continue" for member in members):
        raise Refused(417, "an expectation that can't be met")
    # RFC 9110 section 10.1.1: HTTP/1.0 has none, and without content there is nothing to go on with.
    return bool(members) and version == b"1.1" and (length > 0 or length == UNKNOWN)


# ---- responses --------------------------------------------------------------------------------------------------

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")

_STATUS_LINES = {
    b"HTTP/%b %d %b" % (version, status, status.phrase.encode()): (version, int(status), status.phrase.encode())
    for version in (b"1.1", b"1.0")
    for status in HTTPStatus
}

_HEAD_ERRORS = {431: "http_response_header_section_size", 501: "http_response_transfer_coding"}
_CONTENT_ERRORS = {431: "http_response_trailer_section_size", 400: "http_response_transfer_coding"}


def blame_upstream(fault: Refused, *, in_head: bool) -> Malformed:
    """The same fault, found in a response: in its head, or in its content or trailers."""
    errors = _HEAD_ERRORS if in_head else _CONTENT_ERRORS
    return Malformed(fault.reason, errors.get(fault.status, "http_protocol_error"))


def read_response(head: bytes, codec: Codec, limits: HeadLimits, method: bytes) -> tuple[ResponseHead, bool]:
    """Read one whole response head that answers a request with `method`; and whether its content lasts until the close.

    Raises Refused, as what is wrong in a head is wrong on both sides: see `blame_upstream`.
    """
    end = head.find(_CRLF)
    line = head[:end]
    start = _STATUS_LINES.get(line) or _status_line(line)
    fields: list[Field] | None
    try:
        status, fields = codec.response(head)
    except CodecError:
        status, fields = 0, None
    if start is not None and start[1] == status and fields is not None and _is_proved(head, end + 2, fields, limits):
        return _response(start, fields, method)
    HeadWatch(limits).look(head)
    if start is None:
        raise Refused(400, "not a status line")
    ours = _split(head, end + 2)
    response = _response(start, ours, method)
    if start[1] != status or not _are_same(ours, fields):
        codec.disagreements += 1
        raise Refused(400, "a response that our parsers read differently")
    return response


def _status_line(line: bytes) -> tuple[bytes, int, bytes] | None:
    """Version, status and reason (RFC 9112 section 4; the blank before an empty reason may be missing)."""
    match = _STATUS_LINE.fullmatch(line)
    return match and (b"1.1" if match[1] == b"1" else b"1.0", int(match[2]), (match[3] or b"").strip(b" \t"))


def _response(start: tuple[bytes, int, bytes], fields: list[Field], method: bytes) -> tuple[ResponseHead, bool]:
    version, status, reason = start
    plain, special = _sort(fields, keep_underscore=True)
    length = _declared(special, version)
    connection = special.get(_CONNECTION)
    options = _NO_OPTIONS if connection is None else _hop(plain, connection)
    persistent = b"close" not in options and (version == b"1.1" or b"keep-alive" in options)
    upgrade = None
    until_close = False
    if status < 200 or status == 204:
        # RFC 9112 section 6.1 and RFC 9110 section 8.6 forbid both here. A zero is harmless, and common with 204.
        if length not in (ABSENT, 0):
            raise Refused(400, "content declared where there can be none")
        length, has_content = ABSENT, False
        if status == 101:
            upgrade = _accepted(special, options, version)
    elif status == 304 or method == b"HEAD":
        has_content = False
    elif length == ABSENT:
        # RFC 9112 section 6.3, the last case: all until the close.
        length, has_content, persistent, until_close = UNKNOWN, True, False, True
    else:
        has_content = length != 0
    head = ResponseHead(
        status,
        Headers(plain),
        reason=reason,
        version=version,
        length=length,
        has_content=has_content,
        persistent=persistent,
        upgrade=upgrade,
    )
    return head, until_close


def _accepted(special: dict[int, bytes], options: frozenset[bytes], version: bytes) -> bytes:
    """The one protocol that a 101 changes to (RFC 9110 section 15.2.2)."""
    protocols = _members(special.get(_UPGRADE, b""))
    if version == b"1.0" or b"upgrade" not in options or len(protocols) != 1:
        raise Refused(400, "a 101 that doesn't say to which protocol")
    return protocols[0]


# ---- chunks and trailers ----------------------------------------------------------------------------------------

CHUNK_LINE_MAX = 256
"""Bytes of one chunk-size line with its CR LF: 16 digits, and extensions that nobody sends."""

_HEX = b"0123456789ABCDEFabcdef"
_EXTENSIONS = re.compile(
    rb"(?:;[!#-'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#-'*+\-.^_`|~0-9A-Za-z]+|\"[\t !#-\[\]-~\x80-\xff]*\"))?)+"
)


def read_chunk_size(line: bytes) -> int:
    """The size in a chunk-size line (CR LF included). Raises Refused (RFC 9112 section 7.1).

    Blanks around an extension, which section 7.1.1 lets in, and quoted pairs are refused: nobody sends them, and
    parsers differ on them. Extensions end here (they are this hop's).
    """
    if line[-2:] != _CRLF:
        raise Refused(400, "an invalid chunk size")
    digits = line[:-2]
    if digits.translate(None, _HEX):
        digits, semicolon, extensions = digits.partition(b";")
        if digits.translate(None, _HEX) or not _EXTENSIONS.fullmatch(semicolon + extensions):
            raise Refused(400, "an invalid chunk size")
    # Sixteen digits may still be above what a signed 64-bit size holds.
    if not digits or len(digits) > 16 or (size := int(digits, 16)) >= 1 << 63:
        raise Refused(400, "an invalid chunk size")
    return size


_TRAILERS_REFUSED = frozenset(
    b"content-length transfer-encoding host connection keep-alive proxy-connection te upgrade trailer expect "
    b"http2-settings".split()
)
_TRAILERS_DROPPED = frozenset(
    b"authorization cookie set-cookie proxy-authorization proxy-authenticate www-authenticate forwarded via x-real-ip "
    b"x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-forwarded-prefix content-encoding "
    b"content-type content-range cache-control expires date age vary location retry-after max-forwards pragma range "
    b"if-match if-none-match if-modified-since if-unmodified-since if-range".split()
)


def read_trailers(block: bytes, limits: HeadLimits) -> list[Field]:
    """Read trailers, with the empty line after them. Raises Refused.

    Those about framing, routing or the hop are an attack and refused. Those that would authenticate, say who the
    client is, or change how the message is understood may not come this late (RFC 9110 section 6.5.1): dropped,
    since a recipient that merges trailers into headers would believe them. So are names with `_`.
    """
    HeadWatch(limits, leading=0).look(block)
    trailers: list[Field] = []
    for name, value in _split(block, 0):
        lower, kind = _classify(name)
        if lower in _TRAILERS_REFUSED:
            raise Refused(400, "a trailer that only a header may be")
        if kind != _UNDERSCORE and lower not in _TRAILERS_DROPPED:
            trailers.append((lower, value))
    return trailers

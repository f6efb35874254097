"""What is a valid head, a valid chunk line, valid trailers; and how long the content is. Nothing else decides that.

Theory of operation
-------------------
Request smuggling is two parsers that read the same bytes as different messages. So one place reads
framing, it takes only what RFC 9112 calls valid, and it never repairs: where another parser could
read something else, the message is refused.

A head is read whole, once its empty line is here, and at the speed of C: it is split at each CR LF,
and each line is looked up in the lines that were read before (`fields.FieldTable`). One that wasn't
is read, strictly, and what it says depends on nothing but its own bytes. What the fields mean
together (one Host, one length, which connection) is decided here, for each head anew.

What was read so is approved. Then the codec (h11 or llhttp) is asked whether it, too, reads these
bytes so; see `codec`. It is no part of the decision otherwise: which one runs changes no verdict.

Nor does it matter how the bytes arrived. A head is refused before it is whole when a byte of it
can't be in any head, or when it is over a limit; of several such faults the first in the order of
the bytes counts (`HeadWatch`), the same one that a reader fed byte by byte would have met.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus

from proxycore.mechanisms.http1 import fields
from proxycore.mechanisms.http1.codec import Codec
from proxycore.words.errors import Malformed, Refused
from proxycore.words.messages import ABSENT, UNKNOWN, Field, Headers, RequestHead, ResponseHead

_FAULT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?=[^\n])|(?<!\r)\n")
"""A control byte, a CR without its LF, a LF without its CR."""
_CONTROL = "a control byte or a bare CR or LF"

_CRLF = b"\r\n"


class HeadLimits:
    """How much a head, or a block of trailers, may hold: bytes, bytes of the target, fields."""

    __slots__ = ("fields", "size", "target")

    def __init__(self, *, size: int, fields: int, target: int | None = None) -> None:
        self.size = size
        self.fields = fields
        self.target = size if target is None else target


StartLine = Callable[[bytes, HeadLimits], object]
"""Reads the line before the first field: `request_line` or `status_line`. Raises Refused."""


_Fault = tuple[int, int, str, tuple[bytes, bytes]]
"""The byte that condemns a head; and the status, reason and line of a Refused, which would hold all its frames."""

_NO_LINE = (b"", b"")


class HeadWatch:
    """Finds what condemns a head before it is whole, at the earliest byte that does.

    Feed it ever longer beginnings of the same head. `start_line` reads its first line; trailers have none.
    """

    __slots__ = ("_leading", "_limits", "_lines", "_seen", "_start_line")

    def __init__(self, limits: HeadLimits, start_line: StartLine | None) -> None:
        self._limits = limits
        self._start_line = start_line
        self._leading = 0 if start_line is None else 1
        self._lines = 0
        self._seen = 0

    def look(self, head: bytes | bytearray) -> None:
        """Raise Refused for the first fault in `head`; call it again when there is more of it."""
        limits, seen = self._limits, self._seen
        # The last byte seen may be a CR whose LF was still to come.
        found = _FAULT.search(head, max(seen - 1, 0))
        faults: list[_Fault] = []
        if found:
            at = found.end() if found[0] == b"\r" else found.start()
            faults.append((at, 400, _CONTROL, _NO_LINE))
        if self._start_line is not None and not self._lines:
            self._look_at_target(head, faults)
            self._look_at_start(head, self._start_line, faults)
        lines = self._lines + head.count(_CRLF, max(seen - 1, 0))
        if head.endswith(b"\r\n\r\n"):
            lines -= 1
        if lines - self._leading > limits.fields:
            at = self._end_of_line(head, limits.fields + self._leading)
            faults.append((at, 431, "too many header fields", _NO_LINE))
        if len(head) > limits.size:
            faults.append((limits.size, 431, "the header section is too large", _NO_LINE))
        if faults:
            _, status, reason, line = min(faults)
            raise Refused(status, reason, line=line)
        self._lines, self._seen = lines, len(head)

    def _look_at_target(self, head: bytes | bytearray, faults: list[_Fault]) -> None:
        line = head.find(_CRLF)
        start = head.find(b" ", 0, len(head) if line < 0 else line) + 1
        end = start + self._limits.target
        target = head[start : end + 1]
        if start and len(target) > self._limits.target and b" " not in target and b"\r" not in target:
            faults.append((end, 414, "the request target is too long", _NO_LINE))

    def _look_at_start(self, head: bytes | bytearray, start_line: StartLine, faults: list[_Fault]) -> None:
        end = head.find(_CRLF)
        if end == 0:
            faults.append((1, 400, "an empty line where a message must start", _NO_LINE))
        elif end > 0:
            # Whoever speaks another protocol, or HTTP/0.9, sends no empty line and would wait for our deadline.
            try:
                start_line(bytes(head[:end]), self._limits)
            except Refused as fault:
                faults.append((end + 1, fault.status, fault.reason, fault.line))

    def _end_of_line(self, head: bytes | bytearray, number: int) -> int:
        end = -1
        for _ in range(number + 1):
            end = head.index(_CRLF, end + 1) + 1
        return end


# ---- fields -----------------------------------------------------------------------------------------------------


def _read_lines(
    head: bytes, limits: HeadLimits, table: fields.FieldTable
) -> tuple[bytes, list[Field], dict[int, bytes]]:
    """The start line; the fields that travel on; and those about framing or this hop, by kind. Raises Refused."""
    lines = head.split(_CRLF)
    if len(lines) - 3 > limits.fields or len(head) > limits.size:
        raise Refused(431, "the header section is too large")
    plain: list[Field] = []
    special: dict[int, bytes] = {}
    known = table.known.get
    checked = False
    for line in lines[1:-2]:
        entry = known(line)
        if entry is None:
            if not checked:
                # Nothing but TAB may be left: no bare CR or LF, no NUL.
                if head.translate(None, fields.PLAIN) != _CRLF * (len(lines) - 1) and _FAULT.search(head):
                    raise Refused(400, _CONTROL)
                checked = True
            entry = table.read(line)
        kind, field = entry
        if not kind:
            plain.append(field)
        elif kind not in special:
            special[kind] = field[1]
        elif kind == fields.HOST:
            raise Refused(400, "more than one Host")
        else:
            # Content-Length, too: a list is none, and is refused where the length is read.
            special[kind] += b"," + field[1]
    return lines[0], plain, special


def _members(value: bytes) -> list[bytes]:
    """The members of a list field, in lower case."""
    members = [member.strip(b" \t") for member in value.translate(fields.LOWER).split(b",")]
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


def _options(special: dict[int, bytes], headers: Headers) -> frozenset[bytes]:
    """The options in Connection; the fields that they name leave `headers` (RFC 9110 section 7.6.1).

    Framing and Host aren't in `headers` any more, so naming them there takes nothing away.
    """
    connection = special.get(fields.CONNECTION)
    if connection is None:
        return _NO_OPTIONS
    options = _COMMON_OPTIONS.get(connection)
    if options is None:
        options = frozenset(_members(connection))
        if not options <= _KNOWN_OPTIONS:
            headers.fields = [field for field in headers.fields if field[0] not in options]
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
    coding = special.get(fields.CODING)
    length = special.get(fields.LENGTH)
    if coding is None:
        return ABSENT if length is None else _length(length)
    if length is not None:
        raise Refused(400, "both Content-Length and Transfer-Encoding")
    if version == b"1.0":
        raise Refused(400, "Transfer-Encoding in HTTP/1.0")
    if coding.translate(fields.LOWER) != b"chunked":
        raise Refused(501, "a transfer coding other than chunked")
    return UNKNOWN


# ---- requests ---------------------------------------------------------------------------------------------------

_VERSIONS = {b"HTTP/1.1": b"1.1", b"HTTP/1.0": b"1.0"}
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")


def read_request(head: bytes, codec: Codec, limits: HeadLimits, scheme: bytes = b"http") -> RequestHead:
    """Read one whole request head, empty line included, that came over `scheme`. Raises Refused."""
    try:
        line, plain, special = _read_lines(head, limits, codec.request_fields)
        method, target, version = request_line(line, limits)
    except Refused:
        # What was wrong with the bytes as they came, if anything was, comes before what they mean.
        HeadWatch(limits, request_line).look(head)
        raise
    authority = special.get(fields.HOST)
    if authority is None:
        if version == b"1.1":
            raise Refused(400, "no Host")
        authority = b""
    form = target
    if not target.startswith(b"/"):
        form, authority = _other_form(method, target, special.get(fields.HOST), scheme)
    headers = Headers.__new__(Headers)
    headers.fields = plain
    # Set one by one: through __init__ with its keywords it takes three times as long.
    request = RequestHead.__new__(RequestHead)
    request.method = method
    request.target = form
    request.authority = authority
    request.headers = headers
    request.scheme = scheme
    request.version = version
    request.length = ABSENT
    request.persistent = version == b"1.1"
    request.upgrade = None
    request.expect_continue = request.te_trailers = False
    if len(special) > 1 or (special and fields.HOST not in special):
        _apply(request, special)
    if version == b"1.0" and request.length == ABSENT and method in fields.WITH_CONTENT:
        # It must say its length (RFC 1945 section 8.3; squid and lighttpd ask for it, too): HTTP/1.0 has no other way,
        # and content that we took for none would be read as the next request. In HTTP/1.1 no length is a length of 0.
        raise Refused(411, "no Content-Length")
    if not codec.reads_request(head, method, target):
        codec.disagreements += 1
        raise Refused(400, "a request that our parsers read differently")
    return request


_ACCEPT = re.compile(rb"\r\naccept:[ \t]*([^\r]*)", re.IGNORECASE)


def complete(refused: Refused, head: bytes, limits: HeadLimits) -> None:
    """Tell `refused`, with which `read_request` refused this head, its Accept for the answer and its line for the log.

    Not where the head was condemned before it was whole: who sends it byte by byte gets the same answer.
    """
    try:
        HeadWatch(limits, request_line).look(head)
    except Refused:
        return
    lines = _ACCEPT.findall(head)
    refused.accept = b", ".join(lines) if lines else None
    if not refused.line[0]:
        method, target, _ = request_line(head.partition(b"\r\n")[0], limits)
        refused.line = (method, target)


def request_line(line: bytes, limits: HeadLimits) -> tuple[bytes, bytes, bytes]:
    """Method, target and version. Raises Refused (RFC 9112 section 3)."""
    words = line.split(b" ")
    if len(words) != 3:
        raise Refused(400, "not a request line")
    method, target, protocol = words
    version = _VERSIONS.get(protocol)
    if version is None:
        if _VERSION.fullmatch(protocol):
            raise Refused(505, "neither HTTP/1.1 nor HTTP/1.0")
        raise Refused(400, "not a request line")
    if method not in fields.COMMON_METHODS:
        _check_method(method, target)
    if not target or 0 in target.translate(fields.IN_TARGET):
        raise Refused(400, "an illegal request target")
    if len(target) > limits.target:
        raise Refused(414, "the request target is too long")
    return method, target, version


def _apply(request: RequestHead, special: dict[int, bytes]) -> None:
    """What the fields of framing and of this hop say about the request. Raises Refused."""
    version = request.version
    request.length = length = _declared(special, version)
    options = _options(special, request.headers)
    request.persistent = b"close" not in options and (version == b"1.1" or b"keep-alive" in options)
    if fields.UPGRADE in special and b"upgrade" in options:
        request.upgrade = _offer(special[fields.UPGRADE], version, length)
    if fields.EXPECT in special:
        request.expect_continue = _expects_continue(special[fields.EXPECT], version, length)
    if fields.TE in special:
        request.te_trailers = b"trailers" in _members(special[fields.TE])


def _check_method(method: bytes, target: bytes) -> None:
    if not method or method.translate(None, fields.TCHAR):
        raise Refused(400, "an illegal method")
    if method in (b"CONNECT", b"TRACE"):
        # A tunnel to anywhere, and an echo of credentials that we added: neither is a reverse proxy's to serve.
        line = (method, b"" if 0 in target.translate(fields.IN_TARGET) else target)
        raise Refused(405, "a method that isn't served here", line=line)


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
    fields.check_authority(authority)
    # RFC 9112 section 3.2.2 has us believe the target. A client that means both gives the same host twice, and one
    # that doesn't wants us and somebody else to read different ones.
    if host is not None and _without_default_port(host, scheme) != _without_default_port(authority, scheme):
        raise Refused(400, "a target that contradicts Host")
    if not path.startswith(b"/"):
        path = b"*" if method == b"OPTIONS" and not path else b"/" + path
    return path, authority


def _without_default_port(authority: bytes, scheme: bytes) -> bytes:
    return authority.lower().removesuffix(b":443" if scheme == b"https" else b":80")


def _offer(value: bytes, version: bytes, length: int) -> bytes | None:
    """The protocol that a request offers to change to, if any that we may pass on (RFC 9110 section 7.8).

    Never from HTTP/1.0. Never h2c: an origin that takes it speaks past all our rules. Never with content:
    where that ends and the other protocol begins is a question that servers answer differently.
    """
    if version == b"1.0" or length not in (ABSENT, 0):
        return None
    for protocol in _members(value):
        if protocol != b"h2c" and not protocol.translate(None, fields.TCHAR + b"/"):
            return protocol
    return None


def _expects_continue(value: bytes, version: bytes, length: int) -> bool:
    members = _members(value)
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
    try:
        line, plain, special = _read_lines(head, limits, codec.response_fields)
        version, status, reason = _STATUS_LINES.get(line) or status_line(line, limits)
    except Refused:
        HeadWatch(limits, status_line).look(head)
        raise
    headers = Headers.__new__(Headers)
    headers.fields = plain
    response = ResponseHead.__new__(ResponseHead)
    response.status = status
    response.reason = reason
    response.version = version
    response.headers = headers
    response.length = length = _declared(special, version)
    options = _options(special, headers)
    response.persistent = b"close" not in options and (version == b"1.1" or b"keep-alive" in options)
    response.upgrade = None
    if status == 101:
        response.upgrade = _accepted(special, options, version)
    elif status == 426 and b"upgrade" in options:
        # RFC 9110 section 15.5.22: without the protocols that it wants, the answer says nothing.
        wanted = (member.strip(b" \t") for member in special.get(fields.UPGRADE, b"").split(b","))
        response.upgrade = b", ".join(member for member in wanted if member) or None
    until_close = False
    if status < 200 or status == 204:
        # RFC 9112 section 6.1 and RFC 9110 section 8.6 forbid both here. A zero is harmless, and common with 204.
        if length not in (ABSENT, 0):
            raise Refused(400, "content declared where there can be none")
        response.length = ABSENT
        response.has_content = False
    elif status == 304 or method == b"HEAD":
        response.has_content = False
    elif length == ABSENT:
        # RFC 9112 section 6.3, the last case: all until the close.
        response.length = UNKNOWN
        response.persistent = False
        response.has_content = until_close = True
    else:
        response.has_content = length != 0
    if not codec.reads_response(head, status):
        codec.disagreements += 1
        raise Refused(400, "a response that our parsers read differently")
    return response, until_close


def status_line(line: bytes, limits: HeadLimits) -> tuple[bytes, int, bytes]:
    """Version, status and reason (RFC 9112 section 4; the blank before an empty reason may be missing).

    Raises Refused. None of the `limits` is on this line alone.
    """
    match = _STATUS_LINE.fullmatch(line)
    if not match:
        raise Refused(400, "not a status line")
    return b"1.1" if match[1] == b"1" else b"1.0", int(match[2]), (match[3] or b"").strip(b" \t")


def _accepted(special: dict[int, bytes], options: frozenset[bytes], version: bytes) -> bytes:
    """The one protocol that a 101 changes to (RFC 9110 section 15.2.2)."""
    protocols = _members(special.get(fields.UPGRADE, b""))
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


def read_trailers(block: bytes, limits: HeadLimits, table: fields.FieldTable) -> list[Field]:
    """Read trailers, with the empty line after them. Raises Refused.

    Those about framing, routing or the hop are an attack and refused. Those that would authenticate, say who the
    client is, or change how the message is understood may not come this late (RFC 9110 section 6.5.1): dropped,
    since a recipient that merges trailers into headers would believe them. So are names with `_`.
    """
    HeadWatch(limits, None).look(block)
    trailers: list[Field] = []
    for line in block.split(_CRLF)[:-2]:
        kind, field = table.read(line)
        if kind not in (fields.ORDINARY, fields.UNDERSCORE) or field[0] == b"trailer":
            raise Refused(400, "a trailer that only a header may be")
        if b"_" not in field[0] and field[0] not in fields.NOT_IN_TRAILERS:
            trailers.append(field)
    return trailers

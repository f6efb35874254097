"""What a header block may say (RFC 9113 section 8), and the head that it makes.

Theory of operation. What comes here was decoded and is a list of fields; what leaves is the same `RequestHead` that
HTTP/1 gives, so everything behind is the same, down to the writer of HTTP/1 that checks it once more. Two ends are
bad, and differ: a malformed request raises `StreamFault`, for which a client gets a stream error and no answer
(section 8.1.1); one that is well-formed and nothing that we serve raises `Refused`, for which it gets a status.

Malformed is what section 8 says, and what has no form in HTTP/1: a request that can't be forwarded as it is isn't
repaired.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from proxycore.mechanisms.http1 import fields as field_rules
from proxycore.mechanisms.http1.fields import COMMON_METHODS, COMMON_NAMES, LOWER, PLAIN, TARGET, TCHAR
from proxycore.words.errors import Refused
from proxycore.words.messages import ABSENT, UNKNOWN, Field, Headers, RequestHead

_NAME = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_VALUE = PLAIN + b"\t"

FIELD_OVERHEAD = 32
"""What a field counts beside its bytes in the size of a list (RFC 9113 section 10.5.1)."""


class StreamFault(Exception):
    """The stream can't go on: a stream error of type PROTOCOL_ERROR."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class HeadLimits:
    """How much a head, or trailers, may hold: bytes as HTTP/2 counts them, bytes of the target, fields."""

    __slots__ = ("fields", "size", "target")

    def __init__(self, *, size: int, fields: int, target: int = 0) -> None:
        self.size = size
        self.fields = fields
        self.target = target


_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path"))
_FORBIDDEN = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
# One about HTTP/2 itself, which only an upgrade from HTTP/1.1 has (RFC 9113 section 3.1), is passed over.
_SPECIAL = _PSEUDO | _FORBIDDEN | frozenset((b"host", b"content-length", b"te", b"expect", b"http2-settings"))
_PLAIN_NAMES = COMMON_NAMES - _SPECIAL - frozenset((b"cookie",))


def read_request(
    block: Sequence[Field], limits: HeadLimits, schemes: Collection[bytes], *, is_whole: bool
) -> RequestHead:
    """Read the fields of a request whose content has ended too (`is_whole`), or follows.

    `schemes` are those that it may have come for. Raises StreamFault, or Refused.
    """
    plain, special = _sort(block)
    method = special.get(b":method")
    if method is None:
        raise StreamFault("no :method")
    if method not in COMMON_METHODS:
        _check_method(method, special)
    target = _target(method, special)
    authority = _authority(special)
    if method == b"CONNECT" or method == b"TRACE":
        # A tunnel to anywhere, and an echo of credentials that we added: neither is a reverse proxy's to serve.
        # In HTTP/1 a CONNECT has its authority for a target.
        raise Refused(405, "a method that isn't served here", line=(method, target or authority))
    request = RequestHead(
        method,
        target,
        authority,
        Headers(plain),
        scheme=special[b":scheme"],
        version=b"2",
        length=_length(special.get(b"content-length"), is_whole),
        te_trailers=_te(special.get(b"te")),
    )
    _check_size(block, len(plain), limits)
    if len(target) > limits.target:
        raise Refused(414, "the request target is too long")
    if request.scheme not in schemes:
        raise Refused(421, "a target of another scheme than the connection's")
    if b"expect" in special:
        request.expect_continue = _expects_continue(special[b"expect"], request)
    return request


def request_line(block: Sequence[Field], limits: HeadLimits) -> tuple[bytes, bytes]:
    """Method and target of a malformed request, for the log: as they came, as long as a target may be."""
    fields = dict(block)
    return fields.get(b":method", b"")[: limits.target], fields.get(b":path", b"")[: limits.target]


def _sort(block: Sequence[Field]) -> tuple[list[Field], dict[bytes, bytes]]:
    """The fields that travel on; and those that mean something here. Raises StreamFault."""
    _check_values(block)
    plain: list[Field] = []
    special: dict[bytes, bytes] = {}
    crumbs: list[bytes] = []
    crumbs_at = 0
    for field in block:
        name = field[0]
        if name in _PLAIN_NAMES:
            plain.append(field)
        elif name == b"cookie":
            if not crumbs:
                crumbs_at = len(plain)
                plain.append(field)
            crumbs.append(field[1])
        elif name in _SPECIAL:
            _note(name, field[1], plain, special)
        elif _is_passed_on(name):
            plain.append(field)
        else:
            special[name] = field[1]
    if len(crumbs) > 1:
        # Cookies may come in crumbs, and go on as one field (RFC 9113 section 8.2.3).
        plain[crumbs_at] = (b"cookie", b"; ".join(crumbs))
    return plain, special


def _note(name: bytes, value: bytes, plain: list[Field], special: dict[bytes, bytes]) -> None:
    """Take down what a field says that isn't passed on as it is. Raises StreamFault."""
    if name in _PSEUDO:
        if name in special:
            raise StreamFault(f"more than one {name.decode()}")
        if plain or not _PSEUDO.issuperset(special):
            raise StreamFault("a pseudo-header behind a field")
    elif name in _FORBIDDEN:
        raise StreamFault(f"a field of a connection: {name.decode()}")
    elif name in special:
        if name in (b"host", b"content-length"):
            raise StreamFault(f"more than one {name.decode()}")
        value = b"%b,%b" % (special[name], value)
    special[name] = value


def _check_values(block: Sequence[Field]) -> None:
    """RFC 9113 section 8.2.1: no NUL, CR or LF, no blank around a value. And no control byte that HTTP/1 can't have."""
    values = b"\n".join([value for _, value in block])
    # What is left may only be what they were joined with.
    if len(values.translate(None, _VALUE)) != len(block) - 1 or values.count(b"\n") != len(block) - 1:
        raise StreamFault("no fields, or a control byte in a value")
    values = b"\n%b\n" % values
    if b"\n " in values or b" \n" in values or b"\n\t" in values or b"\t\n" in values:
        raise StreamFault("a blank around a value")


def _is_passed_on(name: bytes) -> bool:
    """Whether a field of an uncommon name travels on. Raises StreamFault for what is no name here."""
    if name.startswith(b":"):
        raise StreamFault("an unknown pseudo-header")
    if not name or name.translate(None, _NAME):
        raise StreamFault("no field name in lower case")
    # CGI and WSGI can't tell `_` from `-`: dropped, as nginx does and HTTP/1 here.
    return b"_" not in name


def _check_method(method: bytes, special: dict[bytes, bytes]) -> None:
    if not method or method.translate(None, TCHAR):
        raise StreamFault("no method")
    if method == b"CONNECT":
        # RFC 9113 section 8.5: it has neither of the two, and a method that is refused needs none either.
        if b":scheme" in special or b":path" in special:
            raise StreamFault("a CONNECT with a scheme or a path")
        special[b":scheme"] = special[b":path"] = b""


def _target(method: bytes, special: dict[bytes, bytes]) -> bytes:
    target = special.get(b":path")
    if target is None or b":scheme" not in special:
        raise StreamFault("no :path, or no :scheme")
    special[b":scheme"] = special[b":scheme"].translate(LOWER)
    if method == b"CONNECT":
        return target
    if not target.startswith(b"/") and not (target == b"*" and method == b"OPTIONS"):
        raise StreamFault("a :path that is none")
    if target.translate(None, TARGET):
        raise StreamFault("an illegal :path")
    return target


def _authority(special: dict[bytes, bytes]) -> bytes:
    """The host that is asked for. HTTP/1 can't do without one."""
    authority, host = special.get(b":authority"), special.get(b"host")
    chosen = host if authority is None else authority
    if chosen is None:
        raise StreamFault("no :authority, and no host")
    try:
        field_rules.check_authority(chosen)
    except Refused as refused:
        raise StreamFault(refused.reason) from None
    if host is not None and authority is not None and host.lower() != authority.lower():
        # RFC 9113 section 8.3.1: one that means both gives the same twice.
        raise StreamFault("a host that contradicts :authority")
    return chosen


def _length(declared: bytes | None, is_whole: bool) -> int:
    if declared is None:
        return ABSENT if is_whole else UNKNOWN
    # Digits alone, and as many as fit every integer type behind us: see `http1.strict`.
    if not declared.isdigit() or len(declared) > 18:
        raise StreamFault("an invalid content-length")
    length = int(declared)
    if is_whole and length:
        raise StreamFault("less content than content-length says")
    return length


def _te(value: bytes | None) -> bool:
    if value is None:
        return False
    # RFC 9113 section 8.2.2: the only one that may come.
    if value.lower() != b"trailers":
        raise StreamFault("a te other than trailers")
    return True


def _expects_continue(value: bytes, request: RequestHead) -> bool:
    if any(member.strip(b" \t").lower() not in (b"100-continue", b"") for member in value.split(b",")):
        raise Refused(417, "an expectation that can't be met")
    return request.has_content


def _check_size(block: Sequence[Field], travelling: int, limits: HeadLimits) -> None:
    if travelling > limits.fields or list_size(block) > limits.size:
        raise Refused(431, "the header section is too large")


def list_size(block: Sequence[Field]) -> int:
    """The size of a list of fields as HTTP/2 counts it (RFC 9113 section 10.5.1)."""
    return sum([len(name) + len(value) for name, value in block]) + FIELD_OVERHEAD * len(block)


def read_trailers(block: Sequence[Field], limits: HeadLimits) -> list[Field]:
    """Read the fields behind the content. Raises StreamFault, or Refused where there are too many.

    What may not come this late is refused or dropped, by the same lists as in HTTP/1 (`fields.NOT_IN_TRAILERS`).
    """
    if not block:
        return []
    _check_values(block)
    trailers: list[Field] = []
    for field in block:
        name = field[0]
        if name in _SPECIAL or name == b"trailer":
            raise StreamFault("a trailer that only a header may be")
        if _is_passed_on(name) and name not in field_rules.NOT_IN_TRAILERS:
            trailers.append(field)
    _check_size(block, len(trailers), limits)
    return trailers

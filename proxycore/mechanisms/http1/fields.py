"""Field lines: which bytes make one, which fields are about framing or this hop, and a memory for lines.

Most lines of a connection, and many of all connections, are the same in each head: User-Agent,
Accept-Encoding, Server. HTTP/2 has its dynamic table for them (RFC 7541 section 2.3.2); `FieldTable`
is ours: a line that was read before is not read again. Reading a line depends on nothing but the
line, so no verdict and no value depends on what the table holds.
"""

from __future__ import annotations

import ipaddress

from proxycore.words.errors import Refused
from proxycore.words.messages import Field

TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""The bytes of a token (RFC 9110 section 5.6.2)."""

PLAIN = bytes([*range(0x20, 0x7F), *range(0x80, 0x100)])
"""What may stand in a line without a second look: all but the controls (of which TAB is legal, too)."""

LOWER = bytes(range(256)).lower()

_HOST_NAME = b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~!$&'()*+;="
"""A registered name in Host. Less than RFC 3986 allows: a `,` means two hosts that somebody joined, and a
name that needs `%` is none that DNS knows, while parsers differ on what it means."""

# What a field is about. Those that are about nothing here travel on as they are.
ORDINARY, HOST, LENGTH, CODING, CONNECTION, TE, UPGRADE, EXPECT, HOP, UNDERSCORE = range(10)

_KINDS = {
    b"Host": HOST,
    b"Content-Length": LENGTH,
    b"Transfer-Encoding": CODING,
    b"Connection": CONNECTION,
    b"TE": TE,
    b"Upgrade": UPGRADE,
    b"Expect": EXPECT,
    b"Keep-Alive": HOP,
    b"Proxy-Connection": HOP,
    b"HTTP2-Settings": HOP,
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


COMMON_NAMES = frozenset(name.lower() for name in _COMMON_NAMES)

_SPELLINGS = {
    spelling: (kind, name.lower())
    for name, kind in [*_KINDS.items(), *((name, ORDINARY) for name in _COMMON_NAMES)]
    for spelling in (name, name.lower(), name.upper())
}
"""Common spellings of common names: a look-up instead of two checks."""

_NEVER_KEPT = frozenset(
    b"authorization cookie proxy-authorization set-cookie referer traceparent tracestate x-request-id".split()
)
"""Secrets, which nobody but their connection should hold; and what is new in each request."""

_KEPT_MAX = 512
"""Lines in one table; when it is full it starts anew, and what is common is soon back."""

_KEPT_LINE_MAX = 192


class FieldTable(dict[bytes, tuple[int, Field]]):
    """From a field line (without its CR LF) to its kind and field; reads those that it hasn't seen.

    `table[line]` raises Refused where the line isn't valid. A response keeps names with `_`, from a
    request they are dropped (their kind is UNDERSCORE), as nginx does: CGI and WSGI can't tell them
    from those with `-`.
    """

    __slots__ = ("_keep_underscore",)

    def __init__(self, *, keep_underscore: bool) -> None:
        super().__init__()
        self._keep_underscore = keep_underscore

    def __missing__(self, line: bytes) -> tuple[int, Field]:
        kind, field = read_field(line)
        if kind == UNDERSCORE and self._keep_underscore:
            kind = ORDINARY
        name = field[0]
        if len(line) <= _KEPT_LINE_MAX and (kind or name in COMMON_NAMES) and name not in _NEVER_KEPT:
            if len(self) >= _KEPT_MAX:
                self.clear()
            self[line] = kind, field
        return kind, field


def read_field(line: bytes) -> tuple[int, Field]:
    """Kind and field of a line. Raises Refused (RFC 9112 section 5)."""
    if line.translate(None, PLAIN).strip(b"\t"):
        raise Refused(400, "a control byte in a header line")
    name, colon, value = line.partition(b":")
    # Of what this strips, only blanks and TABs can still be there (gunicorn #3364).
    value = value.strip()
    known = _SPELLINGS.get(name)
    if known is not None and colon:
        kind, lower = known
        if kind == HOST:
            check_authority(value)
        return kind, (lower, value)
    if not colon or not name or name.translate(None, TCHAR):
        # A folded line, too, has no token before its first colon. An empty name hid the fields after it
        # (CVE-2023-25725); a blank before the colon is RFC 9112 section 5.1.
        raise Refused(400, "an illegal field name")
    lower = name.translate(LOWER)
    if lower != name and lower in _SPELLINGS:
        return read_field(lower + b":" + value)
    return UNDERSCORE if b"_" in lower else ORDINARY, (lower, value)


def check_authority(authority: bytes) -> None:
    """Refuse what is no host with an optional port (RFC 9110 section 7.2)."""
    host, _, port = authority.partition(b":")
    valid = host and not host.translate(None, _HOST_NAME)
    if authority.startswith(b"["):
        host, bracket, rest = authority[1:].partition(b"]")
        port = rest[1:]
        valid = bracket and rest[:1] in (b"", b":") and _is_ipv6(host)
    if not valid or (port and (not port.isdigit() or len(port) > 5 or int(port) > 65535)):
        raise Refused(400, "an invalid Host")


def _is_ipv6(host: bytes) -> bool:
    try:
        return ipaddress.IPv6Address(host.decode("ascii")).scope_id is None
    except ValueError:
        return False

"""Which bytes may stand where; which fields are about framing or this hop; and a memory for field lines.

Most lines of a connection, and many of all connections, are the same in each head: User-Agent,
Accept-Encoding, Server. HTTP/2 has its dynamic table for them (RFC 7541 section 2.3.2); `FieldTable`
is ours: a line that was read before isn't read again. Reading a line depends on nothing but the
line, so no verdict and no value depends on what the table holds.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from proxycore.words.errors import Refused
from proxycore.words.messages import Field

TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""The bytes of a token (RFC 9110 section 5.6.2)."""

PLAIN = bytes([*range(0x20, 0x7F), *range(0x80, 0x100)])
"""What may stand in a line without a second look: all but the controls (of which TAB is legal, too)."""

TARGET = bytes(byte for byte in range(0x21, 0x7F) if byte != ord("#"))
"""The bytes of a request target. More than RFC 3986 allows (browsers send `|`, `{` and `"` as they are, nginx
and HAProxy pass them), but no blank, no `#` (CVE-2023-45539) and nothing outside ASCII."""


def table_of(legal: Iterable[int]) -> bytes:
    """For `0 in text.translate(table)`: whether other bytes than `legal` are in `text`, which NUL never is.

    It takes a quarter of the time of `text.translate(None, legal)`, which makes a table of its own each time.
    """
    taken = frozenset(legal)
    return bytes(byte if byte in taken else 0 for byte in range(256))


IN_TARGET = table_of(TARGET)

COMMON_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"))

WITH_CONTENT = frozenset((b"POST", b"PUT", b"PATCH"))
"""Methods that lead a server to expect content (RFC 9110 section 8.6)."""

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

_NEVER_KEPT = frozenset(
    b"Authorization Cookie Location Proxy-Authorization Referer Sec-WebSocket-Accept Sec-WebSocket-Key Set-Cookie "
    b"traceparent tracestate X-Request-ID X-Request-Id".split()
)
"""Secrets, which nobody but their connection should hold; and what is new in each request."""

_SPELLINGS = {
    spelling: (kind, name.lower(), name not in _NEVER_KEPT)
    for name, kind in [*_KINDS.items(), *((name, ORDINARY) for name in _COMMON_NAMES)]
    for spelling in (name, name.lower(), name.upper())
}
"""Common spellings of common names: a look-up instead of a look at each byte. Kind, name, and whether to keep lines."""

NOT_IN_TRAILERS = frozenset(
    b"authorization cookie set-cookie proxy-authorization proxy-authenticate www-authenticate forwarded via x-real-ip "
    b"x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-forwarded-prefix x-forwarded-ssl "
    b"x-forwarded-scheme x-forwarded-protocol front-end-https x-original-url x-rewrite-url content-encoding "
    b"content-type content-range cache-control expires date age vary location retry-after max-forwards pragma range "
    b"if-match if-none-match if-modified-since if-unmodified-since if-range".split()
)
"""Trailers that would authenticate, say who the client is, or change how the message is understood: they may not
come this late (RFC 9110 section 6.5.1), and a recipient that merges trailers into headers would believe them."""

_NOT_TCHAR = bytes(byte for byte in range(256) if byte not in TCHAR)

_KEPT_MAX = 512
"""Lines in one table; when it is full it starts anew, and what is common is soon back."""

_KEPT_LINE_MAX = 192


class FieldTable:
    """Reads field lines, and remembers common ones in `known`, by their bytes without the CR LF.

    A response keeps names with `_`, from a request they are dropped (their kind is UNDERSCORE), as
    nginx does: CGI and WSGI can't tell them from those with `-`.
    """

    __slots__ = ("_underscore", "known")

    def __init__(self, *, keep_underscore: bool) -> None:
        self.known: dict[bytes, tuple[int, Field]] = {}
        self._underscore = ORDINARY if keep_underscore else UNDERSCORE

    def read(self, line: bytes) -> tuple[int, Field]:
        """Kind and field of a line that holds no control byte but TAB. Raises Refused (RFC 9112 section 5)."""
        name, colon, value = line.partition(b":")
        spelling = _SPELLINGS.get(name)
        if not colon:
            raise Refused(400, "a header line without a colon, or a folded one")
        if spelling is None:
            return self._read_uncommon(name, value)
        kind, lower, kept = spelling
        # Of what this strips, only blanks and TABs can be there (gunicorn #3364).
        entry = kind, (lower, value.strip())
        if kind == HOST:
            check_authority(entry[1][1])
        if kept and len(line) <= _KEPT_LINE_MAX:
            if len(self.known) >= _KEPT_MAX:
                self.known.clear()
            self.known[line] = entry
        return entry

    def _read_uncommon(self, name: bytes, value: bytes) -> tuple[int, Field]:
        lower = name.translate(LOWER, _NOT_TCHAR)
        if not name or len(lower) != len(name):
            # A folded line, too, has no token before its first colon. An empty name hid the fields after it
            # (CVE-2023-25725); a blank before the colon is RFC 9112 section 5.1.
            raise Refused(400, "an illegal field name")
        if lower in _SPELLINGS:
            return self.read(b"%b:%b" % (lower, value))
        return self._underscore if b"_" in lower else ORDINARY, (lower, value.strip())


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

"""What tells browsers to be careful: security headers, and the flags of cookies (RFC 6265bis)."""

from __future__ import annotations

from proxycore.config import CookieFlags, SecurityHeaders
from proxycore.words.messages import Field, Headers


class SecurityFields:
    """A route's `security_headers`. What a server said itself stays: it knows its pages."""

    __slots__ = ("_fields", "_names")

    def __init__(self, headers: SecurityHeaders) -> None:
        texts = {
            b"x-content-type-options": "nosniff" if headers.nosniff else None,
            b"x-frame-options": headers.frame_options,
            b"referrer-policy": headers.referrer_policy,
            b"permissions-policy": headers.permissions_policy,
            b"content-security-policy": headers.content_security_policy,
        }
        self._fields: list[Field] = [(name, text.encode()) for name, text in texts.items() if text]
        self._names = frozenset(name for name, _ in self._fields)

    def apply(self, headers: Headers) -> None:
        """Add what isn't there."""
        fields = headers.fields
        there = {name for name, _ in fields if name in self._names}
        fields += [field for field in self._fields if field[0] not in there] if there else self._fields


class CookieGuard:
    """A route's `cookies`: flags for the cookies that servers set. What a server said itself stays."""

    __slots__ = ("_exempt", "_flags")

    def __init__(self, flags: CookieFlags) -> None:
        self._exempt = frozenset(name.encode() for name in flags.exempt)
        self._flags: list[Field] = []
        if flags.secure:
            self._flags.append((b"secure", b"; Secure"))
        if flags.http_only:
            self._flags.append((b"httponly", b"; HttpOnly"))
        if flags.same_site:
            self._flags.append((b"samesite", b"; SameSite=" + flags.same_site.capitalize().encode()))

    def apply(self, headers: Headers) -> None:
        """Add the flags to each cookie that lacks them."""
        for position, (name, value) in enumerate(headers.fields):
            if name == b"set-cookie":
                headers.fields[position] = (name, self._flagged(value))

    def _flagged(self, cookie: bytes) -> bytes:
        pair, *attributes = cookie.split(b";")
        if pair.partition(b"=")[0].strip(b" \t") in self._exempt:
            return cookie
        there = [attribute.partition(b"=")[0].strip(b" \t").lower() for attribute in attributes]
        return cookie + b"".join([text for name, text in self._flags if name not in there])

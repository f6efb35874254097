"""Sessions that stay with their server, by a cookie of ours: HAProxy's `cookie NAME insert indirect nocache`.

*Insert*: we add it to a response when the client has none that counts. *Indirect*: it is taken out of requests, so
the origin never sees it. *Nocache*: a response that carries it is made private (RFC 9111 section 5.2.2.7), or a shared
cache before many clients would hand one client's server to all.

The value names a server and tells nothing of it: half is an identity, half a signature over it, both made from the
secret, the upstream's name and the server's. So it means the same in every worker, after a reload and in the next
process; and nobody who hasn't the secret can choose a server, or learn from other clients' values how many there are.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import Final

from proxycore.config import Sticky
from proxycore.words.messages import Headers

SECRET_MIN: Final = 16
"""Bytes. A shorter secret could be found by trying."""

GONE: Final = ""
"""What a cookie names that is ours, and whose server is no more."""

_IDENTITY: Final = 16
"""Characters of base64: 96 bits."""

_SHARED: Final = frozenset((b"public", b"s-maxage", b"proxy-revalidate", b"must-understand"))
"""Directives of Cache-Control that speak to shared caches only (RFC 9111 section 5.2.2)."""


class StickyCookie:
    """The cookie of one upstream. Raises ValueError where the secret is too short."""

    __slots__ = (
        "_attributes",
        "_names",
        "_prefix",
        "_scope",
        "_secret",
        "_values",
        "name",
        "on_failure",
        "while_draining",
    )

    def __init__(self, upstream: str, sticky: Sticky, secret: bytes) -> None:
        if len(secret) < SECRET_MIN:
            raise ValueError(f"the secret is {len(secret)} bytes long; at least {SECRET_MIN} are needed")
        self._secret = secret
        self._scope = b"proxycore sticky\0" + upstream.encode() + b"\0"
        self.name = sticky.cookie.encode()
        self._prefix = self.name + b"="
        self.on_failure = sticky.on_failure
        self.while_draining = sticky.while_draining
        age = f"; Max-Age={int(sticky.max_age)}" if sticky.max_age else ""
        self._attributes = f"{age}; Path=/; HttpOnly; SameSite=Lax".encode()
        self._values: dict[str, bytes] = {}
        self._names: dict[bytes, str] = {}

    def know(self, servers: Iterable[str]) -> None:
        """Take the names of the servers that there are. Call it whenever one came or went."""
        self._values = {name: self._value_of(name) for name in servers}
        self._names = {value[:_IDENTITY]: name for name, value in self._values.items()}

    def _value_of(self, server: str) -> bytes:
        identity = self._mac(b"identity\0" + server.encode())
        return identity + self._mac(b"signature\0" + identity)

    def _mac(self, what: bytes) -> bytes:
        return urlsafe_b64encode(hmac_digest(self._secret, self._scope + what, sha256)[:12])

    def server_of(self, request: Headers) -> str | None:
        """The server that the request's cookie names, `GONE` if there is none of that name any more; else None."""
        for name, value in request.fields:
            if name == b"cookie" and self._prefix in value:
                for pair in value.split(b";"):
                    pair = pair.strip(b" \t")
                    if pair.startswith(self._prefix) and self._is_ours(pair[len(self._prefix) :]):
                        identity = pair[len(self._prefix) :][:_IDENTITY]
                        return self._names.get(identity, GONE)
        return None

    def _is_ours(self, value: bytes) -> bool:
        if len(value) != 2 * _IDENTITY:
            return False  # thousands of short ones fit in a head, and a signature takes time
        # In constant time: how long a comparison takes would else tell a forger how much of a signature is right.
        identity = value[:_IDENTITY]
        return compare_digest(identity + self._mac(b"signature\0" + identity), value)

    def hide(self, request: Headers) -> None:
        """Take the cookie out of a request that goes to a server, whatever its value; other cookies stay."""
        fields = request.fields
        for position in range(len(fields) - 1, -1, -1):
            name, value = fields[position]
            if name == b"cookie" and self._prefix in value:
                pairs = [pair.strip(b" \t") for pair in value.split(b";")]
                kept = [pair for pair in pairs if not pair.startswith(self._prefix)]
                if kept:
                    fields[position] = (name, b"; ".join(kept))
                else:
                    del fields[position]

    def bind(self, request: Headers, response: Headers, server: str, *, is_secure: bool) -> None:
        """Have the client come back to `server`, which answers it; `is_secure` if it came by https.

        Adds the cookie to its response, and makes that private, unless the client has it already or the server is gone.
        """
        value = self._values.get(server)
        if value is None or self.server_of(request) == server:
            return
        secure = b"; Secure" if is_secure else b""
        response.add(b"set-cookie", self._prefix + value + self._attributes + secure)
        make_private(response)


def make_private(response: Headers) -> None:
    """Have no shared cache store the response; what it says to the client's own cache stays."""
    directives = response.get_list(b"cache-control")
    names = [directive.partition(b"=")[0].strip().lower() for directive in directives]
    if b"no-store" in names:
        return
    kept = [d for d, name in zip(directives, names, strict=True) if name not in _SHARED and name != b"private"]
    response.set(b"cache-control", b", ".join([b"private", *kept]))

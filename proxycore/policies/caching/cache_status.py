"""Cache-Status: what this cache did with a request (RFC 9211)."""

from __future__ import annotations

from typing import Literal

Forwarded = Literal["bypass", "method", "uri-miss", "vary-miss", "request", "stale", "partial"]
"""Why the origin was asked (section 2.2): the cache isn't used for it, nothing is stored, ..."""


def hit_status(name: bytes, ttl: float) -> bytes:
    """For a response from the store that is fresh for another `ttl` seconds; stale since, where that is negative."""
    return b"%b; hit; ttl=%d" % (name, ttl)


def forwarded_status(name: bytes, why: Forwarded, *, status: int, stored: bool, detail: str | None = None) -> bytes:
    """For one that the origin answered with `status`. `detail` is why it wasn't stored."""
    value = b"%b; fwd=%b; fwd-status=%d" % (name, why.encode(), status)
    if stored:
        value += b"; stored"
    return value if detail is None else b"%b; detail=%b" % (value, detail.encode())


def collapsed_status(name: bytes, why: Forwarded) -> bytes:
    """For a client that got what another one's request to the origin brought (section 2.6)."""
    return b"%b; fwd=%b; collapsed" % (name, why.encode())

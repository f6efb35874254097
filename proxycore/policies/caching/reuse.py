"""What a stored response is good for, for this request at this time (RFC 9111 section 4 and 5.2.1)."""

from __future__ import annotations

from typing import Literal

from proxycore.policies.caching.directives import UNLIMITED_SECONDS, Directives
from proxycore.policies.caching.freshness import Freshness

Use = Literal["serve", "serve-and-renew", "ask"]
"""`serve` it; serve it and renew it behind the client's back; or ask the origin first whether it still holds."""


def use_of(freshness: Freshness, age: float, asked: Directives) -> Use:
    """How a response of this `age` may serve a request that asked for this."""
    if freshness.no_cache or b"no-cache" in asked:
        return "ask"
    max_age = asked.seconds(b"max-age")
    if max_age is not None and age > max_age:
        return "ask"
    if age + (asked.seconds(b"min-fresh") or 0) < freshness.lifetime:
        return "serve"
    stale = age - freshness.lifetime
    if stale < 0 or freshness.must_revalidate:
        return "ask"  # fresh, but not for as long as the client wants; or never to be served stale
    if b"max-stale" in asked:
        return "serve" if stale < _max_stale(asked) else "ask"
    if b"min-fresh" not in asked and stale < freshness.while_revalidating:
        return "serve-and-renew"
    return "ask"


def may_serve_on_error(freshness: Freshness, age: float, asked: Directives) -> bool:
    """Whether it may stand in while the origin fails (RFC 5861 section 4)."""
    if freshness.no_cache or freshness.must_revalidate:
        return False
    told = asked.seconds(b"stale-if-error")
    return age < freshness.lifetime + max(freshness.if_error, told or 0)


def _max_stale(asked: Directives) -> int:
    """How stale the client takes it: any, where it names no number."""
    return UNLIMITED_SECONDS if asked.is_whole(b"max-stale") else asked.seconds(b"max-stale") or 0

"""Whether a response may be stored by a cache that many share (RFC 9111 section 3), and which of its fields.

Each rule answers with the reason against, a word that Cache-Status and a trace show; None says that nothing is
against it. Where the origin is silent we keep only what is nobody's in particular: a response to a request with
credentials, or one that sets a cookie, needs to be given to shared caches in so many words.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxycore.config.model import RouteCache
from proxycore.config.units import StatusRange
from proxycore.policies.caching.directives import Directives
from proxycore.policies.caching.freshness import Freshness
from proxycore.policies.caching.keys import KEY_MAX
from proxycore.words.messages import Headers, RequestHead, ResponseHead

_UNDERSTOOD = frozenset(
    (200, 203, 204, 300, 301, 302, 303, 305, 307, 308, *range(400, 418), 421, 422, 426, 428, 429, 431, 451)
) | frozenset((*range(500, 506), 511))
"""The statuses whose caching rules we know, for `must-understand`. Not 206: parts are not put together here."""

_NEVER_STORED_STATUSES = frozenset((206, 304))

_NEVER_STORED_FIELDS = frozenset(
    # RFC 9111 section 3.1; Age and Cache-Status are of the way that this response took, and are told anew.
    (b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization", b"age", b"cache-status")
)


class StoringRules:
    """What a route says about storing. `valid` are lifetimes by status; spans are seconds.

    `keyed_authorization` and `keyed_cookie` say that the route's key holds these fields: then a response to a
    request that has one is told apart from those to others, and may be kept though the origin says nothing.
    """

    __slots__ = ("if_error", "keyed_authorization", "keyed_cookie", "valid", "while_revalidating")

    def __init__(self, cache: RouteCache) -> None:
        names = [name.lower() for name in cache.key]
        self.valid: Sequence[tuple[StatusRange, float]] = tuple(cache.valid.items())
        self.while_revalidating = cache.stale_while_revalidate
        self.if_error = cache.stale_if_error
        self.keyed_authorization = "header.authorization" in names or "user" in names
        self.keyed_cookie = any(name == "header.cookie" or name.startswith("cookie.") for name in names)


def request_refusal(request: RequestHead, directives: Directives) -> str | None:
    """Why this request neither asks the store nor fills it."""
    if request.method not in (b"GET", b"HEAD"):
        return "method"
    if request.upgrade is not None:
        return "upgrade"  # it asks for a conversation, and its answer may not come before the end of one
    if request.has_content:
        return "content"  # a fat GET: what its content changes is in no key
    if b"no-store" in directives:
        return "request-no-store"
    if len(request.target) > KEY_MAX:
        return "key-length"
    return None


def response_refusal(
    request: RequestHead,
    head: ResponseHead,
    directives: Directives,
    freshness: Freshness,
    rules: StoringRules,
    *,
    is_authorized: bool,
) -> str | None:
    """Why this response to a GET that may be stored must not be.

    `is_authorized` says that whoever asked proved who they are, be it to the origin or to us.
    """
    status = head.status
    if status < 200 or status in _NEVER_STORED_STATUSES:
        return "status"
    if b"must-understand" in directives:
        # RFC 9111 section 5.2.2.3: who understands the status ignores the no-store beside it.
        if status not in _UNDERSTOOD:
            return "must-understand"
    elif b"no-store" in directives:
        return "no-store"
    if directives.is_whole(b"private"):
        return "private"
    if is_authorized and not _may_share_authorized(directives, rules):
        return "authorization"
    if b"set-cookie" in head.headers and not freshness.is_shared and b"set-cookie" not in _withheld(directives):
        return "set-cookie"
    if b"cookie" in request.headers and not freshness.is_explicit and not rules.keyed_cookie:
        return "cookie"
    if b"*" in head.headers.get_list(b"vary"):
        return "vary"
    return _useless(head.headers, freshness)


def _may_share_authorized(directives: Directives, rules: StoringRules) -> bool:
    """RFC 9111 section 3.5, or the route keeps each of them apart."""
    told = (b"public", b"s-maxage", b"must-revalidate")
    return rules.keyed_authorization or any(name in directives for name in told)


def _useless(headers: Headers, freshness: Freshness) -> str | None:
    """Nothing is kept that could never serve: neither fresh, nor stale, nor after asking whether it still holds."""
    if b"etag" in headers or b"last-modified" in headers:
        return None
    if freshness.no_cache or freshness.lifetime + freshness.serves_stale <= 0:
        return "no-lifetime"
    return None


def stored_fields(headers: Headers, directives: Directives, freshness: Freshness) -> Headers:
    """The fields that are kept: none that the origin withholds from all but the first client, and nobody's cookie."""
    dropped = _NEVER_STORED_FIELDS | _withheld(directives)
    if not freshness.is_shared:
        dropped |= {b"set-cookie"}
    return Headers([field for field in headers.fields if field[0] not in dropped])


def _withheld(directives: Directives) -> frozenset[bytes]:
    """The fields that `private` or `no-cache` names (RFC 9111 sections 5.2.2.4 and 5.2.2.7)."""
    return frozenset(directives.fields(b"private") + directives.fields(b"no-cache"))

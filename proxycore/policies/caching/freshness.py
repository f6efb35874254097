"""How old a response is, and for how long it may serve (RFC 9111 section 4.2, RFC 5861)."""

from __future__ import annotations

from collections.abc import Sequence

from proxycore.config.units import StatusRange
from proxycore.policies.caching.directives import UNLIMITED_SECONDS, Directives
from proxycore.policies.dates import parse_http_date
from proxycore.words.messages import Headers

HEURISTIC_STATUSES = frozenset((200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501))
"""RFC 9110 section 15.1: the statuses that may be kept without being told so."""

HEURISTIC_SHARE = 0.1
"""RFC 9111 section 4.2.2: what didn't change for some time is taken to stay the same for this share of it."""

HEURISTIC_MAX = 24 * 3600.0
"""No guess is good for longer: above a day, a cache would have to say that it guessed."""


class Freshness:
    """For how long a response serves, in seconds from when it was made.

    `is_explicit` says that the origin told the `lifetime`, `is_shared` that it gave the response to all. After it
    the response serves for `while_revalidating` seconds while it is renewed, and for `if_error` while the origin
    fails; both are 0 where the origin forbids stale answers (`must_revalidate`). `no_cache` asks the origin each time.
    """

    __slots__ = (
        "if_error",
        "is_explicit",
        "is_shared",
        "lifetime",
        "must_revalidate",
        "no_cache",
        "while_revalidating",
    )

    def __init__(
        self,
        lifetime: float,
        *,
        is_explicit: bool,
        is_shared: bool = False,
        must_revalidate: bool = False,
        no_cache: bool = False,
        while_revalidating: float = 0.0,
        if_error: float = 0.0,
    ) -> None:
        forbids_stale = must_revalidate or no_cache
        self.lifetime = lifetime
        self.is_explicit = is_explicit
        self.is_shared = is_shared
        self.must_revalidate = must_revalidate
        self.no_cache = no_cache
        self.while_revalidating = 0.0 if forbids_stale else while_revalidating
        self.if_error = 0.0 if forbids_stale else if_error

    @property
    def serves_stale(self) -> float:
        """Seconds after its lifetime for which there is any use for it without asking."""
        return max(self.while_revalidating, self.if_error)

    def __repr__(self) -> str:
        return f"Freshness({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


def freshness_of(
    status: int,
    headers: Headers,
    directives: Directives,
    *,
    wall: float,
    valid: Sequence[tuple[StatusRange, float]] = (),
    while_revalidating: float = 0.0,
    if_error: float = 0.0,
) -> Freshness:
    """The freshness of a response that came at `wall` (seconds since 1970).

    `valid` gives lifetimes by status for responses that say nothing themselves; the last two are the route's own,
    for those that don't name the directive.
    """
    lifetime = explicit_lifetime(headers, directives, wall=wall)
    is_explicit = lifetime is not None
    if lifetime is None:
        lifetime = _implied_lifetime(status, headers, directives, wall, valid)
    told_while = directives.seconds(b"stale-while-revalidate")
    told_if = directives.seconds(b"stale-if-error")
    return Freshness(
        lifetime,
        is_explicit=is_explicit,
        is_shared=b"s-maxage" in directives or b"public" in directives,
        # RFC 9111 section 5.2.2.10: s-maxage brings proxy-revalidate along.
        must_revalidate=any(name in directives for name in (b"must-revalidate", b"proxy-revalidate", b"s-maxage")),
        no_cache=directives.is_whole(b"no-cache"),
        while_revalidating=while_revalidating if told_while is None else told_while,
        if_error=if_error if told_if is None else told_if,
    )


def explicit_lifetime(headers: Headers, directives: Directives, *, wall: float) -> float | None:
    """The lifetime that a response states (RFC 9111 section 4.2.1), 0 where it can't be read; else None."""
    for name in (b"s-maxage", b"max-age"):
        seconds = directives.seconds(name)
        if seconds is not None:
            return float(seconds)
    if directives.is_targeted:
        return None  # RFC 9213 section 2.2: Expires speaks to others
    lines = headers.get_all(b"expires")
    if not lines:
        return None
    expires = parse_http_date(lines[0], wall)
    if expires is None or any(line != lines[0] for line in lines):
        return 0.0
    return max(0.0, expires - made_at(headers, wall))


def _implied_lifetime(
    status: int, headers: Headers, directives: Directives, wall: float, valid: Sequence[tuple[StatusRange, float]]
) -> float:
    for statuses, seconds in valid:
        if status in statuses:
            return seconds
    if status not in HEURISTIC_STATUSES and b"public" not in directives:
        return 0.0
    modified = headers.get(b"last-modified")
    modified_at = parse_http_date(modified, wall) if modified is not None else None
    if modified_at is None:
        return 0.0
    return min(HEURISTIC_MAX, max(0.0, made_at(headers, wall) - modified_at) * HEURISTIC_SHARE)


def made_at(headers: Headers, wall: float) -> float:
    """When the origin made the response, by its Date; else when it came, at `wall`."""
    date = headers.get(b"date")
    told = parse_http_date(date, wall) if date is not None else None
    return wall if told is None else told


def initial_age(headers: Headers, *, delay: float, wall: float) -> float:
    """How old the response was when it came at `wall`, `delay` seconds after it was asked for (section 4.2.3)."""
    apparent_age = max(0.0, wall - made_at(headers, wall))
    return max(apparent_age, told_age(headers) + delay)


def told_age(headers: Headers) -> float:
    """The Age that caches behind us gave, 0 where it can't be read; of several, the first (section 5.1)."""
    age = headers.get(b"age")
    if age is None:
        return 0.0
    age = age.partition(b",")[0].strip(b" \t")
    if not age.isdigit():
        return 0.0
    return float(min(int(age), UNLIMITED_SECONDS)) if len(age) <= 10 else float(UNLIMITED_SECONDS)

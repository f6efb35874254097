"""Which of our filters a route has, in the order in which they see a request; a response passes them in reverse.

    response fields       cookies, security headers      first here is last on a response: whoever made it
    access                networks of clients            before all that costs anything
    cors                  preflights are answered        they carry no credentials
    csrf
    rate limits           by what anyone has             so that guessing passwords is limited too
    rate limits           by who the client is
    concurrency limits
    -- the user's own filters --
    cache                 after those who may change what is asked, or of whom
    compression           behind the cache, so that what is stored is coded already

The user's filters come between the two groups: after those that decide who may come in, so that they can rely
on `exchange.user`, and before those that may answer in the origin's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from proxycore.composition.filters import Filter
from proxycore.config import Config, ConfigError, Problem, RateLimit, Route
from proxycore.config.materials import Materials
from proxycore.filters.access import AccessFilter
from proxycore.filters.browsers import CorsFilter, CsrfFilter, ResponseFieldsFilter
from proxycore.filters.cache import CacheFilter
from proxycore.filters.compress import CompressFilter
from proxycore.filters.filling import SharedCache
from proxycore.filters.limits import ConcurrencyLimitFilter, RateLimitFilter
from proxycore.mechanisms.codings import CodingMissing
from proxycore.policies.access import AccessList
from proxycore.policies.addresses import AddressSet
from proxycore.policies.caching.invalidation import Purge
from proxycore.policies.compression import Offer
from proxycore.policies.cors import CorsPolicy, CsrfPolicy
from proxycore.policies.limits import ConcurrencyTable, RateTable
from proxycore.policies.reversal import Reversal
from proxycore.policies.security_fields import CookieGuard, SecurityFields

_Content = TypeVar("_Content")


class OwnFilters:
    """Makes our filters, and keeps over reloads what they remember: one for each core.

    Whatever must outlive a plan (a store, a table of limits) is kept here by its name in the configuration.
    `entropy(n)` gives n unpredictable bytes.
    """

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._caches: dict[str, SharedCache] = {}
        self._rates: dict[str, RateTable] = {}
        self._concurrency: dict[str, ConcurrencyTable] = {}

    def gate(self, route: Route, config: Config, materials: Materials) -> Sequence[Filter]:
        """Those before the user's: who may come in, how often, and with what."""
        limits = [config.rate_limits[name] for name in route.rate_limits]
        return [
            *_response_fields(route, config),
            *self._access(route, materials),
            *([CorsFilter(CorsPolicy(route.cors))] if route.cors is not None else ()),
            *([CsrfFilter(CsrfPolicy(route.csrf))] if route.csrf is not None else ()),
            *self._rate_limits([limit for limit in limits if "user" not in limit.key]),
            *self._rate_limits([limit for limit in limits if "user" in limit.key]),
            *self._concurrency_limits(route, config),
        ]

    def content(self, route: Route, config: Config, materials: Materials) -> Sequence[Filter]:
        """Those after the user's: what may answer in the origin's place, and how content is coded."""
        compression = list(self._compression(route, config))
        return [*self._cache(route, config, compression[0].offer if compression else None), *compression]

    def _cache(self, route: Route, config: Config, offer: Offer | None) -> Iterator[Filter]:
        if route.cache is None:
            return
        name = route.cache.store
        shared = self._caches.get(name)
        if shared is None:
            shared = self._caches[name] = SharedCache(config.caches[name])
        shared.configure(config.caches[name])
        yield CacheFilter(route.cache, shared, route.name, offer)

    def purge(self, purge: Purge) -> int:
        """Carry out an operator's purge, in every cache; how many responses went."""
        return sum(shared.purge(purge) for shared in self._caches.values())

    def _compression(self, route: Route, config: Config) -> Iterator[CompressFilter]:
        if not route.compress:
            return
        try:
            yield CompressFilter(route.compress, config.compression)
        except CodingMissing as missing:
            place = f'routes "{route.name}".compress'
            raise ConfigError([Problem("configuration", None, place, str(missing))]) from None

    def _access(self, route: Route, materials: Materials) -> Iterator[Filter]:
        access = route.access
        if access is None:
            return
        place = f'routes "{route.name}".access'
        allow = [AddressSet(access.allow)] if access.allow else []
        deny = [AddressSet(access.deny)] if access.deny else []
        yield AccessFilter(
            AccessList(
                [*allow, *_given(materials.networks, access.allow_file, f"{place}.allow_file")],
                [*deny, *_given(materials.networks, access.deny_file, f"{place}.deny_file")],
            )
        )

    def _rate_limits(self, limits: Sequence[RateLimit]) -> Iterator[Filter]:
        if not limits:
            return
        for limit in limits:
            table = self._rates.setdefault(limit.name, RateTable(limit.capacity, self._entropy(16)))
            table.capacity = limit.capacity
        yield RateLimitFilter([(limit, self._rates[limit.name]) for limit in limits])

    def _concurrency_limits(self, route: Route, config: Config) -> Iterator[Filter]:
        for name in route.concurrency_limits:
            table = self._concurrency.setdefault(name, ConcurrencyTable())
            yield ConcurrencyLimitFilter(config.concurrency_limits[name], table)


def _response_fields(route: Route, config: Config) -> Iterator[Filter]:
    reversal = Reversal(route.rewrite) if route.rewrite_responses else None
    cookies = CookieGuard(route.cookies) if route.cookies is not None else None
    security = SecurityFields(route.security_headers) if route.security_headers is not None else None
    if reversal or cookies or security:
        host = "preserve" if route.upstream is None else config.upstreams[route.upstream].host
        yield ResponseFieldsFilter(reversal, cookies, security, host)


def _given(contents: Mapping[str, _Content], name: str | None, place: str) -> Iterator[_Content]:
    """The content of a file that the configuration names, if it names one. Raises ConfigError where it wasn't read."""
    if name is None:
        return
    if name not in contents:
        message = f'the contents of "{name}" were not given: see Materials'
        raise ConfigError([Problem("configuration", None, place, message)])
    yield contents[name]

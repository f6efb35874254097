"""Which of our filters a route has, in the order in which they see a request; a response passes them in reverse.

    trace context         before the route is known, and for those too that no route takes
    the gate              who may come in, how often, and with what: `gate` has its order
    -- the user's own filters --
    cache                 after those who may change what is asked, or of whom
    compression           behind the cache, so that what is stored is coded already

The user's filters come between the two groups: after those that decide who may come in, so that they can rely
on `exchange.user`, and before those that may answer in the origin's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from proxycore.composition.filters import Filter
from proxycore.composition.overview import CacheView, LimitView, RuleView
from proxycore.config import Cache, Config, ConfigError, Problem, Route
from proxycore.config.materials import Materials
from proxycore.filters.cache import CacheFilter
from proxycore.filters.compress import CompressFilter
from proxycore.filters.filling import SharedCache
from proxycore.filters.gate import Gate
from proxycore.filters.trace_context import TraceContextFilter
from proxycore.mechanisms.codings import CodingMissing
from proxycore.policies.compression import Offer
from proxycore.words.commands import Purge


class OwnFilters:
    """Makes our filters, and keeps over reloads what they remember: one for each core.

    Whatever must outlive a plan (a store, a table of limits) is kept here by its name in the configuration.
    `entropy(n)` gives n unpredictable bytes.
    """

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._gate = Gate(entropy)
        self._caches: dict[str, SharedCache] = {}

    def first(self, config: Config) -> Sequence[Filter]:
        """Those of every exchange, before its route is known."""
        logging = config.logging
        return [TraceContextFilter(logging.trace_sampled, self._entropy)] if logging.trace_context else []

    def limits(self, config: Config) -> Sequence[LimitView]:
        """What the limits of `config` hold and have done."""
        return list(self._gate.limits(config))

    def rules(self) -> Sequence[RuleView]:
        """What the rules of `waf` have found."""
        return list(self._gate.rules())

    def caches(self) -> Sequence[CacheView]:
        """What each cache holds and has done."""
        return [shared.view(name) for name, shared in self._caches.items()]

    def twin(self, config: Config, entropy: Callable[[int], bytes]) -> OwnFilters:
        """Others that remember the same and forget nothing of these: limits are copied, stores are shared."""
        twin = OwnFilters(entropy)
        twin._gate = self._gate.twin(entropy)
        twin._caches = {name: shared.twin(config.caches[name]) for name, shared in self._caches.items()}
        return twin

    def gate(self, route: Route, config: Config, materials: Materials) -> Sequence[Filter]:
        """Those before the user's: who may come in, how often, and with what."""
        return list(self._gate.filters(route, config, materials))

    def content(self, route: Route, config: Config, materials: Materials) -> Sequence[Filter]:
        """Those after the user's: what may answer in the origin's place, and how content is coded."""
        compression = list(self._compression(route, config))
        return [*self._cache(route, config, compression[0].offer if compression else None), *compression]

    def _cache(self, route: Route, config: Config, offer: Offer | None) -> Iterator[Filter]:
        if route.cache is None:
            return
        yield CacheFilter(route.cache, self._shared_cache(config.caches[route.cache.store]), route.name, offer)

    def _shared_cache(self, cache: Cache) -> SharedCache:
        if cache.name not in self._caches:
            self._caches[cache.name] = SharedCache(cache)
        return self._caches[cache.name]

    def reconfigured(self, config: Config) -> None:
        """This configuration is in force: what it no longer names is forgotten, and what it says otherwise counts."""
        self._gate.reconfigured(config)
        self._caches = {name: self._shared_cache(cache) for name, cache in config.caches.items()}
        for name, shared in self._caches.items():
            shared.configure(config.caches[name])

    def purge(self, purge: Purge) -> None:
        """Carry out an operator's purge, in every cache."""
        for shared in self._caches.values():
            shared.purge(purge)

    def _compression(self, route: Route, config: Config) -> Iterator[CompressFilter]:
        if not route.compress:
            return
        try:
            yield CompressFilter(route.compress, config.compression)
        except CodingMissing as missing:
            place = f'routes "{route.name}".compress'
            raise ConfigError([Problem("configuration", None, place, str(missing))]) from None

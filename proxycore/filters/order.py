"""Which of our filters a route has, in the order in which they see a request; a response passes them in reverse.

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
from proxycore.composition.overview import LimitView, RuleView
from proxycore.config import Config, ConfigError, Problem, Route
from proxycore.config.materials import Materials
from proxycore.filters.cache import CacheFilter
from proxycore.filters.compress import CompressFilter
from proxycore.filters.filling import SharedCache
from proxycore.filters.gate import Gate
from proxycore.mechanisms.codings import CodingMissing
from proxycore.policies.compression import Offer
from proxycore.words.commands import Purge


class OwnFilters:
    """Makes our filters, and keeps over reloads what they remember: one for each core.

    Whatever must outlive a plan (a store, a table of limits) is kept here by its name in the configuration.
    `entropy(n)` gives n unpredictable bytes.
    """

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._gate = Gate(entropy)
        self._caches: dict[str, SharedCache] = {}

    def limits(self, config: Config) -> Sequence[LimitView]:
        """What the limits of `config` hold and have done."""
        return list(self._gate.limits(config))

    def rules(self) -> Sequence[RuleView]:
        """What the rules of `waf` have found."""
        return list(self._gate.rules())

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

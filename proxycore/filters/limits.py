"""`rate_limits` and `concurrency_limits`: how often a client may come, and with how much at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from proxycore.composition.filters import Filter, Reject, Signal, Verdict, Wait
from proxycore.config import ConcurrencyLimit, RateLimit
from proxycore.policies.limits import (
    ConcurrencyTable,
    LimitCounts,
    RatePolicy,
    RateStore,
    compile_key,
    rate_limit_fields,
)
from proxycore.words.errors import Outcome
from proxycore.words.messages import Headers

if TYPE_CHECKING:
    from proxycore.composition.exchange import Exchange


class _Limit:
    """One of `[rate_limits]`, compiled."""

    __slots__ = ("counts", "delays", "key", "name", "policy", "status", "store")

    def __init__(self, limit: RateLimit, store: RateStore, counts: LimitCounts) -> None:
        self.name = limit.name
        self.key = compile_key(limit.key)
        self.policy = RatePolicy(limit.rate, limit.burst)
        self.status = limit.status
        self.delays = limit.excess == "delay"
        self.store = store
        self.counts = counts


class RateLimitFilter(Filter):
    """Holds requests to each of some rate limits, in their order. One that is refused counts for none after it."""

    def __init__(self, limits: Sequence[tuple[RateLimit, RateStore, LimitCounts]]) -> None:
        self._limits = [_Limit(limit, store, counts) for limit, store, counts in limits]

    def on_route(self, exchange: Exchange) -> Verdict | None:
        return self._pass(0, exchange, False)

    def _pass(self, first: int, exchange: Exchange, fired: bool) -> Verdict | None:
        """Ask the limits from the one at `first` on."""
        for position in range(first, len(self._limits)):
            limit = self._limits[position]
            debt = limit.store.take(limit.key(exchange), limit.policy, exchange.now)
            exceeded = debt > 0 and limit.policy.is_exceeded(debt)
            if exchange.trace is not None:
                exchange.trace.add("rate_limits", "refused" if exceeded else "let in", limit.name, f"{limit.policy}")
            if exceeded:
                return self._refuse(limit, debt)
            if debt > 0 and limit.delays:
                limit.counts.delayed += 1
                # Nobody fires it: the wait ends when the request's turn has come.
                return Wait(Signal(), debt / 1e9, partial(self._pass, position + 1))
        return None

    def _refuse(self, limit: _Limit, debt: int) -> Reject:
        limit.counts.refused += 1
        fields = rate_limit_fields(limit.name, limit.policy, limit.policy.seconds_until(debt))
        reason = "You have asked too often. Try again later."
        return Reject(limit.status, reason, rule=f"rate_limits.{limit.name}", headers=Headers(fields))


class ConcurrencyLimitFilter(Filter):
    """Holds requests to a limit of exchanges at once."""

    def __init__(self, limit: ConcurrencyLimit, table: ConcurrencyTable, counts: LimitCounts) -> None:
        self._name = limit.name
        self._key = compile_key(limit.key)
        self._most = limit.max_exchanges
        self._table = table
        self._counts = counts
        self._refusal = Reject(
            limit.status,
            "You have too many requests going on.",
            rule=f"concurrency_limits.{limit.name}",
            headers=Headers([(b"retry-after", b"1")]),
        )

    def on_route(self, exchange: Exchange) -> Verdict | None:
        key = self._key(exchange)
        entered = self._table.enter(key, self._most)
        if exchange.trace is not None:
            exchange.trace.add("concurrency_limits", "let in" if entered else "refused", self._name)
        if not entered:
            self._counts.refused += 1
            return self._refusal
        exchange.local(self)["key"] = key
        return None

    def on_finished(self, exchange: Exchange, outcome: Outcome) -> None:
        key = exchange.local(self).get("key")
        if key is not None:
            self._table.leave(key)

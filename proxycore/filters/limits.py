"""`rate_limits` and `concurrency_limits`: how often a client may come, and with how much at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from proxycore.composition.filters import Filter, Reject, Signal, Verdict, Wait
from proxycore.config import ConcurrencyLimit, RateLimit
from proxycore.config.units import format_roughly
from proxycore.policies.limits import (
    ConcurrencyTable,
    LimitCounts,
    RatePolicy,
    RateStore,
    compile_key,
    rate_limit_fields,
)
from proxycore.policies.trace import Trace
from proxycore.policies.variables import shown_values
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

    def tell(self, trace: Trace, key: bytes, debt: int) -> None:
        """How much is left to `key`, which met this debt."""
        policy = self.policy
        if policy.is_exceeded(debt):
            verdict, state = "refused", f"none left for {format_roughly(policy.seconds_until(debt))}"
        elif debt > 0 and self.delays:
            verdict, state = "delayed", f"by {format_roughly(debt / 1e9)}, {policy.left(debt)} left"
        else:
            verdict, state = "let in", f"{policy.left(max(debt, 0))} left"
        trace.add("rate_limits", verdict, self.name, f"{policy}; {state} to {_shown(key)}")


def _shown(key: bytes) -> str:
    return f'"{shown_values(key)}"'


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
            key = limit.key(exchange)
            debt = limit.store.take(key, limit.policy, exchange.now)
            exceeded = debt > 0 and limit.policy.is_exceeded(debt)
            if exchange.trace is not None:
                limit.tell(exchange.trace, key, debt)
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
            verdict, now = "let in" if entered else "refused", self._table.count(key)
            state = f"{now} of {self._most} at once to {_shown(key)}"
            exchange.trace.add("concurrency_limits", verdict, self._name, state)
        if not entered:
            self._counts.refused += 1
            return self._refusal
        exchange.local(self)["key"] = key
        return None

    def on_finished(self, exchange: Exchange, outcome: Outcome) -> None:
        key = exchange.local(self).get("key")
        if key is not None:
            self._table.leave(key)

"""The tries of one exchange at its upstream: where each goes, how long it waited, and whether another follows.

What happened to a try is told by its lease to the exchange, which asks here what is to come of it. The decisions
themselves are those of `policies.retrying`; an exchange that no server is asked for has no attempts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxycore.mechanisms.timers import Timer
from proxycore.policies.retrying import (
    ANSWERED,
    MOST_REFUSALS,
    WAIT_STEP,
    is_free,
    kind_of,
    may_resend,
    may_resend_stale,
    pause,
    replay_limit,
    waits_until_up,
)
from proxycore.words.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.sides import UpstreamSide
    from proxycore.composition.upstreams import ServerState, UpstreamState


class Attempts:
    """Made with the first try; `end` takes it out of the upstream's books.

    `lease` is that of the try under way, `server` where it is or the last one was, `tried` the
    servers where one failed. `retries` counts tries beyond the first. `wants_fresh` says that the
    next may not be on a kept connection. Seconds: `pause` before it, `queued` in the queue of the
    last wait, None without one; `connected` to dial, `first_byte` from the request sent to the response's head.
    """

    __slots__ = (
        "_counted",
        "_failure",
        "_pause_clock",
        "_queue_clock",
        "_waiting_since",
        "connected",
        "first_byte",
        "lease",
        "pause",
        "queued",
        "retries",
        "server",
        "tried",
        "upstream",
        "wants_fresh",
    )

    def __init__(self, upstream: UpstreamState, now: float) -> None:
        upstream.in_flight += 1
        upstream.budget.sent(now)
        self.upstream = upstream
        self.lease: UpstreamSide | None = None
        self.server: ServerState | None = None
        self.tried: tuple[ServerState, ...] = ()
        self.retries = 0
        self.wants_fresh = False
        self.queued: float | None = None
        self.connected: float | None = None
        self.first_byte: float | None = None
        self.pause = 0.0
        self._counted = 0
        self._pause_clock: Timer | None = None
        self._failure: Failure | None = None
        self._waiting_since = now
        self._queue_clock: Timer | None = None

    def replay_limit(self, exchange: Exchange) -> int:
        """How much of the request's content to keep after it was sent, in bytes, for another try."""
        policy = self.upstream.config.retries
        # A filter may send again what we wouldn't.
        is_asked = bool(exchange.route.chain.on_upstream_error)
        return policy.replay_body if is_asked else replay_limit(exchange.request.method, policy)

    def ask(self, exchange: Exchange, now: float, server: ServerState | None) -> UpstreamSide | Failure | None:
        """A lease for the next try, of `server` if given; None: `exchange` waits in the queue, see `wait`.

        A failure: there is none to be had, and that, or rather why the last try failed, is what the client is told.
        """
        lease = self.upstream.lease(exchange, self, server)
        if lease is None:
            return None
        if self._queue_clock is not None:
            self._leave_queue(exchange, now)
        if isinstance(lease, Failure):
            return self._failure or lease
        self.lease = lease
        self.server = lease.server
        return lease

    def wait(self, engine: Engine, on_due: Callable[[], None]) -> None:
        """Call `on_due` after `queue_timeout` in the queue. It runs on where `room` was there only for others."""
        if self._queue_clock is None:
            self._queue_clock = Timer(engine.timers, on_due)
            self._queue_clock.set(engine.now + self.upstream.config.queue_timeout)
            if self.queued is None:
                self.queued = 0.0

    def _leave_queue(self, exchange: Exchange, now: float) -> None:
        if self._queue_clock is not None:
            self._queue_clock.drop()
            self._queue_clock = None
            self.queued = now - self._waiting_since
            self.upstream.leave_queue(exchange)

    def follows(self, exchange: Exchange, failure: Failure, lease: UpstreamSide | None, now: float) -> bool:
        """Whether another try follows the one that `failure` ended on `lease`; it is counted then: `ask` for it."""
        if lease is not None and lease.is_reused and self._is_stale(exchange, failure):
            self.wants_fresh = True
            self._waiting_since = now
            self.upstream.budget.resent()
            return True
        if self._may_resend(exchange, failure, now):
            self.again(failure, now)
            return True
        return False

    def waits_until_up(self, exchange: Exchange, failure: Failure) -> bool:
        """Whether the exchange waits for a server that is still to be started: after `pause`, `ask` again."""
        if not waits_until_up(failure, exchange.elapsed, self.upstream.config.wait_until_up):
            return False
        self.tried = ()
        self.pause = WAIT_STEP
        return True

    def wait_for_pause(self, engine: Engine, on_due: Callable[[], None]) -> None:
        """Call `on_due` after the `pause`."""
        self._pause_clock = Timer(engine.timers, on_due)
        self._pause_clock.set(engine.now + self.pause)
        self.pause = 0.0

    def replaces(self, exchange: Exchange, status: int, now: float) -> bool:
        """Whether another server is asked for a better answer than one with `status`; it is counted then."""
        detail = f"the server answered {status}"
        failure = Failure("response_head", ANSWERED, status=status, resend="idempotent", detail=detail)
        if self.upstream.has_another(self) and self._may_resend(exchange, failure, now):
            self.again(failure, now)
            return True
        return False

    def again(self, failure: Failure, now: float) -> None:
        """Count another try, elsewhere than where `failure` was; where all were tried, on any after a `pause`."""
        upstream = self.upstream
        others = self._has_others()
        self.retries += 1
        self._counted += not is_free(failure, others)
        self._failure = failure
        self._waiting_since = now
        if kind_of(failure) != "connect":
            upstream.budget.resent()
        if not others:
            self.tried = ()
            self.pause = pause(self._counted, True, upstream.random)
        elif self.server is not None:
            self.tried = (*self.tried, self.server)

    def _has_others(self) -> bool:
        return self.retries < MOST_REFUSALS and self.upstream.has_another(self)

    def _is_stale(self, exchange: Exchange, failure: Failure) -> bool:
        """The server may have closed a kept connection just when we used it: one try on a fresh one is free."""
        if self.wants_fresh or kind_of(failure) != "reset":
            return False
        policy = self.upstream.config.retries
        return may_resend_stale(exchange.request.method, failure, policy, can_rewind=exchange.can_rewind)

    def _may_resend(self, exchange: Exchange, failure: Failure, now: float) -> bool:
        return may_resend(
            exchange.request.method,
            failure,
            self.upstream.config.retries,
            self.upstream.budget,
            now,
            retries=self._counted,
            can_rewind=exchange.can_rewind,
            others=self._has_others(),
            trace=exchange.trace,
        )

    def hand_over(self, now: float) -> Attempts:
        """The try under way, for the books of another exchange. It is none of this one's any more."""
        others = Attempts(self.upstream, now)
        others.server = self.server
        others.lease = self.take_lease()
        return others

    def take_lease(self) -> UpstreamSide | None:
        """The lease of the try that is over."""
        lease, self.lease = self.lease, None
        return lease

    def cancel(self, exchange: Exchange) -> None:
        """Nothing that is under way is wanted any more."""
        if self._pause_clock is not None:
            self._pause_clock.drop()
            self._pause_clock = None
        self._leave_queue(exchange, exchange.now)
        lease = self.take_lease()
        if lease is not None:
            lease.cancel()

    def end(self) -> None:
        """There will be no other."""
        self.upstream.in_flight -= 1

    def __repr__(self) -> str:
        return f"Attempts({self.upstream.name}, retries={self.retries}, tried={len(self.tried)}, lease={self.lease!r})"

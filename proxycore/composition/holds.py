"""What an exchange waits for when a filter said so: a call, an answer to a request of our own, a signal, content.

Each hold ends once: by what it waits for, by its clock, or by `cancel` when the exchange ends. Then
it gives `Deliberation.resume` the function that decides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from proxycore.composition.filters import Ask, Fetch, Fetched, NeedBody, Reject, Verdict, Wait
from proxycore.mechanisms.timers import Timer
from proxycore.words.effects import Call, Cancel
from proxycore.words.errors import Outcome
from proxycore.words.ids import CallId
from proxycore.words.messages import ResponseHead

if TYPE_CHECKING:
    from proxycore.composition.content import RequestContent
    from proxycore.composition.deliberation import Deliberation
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.own_requests import OwnRequest

DISCARDED = 65_536
"""Bytes beyond a fetch's limit that are read, so that its connection can be kept, before it is cut."""

_BUSY = Reject(503, "Too many requests wait for a decision.", rule="limits.calls")
_NO_ANSWER = Reject(503, "What decides on this request did not answer.", rule="call")


class Hold(Protocol):
    """A wait under way."""

    def cancel(self) -> None:
        """The exchange ended; nothing may come back to it."""


class CallHold:
    """Waits for an embedder's function. Calls in flight are limited by `limits.calls`."""

    __slots__ = ("_ask", "_call", "_clock", "_deliberation", "_engine", "_exchange", "_is_over")

    def __init__(self, deliberation: Deliberation, exchange: Exchange, engine: Engine, ask: Ask) -> None:
        self._deliberation = deliberation
        self._exchange = exchange
        self._engine = engine
        self._ask = ask
        self._is_over = False
        self._clock = Timer(engine.timers, self._expired)
        self._clock.set(engine.now + exchange.timeouts.call)
        self._call = CallId(engine.mint())
        engine.calls[self._call] = self
        engine.effects.append(Call(self._call, ask.name, ask.arguments))

    @classmethod
    def begin(cls, deliberation: Deliberation, exchange: Exchange, engine: Engine, ask: Ask) -> CallHold | Reject:
        """Start the call, unless too many are in flight."""
        if len(engine.calls) >= exchange.plan.limits.calls:
            return _BUSY
        return cls(deliberation, exchange, engine, ask)

    def completed(self, result: object) -> None:
        if self._end():
            self._deliberation.resume(partial(self._ask.then, self._exchange, result))

    def failed(self, error: str) -> None:
        if self._end():
            self._deliberation.resume(partial(self._decide_without, error))

    def cancel(self) -> None:
        if self._end():
            self._engine.effects.append(Cancel(self._call))

    def _expired(self) -> None:
        self.cancel()
        self._deliberation.resume(partial(self._decide_without, "timeouts.call"))

    def _decide_without(self, error: str) -> Verdict | None:
        return _NO_ANSWER if self._ask.otherwise is None else self._ask.otherwise(self._exchange, error)

    def _end(self) -> bool:
        """End the wait. False if it had ended: what came was the last fact of a cancelled call."""
        was_over, self._is_over = self._is_over, True
        self._clock.drop()
        return not was_over


class FetchHold:
    """Waits for a request of our own."""

    __slots__ = ("_content", "_deliberation", "_engine", "_exchange", "_fetch", "_head", "_is_over", "_own", "_size")

    def __init__(self, deliberation: Deliberation, exchange: Exchange, engine: Engine, fetch: Fetch) -> None:
        self._deliberation = deliberation
        self._exchange = exchange
        self._engine = engine
        self._fetch = fetch
        self._own: OwnRequest | None = None
        self._head: ResponseHead | None = None
        self._content: list[bytes] = []
        self._size = 0
        self._is_over = False

    def begin(self) -> None:
        """Send the request. The exchange may have gone on, or ended, when this returns."""
        fetch = self._fetch
        seconds = self._exchange.timeouts.call if fetch.seconds is None else fetch.seconds
        plan = self._exchange.plan
        self._own = self._engine.fetch(
            plan, fetch.upstream, fetch.request, self, content=fetch.content, seconds=seconds
        )

    def head(self, head: ResponseHead) -> None:
        self._head = head

    def data(self, data: bytes) -> None:
        if self._size < self._fetch.limit:
            self._content.append(data[: self._fetch.limit - self._size])
        self._size += len(data)
        if self._size > self._fetch.limit + DISCARDED and not self._is_over:
            self.cancel()
            self._deliberation.resume(self._decide)

    def ended(self, outcome: Outcome) -> None:
        if not self._is_over:
            self._is_over = True
            decide = self._decide if outcome.cause == "completed" else partial(self._decide_without, outcome)
            self._deliberation.resume(decide)

    def cancel(self) -> None:
        self._is_over = True
        if self._own is not None:
            self._own.cancel()

    def _decide(self) -> Verdict | None:
        assert self._head is not None
        fetched = Fetched(self._head, b"".join(self._content), self._size <= self._fetch.limit)
        return self._fetch.then(self._exchange, fetched)

    def _decide_without(self, outcome: Outcome) -> Verdict | None:
        return _NO_ANSWER if self._fetch.otherwise is None else self._fetch.otherwise(self._exchange, outcome)


class SignalHold:
    """Waits for another exchange."""

    __slots__ = ("_clock", "_deliberation", "_exchange", "_wait")

    def __init__(self, deliberation: Deliberation, exchange: Exchange, engine: Engine, wait: Wait) -> None:
        self._deliberation = deliberation
        self._exchange = exchange
        self._wait = wait
        self._clock = Timer(engine.timers, self._expired)
        self._clock.set(engine.now + wait.seconds)
        wait.signal.join(exchange.id, self._woken)

    def cancel(self) -> None:
        self._clock.drop()
        self._wait.signal.leave(self._exchange.id)

    def _woken(self, fired: bool) -> None:
        self._clock.drop()
        self._deliberation.resume(partial(self._wait.then, self._exchange, fired))

    def _expired(self) -> None:
        self._wait.signal.leave(self._exchange.id)
        self._woken(False)


class ContentHold:
    """Waits for the beginning of the request's content. The downstream side's own clocks run meanwhile."""

    __slots__ = ("_deliberation", "_exchange", "_need")

    def __init__(self, deliberation: Deliberation, exchange: Exchange, need: NeedBody) -> None:
        self._deliberation = deliberation
        self._exchange = exchange
        self._need = need

    def decision(self, content: RequestContent | None) -> Callable[[], Verdict | None] | None:
        """What decides, if enough is here for it."""
        limit = min(self._need.limit, self._exchange.plan.limits.buffer)
        if content is None:
            return partial(self._need.then, self._exchange, b"", True)
        if content.waiting < limit and not content.is_done:
            return None
        whole = content.is_done and content.waiting <= limit
        return partial(self._need.then, self._exchange, content.peek()[:limit], whole)

    def offer(self, content: RequestContent) -> bool:
        """More has come. True if it was enough: the exchange has gone on."""
        decide = self.decision(content)
        if decide is None:
            return False
        self._deliberation.resume(decide)
        return True

    def cancel(self) -> None:
        """Nothing to take back."""

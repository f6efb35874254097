"""What an exchange waits for when a filter said so: a call, a signal, content.

Each hold ends once: by what it waits for, by its clock, or by `cancel` when the exchange ends. It
goes on with `exchange.resume`, giving the function that decides; the exchange guards what it raises.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from proxycore.composition.filters import Ask, NeedBody, Reject, Wait
from proxycore.mechanisms.timers import Timer
from proxycore.words.effects import Call, Cancel
from proxycore.words.ids import CallId

if TYPE_CHECKING:
    from proxycore.composition.content import RequestContent
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange

_BUSY = Reject(503, "Too many requests wait for a decision.", rule="calls")
_NO_ANSWER = Reject(503, "What decides on this request did not answer.", rule="call")


class Hold:
    """A wait under way."""

    __slots__ = ("_clock", "_exchange")

    def __init__(self, exchange: Exchange, engine: Engine, seconds: float) -> None:
        self._exchange = exchange
        self._clock = Timer(engine.timers, self._expired)
        self._clock.set(engine.now + seconds)

    def cancel(self) -> None:
        """The exchange ended; nothing may come back to it."""
        self._clock.drop()

    def _expired(self) -> None:
        raise NotImplementedError


class CallHold(Hold):
    """Waits for an embedder's function. Calls in flight are limited by `limits.calls`."""

    __slots__ = ("_ask", "_call", "_engine", "_is_over")

    def __init__(self, exchange: Exchange, engine: Engine, ask: Ask) -> None:
        super().__init__(exchange, engine, exchange.timeouts.call)
        self._engine = engine
        self._ask = ask
        self._is_over = False
        self._call = CallId(engine.mint())
        engine.calls[self._call] = self
        engine.effects.append(Call(self._call, ask.name, ask.arguments))

    @classmethod
    def begin(cls, exchange: Exchange, engine: Engine, ask: Ask) -> CallHold | Reject:
        if len(engine.calls) >= exchange.plan.limits.calls:
            return _BUSY
        return cls(exchange, engine, ask)

    def completed(self, result: object) -> None:
        if self._end():
            self._exchange.resume(partial(self._ask.then, self._exchange, result))

    def failed(self, error: str) -> None:
        if self._end():
            self._fail(error)

    def cancel(self) -> None:
        if self._end():
            self._engine.effects.append(Cancel(self._call))

    def _expired(self) -> None:
        self.cancel()
        self._fail("timeouts.call")

    def _fail(self, error: str) -> None:
        otherwise = self._ask.otherwise
        if otherwise is None:
            self._exchange.resume(lambda: _NO_ANSWER)
        else:
            self._exchange.resume(partial(otherwise, self._exchange, error))

    def _end(self) -> bool:
        """End the wait. False if it had ended: what came was the last fact of a cancelled call."""
        was_over, self._is_over = self._is_over, True
        self._clock.drop()
        return not was_over


class SignalHold(Hold):
    """Waits for another exchange."""

    __slots__ = ("_wait",)

    def __init__(self, exchange: Exchange, engine: Engine, wait: Wait) -> None:
        super().__init__(exchange, engine, wait.seconds)
        self._wait = wait
        wait.signal.join(exchange.id, self._woken)

    def cancel(self) -> None:
        super().cancel()
        self._wait.signal.leave(self._exchange.id)

    def _woken(self, fired: bool) -> None:
        self._clock.drop()
        self._exchange.resume(partial(self._wait.then, self._exchange, fired))

    def _expired(self) -> None:
        self._wait.signal.leave(self._exchange.id)
        self._woken(False)


class ContentHold:
    """Waits for the beginning of the request's content. The downstream side's own clocks run meanwhile."""

    __slots__ = ("_exchange", "_need")

    def __init__(self, exchange: Exchange, need: NeedBody) -> None:
        self._exchange = exchange
        self._need = need

    def offer(self, content: RequestContent) -> bool:
        """More has come. True if it was enough: the exchange has gone on."""
        if content.waiting < self._need.limit and not content.is_done:
            return False
        whole = content.is_done and content.waiting <= self._need.limit
        self._exchange.resume(
            partial(self._need.then, self._exchange, content.peek()[: self._need.limit], whole)
        )
        return True

    def cancel(self) -> None:
        """Nothing to take back."""

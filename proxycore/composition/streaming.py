"""An answer of our own whose content comes as the client takes it: from a store, or as it is made.

A `BodySource` is pulled while the client takes what it gave. No more than `limits.buffer` is pulled in
one fact: the rest comes in later ones, so that others have their turn, and the kernel is asked in
between whether it takes more. A source that has nothing yet is pulled again when it calls `wake`, in a
fact of its own: so whoever makes content for it is not entered again from within.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from proxycore.composition.engine import TURN_SECONDS
from proxycore.mechanisms.timers import Timer
from proxycore.words.errors import Outcome

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange


class BodyCut(Exception):
    """Raise it in `BodySource.pull` where the rest won't come: the client is told so by a message that is cut."""


class BodySource(Protocol):
    """Content of a `Respond`. One serves one answer.

    It isn't begun where the client gets no content: for HEAD, with a 204 or 304, or where it left before.
    """

    def begin(self, wake: Callable[[], None]) -> None:
        """It will be pulled. Call `wake` whenever `pull` gave None and now has more; any other call is harmless."""

    def pull(self) -> bytes | None:
        """The next piece; `b""` at the end; None: nothing yet. Raises BodyCut."""

    def close(self) -> None:
        """Nothing more is pulled: all was, or the client left. Called once after `begin`."""


_CUT = Outcome("upstream_failed", "response_body")


class Streaming:
    """The content of one answer, on its way. The exchange lasts until the source has ended."""

    __slots__ = ("_clock", "_engine", "_exchange", "_outcome", "_source")

    def __init__(self, engine: Engine, exchange: Exchange, source: BodySource, outcome: Outcome) -> None:
        """`outcome` is how the exchange ends when all was sent."""
        self._engine = engine
        self._exchange = exchange
        self._source = source
        self._outcome = outcome
        self._clock = Timer(engine.timers, self.go_on)

    def begin(self) -> None:
        self._source.begin(self._wake)
        self.go_on()

    def go_on(self) -> None:
        """Send what there is: until the client takes no more, nothing is there, or the end."""
        exchange = self._exchange
        try:
            is_over = self._send_on()
            if is_over:
                exchange.downstream.send_end([])
        except BodyCut:
            return exchange.end(_CUT, complete=False)
        except Exception:
            self._engine.fault(f"the content of an answer, in exchange {exchange.id}")
            return exchange.end(Outcome("refused", "fault"), complete=False)
        if is_over:
            exchange.end(self._outcome)

    def _send_on(self) -> bool:
        """True: that was all."""
        exchange = self._exchange
        outlet = exchange.downstream.outlet
        room = exchange.plan.limits.buffer
        while not outlet.is_blocked:
            if room <= 0:
                self._clock.set(self._engine.now + TURN_SECONDS)
                return False
            data = self._source.pull()
            if data is None:
                return False
            is_last = not data
            room -= len(data)
            for change in exchange.route.chain.on_answer_data:
                data = change(exchange, data, is_last)
            if data:
                exchange.sent += len(data)
                exchange.downstream.send_data(data)
            if is_last:
                return True
        return False

    def _wake(self) -> None:
        self._clock.set(self._engine.now)

    def end(self) -> None:
        """The exchange ended: nothing more is pulled."""
        self._clock.drop()
        try:
            self._source.close()
        except Exception:
            self._engine.fault(f"the content of an answer, in exchange {self._exchange.id}")

    def __repr__(self) -> str:
        return f"Streaming({self._source!r}, exchange={self._exchange.id})"

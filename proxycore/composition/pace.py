"""Whether a request's content comes fast enough: what keeps a client from holding an exchange by dripping bytes.

Two measures. Each piece must come within `timeouts.request_body` of the one before. And all of it together, once
that time has passed since the beginning, at no less than `limits.minimum_rate`. Neither counts while it is we who
don't read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxycore.mechanisms.timers import Timer

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange


class Pace:
    """That of one request. `clock` is its owner's, who refuses the request when it has run down."""

    __slots__ = ("_clock", "_engine", "_exchange", "_held_since", "_received", "_since")

    def __init__(self, engine: Engine, exchange: Exchange, clock: Timer) -> None:
        self._engine = engine
        self._exchange = exchange
        self._clock = clock
        self._since = engine.now
        self._received = 0
        self._held_since: float | None = None
        clock.clear()

    def wait(self) -> None:
        """All that is here has been used, and we read on: the next piece must come in time."""
        self._clock.set(self._engine.now + self._exchange.timeouts.request_body)

    def received(self, size: int) -> None:
        """A piece of content has come."""
        self._received += size

    @property
    def is_too_slow(self) -> bool:
        """Whether the content as a whole comes too slowly."""
        elapsed = self._engine.now - self._since
        if elapsed <= self._exchange.timeouts.request_body:
            return False
        return self._received < elapsed * self._engine.plan.minimum_body_rate

    def hold(self) -> None:
        """We read no more for now: that time doesn't count."""
        if self._held_since is None:
            self._held_since = self._engine.now
            self._clock.clear()

    def release(self) -> None:
        """We read again."""
        if self._held_since is not None:
            self._since += self._engine.now - self._held_since
            self._held_since = None
            self.wait()

    def end(self) -> None:
        """All of it has come, or none of it is wanted any more."""
        self._clock.clear()

    def __repr__(self) -> str:
        held = "" if self._held_since is None else f", held since {self._held_since:g}"
        return f"Pace({self._received} bytes since {self._since:g}{held})"

"""Raw bytes both ways, after a server has switched protocols (RFC 9110 section 7.8).

Each side may end before the other: its end of file is passed on, and the tunnel is over when both
have ended. One clock watches that something moves, in either direction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxycore.composition.answers import COMPLETED
from proxycore.mechanisms.timers import Timer
from proxycore.words.errors import Outcome

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.sides import UpstreamSide


class Tunnel:
    """What an exchange has become. Its two connections give it what they read."""

    __slots__ = ("_clock", "_ended_sides", "_engine", "_exchange", "_idle", "_lease")

    def __init__(self, exchange: Exchange, engine: Engine, lease: UpstreamSide) -> None:
        self._exchange = exchange
        self._engine = engine
        self._lease: UpstreamSide | None = lease
        self._idle = exchange.timeouts.tunnel
        self._ended_sides = 0
        self._clock = Timer(engine.timers, self._expired)
        self._clock.set(engine.now + self._idle)

    def from_client(self, data: bytes) -> None:
        if self._lease is not None:
            self._clock.set(self._engine.now + self._idle)
            self._exchange.received += len(data)
            self._lease.send_raw(data)

    def from_upstream(self, data: bytes) -> None:
        self._clock.set(self._engine.now + self._idle)
        self._exchange.sent += len(data)
        self._exchange.downstream.send_raw(data)

    def eof_from_client(self) -> None:
        if self._lease is not None:
            self._lease.send_raw_eof()
            self._side_ended()

    def eof_from_upstream(self) -> None:
        self._exchange.downstream.send_raw_eof()
        self._side_ended()

    def client_unblocked(self) -> bool:
        """The client takes bytes again. Whether its server may be read again."""
        return True

    def upstream_unblocked(self) -> bool:
        """The server takes bytes again. Whether its client may be read again."""
        return True

    @property
    def held_bytes(self) -> int:
        """For the ledger: bytes that were read and have gone nowhere yet."""
        return 0

    def drain(self) -> None:
        """The listener is going. A protocol that knows how says so; bytes alone go on until the deadline."""

    def end(self) -> None:
        """The exchange ended: nothing of the tunnel outlives it."""
        self._clock.drop()
        self._lease = None

    def _side_ended(self) -> None:
        self._ended_sides += 1
        if self._ended_sides == 2:
            self._exchange.tunnel_ended(COMPLETED)

    def _expired(self) -> None:
        self._exchange.tunnel_ended(Outcome("timed_out", "tunnel"), is_torn=True)

    def __repr__(self) -> str:
        return f"Tunnel(exchange={self._exchange.id}, ended_sides={self._ended_sides}, lease={self._lease!r})"

"""Where a client's connection begins: what we speak with it, by its listener and by what was agreed on.

`open_connection` makes the endpoint of an accepted connection; `speak` the one for a protocol whose
name is known: at once where the listener has no choice, after a handshake where TLS has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxycore.composition.downstream import DownstreamConnection
from proxycore.composition.draining import GRACE
from proxycore.composition.engine import Endpoint
from proxycore.composition.tls_downstream import TlsDownstream
from proxycore.composition.wire import Wire
from proxycore.mechanisms.http2.frames import PREFACE
from proxycore.mechanisms.timers import Timer
from proxycore.words.ids import ConnId

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.plan import ListenerPlan
    from proxycore.policies.forwarding import Peer


class ClientConnection(Endpoint, Protocol):
    """A client's connection, as the core knows it: an endpoint that a reload and a drain concern."""

    listener: str
    peer: Peer

    @property
    def is_draining(self) -> bool:
        """Whether `drain` was asked of it."""

    @property
    def open_streams(self) -> int:
        """For the ledger: streams of HTTP/2."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, so that only a clock ends it."""

    @property
    def ends_at(self) -> float:
        """When its clock ends it if nothing comes; inf for never."""

    @property
    def held_bytes(self) -> int:
        """For the ledger: bytes that nobody has taken yet."""

    def reconfigured(self, listener: ListenerPlan | None) -> None:
        """A reload: go on under the new plan of the listener, or drain where it is gone."""

    def drain(self) -> None:
        """Finish what is under way, take nothing new, close."""

    def end_now(self) -> None:
        """The deadline of a drain."""


class FirstBytes:
    """The endpoint of a connection without TLS that may speak HTTP/1 or, by prior knowledge, HTTP/2.

    Its first bytes tell: the preface of HTTP/2 is no request of HTTP/1 (RFC 9113 section 3.4). A beginning
    of it that isn't whole waits for more, for as long as a head may take; whoever speaks then goes on.
    """

    __slots__ = ("_clock", "_engine", "_listener", "_received", "_since", "is_draining", "listener", "peer", "wire")

    def __init__(self, engine: Engine, wire: Wire, listener: ListenerPlan, peer: Peer) -> None:
        self._engine = engine
        self._listener = listener
        self.listener = listener.name
        self.peer = peer
        self.wire = wire
        self.is_draining = False
        self._received = b""
        self._since = engine.now
        self._clock = Timer(engine.timers, self._expired)
        self._clock.set(engine.now + engine.plan.timeouts.request_head)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) >= len(PREFACE) or not PREFACE.startswith(self._received):
            self._hand_over()

    def _hand_over(self) -> ClientConnection:
        client = self._speaker()
        self._engine.hand_over(self.wire.conn, client)
        if self.is_draining:
            client.drain()
        if self._received:
            client.data_received(self._received)
        return client

    def _speaker(self) -> ClientConnection:
        self._clock.drop()
        protocol = "h2c" if self._received.startswith(PREFACE) else "http/1.1"
        return speak(protocol, self._engine, self.wire, self._listener, self.peer, since=self._since)

    def _expired(self) -> None:
        """Too little came: a head that didn't come in time, for whoever its beginning may be of."""
        self._hand_over()

    def eof_received(self) -> None:
        self._hand_over().eof_received()

    def peer_ended(self) -> None:
        """What it said is read when its turn comes."""

    def connection_lost(self, error: str | None) -> None:
        self._speaker().connection_lost(error)

    @property
    def open_streams(self) -> int:
        return 0

    @property
    def is_idle(self) -> bool:
        return False

    @property
    def ends_at(self) -> float:
        return self._clock.at

    @property
    def held_bytes(self) -> int:
        return len(self._received)

    def reconfigured(self, listener: ListenerPlan | None) -> None:
        if listener is None:
            self.drain()
        else:
            self._listener = listener

    def drain(self) -> None:
        """Whoever speaks then drains; a client that says nothing for `GRACE` is one of HTTP/1 that wants nothing."""
        self.is_draining = True
        if not self._received:
            self._clock.set(min(self._clock.at, self._engine.now + GRACE))

    def end_now(self) -> None:
        self._hand_over().end_now()

    def __repr__(self) -> str:
        return f"FirstBytes({self.wire!r}, {self._received!r})"


def open_connection(engine: Engine, conn: ConnId, listener: ListenerPlan, peer: Peer) -> ClientConnection:
    """The endpoint of a connection that `listener` has accepted."""
    if listener.tls is not None:
        return TlsDownstream(engine, conn, listener, peer, speak)
    wire = Wire(engine, conn)
    if len(listener.protocols) > 1:
        return FirstBytes(engine, wire, listener, peer)
    return speak(listener.protocols[0], engine, wire, listener, peer, since=engine.now)


def speak(
    protocol: str, engine: Engine, wire: Wire, listener: ListenerPlan, peer: Peer, *, since: float
) -> ClientConnection:
    """The endpoint that speaks `protocol`, as the configuration calls it, on `wire`.

    Its first head is due `timeouts.request_head` after `since`.
    """
    if protocol == "http/1.1":
        return DownstreamConnection(engine, wire, listener, peer, since=since)
    assert listener.http2 is not None
    return listener.http2(engine, wire, listener, peer, since=since)

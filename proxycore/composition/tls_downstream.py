"""TLS with a client: a layer between the core and whoever speaks inside it.

Theory of operation. The layer is the connection's endpoint for as long as it lives. Until its handshake is
done it is alone; then ALPN (RFC 7301) decides what is spoken, `speak` makes the endpoint for that, and from
then on the layer tells it the same facts in plaintext, while what it writes is encrypted by its `TlsWire`.

What TLS 1.3 has to say behind the handshake, a ticket, is urgent for nobody: where a request came with the client's
last step, it leaves with the answer (or with the next answer to the client's bytes), in the same segment.

A session is made when the client's first message is whole, so that a connection that says nothing, or a byte at a
time, costs what it costs without TLS, and takes no place from another. One more handshake than `limits.handshakes`
waits for its turn, unread; `timeouts.tls_handshake` runs from the accept, whoever it is that keeps the other waiting.

Ends. The client's close_notify is what an end of file is without TLS. An end of file without it may be
anybody's work: the connection is closed, and whoever speaks inside is told of a loss, never of an end
(RFC 8446 section 6.1). What goes wrong in a handshake is no fault of ours and no exchange's: it ends in a
`ConnectionEnded` notice with its reason. Where there is an alert to tell of it, the client's bytes are read on
and discarded until it has left: a close with unread input would be a reset, and the alert lost.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from proxycore.composition.downstream import LINGER_BYTES
from proxycore.composition.draining import GRACE
from proxycore.composition.tables import TLS
from proxycore.composition.tls_wire import TRUNCATED, TlsWire
from proxycore.composition.wire import Wire
from proxycore.mechanisms.client_hello import NO_COMMON_PROTOCOL, offered_protocols, read_client_hello
from proxycore.mechanisms.gates import HELD
from proxycore.mechanisms.timers import Timer
from proxycore.words.ids import ConnId
from proxycore.words.notices import ConnectionEnded

if TYPE_CHECKING:
    from proxycore.composition.clients import ClientConnection
    from proxycore.composition.engine import Engine
    from proxycore.composition.plan import ListenerPlan
    from proxycore.mechanisms.tls import TlsSession
    from proxycore.policies.forwarding import Peer

Speak = Callable[..., "ClientConnection"]
"""Makes the endpoint for a protocol: `clients.speak`."""

_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""A request in plain HTTP begins with one of these, and no TLS record does."""

_SENTENCE = b"This port speaks TLS: ask for https.\n"
_WRONG_PORT = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
    % (len(_SENTENCE), _SENTENCE)
)


class TlsDownstream:
    """See the module's docstring. A `ClientConnection` for the core."""

    __slots__ = (
        "_clock",
        "_discarded",
        "_engine",
        "_held",
        "_inner",
        "_is_draining",
        "_listener",
        "_reason",
        "_session",
        "_since",
        "_speak",
        "_tls_wire",
        "_told_end",
        "listener",
        "peer",
        "state",
        "wire",
    )

    _session: TlsSession
    _tls_wire: TlsWire

    def __init__(self, engine: Engine, conn: ConnId, listener: ListenerPlan, peer: Peer, speak: Speak) -> None:
        self._engine = engine
        self._listener = listener
        self._speak = speak
        self.listener = listener.name
        self.peer = peer
        self.wire: Wire = Wire(engine, conn)
        self.wire.owner = self
        self.state = "silent"
        self._inner: ClientConnection | None = None
        self._held = b""
        self._discarded = 0
        self._is_draining = self._told_end = False
        self._reason = ""
        self._since = engine.now
        self._clock = Timer(engine.timers, self._expired)
        self._clock.set(engine.now + engine.plan.timeouts.tls_handshake)

    # ---- facts

    def data_received(self, data: bytes) -> None:
        inner = self._inner
        if inner is None:
            return self._received_early(data)
        session = self._session
        plaintext = session.receive(data)
        if plaintext:
            inner.data_received(plaintext)
        if session.has_output:
            self._tls_wire.answer()
        if session.is_over:
            self._stream_ended(session, inner)

    def eof_received(self) -> None:
        if self._inner is None:
            self._give_up("closed in the handshake" if self._held or self.state != "silent" else "closed")
        elif not self._session.has_ended:
            self._break(TRUNCATED)

    def peer_ended(self) -> None:
        if self._inner is None:
            self._give_up("closed in the handshake")
        else:
            self._inner.peer_ended()

    def connection_lost(self, error: str | None) -> None:
        self._move("lose")
        self._clock.drop()
        self._held = b""
        if self._inner is not None:
            return self._inner.connection_lost(self._reason or error)
        self.wire.connection_lost(error)
        engine = self._engine
        if "connections" in engine.watch:
            reason = self._reason or error or "closed"
            notice = ConnectionEnded(engine.wall, self.listener, self.peer.ip, engine.now - self._since, reason)
            engine.notify(notice)

    # ---- the handshake

    def _received_early(self, data: bytes) -> None:
        state = self.state
        if state == "silent":
            self._held += data
            if self._held[0] in _LETTERS:
                # Say so in words that its user understands, as nginx does.
                self._refuse("plain HTTP on a TLS port", _WRONG_PORT)
            else:
                self._read_hello()
        elif state == "waiting":
            self._held += data  # it came before reading stopped
        elif state == "shaking":
            self._shake_on(data)
        elif state == "refusing":
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self._close()

    def _read_hello(self) -> None:
        """Begin the handshake, when the client's first message is whole and there is a place."""
        hello = read_client_hello(self._held)
        if hello is None:
            return
        offered = offered_protocols(hello)
        if offered and self._listener.alpn.isdisjoint(offered):
            # RFC 7301 section 3.2. Python goes on without a protocol, and the client would have to guess one.
            self._refuse(f"no common protocol: {b', '.join(offered[:8])!r}", NO_COMMON_PROTOCOL)
        elif self._engine.handshakes.begin(self):
            self.shake_hands()
        else:
            self.state = TLS[self.state]["wait"]
            self.wire.shut(HELD)

    def shake_hands(self) -> None:
        """A place is ours: use what came while we waited for it."""
        assert self._listener.tls is not None
        self.wire.open(HELD)
        self.state = TLS[self.state]["shake"]
        self._session = self._listener.tls()
        self.wire = self._tls_wire = TlsWire(self._engine, self.wire.conn, self._session)
        self.wire.owner = self
        data, self._held = self._held, b""
        self._shake_on(data)

    def _shake_on(self, data: bytes) -> None:
        session = self._session
        plaintext = session.receive(data)
        if not (plaintext and session.is_settled):
            self._tls_wire.answer()
        failure = session.failure
        if failure is not None:
            if failure.error == "tls_alert_received":
                self._give_up(str(failure))  # it was the client that said so
            else:
                self._refuse(str(failure))
        elif session.is_established:
            self._begin(session.protocol or "http/1.1", plaintext)

    def _begin(self, protocol: str, plaintext: bytes) -> None:
        """The handshake is done: from now on somebody speaks inside."""
        if protocol not in self._listener.protocols:
            # A client that names no protocol means HTTP/1, and gets no other.
            return self._refuse(f"{protocol} isn't spoken here")
        self._move("speak")
        self._clock.drop()
        if self._listener.identifies_clients:
            self.peer.tls_subject = self._session.subject
        engine = self._engine
        self._inner = inner = self._speak(protocol, engine, self._tls_wire, self._listener, self.peer, since=engine.now)
        if self._is_draining:
            inner.drain()
        if plaintext:
            inner.data_received(plaintext)
        if self._session.is_over:
            self._stream_ended(self._session, inner)

    def _move(self, event: str) -> None:
        """Move on; whatever place we had, among those who shake hands or those who wait, is another's now."""
        state = self.state
        self.state = TLS[state][event]
        if state == "waiting":
            self._engine.handshakes.leave(self)
        elif state == "shaking":
            self._engine.handshakes.ended(self)

    def give_way(self) -> None:
        """We have had a place for long, and another waits for it."""
        self._give_up("limits.handshakes")

    # ---- ends

    def _stream_ended(self, session: TlsSession, inner: ClientConnection) -> None:
        """Nothing more can come of the session: the client said so, or it broke."""
        if session.failure is not None:
            self._break(str(session.failure))
        elif not self._told_end:
            self._told_end = True
            inner.eof_received()

    def _break(self, reason: str) -> None:
        """Whoever speaks inside is told of the loss when it is one."""
        self._reason = reason
        if self.wire.is_waiting:
            self.wire.abort()
        else:
            self.wire.close()

    def _refuse(self, reason: str, answer: bytes = b"") -> None:
        """There will be no handshake: say so, and let the client read it."""
        self._reason = reason
        self._held = b""
        self._move("refuse")
        self._clock.set(self._engine.now + self._engine.plan.timeouts.linger)
        if answer:
            self.wire.write(answer)
        self.wire.send_eof()

    def _give_up(self, reason: str) -> None:
        """There will be no handshake, or no end of it."""
        self._reason = self._reason or reason
        self._close()

    def _close(self) -> None:
        self._move("close")
        self._clock.clear()
        self.wire.close()

    def _expired(self) -> None:
        if self.state == "refusing":
            self._close()
        else:
            is_due = self.state == "silent" and self._is_draining
            self._give_up("draining" if is_due else "timeouts.tls_handshake")

    # ---- what the core asks of a client's connection

    @property
    def is_draining(self) -> bool:
        return self._is_draining if self._inner is None else self._inner.is_draining

    def reconfigured(self, listener: ListenerPlan | None) -> None:
        if self._inner is not None:
            self._inner.reconfigured(listener)
        elif listener is None or listener.tls is None:
            self.drain()
        else:
            self._listener = listener

    def drain(self) -> None:
        """Let handshakes end, since requests come with them. A client that was silent has `GRACE` for all of it."""
        if self._inner is not None:
            return self._inner.drain()
        self._is_draining = True
        if self.state == "silent" and not self._held:
            self._clock.set(min(self._clock.at, self._engine.now + GRACE))

    def end_now(self) -> None:
        if self._inner is not None:
            self._inner.end_now()
        elif self.state not in ("closing", "lost"):
            self._move("close")
            self.wire.abort()

    @property
    def open_streams(self) -> int:
        return 0 if self._inner is None else self._inner.open_streams

    @property
    def is_idle(self) -> bool:
        return self._inner is not None and self._inner.is_idle

    @property
    def ends_at(self) -> float:
        return self._clock.at if self._inner is None else self._inner.ends_at

    @property
    def held_bytes(self) -> int:
        return len(self._held) if self._inner is None else self._inner.held_bytes

    # ---- the wire's owner, until somebody speaks inside

    def blocked(self) -> None:
        """A handshake is short: what waits of it is bounded by itself."""

    def unblocked(self) -> None:
        """Nothing was stopped."""

    def send_expired(self) -> None:
        """The client takes nothing, not even what it asked for."""
        if self.state not in ("closing", "lost"):
            self._move("close")
        self.wire.abort()

    def __repr__(self) -> str:
        clock = "off" if self._clock.at == inf else f"{self._clock.at:g}"
        return f"TlsDownstream({self.wire!r}, {self.state}, clock={clock}, inner={self._inner!r})"

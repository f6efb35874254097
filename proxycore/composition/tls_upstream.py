"""TLS with a server: a layer between the core and the connection that speaks HTTP inside it.

To the connection inside, a dial takes longer: it is told `connected` when the handshake is done, and until then
its clock, `timeouts.connect`, runs on. A handshake that fails is told as `handshake_failed`; nothing of the request
was sent by then, so it is safe to send it elsewhere. After that the layer tells the same facts in plaintext.

The server's close_notify is what an end of file is without TLS, and ends a body that ends with the connection. An
end of file without it is a cut (RFC 9112 section 9.8): the connection is lost, with a reason, and what it was
bringing is never taken for complete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from proxycore.composition.engine import Dialled
from proxycore.composition.tls_wire import TRUNCATED, TlsWire
from proxycore.composition.wire import Wire, WireOwner
from proxycore.words.effects import Connect
from proxycore.words.ids import Address, ConnId

if TYPE_CHECKING:
    from ssl import SSLSession

    from proxycore.composition.engine import Engine
    from proxycore.mechanisms.tls import TlsSession


class Caller(Dialled, WireOwner, Protocol):
    """Whoever dials a server."""

    def handshake_failed(self, error: str, detail: str) -> None:
        """TLS came to nothing: `error` is of RFC 9209. The connection is still to be closed."""


class ServerTls:
    """How to speak TLS with one server: what makes a session, and the name by which it must prove itself.

    `ticket` is what the last connection left, for the next one to resume with instead of proving all anew.
    """

    __slots__ = ("_make", "_name", "ticket")

    def __init__(self, make: Callable[..., TlsSession], name: str) -> None:
        self._make = make
        self._name = name
        self.ticket: SSLSession | None = None

    def session(self) -> TlsSession:
        """A new session, as yet without a word said."""
        return self._make(server_name=self._name, resume=self.ticket)


def dial(engine: Engine, caller: Caller, conn: ConnId, address: Address, tls: ServerTls | None) -> Wire:
    """Dial `address`, for `caller` to speak with it in plaintext or, inside what it sees of it, under `tls`."""
    endpoint: Dialled = caller
    if tls is None:
        wire = Wire(engine, conn)
        wire.owner = caller
    else:
        endpoint = layer = TlsUpstream(engine, conn, tls, caller)
        wire = layer.wire
    engine.endpoints[conn] = engine.dialled[conn] = endpoint
    engine.effects.append(Connect(conn, address))
    return wire


class TlsUpstream:
    """See the module's docstring. The endpoint of a connection that `inner` asked for."""

    __slots__ = ("_addresses", "_inner", "_reason", "_server", "_session", "_told_end", "wire")

    def __init__(self, engine: Engine, conn: ConnId, server: ServerTls, inner: Caller) -> None:
        self._server = server
        self._inner = inner
        self._session = server.session()
        self._addresses: tuple[Address, Address] = ("", "")
        self._reason = ""
        self._told_end = False
        self.wire = TlsWire(engine, conn, self._session)
        self.wire.owner = inner

    def connected(self, local: Address, peer: Address) -> None:
        self._addresses = (local, peer)
        self._session.start()
        self.wire.answer()

    def connect_failed(self, error: str) -> None:
        self._inner.connect_failed(error)

    def data_received(self, data: bytes) -> None:
        session = self._session
        was_established = session.is_established
        plaintext = session.receive(data)
        if session.has_output:
            self.wire.answer()
        if not was_established:
            if not session.is_established:
                return self._handshake_failed() if session.is_over else None
            self._inner.connected(*self._addresses)
        if plaintext:
            self._inner.data_received(plaintext)
        if session.is_over:
            self._stream_ended()

    def eof_received(self) -> None:
        session = self._session
        if not session.is_established:
            self._inner.handshake_failed("connection_terminated", "closed in the handshake")
        elif not session.has_ended:
            self._break(TRUNCATED)

    def peer_ended(self) -> None:
        self._inner.peer_ended()

    def connection_lost(self, error: str | None) -> None:
        session = self._session
        if session.is_established and session.failure is None:
            self._server.ticket = session.ticket
        self._inner.connection_lost(self._reason or error)

    def _handshake_failed(self) -> None:
        failure = self._session.failure
        if failure is None:
            self._inner.handshake_failed("connection_terminated", "closed in the handshake")
        else:
            self._inner.handshake_failed(failure.error, failure.reason)

    def _stream_ended(self) -> None:
        failure = self._session.failure
        if failure is not None:
            self._break(str(failure))
        elif not self._told_end:
            self._told_end = True
            self._inner.eof_received()

    def _break(self, reason: str) -> None:
        """The connection inside is told of the loss when it is one."""
        self._reason = reason
        if self.wire.is_waiting:
            self.wire.abort()
        else:
            self.wire.close()

    def __repr__(self) -> str:
        return f"TlsUpstream({self._session!r}, {self._inner!r})"

"""The writing side of a connection that speaks TLS: what was written during one fact leaves encrypted, as one `Send`.

All that a `Wire` means stays: gates, watermark, clocks, what waits to leave. Only its last step differs.
`close` and `send_eof` say close_notify first, so that the peer can tell an end from a cut; `abort` doesn't,
since it is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxycore.composition.wire import Wire, join_small
from proxycore.words.effects import Send
from proxycore.words.ids import ConnId

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.mechanisms.tls import TlsSession

TRUNCATED = "connection_terminated: an end without close_notify"
"""Why a connection is lost whose end of file came before the session had ended."""

ANSWERS = 16 * 1024
"""Bytes that a peer may make us answer (key updates, most of all) while it takes none of what we send."""


class TlsWire(Wire):
    """A wire over a `session`, to which nothing is written before that is established."""

    __slots__ = ("_answered", "session")

    def __init__(self, engine: Engine, conn: ConnId, session: TlsSession) -> None:
        super().__init__(engine, conn)
        self.session = session
        self._answered = 0

    def flush(self) -> None:
        pieces = self._pieces
        if pieces:
            counted, self.unsent = self.unsent, 0
            self._pieces = []
            self._send(self.session.encrypt(pieces if len(pieces) == 1 else join_small(pieces)), counted)

    def answer(self) -> None:
        """Send what the session has to say by itself: a step of the handshake, an alert, a key update."""
        data = self.session.take()
        if not data:
            return
        self._send(data)
        self._answered = self._answered + len(data) if self.is_waiting else 0
        if self._answered > ANSWERS:
            self.abort()

    def send_eof(self) -> None:
        self._say_goodbye()
        super().send_eof()

    def close(self) -> None:
        self._say_goodbye()
        super().close()

    def _say_goodbye(self) -> None:
        """What was written and close_notify leave together: a segment less for each connection that ends."""
        counted, self.unsent = self.unsent, 0
        pieces, self._pieces = self._pieces, []
        data = self.session.encrypt(pieces) + self.session.close()
        if data:
            self._send(data, counted)

    def _send(self, data: bytes, counted: int = 0) -> None:
        """Send ciphertext. `write` has `counted` its plaintext already, which is a little less."""
        self._flushed = len(data)
        self._engine.sends.append(Send(self.conn, data))
        if self.is_waiting and self._watermark.sent(len(data) - counted):
            self.is_blocked = True
            self.owner.blocked()

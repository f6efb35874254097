"""A core whose peers speak TLS in memory: no socket, and time stands still unless a test moves it."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from proxycore.config import Config, ListenerTls
from proxycore.config.materials import Materials
from proxycore.core import Core
from proxycore.mechanisms.tls import TlsSession
from proxycore.words.effects import (
    Abort,
    Close,
    Connect,
    Effect,
    PauseReading,
    Resolve,
    ResumeReading,
    Send,
    SendEof,
    StopAccepting,
)
from proxycore.words.ids import ConnId
from proxycore.words.notices import Notice

HERE = ("127.0.0.1", 443)


def listener_tls(**options: Any) -> ListenerTls:
    """A listener's TLS: the files are never read, since the contexts are given."""
    return ListenerTls(certificates=[{"certificate": "unread.crt", "key": "unread.key"}], **options)


class Party:
    """Whoever is at the other end of a connection: what they got, and what became of the connection.

    `text` is all plaintext so far, `ciphertext` all bytes; `ended` tells that close_notify came, `closed` whether
    and how the core ended the connection. `is_read` is whether the core reads what they send.
    """

    def __init__(self, conn: ConnId, session: TlsSession | None) -> None:
        self.conn = conn
        self.session = session
        self.text = self.ciphertext = b""
        self.sends = 0
        self.got_eof = False
        self.is_read = True
        self.closed: type[Effect] | None = None

    @property
    def ended(self) -> bool:
        assert self.session is not None
        return self.session.has_ended

    def receive(self, data: bytes) -> bytes:
        """Take what came; what there is to answer."""
        self.sends += 1
        self.ciphertext += data
        if self.session is None:
            self.text += data
            return b""
        self.text += self.session.receive(data)
        return self.session.take()


class World:
    """A core, the clients that connect to it and the servers that it dials."""

    def __init__(self, config: Config, materials: Materials, *, server: ssl.SSLContext | None = None) -> None:
        self.now = 0.0
        self._server = server
        self._facts: deque[tuple[Any, ...]] = deque()
        self.parties: dict[ConnId, Party] = {}
        self.servers: list[Party] = []
        self.notices: list[Notice] = []
        self.core = Core(
            config, materials, now=0.0, wall=1e9, seed=1, entropy=bytes, watch=("exchanges", "connections", "faults")
        )

    # ---- what happens

    def connect(self, context: ssl.SSLContext | None, name: str = "localhost", *, silent: bool = False) -> Party:
        """A client connects to the listener "web" and, unless `silent`, shakes hands."""
        session = None if context is None else TlsSession(context, server_side=False, server_name=name)
        party = Party(self.core.next_conn_id(), session)
        self.parties[party.conn] = party
        self.tell(self.core.accepted, party.conn, "web", ("192.0.2.1", 1), HERE)
        if session is not None and not silent:
            self.greet(party)
        return party

    def greet(self, party: Party) -> None:
        """Send a client's first message."""
        assert party.session is not None
        party.session.start()
        self.raw(party, party.session.take())

    def say(self, party: Party, text: bytes) -> None:
        """Send plaintext."""
        self.raw(party, text if party.session is None else party.session.encrypt([text]))

    def raw(self, party: Party, data: bytes) -> None:
        if data:
            self.tell(self.core.data_received, party.conn, data)

    def finish(self, party: Party) -> None:
        """Say close_notify, and end the connection's sending side."""
        assert party.session is not None
        self.raw(party, party.session.close())
        self.eof(party)

    def eof(self, party: Party) -> None:
        self.tell(self.core.eof_received, party.conn)

    def lose(self, party: Party, error: str) -> None:
        self.tell(self.core.connection_lost, party.conn, error)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.tell(self.core.timer_expired)

    # ---- what comes of it

    def tell(self, fact: Callable[..., Sequence[Effect]], *arguments: Any) -> None:
        """Tell a fact, perform the effects, and so on until nothing arises any more."""
        self._facts.append((fact, arguments))
        while self._facts:
            fact, arguments = self._facts.popleft()
            if arguments and self._is_gone(arguments[0]):
                continue
            for effect in fact(*arguments, self.now):
                self._perform(effect)
        self.notices += self.core.take_notices(self.now)

    def _is_gone(self, conn: ConnId) -> bool:
        party = self.parties.get(conn)
        return party is not None and party.closed is not None and conn not in self.core._engine.endpoints

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Connect):
            session = None if self._server is None else TlsSession(self._server, server_side=True)
            party = self.parties[effect.conn] = Party(effect.conn, session)
            self.servers.append(party)
            self._facts.append((self.core.connected, (effect.conn, HERE, effect.address)))
            return
        if isinstance(effect, Resolve):
            self._facts.append((self.core.resolved, (effect.lookup, ["127.0.0.1"])))
            return
        if isinstance(effect, StopAccepting):
            return
        assert isinstance(effect, Send | SendEof | Close | Abort | PauseReading | ResumeReading), effect
        party = self.parties[effect.conn]
        assert party.closed is None, f"{effect} on a connection that is gone"
        if isinstance(effect, Send):
            answer = party.receive(effect.data)
            if answer:
                self._facts.append((self.core.data_received, (effect.conn, answer)))
        elif isinstance(effect, SendEof):
            party.got_eof = True
        elif isinstance(effect, Close | Abort):
            party.closed = type(effect)
            self._facts.append((self.core.connection_lost, (effect.conn, None)))
        else:
            party.is_read = isinstance(effect, ResumeReading)

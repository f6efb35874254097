"""Small machines for the driver to drive: one that records and is told what to do, an echo, a relay of bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proxycore.words.effects import Close, Connect, Effect, Send, SendEof
from proxycore.words.ids import Address, ConnId, LookupId

Fact = tuple[Any, ...]


class Recorder:
    """Writes down each fact as a tuple, `("data_received", conn, data)`, and does what `answer` says to it."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.answer: Callable[..., Sequence[Effect]] = lambda *fact: ()
        self.deadline: float | None = None
        self.last_conn = 0
        self.inside = False
        self.notices: list[str] = []

    def tell(self, *fact: Any) -> Sequence[Effect]:
        assert not self.inside, "entered again"
        self.inside = True
        try:
            self.facts.append(fact)
            return self.answer(*fact)
        finally:
            self.inside = False

    def names(self, conn: int | None = None) -> list[str]:
        """The names of the facts, in order; those of one connection where it is given."""
        return [fact[0] for fact in self.facts if conn is None or (len(fact) > 1 and fact[1] == conn)]

    def of(self, name: str) -> list[Fact]:
        return [fact for fact in self.facts if fact[0] == name]

    def bytes_of(self, conn: int) -> bytes:
        return b"".join(fact[2] for fact in self.of("data_received") if fact[1] == conn)

    def accepted(self, conn: ConnId, listener: str, peer: Address, local: Address, now: float) -> Sequence[Effect]:
        return self.tell("accepted", conn, listener, peer, local)

    def accept_failed(self, listener: str, error: str, now: float) -> Sequence[Effect]:
        return self.tell("accept_failed", listener, error)

    def data_received(self, conn: ConnId, data: bytes, now: float) -> Sequence[Effect]:
        return self.tell("data_received", conn, data)

    def eof_received(self, conn: ConnId, now: float) -> Sequence[Effect]:
        return self.tell("eof_received", conn)

    def peer_ended(self, conn: ConnId, now: float) -> Sequence[Effect]:
        return self.tell("peer_ended", conn)

    def writing_paused(self, conn: ConnId, now: float) -> Sequence[Effect]:
        return self.tell("writing_paused", conn)

    def writing_resumed(self, conn: ConnId, now: float) -> Sequence[Effect]:
        return self.tell("writing_resumed", conn)

    def connected(self, conn: ConnId, local: Address, peer: Address, now: float) -> Sequence[Effect]:
        return self.tell("connected", conn, local, peer)

    def connect_failed(self, conn: ConnId, error: str, now: float) -> Sequence[Effect]:
        return self.tell("connect_failed", conn, error)

    def connection_lost(self, conn: ConnId, error: str | None, now: float) -> Sequence[Effect]:
        return self.tell("connection_lost", conn, error)

    def timer_expired(self, now: float) -> Sequence[Effect]:
        return self.tell("timer_expired")

    def resolved(self, lookup: LookupId, addresses: Sequence[str], now: float) -> Sequence[Effect]:
        return self.tell("resolved", lookup, addresses)

    def performed(self, effects: Sequence[Effect], now: float) -> Sequence[Effect]:
        """No fact of the design: how a test has the driver perform effects."""
        return effects

    def next_conn_id(self) -> ConnId:
        self.last_conn += 1
        return ConnId(self.last_conn)

    def next_deadline(self) -> float | None:
        return self.deadline

    def take_notices(self, now: float) -> Sequence[Any]:
        taken, self.notices = self.notices, []
        return taken


class Echo(Recorder):
    """Sends back what it gets, and the end of file too."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = self.echo

    def echo(self, name: str, *arguments: Any) -> Sequence[Effect]:
        if name == "data_received":
            return [Send(arguments[0], arguments[1])]
        if name == "eof_received":
            return [SendEof(arguments[0])]
        return ()


class Relay(Recorder):
    """Dials `target` for each connection and passes bytes both ways, ends of file and losses too.

    It doesn't record, so that it can be measured.
    """

    def __init__(self, target: Address) -> None:
        super().__init__()
        self.target = target
        self.other: dict[int, ConnId] = {}
        self.early: dict[int, list[bytes]] = {}

    def accepted(self, conn: ConnId, listener: str, peer: Address, local: Address, now: float) -> Sequence[Effect]:
        upstream = self.next_conn_id()
        self.other[conn] = upstream
        self.other[upstream] = conn
        self.early[conn] = []
        return [Connect(upstream, self.target)]

    def connected(self, conn: ConnId, local: Address, peer: Address, now: float) -> Sequence[Effect]:
        return [Send(conn, data) for data in self.early.pop(self.other[conn])]

    def data_received(self, conn: ConnId, data: bytes, now: float) -> Sequence[Effect]:
        if conn in self.early:
            self.early[conn].append(data)
            return ()
        return (Send(self.other[conn], data),)

    def eof_received(self, conn: ConnId, now: float) -> Sequence[Effect]:
        return (SendEof(self.other[conn]),)

    def connection_lost(self, conn: ConnId, error: str | None, now: float) -> Sequence[Effect]:
        other = self.other.pop(conn, None)
        self.early.pop(conn, None)
        if other is None:
            return ()
        return (Close(other),)

    def connect_failed(self, conn: ConnId, error: str, now: float) -> Sequence[Effect]:
        return self.connection_lost(conn, error, now)

    def writing_paused(self, conn: ConnId, now: float) -> Sequence[Effect]:
        return ()

    writing_resumed = writing_paused

"""Every fact in every state: no exception, no lost handle, no false book, whatever the order of events.

A schedule is drawn, move by move; a small driver keeps to the contract (it reads nothing that is paused, and
tells one last fact for each handle) and is otherwise free to tell anything at any time, races included.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import given, settings

from proxycore import Config, Core, Listener, Route, Server, Upstream
from proxycore.composition.downstream import DownstreamConnection
from proxycore.composition.tables import DOWNSTREAM, EXCHANGE, TABLES, UPSTREAM
from proxycore.composition.upstream import UpstreamConnection
from proxycore.config import Limits, Retries, Timeouts
from proxycore.testing.checkers import Backlogs, Books, Checker, Deadlines, Faults, Gates, Handles
from proxycore.testing.strategies import Move, Side, schedules
from proxycore.testing.traffic import BAD_HEADS, BAD_REPLIES
from proxycore.words.effects import Abort, Close, Connect, Effect, PauseReading, ResumeReading, SendEof
from proxycore.words.ids import ConnId
from proxycore.words.notices import ALL_KINDS

CONFIG = Config(
    timeouts=Timeouts(connect=2, request_head=4, request_body=4, response_head=4, response_body=4, send=4, idle=20),
    limits=Limits(buffer=1024, request_body=2_000),
    listeners=[Listener(name="web", bind="192.0.2.10:80"), Listener(name="old", bind="192.0.2.10:81")],
    upstreams={
        "api": Upstream(
            servers=[Server(url=f"http://10.0.0.{n}:8080", max_connections=1) for n in (1, 2)],
            retries=Retries(max=2),
            idle_timeout=10,
        )
    },
    routes=[Route(match={"path": "/own/*"}, respond={"status": 200, "body": "ours"}), Route(upstream="api")],
)
AFTER = Config(
    timeouts=CONFIG.timeouts,
    limits=CONFIG.limits,
    listeners=CONFIG.listeners[:1],
    upstreams={"api": Upstream(servers=[Server(url=f"http://10.0.0.{n}:8080", max_connections=1) for n in (2, 3)])},
    routes=CONFIG.routes,
)


class Conn:
    """What the driver knows of a connection."""

    def __init__(self, side: Side, *, dialling: bool) -> None:
        self.side = side
        self.dialling = dialling
        self.paused = self.ended = self.waiting = self.closing = False
        self.unread: list[bytes] = []


class Improviser:
    """Plays moves on a core. `met` are the pairs of (kind of state, state, fact) that came up."""

    before, after = CONFIG, AFTER

    def __init__(self) -> None:
        self.now = 0.0
        self.core = Core(self.before, now=0.0, wall=1.8e9, seed=1, entropy=Random(1).randbytes, watch=ALL_KINDS)
        self.conns: dict[int, Conn] = {}
        self.gone: list[int] = []
        self.met: set[tuple[str, str, str]] = set()
        self._facts: deque[tuple[Any, ...]] = deque()
        self._faults = Faults()
        self._reloads = 0
        self.checkers: list[Checker] = [
            Handles(),
            Gates(patience=1e9),
            Deadlines(self.core),
            Books(self.core),
            Backlogs(self.core, 1024, slack=128 * 1024, kept=1 << 20),
        ]

    def play(self, moves: Sequence[Move]) -> None:
        for move in moves:
            self._play(move)

    def finish(self) -> None:
        """Everybody leaves; nothing may be left."""
        self.tell("drain_requested", self.now + 1.0)
        self._wait(200.0)
        for conn in list(self.conns):
            self._lose(conn, "ECONNRESET")
        assert not self.conns
        ledger = self.core.ledger()
        assert ledger.is_empty, str(ledger)
        assert self.core.is_drained
        for checker in self.checkers:
            checker.finished()

    def _play(self, move: Move) -> None:
        if move.what == "accept":
            conn = self.core.next_conn_id()
            self.conns[conn] = Conn("client", dialling=False)
            listener = "web" if self._reloads or len(self.conns) % 2 else "old"
            self.tell("accepted", conn, listener, ("192.0.2.1", 5), ("192.0.2.10", 80))
        elif move.what == "wait":
            self._wait(move.seconds)
        elif move.what == "reload":
            self._reloads += 1
            self.tell("reconfigured", self.after if self._reloads % 2 else self.before, None)
        else:
            self._touch(move)

    def _touch(self, move: Move) -> None:
        dials = move.what == "dial"
        numbers = [n for n, conn in self.conns.items() if conn.side == move.side and conn.dialling == dials]
        if not numbers:
            if self.gone and not dials:  # a race: it is gone, and somebody still speaks of it
                self.tell("writing_resumed", self.gone[move.number % len(self.gone)])
            return
        number = numbers[move.number % len(numbers)]
        conn = self.conns[number]
        if dials:
            if move.data:
                conn.dialling = False
                self.tell("connected", number, ("192.0.2.10", 9), ("10.0.0.1", 8080))
            else:
                self._lose(number, "ECONNREFUSED")
        elif move.what == "send":
            self._receive(number, conn, move.data)
        elif move.what == "end" and not conn.ended and not conn.closing:
            conn.ended = True
            self.tell("peer_ended" if conn.paused and conn.unread else "eof_received", number)
        elif move.what == "lose":
            self._lose(number, "ECONNRESET")
        elif move.what == "pause" and (conn.waiting or not conn.closing):
            conn.waiting = True
            self.tell("writing_paused", number)
        elif move.what == "resume" and conn.waiting:
            conn.waiting = False
            if conn.closing:
                self._lose(number, None)
            else:
                self.tell("writing_resumed", number)

    def _receive(self, number: int, conn: Conn, data: bytes) -> None:
        if conn.ended or conn.closing or not data:
            return
        if conn.paused:
            conn.unread.append(data)
        else:
            self.tell("data_received", number, data)

    def _wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.core.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.tell("timer_expired")
        self.now = end

    def _lose(self, number: int, error: str | None) -> None:
        if number in self.conns:
            conn = self.conns.pop(number)
            self.gone.append(number)
            self.tell("connect_failed" if conn.dialling else "connection_lost", number, error or "ECANCELED")

    # ---- the contract of a driver

    def tell(self, name: str, *arguments: Any) -> None:
        self._facts.append((name, *arguments))
        if len(self._facts) > 1:
            return  # it is told behind what is going on
        while self._facts:
            fact, *values = self._facts[0]
            self._note(fact, values)
            if fact == "drain_requested":
                effects = self.core.drain_requested(self.now, deadline=values[0])
            else:
                effects = getattr(self.core, fact)(*values, self.now)
            for checker in self.checkers:
                checker.fact(self.now, fact, tuple(values), effects)
            for effect in effects:
                self._perform(effect)
            self._facts.popleft()
        self._faults.noticed(self.core.take_notices(self.now))

    def _note(self, fact: str, values: Sequence[Any]) -> None:
        named = values and isinstance(values[0], int)
        endpoint = self.core._engine.endpoints.get(ConnId(values[0])) if named else None
        if endpoint is None:
            return
        if isinstance(endpoint, DownstreamConnection):
            kind, exchange = "downstream", endpoint._exchange
        else:
            assert isinstance(endpoint, UpstreamConnection)
            kind, exchange = "upstream", endpoint.exchange
        self.met.add((kind, endpoint.state, fact))
        if exchange is not None:
            self.met.add(("exchange", exchange.state, f"{kind} {fact}"))

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Connect):
            self.conns[effect.conn] = Conn("server", dialling=True)
            return
        number = getattr(effect, "conn", 0)
        conn = self.conns.get(number)
        if conn is None:
            return
        if isinstance(effect, Abort) or (isinstance(effect, Close) and (conn.dialling or not conn.waiting)):
            self._lose(number, None)
        elif isinstance(effect, Close):
            conn.closing = True
        elif isinstance(effect, SendEof):
            if conn.ended and not conn.waiting:
                self._lose(number, None)
        elif isinstance(effect, PauseReading):
            conn.paused = True
        elif isinstance(effect, ResumeReading):
            conn.paused = False
            unread, conn.unread = conn.unread, []
            if unread:
                self._facts.append(("data_received", number, b"".join(unread)))
            if conn.ended and unread:
                self._facts.append(("eof_received", number))


@given(schedules())
@settings(max_examples=150)
def test_no_order_of_events_is_an_exception_or_a_lost_handle(moves: list[Move]) -> None:
    improviser = Improviser()
    improviser.play([Move("accept"), *moves])
    improviser.finish()


REQUESTS = (
    b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /own/b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n" + b"x" * 900,
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1800\r\n\r\n" + b"x" * 1200,
    b"x" * 600,
    b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHo",
    b"st: a\r\n\r\n",
    BAD_HEADS[1],
)
REPLIES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"y" * 500,
    b"y" * 1500,
    b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nraw",
    b"HTTP/1.1 200 OK\r\n\r\nuntil close",
    BAD_REPLIES[0],
)


def random_moves(random: Random, length: int) -> list[Move]:
    """A schedule with the weights of a busy day; of a day of tunnels, one time out of three."""
    moves = [Move("accept")]
    requests, replies = (REQUESTS[5:6], REPLIES[3:4]) if random.random() < 0.33 else (REQUESTS, REPLIES)
    for _ in range(length):
        side: Side = random.choice(("client", "server"))
        what = random.choice(
            ("accept", "send", "send", "send", "dial", "dial", "end", "lose", "pause", "resume", "wait", "reload")
        )
        data = random.choice(requests if side == "client" else replies)
        if what == "dial":
            side, data = "server", random.choice((b"", b"x", b"x"))
        if what == "reload" and random.random() < 0.8:
            continue
        moves.append(Move(what, side, random.randrange(4), data, random.choice((0.0, 0.001, 1.0, 3.0, 5.0))))
    return moves


FACTS_OF_A_CONNECTION = (
    "data_received",
    "eof_received",
    "writing_paused",
    "writing_resumed",
    "connection_lost",
)


def test_every_fact_is_met_in_every_state_of_a_connection() -> None:
    met: set[tuple[str, str, str]] = set()
    for seed in range(1_200):
        improviser = Improviser()
        improviser.play(random_moves(Random(seed), 60))
        improviser.finish()
        met |= improviser.met
    # A connection that is closing is read no more, and one that is idle has sent all: a driver says nothing of that.
    silent = {
        *(("downstream", "closing", fact) for fact in ("data_received", "eof_received", "writing_resumed")),
        *(("upstream", "closing", fact) for fact in ("data_received", "eof_received", "writing_resumed")),
        ("upstream", "idle", "writing_resumed"),
    }
    wanted = {
        *(("downstream", state, fact) for state in DOWNSTREAM if state != "lost" for fact in FACTS_OF_A_CONNECTION),
        *(
            ("upstream", state, fact)
            for state in UPSTREAM
            if state not in ("lost", "dialling")
            for fact in FACTS_OF_A_CONNECTION
        ),
        ("upstream", "dialling", "connected"),
        ("upstream", "dialling", "connect_failed"),
        *(
            ("exchange", state, f"downstream {fact}")
            for state in EXCHANGE
            if state not in ("deciding", "held", "answering", "ended")
            for fact in ("writing_paused", "writing_resumed", "connection_lost", "eof_received")
        ),
    }
    assert sorted(wanted - silent - met) == []


def test_every_state_of_a_table_can_be_reached_and_only_the_last_is_an_end() -> None:
    for name, table in TABLES.items():
        first, *others = table
        reached = {target for moves in table.values() for target in moves.values()}
        assert set(others) <= reached <= set(table), name
        assert [state for state, moves in table.items() if not moves] == others[-1:], name
        assert table[first]

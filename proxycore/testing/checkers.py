"""What must hold in every run, each rule an object of its own.

A checker sees each fact with the effects that answered it (`fact`), and what is left at the end
(`finished`); it raises `Violation` at once. They know nothing of traffic, so they work in any run: a
simulation, a playbook, a recording that is replayed, a test of your own:

    core = Core(config, now=0.0, wall=1e9, seed=1, entropy=bytes)
    network = Network(core, random=Random(1), observers=all_checkers(core))
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from proxycore.composition.clients import ClientConnection
from proxycore.composition.draining import GRACE
from proxycore.composition.exchange import Exchange
from proxycore.composition.sides import UpstreamSide
from proxycore.composition.upstream import UpstreamConnection
from proxycore.core import Core
from proxycore.words.effects import (
    Abort,
    Call,
    Cancel,
    Close,
    Connect,
    Effect,
    PauseReading,
    Resolve,
    ResumeReading,
    Send,
    SendEof,
)
from proxycore.words.notices import ExchangeEnded, Fault, Notice


class Violation(AssertionError):
    """A rule was broken. `checker` names who noticed."""

    def __init__(self, checker: str, text: str) -> None:
        super().__init__(f"{checker}: {text}")
        self.checker = checker
        self.text = text


class Checker:
    """One rule. `name` is how a violation calls it."""

    name = ""

    def fact(self, now: float, name: str, arguments: tuple[Any, ...], effects: Sequence[Effect]) -> None:
        """A fact was told and answered; the effects have not been performed yet."""

    def finished(self) -> None:
        """The run is over: all clients are gone, and the machine was drained."""

    def violate(self, text: str) -> None:
        raise Violation(self.name, text)


SMALL = 4_096
"""Bytes that are no breach of a limit: the end of a message, an answer of the proxy's own."""

_OPEN, _ENDED, _CLOSING, _GONE = "open", "half-closed", "closing", "gone"
_LAST_FACTS = frozenset(("connection_lost", "connect_failed"))
_LAST_ANSWERS = frozenset(("resolved", "resolve_failed", "call_completed", "call_failed"))
_ON_CONNECTIONS = frozenset((Send, SendEof, Close, Abort, PauseReading, ResumeReading))


class Handles(Checker):
    """Effects speak of connections that are there, in an order that makes sense; each handle is used once.

    Nothing is asked of a connection whose last fact was told; nothing is sent after the end was asked for.
    """

    name = "handles"

    def __init__(self) -> None:
        self._conns: dict[int, str] = {}
        self._asked: dict[int, bool] = {}

    def fact(self, now: float, name: str, arguments: tuple[Any, ...], effects: Sequence[Effect]) -> None:
        if name in _LAST_FACTS:
            self._conns[arguments[0]] = _GONE
        elif name == "accepted":
            self._conns[arguments[0]] = _OPEN
        elif name in _LAST_ANSWERS:
            self._asked[arguments[0]] = False
        conns = self._conns
        for effect in effects:
            kind = effect.__class__
            if kind is Send:
                if conns.get(effect.conn) != _OPEN:  # type: ignore[attr-defined]
                    self._misused(effect, name)
            elif kind in _ON_CONNECTIONS:
                self._follow(effect, name)
            elif isinstance(effect, Connect):
                if effect.conn in conns:
                    self.violate(f"{effect!r}: that number was used before")
                conns[effect.conn] = _OPEN
            elif isinstance(effect, Resolve | Call):
                self._ask(effect.lookup if isinstance(effect, Resolve) else effect.call)
            elif isinstance(effect, Cancel) and not self._asked.get(effect.handle):
                self.violate(f"{effect!r}: nothing of that number is under way")

    def _follow(self, effect: Effect, name: str) -> None:
        conn: int = effect.conn  # type: ignore[attr-defined]
        state = self._conns.get(conn)
        if isinstance(effect, Abort):
            if state in (None, _GONE):
                self._misused(effect, name)
            self._conns[conn] = _CLOSING
        elif isinstance(effect, Close):
            if state not in (_OPEN, _ENDED):
                self._misused(effect, name)
            self._conns[conn] = _CLOSING
        elif isinstance(effect, SendEof):
            if state != _OPEN:
                self._misused(effect, name)
            self._conns[conn] = _ENDED
        elif state not in (_OPEN, _ENDED):
            self._misused(effect, name)

    def _ask(self, handle: int) -> None:
        if handle in self._asked or handle in self._conns:
            self.violate(f"the handle {handle} was used before")
        self._asked[handle] = True

    def _misused(self, effect: Effect, name: str) -> None:
        state = self._conns.get(effect.conn, "unknown")  # type: ignore[attr-defined]
        self.violate(f"{name} was answered with {str(effect)[:120]}, but that connection is {state}")

    def finished(self) -> None:
        left = [conn for conn, state in self._conns.items() if state != _GONE]
        if left:
            self.violate(f"these connections never ended: {left}")
        asked = [handle for handle, is_open in self._asked.items() if is_open]
        if asked:
            self.violate(f"these look-ups and calls never ended: {asked}")


class Gates(Checker):
    """Reading is paused and resumed in turns, and whatever was shut opens again or its connection ends.

    `patience` is how long a gate may stay shut, in seconds: more than every timeout that can end its cause.
    """

    name = "gates"

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._shut: dict[int, float] = {}

    def fact(self, now: float, name: str, arguments: tuple[Any, ...], effects: Sequence[Effect]) -> None:
        shut = self._shut
        if name in _LAST_FACTS:
            shut.pop(arguments[0], None)
        for effect in effects:
            kind = effect.__class__
            if kind is PauseReading:
                conn: int = effect.conn  # type: ignore[attr-defined]
                if conn in shut:
                    self.violate(f"connection {conn} is paused twice")
                shut[conn] = now
            elif kind is ResumeReading:
                conn = effect.conn  # type: ignore[attr-defined]
                if shut.pop(conn, None) is None:
                    self.violate(f"connection {conn} is resumed and was not paused")
        if name == "timer_expired" and shut:
            for conn, since in shut.items():
                if now - since > self._patience:
                    self.violate(f"connection {conn} has not been read since {since:g}")

    def finished(self) -> None:
        if self._shut:
            self.violate(f"these connections are paused for ever: {list(self._shut)}")


class Deadlines(Checker):
    """The machine's deadline lies ahead once its timer has rung, and ringing comes to rest."""

    name = "deadlines"

    IN_A_ROW = 20
    """Rings of the timer at the same time, with no other fact between them: more is a busy loop."""

    EVERY = 64
    """Facts between two looks at all timers."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._rung_at = -inf
        self._in_a_row = 0
        self._facts = 0

    def fact(self, now: float, name: str, arguments: tuple[Any, ...], effects: Sequence[Effect]) -> None:
        self._facts += 1
        if self._facts % self.EVERY == 0:
            self._look_at_timers()
        if name != "timer_expired":
            self._in_a_row = 0
            return
        self._in_a_row = self._in_a_row + 1 if now == self._rung_at else 1
        self._rung_at = now
        if self._in_a_row > self.IN_A_ROW:
            deadline = self._core.next_deadline()
            self.violate(f"a busy loop: the timer rang {self._in_a_row} times at {now:g}, and is due at {deadline}")

    def _look_at_timers(self) -> None:
        for timer in self._core.engine.timers.late():
            self.violate(f"{timer!r} is woken too late")


class Backlogs(Checker):
    """What waits is bounded: in the driver for each connection, and in the core.

    `limit` is `limits.buffer`. It is noticed when it is reached, so one fact may go beyond it by all that it
    brings: `slack`; what was begun may be ended after that (`SMALL`). `kept` is what one exchange may keep for
    another try.
    """

    name = "backlogs"

    EVERY = 32
    """Facts between two looks at the core's own buffers."""

    def __init__(self, core: Core, limit: float, slack: int, kept: int) -> None:
        self._core = core
        self._limit = limit
        self._slack = slack
        self._kept = kept
        self._since_paused: dict[int, int] = {}
        self._facts = 0

    def fact(self, now: float, name: str, arguments: tuple[Any, ...], effects: Sequence[Effect]) -> None:
        waiting = self._since_paused
        if name == "writing_paused":
            waiting.setdefault(arguments[0], 0)
        elif name == "writing_resumed" or name in _LAST_FACTS:
            waiting.pop(arguments[0], None)
        if waiting:
            for effect in effects:
                if effect.__class__ is Send and effect.conn in waiting:
                    self._count(effect)
        self._facts += 1
        if self._facts % self.EVERY == 0:
            self._look_inside()

    def _count(self, effect: Send) -> None:
        before = self._since_paused[effect.conn]
        if before > self._limit + SMALL:
            self.violate(f"{before} bytes were sent on connection {effect.conn} since it took none, and here come more")
        self._since_paused[effect.conn] = before + len(effect.data)

    def _look_inside(self) -> None:
        # Not by core.ledger(): that concludes exchanges, and may not before this fact's effects are performed.
        engine = self._core.engine
        downstreams = engine.clients.values()
        exchanges = engine.exchanges.values()
        held = sum(end.held_bytes for end in downstreams) + sum(exchange.held_bytes for exchange in exchanges)
        each = self._limit + self._slack
        if held > len(downstreams) * each + len(exchanges) * (each + self._kept):
            self.violate(f"{held} bytes are held for {len(downstreams)} clients and {len(exchanges)} exchanges")


class Books(Checker):
    """The core's own books agree: every lease has its connection and its exchange, all counts are true, and whoever
    is idle has a clock that ends it, unless the configuration has it off.

    Looked at after each fact that ends something, and every `EVERY` facts. So a client that left holds
    nothing upstream after that very fact.
    """

    name = "books"

    EVERY = 64
    _ENDINGS = frozenset(("connection_lost", "connect_failed", "eof_received", "peer_ended", "timer_expired"))

    def __init__(self, core: Core) -> None:
        self._core = core
        self._facts = 0

    def fact(self, now: float, name: str, arguments: tuple[Any, ...], effects: Sequence[Effect]) -> None:
        self._facts += 1
        if name == "drain_requested":
            self._look_at_idle(now)
        if name in self._ENDINGS or self._facts % self.EVERY == 0:
            self.look()

    def look(self) -> None:
        """Compare all books now."""
        core = self._core
        engine = core.engine
        leased: dict[int, int] = {}
        open_connections: dict[int, int] = {}
        downstreams = len(engine.clients)
        for client in engine.clients.values():
            if client.is_idle:
                self._look_at_clock(client, core.config.timeouts.idle)
        for endpoint in engine.endpoints.values():
            if isinstance(endpoint, UpstreamConnection):
                self._look_at(endpoint, leased, open_connections)
        for upstream in core.upstream_states():
            for server in upstream.servers:
                waiting = sum(
                    _waits_for_name(exchange) and exchange.server is server for exchange in engine.exchanges.values()
                )
                if server.active != leased.pop(id(server), 0) + waiting:
                    self.violate(f"{server!r} counts leases that are not there, or too few")
                if server.connections != open_connections.pop(id(server), 0) + waiting:
                    self.violate(f"{server!r} counts connections that are not there, or too few")
                if server.active > server.max_connections:
                    self.violate(f"{server!r} has more leases than its max_connections")
        if downstreams != core.admitted:
            self.violate(f"{core.admitted} downstream connections are counted, {downstreams} are there")
        self._look_at_exchanges()

    def _look_at(
        self, connection: UpstreamConnection, leased: dict[int, int], open_connections: dict[int, int]
    ) -> None:
        server = connection.server
        open_connections[id(server)] = open_connections.get(id(server), 0) + (connection.state != "lost")
        exchange = connection.exchange
        if connection.state == "idle":
            self._look_at_clock(connection, server.upstream.config.idle_timeout)
        if exchange is None:
            if connection.state in ("leased", "tunnel", "dialling"):
                self.violate(f"{connection!r} is {connection.state} for nobody")
            return
        leased[id(server)] = leased.get(id(server), 0) + 1
        if connection.state not in ("leased", "tunnel", "dialling"):
            self.violate(f"{connection!r} is {connection.state}, and still leased to {exchange!r}")
        if exchange.outcome is not None or _lease_of(exchange) is not connection:
            self.violate(f"{connection!r} works for an exchange that doesn't know of it: {exchange!r}")

    def _look_at_clock(self, connection: ClientConnection | UpstreamConnection, span: float) -> None:
        if connection.ends_at == inf and span != inf:
            self.violate(f"{connection!r} may be idle for ever")

    def _look_at_idle(self, now: float) -> None:
        """A drain has begun."""
        for client in self._core.engine.clients.values():
            if client.is_idle and not client.held_bytes and client.ends_at > now + GRACE:
                self.violate(f"{client!r} is idle, and goes on in a drain")

    def _look_at_exchanges(self) -> None:
        core = self._core
        in_flight: dict[int, int] = {}
        for exchange in core.engine.exchanges.values():
            if exchange.outcome is not None:
                continue
            if exchange.downstream.outlet.lost:
                self.violate(f"{exchange!r} goes on, and its client is gone")
            if exchange.attempts is not None:
                key = id(exchange.attempts.upstream)
                in_flight[key] = in_flight.get(key, 0) + 1
        for upstream in core.upstream_states():
            if upstream.in_flight != in_flight.get(id(upstream), 0):
                self.violate(
                    f"{upstream.name} counts {upstream.in_flight} exchanges in flight, not as many as there are"
                )


def _lease_of(exchange: Exchange) -> UpstreamSide | None:
    return None if exchange.attempts is None else exchange.attempts.lease


def _waits_for_name(exchange: Exchange) -> bool:
    """Whether its lease is of a connection that has no number yet, since its server's name is being looked up."""
    lease = _lease_of(exchange)
    return isinstance(lease, UpstreamConnection) and lease.conn is None


class Ledgers(Checker):
    """When all is over, nothing is held."""

    name = "ledger"

    def __init__(self, core: Core) -> None:
        self._core = core

    def finished(self) -> None:
        ledger = self._core.ledger()
        if not ledger.is_empty:
            self.violate(f"still held when all was over: {ledger}")
        if not self._core.is_drained:
            self.violate("the core says that it is not drained")


class Faults(Checker):
    """No exception of ours. Give it the notices."""

    name = "faults"

    def noticed(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            if isinstance(notice, Fault):
                self.violate(f"an exception in {notice.where}:\n{notice.traceback}")


class Endings(Checker):
    """Each exchange ends once, and says so once. Give it the notices; `ended` holds them."""

    name = "endings"

    def __init__(self, core: Core) -> None:
        self._core = core
        self.ended: dict[int, ExchangeEnded] = {}

    def noticed(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            if isinstance(notice, ExchangeEnded):
                if notice.exchange in self.ended:
                    self.violate(f"exchange {notice.exchange} ended twice: {notice!r}")
                self.ended[notice.exchange] = notice

    def finished(self) -> None:
        engine = self._core.engine
        begun = engine.exchange_count
        if len(self.ended) != begun - engine.own_exchange_count:
            missing = [number for number in range(1, begun + 1) if number not in self.ended]
            self.violate(f"{begun} exchanges began, {len(self.ended)} ended; missing: {missing[:10]}")


def all_checkers(core: Core) -> list[Checker]:
    """Every checker that needs nothing but the core, fitted to its configuration."""
    config = core.config
    timeouts, limits = config.timeouts, config.limits
    clocks = [timeouts.send, timeouts.response_head, timeouts.response_body, timeouts.request_body, timeouts.tunnel]
    # Until it has read what our windows are, a client of HTTP/2 may send as much as RFC 9113 section 6.9.2 says.
    on_its_way = 65_535 if any(listener.protocols != ("http/1.1",) for listener in config.listeners) else 0
    kept = max((upstream.retries.replay_body for upstream in config.upstreams.values()), default=0)
    return [
        Handles(),
        Gates(patience=4 * sum(clock for clock in clocks if clock != inf) + 60.0),
        Deadlines(core),
        Backlogs(core, limits.buffer + on_its_way, slack=128 * 1024, kept=kept),
        Books(core),
        Ledgers(core),
        Faults(),
        Endings(core),
    ]

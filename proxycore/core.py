"""The door: facts go in, effects come out, and nothing else happens.

Call one fact at a time, each with the time at which it became known (`now`, monotonic seconds,
never going back), perform the effects that it returns in their order, and let facts that arise
meanwhile wait until all are performed. Call `timer_expired` when `next_deadline` has come. This is
the whole contract of a driver; `proxycore.sockets` keeps it with sockets, `proxycore.testing` in
memory.

Each handle ends with exactly one last fact, also after it was cancelled: an accepted connection
with `connection_lost`; a dialled one with `connect_failed` or, once `connected`, with
`connection_lost`; a look-up or a call with `..._completed` or `..._failed`. A fact about a handle
that is gone is a race, and normal: it is counted and has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from math import inf
from typing import Any

from proxycore.composition.clients import ClientConnection, open_connection
from proxycore.composition.dialer import Names
from proxycore.composition.engine import Endpoint, Engine
from proxycore.composition.filters import Filter
from proxycore.composition.ledger import Ledger, count
from proxycore.composition.plan import Plan
from proxycore.composition.upstreams import UpstreamState
from proxycore.config import Config
from proxycore.config.materials import Materials
from proxycore.filters.order import OwnFilters
from proxycore.mechanisms.timers import Timer
from proxycore.words.effects import Abort, Effect, PauseAccepting, ResumeAccepting, StopAccepting
from proxycore.words.ids import Address, CallId, ConnId, LookupId
from proxycore.words.notices import Kind, Notice

ACCEPT_PAUSE = 0.1
"""Seconds without accepting after the system had no more files or memory for a connection."""


class Core:
    """A whole proxy without its sockets.

    `wall` is seconds since the epoch at `now`; `seed` decides every chance it takes, `entropy(n)`
    gives n unpredictable bytes for what must not be guessed. `watch` names the notices to build.
    Filters serve every exchange, in this order, after those that the configuration asks for.
    Raises ConfigError where the configuration can't be served as it stands.
    """

    def __init__(
        self,
        config: Config,
        materials: Materials | None = None,
        *,
        now: float,
        wall: float,
        seed: int,
        entropy: Callable[[int], bytes],
        filters: Sequence[Filter] = (),
        watch: Collection[Kind] = (),
    ) -> None:
        self._engine = engine = Engine(now=now, wall=wall, seed=seed, entropy=entropy, watch=watch)
        self._filters = tuple(filters)
        self._own_filters = OwnFilters(entropy)
        self._upstreams: dict[str, UpstreamState] = {}
        self._leaving: list[UpstreamState] = []
        self._names = Names(engine)
        self._downstreams: dict[ConnId, ClientConnection] = {}
        self._clients: dict[str, int] = {}
        self._paused_listeners: dict[str, None] = {}
        self._accept_clock = Timer(engine.timers, self._resume_accepting)
        self._drain_clock = Timer(engine.timers, self._end_drain)
        self._effects_clock = Timer(engine.timers, _do_nothing)
        self._is_draining = False
        self._take(config, materials or Materials())

    # ---- facts

    def data_received(self, conn: ConnId, data: bytes, now: float) -> Sequence[Effect]:
        """`data` arrived on `conn`: at least one byte."""
        # What `_enter` and `_leave` do, without the calls: two of these facts make an exchange.
        engine = self._engine
        engine.now = now
        endpoint = engine.endpoints.get(conn)
        if endpoint is None:
            engine.stale_facts += 1
        else:
            try:
                endpoint.data_received(data)
            except Exception:
                self._fault(endpoint)
        return engine.collect()

    def eof_received(self, conn: ConnId, now: float) -> Sequence[Effect]:
        """The peer shut its writing side: no data will follow, but we may go on writing."""
        endpoint = self._enter(conn, now)
        if endpoint is not None:
            try:
                endpoint.eof_received()
            except Exception:
                self._fault(endpoint)
        return self._leave()

    def peer_ended(self, conn: ConnId, now: float) -> Sequence[Effect]:
        """The peer shut its writing side while we don't read, with bytes of it still unread.

        `eof_received` follows once they were read. A client that waits behind its own upload has left.
        """
        endpoint = self._enter(conn, now)
        if endpoint is not None:
            try:
                endpoint.peer_ended()
            except Exception:
                self._fault(endpoint)
        return self._leave()

    def writing_paused(self, conn: ConnId, now: float) -> Sequence[Effect]:
        """The kernel refused bytes of a `Send`: some wait in the driver.

        Tell it again whenever some of them have left and others still wait: the send clock
        starts anew.
        """
        engine = self._engine
        engine.now = now
        endpoint = engine.endpoints.get(conn)
        if endpoint is not None:
            try:
                endpoint.wire.writing_paused()
            except Exception:
                self._fault(endpoint)
        self._enter(conn, now)
        return self._leave()

    def writing_resumed(self, conn: ConnId, now: float) -> Sequence[Effect]:
        """No bytes wait in the driver any more."""
        endpoint = self._enter(conn, now)
        if endpoint is not None:
            try:
                endpoint.wire.writing_resumed()
            except Exception:
                self._fault(endpoint)
        return self._leave()

    def connection_lost(self, conn: ConnId, error: str | None, now: float) -> Sequence[Effect]:
        """The last fact of a connection: closed by us (None), or broken (`error`, an errno's name)."""
        engine = self._engine
        engine.now = now
        endpoint = engine.endpoints.pop(conn, None)
        if endpoint is None:
            engine.stale_facts += 1
        else:
            try:
                endpoint.connection_lost(error)
            except Exception:
                engine.fault("the loss of a connection")
            downstream = self._downstreams.pop(conn, None)
            if downstream is not None:
                self._forget_client(downstream)
        return self._leave()

    def connected(self, conn: ConnId, local: Address, peer: Address, now: float) -> Sequence[Effect]:
        """A dial succeeded."""
        self._enter(conn, now)
        endpoint = self._engine.dialled.pop(conn, None)
        if endpoint is not None:
            try:
                endpoint.connected(local, peer)
            except Exception:
                self._fault(endpoint)
        return self._leave()

    def connect_failed(self, conn: ConnId, error: str, now: float) -> Sequence[Effect]:
        """A dial failed, or was aborted: the last fact of that connection. `error` is an errno's name."""
        engine = self._engine
        self._enter(conn, now)
        endpoint = engine.dialled.pop(conn, None)
        engine.endpoints.pop(conn, None)
        if endpoint is not None:
            try:
                endpoint.connect_failed(error)
            except Exception:
                engine.fault("a failed dial")
        return self._leave()

    def accepted(self, conn: ConnId, listener: str, peer: Address, local: Address, now: float) -> Sequence[Effect]:
        """A client connected to `listener`; `conn` is from `next_conn_id`."""
        engine = self._engine
        engine.now = now
        plan = engine.plan.listeners.get(listener)
        if plan is None or plan.is_closing:
            engine.effects.append(Abort(conn))
            return self._leave()
        who = plan.peer(peer)
        of_client = self._clients.get(who.ip, 0) + 1
        # A trusted proxy comes for many clients: what counts them is the limit of all connections.
        if of_client > engine.plan.limits.connections_per_client and not who.is_trusted:
            engine.effects.append(Abort(conn))
            return self._leave()
        self._clients[who.ip] = of_client
        connection = open_connection(engine, conn, plan, who)
        engine.endpoints[conn] = self._downstreams[conn] = connection
        engine.downstream_count += 1
        if engine.downstream_count >= engine.plan.limits.connections:
            self._pause_accepting(plan.name for plan in engine.plan.listeners.values())
        return self._leave()

    def accept_failed(self, listener: str, error: str, now: float) -> Sequence[Effect]:
        """The system could not accept: too many files, too little memory. Accepting pauses for a moment."""
        self._enter(ConnId(0), now)
        self._pause_accepting((listener,))
        self._accept_clock.set(now + ACCEPT_PAUSE)
        return self._leave()

    def resolved(self, lookup: LookupId, addresses: Sequence[str], now: float) -> Sequence[Effect]:
        """A look-up gave these IP addresses, as literals, the best first."""
        self._enter(ConnId(0), now)
        asker = self._engine.lookups.pop(lookup, None)
        if asker is not None:
            asker.completed(tuple(addresses))
        return self._leave()

    def resolve_failed(self, lookup: LookupId, error: str, now: float) -> Sequence[Effect]:
        """A look-up failed or was cancelled."""
        self._enter(ConnId(0), now)
        asker = self._engine.lookups.pop(lookup, None)
        if asker is not None:
            asker.failed(error)
        return self._leave()

    def call_completed(self, call: CallId, result: Any, now: float) -> Sequence[Effect]:
        """A registered function returned `result`."""
        self._enter(ConnId(0), now)
        asker = self._engine.calls.pop(call, None)
        if asker is not None:
            asker.completed(result)
        return self._leave()

    def call_failed(self, call: CallId, error: str, now: float) -> Sequence[Effect]:
        """A registered function raised, isn't registered, or was cancelled."""
        self._enter(ConnId(0), now)
        asker = self._engine.calls.pop(call, None)
        if asker is not None:
            asker.failed(error)
        return self._leave()

    def timer_expired(self, now: float) -> Sequence[Effect]:
        """`next_deadline` has come (calling it early is harmless)."""
        self._enter(ConnId(0), now)
        try:
            self._engine.timers.expire(now)
        except Exception:
            self._engine.fault("a deadline")
        return self._leave()

    def reconfigured(self, config: Config, materials: Materials | None, now: float) -> Sequence[Effect]:
        """Serve by `config` from now on. What is in flight ends under the configuration that it began with.

        Servers that stay keep their counters and connections. Listeners that are gone stop
        accepting, and their connections drain for `timeouts.drain`. New ones are bound by the
        program before this is told. Raises ConfigError, and changes nothing, where the
        configuration can't be served.
        """
        self._enter(ConnId(0), now)
        self._take(config, materials or Materials())
        return self._leave()

    def clock_adjusted(self, wall: float, now: float) -> Sequence[Effect]:
        """The time of day is `wall` at `now`: it drifted, by a suspend or a correction."""
        self._enter(ConnId(0), now)
        self._engine.wall_offset = wall - now
        return self._leave()

    def drain_requested(self, now: float, *, deadline: float) -> Sequence[Effect]:
        """Accept no more, finish what is in flight, close what is idle; at `deadline` end the rest."""
        self._enter(ConnId(0), now)
        engine = self._engine
        for plan in engine.plan.listeners.values():
            if not plan.is_closing:
                plan.is_closing = True
                engine.effects.append(StopAccepting(plan.name))
        for connection in list(self._downstreams.values()):
            connection.drain()
        for upstream in self._upstreams.values():
            upstream.close()
        self._names.keep_only(set())
        self._accept_clock.clear()
        self._is_draining = True
        self._drain_clock.set(deadline)
        return self._leave()

    # ---- queries

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._engine.plan.config

    def next_conn_id(self) -> ConnId:
        """A number for a connection that was just accepted."""
        return ConnId(self._engine.mint())

    def next_deadline(self) -> float | None:
        """When to call `timer_expired`, or None."""
        return self._engine.timers.next_deadline()

    def take_notices(self, now: float) -> list[Notice]:
        """What happened since the last time. See `notices_dropped`.

        Call it, whether or not anybody watches, whenever all effects so far have been performed and all
        facts that arose from that were told: only then is it known which exchanges are really complete.
        What filters want done in the end makes `next_deadline` come at once.
        """
        self._engine.now = now
        self._settle()
        return self._engine.take_notices()

    def watch(self, kinds: Collection[Kind]) -> None:
        """Build notices of these kinds from now on, and no others."""
        self._engine.watch = frozenset(kinds)

    @property
    def notices_dropped(self) -> int:
        """Notices that nobody took in time."""
        return self._engine.notices_dropped

    @property
    def stale_facts(self) -> int:
        """Facts about handles that were gone: races."""
        return self._engine.stale_facts

    def ledger(self) -> Ledger:
        """All that is held for connections and exchanges, counted anew. Empty when all have ended."""
        self._settle()
        clocks = (self._accept_clock, self._drain_clock, self._effects_clock)
        own = sum(clock.at != inf for clock in clocks) + self._names.armed_clocks
        upstreams = [*self._upstreams.values(), *self._leaving]
        return count(self._engine, self._downstreams.values(), upstreams, own_timers=own)

    @property
    def is_drained(self) -> bool:
        """After `drain_requested`: whether nothing is left."""
        engine = self._engine
        return not engine.endpoints and not engine.exchanges and not engine.ended

    # ---- inside

    def _enter(self, conn: ConnId, now: float) -> Endpoint | None:
        """Begin a fact."""
        engine = self._engine
        engine.now = now
        endpoint = engine.endpoints.get(conn)
        if endpoint is None and conn:
            engine.stale_facts += 1
        return endpoint

    def _settle(self) -> None:
        """Conclude exchanges in a query. What a filter then wants done leaves with the next fact, so ask for one."""
        engine = self._engine
        if engine.ended:
            engine.settle()
            if engine.effects or engine.sends or engine.dirty:
                self._effects_clock.set(engine.now)

    def _leave(self) -> Sequence[Effect]:
        return self._engine.collect()

    def _fault(self, endpoint: Endpoint) -> None:
        """An exception is our bug: it costs one connection, and says where."""
        self._engine.fault(repr(endpoint))
        endpoint.wire.abort()

    def _take(self, config: Config, materials: Materials) -> None:
        """Put a configuration in force. Nothing changes before it has been compiled whole."""
        engine = self._engine
        plan = Plan(config, materials, self._filters, self._own_filters)
        before: Plan | None = getattr(engine, "plan", None)
        engine.plan = plan
        for name, upstream in config.upstreams.items():
            state = self._upstreams.get(name)
            if state is None:
                self._upstreams[name] = UpstreamState(engine, name, upstream, self._names)
            else:
                state.reconfigure(upstream, self._names)
        for name in [name for name in self._upstreams if name not in config.upstreams]:
            gone = self._upstreams.pop(name)
            gone.close()
            self._leaving.append(gone)
        self._leaving = [upstream for upstream in self._leaving if upstream.in_flight]
        plan.upstreams = dict(self._upstreams)
        self._names.keep_only({id(server.place) for u in self._upstreams.values() for server in u.servers})
        if before is not None:
            self._replace_listeners(before, plan)
            self._review_accepting(plan)

    def _replace_listeners(self, before: Plan, plan: Plan) -> None:
        engine = self._engine
        for name, listener in before.listeners.items():
            if name not in plan.listeners and not listener.is_closing:
                listener.is_closing = True
                engine.effects.append(StopAccepting(name))
        for connection in list(self._downstreams.values()):
            connection.reconfigured(plan.listeners.get(connection.listener))
        if self._is_draining:
            for listener in plan.listeners.values():
                listener.is_closing = True
                engine.effects.append(StopAccepting(listener.name))
        elif any(listener.is_closing for listener in before.listeners.values()):
            self._drain_clock.set(engine.now + plan.timeouts.drain)

    def _end_drain(self) -> None:
        """The deadline of a drain: of everything, or of the listeners that a reload removed."""
        for connection in list(self._downstreams.values()):
            if connection.is_draining:
                connection.end_now()

    def _pause_accepting(self, listeners: Iterable[str]) -> None:
        for name in listeners:
            if name not in self._paused_listeners:
                self._paused_listeners[name] = None
                self._engine.effects.append(PauseAccepting(name))

    def _review_accepting(self, plan: Plan) -> None:
        """After a reload: the limit may be another, and a name that was paused may have a new socket."""
        if self._engine.downstream_count >= plan.limits.connections:
            self._paused_listeners.clear()
            self._pause_accepting(plan.listeners)
        elif self._paused_listeners and self._accept_clock.at == inf:
            self._resume_accepting()

    def _resume_accepting(self) -> None:
        if self._engine.downstream_count >= self._engine.plan.limits.connections:
            return
        for name in self._paused_listeners:
            if name in self._engine.plan.listeners:
                self._engine.effects.append(ResumeAccepting(name))
        self._paused_listeners.clear()

    def _forget_client(self, connection: ClientConnection) -> None:
        """A client's connection is gone: it counts no more, and others may be accepted again."""
        self._engine.downstream_count -= 1
        client = connection.peer.ip
        remaining = self._clients.get(client, 0) - 1
        if remaining > 0:
            self._clients[client] = remaining
        else:
            self._clients.pop(client, None)
        if self._paused_listeners and self._accept_clock.at == inf:
            self._resume_accepting()


def _do_nothing() -> None:
    """That the time has come is enough: `timer_expired` returns the effects that wait."""

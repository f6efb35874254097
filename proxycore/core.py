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

from collections.abc import Callable, Collection, Sequence
from functools import partial
from math import inf
from typing import Any, TypeVar

from proxycore.composition import own_requests
from proxycore.composition.admission import Admission
from proxycore.composition.clients import open_connection
from proxycore.composition.dialer import Names
from proxycore.composition.draining import Draining
from proxycore.composition.engine import Endpoint, Engine
from proxycore.composition.filters import Filter
from proxycore.composition.ledger import Ledger, count
from proxycore.composition.overview import Overview, overview
from proxycore.composition.plan import Plan
from proxycore.composition.upstreams import UpstreamState
from proxycore.config import Config
from proxycore.config.materials import Materials
from proxycore.filters.order import OwnFilters
from proxycore.mechanisms.timers import Timer
from proxycore.policies import operating
from proxycore.words.commands import Command, CommandRefused, Purge, ServerCommand
from proxycore.words.effects import Abort, Effect, StopAccepting
from proxycore.words.ids import Address, CallId, ConnId, LookupId
from proxycore.words.notices import Kind, Notice

_Told = TypeVar("_Told")
_Connection = TypeVar("_Connection", bound=Endpoint)


class Core:
    """A whole proxy without its sockets.

    `wall` is seconds since the epoch at `now`; `seed` decides every chance it takes, `entropy(n)`
    gives n unpredictable bytes for what must not be guessed. `watch` names the notices to build.
    Filters serve every exchange, in this order, after those that the configuration asks for.
    `like` is another core of the same configuration: what that one knows of servers, limits and caches, this
    one knows from the first, to tell what that one would do.
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
        like: Core | None = None,
    ) -> None:
        self._engine = engine = Engine(now=now, wall=wall, seed=seed, entropy=entropy, watch=watch)
        engine.fetch = partial(own_requests.begin, engine)
        engine.repeat = partial(own_requests.repeat, engine)
        engine.take_over = partial(own_requests.take_over, engine)
        self._filters = tuple(filters)
        self._own_filters: OwnFilters = (
            OwnFilters(entropy) if like is None else like._own_filters.twin(like.config, entropy)
        )
        self._upstreams: dict[str, UpstreamState] = {}
        self._leaving: list[UpstreamState] = []
        self._names = Names(engine)
        self._admission = Admission(engine)
        self._draining = Draining(engine)
        self._effects_clock = Timer(engine.timers, _do_nothing)
        self._is_draining = False
        self._take(config, materials or Materials())
        if like is not None:
            for name, upstream in like._upstreams.items():
                if name in self._upstreams:
                    self._upstreams[name].recall(upstream)

    # ---- facts

    def data_received(self, conn: ConnId, data: bytes, now: float) -> Sequence[Effect]:
        """`data` arrived on `conn`: at least one byte."""
        # What `_tell` does, without the call: two of these facts make an exchange.
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
        return self._tell(self._engine.endpoints.get(conn), now, lambda endpoint: endpoint.eof_received())

    def peer_ended(self, conn: ConnId, now: float) -> Sequence[Effect]:
        """The peer shut its writing side while we don't read, with bytes of it still unread.

        `eof_received` follows once they were read. A client that waits behind its own upload has left.
        """
        return self._tell(self._engine.endpoints.get(conn), now, lambda endpoint: endpoint.peer_ended())

    def writing_paused(self, conn: ConnId, now: float) -> Sequence[Effect]:
        """The kernel refused bytes of a `Send`: some wait in the driver.

        Tell it again whenever some of them have left and others still wait: the send clock
        starts anew.
        """
        return self._tell(self._engine.endpoints.get(conn), now, lambda endpoint: endpoint.wire.writing_paused())

    def writing_resumed(self, conn: ConnId, now: float) -> Sequence[Effect]:
        """No bytes wait in the driver any more."""
        return self._tell(self._engine.endpoints.get(conn), now, lambda endpoint: endpoint.wire.writing_resumed())

    def connection_lost(self, conn: ConnId, error: str | None, now: float) -> Sequence[Effect]:
        """The last fact of a connection: closed by us (None), or broken (`error`, an errno's name)."""
        self._engine.now = now
        client = self._engine.clients.pop(conn, None)
        if client is not None:
            self._admission.leave(client.peer)
            self._draining.leave(conn)
        endpoint = self._engine.endpoints.pop(conn, None)
        return self._tell_last(endpoint, now, lambda endpoint: endpoint.connection_lost(error))

    def connected(self, conn: ConnId, local: Address, peer: Address, now: float) -> Sequence[Effect]:
        """A dial succeeded."""
        return self._tell(self._engine.dialled.pop(conn, None), now, lambda dialled: dialled.connected(local, peer))

    def connect_failed(self, conn: ConnId, error: str, now: float) -> Sequence[Effect]:
        """A dial failed, or was aborted: the last fact of that connection. `error` is an errno's name."""
        self._engine.endpoints.pop(conn, None)
        dialled = self._engine.dialled.pop(conn, None)
        return self._tell_last(dialled, now, lambda dialled: dialled.connect_failed(error))

    def accepted(self, conn: ConnId, listener: str, peer: Address, local: Address, now: float) -> Sequence[Effect]:
        """A client connected to `listener`; `conn` is from `next_conn_id`."""
        engine = self._engine
        engine.now = now
        plan = engine.plan.listeners.get(listener)
        who = None if plan is None or plan.is_closing else plan.peer(peer)
        if plan is None or who is None or not self._admission.admit(who):
            engine.effects.append(Abort(conn))
        else:
            engine.hand_over(conn, open_connection(engine, conn, plan, who))
        return engine.collect()

    def accept_failed(self, listener: str, error: str, now: float) -> Sequence[Effect]:
        """The system could not accept: too many files, too little memory. Accepting pauses for a moment."""
        self._engine.now = now
        self._admission.failed(listener)
        return self._engine.collect()

    def resolved(self, lookup: LookupId, addresses: Sequence[str], now: float) -> Sequence[Effect]:
        """A look-up gave these IP addresses, as literals, the best first."""
        asker = self._engine.lookups.pop(lookup, None)
        return self._tell_last(asker, now, lambda asker: asker.completed(tuple(addresses)))

    def resolve_failed(self, lookup: LookupId, error: str, now: float) -> Sequence[Effect]:
        """A look-up failed or was cancelled."""
        return self._tell_last(self._engine.lookups.pop(lookup, None), now, lambda asker: asker.failed(error))

    def call_completed(self, call: CallId, result: Any, now: float) -> Sequence[Effect]:
        """A registered function returned `result`."""
        return self._tell_last(self._engine.calls.pop(call, None), now, lambda asker: asker.completed(result))

    def call_failed(self, call: CallId, error: str, now: float) -> Sequence[Effect]:
        """A registered function raised, isn't registered, or was cancelled."""
        return self._tell_last(self._engine.calls.pop(call, None), now, lambda asker: asker.failed(error))

    def timer_expired(self, now: float) -> Sequence[Effect]:
        """`next_deadline` has come (calling it early is harmless)."""
        engine = self._engine
        engine.now = now
        try:
            engine.timers.expire(now)
        except Exception:
            engine.fault("a deadline")
        return engine.collect()

    def reconfigured(self, config: Config, materials: Materials | None, now: float) -> Sequence[Effect]:
        """Serve by `config` from now on. What is in flight ends under the configuration that it began with.

        Servers that stay keep their counters and connections. Listeners that are gone stop
        accepting, and their connections drain for `timeouts.drain`. New ones are bound by the
        program before this is told. Raises ConfigError, and changes nothing, where the
        configuration can't be served.
        """
        self._engine.now = now
        self._take(config, materials or Materials())
        return self._engine.collect()

    def commanded(self, command: Command, now: float) -> Sequence[Effect]:
        """Do what an operator orders. Raises CommandRefused, and changes nothing, where that makes no sense."""
        self._engine.now = now
        if isinstance(command, Purge):
            self._own_filters.purge(command)
            return self._engine.collect()
        upstream = self._upstreams.get(command.upstream)
        if upstream is None:
            raise CommandRefused(f'there is no upstream "{command.upstream}"')
        upstream.command(command)
        self._keep_names()
        return self._engine.collect()

    def clock_adjusted(self, wall: float, now: float) -> Sequence[Effect]:
        """The time of day is `wall` at `now`: it drifted, by a suspend or a correction."""
        self._engine.now = now
        self._engine.wall_offset = wall - now
        return self._engine.collect()

    def drain_requested(self, now: float, *, deadline: float) -> Sequence[Effect]:
        """Accept no more, finish what is in flight, close what is idle; at `deadline` end the rest."""
        engine = self._engine
        engine.now = now
        for plan in engine.plan.listeners.values():
            if not plan.is_closing:
                plan.is_closing = True
                engine.effects.append(StopAccepting(plan.name))
        for connection in list(engine.clients.values()):
            connection.drain()
        self._draining.begin_all(deadline)
        for upstream in self._upstreams.values():
            upstream.close()
        self._names.keep_only(set())
        self._admission.close()
        self._is_draining = True
        return self._engine.collect()

    # ---- queries

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._engine.plan.config

    @property
    def filters(self) -> Sequence[Filter]:
        """The user's, as they were given."""
        return self._filters

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

    def orders(self) -> list[ServerCommand]:
        """What an operator ordered of servers, as commands that bring another core to the same."""
        return [
            command
            for name, upstream in self._upstreams.items()
            for command in operating.commands(name, upstream.orders, upstream.config.servers)
        ]

    def ledger(self) -> Ledger:
        """All that is held for connections and exchanges, counted anew. Empty when all have ended.

        Like `take_notices` it concludes the exchanges that have ended: never ask between a fact and its effects.
        """
        self._settle()
        own = self._admission.is_waiting + self._draining.is_waiting + (self._effects_clock.at != inf)
        own += self._names.armed_clocks
        own += sum(upstream.armed_clocks for upstream in self._upstreams.values())
        return count(self._engine, self.upstream_states(), own_timers=own)

    @property
    def engine(self) -> Engine:
        """What all parts share, for checkers and for tools that explain: to be read. No promise of the public API."""
        return self._engine

    def upstream_states(self) -> list[UpstreamState]:
        """Those of the configuration, and those that a reload took away and whose exchanges go on. Like `engine`."""
        return [*self._upstreams.values(), *self._leaving]

    @property
    def admitted(self) -> int:
        """Connections of clients, as `limits.connections` counts them."""
        return self._admission.count

    def overview(self) -> Overview:
        """Listeners, routes, upstreams and caches as they stand. Walks all tables: once a second is enough."""
        return overview(
            self._engine.plan.config,
            self._upstreams,
            self._engine.clients.values(),
            exchanges=len(self._engine.exchanges),
            is_draining=self._is_draining,
            limits=self._own_filters.limits(self._engine.plan.config),
            rules=self._own_filters.rules(),
            caches=self._own_filters.caches(),
        )

    @property
    def is_drained(self) -> bool:
        """After `drain_requested`: whether nothing is left."""
        engine = self._engine
        return not engine.endpoints and not engine.exchanges and not engine.ended

    # ---- inside

    def _tell(
        self, connection: _Connection | None, now: float, tell: Callable[[_Connection], None]
    ) -> Sequence[Effect]:
        """A fact about a connection. An exception is our bug: it costs that one connection, and says where."""
        engine = self._engine
        engine.now = now
        if connection is None:
            engine.stale_facts += 1
        else:
            try:
                tell(connection)
            except Exception:
                self._fault(connection)
        return engine.collect()

    def _tell_last(self, told: _Told | None, now: float, tell: Callable[[_Told], None]) -> Sequence[Effect]:
        """The last fact of a handle, whose number is out of the tables already."""
        engine = self._engine
        engine.now = now
        if told is None:
            engine.stale_facts += 1
        else:
            try:
                tell(told)
            except Exception:
                engine.fault(repr(told))
        return engine.collect()

    def _fault(self, endpoint: Endpoint) -> None:
        self._engine.fault(repr(endpoint))
        endpoint.wire.abort()

    def _settle(self) -> None:
        """Conclude exchanges in a query. What a filter then wants done leaves with the next fact, so ask for one."""
        engine = self._engine
        if engine.ended:
            engine.settle()
            if engine.effects or engine.sends or engine.dirty:
                self._effects_clock.set(engine.now)

    def _take(self, config: Config, materials: Materials) -> None:
        """Put a configuration in force. Nothing changes before it has been compiled whole."""
        engine = self._engine
        plan = Plan(config, materials, self._filters, self._own_filters)
        self._own_filters.reconfigured(config)
        before: Plan | None = getattr(engine, "plan", None)
        engine.plan = plan
        for name, upstream in config.upstreams.items():
            state = self._upstreams.get(name)
            if state is None:
                self._upstreams[name] = UpstreamState(engine, name, upstream, self._names, plan.affinities.get(name))
            else:
                state.reconfigure(upstream, plan.affinities.get(name))
        for name in [name for name in self._upstreams if name not in config.upstreams]:
            gone = self._upstreams.pop(name)
            gone.close()
            self._leaving.append(gone)
        self._leaving = [upstream for upstream in self._leaving if upstream.in_flight]
        plan.upstreams = dict(self._upstreams)
        self._keep_names()
        if before is not None:
            self._replace_listeners(before, plan)
            self._admission.reconfigured()

    def _keep_names(self) -> None:
        serving = () if self._is_draining else self._upstreams.values()
        self._names.keep_only({id(name) for upstream in serving for name in upstream.places()})

    def _replace_listeners(self, before: Plan, plan: Plan) -> None:
        engine = self._engine
        for name, old in before.listeners.items():
            if name not in plan.listeners and not old.is_closing:
                old.is_closing = True
                engine.effects.append(StopAccepting(name))
        for conn, connection in list(engine.clients.items()):
            listener = plan.listeners.get(connection.listener)
            if listener is None:
                self._draining.begin(conn, engine.now + plan.timeouts.drain)
            connection.reconfigured(listener)
        if self._is_draining:
            for new in plan.listeners.values():
                new.is_closing = True
                engine.effects.append(StopAccepting(new.name))


def _do_nothing() -> None:
    """That the time has come is enough: `timer_expired` returns the effects that wait."""

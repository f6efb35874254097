"""The groups of servers that we send to: who has room, who waits, which connections are kept, who is well.

An exchange asks its `UpstreamState` for a lease. It gets a connection that is idle, or one that is
being dialled, or a place in the queue, or a failure. Nothing here asks a connection for its state:
a server knows its leases, its connections and its idle ones, because every change passes through
the methods below. All of them cost the same whatever number of exchanges wait.

Which servers there are comes from three places, laid over each other: the configuration, an operator's
orders, and the addresses that names have. A change of any leads through `_follow`, where servers that stay
keep all their state. Who of them may be picked comes from the orders and each server's `Health`; a change there
is noted and told at once, and the balancer learns of it at the next pick: many changes cost one rebuild.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import islice
from math import inf
from random import Random
from typing import TYPE_CHECKING, NamedTuple, overload

from proxycore.composition.checks import Checks
from proxycore.composition.tls_upstream import ServerTls
from proxycore.composition.upstream import UpstreamConnection
from proxycore.config import UNLIMITED, HealthCheck, Server, Upstream
from proxycore.mechanisms.timers import Timer
from proxycore.policies.affinity import StickyCookie
from proxycore.policies.balancing.balancers import make_balancer
from proxycore.policies.balancing.tiers import Balancer
from proxycore.policies.health import Health, may_eject, next_warmer, warmth
from proxycore.policies.operating import NOTHING, Mode, Orders, kept, obey, standing
from proxycore.policies.retrying import RetryBudget
from proxycore.policies.trace import Trace
from proxycore.words.commands import CommandRefused, ServerCommand
from proxycore.words.errors import Failure
from proxycore.words.notices import ServerChanged

if TYPE_CHECKING:
    from proxycore.composition.attempts import Attempts
    from proxycore.composition.dialer import Name, Names
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.sides import UpstreamSide
    from proxycore.mechanisms.tls import TlsSession


ASKED = 4
"""Exchanges at the head of the queue that are asked, when a place is free, whether they can use it."""


SPARE = 1.0
"""Seconds for which idle connections above `idle_connections` are kept."""

_OURS = frozenset(("proxy_internal_error", "connection_limit_reached"))
"""Errors of a try that say nothing of the server."""


class Member(NamedTuple):
    """A server as it shall be: `key` tells it from others over changes."""

    key: tuple[str, str]
    name: str
    config: Server
    mode: Mode
    place: Name


class ServerState:
    """One server at run time.

    `active` counts its leases, `connections` what is open or being dialled; `is_full` says that it
    takes no more leases, `available` that it may be picked, `state` and `reason` why it may not;
    `most_idle` is how many idle connections it keeps at present; `tls` how to speak TLS with it, None
    to speak without.
    """

    __slots__ = (
        "active",
        "available",
        "backup",
        "checks",
        "config",
        "connections",
        "full_weight",
        "health",
        "host",
        "idle",
        "index",
        "is_full",
        "is_removed",
        "key",
        "max_connections",
        "mode",
        "most_idle",
        "name",
        "place",
        "tls",
        "upstream",
        "warm_since",
        "weight",
    )

    def __init__(self, upstream: UpstreamState, member: Member, index: int, warm_since: float) -> None:
        self.upstream = upstream
        self.key = member.key
        self.active = 0
        self.connections = 0
        self.available = True
        self.index = index
        self.is_removed = False
        self.idle: dict[UpstreamConnection, None] = {}
        self.health = Health(upstream.config.health_check, upstream.config.outliers)
        self.warm_since = warm_since
        self.mode: Mode = "enabled"
        self.checks: Checks | None = None
        self.take(member)

    def take(self, member: Member) -> None:
        """Be as `member` says from now on."""
        self.place = member.place
        self.config = config = member.config
        self.name = member.name
        url = config.parsed_url
        self.host = url.authority.encode()
        self.tls: ServerTls | None = None
        if url.scheme == "https" and self.upstream.tls is not None:
            self.tls = ServerTls(self.upstream.tls, self.upstream.config.tls.server_name or url.host)
        self.full_weight = self.weight = float(config.weight)
        self.backup = config.backup
        self.max_connections = config.max_connections
        self.is_full = self.active >= config.max_connections
        if member.mode != self.mode:
            self.mode = member.mode
            if self.mode != "enabled":
                self.close_idle()
            self.upstream.changed(self, self.state, "an operator's command")
        self.most_idle = self.upstream.config.idle_connections if self.mode == "enabled" else 0

    def check(self, engine: Engine, config: HealthCheck | None) -> None:
        """Be checked as `config` says from now on, or not at all."""
        if self.checks is not None and self.checks.config != config:
            self.checks.stop()
            self.checks = None
        if self.checks is None and config is not None:
            self.checks = Checks(engine, self, config)

    def remove(self) -> None:
        """It is one of the upstream's servers no more: leases end by themselves, idle connections now."""
        self.is_removed = True
        self.most_idle = 0
        self.close_idle()
        if self.checks is not None:
            self.checks.stop()

    @property
    def state(self) -> str:
        """`up`, `down`, `ejected`, `drained` or `disabled`: what an operator ordered, else what its health is."""
        return self.health.state if self.mode == "enabled" else self.mode

    @property
    def reason(self) -> str:
        if self.mode != "enabled":
            return f"{self.mode} by an operator"
        if self.health.state != "up":
            return f"{self.health.state}: {self.health.reason}"
        return "" if self.full_weight else "its weight is 0"

    @property
    def takes_sessions(self) -> bool:
        """Whether sessions that it has may go on here."""
        affinity = self.upstream.affinity
        if self.mode == "enabled" or (self.mode == "drained" and affinity is not None and affinity.while_draining):
            return self.available or self.health.state == "up"
        return False

    def failed(self, failure: Failure) -> None:
        """Live traffic met a failure here. It counts where it speaks of the server."""
        if failure.error not in _OURS:
            self.misbehaved(f"{failure.error} ({failure.detail})", refused=failure.error == "connection_refused")

    def misbehaved(self, how: str, *, refused: bool = False) -> None:
        """Live traffic met what counts as a failure."""
        upstream = self.upstream
        may = may_eject(upstream.ejected, len(upstream.servers), upstream.config.outliers)
        self._judged(self.health.failed(how, upstream.now, refused=refused, may_eject=may), was_ejected=False)
        if self.checks is not None and self.health.state == "ejected":
            self.checks.hurry()

    def checked(self, error: str, began: float) -> None:
        """A check that was begun at `began` has ended: well if `error` is empty."""
        was_ejected = self.health.state == "ejected"
        self._judged(self.health.checked(error, self.upstream.now, began=began), was_ejected=was_ejected)

    def reconfigure(self, config: Upstream) -> None:
        """Be judged by other rules."""
        was_ejected = self.health.state == "ejected"
        changed = self.health.reconfigure(config.health_check, config.outliers, self.upstream.now)
        self._judged(changed, was_ejected=was_ejected)

    def time_passed(self, now: float) -> None:
        """An ejection may be over."""
        if self.health.state == "ejected":
            self._judged(self.health.expired(now), was_ejected=True)

    def _judged(self, changed: bool, *, was_ejected: bool) -> None:
        if changed and not self.is_removed:
            self.upstream.ejected += (self.health.state == "ejected") - was_ejected
            self.upstream.health_changed(self)

    def next_change(self, now: float, slow_start: float) -> float:
        """When time alone will change something here; inf if it won't."""
        if self.health.state == "ejected":
            return self.health.until
        return next_warmer(now, self.warm_since, slow_start)

    def keep(self, connection: UpstreamConnection) -> float:
        """Keep an idle connection: for how many seconds, 0.0 for not at all.

        Those above `idle_connections` are kept for a moment only. Answers come in bursts, and the next
        requests with them: closing the excess at once would dial it again at once.
        """
        if not self.most_idle:
            return 0.0
        self.idle[connection] = None
        timeout = self.upstream.config.idle_timeout
        return timeout if len(self.idle) <= self.most_idle else min(timeout, SPARE)

    def forget(self, connection: UpstreamConnection) -> None:
        """An idle connection is closing."""
        del self.idle[connection]

    def close_idle(self) -> None:
        for connection in list(self.idle):
            connection.retire()

    def __repr__(self) -> str:
        return (
            f"ServerState({self.upstream.name}/{self.name}, {self.state}, active={self.active}, "
            f"idle={len(self.idle)}, connections={self.connections}, available={self.available})"
        )


class UpstreamState:
    """One upstream at run time: its servers, its balancing, and the exchanges that wait for room.

    `ejected` counts the servers that live traffic took out, `bad_statuses` are those that do.
    """

    __slots__ = (
        "_added",
        "_by_name",
        "_clock",
        "_engine",
        "_follows_load",
        "_is_stale",
        "_key",
        "_names",
        "affinity",
        "bad_statuses",
        "balancer",
        "budget",
        "config",
        "ejected",
        "in_flight",
        "is_closing",
        "name",
        "orders",
        "queue",
        "servers",
        "tls",
    )

    def __init__(
        self, engine: Engine, name: str, config: Upstream, names: Names, affinity: StickyCookie | None = None
    ) -> None:
        self._engine = engine
        self._names = names
        self._clock = Timer(engine.timers, self._time_passed)
        self.queue: OrderedDict[int, Exchange] = OrderedDict()
        self.name = name
        self.in_flight = 0
        self.is_closing = False
        self.ejected = 0
        self.orders: Orders = NOTHING
        self._added = 0
        self._by_name: dict[str, ServerState] = {}
        self.budget = RetryBudget(config.retries.budget, engine.now)
        self.servers: list[ServerState] = []
        self.config = config
        self.tls: Callable[..., TlsSession] | None = None
        self.balancer: Balancer = make_balancer(config.balance, engine.random)
        self.reconfigure(config, affinity)

    # ---- which servers there are

    def reconfigure(self, config: Upstream, affinity: StickyCookie | None = None) -> None:
        """Take a new configuration over. Servers that stay keep all that is known of them, a policy its turns."""
        if config.balance != self.config.balance:
            self.balancer = make_balancer(config.balance, self._engine.random)
        self.orders = kept(self.orders, config.servers, self.config.servers)
        self.config = config
        # A server that an operator added may still need what the configuration asks for no more.
        self.tls = self._engine.plan.dialling_tls.get(self.name, self.tls)
        self.affinity = affinity
        self._key = _key_of(config)
        self.budget.share = config.retries.budget
        ranges = config.outliers.statuses
        self.bad_statuses = frozenset(status for status in range(200, 600) if any(status in r for r in ranges))
        for server in self.servers:
            server.reconfigure(config)
        self._follow()

    def command(self, command: ServerCommand) -> None:
        """Do what an operator ordered. Raises CommandRefused, and changes nothing, where that makes no sense."""
        orders = obey(self.orders, self.config.servers, command)
        if self.tls is None and not self._engine.plan.tls_is_outside:
            for server, _ in standing(self.config.servers, orders):
                if server.scheme == "https":
                    raise CommandRefused("no server of this upstream has https yet: add the first in the configuration")
        self.orders = orders
        self._follow()

    def _follow(self) -> None:
        """Have the servers that the configuration, the orders and the names say."""
        if self.is_closing:
            return
        staying = {server.key: server for server in self.servers}
        is_first = not staying
        servers = self.servers = []
        for member in self._members():
            server = staying.pop(member.key, None)
            if server is None:
                # A server that joins others starts slowly; the first ones have nobody to leave their load to.
                server = ServerState(self, member, self._added, -inf if is_first else self.now)
                self._added += 1
                if not is_first:
                    self.changed(server, "added", "")
            else:
                server.take(member)
            server.check(self._engine, self.config.health_check)
            servers.append(server)
        for gone in staying.values():
            gone.remove()
            self.changed(gone, "removed", "")
        self.ejected = sum(server.health.state == "ejected" for server in servers)
        self._by_name = {server.name: server for server in servers}
        if self.affinity is not None:
            self.affinity.know(self._by_name)
        self._is_stale = True
        self._set_clock()
        self.serve_queue()

    def _members(self) -> Iterator[Member]:
        for server, mode in standing(self.config.servers, self.orders):
            place = self._names.place(server)
            if server.resolve == "all":
                place.follow(self._follow)
            if server.resolve == "one" or not place.addresses:
                # Before its first answer a name is one server, and who is sent to it waits for that answer.
                yield Member((server.name, server.url), server.name, server, mode, place)
                continue
            for address in place.addresses:
                name = f"{server.name}@{address[0]}"
                yield Member((name, server.url), name, server, mode, self._names.literal(address))

    def recall(self, other: UpstreamState) -> None:
        """Know what `other`, the same upstream in another core, knows of its servers and their load."""
        self.orders = other.orders
        self.in_flight = other.in_flight
        self._follow()
        for server in self.servers:
            known = other._by_name.get(server.name)
            if known is not None:
                server.health = copy(known.health)
                server.active = known.active
                server.is_full = known.is_full
                server.warm_since = known.warm_since
        self.ejected = other.ejected

    def places(self) -> list[Name]:
        """The names and addresses in use."""
        return [self._names.place(server) for server, _ in standing(self.config.servers, self.orders)]

    def close(self) -> None:
        """No route leads here any more: leases end by themselves, idle connections now."""
        self.is_closing = True
        self._clock.drop()
        for server in self.servers:
            server.most_idle = 0
            server.close_idle()
            server.check(self._engine, None)

    # ---- who of them may be picked

    @property
    def now(self) -> float:
        return self._engine.now

    @property
    def random(self) -> Random:
        return self._engine.random

    @property
    def armed_clocks(self) -> int:
        """Clocks of its own, that no exchange waits for."""
        checks = sum(server.checks.armed_clocks for server in self.servers if server.checks is not None)
        return checks + (self._clock.at != inf)

    def health_changed(self, server: ServerState) -> None:
        """The verdict on `server` is another one."""
        if server.health.state == "up":
            server.warm_since = self.now
        if server.mode == "enabled":
            self.changed(server, server.health.state, server.health.reason)
        if server.health.state == "up":
            self.serve_queue()

    def changed(self, server: ServerState, state: str, reason: str) -> None:
        """Something about `server` changed: tell who watches, and the balancer before it picks again."""
        self._is_stale = True
        if not self.is_closing:
            self._clock.set(min(self._clock.at, server.next_change(self.now, self.config.slow_start)))
        if "servers" in self._engine.watch:
            self._engine.notify(ServerChanged(self._engine.wall, self.name, server.name, state, reason))

    def _time_passed(self) -> None:
        self._is_stale = True
        for server in self.servers:
            server.time_passed(self.now)
        self._set_clock()

    def _set_clock(self) -> None:
        slow_start = self.config.slow_start
        self._clock.set(min((s.next_change(self.now, slow_start) for s in self.servers), default=inf))

    def _refresh(self) -> None:
        """Tell the balancer who may be picked. With all gone that live traffic took out, all of those are tried."""
        self._is_stale = False
        slow_start, now = self.config.slow_start, self.now
        for server in self.servers:
            server.available = server.state == "up" and server.full_weight > 0
            server.weight = server.full_weight * warmth(now - server.warm_since, slow_start)
        if not any(server.available for server in self.servers):
            for server in self.servers:
                server.available = server.state == "ejected" and server.full_weight > 0
        self.balancer.rebuild(self.servers)
        self._follows_load = self.balancer.follows_load

    def candidates(self, attempts: Attempts) -> Sequence[ServerState]:
        """The servers that could take the next of these tries now, in the order of the configuration."""
        if self._is_stale:
            self._refresh()
        return Candidates(self.servers, attempts.tried)

    # ---- leases

    def lease(
        self, exchange: Exchange, attempts: Attempts, server: ServerState | None = None
    ) -> UpstreamSide | Failure | None:
        """A lease for the next of its `attempts`, of `server` if given; or a failure; or None: it was queued.

        A lease that isn't `is_ready` tells the exchange `lease_ready` or `upstream_failed`. A queued
        exchange is told `room`, or leaves by `leave_queue`.
        """
        if self._is_stale:
            self._refresh()
        if server is None:
            chosen = self._choose(exchange, attempts.tried)
            if not isinstance(chosen, ServerState):
                return chosen
            server = chosen
        server.active += 1
        if server.active >= server.max_connections:
            server.is_full = True
        if self._follows_load or server.is_full:
            self.balancer.started(server)
        if server.idle and not attempts.wants_fresh:
            # The one that was used last: the least likely to have been closed by the server meanwhile.
            connection, _ = server.idle.popitem()
            connection.lease_to(exchange)
        else:
            server.connections += 1
            connection = UpstreamConnection(self._engine, server)
            connection.dial(exchange)
        return connection

    def _choose(self, exchange: Exchange, tried: Sequence[ServerState]) -> ServerState | Failure | None:
        """The server for `exchange`: that of its session, else the balancer's."""
        if exchange.trace is not None:
            self._tell_load(exchange.trace)
        if self.affinity is not None:
            name = self.affinity.server_of(exchange.request.headers)
            if name is not None:
                server = self._by_name.get(name)
                if server is not None and server.takes_sessions and server not in tried:
                    if exchange.trace is not None:
                        exchange.trace.add("balance", "chosen", name, "its session is there")
                    return self._wait_in_queue(exchange) if server.is_full else server
                if self.affinity.on_failure == "error":
                    return _nowhere("the session's server is gone")
        key = None if self._key is None else self._key(exchange)
        picked = self.balancer.pick(key, tried, exchange.trace)
        if picked is None:
            return self._queue_or_fail(exchange, tried)
        assert isinstance(picked, ServerState)
        return picked

    def _tell_load(self, trace: Trace) -> None:
        most = self.config.max_exchanges
        limit = "" if most >= UNLIMITED else f" of {most}"
        trace.add(
            "upstream", "asked", self.name, f"{self.in_flight}{limit} in flight with this one, {len(self.queue)} wait"
        )

    def _queue_or_fail(self, exchange: Exchange, tried: Sequence[ServerState]) -> Failure | None:
        if exchange.id in self.queue or any(s.available and s not in tried for s in self.servers):
            return self._wait_in_queue(exchange)
        if tried:
            return _nowhere("every server was tried")
        reasons = [f"{server.name} is {server.reason}" for server in self.servers]
        return _nowhere(f"no server is available: {'; '.join(reasons[:3])}")

    def _wait_in_queue(self, exchange: Exchange) -> Failure | None:
        if exchange.id in self.queue:
            return None
        if len(self.queue) >= self.config.queue:
            return Failure("queue", "connection_limit_reached", status=503, resend="never", detail="the queue is full")
        self.queue[exchange.id] = exchange
        return None

    def has_another(self, attempts: Attempts) -> bool:
        """Whether there is a server where none of these tries was yet, the one where it is included."""
        return any(s.available and s is not attempts.server and s not in attempts.tried for s in self.servers)

    def leave_queue(self, exchange: Exchange) -> None:
        self.queue.pop(exchange.id, None)

    def ended(self, server: ServerState, first_byte_seconds: float | None) -> None:
        """A lease ended; call `serve_queue` once the books of its connection are closed."""
        was_full = server.is_full
        server.active -= 1
        if was_full:
            server.is_full = server.active >= server.max_connections
        if self._follows_load or was_full:
            self.balancer.ended(server, first_byte_seconds)

    def serve_queue(self) -> None:
        """A lease ended: let those who waited longest try again. One that can't take its place keeps its own.

        A few are asked, not one: the first may have tried already what is free now.
        """
        while self.queue:
            asked = list(islice(self.queue.values(), ASKED))
            if not any(exchange.room() for exchange in asked):
                return

    def __repr__(self) -> str:
        return f"UpstreamState({self.name}, queue={len(self.queue)}, {self.servers!r})"


def _nowhere(detail: str) -> Failure:
    return Failure("connect", "destination_unavailable", status=503, resend="never", detail=detail)


class Candidates(Sequence[ServerState]):
    """The servers that may be used, found as they are asked for: most policies look at few of many."""

    __slots__ = ("_found", "_servers", "_tried")

    def __init__(self, servers: Sequence[ServerState], tried: Sequence[ServerState]) -> None:
        self._servers = servers
        self._tried = tried
        self._found: list[ServerState] | None = None

    def __contains__(self, server: object) -> bool:
        return isinstance(server, ServerState) and not server.is_removed and self._may_be_used(server)

    def _may_be_used(self, server: ServerState) -> bool:
        return server.available and not server.is_full and server not in self._tried

    def _all(self) -> list[ServerState]:
        if self._found is None:
            self._found = [*filter(self._may_be_used, self._servers)]
        return self._found

    def __iter__(self) -> Iterator[ServerState]:
        return filter(self._may_be_used, self._servers)

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, position: int) -> ServerState: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[ServerState]: ...
    def __getitem__(self, position: int | slice) -> ServerState | Sequence[ServerState]:
        return self._all()[position]

    def __repr__(self) -> str:
        return f"Candidates({self._all()!r})"


def _key_of(config: Upstream) -> Callable[[Exchange], bytes | None] | None:
    """What the upstream's hash policy goes by, None where a request lacks it; None for one that looks at no key."""
    if config.balance == "client_ip_hash":
        return lambda exchange: exchange.client.ip.encode()
    if config.balance == "uri_hash":
        return lambda exchange: exchange.request.target.partition(b"?")[0]
    if config.balance == "header_hash" and config.hash_header is not None:
        name = config.hash_header.lower().encode()
        return lambda exchange: exchange.request.headers.get(name)
    return None

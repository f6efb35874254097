"""The groups of servers that we send to: who has room, who waits, which connections are kept.

An exchange asks its `UpstreamState` for a lease. It gets a connection that is idle, or one that is
being dialled, or a place in the queue, or a failure. Nothing here asks a connection for its state:
a server knows its leases, its connections and its idle ones, because every change passes through
the methods below. All of them cost the same whatever number of exchanges wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from proxycore.composition.upstream import UpstreamConnection
from proxycore.config import Server, Upstream
from proxycore.policies.balancing import Balancer, make_balancer
from proxycore.policies.retrying import RetryBudget
from proxycore.words.errors import Failure

if TYPE_CHECKING:
    from proxycore.composition.attempts import Attempts
    from proxycore.composition.dialer import Name, Names
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.sides import UpstreamSide


ASKED = 4
"""Exchanges at the head of the queue that are asked, when a place is free, whether they can use it."""


SPARE = 1.0
"""Seconds for which idle connections above `idle_connections` are kept."""


class ServerState:
    """One server at run time.

    `active` counts its leases, `connections` what is open or being dialled; `is_full` says that it
    takes no more leases.
    """

    __slots__ = (
        "active",
        "available",
        "backup",
        "config",
        "connections",
        "host",
        "idle",
        "index",
        "is_full",
        "is_removed",
        "max_connections",
        "name",
        "place",
        "upstream",
        "weight",
    )

    def __init__(self, upstream: UpstreamState, config: Server, index: int, place: Name) -> None:
        self.upstream = upstream
        self.place = place
        self.active = 0
        self.connections = 0
        self.available = True
        self.index = index
        self.is_removed = False
        self.idle: dict[UpstreamConnection, None] = {}
        self.reconfigure(config)

    def reconfigure(self, config: Server) -> None:
        self.config = config
        self.name = config.name
        self.host = config.parsed_url.authority.encode()
        self.weight = float(config.weight)
        self.backup = config.backup
        self.max_connections = config.max_connections
        self.is_full = self.active >= config.max_connections

    def keep(self, connection: UpstreamConnection) -> float:
        """Keep an idle connection: for how many seconds, 0.0 for not at all.

        Those above `idle_connections` are kept for a moment only. Answers come in bursts, and the next
        requests with them: closing the excess at once would dial it again at once.
        """
        config = self.upstream.config
        if not config.idle_connections or self.upstream.is_closing or self.is_removed:
            return 0.0
        self.idle[connection] = None
        return config.idle_timeout if len(self.idle) <= config.idle_connections else min(config.idle_timeout, SPARE)

    def forget(self, connection: UpstreamConnection) -> None:
        """An idle connection is closing."""
        del self.idle[connection]

    def close_idle(self) -> None:
        for connection in list(self.idle):
            connection.retire()

    def __repr__(self) -> str:
        return (
            f"ServerState({self.upstream.name}/{self.name}, active={self.active}, idle={len(self.idle)}, "
            f"connections={self.connections}, available={self.available})"
        )


class UpstreamState:
    """One upstream at run time: its servers, its balancing, and the exchanges that wait for room."""

    __slots__ = (
        "_added",
        "_engine",
        "_follows_load",
        "_key",
        "balancer",
        "budget",
        "config",
        "in_flight",
        "is_closing",
        "name",
        "queue",
        "servers",
    )

    def __init__(self, engine: Engine, name: str, config: Upstream, names: Names) -> None:
        self._engine = engine
        self.queue: OrderedDict[int, Exchange] = OrderedDict()
        self.name = name
        self.in_flight = 0
        self.is_closing = False
        self._added = 0
        self.budget = RetryBudget(config.retries.budget, engine.now)
        self.servers: list[ServerState] = []
        self.config = config
        self.balancer: Balancer = make_balancer(config.balance, engine.random)
        self.reconfigure(config, names)

    def reconfigure(self, config: Upstream, names: Names) -> None:
        """Take a new configuration over. Servers that stay keep their counters and connections, a policy its turns."""
        staying = {(server.config.name, server.config.url): server for server in self.servers}
        if config.balance != self.config.balance:
            self.balancer = make_balancer(config.balance, self._engine.random)
        self.config = config
        self.servers = []
        for server_config in config.servers:
            state = staying.pop((server_config.name, server_config.url), None)
            if state is None:
                state = ServerState(self, server_config, self._added, names.place(server_config))
                self._added += 1
            else:
                state.reconfigure(server_config)
            self.servers.append(state)
        for gone in staying.values():
            gone.is_removed = True
            gone.close_idle()
        self._key = _key_of(config)
        self.budget.share = config.retries.budget
        self.balancer.rebuild(self.servers)
        self._follows_load = self.balancer.follows_load
        self.serve_queue()

    def close(self) -> None:
        """No route leads here any more: leases end by themselves, idle connections now."""
        self.is_closing = True
        for server in self.servers:
            server.close_idle()

    def candidates(self, attempts: Attempts) -> list[ServerState]:
        """The servers that could take the next of these tries now, in the order of the configuration."""
        return [s for s in self.servers if s.available and not s.is_full and s not in attempts.tried]

    def lease(
        self, exchange: Exchange, attempts: Attempts, server: ServerState | None = None
    ) -> UpstreamSide | Failure | None:
        """A lease for the next of its `attempts`, of `server` if given; or a failure; or None: it was queued.

        A lease that isn't `is_ready` tells the exchange `lease_ready` or `upstream_failed`. A queued
        exchange is told `room`, or leaves by `leave_queue`.
        """
        if server is None:
            key = None if self._key is None else self._key(exchange)
            picked = self.balancer.pick(key, attempts.tried, exchange.trace)
            if picked is None:
                return self._queue_or_fail(exchange, attempts)
            assert isinstance(picked, ServerState)
            server = picked
        if self.queue:
            self.queue.pop(exchange.id, None)
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

    def _queue_or_fail(self, exchange: Exchange, attempts: Attempts) -> Failure | None:
        if exchange.id in self.queue:
            return None
        if not any(server.available and server not in attempts.tried for server in self.servers):
            detail = "every server was tried" if attempts.tried else "no server is available"
            return Failure("connect", "destination_unavailable", status=503, resend="never", detail=detail)
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


def _key_of(config: Upstream) -> Callable[[Exchange], bytes] | None:
    """What the upstream's hash policy goes by; None for a policy that looks at no key."""
    if config.balance == "client_ip_hash":
        return lambda exchange: exchange.client.ip.encode()
    if config.balance == "uri_hash":
        return lambda exchange: exchange.request.target.partition(b"?")[0]
    if config.balance == "header_hash" and config.hash_header is not None:
        name = config.hash_header.lower().encode()
        return lambda exchange: exchange.request.headers.get(name) or b""
    return None

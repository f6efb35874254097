"""What a person at a dashboard wants to see of a core, read from its tables at this moment.

Plain values in frozen classes: `dataclasses.asdict` makes JSON of them. Exchanges that have been are not counted here,
but from their notices (`policies.statistics`); what limits, rules and caches did is, since no notice tells of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from proxycore.config import Config, Match, Route
from proxycore.config.sections import options_of

if TYPE_CHECKING:
    from proxycore.composition.clients import ClientConnection
    from proxycore.composition.upstreams import ServerState, UpstreamState


@dataclass(frozen=True, slots=True)
class ListenerView:
    """`connections` are those of clients that are open now."""

    name: str
    bind: tuple[str, ...]
    protocols: tuple[str, ...]
    tls: bool
    connections: int


@dataclass(frozen=True, slots=True)
class RouteView:
    """`match` and `action` as a person would say them."""

    name: str
    match: str
    action: str


@dataclass(frozen=True, slots=True)
class ServerView:
    """`state` is `up`, `down`, `ejected`, `drained` or `disabled`, and `reason` says why it isn't `up`."""

    name: str
    url: str
    state: str
    reason: str
    weight: float
    backup: bool
    active: int
    connections: int
    idle: int


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """`in_flight` exchanges are with its servers or wait; `queued` of them wait."""

    name: str
    balance: str
    in_flight: int
    queued: int
    servers: tuple[ServerView, ...]


@dataclass(frozen=True, slots=True)
class LimitView:
    """A rate or concurrency limit that some route names.

    `refused` and `delayed` count requests since the process began. `keys` are those that it remembers now, of
    `capacity` (None: as many as there are exchanges); `pushed_out` counts keys that had to make way for others while
    they were in debt.
    """

    name: str
    kind: Literal["rate", "concurrency"]
    refused: int
    delayed: int
    keys: int
    capacity: int | None
    pushed_out: int


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule of `waf` that found something since the process began.

    `found` counts heads and contents in which it did; `blocked` those of them that were refused.
    """

    id: str
    name: str
    found: int
    blocked: int


@dataclass(frozen=True, slots=True)
class CacheView:
    """One of `[caches]`: what it holds now, in bytes and responses, and what it has done since the process began.

    Each request of a route that names it counts once: among `hits` if what is stored answered it and was fresh,
    `stale` if it wasn't, `revalidated` if the origin was asked and said that it still holds, `joined` if it took what
    another request brought, `bypassed` if it may not use the store, else among `misses`. `stored` responses came in,
    `evicted` ones left for want of room, `purged` ones on an operator's order. `used` is at most `size`.
    """

    name: str
    size: int
    used: int
    objects: int
    hits: int
    stale: int
    revalidated: int
    joined: int
    misses: int
    bypassed: int
    stored: int
    evicted: int
    purged: int


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it. `exchanges` are going on now, `connections` of clients are open."""

    listeners: tuple[ListenerView, ...]
    routes: tuple[RouteView, ...]
    upstreams: tuple[UpstreamView, ...]
    exchanges: int
    connections: int
    is_draining: bool
    limits: tuple[LimitView, ...]
    rules: tuple[RuleView, ...]
    caches: tuple[CacheView, ...]


def overview(
    config: Config,
    upstreams: Mapping[str, UpstreamState],
    clients: Iterable[ClientConnection],
    *,
    exchanges: int,
    is_draining: bool,
    limits: Iterable[LimitView],
    rules: Iterable[RuleView],
    caches: Iterable[CacheView],
) -> Overview:
    """Walk the tables: its cost grows with connections and servers, so ask for it once a second and not more."""
    connections = Counter(client.listener for client in clients)
    return Overview(
        tuple(
            ListenerView(
                listener.name, listener.bind, listener.protocols, listener.tls is not None, connections[listener.name]
            )
            for listener in config.listeners
        ),
        tuple(RouteView(route.name, shown_match(route.match), shown_action(route)) for route in config.routes),
        tuple(_view(upstream) for upstream in upstreams.values()),
        exchanges,
        connections.total(),
        is_draining,
        tuple(limits),
        tuple(rules),
        tuple(caches),
    )


def _view(upstream: UpstreamState) -> UpstreamView:
    servers = tuple(_server_view(server) for server in upstream.servers)
    balance = upstream.config.balance
    policy = balance if isinstance(balance, str) else type(balance).__name__
    return UpstreamView(upstream.name, policy, upstream.in_flight, len(upstream.queue), servers)


def _server_view(server: ServerState) -> ServerView:
    return ServerView(
        server.name,
        server.config.url,
        server.state,
        server.reason,
        server.weight,
        server.backup,
        server.active,
        server.connections,
        len(server.idle),
    )


def shown_match(match: Match) -> str:
    """A match in one line: `host example.com, path /api/* or /v2/*, not (method POST)`."""
    parts: list[str] = []
    for option in options_of(Match):
        value = getattr(match, option.attribute)
        if value:
            parts += _shown(option.key, value)
    return ", ".join(parts) or "everything"


def _shown(key: str, value: Any) -> list[str]:
    """What one key of a match asks for."""
    if isinstance(value, Match):
        return [f"{key} ({shown_match(value)})"]
    if isinstance(value, Mapping):
        return [f"{key} {name} = {' or '.join(values)}" for name, values in value.items()]
    if isinstance(value, tuple):
        values = (f"({shown_match(one)})" if isinstance(one, Match) else str(one) for one in value)
        return [f"{key} {' or '.join(values)}"]
    return [f"{key} {value}"]


def shown_action(route: Route) -> str:
    """What becomes of a request, in a word or two."""
    if route.upstream is not None:
        return f"upstream {route.upstream}"
    if route.redirect is not None:
        return f"redirect {route.redirect.status}"
    return f"respond {route.respond.status}" if route.respond is not None else "a filter"

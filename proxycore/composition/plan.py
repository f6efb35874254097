"""A configuration made ready to serve: everything that a request would else have to look up or compile.

A plan never changes. A reload makes a new one; an exchange keeps the plan that it began under. What
changes while serving (servers, their health and connections) is `upstreams` state, which plans share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING

from proxycore.composition.filters import Chain, Filter, FilterSource
from proxycore.composition.websocket import WebSocket
from proxycore.config import Config, ConfigError, Listener, Problem, Route
from proxycore.config import WebSocket as WebSocketSettings
from proxycore.config.materials import Materials
from proxycore.config.process import RouteTimeouts
from proxycore.config.sections import options_of
from proxycore.config.units import format_duration
from proxycore.mechanisms.http1.codec import CodecMissing, choose
from proxycore.mechanisms.http1.reader import RequestReader, ResponseReader
from proxycore.mechanisms.http1.strict import HeadLimits
from proxycore.policies.addresses import AddressSet
from proxycore.policies.affinity import StickyCookie
from proxycore.policies.forwarding import Peer
from proxycore.policies.local_responses import compile_answer
from proxycore.policies.rewriting import compile_edits, compile_rewrite
from proxycore.policies.routing import RouteTable
from proxycore.policies.trace import Trace
from proxycore.words.ids import Address
from proxycore.words.messages import RequestHead

if TYPE_CHECKING:
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.http2_connection import Http2Connection
    from proxycore.composition.upstreams import UpstreamState
    from proxycore.mechanisms.tls import TlsSession


class ListenerPlan:
    """A listener as its connections need it. `is_closing` says that it takes no new ones.

    `tls` makes the session of a connection, and is None where the core speaks no TLS; `http2` makes its connections
    of HTTP/2, and is None where none are. `alpn` holds `protocols` as clients offer them (RFC 7301). `hsts` is the
    Strict-Transport-Security of responses, empty for none; `identifies_clients` tells that clients may show
    certificates.
    """

    __slots__ = (
        "_trusted",
        "alpn",
        "hsts",
        "http2",
        "identifies_clients",
        "is_closing",
        "may_half_close",
        "name",
        "protocols",
        "scheme",
        "tls",
    )

    def __init__(self, listener: Listener, tls: Callable[[], TlsSession] | None) -> None:
        self.name = listener.name
        self.scheme = b"http" if listener.tls is None else b"https"
        self.protocols = listener.protocols
        self.alpn = frozenset(protocol.encode() for protocol in listener.protocols)
        self.http2 = _http2(listener)
        self.tls = tls
        self.hsts = b""
        self.identifies_clients = False
        if listener.tls is not None:
            self.identifies_clients = listener.tls.client_authentication != "off"
            if listener.tls.hsts:
                self.hsts = b"max-age=%d" % listener.tls.hsts
        self.may_half_close = listener.half_close == "finish"
        self.is_closing = False
        self._trusted = AddressSet(listener.trusted_proxies)

    def peer(self, address: Address) -> Peer:
        """Who connected."""
        return Peer(address, scheme=self.scheme, trusted=self._trusted)


def _http2(listener: Listener) -> type[Http2Connection] | None:
    """Who speaks HTTP/2 on `listener`, if anybody does: an extra that may not be installed."""
    spoken = [protocol for protocol in listener.protocols if protocol != "http/1.1"]
    if not spoken:
        return None
    try:
        from proxycore.composition.http2_connection import Http2Connection
    except ImportError:
        place = f'listeners "{listener.name}".protocols'
        message = f'"{spoken[0]}" needs the package h2: pip install "proxycore[h2]", or protocols = ["http/1.1"]'
        raise ConfigError([Problem("configuration", None, place, message)]) from None
    return Http2Connection


def _table(config: Config) -> RouteTable:
    try:
        return RouteTable(config.routes)
    except ValueError as error:
        # A path that no request can have, or that could be read in two ways: the policy knows, the model doesn't.
        raise ConfigError([Problem("configuration", None, "routes", str(error))]) from None


def _affinities(config: Config, materials: Materials) -> dict[str, StickyCookie]:
    """The cookies of upstreams whose sessions stay with their server."""
    made: dict[str, StickyCookie] = {}
    for name, upstream in config.upstreams.items():
        if upstream.sticky is not None:
            try:
                secret = materials.sticky_secrets.get(upstream.sticky.secret_file, b"")
                made[name] = StickyCookie(name, upstream.sticky, secret)
            except ValueError as error:
                place = f"upstreams.{name}.sticky.secret_file"
                raise ConfigError([Problem("configuration", None, place, str(error))]) from None
    return made


def _websocket_opener(route: Route | None, chain: Chain) -> Callable[[RequestHead], WebSocket]:
    """Bytes pass as they come, where nobody wants to know what messages they are."""
    settings = None if route is None else route.websocket
    if settings is None and not chain.on_message:
        return WebSocket
    # Here, since it brings wsproto, and that brings h11: 40 ms that most have no use for.
    from proxycore.composition.messages import MessageWebSocket

    return partial(MessageWebSocket, settings or WebSocketSettings())


ServerSessions = Mapping[str, "Callable[[], TlsSession]"]
ClientSessions = Mapping[str, "Callable[..., TlsSession]"]


def _tls_sessions(config: Config, materials: Materials) -> tuple[ServerSessions, ClientSessions]:
    """What makes TLS sessions for listeners and for upstreams, by name. Nothing does where TLS is outside."""
    if materials.tls_is_outside or not config.speaks_tls:
        return {}, {}
    missing = [
        *(
            f'listeners "{listener.name}".tls'
            for listener in config.listeners
            if listener.tls is not None and listener.name not in materials.listener_tls
        ),
        *(
            f"upstreams.{upstream.name}.tls"
            for upstream in config.upstreams.values()
            if upstream.speaks_tls and upstream.name not in materials.upstream_tls
        ),
    ]
    if missing:
        message = "its SSLContext is missing: the core reads no files, so Materials must hold it"
        raise ConfigError([Problem("configuration", None, place, message) for place in missing])
    # Not above: `ssl` takes longer to load than all of ours, and is of no use without TLS.
    from proxycore.mechanisms.tls import TlsSession

    return (
        {name: partial(TlsSession, context, server_side=True) for name, context in materials.listener_tls.items()},
        {name: partial(TlsSession, context, server_side=False) for name, context in materials.upstream_tls.items()},
    )


class RoutePlan:
    """A route with all that it does, compiled."""

    __slots__ = (
        "answer",
        "chain",
        "changes_responses",
        "hidden_fields",
        "name",
        "open_websocket",
        "request_edits",
        "response_edits",
        "retry_statuses",
        "rewrite",
        "timeouts",
        "upstream",
    )

    def __init__(self, plan: Plan, route: Route | None, chain: Chain) -> None:
        config = plan.config
        self.chain = chain
        self.name = "" if route is None else route.name
        self.upstream = None if route is None else route.upstream
        self.timeouts = config.timeouts if route is None else config.timeouts.overridden(route.timeouts)
        self.request_edits = None if route is None else compile_edits(route.request_headers)
        edited = self.request_edits.gone if self.request_edits is not None else frozenset[bytes]()
        self.hidden_fields = chain.hidden_fields | edited
        self.response_edits = None if route is None else compile_edits(route.response_headers)
        self.changes_responses = bool(
            self.response_edits is not None or chain.on_upstream_response or chain.on_content or chain.on_response
        )
        self.open_websocket = _websocket_opener(route, chain)
        self.rewrite = None if route is None else compile_rewrite(route.rewrite)
        self.answer = None if route is None else compile_answer(route)
        upstream = config.upstreams.get(self.upstream) if self.upstream is not None else None
        self.retry_statuses: frozenset[int] = frozenset()
        if upstream is not None:
            ranges = upstream.retries.statuses
            self.retry_statuses = frozenset(status for status in range(200, 600) if any(status in r for r in ranges))

    def content_only(self) -> RoutePlan:
        """The same with those of its filters alone that decide on content."""
        route = copy(self)
        route.chain = self.chain.content_only()
        return route


class Plan:
    """See the module's docstring. Raises ConfigError where `config` asks for what can't be served."""

    __slots__ = (
        "_codec",
        "_request_limits",
        "_response_limits",
        "_routes",
        "_table",
        "_trailer_limits",
        "affinities",
        "chain",
        "config",
        "dialling_tls",
        "error_pages",
        "limits",
        "listeners",
        "minimum_body_rate",
        "timeouts",
        "tls_is_outside",
        "trace",
        "unfiltered",
        "unrouted",
        "upstreams",
    )

    def __init__(self, config: Config, materials: Materials, filters: Sequence[Filter], own: FilterSource) -> None:
        try:
            self._codec = choose(config.http1)
        except CodecMissing as missing:
            raise ConfigError([Problem("configuration", None, "http1", str(missing))]) from None
        self.config = config
        self.limits = limits = config.limits
        self._request_limits = HeadLimits(
            size=limits.request_head, fields=limits.header_fields, target=limits.request_target
        )
        self._response_limits = HeadLimits(size=limits.request_head, fields=limits.header_fields)
        self._trailer_limits = HeadLimits(size=limits.trailers, fields=limits.header_fields)
        self.timeouts = config.timeouts
        self.minimum_body_rate = limits.minimum_rate.per_second
        self.error_pages = materials.error_pages
        self.chain = Chain((*own.first(config), *filters))
        self.tls_is_outside = materials.tls_is_outside
        serving, self.dialling_tls = _tls_sessions(config, materials)
        self.listeners = {
            listener.name: ListenerPlan(listener, serving.get(listener.name)) for listener in config.listeners
        }
        self.unrouted = RoutePlan(self, None, self.chain)
        self.unfiltered = RoutePlan(self, None, Chain(()))
        self.affinities = _affinities(config, materials)
        self.upstreams: Mapping[str, UpstreamState] = {}
        self.trace: Trace | None = None
        self._table = _table(config)
        self._routes = [
            RoutePlan(self, route, self._chain_of(route, materials, filters, own)) for route in config.routes
        ]

    def _chain_of(self, route: Route, materials: Materials, filters: Sequence[Filter], own: FilterSource) -> Chain:
        gate = own.gate(route, self.config, materials)
        content = own.content(route, self.config, materials)
        return Chain((*gate, *filters, *content)) if gate or content else self.chain

    def find_route(self, exchange: Exchange) -> RoutePlan | None:
        """The first route that matches. Raises Refused where origins disagree on what the path means."""
        assert exchange.path is not None
        side = exchange.downstream
        found = self._table.find(
            exchange.request, exchange.path, side.listener, exchange.client.ip, exchange.trace, side.peer.tls_subject
        )
        if found is None:
            return None
        route = self._routes[found.position]
        if exchange.trace is not None:
            exchange.trace.add("timeouts", "in force", "", self._shown_timeouts(route))
        return route

    def _shown_timeouts(self, route: RoutePlan) -> str:
        """Those that a route may set, and which of them this one does."""
        shown = []
        for option in options_of(RouteTimeouts):
            seconds = getattr(route.timeouts, option.attribute)
            own = "" if seconds == getattr(self.timeouts, option.attribute) else " by this route"
            shown.append(f"{option.key} {format_duration(seconds)}{own}")
        return ", ".join(shown)

    def request_reader(self, scheme: bytes) -> RequestReader:
        return RequestReader(self._codec, self._request_limits, self._trailer_limits, scheme)

    def response_reader(self) -> ResponseReader:
        return ResponseReader(self._codec, self._response_limits, self._trailer_limits, self.limits.interim_responses)

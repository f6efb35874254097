"""The frozen model of a configuration: `Config`, and every section within it.

It mirrors the TOML file: attributes are its keys. What is built here, from a file or in Python, has
been read and checked as a whole: names that point somewhere, patterns that compile, one action for
each route. Durations are seconds (infinity for a clock that is "off", 0.0 for a span), sizes and counts are ints
(UNLIMITED for "off"), networks are `ipaddress` networks, header names are in lower case; patterns and
templates stay text, known to be good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from proxycore.config import forms
from proxycore.config.kinds import ListOf, OneOf, TableOf
from proxycore.config.listeners import Listener, ListenerTls
from proxycore.config.named import ApiKeys, BasicAuth, Cache, ConcurrencyLimit, Jwt, RateLimit
from proxycore.config.problems import Place, nearest
from proxycore.config.process import (
    Admin,
    Certificate,
    Compression,
    Dns,
    ErrorStatus,
    Http1,
    Limits,
    Logging,
    RouteTimeouts,
    Timeouts,
    UserName,
    WorkerCount,
    Workers,
)
from proxycore.config.routes import (
    Access,
    ClientCertificate,
    CookieFlags,
    Cors,
    Csrf,
    ForwardAuth,
    HeaderEdits,
    Match,
    Redirect,
    Respond,
    Rewrite,
    Route,
    RouteCache,
    SecurityHeaders,
    Waf,
    WebSocket,
)
from proxycore.config.sections import NamedSections, Nested, Section, Setting, references, renamed, section, setting
from proxycore.config.tables import Table
from proxycore.config.upstreams import HealthCheck, Outliers, Retries, Server, Sticky, Upstream, UpstreamTls

__all__ = [
    "Access",
    "Admin",
    "ApiKeys",
    "BasicAuth",
    "Cache",
    "Certificate",
    "ClientCertificate",
    "Compression",
    "ConcurrencyLimit",
    "Config",
    "CookieFlags",
    "Cors",
    "Csrf",
    "Dns",
    "ForwardAuth",
    "HeaderEdits",
    "HealthCheck",
    "Jwt",
    "Limits",
    "Listener",
    "ListenerTls",
    "Logging",
    "Match",
    "Outliers",
    "RateLimit",
    "Redirect",
    "Respond",
    "Retries",
    "Rewrite",
    "Route",
    "RouteCache",
    "RouteTimeouts",
    "SecurityHeaders",
    "Server",
    "Sticky",
    "Timeouts",
    "Upstream",
    "UpstreamTls",
    "Waf",
    "WebSocket",
]


@section
class Config(Section):
    """A whole configuration.

    Build it in Python from sections, or from the same values that a file holds; `load_toml` reads a
    file's text. Raises `ConfigError` with every problem at once.

        Config(
            listeners=[Listener(bind="127.0.0.1:8080")],
            upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"])},
            routes=[Route(upstream="api")],
        )
    """

    http1: Setting[Http1, Http1] = setting(
        OneOf[Http1](get_args(Http1)), "The HTTP/1 codec; `auto` takes httptools where it is installed.", default="auto"
    )
    workers: Setting[WorkerCount, WorkerCount] = setting(
        Workers(), 'Processes that share the listeners; "auto" is one for each core.', default=1
    )
    user: Setting[str | None, str | None] = setting(
        UserName(), "After binding, as root: become this user.", default="off"
    )
    limits: Setting[Limits | Mapping[str, Any], Limits] = setting(
        Nested(lambda: Limits), "How much of anything.", default=Limits()
    )
    timeouts: Setting[Timeouts | Mapping[str, Any], Timeouts] = setting(
        Nested(lambda: Timeouts), "How long for anything.", default=Timeouts()
    )
    compression: Setting[Compression | Mapping[str, Any], Compression] = setting(
        Nested(lambda: Compression), "Which responses are coded where a route has `compress`.", default=Compression()
    )
    dns: Setting[Dns | Mapping[str, Any], Dns] = setting(Nested(lambda: Dns), "Names of servers.", default=Dns())
    logging: Setting[Logging | Mapping[str, Any], Logging] = setting(
        Nested(lambda: Logging), "What is logged, and where.", default=Logging()
    )
    admin: Setting[Admin | Mapping[str, Any] | None, Admin | None] = setting(
        Nested(lambda: Admin), "Dashboard, API and metrics; off when absent.", default=None
    )
    error_pages: Setting[Mapping[int | str, str], Table[int, str]] = setting(
        TableOf(ErrorStatus(), forms.FILE),
        'Files by status: `"502" = "pages/502.html"`. Who asks for JSON still gets problem+json.',
        default=Table(),
    )
    listeners: Setting[Listener | Mapping[str, Any] | Sequence[Listener | Mapping[str, Any]], tuple[Listener, ...]] = (
        setting(ListOf(Nested(lambda: Listener), least=1), "Where we listen.")
    )
    upstreams: Setting[Mapping[str, Upstream | Mapping[str, Any]], Table[str, Upstream]] = setting(
        NamedSections(lambda: Upstream), "Where we send, by name.", default=Table()
    )
    caches: Setting[Mapping[str, Cache | Mapping[str, Any]], Table[str, Cache]] = setting(
        NamedSections(lambda: Cache), "Caches, by name.", default=Table()
    )
    rate_limits: Setting[Mapping[str, RateLimit | Mapping[str, Any]], Table[str, RateLimit]] = setting(
        NamedSections(lambda: RateLimit), "Rate limits, by name.", default=Table()
    )
    concurrency_limits: Setting[Mapping[str, ConcurrencyLimit | Mapping[str, Any]], Table[str, ConcurrencyLimit]] = (
        setting(NamedSections(lambda: ConcurrencyLimit), "Limits of exchanges at once, by name.", default=Table())
    )
    basic_auth: Setting[Mapping[str, BasicAuth | Mapping[str, Any]], Table[str, BasicAuth]] = setting(
        NamedSections(lambda: BasicAuth), "Users with passwords, by name.", default=Table()
    )
    jwt: Setting[Mapping[str, Jwt | Mapping[str, Any]], Table[str, Jwt]] = setting(
        NamedSections(lambda: Jwt), "Issuers of bearer tokens, by name.", default=Table()
    )
    api_keys: Setting[Mapping[str, ApiKeys | Mapping[str, Any]], Table[str, ApiKeys]] = setting(
        NamedSections(lambda: ApiKeys), "Sets of API keys, by name.", default=Table()
    )
    routes: Setting[Route | Mapping[str, Any] | Sequence[Route | Mapping[str, Any]], tuple[Route, ...]] = setting(
        ListOf(Nested(lambda: Route), least=1), "Which request goes where; the first match wins."
    )

    @classmethod
    def reverse_proxy(
        cls, listen: str | Sequence[str] = "127.0.0.1:8080", *, to: str | Server | Sequence[str | Server]
    ) -> Config:
        """Everything that arrives at `listen` goes to one of the servers `to`."""
        return Config(
            listeners=[Listener(name="main", bind=listen)],
            upstreams={"main": Upstream(servers=to)},
            routes=[Route(name="main", upstream="main")],
        )

    @property
    def speaks_tls(self) -> bool:
        """Whether TLS is spoken with any client or server."""
        return any(listener.tls is not None for listener in self.listeners) or any(
            upstream.speaks_tls for upstream in self.upstreams.values()
        )

    def complete(self) -> dict[str, object]:
        if all(route.name for route in self.routes):
            return {}
        named = (route if route.name else renamed(route, f"route-{n}") for n, route in enumerate(self.routes, 1))
        return {"routes": tuple(named)}

    def check(self, place: Place) -> None:
        _check_unique([listener.name for listener in self.listeners], "listener", place.at("listeners"))
        _check_unique([route.name for route in self.routes], "route", place.at("routes"))
        self._check_binds(place)

    def check_names(self, place: Place) -> None:
        own = [finding for finding in place.findings if len(finding.path) == 1]
        missed = {finding.suggestion for finding in own} | {finding.path[0] for finding in own}
        for where, table, name in references(self, place):
            # A listener whose `name` was misspelt has another name now; that was told.
            # And what stands under a key that was misspelt, or can't be read, isn't missing.
            if table not in missed and (table != "listeners" or place.is_sound(table)):
                self._check_reference(table, name, where)

    def _check_binds(self, place: Place) -> None:
        """No address twice, over all listeners; port 0 is another one each time."""
        users: dict[str, str] = {}
        for index, listener in enumerate(self.listeners):
            for number, bind in enumerate(listener.bind):
                if not bind:
                    continue  # it was no address, and that was told
                if bind in users:
                    where = place.at("listeners", index, "bind", number)
                    where.problem(f'listener "{users[bind]}" listens on {bind} already')
                if not bind.endswith(":0"):
                    users[bind] = listener.name

    def _check_reference(self, table: str, name: str, place: Place) -> None:
        entries = getattr(self, table)
        names = list(entries) if isinstance(entries, Table) else [entry.name for entry in entries]
        if name not in names:
            place.problem(f'there is no "{name}" in [{table}]', nearest(name, names))


def _check_unique(names: Sequence[str], noun: str, place: Place) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name and name in seen:
            place.at(index, "name").problem(f'there is another {noun} "{name}"')
        seen.add(name)

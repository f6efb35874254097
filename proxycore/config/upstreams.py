"""`[upstreams.NAME]`: where we send, and how servers are chosen, watched and spoken to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, cast, get_args

from proxycore.config import forms
from proxycore.config.addresses import ServerUrl, parse_server_url
from proxycore.config.kinds import Duration, Flag, Integer, ListOf, OneOf, Share, Size, Statuses, TableOf, Text
from proxycore.config.problems import Place
from proxycore.config.process import Certificate
from proxycore.config.sections import (
    DERIVED,
    Bytes,
    Count,
    Fraction,
    Nested,
    OptionalWord,
    Seconds,
    Section,
    Setting,
    Switch,
    Word,
    section,
    setting,
)
from proxycore.config.tables import Table
from proxycore.config.units import StatusRange
from proxycore.words.ids import Address

Balance = Literal[
    "round_robin",
    "least_connections",
    "random",
    "random_two",
    "least_time",
    "client_ip_hash",
    "uri_hash",
    "header_hash",
]


class Chooser(Protocol):
    """A balancing policy of the user's own: given in Python, as `balance`."""

    def choose(self, servers: Sequence[Any], key: bytes | None) -> Any:
        """One of `servers`, or None: see `policies.balancing.chooser.Chooser`."""


class BalanceKind(OneOf[Balance | Chooser]):
    """The name of a policy, or an object that is one."""

    def parse(self, given: object, place: Place) -> Balance | Chooser:
        if callable(getattr(given, "choose", None)):
            return cast(Chooser, given)
        return super().parse(given, place)


Resolving = Literal["one", "all"]
CheckType = Literal["http", "tcp"]
RetryOn = Literal["connect", "reset", "timeout"]
OnFailure = Literal["redistribute", "error"]

WEIGHT_MAX = 65_535
"""The largest weight of a server. Shares that differ by more are no load balancing, and sums stay small."""

StatusList = Setting[int | str | StatusRange | Sequence[int | str | StatusRange], tuple[StatusRange, ...]]


@section
class Server(Section):
    """One of an upstream's `servers`; as text, its url alone."""

    name: Word = setting(
        forms.NAME, "Its name in logs, metrics and commands; else host and port of its url.", default=DERIVED
    )
    url: Word = setting(forms.SERVER_URL, '"http://host:port", "https://host:port" or "unix:/path".')
    weight: Count = setting(Integer(0, WEIGHT_MAX), "Its share beside the others; 0 takes nothing new.", default=1)
    max_connections: Count = setting(
        Integer(1, off=True), "Exchanges at once; above it they wait in the upstream's queue.", default="off"
    )
    backup: Switch = setting(Flag(), "Used only while every other server is down.", default=False)
    resolve: Setting[Resolving, Resolving] = setting(
        OneOf[Resolving](get_args(Resolving)),
        "`all`: one server for each address that the name has, followed as it changes.",
        default="one",
    )

    @property
    def parsed_url(self) -> ServerUrl:
        """`url` in its parts; parsed at each call, so ask when a configuration is loaded and not for each request."""
        return parse_server_url(self.url)

    @property
    def scheme(self) -> Literal["http", "https"]:
        return self.parsed_url.scheme

    @property
    def host(self) -> str:
        """Name or address, an IPv6 one without brackets; empty for a Unix socket."""
        return self.parsed_url.host

    @property
    def port(self) -> int:
        """The port, also where the url leaves it to its scheme; 0 for a Unix socket."""
        return self.parsed_url.port

    @property
    def address(self) -> Address:
        """`(host, port)` or the path of a Unix socket. The host may be a name still to be looked up."""
        return self.parsed_url.address

    def complete(self) -> dict[str, object]:
        return {} if self.name else {"name": self.url.partition("://")[2] or self.url}

    def check(self, place: Place) -> None:
        if self.resolve == "all" and not self.parsed_url.needs_lookup:
            place.at("resolve").problem('"all" is for a host that is a name', "one")


class ServerOrUrl(Nested[Server]):
    """A server as a table, or as its url alone."""

    name = "table, or url"

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [super().schema(), {"type": "string"}]}

    def __init__(self) -> None:
        super().__init__(lambda: Server)

    def read(self, given: object, place: Place) -> Server:
        return super().read({"url": given} if isinstance(given, str) else given, place)


@section
class HealthCheck(Section):
    """`[upstreams.NAME.health_check]`: active checks; none when absent."""

    type: Setting[CheckType, CheckType] = setting(
        OneOf[CheckType](get_args(CheckType)), "`tcp` only connects; `http` sends a request.", default="http"
    )
    method: Word = setting(forms.METHOD, "Method of the request.", default="GET")
    path: Word = setting(forms.REQUEST_PATH, "Path of the request, with its query.", default="/")
    host: OptionalWord = setting(forms.AUTHORITY, "Host of the request; else the server's own.", default=None)
    headers: Setting[Mapping[str, str], Table[str, str]] = setting(
        TableOf(forms.EDITED_FIELD_NAME, forms.FIELD_VALUE), "Further headers of the request.", default=Table()
    )
    interval: Seconds = setting(Duration(off=None), "From one check to the next, with jitter.", default="5s")
    timeout: Seconds = setting(Duration(off=None), "A check that takes longer has failed.", default="2s")
    expect: StatusList = setting(ListOf(Statuses(), least=1), "Statuses of a server that is well.", default=("2xx",))
    expect_body: OptionalWord = setting(forms.TEXT, "Text that the response must contain.", default=None)
    rise: Count = setting(Integer(1, 1_000), "Good checks in a row that bring a server back.", default=2)
    fall: Count = setting(Integer(1, 1_000), "Bad checks in a row that take a server out.", default=3)


@section
class Outliers(Section):
    """`[upstreams.NAME.outliers]`: passive checks, on live traffic. A refused connect ejects at once."""

    failures: Count = setting(
        Integer(1, off=True), "Resets, timeouts and `statuses` in a row that eject a server.", default=5
    )
    statuses: StatusList = setting(ListOf(Statuses()), "Statuses that count as failures.", default=())
    eject: Seconds = setting(
        Duration(off=None), "How long the first ejection lasts; doubled at each further one.", default="10s"
    )
    eject_max: Seconds = setting(Duration(off=None), "The longest that an ejection gets.", default="5m")
    eject_share_max: Fraction = setting(
        Share(), "Never eject more than this share of the servers; with all gone, all are tried.", default=0.5
    )

    def check(self, place: Place) -> None:
        if self.eject_max < self.eject:
            place.at("eject_max").problem("eject_max is shorter than eject")


@section
class Retries(Section):
    """`[upstreams.NAME.retries]`: when a request is sent again, to another server first."""

    max: Count = setting(Integer(0, 100), "Tries beyond the first.", default=1)
    on: Setting[RetryOn | Sequence[RetryOn], tuple[RetryOn, ...]] = setting(
        ListOf(OneOf[RetryOn](get_args(RetryOn))),
        "`connect`, `reset` (before a response), `timeout`.",
        default=("connect", "reset"),
    )
    statuses: StatusList = setting(ListOf(Statuses()), "Statuses that are tried again.", default=())
    non_idempotent: Switch = setting(
        Flag(), "POST and PATCH too, even when they may have been carried out.", default=False
    )
    replay_body: Bytes = setting(
        Size(least=0, off=False), "A longer request body isn't kept, so isn't sent again.", default="64KiB"
    )
    budget: Fraction = setting(
        Share(), "Retries are at most this share of requests. After a connect that failed they are free.", default=0.2
    )


@section
class Sticky(Section):
    """`[upstreams.NAME.sticky]`: a client stays with its server by a cookie, opaque and signed."""

    cookie: Word = setting(forms.FIELD_TOKEN, "Name of the cookie; the origin never sees it.", default="SERVERID")
    secret_file: Word = setting(forms.FILE, "What the cookie is signed with.")
    max_age: Seconds = setting(
        Duration(off=0.0), "How long the cookie lives; `off`: as long as the browser.", default="off"
    )
    on_failure: Setting[OnFailure, OnFailure] = setting(
        OneOf[OnFailure](get_args(OnFailure)), "When its server is gone: another one, or a 503.", default="redistribute"
    )
    while_draining: Switch = setting(
        Flag(), "A server that is drained goes on serving the sessions that it has.", default=True
    )


@section
class UpstreamTls(Section):
    """`[upstreams.NAME.tls]`: TLS to servers whose url is https."""

    verify: Switch = setting(Flag(), "Check the server's certificate and name.", default=True)
    ca: OptionalWord = setting(
        forms.FILE, "Authorities in PEM that are trusted; else those of the system.", default=None
    )
    server_name: OptionalWord = setting(
        forms.HOST, "Name for SNI and for the check; else the url's host.", default=None
    )
    certificate: Setting[Certificate | Mapping[str, Any] | None, Certificate | None] = setting(
        Nested(lambda: Certificate), "Our own certificate, for servers that ask for one.", default=None
    )


@section
class Upstream(Section):
    """One of `[upstreams]`: a named group of servers with its policies."""

    name: Word = setting(forms.NAME, "Its key in `[upstreams]`.", default=DERIVED, from_table_key=True)
    balance: Setting[Balance | Chooser, Balance | Chooser] = setting(
        BalanceKind(get_args(Balance)), "How a server is chosen.", default="round_robin"
    )
    hash_header: OptionalWord = setting(
        forms.FIELD_NAME, 'The header that `balance = "header_hash"` looks at.', default=None
    )
    servers: Setting[
        Server | str | Mapping[str, Any] | Sequence[Server | str | Mapping[str, Any]], tuple[Server, ...]
    ] = setting(ListOf(ServerOrUrl(), least=1), "The servers, each a table or an url.")
    idle_connections: Count = setting(Integer(0), "Idle connections kept for each server.", default=32)
    idle_timeout: Seconds = setting(Duration(), "How long one is kept.", default="60s")
    queue: Count = setting(
        Integer(0), "Exchanges that wait when every server is at `max_connections`; above it 503.", default=100
    )
    queue_timeout: Seconds = setting(Duration(), "How long one waits; then 503.", default="5s")
    max_exchanges: Count = setting(
        Integer(1, off=True), "Exchanges in flight, all servers; above it 503 at once.", default="off"
    )
    slow_start: Seconds = setting(
        Duration(off=0.0), "A server that comes back takes its load gradually over this time.", default="off"
    )
    wait_until_up: Seconds = setting(
        Duration(off=0.0),
        "For development: a request waits this long for a server instead of a 502.",
        default="off",
    )
    host: Word = setting(
        Text('"preserve", "upstream" or a host', forms.check_host_choice),
        "The Host that servers see: the client's (`preserve`), the url's (`upstream`), or a literal.",
        default="preserve",
    )
    health_check: Setting[HealthCheck | Mapping[str, Any] | None, HealthCheck | None] = setting(
        Nested(lambda: HealthCheck), "Active checks.", default=None
    )
    outliers: Setting[Outliers | Mapping[str, Any], Outliers] = setting(
        Nested(lambda: Outliers), "Passive checks.", default=Outliers()
    )
    retries: Setting[Retries | Mapping[str, Any], Retries] = setting(
        Nested(lambda: Retries), "What is tried again.", default=Retries()
    )
    sticky: Setting[Sticky | Mapping[str, Any] | None, Sticky | None] = setting(
        Nested(lambda: Sticky), "Sessions that stay with their server.", default=None
    )
    tls: Setting[UpstreamTls | Mapping[str, Any], UpstreamTls] = setting(
        Nested(lambda: UpstreamTls), "TLS to the servers.", default=UpstreamTls()
    )

    @property
    def speaks_tls(self) -> bool:
        """Whether any of its servers is reached by https."""
        return any(server.scheme == "https" for server in self.servers)

    def check(self, place: Place) -> None:
        if self.balance == "header_hash" and self.hash_header is None:
            place.at("hash_header").problem('this key is needed with balance = "header_hash"')
        if self.balance != "header_hash" and self.hash_header is not None:
            place.at("hash_header").problem('this key needs balance = "header_hash"')
        seen: set[str] = set()
        for index, server in enumerate(self.servers):
            if server.name and server.name in seen:
                place.at("servers", index).problem(f'there is another server "{server.name}" in this upstream')
            seen.add(server.name)

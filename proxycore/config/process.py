"""Settings of the process as a whole: limits, clocks, logs and the admin listener."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, cast, get_args

from proxycore.config import forms
from proxycore.config.addresses import parse_bind
from proxycore.config.kinds import (
    Duration,
    Flag,
    Integer,
    Kind,
    ListOf,
    OneOf,
    RateOf,
    Share,
    Size,
    Statuses,
    Text,
    described,
)
from proxycore.config.problems import Invalid, Place
from proxycore.config.sections import (
    Bytes,
    Count,
    Nested,
    OptionalWord,
    Seconds,
    Section,
    Setting,
    Switch,
    Word,
    Words,
    options_of,
    section,
    setting,
)
from proxycore.config.units import NO_MAXIMUM, NO_MINIMUM, OFF, Rate

LogLevel = Literal["debug", "info", "warning", "error"]
Http1 = Literal["auto", "h11", "httptools"]
WorkerCount = int | Literal["auto"]


_WORKERS = Integer(1, 1_024)


class Workers(Kind[WorkerCount]):
    """A number of processes, or "auto"."""

    name = 'whole number from 1 to 1024 or "auto"'
    blank = 1

    def parse(self, given: object, place: Place) -> WorkerCount:
        try:
            return "auto" if given == "auto" else _WORKERS.parse(given, place)
        except Invalid:
            raise Invalid(f"{described(given)} is no {self.name}") from None

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [_WORKERS.schema(), {"const": "auto"}]}


class UserName(Kind[str | None]):
    """The name of a user, or "off"."""

    name = 'name of a user or "off"'
    blank = None

    def parse(self, given: object, place: Place) -> str | None:
        return None if given is None or given == OFF else forms.NAME.parse(given, place)


class ErrorStatus(Kind[int]):
    """The status of an error, as a number or as the key of a table."""

    name = "status"
    blank = 500

    def parse(self, given: object, place: Place) -> int:
        statuses = Statuses().parse(given, place)
        if statuses.first != statuses.last or statuses.first < 400:
            raise Invalid(f'"{given}" is no status of an error, from 400 to 599')
        return statuses.first


@section
class Limits(Section):
    """`[limits]`: how much of anything one peer, or all of them, may take."""

    connections: Count = setting(
        Integer(1, off=True), "Downstream connections, all listeners; above it accepting pauses.", default=50_000
    )
    connections_per_client: Count = setting(
        Integer(1, off=True), "Downstream connections by client address.", default=1_000
    )
    request_head: Bytes = setting(
        Size(), "Request line and headers, checked while they arrive; above it 431.", default="32KiB"
    )
    request_target: Bytes = setting(Size(), "Request target; above it 414.", default="8KiB")
    header_fields: Count = setting(Integer(1, off=True), "Fields of a request's head; above it 431.", default=100)
    trailers: Bytes = setting(Size(), "Trailers of a message, both directions.", default="8KiB")
    interim_responses: Count = setting(Integer(off=True), "1xx responses for one exchange.", default=10)
    request_body: Bytes = setting(Size(), "Content of a request; above it 413.", default="1GiB")
    minimum_rate: Setting[str | Rate, Rate] = setting(
        RateOf(of_bytes=True, off=NO_MINIMUM),
        "Slowest pace of a request's body, after a grace of `timeouts.request_body`; below it 408.",
        default="500B/s",
    )
    requests_per_connection: Count = setting(
        Integer(1, off=True), "Requests on a downstream connection; then `Connection: close` or GOAWAY.", default=10_000
    )
    buffer: Bytes = setting(
        Size(least=1024, off=False),
        "Bytes that wait for each connection and direction, before the other side is paused.",
        default="64KiB",
    )
    handshakes: Count = setting(Integer(1, off=True), "TLS handshakes at once.", default=1_000)
    streams: Count = setting(Integer(1, 2**31 - 1), "HTTP/2 streams at once on one connection.", default=100)
    stream_resets: Setting[str | Rate, Rate] = setting(
        RateOf(off=NO_MAXIMUM), "HTTP/2 resets by the peer, or provoked by it; above it GOAWAY.", default="100/10s"
    )
    calls: Count = setting(Integer(1, off=True), "Asynchronous filter steps at once.", default=1_000)


COMPRESSED_TYPES = (
    "text/*",
    "application/json",
    "application/problem+json",
    "application/ld+json",
    "application/geo+json",
    "application/manifest+json",
    "application/javascript",
    "application/xml",
    "application/xhtml+xml",
    "application/rss+xml",
    "application/atom+xml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/otf",
    "font/ttf",
    "image/svg+xml",
    "image/x-icon",
)


@section
class Compression(Section):
    """`[compression]`: which responses are coded on the routes that have `compress`, and how hard we try."""

    types: Words = setting(
        ListOf(forms.MEDIA_TYPE, least=1),
        "Media types that are coded; `text/*` is all of text.",
        default=COMPRESSED_TYPES,
    )
    minimum: Bytes = setting(Size(off=False), "A response that is known to be shorter isn't coded.", default="1KiB")
    gzip_level: Count = setting(Integer(1, 9), "Of gzip: higher is smaller and slower.", default=5)
    br_level: Count = setting(Integer(0, 11), "Of brotli.", default=4)
    zstd_level: Count = setting(Integer(1, 19), "Of zstd.", default=3)


@section
class Timeouts(Section):
    """`[timeouts]`: how long anything may take. "off" is infinity."""

    connect: Seconds = setting(
        Duration(), "Connecting to a server, name look-up and TLS included, for each try.", default="5s"
    )
    tls_handshake: Seconds = setting(Duration(), "A downstream TLS handshake.", default="10s")
    request_head: Seconds = setting(
        Duration(),
        "From the first byte of a request (or the accept) to the end of its head, whatever arrives meanwhile; 408.",
        default="10s",
    )
    request_body: Seconds = setting(Duration(), "Between two reads of a request's body; 408.", default="30s")
    response_head: Seconds = setting(Duration(), "From the request sent to the response's head; 504.", default="30s")
    response_body: Seconds = setting(
        Duration(),
        "Between two reads of a response's body; the downstream is cut so that it can tell.",
        default="30s",
    )
    send: Seconds = setting(Duration(), "A peer that takes no bytes.", default="30s")
    idle: Seconds = setting(Duration(), "A downstream connection between two requests.", default="75s")
    tunnel: Seconds = setting(Duration(), "A WebSocket or other tunnel in which nothing moves.", default="1h")
    linger: Seconds = setting(
        Duration(off=None),
        "After an early refusal: how long input is read and discarded, so that the client gets the answer.",
        default="2s",
    )
    call: Seconds = setting(Duration(), "An asynchronous filter step.", default="5s")
    drain: Seconds = setting(
        Duration(), "After SIGTERM, or for a listener that a reload removed: until what is left is cut.", default="30s"
    )
    exchange: Seconds = setting(Duration(), "A whole exchange.", default="off")

    def overridden(self, by: RouteTimeouts) -> Timeouts:
        """These timeouts with those that a route sets for itself."""
        own = {option.attribute: getattr(by, option.attribute) for option in options_of(RouteTimeouts)}
        changes = {attribute: seconds for attribute, seconds in own.items() if seconds is not None}
        return cast(Timeouts, replace(cast(Any, self), **changes)) if changes else self


OptionalSeconds = Setting[str | float | None, float | None]


@section
class RouteTimeouts(Section):
    """`timeouts` of a route: each overrides its namesake in `[timeouts]`; without it, that stays in force."""

    connect: OptionalSeconds = setting(Duration(), "As `timeouts.connect`.", default=None)
    request_body: OptionalSeconds = setting(Duration(), "As `timeouts.request_body`.", default=None)
    response_head: OptionalSeconds = setting(Duration(), "As `timeouts.response_head`.", default=None)
    response_body: OptionalSeconds = setting(Duration(), "As `timeouts.response_body`.", default=None)
    send: OptionalSeconds = setting(Duration(), "As `timeouts.send`.", default=None)
    tunnel: OptionalSeconds = setting(Duration(), "As `timeouts.tunnel`.", default=None)
    call: OptionalSeconds = setting(Duration(), "As `timeouts.call`.", default=None)
    exchange: OptionalSeconds = setting(Duration(), "As `timeouts.exchange`.", default=None)


@section
class Dns(Section):
    """`[dns]`: names of servers."""

    refresh: Seconds = setting(
        Duration(), "Names of servers are looked up again this often, without a gap.", default="30s"
    )


@section
class Logging(Section):
    """`[logging]`: the access log, and the program's own log."""

    access: Word = setting(
        Text('"json", "combined", "off" or a template', forms.check_log_format),
        'The line for each exchange: `json`, `combined`, `off`, or a template such as "{client_ip} {method} {status}".',
        default="json",
    )
    access_file: Word = setting(
        forms.FILE,
        'Where it goes: "-" is standard output, "syslog" the local one, else a file that SIGUSR1 reopens.',
        default="-",
    )
    empty_connections: Switch = setting(
        Flag(), "Log connections that closed without a request, too (HAProxy's dontlognull).", default=False
    )
    level: Setting[LogLevel, LogLevel] = setting(
        OneOf[LogLevel](get_args(LogLevel)), "The program's own log, on standard error.", default="info"
    )
    trace_context: Switch = setting(
        Flag(),
        "W3C Trace Context: a valid `traceparent` is passed on, else a trace begins here; its id is in the JSON log.",
        default=False,
    )
    trace_sampled: Setting[float, float] = setting(
        Share(), "Of the traces that begin here, the share that is marked as sampled.", default=1.0
    )


@section
class Certificate(Section):
    """A certificate with its private key, both in PEM."""

    certificate: Word = setting(forms.FILE, "The certificate, and behind it its chain.")
    key: Word = setting(forms.FILE, "Its private key.")


@section
class Admin(Section):
    """`[admin]`: dashboard, JSON API and Prometheus metrics; off when absent."""

    bind: Word = setting(forms.BIND, "Where it listens; `unix:/path` takes a `mode`.", default="127.0.0.1:8404")
    mode: OptionalWord = setting(
        Text("file mode", forms.check_mode), 'Permissions of the Unix socket, in octal: "0660".', default=None
    )
    username: OptionalWord = setting(
        forms.FIELD_VALUE, "Who may enter; needed unless `bind` is loopback or unix.", default=None
    )
    password_file: OptionalWord = setting(forms.FILE, "One line: a hash from `proxycore hash-password`.", default=None)
    tls: Setting[Certificate | None, Certificate | None] = setting(
        Nested(lambda: Certificate), "Serve it over TLS.", default=None
    )
    hosts: Words = setting(
        ListOf(forms.HOST_PATTERN, least=1),
        "Hosts that are answered, or patterns such as `*.example.com`; others are refused (DNS rebinding).",
        default=("localhost", "127.0.0.1", "[::1]"),
    )

    def check(self, place: Place) -> None:
        bind = parse_bind(self.bind)
        if (self.username is None) != (self.password_file is None):
            missing = "username" if self.username is None else "password_file"
            place.at(missing).problem("username and password_file are given together")
        elif self.username is None and not bind.is_local:
            place.at("username").problem("this key is needed unless bind is loopback or unix")
        if self.mode is not None and bind.kind != "unix":
            place.at("mode").problem("only a Unix socket has a mode")

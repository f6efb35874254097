"""Ask a configuration what it does with a request, in plain tests, without sockets.

    proxy = Proxy(config)                       # or Proxy.from_toml(text)
    proxy.get("https://api.example.com/api/x").goes_to("api", path="/x")
    proxy.get("http://api.example.com/").is_redirected_to("https://api.example.com/")
    proxy.post("http://api.example.com/admin", body=b"{}").is_refused(403)
    proxy.get("http://api.example.com/api/x").returns(200, {"Server": "x"}).gets(server=None)

Each request is bytes that go through the core that serves, with its trace on; the trace of reasons is the
message of a failure. Thousands run in a second. What would be a server answers only when `returns` says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from random import Random
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Filter
from proxycore.config import Config, Listener, load_toml
from proxycore.config.materials import Materials
from proxycore.core import Core
from proxycore.policies.auth.passwords import VERIFY_PASSWORD, verify_password
from proxycore.policies.trace import Trace
from proxycore.testing.far_reader import Data, End, FarReader, Head
from proxycore.words.effects import Abort, Call, Close, Connect, Effect, Resolve, Send
from proxycore.words.errors import Outcome
from proxycore.words.ids import Address, ConnId
from proxycore.words.messages import RequestHead
from proxycore.words.notices import ExchangeEnded, Fault, Notice

Headers = Mapping[str, str | Sequence[str]]
Function = Callable[[Mapping[str, Any]], Any]
_Self = TypeVar("_Self", bound="Journey")

CLIENT_IP = "192.0.2.1"
FOUND_ADDRESS = "198.51.100.1"
"""What every name of a server resolves to here."""

PAUSE = 0.025
"""Seconds that pass by themselves, again and again, while a request waits to be tried on a server once more."""

WALL = 1_800_000_000.0
_PORTS = {"http": 80, "https": 443}


class NoListener(LookupError):
    """No listener of the configuration takes a request of that scheme."""


class Proxy:
    """A core with `config`, asked one request after the other at a time that stands still (see `pass_time`, `PAUSE`).

    `filters` and `materials` are those of `Core`; `calls` the functions that filters `Ask` for, plain ones.
    Every dial succeeds, unless its address is in `refusing`. With `like`, a core at work, it knows from the first what
    that one knows of servers, limits and caches at `now`, and changes nothing there. Raises ConfigError.
    """

    def __init__(
        self,
        config: Config,
        *,
        materials: Materials | None = None,
        filters: Sequence[Filter] = (),
        calls: Mapping[str, Function] | None = None,
        seed: int = 1,
        like: Core | None = None,
        now: float = 0.0,
    ) -> None:
        self.refusing: set[Address] = set()
        self.now = now
        self._calls: dict[str, Function] = {VERIFY_PASSWORD: lambda given: verify_password(**given), **(calls or {})}
        self._outbound = _Outbound()
        self._journey: Journey | None = None
        self._facts: deque[tuple[Any, ...]] = deque()
        self._protocols = {listener.name: listener.protocols for listener in config.listeners}
        self.core = Core(
            _taking_http1(config),
            replace(materials or Materials(), tls_is_outside=True),
            now=self.now,
            wall=WALL if like is None else now + like.engine.wall_offset,
            seed=seed,
            entropy=Random(seed).randbytes,
            filters=[*filters, self._outbound],
            watch=("exchanges", "faults"),
            like=like,
        )

    @classmethod
    def from_toml(cls, text: str, **options: Any) -> Proxy:
        """A proxy with the configuration in `text`. Raises ConfigError."""
        return cls(load_toml(text, source="the configuration"), **options)

    # ---- requests

    def get(self, url: str, **options: Any) -> Journey:
        """`request("GET", url, ...)`."""
        return self.request("GET", url, **options)

    def head(self, url: str, **options: Any) -> Journey:
        """`request("HEAD", url, ...)`."""
        return self.request("HEAD", url, **options)

    def post(self, url: str, **options: Any) -> Journey:
        """`request("POST", url, ...)`."""
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Any) -> Journey:
        """`request("PUT", url, ...)`."""
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: Any) -> Journey:
        """`request("PATCH", url, ...)`."""
        return self.request("PATCH", url, **options)

    def delete(self, url: str, **options: Any) -> Journey:
        """`request("DELETE", url, ...)`."""
        return self.request("DELETE", url, **options)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers | None = None,
        body: bytes | None = None,
        client_ip: str = CLIENT_IP,
        tls_subject: str = "",
        listener: str | None = None,
    ) -> Journey:
        """Send a request, and see how it fares.

        The path goes out as it is written, `..` and all; what can't stand in a request is percent-encoded.
        The URL's scheme (and port, where listeners differ by it) chooses the listener, unless
        `listener` names one. A listener without TLS takes https where it has `trusted_proxies`: the
        request comes from one of them then, which tells the scheme and the client. `tls_subject` is that of
        the client's certificate. Raises NoListener, and ValueError where the listener asks for no certificate.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.netloc:
            raise ValueError(f"{url!r} is no URL of http or https, such as https://example.com/path")
        entrance = self._entrance(parts.scheme, parts.port, listener)
        path = url.partition("://")[2].partition("#")[0][len(parts.netloc) :] or "/"
        target = quote(_bytes_of(path), safe=_SAFE)
        lines = [f"{method} {target if target[0] == '/' else f'/{target}'} HTTP/1.1", f"Host: {parts.netloc}"]
        peer = client_ip
        if (entrance.tls is None) == (parts.scheme == "https"):
            peer = _address_in(entrance)
            lines += [f"X-Forwarded-For: {client_ip}", f"X-Forwarded-Proto: {parts.scheme}"]
        for name, value in (headers or {}).items():
            lines += [f"{name}: {one}" for one in ([value] if isinstance(value, str) else value)]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        head = _bytes_of("\r\n".join(lines)) + b"\r\n\r\n"
        return self.send(
            head + (body or b""),
            listener=entrance.name,
            client_ip=peer,
            tls_subject=tls_subject,
            name=f"{method} {url}",
        )

    def send(
        self,
        data: bytes,
        *,
        listener: str | None = None,
        client_ip: str = CLIENT_IP,
        tls_subject: str = "",
        name: str = "bytes",
    ) -> Journey:
        """Send the bytes of one request as they are, well-formed or not. `name` is how failures call it."""
        self._end_journey()
        entrance = self._entrance("http", None, listener) if listener is None else self._entrance("", None, listener)
        if tls_subject and (entrance.tls is None or entrance.tls.client_authentication == "off"):
            raise ValueError(f'listener "{entrance.name}" asks no client for a certificate')
        conn = self.core.next_conn_id()
        journey = self._journey = Journey(self, name, conn, entrance.name)
        # The one thing that traffic never does: an exchange takes its trace from the plan that it begins under.
        self.core.engine.plan.trace = journey.trace
        self._outbound.journey = journey
        protocols = self._protocols.get(entrance.name, entrance.protocols)
        spoken = ", ".join(protocols if entrance.tls is None else ("TLS", *protocols))
        journey.trace.add("listener", "took", entrance.name, f"{', '.join(entrance.bind)}; {spoken}")
        try:
            self._tell("accepted", conn, entrance.name, (client_ip, 50_000), ("192.0.2.10", 80))
            if tls_subject:  # TLS is outside here, and what it proved is told in its stead
                self.core.engine.clients[conn].peer.tls_subject = tls_subject
            self._tell("data_received", conn, data)
        finally:
            self.core.engine.plan.trace = None
        return journey

    def pass_time(self, seconds: float) -> None:
        """Let time pass: deadlines come, limits refill."""
        end = self.now + seconds
        while (deadline := self.core.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self._tell("timer_expired")
        self.now = end

    def _entrance(self, scheme: str, port: int | None, name: str | None) -> Listener:
        listeners = self.core.config.listeners
        if name is not None:
            named = [listener for listener in listeners if listener.name == name]
            if not named:
                raise NoListener(f"there is no listener {name!r}")
            return named[0]
        fitting = [one for one in listeners if (one.tls is not None) == (scheme == "https")]
        fitting = fitting or [one for one in listeners if one.trusted_proxies]
        if not fitting:
            raise NoListener(
                "no listener takes http: all have tls"
                if scheme == "http"
                else "no listener takes https: give one tls, or name who speaks it in front of us in trusted_proxies"
            )
        wanted = port or _PORTS[scheme]
        return next((one for one in fitting if any(bind.port == wanted for bind in one.binds)), fitting[0])

    # ---- a driver without a network

    def _end_journey(self) -> None:
        """Close what the request before has left open, so that none meets another's connections."""
        journey, self._journey = self._journey, None
        if journey is not None:
            for conn in [journey.client, *journey.servers]:
                if conn not in journey.lost:
                    journey.lost.add(conn)
                    self._tell("connection_lost", conn, None)
            self.core.take_notices(self.now)

    def _tell(self, name: str, *arguments: Any) -> None:
        facts = self._facts
        facts.append((name, *arguments))
        while facts:
            fact, *values = facts.popleft()
            for effect in getattr(self.core, fact)(*values, self.now):
                self._perform(effect)
        self._notice(self.core.take_notices(self.now))
        if name != "timer_expired":
            while any(exchange.state == "pausing" for exchange in self.core.engine.exchanges.values()):
                self.pass_time(PAUSE)

    def _perform(self, effect: Effect) -> None:
        journey = self._journey
        if isinstance(effect, Connect):
            if effect.address in self.refusing:
                self._facts.append(("connect_failed", effect.conn, "ECONNREFUSED"))
            else:
                self._facts.append(("connected", effect.conn, ("192.0.2.10", 40_000), effect.address))
                if journey is not None:
                    journey.servers.append(effect.conn)
        elif isinstance(effect, Send):
            if journey is not None and effect.conn == journey.client:
                journey._got(effect.data)
            elif journey is not None:
                journey.sent += effect.data
        elif isinstance(effect, Close | Abort):
            if journey is None or effect.conn not in journey.lost:
                if journey is not None:
                    journey.lost.add(effect.conn)
                self._facts.append(("connection_lost", effect.conn, None))
        elif isinstance(effect, Resolve):
            self._facts.append(("resolved", effect.lookup, (FOUND_ADDRESS,)))
        elif isinstance(effect, Call):
            self._answer(effect)

    def _answer(self, call: Call) -> None:
        try:
            self._facts.append(("call_completed", call.call, self._calls[call.name](call.arguments)))
        except Exception as error:
            self._facts.append(("call_failed", call.call, f"{type(error).__name__}: {error}"))

    def _notice(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            if isinstance(notice, Fault):
                raise AssertionError(f"an exception in {notice.where}:\n{notice.traceback}")
            if isinstance(notice, ExchangeEnded) and self._journey is not None:
                self._journey._ended(notice)


# What quote leaves alone: all that a request may hold, and the escapes that stand there already.
_SAFE = "%/:=&?~+!$,;'@()*[]\\|^`{}\"<>"


def _bytes_of(text: str) -> bytes:
    """What was given as bytes on a command line is those bytes again."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        half = text[error.start : error.end]
        raise ValueError(f"{half!r} is half of a character (a lone surrogate), which no request can hold") from None


def _address_in(listener: Listener) -> str:
    """An address of one of the listener's trusted proxies."""
    if not listener.trusted_proxies:
        raise NoListener(f'listener "{listener.name}" has no trusted_proxies, so nobody can tell it another scheme')
    return str(ip_address(int(listener.trusted_proxies[0].network_address) | 1))


class _Outbound(Filter):
    """The last filter: notes what the chosen server would get."""

    def __init__(self) -> None:
        self.journey: Journey | None = None

    def on_upstream_request(self, exchange: Exchange, outbound: RequestHead) -> None:
        if self.journey is not None:
            self.journey._goes(exchange, outbound)


def _taking_http1(config: Config) -> Config:
    """Journeys speak HTTP/1.1, also to listeners that take HTTP/2 alone: what is decided is the same."""
    if all("http/1.1" in listener.protocols for listener in config.listeners):
        return config
    listeners = [
        listener if "http/1.1" in listener.protocols else replace(listener, protocols=(*listener.protocols, "http/1.1"))
        for listener in config.listeners
    ]
    return replace(config, listeners=listeners)


class Journey:
    """How one request fared. Each check raises AssertionError with the trace of reasons, or returns the journey.

    `upstream` and `server` are names, empty while the request went nowhere; `outbound` is the head that
    the server got. `status`, `headers` (names in lower case) and `body` are what the client got; status 0: nothing yet.
    """

    def __init__(self, proxy: Proxy, name: str, client: ConnId, listener: str) -> None:
        self.name = name
        self.listener = listener
        self.trace = Trace()
        self.upstream = ""
        self.server = ""
        self.route = ""
        self.outbound: RequestHead | None = None
        self.sent = b""
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.outcome: Outcome | None = None
        self.client = client
        self.servers: list[ConnId] = []
        self.lost: set[ConnId] = set()
        self._proxy = proxy
        self._reader = FarReader("response")
        self._reader.methods.append(name.partition(" ")[0].encode())

    # ---- where it went

    def goes_to(
        self: _Self, upstream: str, *, path: str | None = None, host: str | None = None, server: str | None = None
    ) -> _Self:
        """It went to that upstream: for `path` (with its query), `host` as Host, by `server`'s name or url."""
        if self.upstream != upstream or self.outbound is None:
            self._fail(f"to go to {upstream}")
        assert self.outbound is not None
        if path is not None and self.outbound.target != path.encode():
            self._fail(f"to go to {upstream} for {path}, not for {self.outbound.target.decode('latin-1')}")
        if host is not None and self.outbound.authority != host.encode():
            self._fail(f"to go to {upstream} as {host}, not as {self.outbound.authority.decode('latin-1')}")
        if server is not None and self.server != server.partition("://")[2] and self.server != server:
            self._fail(f"to go to the server {server}, not to {self.server}")
        return self

    def takes_route(self: _Self, name: str) -> _Self:
        """The route of that name took it."""
        if self.route != name:
            self._fail(f"to take the route {name}")
        return self

    def sends(self: _Self, fields: Mapping[str, str | None] | None = None, /, **named: str | None) -> _Self:
        """The server got these fields: `sends(x_request_id="1")`; None says that it got none of that name."""
        if self.outbound is None:
            self._fail("to go to a server")
        assert self.outbound is not None
        got = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.outbound.headers.fields]
        self._check_fields(got, fields, named, "send")
        return self

    # ---- how it was answered

    def is_answered(self: _Self, status: int, *, body: bytes | str | None = None) -> _Self:
        """The client got that status, from whomever, and `body` as its content."""
        wanted = body.encode() if isinstance(body, str) else body
        if self.status != status:
            self._fail(f"to be answered {status}")
        if wanted is not None and self.body != wanted:
            self._fail(f"to be answered with {wanted!r}, not with {self.body!r}")
        return self

    def is_refused(self: _Self, status: int | None = None, *, rule: str | None = None) -> _Self:
        """The proxy refused it: with that status, by that rule."""
        outcome = self.outcome
        if outcome is None or outcome.cause != "refused" or self.status != (status or self.status):
            self._fail(f"to be refused{f' with {status}' if status else ''}")
        assert outcome is not None
        if rule is not None and outcome.detail != rule:
            self._fail(f"to be refused by {rule}, not by {outcome.detail}")
        return self

    def is_redirected_to(self: _Self, location: str, *, status: int | None = None) -> _Self:
        """The client was sent to `location`, with that status."""
        got = self._values("location")
        if not 300 <= self.status < 400 or got != [location] or self.status != (status or self.status):
            self._fail(f"to be redirected to {location}{f' with {status}' if status else ''}")
        return self

    def gets(self: _Self, fields: Mapping[str, str | None] | None = None, /, **named: str | None) -> _Self:
        """The client got these fields: `gets(x_frame_options="DENY")`; None says that it got none of that name."""
        if not self.status:
            self._fail("to be answered")
        self._check_fields(self.headers, fields, named, "get")
        return self

    def returns(self: _Self, status: int = 200, headers: Headers | None = None, body: bytes = b"") -> _Self:
        """The server answers so; then see what the client gets."""
        if self.outbound is None or not self.servers:
            self._fail("to go to a server that could answer")
        if self._proxy._journey is not self:
            raise AssertionError(f"{self.name}: another request was sent meanwhile; let a server answer before that")
        lines = [f"HTTP/1.1 {status} X"]
        for name, value in (headers or {}).items():
            lines += [f"{name}: {one}" for one in ([value] if isinstance(value, str) else value)]
        if status >= 200 and status not in (204, 304):
            lines.append(f"Content-Length: {len(body)}")
        data = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        content = b"" if self.outbound is not None and self.outbound.method == b"HEAD" else body
        self._proxy._tell("data_received", self.servers[-1], data + content)
        return self

    # ---- inside

    def _goes(self, exchange: Exchange, outbound: RequestHead) -> None:
        self.upstream = exchange.upstream or ""
        self.server = "" if exchange.server is None else exchange.server.name
        self.route = exchange.route.name
        self.outbound = outbound

    def _got(self, data: bytes) -> None:
        for event in self._reader.feed(data):
            if isinstance(event, Head):
                self.status = event.status
                self.headers = [(name.decode().lower(), value.decode("latin-1")) for name, value in event.fields]
            elif isinstance(event, Data):
                self.body += event.data
            else:
                assert isinstance(event, End)

    def _ended(self, notice: ExchangeEnded) -> None:
        self.outcome = notice.outcome
        self.route = notice.route

    def _values(self, name: str) -> list[str]:
        return [value for field, value in self.headers if field == name]

    def _check_fields(
        self,
        got: list[tuple[str, str]],
        fields: Mapping[str, str | None] | None,
        named: Mapping[str, str | None],
        verb: str,
    ) -> None:
        wanted = {**(fields or {}), **{name.replace("_", "-"): value for name, value in named.items()}}
        for name, value in wanted.items():
            values = [text for field, text in got if field == name.lower()]
            if value is None and values:
                self._fail(f"to {verb} no {name}, and there is {values}")
            if value is not None and value not in values:
                self._fail(f"to {verb} {name}: {value}, and there is {values or 'none'}")

    @property
    def result(self) -> str:
        """What became of it, in a line."""
        if self.status:
            location = "".join(f" to {value}" for value in self._values("location"))
            return f"was answered {self.status}{location}{self._why}"
        if self.outbound is not None:
            target = self.outbound.target.decode("latin-1")
            return f"went to {self.upstream}, server {self.server}, for {target}"
        return "waits"

    @property
    def _why(self) -> str:
        if self.outcome is None:
            return ""
        outcome = self.outcome
        how = f" ({': '.join(filter(None, (outcome.cause, outcome.detail)))})"
        return f"{how}: {outcome.reason}" if outcome.reason else how

    def _fail(self, expected: str) -> None:
        raise AssertionError(f"{self.name}: expected {expected}; it {self.result}\n\n{self.trace.render()}")

    def __repr__(self) -> str:
        return f"Journey({self.name}, {self.result})"

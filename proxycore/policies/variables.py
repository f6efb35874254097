"""Templates with {variables}, compiled: what a configuration writes into headers, redirects and keys.

A template becomes a tuple of functions when the configuration is loaded; one without variables becomes
its bytes. What a variable stands for is read from the exchange, as bytes and unchanged: whoever puts
them somewhere makes them fit for that place (`rewriting`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from proxycore.config.variables import Variable, parse_template
from proxycore.policies.conditions import cookie_values, parameter_values
from proxycore.policies.forwarding import Client
from proxycore.policies.hosts import host_of
from proxycore.policies.trace_context import trace_id_of
from proxycore.words.messages import RequestHead, ResponseHead


class Named(Protocol):
    """Anything with a name: a route, a server."""

    @property
    def name(self) -> str: ...


class Side(Protocol):
    """Where a request came in."""

    @property
    def listener(self) -> str: ...


class Scope(Protocol):
    """What variables are read from: the exchange.

    `upstream`, `server` and `response` are None as long as there is none; `began_at` is wall time in
    seconds since 1970, `elapsed` seconds since then.
    """

    @property
    def request(self) -> RequestHead: ...
    @property
    def client(self) -> Client: ...
    @property
    def downstream(self) -> Side: ...
    @property
    def route(self) -> Named: ...
    @property
    def upstream(self) -> str | None: ...
    @property
    def server(self) -> Named | None: ...
    @property
    def response(self) -> ResponseHead | None: ...
    @property
    def request_id(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def tls_subject(self) -> str: ...
    @property
    def sent(self) -> int: ...
    @property
    def began_at(self) -> float: ...
    @property
    def elapsed(self) -> float: ...


Reader = Callable[[Scope], bytes]
"""Reads one variable."""


def _text(value: str | None) -> bytes:
    return value.encode("utf-8", "surrogateescape") if value else b""


_READERS: dict[str, Reader] = {
    "client_ip": lambda scope: scope.client.ip.encode(),
    "client_port": lambda scope: scope.client.port.encode(),
    "method": lambda scope: scope.request.method,
    "scheme": lambda scope: scope.request.scheme,
    "host": lambda scope: host_of(scope.request.authority),
    "path": lambda scope: scope.request.target.partition(b"?")[0],
    "query": lambda scope: scope.request.target.partition(b"?")[2],
    "target": lambda scope: scope.request.target,
    "status": lambda scope: b"%d" % scope.response.status if scope.response is not None else b"",
    "request_id": lambda scope: scope.request_id.encode(),
    "trace_id": lambda scope: trace_id_of(scope.request.headers),
    "listener": lambda scope: _text(scope.downstream.listener),
    "route": lambda scope: _text(scope.route.name),
    "upstream": lambda scope: _text(scope.upstream),
    "server": lambda scope: _text(scope.server.name) if scope.server is not None else b"",
    "user": lambda scope: _text(scope.user),
    "tls_subject": lambda scope: _text(scope.tls_subject),
    "duration": lambda scope: b"%.3f" % scope.elapsed,
    "bytes_sent": lambda scope: b"%d" % scope.sent,
    "time": lambda scope: datetime.fromtimestamp(scope.began_at, UTC).isoformat(timespec="milliseconds").encode(),
}


def _read_header(argument: str) -> Reader:
    name = argument.lower().encode()
    if name == b"host":
        return lambda scope: scope.request.authority
    return lambda scope: b", ".join(scope.request.headers.get_all(name))


def _read_cookie(argument: str) -> Reader:
    name = argument.encode()
    return lambda scope: next(iter(cookie_values(scope.request.headers, name)), b"")


def _read_query(argument: str) -> Reader:
    name = argument.encode()
    return lambda scope: next(iter(parameter_values(scope.request.target.partition(b"?")[2], name)), b"")


_FAMILIES: dict[str, Callable[[str], Reader]] = {
    "header": _read_header,
    "cookie": _read_cookie,
    "query": _read_query,
}


def reader_of(variable: Variable) -> Reader:
    """The function that reads a variable."""
    return _FAMILIES[variable.name](variable.argument) if variable.argument else _READERS[variable.name]


class Template:
    """A compiled template. `constant` are its bytes if it has no variables, else None."""

    __slots__ = ("_parts", "constant", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = [part.encode() if isinstance(part, str) else reader_of(part) for part in parse_template(text)]
        texts = [part for part in self._parts if isinstance(part, bytes)]
        self.constant = b"".join(texts) if len(texts) == len(self._parts) else None

    def render(self, scope: Scope) -> bytes:
        """The text with its variables filled in."""
        if self.constant is not None:
            return self.constant
        return b"".join([part if isinstance(part, bytes) else part(scope) for part in self._parts])

    def __repr__(self) -> str:
        return f"Template({self.text!r})"


def shown_values(key: bytes) -> str:
    """A key for a person: the values that stand in it, each behind its length, with blanks between them."""
    values = []
    rest = key
    while rest:
        digits, _, behind = rest.partition(b":")
        length = int(digits) if digits.isdigit() and len(digits) < 6 else len(rest)
        if length > len(behind):
            return key.decode("latin-1")
        values.append(behind[:length].decode("latin-1") or '""')
        rest = behind[length:]
    return " ".join(values)

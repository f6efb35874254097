"""What an observer may watch. Dropping a notice changes nothing.

`Core(..., watch=...)` names the kinds that are wanted: others are never built.
"""

from __future__ import annotations

from typing import Literal

from proxycore.words.errors import Outcome
from proxycore.words.messages import Headers

Kind = Literal["exchanges", "servers", "connections", "attacks", "faults"]
"""What an observer asks for: `ExchangeEnded`, `ServerChanged`, `ConnectionEnded`, `AttackFound`, `Fault`."""

ALL_KINDS: frozenset[Kind] = frozenset(("exchanges", "servers", "connections", "attacks", "faults"))


class Notice:
    """One thing that happened. `wall` is seconds since the epoch."""

    __slots__ = ("wall",)

    def __init__(self, wall: float) -> None:
        self.wall = wall

    def __repr__(self) -> str:
        names = [name for cls in reversed(type(self).__mro__) for name in getattr(cls, "__slots__", ())]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


class ExchangeEnded(Notice):
    """One exchange, whole: what the access log and the metrics are made of.

    `wall` is when its head had been read. Durations are seconds: `duration` to the last byte that
    left, `queued` for a server, `connected` to dial one (0.0 on a reused connection), `first_byte`
    from the request sent to the response's head; `None` where it did not come to that. `status` is
    0 where no head was sent. `headers` are the request's as they are now. `received` and `sent`
    count content on the client's side; `messages` is how many a WebSocket's client sent and was
    sent, None for any other exchange.
    """

    __slots__ = (
        "authority",
        "client",
        "client_port",
        "connected",
        "duration",
        "exchange",
        "first_byte",
        "headers",
        "listener",
        "messages",
        "method",
        "outcome",
        "queued",
        "received",
        "request_id",
        "retries",
        "route",
        "scheme",
        "sent",
        "server",
        "status",
        "target",
        "tls_subject",
        "upstream",
        "user",
        "version",
    )

    exchange: int
    listener: str
    messages: tuple[int, int] | None
    route: str
    client: str
    client_port: str
    method: bytes
    scheme: bytes
    authority: bytes
    target: bytes
    version: bytes
    status: int
    outcome: Outcome
    received: int
    sent: int
    duration: float
    queued: float | None
    connected: float | None
    first_byte: float | None
    upstream: str
    server: str
    retries: int
    request_id: str
    user: str
    tls_subject: str
    headers: Headers


class ServerChanged(Notice):
    """A server of an upstream was ejected, came back, was added or removed; `reason` says why."""

    __slots__ = ("reason", "server", "state", "upstream")

    def __init__(self, wall: float, upstream: str, server: str, state: str, reason: str) -> None:
        super().__init__(wall)
        self.upstream = upstream
        self.server = server
        self.state = state
        self.reason = reason


class ConnectionEnded(Notice):
    """A downstream connection that carried no request: a scan, a health check, an early leave."""

    __slots__ = ("client", "duration", "listener", "reason")

    def __init__(self, wall: float, listener: str, client: str, duration: float, reason: str) -> None:
        super().__init__(wall)
        self.listener = listener
        self.client = client
        self.duration = duration
        self.reason = reason


class AttackFound(Notice):
    """Something that looks like an attack, by the rules of a route's `waf`; `blocked` says whether it was refused.

    `findings` are id and name of each rule, which value it read, and the part that it matched.
    """

    __slots__ = ("blocked", "client", "findings", "request_id", "route", "score")

    def __init__(
        self,
        wall: float,
        *,
        client: str,
        route: str,
        request_id: str,
        score: int,
        blocked: bool,
        findings: list[tuple[str, str, str, str]],
    ) -> None:
        super().__init__(wall)
        self.client = client
        self.route = route
        self.request_id = request_id
        self.score = score
        self.blocked = blocked
        self.findings = findings


class Fault(Notice):
    """An exception in our code or in a user's filter: a bug, with its traceback. One exchange paid for it."""

    __slots__ = ("traceback", "where")

    def __init__(self, wall: float, where: str, traceback: str) -> None:
        super().__init__(wall)
        self.where = where
        self.traceback = traceback

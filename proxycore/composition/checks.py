"""Active health checks: each server is asked by itself, again and again, whether it is well.

A `Check` has a connection of its own, dialled for it and closed after it: a kept one would show that the server answers
those it has, not that it takes others. So it is no exchange, holds no lease, and counts nowhere that balancing looks;
a server at its `max_connections` is checked like any other. What it finds goes to the server's `Health`, which decides.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from proxycore.composition.tls_upstream import dial
from proxycore.composition.wire import Wire
from proxycore.config import HealthCheck
from proxycore.mechanisms.http1 import writer
from proxycore.mechanisms.timers import Timer
from proxycore.words.errors import Malformed
from proxycore.words.ids import Address, ConnId
from proxycore.words.messages import Headers, RequestHead, ResponseHead

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.upstreams import ServerState

SPREAD = 1.0
"""Seconds over which the first checks of all servers are spread."""

BODY_MAX = 65_536
"""Bytes of an answer in which `expect_body` is looked for."""


class Checks:
    """The checks of one server. `stop` ends them."""

    __slots__ = ("_check", "_clock", "_engine", "_request", "_server", "config")

    def __init__(self, engine: Engine, server: ServerState, config: HealthCheck) -> None:
        self._engine = engine
        self._server = server
        self.config = config
        self._request = _request(config, server.host)
        self._check: Check | None = None
        self._clock = Timer(engine.timers, self._begin)
        self._clock.set(engine.now + engine.random.random() * min(config.interval, SPREAD))

    @property
    def armed_clocks(self) -> int:
        return (self._clock.at != inf) + (self._check is not None)

    def hurry(self) -> None:
        """The verdict has changed by what traffic met: the next check comes sooner."""
        if self._check is None:
            self._clock.set(min(self._clock.at, self._next_after(self._engine.now)))

    def stop(self) -> None:
        self._clock.drop()
        if self._check is not None:
            self._check.cancel()

    def _begin(self) -> None:
        self._check = check = Check(self._engine, self._server, self.config, self._request, self._ended)
        check.begin()

    def _ended(self, error: str, began: float) -> None:
        self._check = None
        self._server.checked(error, began)
        self._clock.set(max(self._engine.now, self._next_after(began)))

    def _next_after(self, time: float) -> float:
        return time + self._server.health.next_check(self._engine.now, self._engine.random)


def _request(check: HealthCheck, host: bytes) -> bytes:
    fields = [(name.lower().encode(), value.encode()) for name, value in check.headers.items()]
    if not any(name == b"user-agent" for name, _ in fields):
        fields.append((b"user-agent", b"proxycore-health-check"))
    authority = check.host.encode() if check.host else host
    head = RequestHead(check.method.encode(), check.path.encode(), authority, Headers(fields), persistent=False)
    return writer.request_head(head)


class Check:
    """One check. It tells `told` what was wrong, empty for nothing, and when it was begun; once, unless cancelled."""

    __slots__ = (
        "_addresses",
        "_body",
        "_clock",
        "_config",
        "_engine",
        "_is_over",
        "_reader",
        "_request",
        "_server",
        "_told",
        "began",
        "conn",
        "wire",
    )

    wire: Wire

    def __init__(
        self,
        engine: Engine,
        server: ServerState,
        config: HealthCheck,
        request: bytes,
        told: Callable[[str, float], None],
    ) -> None:
        self._engine = engine
        self._server = server
        self._config = config
        self._request = request
        self._told = told
        self._addresses: list[Address] = []
        self._reader = engine.plan.response_reader()
        self._body = b""
        self._is_over = False
        self._clock = Timer(engine.timers, self._expired)
        self.began = engine.now
        self.conn: ConnId | None = None

    def begin(self) -> None:
        self._clock.set(self._engine.now + self._config.timeout)
        self._addresses = self._server.place.rotation()
        if self._addresses:
            self._connect()
        else:
            self._server.place.wait(id(self), self._resolved)

    def cancel(self) -> None:
        """Nobody wants to know any more."""
        self._close(abort=True)

    def _resolved(self) -> None:
        self._addresses = self._server.place.rotation()
        if self._addresses:
            self._connect()
        else:
            self._end(f"{self._server.place.host}: {self._server.place.error}")

    def _connect(self) -> None:
        self.conn = ConnId(self._engine.mint())
        tls = None if self._config.type == "tcp" else self._server.tls
        self.wire = dial(self._engine, self, self.conn, self._addresses.pop(0), tls)

    # ---- facts

    def connected(self, local: Address, peer: Address) -> None:
        if self._is_over:
            return
        if self._config.type == "tcp":
            return self._end("")
        self._reader.expect(self._config.method.encode())
        self.wire.write(self._request)

    def connect_failed(self, error: str) -> None:
        self.wire.connection_lost(error)
        self.conn = None
        if self._is_over:
            return
        if self._addresses:
            self._connect()
        else:
            self._end(error)

    def handshake_failed(self, error: str, detail: str) -> None:
        self._end(f"{error}: {detail}")

    def data_received(self, data: bytes) -> None:
        if not self._is_over:
            self._reader.receive(data)
            self._read_on()

    def eof_received(self) -> None:
        if not self._is_over:
            self._reader.eof_received()
            self._read_on()
            self._end("it closed the connection before its answer was whole")

    def peer_ended(self) -> None:
        """What it said is read when its turn comes."""

    def connection_lost(self, error: str | None) -> None:
        self.wire.connection_lost(error)
        self.conn = None
        self._end(error or "closed")

    def blocked(self) -> None:
        """A request of one small head: nothing feeds it."""

    def unblocked(self) -> None:
        """See `blocked`."""

    def send_expired(self) -> None:
        self._expired()

    # ---- the answer

    def _read_on(self) -> None:
        try:
            while not self._is_over:
                event = self._reader.next_event()
                if event is None:
                    return
                if isinstance(event, ResponseHead):
                    self._judge_head(event)
                elif isinstance(event, bytes):
                    self._judge_content(event)
                else:
                    self._end(f"its content lacks {self._config.expect_body!r}")
        except Malformed as malformed:
            self._end(malformed.reason)

    def _judge_head(self, head: ResponseHead) -> None:
        if head.status < 200:
            return
        if not any(head.status in statuses for statuses in self._config.expect):
            self._end(f"status {head.status}")
        elif self._config.expect_body is None:
            self._end("")
        elif not head.has_content:
            self._end(f"its content lacks {self._config.expect_body!r}")

    def _judge_content(self, data: bytes) -> None:
        assert self._config.expect_body is not None
        self._body += data
        if self._config.expect_body.encode() in self._body:
            self._end("")
        elif len(self._body) > BODY_MAX:
            self._end(f"the first {BODY_MAX} bytes of its content lack {self._config.expect_body!r}")

    def _expired(self) -> None:
        if not self._is_over:
            self._close(abort=True)
            self._told(f"no answer within {self._config.timeout:g} s", self.began)

    def _end(self, error: str) -> None:
        if not self._is_over:
            self._close()
            self._told(error, self.began)

    def _close(self, *, abort: bool = False) -> None:
        self._is_over = True
        self._clock.drop()
        self._server.place.leave(id(self))
        if self.conn is not None:
            if abort or self.conn in self._engine.dialled:
                self.wire.abort()
            else:
                self.wire.close()

    def __repr__(self) -> str:
        return f"Check({self.conn}, {self._server.name}, began={self.began:g}, is_over={self._is_over})"

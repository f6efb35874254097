"""A connection to a server, spoken HTTP/1.1, and the lease that one exchange at a time has of it.

Theory of operation. The connection is dialled for an exchange and carries its request; when the
response has come whole, the request has left whole, and both sides would go on, it returns to its
server's idle ones. In any other case it is closed: a byte too many, an early response, a server
that says `close`. The exchange sees it as an `UpstreamSide` and never learns which protocol it is.

What is told to the exchange comes last in each method: the exchange may end, dial again or begin
the next one from within that call, so this connection's own books must be closed before.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from proxycore.composition.tables import UPSTREAM
from proxycore.composition.tls_upstream import dial
from proxycore.composition.tunnel import Tunnel
from proxycore.composition.wire import Wire
from proxycore.mechanisms.gates import PEER_SLOW
from proxycore.mechanisms.http1 import writer
from proxycore.mechanisms.http1.reader import ResponseReader
from proxycore.mechanisms.timers import Timer
from proxycore.words.errors import Failure, Malformed, Resend, Stage
from proxycore.words.ids import Address, ConnId
from proxycore.words.messages import ABSENT, UNKNOWN, Field, RequestHead, ResponseHead

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.upstreams import ServerState

_CONNECT_ERRORS = {
    "ECONNREFUSED": "connection_refused",
    "ENOENT": "connection_refused",
    "ETIMEDOUT": "connection_timeout",
    "ENETUNREACH": "destination_ip_unroutable",
    "EHOSTUNREACH": "destination_ip_unroutable",
    # These are our own want, and say nothing of the server.
    "EMFILE": "proxy_internal_error",
    "ENFILE": "proxy_internal_error",
    "ENOBUFS": "proxy_internal_error",
    "ENOMEM": "proxy_internal_error",
    "EADDRNOTAVAIL": "proxy_internal_error",
}


class UpstreamConnection:
    """One connection to `server`: an `Endpoint` for the core, an `UpstreamSide` for its exchange."""

    __slots__ = (
        "_addresses",
        "_chunked",
        "_clock",
        "_engine",
        "_expects_continue",
        "_is_bad",
        "_left",
        "_persistent",
        "_reader",
        "_request_done",
        "_responding",
        "_served",
        "conn",
        "connect_seconds",
        "exchange",
        "first_byte_seconds",
        "is_ready",
        "server",
        "since",
        "state",
        "wire",
    )

    wire: Wire

    def __init__(self, engine: Engine, server: ServerState) -> None:
        self._engine = engine
        self._addresses: list[Address] = []
        self._clock = Timer(engine.timers, self._expired)
        self._reader: ResponseReader = engine.plan.response_reader()
        self._chunked = False
        self._expects_continue = False
        self._is_bad = False
        self._left = 0
        self._persistent = True
        self._request_done = True
        self._responding = False
        self._served = 0
        self.conn: ConnId | None = None
        self.server = server
        self.exchange: Exchange | None = None
        self.state = "dialling"
        self.is_ready = False
        self.since = engine.now
        self.connect_seconds = 0.0
        self.first_byte_seconds: float | None = None

    # ---- dialling

    def dial(self, exchange: Exchange) -> None:
        """Reach the server for `exchange`; it is told `lease_ready` or `upstream_failed`, never from within."""
        self.exchange = exchange
        self._clock.set(self._engine.now + exchange.timeouts.connect)
        self._addresses = self.server.place.rotation()
        if self._addresses:
            self._connect()
        else:
            self.server.place.wait(id(self), self._resolved)

    def _resolved(self) -> None:
        self._addresses = self.server.place.rotation()
        if self._addresses:
            self._connect()
        else:
            self._fail_dial("resolve", "dns_error", self.server.place.error)

    def _connect(self) -> None:
        self.conn = ConnId(self._engine.mint())
        self.wire = dial(self._engine, self, self.conn, self._addresses.pop(0), self.server.tls)

    def connected(self, local: Address, peer: Address) -> None:
        if self.state != "dialling":
            return
        self._clock.clear()
        self.connect_seconds = self._engine.now - self.since
        self.state = UPSTREAM[self.state]["lease"]
        self.is_ready = True
        assert self.exchange is not None
        self.exchange.lease_ready(self)

    def connect_failed(self, error: str) -> None:
        self.wire.connection_lost(error)
        if self.state == "dialling" and self._addresses:
            self.state = UPSTREAM[self.state]["redial"]
            self._connect()
        elif self.state == "dialling":
            self._fail_dial("connect", _CONNECT_ERRORS.get(error, "destination_unavailable"), error)
        else:
            self._lose()

    def handshake_failed(self, error: str, detail: str) -> None:
        """TLS with the server came to nothing, and nothing of the request was sent."""
        if self.state == "dialling":
            failure = self._failure(error, detail)
            self._close()
            self._end_lease_with(failure)

    def _fail_dial(self, stage: Stage, error: str, detail: str) -> None:
        status = 504 if error == "connection_timeout" else 502
        failure = Failure(stage, error, status=status, resend="safe", detail=f"{self.server.name}: {detail}")
        self._lose()
        self._end_lease_with(failure)

    # ---- the exchange's side

    def lease_to(self, exchange: Exchange) -> None:
        """Take an idle connection for `exchange`, which goes on with `send_request`."""
        self.state = UPSTREAM[self.state]["lease"]
        self._clock.clear()
        self.exchange = exchange

    @property
    def is_reused(self) -> bool:
        """Whether an earlier exchange used it: the server may be closing it right now."""
        return self._served > 0

    @property
    def is_blocked(self) -> bool:
        return self.wire.is_blocked

    def send_request(self, head: RequestHead) -> None:
        length = head.length
        self._chunked = length == UNKNOWN
        self._left = length if length > 0 else 0
        self._request_done = length == ABSENT or length == 0
        self._expects_continue = head.expect_continue
        self._responding = False
        self.first_byte_seconds = None
        self.since = self._engine.now
        data = writer.request_head(head)
        self._reader.expect(head.method, head.upgrade)
        self.wire.write(data)
        if self._request_done:
            self._await_head()

    def send_data(self, data: bytes) -> None:
        """A piece of content. Raises ValueError where it is more than the head declared, and so the next request."""
        if self._chunked:
            for piece in writer.chunk(data):
                self.wire.write(piece)
            return
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("a request with more content than its head declares")
        self.wire.write(data)

    def send_end(self, trailers: list[Field]) -> None:
        """All content has been sent. Raises ValueError where it is less than the head declared."""
        if self._chunked:
            self.wire.write(writer.last_chunk(trailers))
        elif self._left:
            raise ValueError("a request with less content than its head declares")
        self._request_done = True
        if not self._responding:
            self.since = self._engine.now
            self._await_head()

    def cancel(self) -> None:
        """The exchange is over before the response was: nobody can use what would still come."""
        self._end_lease()
        self._abort()
        self.server.upstream.serve_queue()

    def hand_over(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def pause_response(self) -> None:
        self._clock.clear()
        self.wire.shut(PEER_SLOW)

    def resume_response(self) -> None:
        self.wire.open(PEER_SLOW)
        if self.exchange is None:
            return
        if self._responding:
            self._clock.set(self._engine.now + self.exchange.timeouts.response_body)
        elif self._request_done and self.state == "leased":
            self._await_head()

    def send_raw(self, data: bytes) -> None:
        self.wire.write(data)

    def send_raw_eof(self) -> None:
        self.wire.send_eof()

    def end_tunnel(self) -> None:
        """Both sides are done: close once all is sent."""
        self._end_lease()
        self._close()
        self.server.upstream.serve_queue()

    # ---- facts

    def data_received(self, data: bytes) -> None:
        if self.state == "leased":
            self._reader.receive(data)
            self._read_on()
        elif self.state == "tunnel":
            self._tunnel.from_upstream(data)
        elif self.state == "idle":
            # Bytes that no request asked for: whatever they are, the next response can't be told from them.
            self.retire()

    def eof_received(self) -> None:
        if self.state == "leased":
            self._reader.eof_received()
            self._persistent = False
            self._read_on()
            if self.state == "leased":
                self._fail("connection_terminated", 502)
        elif self.state == "tunnel":
            self._tunnel.eof_from_upstream()
        elif self.state == "idle":
            self.retire()

    def peer_ended(self) -> None:
        """The server has said all that it will: it is read when its turn comes."""

    def connection_lost(self, error: str | None) -> None:
        self.wire.connection_lost(error)
        if self.state == "idle":
            self.server.forget(self)
        kind, said_by_tls, detail = (error or "closed").partition(": ")
        if not said_by_tls:
            kind, detail = "connection_terminated", kind
        failure = self._failure(kind, detail) if self.exchange is not None else None
        self._lose()
        if failure is not None:
            self._end_lease_with(failure)

    def blocked(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_blocked()

    def unblocked(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_unblocked()

    def send_expired(self) -> None:
        if self.state in ("leased", "tunnel"):
            self._fail("connection_write_timeout", 504)
        elif self.state == "idle":
            self.retire()
        else:
            self._abort()

    # ---- reading a response

    def _read_on(self) -> None:
        exchange = self.exchange
        reader = self._reader
        try:
            while self.exchange is exchange and exchange is not None:
                event = reader.next_event()
                if event is None:
                    if self._responding and not self.wire.is_gated:
                        self._clock.set(self._engine.now + exchange.timeouts.response_body)
                    return
                if isinstance(event, bytes):
                    exchange.response_data(event)
                elif isinstance(event, ResponseHead):
                    self._head_received(exchange, event)
                else:
                    self._complete(exchange, event.trailers)
        except Malformed as malformed:
            self._break_off(self._failure(malformed.error, malformed.reason))

    def _head_received(self, exchange: Exchange, head: ResponseHead) -> None:
        if head.status < 200:
            if head.status == 101:
                self._upgraded(exchange, head)
            else:
                if head.status == 100:
                    self._expects_continue = False
                exchange.response_interim(head)
            return
        self._responding = True
        # Content may be under way that the server didn't ask for, and that it takes for a request if it is careless.
        self._persistent = self._persistent and head.persistent and not self._expects_continue
        self.first_byte_seconds = self._engine.now - self.since
        self._is_bad = head.status in self.server.upstream.bad_statuses
        if self._is_bad:
            self.server.misbehaved(f"status {head.status}")
        exchange.response_head(head)
        content = self._reader.take_content() if head.has_content else b""
        if content is not None and self.exchange is exchange:
            if content:
                exchange.response_data(content)
            if self.exchange is exchange:
                self._complete(exchange, [])

    def _complete(self, exchange: Exchange, trailers: list[Field]) -> None:
        """The response is whole. The lease ends first: what the exchange does next may need this connection."""
        self._served += 1
        server = self.server
        health = server.health
        if health.failures and not self._is_bad:
            health.failures = 0
        self.exchange = None
        server.upstream.ended(server, self.first_byte_seconds)
        if self.wire.is_gated:
            # The client of this exchange may be slow; the next one's need not be.
            self.wire.open(PEER_SLOW)
        has_left = self._request_done and not self.wire.is_waiting
        seconds = server.keep(self) if has_left and self._persistent and not self._reader.unread else 0.0
        if seconds:
            self.state = UPSTREAM[self.state]["release"]
            self._clock.set(self._engine.now + seconds)
        elif has_left:
            self._close()
        else:
            self._abort()
        exchange.response_end(trailers)
        if server.upstream.queue:
            server.upstream.serve_queue()

    def _upgraded(self, exchange: Exchange, head: ResponseHead) -> None:
        exchange.check_upgrade(head)
        self._clock.clear()
        self.state = UPSTREAM[self.state]["upgrade"]
        exchange.upgraded(head, self._reader.take_rest())

    # ---- ends

    def _await_head(self) -> None:
        assert self.exchange is not None
        if self.wire.is_gated:
            return  # it may be here already: the clock runs again when we read
        self._clock.set(self._engine.now + self.exchange.timeouts.response_head)

    def _expired(self) -> None:
        if self.state == "idle":
            self.retire()
        elif self.state == "dialling":
            self._break_off(self._failure("connection_timeout", "no connection in time", 504))
        elif self.state == "leased" and self._responding:
            self._fail("connection_read_timeout", 504)
        elif self.state == "leased":
            self._head_is_due()

    def _head_is_due(self) -> None:
        """The clock of the response's head has run down. It counts from when the last of the request left."""
        assert self.exchange is not None
        due = self.wire.emptied_at + self.exchange.timeouts.response_head
        if self.wire.is_waiting:
            self._await_head()  # it isn't sent yet: the send clock runs
        elif due > self._engine.now:
            self._clock.set(due)
        else:
            self._fail("http_response_timeout", 504)

    def _fail(self, error: str, status: int) -> None:
        self._break_off(self._failure(error, error.replace("_", " "), status))

    def _break_off(self, failure: Failure) -> None:
        """The try is over, and the connection: nobody can use what would still come."""
        self._abort()
        self._end_lease_with(failure)

    def _failure(self, error: str, detail: str, status: int = 502) -> Failure:
        """What happened, by how far the exchange had come."""
        stage: Stage = "response_body" if self._responding else "response_head" if self._request_done else "request"
        if self.state == "tunnel":
            stage = "tunnel"
        elif self.state == "dialling":
            # It was connected if nobody waits for that any more: then its handshake is under way.
            stage = "connect" if self.conn is None or self.conn in self._engine.dialled else "tls"
        resend: Resend = "idempotent" if stage in ("request", "response_head") else "never"
        if stage in ("connect", "tls"):
            resend = "safe"
        return Failure(stage, error, status=status, resend=resend, detail=f"{self.server.name}: {detail}")

    def retire(self) -> None:
        """Close an idle connection."""
        self.server.forget(self)
        self._close()

    def _close(self) -> None:
        self.state = UPSTREAM[self.state]["close"]
        self._clock.clear()
        self.wire.close()

    def _abort(self) -> None:
        self._clock.clear()
        if self.conn is None:
            self.server.place.leave(id(self))
            return self._lose()
        self.state = UPSTREAM[self.state]["close"]
        self.wire.abort()

    def _lose(self) -> None:
        """The last fact has come, or there will be none: this connection takes no place any more."""
        self.state = UPSTREAM[self.state]["lose"]
        self._clock.drop()
        self.server.connections -= 1

    def _end_lease(self) -> None:
        if self.exchange is not None:
            self.exchange = None
            self.server.upstream.ended(self.server, self.first_byte_seconds)

    def _end_lease_with(self, failure: Failure) -> None:
        exchange = self.exchange
        self._end_lease()
        if exchange is not None:
            if self._responding or not self.is_reused or failure.error != "connection_terminated":
                # Else a kept connection was closed as it was used, which speaks of nothing (RFC 9112 section 9.3.1).
                self.server.failed(failure)
            exchange.upstream_failed(failure)
            self.server.upstream.serve_queue()

    @property
    def ends_at(self) -> float:
        """When its clock ends what it is at, or itself; inf for never."""
        return self._clock.at

    @property
    def _tunnel(self) -> Tunnel:
        assert self.exchange is not None
        assert self.exchange.tunnel is not None
        return self.exchange.tunnel

    def __repr__(self) -> str:
        clock = "off" if self._clock.at == inf else f"{self._clock.at:g}"
        return (
            f"UpstreamConnection({self.conn}, {self.server.name}, {self.state}, served={self._served}, clock={clock})"
        )

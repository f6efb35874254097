"""A client's connection, spoken HTTP/1.0 or 1.1: one exchange after the other, answers in order.

Theory of operation. Bytes go to the reader; `_advance` takes from it what can be used now: a head
begins an exchange, content goes to the exchange, and while an exchange runs whose request is whole,
what else has come waits in the reader (it is pipelined) and reading stops at `limits.buffer`. When
the exchange has ended, `exchange_ended` decides between keeping the connection, lingering and
closing, and `_advance` goes on from there: in a loop, not by recursion, so that a thousand
pipelined requests take no more stack than one. Nor do they take all the time: after `STEPS` of
them, or when their answers fill the buffer, it goes on in a later fact, and others have their turn.

Each wait has its clock: `request_head` is absolute, from the first byte to the end of the head, so
that dripping bytes buys no time; content has its `Pace`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from proxycore.composition.answers import unread
from proxycore.composition.draining import GRACE
from proxycore.composition.engine import TURN_SECONDS
from proxycore.composition.exchange import Exchange
from proxycore.composition.pace import Pace
from proxycore.composition.tables import DOWNSTREAM
from proxycore.composition.tunnel import Tunnel
from proxycore.composition.wire import Wire
from proxycore.mechanisms.gates import BUFFER, HELD, PEER_SLOW, TURN
from proxycore.mechanisms.http1 import writer
from proxycore.mechanisms.timers import Timer
from proxycore.words.errors import Refused
from proxycore.words.messages import UNKNOWN, End, Field, RequestHead, ResponseHead
from proxycore.words.notices import ConnectionEnded

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.plan import ListenerPlan
    from proxycore.policies.forwarding import Peer

STEPS = range(16)
"""Requests that we answer ourselves, or pieces of content, that are used in one fact."""

LINGER_BYTES = 256 * 1024
"""What is read and discarded at most after an early answer, before the connection is closed all the same."""


class DownstreamConnection:
    """An `Endpoint` for the core, a `DownstreamSide` for its exchange."""

    __slots__ = (
        "_advancing",
        "_chunked",
        "_clock",
        "_discarded",
        "_ends_by_close",
        "_engine",
        "_exchange",
        "_half_closed",
        "_left",
        "_listener",
        "_pace",
        "_persistent",
        "_reader",
        "_reading_body",
        "_served",
        "_since",
        "_turn",
        "hsts",
        "is_draining",
        "listener",
        "outlet",
        "peer",
        "state",
        "wire",
    )

    def __init__(self, engine: Engine, wire: Wire, listener: ListenerPlan, peer: Peer, *, since: float) -> None:
        self._engine = engine
        self._listener = listener
        self.listener = listener.name
        self.hsts = listener.hsts
        self.peer = peer
        self.outlet = self.wire = wire
        wire.owner = self
        self.state = "idle"
        self._reader = engine.plan.request_reader(listener.scheme)
        self._exchange: Exchange | None = None
        self._clock = Timer(engine.timers, self._expired)
        self._clock.set(since + engine.plan.timeouts.request_head)
        self._turn: Timer | None = None
        self._advancing = False
        self._reading_body = False
        self._chunked = False
        self._ends_by_close = False
        self._left = 0
        self._persistent = True
        self._half_closed = False
        self._served = 0
        self._discarded = 0
        self._pace: Pace | None = None
        self._since = since
        self.is_draining = False

    # ---- facts

    def data_received(self, data: bytes) -> None:
        state = self.state
        if state == "tunnel":
            self._tunnel.from_client(data)
        elif state == "lingering":
            self._discard(len(data))
        elif state != "closing":
            self._reader.receive(data)
            self._advance()

    def eof_received(self) -> None:
        state = self.state
        self._half_closed = True
        if state == "tunnel":
            self._tunnel.eof_from_client()
        elif state == "busy":
            exchange = self._exchange
            assert exchange is not None
            if self._listener.may_half_close and exchange.request_is_whole:
                return
            exchange.client_left()
        elif self._listener.may_half_close and self.wire.is_gated:
            return  # requests are here that wait for their turn, or for room for their answers
        elif state != "closing":
            self._close()

    def peer_ended(self) -> None:
        """The client has left behind what it sent, unless it may wait for its answer so."""
        if self.state == "busy" and self._exchange is not None and not self._listener.may_half_close:
            self._half_closed = True
            self._exchange.client_left()

    def connection_lost(self, error: str | None) -> None:
        exchange = self._exchange
        self.state = DOWNSTREAM[self.state]["lose"]
        self._clock.drop()
        if self._turn is not None:
            self._turn.drop()
        self._exchange = None
        if exchange is not None:
            exchange.client_left()
        self.wire.connection_lost(error)
        if self._served == 0 and "connections" in self._engine.watch:
            self._notify_empty(error)

    def _notify_empty(self, error: str | None) -> None:
        engine = self._engine
        seconds = engine.now - self._since
        engine.notify(ConnectionEnded(engine.wall, self.listener, self.peer.ip, seconds, error or "closed"))

    def blocked(self) -> None:
        if self._exchange is not None:
            self._exchange.downstream_blocked()

    def unblocked(self) -> None:
        self.wire.open(PEER_SLOW)
        if self._exchange is not None:
            self._exchange.downstream_unblocked()
        else:
            self._advance()

    def send_expired(self) -> None:
        for leaving in self.wire.leaving:
            leaving.send_timed_out()
        if self._exchange is not None:
            # Else the end of a request that wasn't answered yet would close gently: after bytes that never leave.
            self.state = DOWNSTREAM[self.state]["close"]
            self._exchange.send_timed_out()
        self._abort()

    # ---- reading requests

    def _advance(self) -> None:
        """Use what has been read, as far as it can be used now."""
        if self._advancing:
            return
        self._advancing = True
        reader = self._reader
        try:
            for step in STEPS:
                if self._exchange is None:
                    if self.state not in ("idle", "head"):
                        break
                    if step and self.wire.unsent >= self._engine.plan.limits.buffer:
                        self._wait_for_turn()
                        break
                    if self.wire.is_blocked:
                        # A client that asks and asks, and doesn't read: it gets no more until it does.
                        self.wire.shut(PEER_SLOW)
                        break
                    event = reader.next_event()
                    if event is None:
                        self._await_head()
                        break
                    assert isinstance(event, RequestHead)
                    self._begin(event)
                elif self._pace is not None:
                    if not self._read_body(self._exchange, self._pace):
                        break
                else:
                    if reader.unread and reader.buffered >= self._engine.plan.limits.buffer:
                        self.wire.shut(BUFFER)
                    break
            else:
                self._wait_for_turn()
        except Refused as refused:
            self._refused(refused)
        finally:
            self._advancing = False

    def _wait_for_turn(self) -> None:
        """Much was used, and there may be more: others come first, and nothing is read meanwhile."""
        if self._turn is None:
            self._turn = Timer(self._engine.timers, self._take_turn)
        self._turn.set(self._engine.now + TURN_SECONDS)
        self.wire.shut(TURN)

    def _take_turn(self) -> None:
        self.wire.open(TURN)
        self._advance()

    def _await_head(self) -> None:
        """Nothing whole is here: the idle clock runs, or the head's, which later bytes don't push on."""
        engine = self._engine
        if self._reader.mid_head and self.state == "idle":
            self.state = DOWNSTREAM[self.state]["begin"]
            if self._served:
                self._clock.set(engine.now + engine.plan.timeouts.request_head)
        if self._half_closed:
            self._close()

    def _begin(self, head: RequestHead) -> None:
        engine = self._engine
        self.state = DOWNSTREAM[self.state]["read"]
        self._served += 1
        plan = engine.plan
        self._persistent = (
            head.persistent and self._served < plan.limits.requests_per_connection and not self.is_draining
        )
        self._exchange = exchange = Exchange(engine, self, head, plan)
        if exchange.content is not None:
            self._reading_body = True
            self._pace = Pace(engine, exchange, self._clock)
        exchange.begin()

    def _read_body(self, exchange: Exchange, pace: Pace) -> bool:
        """Take one piece of content, with the end if that is here, too. False: no more for now."""
        whole = self._reader.take_content()
        event = self._reader.next_event() if whole is None else whole
        if event is None:
            if not self.wire.is_gated:
                pace.wait()
            return False
        if isinstance(event, End):
            self._end_body(exchange, pace, event.trailers)
            return True
        assert isinstance(event, bytes)
        if event:
            pace.received(len(event))
            exchange.request_data(event)
        if self._exchange is exchange:
            if whole is not None:
                self._end_body(exchange, pace, [])
            elif not self.wire.is_gated and pace.is_too_slow:
                exchange.request_timed_out("request_body")
        return True

    def _end_body(self, exchange: Exchange, pace: Pace, trailers: list[Field]) -> None:
        self._reading_body = False
        self._pace = None
        pace.end()
        exchange.request_end(trailers)

    def _refused(self, refused: Refused) -> None:
        """What came is no request: answer, and read on nowhere (waitress, CVE-2024-49768)."""
        self._persistent = False
        if self._exchange is not None:
            self._exchange.request_refused(refused)
        else:
            self._begin_unread(refused).refuse(refused, "framing")

    def _begin_unread(self, refused: Refused | None = None) -> Exchange:
        """An exchange for a request whose head we don't have: it is answered, and logged, like any other."""
        self.state = DOWNSTREAM[self.state]["read"]
        self._clock.clear()
        self._served += 1
        self._persistent = False
        self._reading_body = True
        head = unread(refused, self._listener.scheme)
        self._exchange = exchange = Exchange(self._engine, self, head, self._engine.plan)
        return exchange

    # ---- the exchange's side

    def send_interim(self, head: ResponseHead) -> None:
        assert self._exchange is not None
        if self._exchange.request.version != b"1.0":
            self._write_head(self._exchange.request, head)

    def send_head(self, head: ResponseHead) -> None:
        exchange = self._exchange
        assert exchange is not None
        request = exchange.request
        content = exchange.content
        if (content is not None and not content.is_done) or (self._half_closed and not self._reader.unread):
            self._persistent = False
        self._chunked = self._ends_by_close = False
        self._left = head.length if head.has_content and head.status not in (204, 304) else 0
        if head.length == UNKNOWN:
            self._chunked = writer.is_chunked(head, request.version)
            if writer.ends_by_close(head, request.version):
                self._ends_by_close = True
                self._persistent = False
        self._write_head(request, head)

    def _write_head(self, request: RequestHead, head: ResponseHead) -> None:
        self.wire.write(writer.response_head(head, request.method, request.version, self._persistent))

    def send_data(self, data: bytes) -> None:
        """A piece of content. Raises ValueError where it is more than the head declared, and so the next message."""
        if self._chunked:
            for piece in writer.chunk(data):
                self.wire.write(piece)
            return
        if self._left >= 0:
            self._left -= len(data)
            if self._left < 0:
                raise ValueError("a response with more content than its head declares")
        self.wire.write(data)

    def send_end(self, trailers: list[Field]) -> None:
        """All content has been sent. Raises ValueError where it is less than the head declared."""
        if self._chunked:
            self.wire.write(writer.last_chunk(trailers))
        elif self._left > 0:
            raise ValueError("a response with less content than its head declares")

    def exchange_ended(self, complete: bool) -> None:
        exchange = self._exchange
        self._exchange = self._pace = None
        if exchange is None or self.state in ("closing", "lost"):
            return
        if self.state == "tunnel":
            if complete:
                self._close()
            else:
                self._abort()
        elif not complete:
            self._cut(exchange)
        elif self._reading_body:
            self._linger()
        elif self._persistent:
            self._keep()
        elif exchange.request.persistent:
            # It is we who close: what the client has sent behind this request must not turn our answer into a reset.
            self._linger()
        else:
            self._close()

    def hold_request(self) -> None:
        if self._pace is not None:
            self._pace.hold()
        self.wire.shut(HELD)

    def release_request(self) -> None:
        if self._pace is not None:
            self._pace.release()
        self.wire.open(HELD)

    def _let_go(self) -> None:
        """Whatever the exchange wanted of the client's reading is over."""
        self._pace = None
        self.wire.open(BUFFER | HELD)

    def start_tunnel(self, head: ResponseHead) -> None:
        self.state = DOWNSTREAM[self.state]["upgrade"]
        self._clock.clear()
        self._let_go()
        assert self._exchange is not None
        self._write_head(self._exchange.request, head)
        rest = self._reader.take_rest()
        if rest:
            self._tunnel.from_client(rest)
        if self._half_closed and self._exchange is not None:
            self._tunnel.eof_from_client()
        if self.is_draining and self._exchange is not None:
            self._tunnel.drain()

    @property
    def _tunnel(self) -> Tunnel:
        assert self._exchange is not None
        assert self._exchange.tunnel is not None
        return self._exchange.tunnel

    def send_raw(self, data: bytes) -> None:
        self.wire.write(data)

    def send_raw_eof(self) -> None:
        self.wire.send_eof()

    # ---- how it goes on after an exchange

    def _keep(self) -> None:
        self.state = DOWNSTREAM[self.state]["keep"]
        self._clock.set(self._engine.now + (GRACE if self.is_draining else self._engine.plan.timeouts.idle))
        if self.wire.is_gated:
            self._let_go()
        if self._reader.unread or self._half_closed:
            self._advance()

    def _cut(self, exchange: Exchange) -> None:
        """End a response that can't be completed. A client must not take what it has for the whole.

        With chunks or a length it sees that by itself, and what left before, answers to earlier
        requests among it, arrives. Content that ends with the connection must end in a reset, behind the
        head and what else was written: a client that reads them learns the status.
        """
        if exchange.response is not None and (self._ends_by_close or self.wire.is_blocked):
            self.wire.flush()
            self._abort()
        elif self._reading_body or exchange.request.persistent:
            # A close with unread input would be a reset after all.
            self._linger()
        else:
            self._close()

    def _linger(self) -> None:
        """The answer went out while the request is still coming (RFC 9112 section 9.6)."""
        if self._half_closed:
            return self._close()
        self.state = DOWNSTREAM[self.state]["linger"]
        self._reading_body = False
        self._discarded = self._reader.buffered
        self.wire.send_eof()
        self.wire.open(BUFFER | HELD | PEER_SLOW)
        self._clock.set(self._engine.now + self._engine.plan.timeouts.linger)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > LINGER_BYTES:
            self._close()

    def reconfigured(self, listener: ListenerPlan | None) -> None:
        """A reload: the connection goes on under the new plan of its listener, or drains without one."""
        if listener is None:
            self.drain()
        else:
            self._listener = listener
            self.hsts = listener.hsts

    def drain(self) -> None:
        """The listener is going: finish the exchange under way, and take no other but one that is on its way.

        A request and our end may cross, so an idle connection has `GRACE` for its next one, and its answer says that
        it is the last. Whoever was told that the connection is kept has that time, too, once the answer has ended.
        """
        self.is_draining = True
        exchange = self._exchange
        if self.state == "tunnel":
            self._tunnel.drain()
        elif exchange is not None:
            self._persistent = self._persistent and exchange.response is not None
        elif self.state == "idle":
            if self.wire.is_waiting:
                self._linger()  # it has yet to take its last answer
            else:
                self._clock.set(min(self._clock.at, self._engine.now + GRACE))

    def _part(self) -> None:
        """It drains, and asks for no more: end so that it hears of that before a late request meets a reset."""
        self._linger()
        if self.state == "lingering":
            self._clock.set(min(self._clock.at, self._engine.now + GRACE))

    def end_now(self) -> None:
        """The deadline of a drain."""
        for leaving in self.wire.leaving:
            leaving.drained()
        if self._exchange is not None:
            self._exchange.drained()
        if self.state == "closing" and not self.wire.is_waiting:
            return
        if self.state != "lost":
            self._abort()

    def _expired(self) -> None:
        state = self.state
        if state == "head":
            self._begin_unread().request_timed_out("request_head")
        elif state == "busy":
            # Without content to read it is the clock of an earlier state, left to run down.
            if self._reading_body and self._exchange is not None:
                self._persistent = False
                self._exchange.request_timed_out("request_body")
        elif state == "idle" and self.is_draining:
            self._part()
        elif state != "closing":
            self._close()

    def _close(self) -> None:
        self.state = DOWNSTREAM[self.state]["close"]
        self._clock.clear()
        self.wire.close()

    def _abort(self) -> None:
        self.state = DOWNSTREAM[self.state]["close"]
        self._clock.clear()
        self.wire.abort()

    @property
    def open_streams(self) -> int:
        return 0

    @property
    def is_idle(self) -> bool:
        return self.state == "idle" and not self.wire.is_gated

    @property
    def ends_at(self) -> float:
        return self._clock.at

    @property
    def held_bytes(self) -> int:
        """For the ledger: bytes read that nobody has taken yet."""
        return self._reader.buffered

    def __repr__(self) -> str:
        clock = "off" if self._clock.at == inf else f"{self._clock.at:g}"
        return f"DownstreamConnection({self.wire!r}, {self.state}, served={self._served}, clock={clock})"

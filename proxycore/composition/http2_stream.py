"""One stream of HTTP/2: the `DownstreamSide` of one exchange, and the outlet that its response leaves by.

Theory of operation. What the exchange writes waits here until the connection pumps: heads, then content as the
windows let it, then trailers or the bare end. A head and the end behind it so leave as one frame. Content beyond
`limits.buffer` blocks the exchange, which pauses its own server and nobody else's.

What the client sends is credited (`Session.credit`) once the exchange has taken it and isn't held: so a server
that takes nothing lets this stream's window close, and no other's.

A response may end before its request. RFC 9113 section 8.1 lets us reset the stream then, but a client that is
still sending may take the reset for a failure and the answer for lost (curl before 8). So what is on its way is
discarded, at most what the window had room for, and the reset follows after `timeouts.linger`.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from proxycore.composition.pace import Pace
from proxycore.composition.tables import HTTP2_STREAM
from proxycore.mechanisms.http2 import frames
from proxycore.mechanisms.http2.blocks import response_block, trailer_block
from proxycore.mechanisms.timers import Timer
from proxycore.words.errors import Outcome, Refused
from proxycore.words.messages import UNKNOWN, Field, ResponseHead

if TYPE_CHECKING:
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.http2_connection import Http2Connection
    from proxycore.mechanisms.http2.session import Session
    from proxycore.policies.forwarding import Peer

SENT, STALLED, FINISHED = range(3)
"""What came of a turn: one frame left; nothing more can, for now; the last one left."""


class Http2Stream:
    """See the module's docstring. Its `Outlet` is itself."""

    __slots__ = (
        "_blocks",
        "_body_clock",
        "_connection",
        "_content",
        "_engine",
        "_is_ending",
        "_is_held",
        "_leaving",
        "_left",
        "_linger_clock",
        "_owed",
        "_pace",
        "_send_clock",
        "_trailers",
        "exchange",
        "hsts",
        "is_blocked",
        "is_queued",
        "listener",
        "lost_by",
        "number",
        "peer",
        "state",
        "unsent",
    )

    def __init__(self, connection: Http2Connection, number: int, *, is_whole: bool) -> None:
        self._connection = connection
        self._engine = connection.engine
        self.number = number
        self.peer: Peer = connection.peer
        self.listener = connection.listener
        self.hsts = connection.hsts
        self.state = "half_closed" if is_whole else "open"
        self.exchange: Exchange | None = None
        self.unsent = 0
        self.is_blocked = self.is_queued = False
        self.lost_by: str | None = None
        self._leaving: Exchange | None = None
        self._blocks: deque[tuple[bytes, bool]] = deque()
        self._content: deque[bytes] = deque()
        self._trailers: bytes | None = None
        self._is_ending = self._is_held = False
        self._left = 0
        self._owed = 0
        self._pace: Pace | None = None
        self._body_clock: Timer | None = None
        self._send_clock: Timer | None = None
        self._linger_clock: Timer | None = None

    # ---- the outlet

    @property
    def outlet(self) -> Http2Stream:
        return self

    @property
    def has_output(self) -> bool:
        """Whether something of the response waits here."""
        return bool(self._blocks) or self.unsent > 0 or self._is_ending

    @property
    def is_waiting(self) -> bool:
        return self.has_output or self._connection.wire.is_waiting

    @property
    def lost(self) -> bool:
        return self.lost_by is not None or self._connection.wire.lost

    @property
    def lost_error(self) -> str | None:
        return self.lost_by or self._connection.wire.lost_error

    def wait_to_leave(self, exchange: Exchange) -> None:
        if self.has_output:
            self._leaving = exchange
        else:
            self._connection.wire.wait_to_leave(exchange)

    # ---- the exchange's side

    def begin(self, exchange: Exchange) -> None:
        """Serve `exchange` on this stream."""
        self.exchange = exchange
        if exchange.content is not None:
            self._body_clock = Timer(self._engine.timers, self._body_expired)
            self._pace = Pace(self._engine, exchange, self._body_clock)
            self._pace.wait()
        exchange.begin()

    def send_interim(self, head: ResponseHead) -> None:
        self._blocks.append((response_block(head), True))
        self._connection.queue(self)

    def send_head(self, head: ResponseHead) -> None:
        has_content = head.has_content and head.status not in (204, 304)
        block = response_block(head)
        self._left = head.length if has_content else 0
        self._blocks.append((block, False))
        self._connection.queue(self)

    def send_data(self, data: bytes) -> None:
        """A piece of content. Raises ValueError where it is more than the head declared (RFC 9113 section 8.1.1)."""
        if self._left != UNKNOWN:
            self._left -= len(data)
            if self._left < 0:
                raise ValueError("a response with more content than its head declares")
        self._content.append(data)
        self.unsent += len(data)
        self._connection.queue(self)

    def send_end(self, trailers: list[Field]) -> None:
        """All content has been sent. Raises ValueError where it is less than the head declared."""
        if self._left > 0:
            raise ValueError("a response with less content than its head declares")
        if trailers:
            self._trailers = trailer_block(trailers)
        self._is_ending = True
        self._connection.queue(self)

    def exchange_ended(self, complete: bool) -> None:
        self.exchange = self._pace = None
        if self._body_clock is not None:
            self._body_clock.drop()
        if not complete and self.state != "closed":
            # A response that was cut must never look whole: RST_STREAM, not END_STREAM.
            self._connection.reset(self, frames.INTERNAL_ERROR)

    def hold_request(self) -> None:
        self._is_held = True
        if self._pace is not None:
            self._pace.hold()

    def release_request(self) -> None:
        self._is_held = False
        self._give_credit()
        if self._pace is not None:
            self._pace.release()

    def start_tunnel(self, head: ResponseHead) -> None:
        """Never called, as the next two: a request of HTTP/2 offers no protocol to change to (RFC 9113 section 8.6)."""
        raise AssertionError("a tunnel on a stream of HTTP/2")

    def send_raw(self, data: bytes) -> None:
        raise AssertionError("a tunnel on a stream of HTTP/2")

    def send_raw_eof(self) -> None:
        raise AssertionError("a tunnel on a stream of HTTP/2")

    # ---- what the client sends

    def data_received(self, data: bytes, credit: int) -> None:
        self._owed += credit
        exchange, pace = self.exchange, self._pace
        if exchange is None or pace is None:
            return  # it is discarded, and not credited: no more comes than the window has room for
        pace.received(len(data))
        exchange.request_data(data)
        if not self._is_held and self.exchange is exchange:
            self._give_credit()
            if pace.is_too_slow:
                exchange.request_timed_out("request_body")
            else:
                pace.wait()

    def request_ended(self, trailers: list[Field]) -> None:
        self.state = HTTP2_STREAM[self.state]["request_end"]
        if self._pace is not None:
            self._pace.end()
            self._pace = None
        if self.state == "closed":
            self._let_go()
        elif self.exchange is not None:
            self.exchange.request_end(trailers)

    def request_refused(self, refused: Refused) -> None:
        """Its trailers are too many: nothing of the request follows."""
        self.state = HTTP2_STREAM[self.state]["request_end"]
        if self.state == "closed":
            self._let_go()
        elif self.exchange is not None:
            self.exchange.request_refused(refused)

    def was_reset(self) -> None:
        """The client gave it up: what goes on for it upstream ends in this fact."""
        exchange = self._close("it was reset")
        if exchange is not None:
            exchange.client_left()

    def has_failed(self, reason: str) -> None:
        """The client broke the rules, and the session has reset the stream: there is nothing to answer."""
        exchange = self._close("it was reset")
        if exchange is not None:
            exchange.end(Outcome("refused", "framing", reason=reason), complete=False)

    def connection_lost(self, error: str | None) -> None:
        exchange = self._close(error or "closed")
        if exchange is not None:
            exchange.client_left()

    def drained(self) -> None:
        """The deadline of a drain."""
        for exchange in (self.exchange, self._leaving):
            if exchange is not None:
                exchange.drained()

    def send_timed_out(self) -> None:
        """The client takes none of it."""
        for exchange in (self.exchange, self._leaving):
            if exchange is not None:
                exchange.send_timed_out()

    def _body_expired(self) -> None:
        if self.exchange is not None:
            self.exchange.request_timed_out("request_body")

    def _give_credit(self) -> None:
        if self._owed:
            owed, self._owed = self._owed, 0
            self._connection.credit(self.number, owed)

    # ---- what leaves

    def send_frame(self, session: Session) -> int:
        """Send the next frame, if the windows let it. What came of it: see `SENT`."""
        number = self.number
        if self._blocks:
            block, is_interim = self._blocks.popleft()
            is_last = self._is_ending and not self._blocks and not self.unsent and self._trailers is None
            session.send_head(number, block, is_last=is_last, is_interim=is_interim)
            return FINISHED if is_last else SENT
        if self.unsent:
            room = session.room(number)
            if not room:
                self._watch_sending()
                return STALLED
            data = self._take(min(room, self.unsent))
            is_last = self._is_ending and not self.unsent and self._trailers is None
            session.send_data(number, data, is_last=is_last)
            if self._send_clock is not None:
                self._send_clock.clear()
            return FINISHED if is_last else SENT
        if not self._is_ending:
            return STALLED
        if self._trailers is not None:
            session.send_head(number, self._trailers, is_last=True)
        else:
            session.send_data(number, b"", is_last=True)
        return FINISHED

    def _take(self, size: int) -> bytes:
        """Exactly `size` of the bytes that wait."""
        content = self._content
        self.unsent -= size
        data = content.popleft()
        if len(data) < size:
            data = b"".join((data, *content))
            content.clear()
        if len(data) > size:
            content.appendleft(data[size:])
            data = data[:size]
        return data

    def balance(self) -> None:
        """After the pump: tell the exchange whether to go on."""
        exchange = self.exchange
        if exchange is None:
            return
        limit = self._engine.plan.limits.buffer
        if not self.is_blocked and self.unsent >= limit:
            self.is_blocked = True
            exchange.downstream_blocked()
        elif self.is_blocked and self.unsent <= limit / 2:
            self.is_blocked = False
            exchange.downstream_unblocked()

    def _watch_sending(self) -> None:
        """A window is shut: that it opens in time is the client's to see to."""
        if self._send_clock is None:
            self._send_clock = Timer(self._engine.timers, self._send_expired)
        if self._send_clock.at == inf:
            self._send_clock.set(self._engine.now + self._engine.plan.timeouts.send)

    def _send_expired(self) -> None:
        """No window has opened. It counts from when the client took the last of what was sent to it, on any stream."""
        wire, now = self._connection.wire, self._engine.now
        taken = now if wire.is_waiting else wire.emptied_at
        due = taken + self._engine.plan.timeouts.send
        if due > now and self._send_clock is not None:
            return self._send_clock.set(due)
        self.send_timed_out()
        if self.state != "closed":
            self._connection.reset(self, frames.CANCEL)

    # ---- ends

    def finish(self) -> None:
        """Its last frame has been sent. Where the request is still coming, nobody wants it any more."""
        self.state = HTTP2_STREAM[self.state]["response_end"]
        self._is_ending = False
        self._let_go()
        if self.state == "discarding":
            self._linger_clock = Timer(self._engine.timers, self._linger_expired)
            self._linger_clock.set(self._engine.now + self._engine.plan.timeouts.linger)

    def _linger_expired(self) -> None:
        self._connection.reset(self, frames.NO_ERROR)

    def close(self, reason: str) -> None:
        """We reset it."""
        self._close(reason)

    def _close(self, lost_by: str) -> Exchange | None:
        """Nothing leaves or comes any more. The exchange that was under way."""
        self.state = HTTP2_STREAM[self.state]["reset"]
        self.lost_by = lost_by
        self._blocks.clear()
        self._content.clear()
        self.unsent = 0
        self._is_ending = False
        self._let_go()
        return self.exchange

    def _let_go(self) -> None:
        """Its clocks stop, the connection has its credit back, and an exchange that waited for it is concluded."""
        for clock in (self._body_clock, self._send_clock, self._linger_clock):
            if clock is not None:
                clock.drop()
        self._give_credit()
        if self._leaving is not None:
            self._engine.ended.append(self._leaving)
            self._leaving = None

    def __repr__(self) -> str:
        return f"Http2Stream({self.number}, {self.state}, unsent={self.unsent}, owed={self._owed})"

"""A client's connection, spoken HTTP/2: many exchanges at once, each on a stream of its own.

Theory of operation. Bytes go to the session; `_advance` takes its events one by one and tells the streams. What
streams have to send waits in them, and is pumped at the end of each fact, once for all that happened in it
(`flush`, called by the engine): one frame of each stream in turn, as long as the windows and the kernel take them.
While the kernel takes none nothing is pumped, so what is sent next is decided as late as can be: each stream's own
buffer fills, and pauses its own server.

Clocks: `request_head` until the client's preface, and for a header block that has begun; `idle` without a stream,
which no ping pushes on; on each stream its own (see `http2_stream`). Beyond `STEPS` events, or `PUMPED` bytes, of
one fact the others have their turn first, as on a connection of HTTP/1.

The end comes in two steps (RFC 9113 section 6.8): a GOAWAY that asks for no more streams, and when the client has
heard it, one that refuses them. What has begun is finished. Then our side ends, and what the client still sends is
discarded, so that it reads what we said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from proxycore.composition.answers import unread
from proxycore.composition.downstream import LINGER_BYTES
from proxycore.composition.engine import TURN_SECONDS
from proxycore.composition.exchange import Exchange
from proxycore.composition.http2_stream import FINISHED, SENT, Http2Stream
from proxycore.composition.tables import HTTP2
from proxycore.mechanisms.gates import TURN
from proxycore.mechanisms.http2 import events, frames
from proxycore.mechanisms.http2.heads import HeadLimits
from proxycore.mechanisms.http2.session import Session, SessionLimits
from proxycore.mechanisms.timers import Timer
from proxycore.words.errors import Refused
from proxycore.words.notices import ConnectionEnded

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.plan import ListenerPlan
    from proxycore.composition.wire import Wire
    from proxycore.config import Limits
    from proxycore.policies.forwarding import Peer

STEPS = 32
"""Events that are used in one fact, with those of the last one's frame."""

PUMPED = 256 * 1024
"""Bytes of content that leave in one fact."""

GOAWAY_PATIENCE = 1.0
"""Seconds for a client to answer the ping behind the first GOAWAY: far more than a round trip."""

_ENDING = frozenset(("lingering", "closing", "lost"))
_SCHEMES = frozenset((b"http", b"https"))


def session_limits(limits: Limits) -> SessionLimits:
    """What `[limits]` means for one connection of HTTP/2."""
    return SessionLimits(
        head=HeadLimits(size=limits.request_head, fields=limits.header_fields, target=limits.request_target),
        trailers=HeadLimits(size=limits.trailers, fields=limits.header_fields),
        streams=limits.streams,
        resets=limits.stream_resets.count,
        resets_per_second=limits.stream_resets.per_second,
        window=limits.buffer,
    )


class Http2Connection:
    """An `Endpoint` for the core, and owner of its streams."""

    __slots__ = (
        "_clock",
        "_discarded",
        "_half_closed",
        "_head_clock",
        "_is_advancing",
        "_is_dirty",
        "_listener",
        "_sending",
        "_served",
        "_session",
        "_since",
        "_streams",
        "_turn",
        "engine",
        "hsts",
        "is_draining",
        "listener",
        "peer",
        "state",
        "wire",
    )

    def __init__(self, engine: Engine, wire: Wire, listener: ListenerPlan, peer: Peer, *, since: float) -> None:
        self.engine = engine
        self._listener = listener
        self.listener = listener.name
        self.hsts = listener.hsts
        self.peer = peer
        self.wire = wire
        wire.owner = self
        wire.block_at(1)
        self.state = "opening"
        # A proxy that we trust may forward for a client of another scheme than its own connection's to us.
        schemes = _SCHEMES if peer.is_trusted else (listener.scheme,)
        self._session = Session(session_limits(engine.plan.limits), schemes, engine.now)
        self._streams: dict[int, Http2Stream] = {}
        self._sending: deque[Http2Stream] = deque()
        self._clock = Timer(engine.timers, self._expired)
        self._clock.set(since + engine.plan.timeouts.request_head)
        self._head_clock: Timer | None = None
        self._turn: Timer | None = None
        self._is_dirty = self._is_advancing = self._half_closed = False
        self._served = self._discarded = 0
        self._since = since
        self.is_draining = False
        self._touch()

    # ---- facts

    def data_received(self, data: bytes) -> None:
        if self.state == "lingering":
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self._close()
        elif self.state != "closing":
            self._session.receive(data, self.engine.now)
            self._advance()

    def eof_received(self) -> None:
        self._half_closed = True
        if self.state in ("lingering", "closing"):
            if self.state == "lingering":
                self._close()
            return
        self._clients_left()
        if not self._streams:
            self._close()

    def peer_ended(self) -> None:
        """The client has left behind what it sent, unless it may wait for its answers so."""
        if not self._listener.may_half_close and self.state not in _ENDING:
            self._half_closed = True
            self._clients_left()
            self._rest()

    def _clients_left(self) -> None:
        """The client ends its side: what it waits for goes on only where the listener has it so."""
        for stream in list(self._streams.values()):
            if not self._listener.may_half_close or stream.state == "open":
                del self._streams[stream.number]
                stream.was_reset()

    def connection_lost(self, error: str | None) -> None:
        self.state = HTTP2[self.state]["lose"]
        for clock in (self._clock, self._head_clock, self._turn):
            if clock is not None:
                clock.drop()
        streams, self._streams = self._streams, {}
        self._sending.clear()
        for stream in streams.values():
            stream.connection_lost(error)
        self._session.drop()
        self.wire.connection_lost(error)
        if self._served == 0 and "connections" in self.engine.watch:
            seconds = self.engine.now - self._since
            self.engine.notify(
                ConnectionEnded(self.engine.wall, self.listener, self.peer.ip, seconds, error or "closed")
            )

    def blocked(self) -> None:
        """The kernel takes no bytes: nothing is pumped until it does."""

    def unblocked(self) -> None:
        self._touch()

    def send_expired(self) -> None:
        self._abort()
        for leaving in self.wire.leaving:
            leaving.send_timed_out()
        for stream in list(self._streams.values()):
            stream.send_timed_out()

    # ---- what comes

    def _advance(self) -> None:
        """Use what has been read, as far as it can be used now."""
        if self._is_advancing:
            return
        self._is_advancing = True
        session = self._session
        left = STEPS
        try:
            while (event := session.next_event()) is not None:
                _FOLLOWERS[event.__class__](self, event)
                left -= 1
                if self.state in _ENDING:
                    break
                if left <= 0 and not session.has_told_more:
                    self._wait_for_turn()
                    break
        finally:
            self._is_advancing = False
            self._touch()
        if self.state == "opening" and session.is_settled:
            self.state = HTTP2[self.state]["settle"]
            self._rest()
        self._watch_head()

    def _wait_for_turn(self) -> None:
        if self._turn is None:
            self._turn = Timer(self.engine.timers, self._take_turn)
        self._turn.set(self.engine.now + TURN_SECONDS)
        self.wire.shut(TURN)

    def _take_turn(self) -> None:
        self.wire.open(TURN)
        self._advance()

    def _watch_head(self) -> None:
        """A header block that has begun must end in time, however its bytes drip."""
        if self._session.mid_head:
            if self._head_clock is None:
                self._head_clock = Timer(self.engine.timers, self._head_expired)
            if self._head_clock.at == inf:
                self._head_clock.set(self.engine.now + self.engine.plan.timeouts.request_head)
        elif self._head_clock is not None:
            self._head_clock.clear()

    def _head_came(self, event: events.HeadReceived) -> None:
        stream = self._open(event.stream, event.is_whole)
        stream.begin(Exchange(self.engine, stream, event.head, self.engine.plan))

    def _request_was_refused(self, event: events.RequestRefused) -> None:
        stream = self._streams.get(event.stream)
        if stream is not None:
            stream.request_refused(event.refused)
            return self._leave(stream)
        stream = self._open(event.stream, event.is_whole)
        stream.exchange = exchange = self._unread(stream, event.refused)
        exchange.refuse(event.refused, "framing")

    def _unread(self, stream: Http2Stream, refused: Refused) -> Exchange:
        """An exchange for a request that was refused before its head could be read."""
        head = unread(refused, self._listener.scheme, version=b"2")
        return Exchange(self.engine, stream, head, self.engine.plan)

    def _data_came(self, event: events.DataReceived) -> None:
        stream = self._streams.get(event.stream)
        if stream is None:
            self._session.credit(event.stream, event.credit)
        else:
            stream.data_received(event.data, event.credit)

    def _request_ended(self, event: events.RequestEnded) -> None:
        stream = self._streams.get(event.stream)
        if stream is not None:
            stream.request_ended(event.trailers)
            self._leave(stream)

    def _stream_was_reset(self, event: events.StreamReset) -> None:
        stream = self._streams.pop(event.stream, None)
        if stream is not None:
            stream.was_reset()
            self._rest()

    def _stream_failed(self, event: events.StreamFailed) -> None:
        stream = self._streams.get(event.stream)
        if stream is None:
            # A head that is none: for the log it is a request all the same.
            stream = self._open(event.stream, is_whole=True)
            stream.exchange = self._unread(stream, Refused(400, event.reason, line=event.line))
        del self._streams[event.stream]
        stream.has_failed(event.reason)
        self._rest()

    def _window_opened(self, event: events.WindowOpened) -> None:
        streams = (self._streams.get(event.stream),) if event.stream else self._streams.values()
        for stream in streams:
            if stream is not None and stream.has_output:
                self.queue(stream)

    def _was_heard(self, event: events.Acknowledged) -> None:
        if self.state == "draining":
            self._refuse_more()

    def _client_leaves(self, event: events.GoawayReceived) -> None:
        if self.state in ("opening", "open", "draining"):
            self._refuse_more()

    def _has_failed(self, event: events.ConnectionFailed) -> None:
        for stream in list(self._streams.values()):
            stream.has_failed(event.reason)
        self._streams.clear()
        self._sending.clear()
        self._linger()

    # ---- streams

    def _open(self, number: int, is_whole: bool) -> Http2Stream:
        self._served += 1
        if self.state == "open":
            self._clock.clear()
        stream = self._streams[number] = Http2Stream(self, number, is_whole=is_whole)
        if self._served == self.engine.plan.limits.requests_per_connection:
            self._announce_end()
        return stream

    def queue(self, stream: Http2Stream) -> None:
        """`stream` has something to send, when its turn comes."""
        if not stream.is_queued:
            stream.is_queued = True
            self._sending.append(stream)
        self._touch()

    def credit(self, number: int, size: int) -> None:
        """Let the client send that much more on a stream."""
        self._session.credit(number, size)
        self._touch()

    def reset(self, stream: Http2Stream, code: int) -> None:
        """Give up a stream that can't be answered, or not to the end."""
        if self._streams.pop(stream.number, None) is None:
            return
        self._session.reset(stream.number, code)
        stream.close("reset")
        self._touch()
        self._rest()

    def _finish(self, stream: Http2Stream) -> None:
        """Its response has been sent whole."""
        stream.finish()
        self._leave(stream)

    def _leave(self, stream: Http2Stream) -> None:
        """Forget a stream once both sides have ended it."""
        if stream.state == "closed" and self._streams.pop(stream.number, None) is not None:
            self._rest()

    def _rest(self) -> None:
        """A stream has ended: perhaps nothing is left to do."""
        if self._streams:
            return
        if self.state == "open":
            self._clock.set(self.engine.now + self.engine.plan.timeouts.idle)
            if self._half_closed:
                self._close()
        elif self.state == "finishing":
            self._linger()

    # ---- what leaves

    def _touch(self) -> None:
        if not self._is_dirty:
            self._is_dirty = True
            self.engine.dirty.append(self)

    def flush(self) -> None:
        """At the end of a fact: send what the streams and the session have, as far as it can leave now."""
        self._is_dirty = False
        if self.state in _ENDING:
            return
        try:
            touched = [stream for stream in self._sending if stream.state != "closed"]
            if not self.wire.is_waiting:
                self._pump()
            self._write()
            for stream in touched:
                stream.balance()
        except Exception:
            self.engine.fault(repr(self))
            self.wire.abort()

    def _pump(self) -> None:
        """One frame of each stream in turn."""
        session, sending = self._session, self._sending
        left = PUMPED
        while sending and left > 0:
            stream = sending.popleft()
            stream.is_queued = False
            if stream.state == "closed":
                continue
            before = stream.unsent
            came = stream.send_frame(session)
            left -= before - stream.unsent
            if came == FINISHED:
                self._finish(stream)
            elif came == SENT and stream.has_output:
                stream.is_queued = True
                sending.append(stream)
        if sending:
            self._wait_for_turn()

    def _write(self) -> None:
        output = self._session.take_output()
        if output:
            self.wire.write(output)

    # ---- how it ends

    def reconfigured(self, listener: ListenerPlan | None) -> None:
        """A reload: the connection goes on under the new plan of its listener, or drains without one."""
        if listener is None:
            self.drain()
        else:
            self._listener = listener
            self.hsts = listener.hsts

    def drain(self) -> None:
        """The listener is going: finish what has begun, and take nothing new."""
        self.is_draining = True
        self._announce_end()

    def _announce_end(self) -> None:
        if self.state in ("opening", "open"):
            self.state = HTTP2[self.state]["drain"]
            self._session.announce_goaway()
            self._clock.set(self.engine.now + GOAWAY_PATIENCE)
            self._touch()

    def _refuse_more(self) -> None:
        self.state = HTTP2[self.state]["refuse"]
        self._clock.clear()
        self._session.goaway()
        self._touch()
        self._rest()

    def end_now(self) -> None:
        """The deadline of a drain."""
        if self.state != "lost" and (self.state != "closing" or self.wire.is_waiting):
            self._abort()
        for leaving in self.wire.leaving:
            leaving.drained()
        for stream in list(self._streams.values()):
            stream.drained()

    def _expired(self) -> None:
        if self.state == "lingering":
            self._close()
        elif self.state == "draining":
            self._refuse_more()
        elif not self._streams and self.state in ("opening", "open"):
            self._refuse_more()

    def _head_expired(self) -> None:
        """A header block that doesn't end: no stream can go on behind it."""
        self._session.fail(frames.ENHANCE_YOUR_CALM, "a header block that took too long")
        self._advance()

    def _linger(self) -> None:
        """All is said: let the client read it before the connection is gone."""
        self._write()
        if self._half_closed:
            return self._close()
        self.state = HTTP2[self.state]["linger"]
        self._stop_reading_heads()
        self.wire.send_eof()
        self.wire.open(TURN)
        self._clock.set(self.engine.now + self.engine.plan.timeouts.linger)

    def _close(self) -> None:
        if self.state != "lingering":
            self._write()
        self.state = HTTP2[self.state]["close"]
        self._stop_reading_heads()
        self._clock.clear()
        self.wire.close()

    def _abort(self) -> None:
        self.state = HTTP2[self.state]["close"]
        self._stop_reading_heads()
        self._clock.clear()
        self.wire.abort()

    def _stop_reading_heads(self) -> None:
        if self._head_clock is not None:
            self._head_clock.clear()
        if self._turn is not None:
            self._turn.clear()

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    @property
    def is_idle(self) -> bool:
        return self.state == "open" and not self._streams and not self.wire.is_gated

    @property
    def ends_at(self) -> float:
        return self._clock.at

    @property
    def held_bytes(self) -> int:
        """For the ledger: bytes that nobody has taken yet."""
        return self._session.buffered + sum(stream.unsent for stream in self._streams.values())

    def __repr__(self) -> str:
        clock = "off" if self._clock.at == inf else f"{self._clock.at:g}"
        return f"Http2Connection({self.wire!r}, {self.state}, {self._session!r}, served={self._served}, clock={clock})"


_FOLLOWERS: dict[type[events.Event], Callable[[Http2Connection, Any], None]] = {
    events.HeadReceived: Http2Connection._head_came,
    events.RequestRefused: Http2Connection._request_was_refused,
    events.DataReceived: Http2Connection._data_came,
    events.RequestEnded: Http2Connection._request_ended,
    events.StreamReset: Http2Connection._stream_was_reset,
    events.StreamFailed: Http2Connection._stream_failed,
    events.WindowOpened: Http2Connection._window_opened,
    events.Acknowledged: Http2Connection._was_heard,
    events.GoawayReceived: Http2Connection._client_leaves,
    events.ConnectionFailed: Http2Connection._has_failed,
}
"""What is done with each event of the session."""

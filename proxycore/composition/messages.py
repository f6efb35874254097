"""A WebSocket whose messages are read: limited, answered for, seen by filters (RFC 6455).

Theory of operation. Each side has its own `MessageReader` and `MessageWriter`, and compresses, or
doesn't, as was agreed on with it. `_pass_on` takes events from one side and writes them to the
other: a message piece by piece, as it comes, or whole where a filter wants to see it. Pings and
pongs pass as they are, between the pieces too; only the answer to a ping of our own stays here.

What may be passed on in one fact is bounded, by events and by bytes; then the others have their
turn: so once the kernel refuses bytes, no more than that is on its way beyond `limits.buffer`. While a
side takes no more, the other isn't read, and what of it was read already waits in its
reader, not inflated.

The end. A Close passes to the other side with its code, and its answer passes back: when each side
has sent and got one, that was all. What we end ourselves (a broken rule, a peer that is silent, a
filter, a drain) begins with a Close of ours and goes on the same way; who can't be understood any
more isn't listened to. Whoever doesn't answer is waited for no longer than `timeouts.linger`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from proxycore.composition import phases
from proxycore.composition.answers import COMPLETED
from proxycore.composition.engine import TURN_SECONDS
from proxycore.composition.filters import CloseWebSocket, Drop
from proxycore.composition.tunnel import Tunnel
from proxycore.composition.websocket import WebSocket
from proxycore.mechanisms.timers import Timer
from proxycore.mechanisms.websocket.deflate import OFFER, Deflate, accepted_offer, read_answer
from proxycore.mechanisms.websocket.frames import GOING_AWAY, INTERNAL_ERROR
from proxycore.mechanisms.websocket.messages import Broken, Close, MessageReader, MessageWriter, Piece, Ping, Pong
from proxycore.words.errors import Failure, Malformed, Outcome, Refused

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.sides import UpstreamSide
    from proxycore.config import WebSocket as WebSocketSettings
    from proxycore.words.messages import RequestHead, ResponseHead

EVENTS = range(64)
"""Events that are passed on in one fact: frames of no bytes cost as much as any."""

BYTES = 1 << 20
"""Bytes that are passed on in one fact, and at most one piece more: as many as one piece may inflate to."""

_EXTENSIONS = b"sec-websocket-extensions"


class MessageWebSocket(WebSocket):
    """One whose messages are read. Raises Refused where it opens wrongly, or from an origin that isn't let in."""

    __slots__ = ("_for_client", "_for_server", "_settings")

    def __init__(self, settings: WebSocketSettings, request: RequestHead) -> None:
        super().__init__(request)
        origin = (request.headers.get(b"origin") or b"").decode("latin-1")
        if settings.origins and not {origin, "*"} & set(settings.origins):
            # No page can leave Origin out: who does is none of those that were let in either.
            raise Refused(403, "Pages of this origin may not connect here.")
        self._settings = settings
        self._for_client = accepted_offer(request.headers)
        self._for_server: Deflate | None = None

    def change_request(self, outbound: RequestHead) -> None:
        """Other extensions would make of the messages what only their two ends can read."""
        outbound.headers.remove(_EXTENSIONS)
        if self._for_client is not None:
            outbound.headers.add(_EXTENSIONS, OFFER)

    def accept(self, head: ResponseHead) -> None:
        super().accept(head)
        self._for_server = read_answer(head.headers)
        if self._for_server is not None and self._for_client is None:
            raise Malformed("a 101 with an extension that wasn't offered", "http_upgrade_failed")
        head.headers.remove(_EXTENSIONS)
        if self._for_client is not None:
            head.headers.add(_EXTENSIONS, self._for_client.answer)

    def tunnel(self, exchange: Exchange, engine: Engine, lease: UpstreamSide) -> Tunnel:
        settings = self._settings
        client = Side(
            MessageReader(from_client=True, max_message=settings.max_message, deflate=self._for_client is not None),
            MessageWriter(deflate=self._for_client, mask=None),
        )
        server = Side(
            MessageReader(from_client=False, max_message=settings.max_message, deflate=self._for_server is not None),
            MessageWriter(deflate=self._for_server, mask=partial(engine.entropy, 4)),
        )
        self._counts = client.reader, server.reader
        return MessageTunnel(exchange, engine, lease, client, server, settings.ping_interval)


class Side:
    """One of the two ends, as the tunnel knows it.

    `has_ended` says that no more bytes of it will come, `is_lost` that they are not to be understood
    any more. `ping` is what we asked it last.
    """

    __slots__ = (
        "awaits_pong",
        "clock",
        "got_close",
        "has_ended",
        "heard_at",
        "is_lost",
        "parts",
        "ping",
        "reader",
        "sent_close",
        "writer",
    )

    clock: Timer

    def __init__(self, reader: MessageReader, writer: MessageWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.parts = bytearray()  # of a message that a filter waits for
        self.has_ended = self.is_lost = False
        self.sent_close = self.got_close = False
        self.awaits_pong = False
        self.ping: bytes | None = None
        self.heard_at = 0.0

    @property
    def has_more(self) -> bool:
        """Whether what it sent waits to be passed on."""
        return self.reader.buffered > 0

    @property
    def is_done(self) -> bool:
        """Whether nothing is due to it, nor from it."""
        return self.sent_close and (self.got_close or self.has_ended)

    def __repr__(self) -> str:
        names = ("has_more", "has_ended", "is_lost", "sent_close", "got_close", "awaits_pong")
        return f"Side({', '.join(name for name in names if getattr(self, name))})"


class MessageTunnel(Tunnel):
    """Messages both ways. See the module's docstring. `interval` is in seconds."""

    __slots__ = ("_client", "_interval", "_is_ending", "_outcome", "_server", "_turn")

    def __init__(
        self, exchange: Exchange, engine: Engine, lease: UpstreamSide, client: Side, server: Side, interval: float
    ) -> None:
        super().__init__(exchange, engine, lease)
        self._client = client
        self._server = server
        self._interval = interval
        self._is_ending = False
        self._outcome = COMPLETED
        self._turn: Timer | None = None
        for side in (client, server):
            side.clock = Timer(engine.timers, partial(self._look_for_life, side))
            side.heard_at = engine.now
            side.clock.set(engine.now + interval)

    # ---- facts

    def from_client(self, data: bytes) -> None:
        self._exchange.received += len(data)
        self._take(self._client, data)

    def from_upstream(self, data: bytes) -> None:
        self._take(self._server, data)

    def eof_from_client(self) -> None:
        self._end_of(self._client)

    def eof_from_upstream(self) -> None:
        self._end_of(self._server)

    def client_unblocked(self) -> bool:
        return self._pass_on(self._server)

    def upstream_unblocked(self) -> bool:
        return self._pass_on(self._client)

    @property
    def held_bytes(self) -> int:
        return sum(side.reader.buffered + len(side.parts) for side in (self._client, self._server))

    def drain(self) -> None:
        if not self._client.got_close:
            self._close(self._client, GOING_AWAY, "going away")

    def end(self) -> None:
        super().end()
        for side in (self._client, self._server):
            side.clock.drop()
        if self._turn is not None:
            self._turn.drop()

    # ---- reading

    def _take(self, side: Side, data: bytes) -> None:
        side.heard_at = self._engine.now
        side.awaits_pong = False
        if not side.is_lost:
            side.reader.receive(data)
            self._pass_on(side)

    def _pass_on(self, source: Side) -> bool:
        """Write to the other side what was read, as far as it goes now. Whether that was all."""
        target = self._other(source)
        room = BYTES
        try:
            for _ in EVENTS:
                if room <= 0 or self._is_blocked(target) or (event := source.reader.next_event()) is None:
                    break
                room -= self._follow(source, target, event)
        except Broken as broken:
            self._break(source, broken)
        if self._lease is None:
            return True  # it is all over
        if source.has_more:
            self._wait_for_turn(source)
        elif source.has_ended:
            self._left(source)
        return not source.has_more

    def _wait_for_turn(self, source: Side) -> None:
        """There is more than may be passed on now: no more is read, and the others come first."""
        self._hold(source)
        if not self._is_blocked(self._other(source)):
            if self._turn is None:
                self._turn = Timer(self._engine.timers, self._take_turn)
            self._turn.set(self._engine.now + TURN_SECONDS)

    def _take_turn(self) -> None:
        for side in (self._client, self._server):
            if side.has_more and self._lease is not None and self._pass_on(side) and self._lease is not None:
                self._release(side)

    def _follow(self, source: Side, target: Side, event: Piece | Ping | Pong | Close) -> int:
        """Pass an event on. Bytes that this made, or that are kept for it."""
        if isinstance(event, Pong) and event.data == source.ping:
            return 0
        self._clock.set(self._engine.now + self._idle)
        if isinstance(event, Close):
            source.got_close = True
            self._close(target, event.code, event.reason)
            self._look_whether_over()
        elif target.sent_close:
            pass  # section 5.5.1: nothing comes behind a Close
        elif isinstance(event, Piece):
            if self._exchange.route.chain.on_message:
                return self._collect(source, target, event)
            return self._write(target, target.writer.piece(event))
        elif isinstance(event, Ping):
            return self._write(target, target.writer.ping(event.data))
        else:
            return self._write(target, target.writer.pong(event.data))
        return 0

    def _collect(self, source: Side, target: Side, piece: Piece) -> int:
        """Show a message to the filters once it is whole."""
        source.parts += piece.data
        if not piece.last:
            return len(piece.data)
        whole, source.parts = bytes(source.parts), bytearray()
        message = whole.decode() if piece.is_text else whole
        changed = phases.change_message(self._engine, self._exchange, message, source is self._client)
        if isinstance(changed, CloseWebSocket):
            outcome = Outcome("refused", "fault" if changed.code == INTERNAL_ERROR else "filter")
            self._finish(outcome, {self._client: changed.code, self._server: changed.code}, changed.reason)
            return 0
        if isinstance(changed, Drop):
            return 0
        data = changed if isinstance(changed, bytes) else changed.encode()
        return self._write(target, target.writer.piece(Piece(isinstance(changed, str), data, True)))

    # ---- writing

    def _write(self, side: Side, data: bytes) -> int:
        if not data or self._lease is None:
            return 0
        if side is self._client:
            self._exchange.sent += len(data)
            self._exchange.downstream.send_raw(data)
        else:
            self._lease.send_raw(data)
        return len(data)

    def _close(self, side: Side, code: int | None, reason: str = "") -> None:
        """Write a Close, if none was written."""
        if not side.sent_close:
            side.sent_close = True
            self._write(side, side.writer.close(code, reason))

    def _other(self, side: Side) -> Side:
        return self._server if side is self._client else self._client

    def _is_blocked(self, side: Side) -> bool:
        if side is self._client:
            return self._exchange.downstream.outlet.is_blocked
        return self._lease is not None and self._lease.is_blocked

    def _hold(self, side: Side) -> None:
        if side is self._client:
            self._exchange.downstream.hold_request()
        elif self._lease is not None:
            self._lease.pause_response()

    def _release(self, side: Side) -> None:
        if side is self._client:
            self._exchange.downstream.release_request()
        elif self._lease is not None:
            self._lease.resume_response()

    # ---- signs of life

    def _look_for_life(self, side: Side) -> None:
        """Nothing may have come for `ping_interval`: ask. Who answers neither that nor a Close isn't waited for."""
        now = self._engine.now
        if side.heard_at + self._interval > now:
            side.clock.set(side.heard_at + self._interval)
        elif side.has_more or self._is_blocked(self._other(side)):
            side.clock.set(now + self._interval)  # it is we who don't listen
        elif side.sent_close and not side.got_close:
            self._exchange.tunnel_ended(self._outcome)
        elif side.got_close:
            side.clock.clear()  # it has said all that it will; the other is looked after by its own clock
        elif side.awaits_pong:
            self._fail(side, INTERNAL_ERROR, "no answer to a ping", Outcome("timed_out", "ping_interval"))
        else:
            side.awaits_pong = True
            side.ping = self._engine.entropy(8)
            self._write(side, side.writer.ping(side.ping))
            side.clock.set(now + self._interval)

    # ---- ends

    def _end_of(self, side: Side) -> None:
        side.has_ended = True
        if not side.has_more:
            self._left(side)

    def _left(self, side: Side) -> None:
        """All that `side` sent was passed on, and no more will come."""
        side.sent_close = True  # nobody is there to read one
        if not side.got_close and not side.is_lost:
            outcome = Outcome("client_left", "tunnel") if side is self._client else _server_failed("it ended unclosed")
            self._fail(side, GOING_AWAY, "", outcome)
        self._hurry()
        self._look_whether_over()

    def _break(self, side: Side, broken: Broken) -> None:
        outcome = Outcome("refused", "websocket") if side is self._client else _server_failed(broken.reason)
        self._fail(side, broken.code, broken.reason, outcome)

    def _fail(self, side: Side, code: int, reason: str, outcome: Outcome) -> None:
        """It can't go on because of `side`, which is told why. To its server, a client has gone; to it, the server."""
        side.is_lost = True
        others = GOING_AWAY if side is self._client else INTERNAL_ERROR
        self._finish(outcome, {side: code, self._other(side): others}, reason)

    def _finish(self, outcome: Outcome, codes: dict[Side, int], reason: str = "") -> None:
        """End it ourselves. A client is told first."""
        if not self._is_ending:
            self._outcome = outcome
        self._close(self._client, codes[self._client], reason)
        self._close(self._server, codes[self._server])
        self._hurry()

    def _hurry(self) -> None:
        """What is still due comes soon, or not at all."""
        if not self._is_ending:
            self._is_ending = True
            self._idle = self._exchange.timeouts.linger
            self._clock.set(self._engine.now + self._idle)

    def _look_whether_over(self) -> None:
        if self._lease is not None and self._client.is_done and self._server.is_done:
            self._exchange.tunnel_ended(self._outcome)

    def _expired(self) -> None:
        if self._is_ending:
            self._exchange.tunnel_ended(self._outcome)
        else:
            gone = {self._client: GOING_AWAY, self._server: GOING_AWAY}
            self._finish(Outcome("timed_out", "tunnel"), gone, "nothing was said for long")

    def __repr__(self) -> str:
        return f"MessageTunnel(exchange={self._exchange.id}, client={self._client!r}, server={self._server!r})"


def _server_failed(detail: str) -> Outcome:
    failure = Failure("tunnel", "websocket_error", status=502, resend="never", detail=detail)
    return Outcome("upstream_failed", "tunnel", failure)

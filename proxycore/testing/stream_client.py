"""A simulated client that speaks HTTP/2: the same scenes as `players.Client`, side by side on streams.

It shares no line with `mechanisms.http2` but the decoder of HPACK, which is nobody's of ours. It keeps the windows
of both directions in its own books: content beyond what it allowed is a `Violation`, as is a frame on a stream that
isn't open, an END_STREAM behind less than was declared, a head that has what only HTTP/1 may have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hpack.hpack import Decoder, Encoder

from proxycore.testing.far_reader import End, Head
from proxycore.testing.players import Client, Stage, is_subsequence
from proxycore.testing.traffic import Answer, Scene

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
NO_ERROR, REFUSED_STREAM, CANCEL = 0x0, 0x7, 0x8

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WINDOW: Final = 65_535
_OF_HTTP1: Final = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"host", b"te"))

_BAD: Final[tuple[list[tuple[bytes, bytes]], ...]] = (
    [(b"connection", b"close")],
    [(b"transfer-encoding", b"chunked")],
    [(b"X-Upper", b"1")],
    [(b"te", b"gzip")],
    [(b"x-a", b"1\r\nx-b: 2")],
    [(b"x-a", b" 1")],
    [(b"host", b"another.test")],
    [(b":path", b"/again")],
)
"""What makes a request malformed."""


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


class Stream:
    """One request on its way: what is left to send, and how much either side may."""

    def __init__(self, scene: Scene, number: int, window: int, room: int) -> None:
        self.scene = scene
        self.number = number
        self.window = window
        self.room = room
        self.unsent = b""
        self.is_ending = False
        self.has_ended = False
        self.head: Head | None = None


class StreamClient(Client):
    """One connection of HTTP/2. `depth` is how many streams it has at once; see `Client` for the rest."""

    carries_many = True

    def __init__(self, stage: Stage, scenes: list[Scene], *, depth: int, patience: float) -> None:
        super().__init__(stage, scenes, depth=depth, patience=patience)
        random = stage.random
        for scene in scenes:
            _adapt(scene)
        self._window = random.choice((500, 5_000, _WINDOW))
        self._credit_delay = random.choice((0.0, 0.0, 0.01, 0.1))
        self._cancels = random.random() < 0.3
        self._streams: dict[int, Stream] = {}
        self._cancelled: set[int] = set()
        self._number = 1
        self._buffer = b""
        self._decoder = Decoder(1 << 20)
        self._encoder = Encoder()
        self._connection_window = _WINDOW
        self._room = _WINDOW
        self._initial_room = _WINDOW
        self._most_streams = 1 << 31
        self._last_stream: int | None = None

    # ---- what happens

    def opened(self) -> None:
        self._is_opened = True
        initial = (0x4).to_bytes(2, "big") + self._window.to_bytes(4, "big")
        self._queue(0.0, _PREFACE + _frame(SETTINGS, 0, 0, initial), None)
        self._send_more()

    def received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 9 and not self.is_over:
            end = 9 + int.from_bytes(self._buffer[:3], "big")
            if end > 9 + 16_384:
                self._violate("a frame that is larger than any may be")
            if len(self._buffer) < end:
                return
            frame, self._buffer = self._buffer[:end], self._buffer[end:]
            kind = frame[3]
            follow = _FOLLOWERS[kind] if kind < len(_FOLLOWERS) else None
            if follow is None:
                self.stage.violate(f"a client got a frame that a server never sends: {frame[:9]!r}")
                return
            follow(self, int.from_bytes(frame[5:9], "big"), frame[4], frame[9:])

    def ended(self) -> None:
        self.saw_close = True
        for stream in list(self._streams.values()):
            self._finish_stream(stream)
        self.link.close()
        self._over()

    def _over(self) -> None:
        self._waiting.extend(stream.scene for stream in self._streams.values())
        self._streams.clear()
        super()._over()

    # ---- what it sends

    def _send_more(self) -> None:
        while (
            self._next < len(self.scenes)
            and len(self._streams) < min(self.depth, self._most_streams)
            and not (self.is_half_closed or self.is_over or self.saw_close or self._last_stream is not None)
        ):
            scene = self.scenes[self._next]
            self._next += 1
            self._begin(scene)

    def _begin(self, scene: Scene) -> None:
        number, self._number = self._number, self._number + 2
        scene.sent_at = self.stage.network.now
        self._streams[number] = Stream(scene, number, self._window, self._initial_room)
        block = self._encoder.encode(self._fields(scene))
        has_content = scene.framing != "none"
        if scene.fault == "slow_head":
            self._drip(number, block)
            return
        self._queue(0.0, _frame(HEADERS, END_HEADERS | (0 if has_content else END_STREAM), number, block), None)
        if not has_content:
            scene.is_sent_whole = True
            return
        pieces = max(scene.pieces, 1)
        size = max(-(-len(scene.content) // pieces), 1)
        parts = [scene.content[at : at + size] for at in range(0, len(scene.content), size)] or [b""]
        if scene.fault == "stalled":
            parts = [parts[0][: len(parts[0]) // 2]]
        for index, part in enumerate(parts):
            is_last = index == len(parts) - 1 and scene.fault != "stalled"
            self.stage.network.after(scene.gap * index, self._add, number, part, is_last)
        if self._cancels and not scene.is_strict and self.stage.random.random() < 0.3:
            self.stage.network.after(self.stage.random.random() * 0.5, self._cancel, number)

    def _fields(self, scene: Scene) -> list[tuple[bytes, bytes]]:
        fields = [(b":method", scene.method), (b":scheme", b"http"), (b":authority", scene.host)]
        fields += [(b":path", scene.target), (b"x-nonce", scene.nonce)]
        fields += [(name.lower(), value) for name, value in scene.fields]
        if scene.framing == "length":
            fields.append((b"content-length", b"%d" % scene.size))
        if scene.fault == "bad_head":
            fields += self.stage.random.choice(_BAD)
        return fields

    def _drip(self, number: int, block: bytes) -> None:
        """A block that never ends: no other stream goes on behind it, and that is its client's doing."""
        self.has_left = True
        for other in self.scenes:
            if other.ended_at < 0:
                other.excuses["a header block of its client did not end"] = None
        self._queue(0.0, _frame(HEADERS, END_STREAM, number, block[:5]), None)
        for at in range(5, len(block) - 1, 7):
            self._queue(2.0, _frame(CONTINUATION, 0, number, block[at : at + 7]), None)

    def _add(self, number: int, part: bytes, is_last: bool) -> None:
        stream = self._streams.get(number)
        if stream is not None and not self.is_half_closed:
            stream.unsent += part
            stream.is_ending = is_last
            self._pump(stream)

    def _pump(self, stream: Stream) -> None:
        """Send what both windows let out."""
        while not self.is_over and not stream.has_ended:
            size = min(len(stream.unsent), stream.room, self._room, 16_384)
            if size <= 0 and (stream.unsent or not stream.is_ending):
                return
            part, stream.unsent = stream.unsent[: max(size, 0)], stream.unsent[max(size, 0) :]
            stream.room -= len(part)
            self._room -= len(part)
            is_last = stream.is_ending and not stream.unsent
            has_trailers = is_last and bool(stream.scene.trailers)
            flags = END_STREAM if is_last and not has_trailers else 0
            self._queue(0.0, _frame(DATA, flags, stream.number, part), None)
            if has_trailers:
                block = self._encoder.encode(stream.scene.trailers)
                self._queue(0.0, _frame(HEADERS, END_HEADERS | END_STREAM, stream.number, block), None)
            stream.has_ended = is_last
            stream.scene.is_sent_whole = is_last

    def _cancel(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None and not self.is_over and not self.is_half_closed:
            stream.scene.excuses["the client left"] = None
            self._cancelled.add(number)
            self._queue(0.0, _frame(RST_STREAM, 0, number, CANCEL.to_bytes(4, "big")), None)
            self._finish_stream(stream)

    # ---- what it gets

    def _stream(self, number: int) -> Stream | None:
        """The stream that a frame is of; None where we gave it up."""
        stream = self._streams.get(number)
        if stream is None and number not in self._cancelled:
            self._violate(f"a client got a frame of the stream {number}, which isn't open")
        return stream

    def _data_came(self, number: int, flags: int, payload: bytes) -> None:
        self._connection_window -= len(payload)
        if payload:
            self.stage.network.after(self._credit_delay, self._credit, number, len(payload))
        stream = self._stream(number)
        if stream is None:
            return
        stream.window -= len(payload)
        if min(stream.window, self._connection_window) < 0:
            self._violate(f"more content than the window lets in: {stream.scene}")
        scene, answer = stream.scene, stream.scene.answer
        if answer is None or stream.head is None:
            self._violate(f"content without a head: {scene}")
        self._expected = scene.reply_content
        self._take_content(scene, payload)
        if flags & END_STREAM:
            self._answered(stream, [])

    def _credit(self, number: int, size: int) -> None:
        if self.is_over or self.is_half_closed or self.is_deaf:
            return
        self._connection_window += size
        update = _frame(WINDOW_UPDATE, 0, 0, size.to_bytes(4, "big"))
        stream = self._streams.get(number)
        if stream is not None:
            stream.window += size
            update += _frame(WINDOW_UPDATE, 0, number, size.to_bytes(4, "big"))
        self._queue(0.0, update, None)

    def _head_came(self, number: int, flags: int, payload: bytes) -> None:
        if not flags & END_HEADERS:
            self._violate("a header block in several frames")
        fields = [(name, value) for name, value in self._decoder.decode(payload, raw=True)]
        stream = self._stream(number)
        if stream is None:
            return
        scene = stream.scene
        for name, value in fields:
            if name != name.lower() or name in _OF_HTTP1 or value != value.strip(b" \t"):
                self._violate(f"a head with {name!r}: {value!r} came for {scene}")
        if stream.head is not None:
            if not flags & END_STREAM or any(name.startswith(b":") for name, _ in fields):
                self._violate(f"trailers that are none came for {scene}")
            self._answered(stream, fields)
            return
        if not fields or fields[0][0] != b":status" or any(name.startswith(b":") for name, _ in fields[1:]):
            self._violate(f"a head that is none came for {scene}: {fields}")
        head = Head((b"HTTP/2", fields[0][1], b""), fields[1:])
        if head.status < 200:
            scene.interim.append(head.status)
            if flags & END_STREAM or not is_subsequence(scene.interim, scene.reply.interim, len(scene.tries)):
                self._violate(f"interim responses that the origin did not send: {scene.interim}, {scene}")
            return
        stream.head = head
        self._begin_answer(scene, head)
        if flags & END_STREAM:
            self._answered(stream, [])

    def _answered(self, stream: Stream, trailers: list[tuple[bytes, bytes]]) -> None:
        """Its last frame has come: the answer is whole."""
        scene, answer, head = stream.scene, stream.scene.answer, stream.head
        assert answer is not None
        assert head is not None
        declared = head.get(b"content-length")
        if declared is not None and scene.method != b"HEAD" and answer.status != 304 and answer.size != int(declared):
            self._violate(f"{answer.size} bytes and an END_STREAM, where {declared!r} were declared: {scene}")
        answer.is_complete = True
        answer.trailers = End(trailers).trailers
        if answer.is_origins:
            self._check_whole(scene, answer)
        if stream.has_ended or scene.framing == "none":
            self._finish_stream(stream)
        # Else a reset without an error follows: what we have left to send isn't wanted.

    def _finish_stream(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)
        self._cancelled.add(stream.number)
        stream.scene.ended_at = self.stage.network.now
        if not self._streams and (self._next == len(self.scenes) or self._last_stream is not None):
            self.stage.network.after(self._patience, self._leave_if_idle)
        self._send_more()

    def _leave_if_idle(self) -> None:
        if not self._streams:
            self._finish()

    def _reset_came(self, number: int, flags: int, payload: bytes) -> None:
        stream = self._stream(number)
        if stream is None:
            return
        code = int.from_bytes(payload, "big")
        answer = stream.scene.answer
        is_whole = answer is not None and answer.is_complete
        if (code == NO_ERROR) != is_whole:
            self._violate(f"a reset with the code {code} came for {stream.scene}")
        if code == REFUSED_STREAM:
            if stream.scene.tries:
                self._violate(f"it was refused, and an origin got it: {stream.scene}")
            stream.scene.excuses["its connection was going away"] = None
        self._finish_stream(stream)

    def _settings_came(self, number: int, flags: int, payload: bytes) -> None:
        if flags & ACK:
            return
        for at in range(0, len(payload), 6):
            key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if key == 0x3:
                self._most_streams = value
            elif key == 0x4:
                for stream in self._streams.values():
                    stream.room += value - self._initial_room
                self._initial_room = value
        self._queue(0.0, _frame(SETTINGS, ACK, 0), None)
        self._pump_all()

    def _ping_came(self, number: int, flags: int, payload: bytes) -> None:
        if not flags & ACK and not self.is_half_closed:
            self._queue(0.0, _frame(PING, ACK, 0, payload), None)

    def _goaway_came(self, number: int, flags: int, payload: bytes) -> None:
        last, code = int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big")
        if code != NO_ERROR and not any(scene.fault == "slow_head" for scene in self.scenes):
            self._violate(f"a GOAWAY with the code {code}: {payload[8:]!r}")
        if self._last_stream is not None and last > self._last_stream:
            self._violate(f"a GOAWAY that lets in more than the one before: {last}")
        self._last_stream = last
        for stream in list(self._streams.values()):
            if stream.number > last:
                stream.scene.excuses["its connection was going away"] = None
                if stream.scene.tries:
                    self._violate(f"it is said not to have been seen, and an origin got it: {stream.scene}")
        if not self._streams:
            self.stage.network.after(self._patience, self._leave_if_idle)

    def _window_came(self, number: int, flags: int, payload: bytes) -> None:
        size = int.from_bytes(payload, "big")
        if number:
            stream = self._streams.get(number)
            if stream is not None:
                stream.room += size
                self._pump(stream)
        else:
            self._room += size
            self._pump_all()

    def _pump_all(self) -> None:
        for stream in list(self._streams.values()):
            self._pump(stream)


_FOLLOWERS: tuple[Callable[[StreamClient, int, int, bytes], None] | None, ...] = (
    StreamClient._data_came,
    StreamClient._head_came,
    None,
    StreamClient._reset_came,
    StreamClient._settings_came,
    None,
    StreamClient._ping_came,
    StreamClient._goaway_came,
    StreamClient._window_came,
    None,
)
"""By the kind of a frame."""


def _adapt(scene: Scene) -> None:
    """What HTTP/2 doesn't have is left out of a scene: upgrades, a close behind it, chunks, HTTP/1.0."""
    scene.version = b"2"
    scene.closes = scene.expects = False
    if scene.framing == "chunked":
        scene.framing = "open"
    if scene.upgrades:
        scene.upgrades = False
        scene.size = 0
        scene.reply.status, scene.reply.framing = 200, "length"


__all__ = ["Answer", "Stream", "StreamClient"]

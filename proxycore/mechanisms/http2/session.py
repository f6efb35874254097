"""A server's side of one HTTP/2 connection: bytes in, events out; what is to be sent, as bytes.

    session.receive(data, now)
    while (event := session.next_event()) is not None:
        ...                             # see `events`
    wire.write(session.take_output())

Theory of operation
-------------------
Three parts share the work. `h2` keeps the states of streams and the windows, and makes and reads frames. What a
head says is no business of its: `_Decoder` keeps the fields for `heads` and shows h2 none (it would end the whole
connection where RFC 9113 asks for a stream error), and `_Encoder` has h2 send a block that `blocks` wrote. And this
module stands before it and looks at each frame first:

- h2 is fed one frame at a time, since it loses the events before a later bad frame.
- What floods is counted (`_idle_work`, `_resets`), and header blocks are bounded while they arrive (CVE-2024-27316):
  h2 has no limits of its own. Beyond them the connection ends with ENHANCE_YOUR_CALM.
- What h2 gets wrong never reaches it: a GOAWAY (after which it would send nothing more), PRIORITY, frames on idle
  streams, trailers without END_STREAM, a window opened by nothing.

The connection's own window is as wide as it can be: memory is bounded by the windows of the streams, and one that
isn't read never stops the others.

Whoever stops calling `next_event` leaves the rest unread, as with the readers of HTTP/1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived as H2Data
from h2.events import Event as H2Event
from h2.events import RemoteSettingsChanged, RequestReceived, SettingsAcknowledged, TrailersReceived, WindowUpdated
from h2.events import StreamReset as H2Reset
from h2.exceptions import DenialOfServiceError, ProtocolError
from h2.settings import SettingCodes, Settings
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.hpack import Decoder, Encoder
from hpack.huffman_table import decode_huffman
from hpack.struct import HeaderTuple

from proxycore.mechanisms.http2 import frames, heads
from proxycore.mechanisms.http2.blocks import NO_TABLE
from proxycore.mechanisms.http2.budgets import Budget
from proxycore.mechanisms.http2.events import (
    Acknowledged,
    ConnectionFailed,
    DataReceived,
    Event,
    GoawayReceived,
    HeadReceived,
    RequestEnded,
    RequestRefused,
    StreamFailed,
    StreamReset,
    WindowOpened,
)
from proxycore.mechanisms.http2.heads import HeadLimits, StreamFault
from proxycore.words.errors import Refused
from proxycore.words.messages import Field

IDLE_WORK = 1_000
"""Frames that bring nothing (PING, SETTINGS, WINDOW_UPDATE, empty DATA ...), at once; `IDLE_WORK_PER_SECOND` more
come back with time, `WORK_PER_REQUEST` with each request, `WORK_PER_FRAME` with each frame of content that we send,
and one with each `WORK_BYTES` of content either way: no window update or ping of an honest peer is one too many."""

IDLE_WORK_MOST = 10_000
"""As many may come together so: what is sent now is acknowledged a round trip later."""

IDLE_WORK_PER_SECOND = 100
WORK_PER_REQUEST = 10
WORK_PER_FRAME = 4
WORK_BYTES = 1024

CONTINUATIONS = 32
"""Frames of one header block: four of them, when full, hold more than any block that is let in."""

SETTINGS_AT_ONCE = 32
SETTINGS_KNOWN = 64
"""Settings in one frame, and of different names in all: h2 keeps each that it is told, known or not."""

RESETS_REMEMBERED = 1_000
"""Streams that we reset, whose frames may still be on their way and are no fault."""

_PING = b"proxycor"


class SessionLimits:
    """What one connection may do: `resets` at once, `resets_per_second` more with time; `window` is in bytes."""

    __slots__ = ("head", "resets", "resets_per_second", "streams", "trailers", "window")

    def __init__(
        self,
        *,
        head: HeadLimits,
        trailers: HeadLimits,
        streams: int,
        resets: float,
        resets_per_second: float,
        window: int,
    ) -> None:
        self.head = head
        self.trailers = trailers
        self.streams = streams
        self.resets = resets
        self.resets_per_second = resets_per_second
        self.window = min(window, frames.WINDOW_MAX)


class _Fatal(Exception):
    """A connection error."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class _BadBlock(ProtocolError):
    """RFC 9113 section 4.3: a connection error of its own type."""

    error_code = ErrorCodes.COMPRESSION_ERROR


_SHORT = 128
"""Bytes of a block that `_Decoder` reads itself: so few indices, of entries no larger than the table, are no bomb."""


class _Decoder(Decoder):
    """Keeps what it decoded in `fields`, and gives h2 nothing to judge."""

    def __init__(self, max_header_list_size: int) -> None:
        super().__init__(max_header_list_size)
        self.fields: list[Field] = []

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        try:
            fields = self._read_short(data) if len(data) <= _SHORT else None
            self.fields = list(super().decode(data, True)) if fields is None else fields
        except OversizedHeaderListError:
            raise
        except HPACKError as error:
            raise _BadBlock(str(error)) from error
        return ()

    def _read_short(self, data: bytes) -> list[Field] | None:
        """The fields of a block that adds none to the table, as of most requests but the first; None: it isn't one.

        Each is an index of one byte (RFC 7541 section 6.1), or an index for its name and a value, nearly always that
        of `:path`, that clients keep out of the table (sections 6.2.2 and 6.2.3). `decode` takes four times as long.
        """
        entry = self.header_table.get_by_index
        fields: list[Field] = []
        at, end = 0, len(data)
        while at < end:
            first = data[at]
            at += 1
            if 0x80 < first < 0xFF:
                fields.append(entry(first & 0x7F))
                continue
            name, size = first & 0x0F, data[at] if at < end else 0
            value_at = at + 1
            at = value_at + (size & 0x7F)
            if first >= 0x20 or name in (0, 0x0F) or size & 0x7F == 0x7F or at > end:
                return None
            value = data[value_at:at]
            fields.append((entry(name)[0], decode_huffman(value) if size & 0x80 else value))
        return fields


class _Encoder(Encoder):
    """Has h2 send `block`, whatever fields it was given."""

    block = NO_TABLE

    def encode(self, headers: object, huffman: bool = True) -> bytes:
        return self.block


class _Connection(H2Connection):
    MAX_CLOSED_STREAMS = RESETS_REMEMBERED
    """Instead of 65,536, which took megabytes for each connection."""

    def drop(self) -> None:
        """Let go of everything: it holds itself, by its methods, and would wait for a collection."""
        vars(self).clear()


_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)

_FINAL = [(b":status", b"200")]
_INTERIM = [(b":status", b"100")]


class Session:
    """See the module's docstring. `schemes` are those that requests may come for.

    `is_settled` says that the peer's preface has come, `last_stream` is the highest that was taken for a request.
    """

    __slots__ = (
        "_at",
        "_block_frames",
        "_block_size",
        "_block_stream",
        "_data",
        "_decoder",
        "_encoder",
        "_events",
        "_expected",
        "_h2",
        "_has_sent_block",
        "_idle_work",
        "_is_over",
        "_limits",
        "_now",
        "_output",
        "_preface",
        "_resets",
        "_schemes",
        "_we_reset",
        "is_settled",
        "last_stream",
        "refuses",
    )

    def __init__(self, limits: SessionLimits, schemes: Collection[bytes], now: float) -> None:
        self._limits = limits
        self._schemes = schemes
        self._now = now
        self._data = b""
        self._at = 0
        self._preface = frames.PREFACE
        self._block_stream = self._block_size = self._block_frames = 0
        self._events: deque[Event] = deque()
        self._output: list[bytes] = []
        self._expected: dict[int, int] = {}  # open requests, and the content that is due; -1 where none was declared
        self._we_reset: dict[int, None] = {}
        self._idle_work = Budget(IDLE_WORK, IDLE_WORK_PER_SECOND, now, most=IDLE_WORK_MOST)
        self._resets = Budget(limits.resets, limits.resets_per_second, now)
        self._has_sent_block = False
        self._is_over = False
        self.is_settled = False
        self.refuses = False
        self.last_stream = 0
        self._h2 = h2 = _Connection(_CONFIG)
        self._decoder = h2.decoder = _Decoder(2 * limits.head.size)
        self._encoder = h2.encoder = _Encoder()
        self._greet()

    def _greet(self) -> None:
        """Our SETTINGS (RFC 9113 section 3.4), and a window for the connection that never closes.

        What is told and what h2 is told differ: a stream too many is refused, a head too large is answered, and
        for neither is the connection ended. h2 must learn of our initial window with the peer's acknowledgement.
        """
        limits = self._limits
        told = {
            frames.SETTING_MAX_STREAMS: min(limits.streams, frames.STREAM_MAX),
            frames.SETTING_WINDOW: limits.window,
            frames.SETTING_HEAD_SIZE: min(limits.head.size, frames.STREAM_MAX),
        }
        self._output.append(frames.settings(told))
        self._h2.local_settings = Settings(client=False, initial_values={})
        self._h2.local_settings[SettingCodes.INITIAL_WINDOW_SIZE] = limits.window
        self._h2.increment_flow_control_window(frames.WINDOW_MAX - 65_535)
        self._h2.receive_data(frames.PREFACE)  # the peer's own was looked at here
        self._collect()

    # ---- what came

    def receive(self, data: bytes, now: float) -> None:
        """Take what was received. Then call `next_event` until it gives None."""
        self._now = now
        if self._at == len(self._data):
            self._data = data
        else:
            self._data = self._data[self._at :] + data
        self._at = 0

    @property
    def buffered(self) -> int:
        """Bytes that were received and not used yet."""
        return len(self._data) - self._at

    @property
    def has_told_more(self) -> bool:
        """Whether `next_event` has more of the same frame: until that is taken, a stream may have ended unheard."""
        return bool(self._events)

    @property
    def mid_head(self) -> bool:
        """Whether a header block has begun and isn't here whole: a clock should run."""
        if self._block_stream:
            return True
        kind = self._data[self._at + 3 : self._at + 4]
        return self.buffered > 0 and (not kind or kind[0] == frames.HEADERS)

    def next_event(self) -> Event | None:
        """The next event, or None when more bytes are needed. After a ConnectionFailed there is none."""
        while not self._events:
            if self._is_over:
                self._at = len(self._data)
                return None
            try:
                if not self._take_frame():
                    return None
            except _Fatal as fatal:
                self.fail(fatal.code, fatal.reason)
        return self._events.popleft()

    def _take_frame(self) -> bool:
        """Use the next frame. False: it isn't here whole."""
        data = self._data
        if self._preface and not self._take_preface():
            return False
        at = self._at
        if len(data) - at < frames.HEADER:
            return False
        length = int.from_bytes(data[at : at + 3], "big")
        kind = data[at + 3]
        if length > frames.FRAME_MAX:
            raise _Fatal(frames.FRAME_SIZE_ERROR, "a frame larger than SETTINGS_MAX_FRAME_SIZE")
        if not self.is_settled and (kind != frames.SETTINGS or data[at + 4] & frames.ACK):
            raise _Fatal(frames.PROTOCOL_ERROR, "a preface without SETTINGS")
        end = at + frames.HEADER + length
        if end > len(data):
            return False
        self._at = end
        stream = int.from_bytes(data[at + 5 : at + 9], "big") & frames.STREAM_MAX
        if self._block_stream and (kind != frames.CONTINUATION or stream != self._block_stream):
            raise _Fatal(frames.PROTOCOL_ERROR, "a frame within a header block")
        if kind < len(_TAKERS):
            _TAKERS[kind](self, stream, data[at + 4], data[at:end])
        else:
            self._spend_work()  # RFC 9113 section 5.5: unknown kinds are passed over
        return True

    def _take_preface(self) -> bool:
        begun = self._data[self._at : self._at + len(self._preface)]
        if not self._preface.startswith(begun):
            raise _Fatal(frames.PROTOCOL_ERROR, "no HTTP/2")
        self._at += len(begun)
        self._preface = self._preface[len(begun) :]
        return not self._preface

    # ---- frame by frame

    def _take_headers(self, stream: int, flags: int, frame: bytes) -> None:
        if stream in self._expected and not flags & frames.END_STREAM:
            # Trailers must end the stream (RFC 9113 section 8.1). h2 would end the connection: it is told that they
            # do, and the stream is reset once the block has been decoded.
            self._expected[stream] = _LACKS_END
            frame = b"%b%c%b" % (frame[:4], flags | frames.END_STREAM, frame[5:])
        self._block_size = len(frame)
        self._block_frames = 1
        self._take_block(stream, flags, frame)

    def _take_continuation(self, stream: int, flags: int, frame: bytes) -> None:
        if not self._block_stream:
            raise _Fatal(frames.PROTOCOL_ERROR, "a CONTINUATION of nothing")
        self._block_size += len(frame)
        self._block_frames += 1
        if self._block_frames > CONTINUATIONS or self._block_size > 2 * self._limits.head.size + frames.FRAME_MAX:
            raise _Fatal(frames.ENHANCE_YOUR_CALM, "a header block without end")
        self._take_block(stream, flags, frame)

    def _take_block(self, stream: int, flags: int, frame: bytes) -> None:
        self._block_stream = 0 if flags & frames.END_HEADERS else stream
        self._feed(frame)

    def _take_data(self, stream: int, flags: int, frame: bytes) -> None:
        self._feed(frame)

    def _take_priority(self, stream: int, flags: int, frame: bytes) -> None:
        self._spend_work()
        if not stream:
            raise _Fatal(frames.PROTOCOL_ERROR, "a PRIORITY of nothing")
        if len(frame) != frames.HEADER + 5:
            self._fault(stream, frames.FRAME_SIZE_ERROR, "a PRIORITY of another size")

    def _take_reset(self, stream: int, flags: int, frame: bytes) -> None:
        if self._is_idle(stream):
            raise _Fatal(frames.PROTOCOL_ERROR, "a RST_STREAM of an idle stream")
        if stream in self._expected or stream in self._h2.streams:
            self._spend_reset()
        else:
            self._spend_work()
        self._feed(frame)

    def _take_settings(self, stream: int, flags: int, frame: bytes) -> None:
        self._spend_work()
        if flags & frames.ACK and len(frame) > frames.HEADER:
            raise _Fatal(frames.FRAME_SIZE_ERROR, "an acknowledgement that says more")
        settings = (len(frame) - frames.HEADER) // 6
        if settings > SETTINGS_AT_ONCE or settings + len(self._h2.remote_settings) > SETTINGS_KNOWN + SETTINGS_AT_ONCE:
            raise _Fatal(frames.ENHANCE_YOUR_CALM, "too many settings")
        self.is_settled = True
        self._feed(frame)

    def _take_push(self, stream: int, flags: int, frame: bytes) -> None:
        raise _Fatal(frames.PROTOCOL_ERROR, "a PUSH_PROMISE from a client")

    def _take_ping(self, stream: int, flags: int, frame: bytes) -> None:
        self._spend_work()
        self._feed(frame)
        if flags & frames.ACK and frame[frames.HEADER :] == _PING:
            self._events.append(Acknowledged())

    def _take_goaway(self, stream: int, flags: int, frame: bytes) -> None:
        self._spend_work()
        if stream:
            raise _Fatal(frames.PROTOCOL_ERROR, "a GOAWAY of a stream")
        if len(frame) < frames.HEADER + 8:
            raise _Fatal(frames.FRAME_SIZE_ERROR, "a GOAWAY that is too short")
        self._events.append(GoawayReceived(int.from_bytes(frame[frames.HEADER + 4 : frames.HEADER + 8], "big")))

    def _take_window_update(self, stream: int, flags: int, frame: bytes) -> None:
        self._spend_work()
        if len(frame) != frames.HEADER + 4:
            raise _Fatal(frames.FRAME_SIZE_ERROR, "a WINDOW_UPDATE of another size")
        if self._is_idle(stream) and stream:
            raise _Fatal(frames.PROTOCOL_ERROR, "a WINDOW_UPDATE of an idle stream")
        if not int.from_bytes(frame[frames.HEADER :], "big") & frames.WINDOW_MAX:
            # RFC 9113 section 6.9: of the stream alone, where it is one's.
            if not stream:
                raise _Fatal(frames.PROTOCOL_ERROR, "a window opened by nothing")
            return self._fault(stream, frames.PROTOCOL_ERROR, "a window opened by nothing")
        self._feed(frame)

    def _is_idle(self, stream: int) -> bool:
        """Whether a frame of this stream comes before its first HEADERS (RFC 9113 section 5.1). We begin none."""
        return stream > self._h2.highest_inbound_stream_id or not stream % 2

    # ---- through h2

    def _feed(self, frame: bytes) -> None:
        h2 = self._h2
        try:
            told = h2.receive_data(frame)
        except DenialOfServiceError:
            raise _Fatal(frames.ENHANCE_YOUR_CALM, "a header list without end") from None
        except ProtocolError as error:
            raise _Fatal(int(error.error_code), str(error)) from None
        replies = h2.data_to_send()
        if replies:
            self._reply(replies)
        for event in told:
            follow = _FOLLOWERS.get(event.__class__)
            if follow is not None:
                follow(self, event)

    def _reply(self, replies: bytes) -> None:
        """Pass on what h2 answers by itself. Resets that a peer provokes count as if it had sent them."""
        for kind, stream, frame in frames.split(replies):
            if kind == frames.RST_STREAM:
                if stream in self._we_reset:
                    self._spend_work()  # the peer hadn't heard of it yet, but will
                    continue
                self._spend_reset()
                self._forget(stream)
            self._output.append(frame)

    def _request_came(self, event: RequestReceived) -> None:
        stream, is_whole = event.stream_id, event.stream_ended is not None
        if self.refuses or len(self._expected) >= self._limits.streams:
            # RFC 9113 section 5.1.2 and 6.8: it may be sent again elsewhere.
            self._spend_reset()
            return self.reset(stream, frames.REFUSED_STREAM)
        self.last_stream = stream
        self._idle_work.earn(WORK_PER_REQUEST)
        try:
            head = heads.read_request(self._decoder.fields, self._limits.head, self._schemes, is_whole=is_whole)
        except StreamFault as fault:
            line = heads.request_line(self._decoder.fields, self._limits.head)
            return self._fault(stream, frames.PROTOCOL_ERROR, fault.reason, line)
        except Refused as refused:
            accepted = [value for name, value in self._decoder.fields if name == b"accept"]
            refused.accept = b", ".join(accepted) if accepted else None
            self._expected[stream] = _ANY
            self._events.append(RequestRefused(stream, refused, is_whole))
            return
        self._expected[stream] = _ANY if head.length < 0 else head.length
        self._events.append(HeadReceived(stream, head, is_whole))

    def _data_came(self, event: H2Data) -> None:
        stream, data, credit = event.stream_id, event.data or b"", event.flow_controlled_length or 0
        ends = event.stream_ended is not None
        left = self._expected.get(stream, _ANY)
        if left != _ANY:
            left -= len(data)
            if left < 0 or (ends and left):
                self.credit(stream, credit)
                return self._fault(stream, frames.PROTOCOL_ERROR, "content of another length than content-length says")
            self._expected[stream] = left
        if data:
            self._idle_work.earn(len(data) / WORK_BYTES)
            self._events.append(DataReceived(stream, data, credit))
        else:
            self.credit(stream, credit)
        if ends:
            self._events.append(RequestEnded(stream, []))
        elif not data:
            self._spend_work()  # empty, or padding alone

    def _trailers_came(self, event: TrailersReceived) -> None:
        stream = event.stream_id
        left = self._expected.get(stream, _ANY)
        if left == _LACKS_END:
            return self._fault(stream, frames.PROTOCOL_ERROR, "trailers that don't end the stream")
        try:
            trailers = heads.read_trailers(self._decoder.fields, self._limits.trailers)
        except StreamFault as fault:
            return self._fault(stream, frames.PROTOCOL_ERROR, fault.reason)
        except Refused as refused:
            self._events.append(RequestRefused(stream, refused, is_whole=True))
            return
        if left > 0:
            return self._fault(stream, frames.PROTOCOL_ERROR, "less content than content-length says")
        self._events.append(RequestEnded(stream, trailers))

    def _reset_came(self, event: H2Reset) -> None:
        stream = event.stream_id
        code = int(event.error_code or 0)
        self._forget(stream)
        if event.remote_reset:
            self._events.append(StreamReset(stream, code))
        else:
            self._events.append(StreamFailed(stream, "a frame that this stream may not have"))

    def _window_opened(self, event: WindowUpdated) -> None:
        self._events.append(WindowOpened(event.stream_id or 0))

    def _settings_came(self, event: RemoteSettingsChanged) -> None:
        self._events.append(WindowOpened(0))

    def _settings_heard(self, event: SettingsAcknowledged) -> None:
        """Streams that began before may have windows that are shut now: h2 looks at them only when asked."""
        for stream in self._expected:
            self.credit(stream, 0)

    # ---- bounds and ends

    def _spend_work(self) -> None:
        if not self._idle_work.spend(self._now):
            raise _Fatal(frames.ENHANCE_YOUR_CALM, "too many frames that bring nothing")

    def _spend_reset(self) -> None:
        if not self._resets.spend(self._now):
            raise _Fatal(frames.ENHANCE_YOUR_CALM, "too many streams reset")

    def _fault(self, stream: int, code: int, reason: str, line: tuple[bytes, bytes] = (b"", b"")) -> None:
        """A stream error, if there is such a stream; a peer that causes many is one that resets many."""
        if stream not in self._h2.streams or self._h2.streams[stream].closed:
            if self._is_idle(stream):
                raise _Fatal(code, reason)
            return
        self._spend_reset()
        self.reset(stream, code)
        self._events.append(StreamFailed(stream, reason, line))

    def _forget(self, stream: int) -> None:
        self._expected.pop(stream, None)

    def fail(self, code: int, reason: str) -> None:
        """End the connection by an error: `next_event` gives the ConnectionFailed."""
        self._is_over = True
        self._h2.clear_outbound_data_buffer()
        self._output.append(frames.goaway(self.last_stream, code, reason))
        self._events.append(ConnectionFailed(code, reason))

    # ---- what is to be sent

    def take_output(self) -> bytes:
        """All that was to be sent since the last time."""
        output, self._output = self._output, []
        return b"".join(output)

    def send_head(self, stream: int, block: bytes, *, is_last: bool, is_interim: bool = False) -> None:
        """Send a head, or trailers, as `blocks` wrote it; `is_last` ends the stream with it."""
        self._encoder.block = block if self._has_sent_block else NO_TABLE + block
        self._has_sent_block = True
        self._h2.send_headers(stream, _INTERIM if is_interim else _FINAL, end_stream=is_last)
        self._sent(stream, is_last)

    def room(self, stream: int) -> int:
        """Bytes of content that one frame of this stream may carry now; 0 until a WindowOpened."""
        return max(min(self._h2.local_flow_control_window(stream), frames.FRAME_MAX), 0)

    def send_data(self, stream: int, data: bytes, *, is_last: bool) -> None:
        """Send at most `room` bytes; `is_last` ends the stream with them."""
        self._idle_work.earn(WORK_PER_FRAME + len(data) / WORK_BYTES)
        self._h2.send_data(stream, data, end_stream=is_last)
        self._sent(stream, is_last)

    def _sent(self, stream: int, is_last: bool) -> None:
        self._collect()
        if is_last:
            self._forget(stream)

    def credit(self, stream: int, size: int) -> None:
        """Let the peer send that much more: what it had sent has been taken."""
        self._h2.acknowledge_received_data(size, stream)
        self._collect()

    def reset(self, stream: int, code: int) -> None:
        """Give a stream up, at both ends. It must be open."""
        self._forget(stream)
        self._we_reset[stream] = None
        if len(self._we_reset) > RESETS_REMEMBERED:
            del self._we_reset[next(iter(self._we_reset))]
        self._h2.reset_stream(stream, code)
        self._collect()

    def announce_goaway(self) -> None:
        """Ask the peer to begin no more streams, and to tell when it has heard (`Acknowledged`).

        RFC 9113 section 6.8: streams that are on their way meanwhile are served. Then `goaway`.
        """
        self._output.append(frames.goaway(frames.STREAM_MAX, frames.NO_ERROR))
        self._h2.ping(_PING)
        self._collect()

    def goaway(self) -> None:
        """Refuse the streams that begin from now on."""
        self.refuses = True
        self._output.append(frames.goaway(self.last_stream, frames.NO_ERROR))

    def drop(self) -> None:
        """The connection is gone. Nothing may be called any more."""
        self._is_over = True
        self._h2.drop()

    def _collect(self) -> None:
        self._output.append(self._h2.data_to_send())

    def __repr__(self) -> str:
        return f"Session(open={sorted(self._expected)}, last={self.last_stream}, buffered={self.buffered})"


_ANY = -1
_LACKS_END = -2

_TAKERS: tuple[Callable[[Session, int, int, bytes], None], ...] = (
    Session._take_data,
    Session._take_headers,
    Session._take_priority,
    Session._take_reset,
    Session._take_settings,
    Session._take_push,
    Session._take_ping,
    Session._take_goaway,
    Session._take_window_update,
    Session._take_continuation,
)
"""By the kind of a frame."""

_FOLLOWERS: dict[type[H2Event], Callable[[Session, Any], None]] = {
    RequestReceived: Session._request_came,
    H2Data: Session._data_came,
    TrailersReceived: Session._trailers_came,
    H2Reset: Session._reset_came,
    WindowUpdated: Session._window_opened,
    RemoteSettingsChanged: Session._settings_came,
    SettingsAcknowledged: Session._settings_heard,
}
"""What is done with the events of h2 that mean something here; `StreamEnded` comes with the one before it."""

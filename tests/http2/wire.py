"""A client's side of HTTP/2, in frames that a test makes as it likes: nothing here keeps a rule."""

from __future__ import annotations

from collections.abc import Iterable

from hpack.hpack import Decoder, Encoder

from proxycore.mechanisms.http2 import frames
from proxycore.mechanisms.http2.events import Event
from proxycore.mechanisms.http2.heads import HeadLimits
from proxycore.mechanisms.http2.session import Session, SessionLimits

OPENING = frames.PREFACE + frames.settings({})

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/a")]
POST = [(b":method", b"POST"), *GET[1:]]

Fields = Iterable[tuple[bytes, bytes]]


def block(fields: Fields) -> bytes:
    """A header block that uses no table."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode([(name, value, True) for name, value in fields], huffman=False)


def head(stream: int, fields: Fields = GET, *, ends: bool = True) -> bytes:
    """A request, or trailers."""
    flags = frames.END_HEADERS | (frames.END_STREAM if ends else 0)
    return frames.frame(frames.HEADERS, flags, stream, block(fields))


def data(stream: int, content: bytes = b"", *, ends: bool = False) -> bytes:
    return frames.frame(frames.DATA, frames.END_STREAM if ends else 0, stream, content)


def reset(stream: int, code: int = frames.CANCEL) -> bytes:
    return frames.frame(frames.RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def ping(content: bytes = b"12345678", *, ack: bool = False) -> bytes:
    return frames.frame(frames.PING, frames.ACK if ack else 0, 0, content)


SETTINGS_ACK = frames.frame(frames.SETTINGS, frames.ACK, 0)


class Got:
    """A frame that a server sent. `fields` of a HEADERS frame, `code` of a RST_STREAM or GOAWAY."""

    def __init__(self, frame: bytes, decoder: Decoder) -> None:
        self.kind = frame[3]
        self.flags = frame[4]
        self.stream = int.from_bytes(frame[5:9], "big")
        self.payload = frame[9:]
        self.fields: list[tuple[bytes, bytes]] = []
        if self.kind == frames.HEADERS:
            self.fields = [(name, value) for name, value in decoder.decode(self.payload, raw=True)]

    @property
    def ends(self) -> bool:
        return self.kind in (frames.HEADERS, frames.DATA) and bool(self.flags & frames.END_STREAM)

    @property
    def code(self) -> int:
        return int.from_bytes(self.payload[-4:] if self.kind == frames.RST_STREAM else self.payload[4:8], "big")

    def __repr__(self) -> str:
        return f"Got({self.kind}, {self.flags:#x}, stream={self.stream}, {self.fields or self.payload!r})"


class FrameReader:
    """Reads what a server sent."""

    def __init__(self) -> None:
        self._rest = b""
        self._decoder = Decoder()

    def feed(self, sent: bytes) -> list[Got]:
        self._rest += sent
        got = []
        while len(self._rest) >= 9 and len(self._rest) >= (end := 9 + int.from_bytes(self._rest[:3], "big")):
            got.append(Got(self._rest[:end], self._decoder))
            self._rest = self._rest[end:]
        return got


class Pair:
    """A session, and who speaks with it."""

    def __init__(self, *, opened: bool = True, scheme: bytes = b"http", **limits: int) -> None:
        self.session = Session(session_limits(**limits), (scheme,), 0.0)
        self._reader = FrameReader()
        self.now = 0.0
        if opened:
            assert self.send(OPENING + SETTINGS_ACK)
            self.got()

    def send(self, *sent: bytes) -> list[Event]:
        """Send it, and give what the session tells of it."""
        self.session.receive(b"".join(sent), self.now)
        events = []
        while (event := self.session.next_event()) is not None:
            events.append(event)
        return events

    def got(self) -> list[Got]:
        """What the session has sent since the last time."""
        return self._reader.feed(self.session.take_output())


def session_limits(
    *, size: int = 32_768, fields: int = 100, streams: int = 100, resets: int = 100, window: int = 65_536
) -> SessionLimits:
    return SessionLimits(
        head=HeadLimits(size=size, fields=fields, target=8192),
        trailers=HeadLimits(size=8192, fields=fields),
        streams=streams,
        resets=resets,
        resets_per_second=resets / 10,
        window=window,
    )

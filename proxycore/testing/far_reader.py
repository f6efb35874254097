"""Reads HTTP/1.1 on the far side of a simulated connection: what the proxy wrote to a client or to an origin.

It shares no line with `mechanisms.http1`, so that ours isn't checked by itself, and forgives nothing:
the proxy's own output has one form only (RFC 9112), and any other is a `Malformation`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ClassVar, Final, Literal, NamedTuple

_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PLAIN = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
_NO_CONTENT = frozenset((b"204", b"304"))


class Malformation(Exception):
    """The proxy wrote something that is no HTTP/1.1."""


class Head(NamedTuple):
    """A start line, split at its first two blanks, and the fields as they came."""

    start: tuple[bytes, bytes, bytes]
    fields: list[tuple[bytes, bytes]]

    def get(self, name: bytes) -> bytes | None:
        """The value of the field, which may stand there once only."""
        values = [value for field, value in self.fields if field.lower() == name]
        if len(values) > 1:
            raise Malformation(f"{len(values)} fields {name!r} in {self.start!r}")
        return values[0] if values else None

    @property
    def status(self) -> int:
        return int(self.start[1])


class Data(NamedTuple):
    """A piece of content."""

    data: bytes


class End(NamedTuple):
    """The end of a message, with its trailers."""

    trailers: list[tuple[bytes, bytes]]


Event = Head | Data | End

_HEAD: Final = "head"
_LENGTH: Final = "length"
_CHUNK: Final = "chunk size"
_IN_CHUNK: Final = "chunk"
_AFTER_CHUNK: Final = "after chunk"
_TRAILERS: Final = "trailers"
_CLOSE: Final = "close"
_TUNNEL: Final = "tunnel"


class FarReader:
    """Reads requests or responses. `methods` holds those of the requests whose responses are to come, in order.

    After a 101, and after `be_tunnel`, what comes is `Data` without an end.
    """

    __slots__ = ("_buffer", "_is_request", "_left", "_state", "methods")

    def __init__(self, kind: Literal["request", "response"]) -> None:
        self._is_request = kind == "request"
        self._buffer = b""
        self._state = _HEAD
        self._left = 0
        self.methods: deque[bytes] = deque()

    @property
    def mid_message(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._state not in (_HEAD, _TUNNEL) or bool(self._buffer)

    def be_tunnel(self) -> None:
        """From here on bytes are another protocol's."""
        self._state = _TUNNEL

    def feed(self, data: bytes) -> list[Event]:
        """The events in what has come. Raises Malformation."""
        self._buffer += data
        events: list[Event] = []
        steps = self._STEPS
        while self._buffer and steps[self._state](self, events):
            pass
        return events

    def ended(self) -> list[Event]:
        """The proxy ended its side. Whatever `mid_message` says then was cut."""
        if self._state == _CLOSE:
            self._state = _HEAD
            return [End([])]
        return []

    def _take(self, size: int) -> bytes:
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        return None if end < 0 else self._take(end + 2)[:-2]

    def _block(self) -> bytes | None:
        end = self._buffer.find(b"\r\n\r\n")
        return None if end < 0 else self._take(end + 4)[:-4]

    def _end(self, events: list[Event], trailers: list[tuple[bytes, bytes]]) -> None:
        self._state = _HEAD
        events.append(End(trailers))

    # Each step uses what it can of the buffer, and returns False when it needs more.

    def _read_head(self, events: list[Event]) -> bool:
        block = self._block()
        if block is None:
            return False
        line, *lines = block.split(b"\r\n")
        parts = line.split(b" ", 2)
        if len(parts) != 3:
            raise Malformation(f"a start line: {line!r}")
        head = Head((parts[0], parts[1], parts[2]), [_field(line) for line in lines])
        events.append(head)
        if self._is_request:
            self._follow_request(head, events)
        else:
            self._follow_response(head, events)
        return True

    def _follow_request(self, head: Head, events: list[Event]) -> None:
        if head.start[2] != b"HTTP/1.1" or not head.start[1] or head.start[0].translate(None, _TOKEN):
            raise Malformation(f"a request line: {head.start!r}")
        if head.get(b"host") is None:
            raise Malformation("a request without Host")
        if not self._follow_framing(head, events):
            self._end(events, [])

    def _follow_response(self, head: Head, events: list[Event]) -> None:
        version, status, _ = head.start
        if version != b"HTTP/1.1" or len(status) != 3 or not status.isdigit():
            raise Malformation(f"a status line: {head.start!r}")
        if status[:1] == b"1":
            if head.get(b"content-length") is not None or head.get(b"transfer-encoding") is not None:
                raise Malformation(f"an interim response with content: {head!r}")
            if status == b"101":
                self._state = _TUNNEL
            return
        if not self.methods:
            raise Malformation(f"a response that answers nothing: {head!r}")
        method = self.methods.popleft()
        if method == b"HEAD" or status in _NO_CONTENT:
            if status == b"204" and (head.get(b"content-length") or head.get(b"transfer-encoding")):
                raise Malformation(f"a 204 with a length: {head!r}")
            self._end(events, [])
        elif not self._follow_framing(head, events):
            self._state = _CLOSE

    def _follow_framing(self, head: Head, events: list[Event]) -> bool:
        """Set the state for the content that follows. False if nothing says how long it is."""
        coding, length = head.get(b"transfer-encoding"), head.get(b"content-length")
        if coding is not None:
            if length is not None or coding != b"chunked":
                raise Malformation(f"framing: {head!r}")
            self._state = _CHUNK
        elif length is not None:
            if not length.isdigit():
                raise Malformation(f"a length: {head!r}")
            self._left = int(length)
            self._state = _LENGTH
            if not self._left:
                self._end(events, [])
        else:
            return False
        return True

    def _read_length(self, events: list[Event]) -> bool:
        data = self._take(self._left)
        self._left -= len(data)
        events.append(Data(data))
        if not self._left:
            self._end(events, [])
        return True

    def _read_chunk_size(self, events: list[Event]) -> bool:
        line = self._line()
        if line is None:
            return False
        try:
            self._left = int(line, 16)
        except ValueError:
            raise Malformation(f"a chunk size: {line!r}") from None
        self._state = _IN_CHUNK if self._left else _TRAILERS
        return True

    def _read_in_chunk(self, events: list[Event]) -> bool:
        data = self._take(self._left)
        self._left -= len(data)
        events.append(Data(data))
        if not self._left:
            self._state = _AFTER_CHUNK
        return True

    def _read_after_chunk(self, events: list[Event]) -> bool:
        line = self._line()
        if line is None:
            return False
        if line:
            raise Malformation("a chunk longer than its size")
        self._state = _CHUNK
        return True

    def _read_trailers(self, events: list[Event]) -> bool:
        if self._buffer.startswith(b"\r\n"):
            self._take(2)
            self._end(events, [])
            return True
        block = self._block()
        if block is None:
            return False
        self._end(events, [_field(line) for line in block.split(b"\r\n")])
        return True

    def _read_all(self, events: list[Event]) -> bool:
        events.append(Data(self._take(len(self._buffer))))
        return True

    _STEPS: ClassVar[dict[str, Callable[[FarReader, list[Event]], bool]]] = {
        _HEAD: _read_head,
        _LENGTH: _read_length,
        _CHUNK: _read_chunk_size,
        _IN_CHUNK: _read_in_chunk,
        _AFTER_CHUNK: _read_after_chunk,
        _TRAILERS: _read_trailers,
        _CLOSE: _read_all,
        _TUNNEL: _read_all,
    }


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b": ")
    if not colon or not name or name.translate(None, _TOKEN):
        raise Malformation(f"a field: {line!r}")
    if value != value.strip(b" \t") or value.translate(None, _PLAIN):
        raise Malformation(f"a value: {line!r}")
    return name, value

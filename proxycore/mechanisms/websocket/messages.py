"""Messages in and out, one piece at a time: wsproto reads, `frames` writes (RFC 6455 sections 5 to 7).

    reader.receive(data)
    while (event := reader.next_event()) is not None:
        ...                 # pieces of messages; Ping, Pong and Close between them

Whoever stops calling `next_event` leaves the rest unread. What was compressed is
inflated as it is asked for, `INFLATED_AT_ONCE` bytes of input at a time, so that whoever waits for the
other side to take bytes doesn't hold what a bomb would become.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed

from proxycore.mechanisms.websocket.deflate import Deflate, Inflater
from proxycore.mechanisms.websocket.frames import (
    BINARY,
    CONTINUATION,
    DEFLATED,
    FIN,
    INVALID_DATA,
    PING,
    PONG,
    TEXT,
    TOO_BIG,
    close_frame,
    frame,
)

INFLATED_AT_ONCE = 1024
"""Bytes of compressed input for one event: deflate makes at most 1,032 of each, so one MiB."""

_REASONS = {TOO_BIG: "the message is too big", INVALID_DATA: "the message is invalid UTF-8, or badly compressed"}


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a message, or none; `last` with its last ones. Text is valid UTF-8 over all pieces."""

    is_text: bool
    data: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """To be answered by a Pong with the same data."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """An answer to a Ping, or a sign of life that nobody asked for."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The peer's last frame. `code` is None where it gave none."""

    code: int | None
    reason: str


class Broken(Exception):
    """What was read is no WebSocket: `code` and `reason` are for the Close that says so (section 7.4.1)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class MessageReader:
    """Reads what a client (`from_client`, so masked) or a server sent.

    A message of more than `max_message` bytes, inflated, is `Broken` with 1009; so is, with its own code, what breaks
    a rule of section 5 (1002) or is no UTF-8 (1007). `deflate` says that compressed messages were agreed on.
    `messages` counts whole ones; `buffered` is, at most, how many bytes wait for `next_event`.
    """

    __slots__ = ("_at", "_data", "_frames", "_max_message", "_received", "_step", "buffered", "has_ended", "messages")

    def __init__(self, *, from_client: bool, max_message: int, deflate: bool) -> None:
        self._frames = FrameProtocol(not from_client, [Inflater(max_message)] if deflate else [])
        self._max_message = max_message
        self._step = INFLATED_AT_ONCE if deflate else 0
        self._data = b""
        self._at = 0
        self._received = 0  # bytes of the message under way
        self.messages = 0
        self.buffered = 0
        self.has_ended = False

    def receive(self, data: bytes) -> None:
        """Take bytes of the connection; after a Close, or a fault, they are dropped."""
        if not self.has_ended:
            self._data = self._data[self._at :] + data if self._data else data
            self._at = 0
            self.buffered += len(data)

    def next_event(self) -> Piece | Ping | Pong | Close | None:
        """The next event, None when more bytes are needed. Raises Broken, once."""
        try:
            while not self.has_ended:
                found = next(self._frames.received_frames(), None)
                if found is None:
                    if not self._feed():
                        self.buffered = 0
                        return None
                    continue
                return self._event(found.opcode, found.payload, found.frame_finished and found.message_finished)
        except ParseFailed as failure:
            self._end()
            raise Broken(int(failure.code), _REASONS.get(failure.code, str(failure))) from None
        except Broken:
            self._end()
            raise
        return None

    def _feed(self) -> bool:
        step = self._data[self._at : self._at + self._step] if self._step else self._data
        if not step:
            return False
        self._at += len(step)
        if self._at == len(self._data):
            self._data = b""
            self._at = 0
        self._frames.receive_bytes(step)
        return True

    def _event(self, opcode: Opcode, payload: bytes | str | tuple[int, str], last: bool) -> Piece | Ping | Pong | Close:
        if isinstance(payload, tuple):
            self._end()
            code, reason = payload
            return Close(None if code == CloseReason.NO_STATUS_RCVD else int(code), reason)
        data = payload.encode() if isinstance(payload, str) else payload
        if opcode == PING:
            return Ping(data)
        if opcode == PONG:
            return Pong(data)
        self._received += len(data)
        if self._received > self._max_message:
            raise Broken(TOO_BIG, _REASONS[TOO_BIG])
        if last:
            self._received = 0
            self.messages += 1
        return Piece(opcode == TEXT, data, last)

    def _end(self) -> None:
        self.has_ended = True
        self.buffered = 0
        self._data = b""
        self._at = 0


class MessageWriter:
    """Writes to a client, or to a server: then `mask` gives four bytes that can't be foretold, for each frame."""

    __slots__ = ("_deflate", "_deflater", "_has_begun", "_mask")

    def __init__(self, *, deflate: Deflate | None, mask: Callable[[], bytes] | None) -> None:
        self._deflate = deflate
        self._mask = mask
        self._deflater: zlib._Compress | None = None
        self._has_begun = False

    def piece(self, piece: Piece) -> bytes:
        """The next piece of a message, as a frame; none where it brings nothing, or waits in the compressor."""
        data = piece.data
        bits = FIN if piece.last else 0
        if self._deflate is not None:
            data = self._deflated(self._deflate, data, piece.last)
            if not self._has_begun:
                bits |= DEFLATED
        if not data and not piece.last:
            return b""
        opcode = CONTINUATION if self._has_begun else TEXT if piece.is_text else BINARY
        self._has_begun = not piece.last
        return frame(opcode, data, self._mask and self._mask(), bits=bits)

    def _deflated(self, deflate: Deflate, data: bytes, last: bool) -> bytes:
        deflater = self._deflater
        if deflater is None:
            deflater = self._deflater = zlib.compressobj(wbits=-deflate.window_bits)
        deflated = deflater.compress(data)
        if last:
            deflated = (deflated + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")
            self._deflater = None
        # RFC 7692 section 7.2.3.6: an empty message is one byte, not none.
        return deflated or (b"\x00" if last else b"")

    def ping(self, data: bytes) -> bytes:
        return frame(PING, data, self._mask and self._mask())

    def pong(self, data: bytes) -> bytes:
        return frame(PONG, data, self._mask and self._mask())

    def close(self, code: int | None, reason: str = "") -> bytes:
        return close_frame(code, reason, self._mask and self._mask())

"""One end of a simulated WebSocket: says its part, and judges each frame that it hears.

It shares no line with `mechanisms.websocket` nor with wsproto, so that neither is checked by itself,
and forgives nothing: a mask where there may be none, a frame behind a Close, a length in a longer
form than it needs (RFC 6455 section 5).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from hashlib import md5, sha1

from proxycore.testing.far_reader import Malformation

MESSAGE = 1_500
"""Bytes of a message; each third one comes in two frames."""

_MASK = b"\x5a\x01\xff\x80"


def key_of(nonce: bytes) -> bytes:
    """A Sec-WebSocket-Key that only this scene has."""
    return b64encode(md5(nonce, usedforsecurity=False).digest())


def accept_of(key: bytes) -> bytes:
    """What a server answers to it."""
    return b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest())


def frame(first: int, payload: bytes, *, masked: bool) -> bytes:
    """One frame whose first byte is that."""
    size = len(payload)
    head = bytes((first, (size if size < 126 else 126) | (0x80 if masked else 0)))
    if size >= 126:
        head += size.to_bytes(2, "big")
    if not masked:
        return head + payload
    return head + _MASK + _masked(payload, _MASK)


def _masked(payload: bytes, mask: bytes) -> bytes:
    """`payload` behind a mask, or without it again."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(repeated)).to_bytes(size)


def messages(content: bytes, *, masked: bool) -> bytes:
    """`content`, said in messages."""
    frames = []
    for number, start in enumerate(range(0, len(content), MESSAGE)):
        message = content[start : start + MESSAGE]
        cut = 100 if number % 3 == 2 else len(message)
        opcode = 1 + number % 2
        frames.append(frame(opcode if cut < len(message) else 0x80 | opcode, message[:cut], masked=masked))
        if cut < len(message):
            frames.append(frame(0x80, message[cut:], masked=masked))
    return b"".join(frames)


def close(code: int, *, masked: bool) -> bytes:
    """The last frame of one end."""
    return frame(0x88, code.to_bytes(2, "big"), masked=masked)


class Listening:
    """What one end hears: `heard` bytes of messages, which `expects` them; then a Close with `code`.

    `masked` says whether the other end is the client. `on_close` is called once, when the Close is whole.
    """

    def __init__(self, expected: bytes, *, masked: bool, on_close: Callable[[], None]) -> None:
        self.heard = 0
        self.code = 0
        self._expected = expected
        self._masked = masked
        self._on_close = on_close
        self._buffer = b""
        self._in_message = False

    def hear(self, data: bytes) -> None:
        """Raises Malformation for anything but the messages that were said, and one Close."""
        self._buffer += data
        while self._buffer:
            if self.code:
                raise Malformation(f"bytes behind a Close: {self._buffer[:40]!r}")
            if not self._take_frame():
                return

    def _take_frame(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        first, masked, size, at = buffer[0], bool(buffer[1] & 0x80), buffer[1] & 0x7F, 2
        if masked is not self._masked:
            raise Malformation(f"a frame that is {'' if masked else 'not '}masked: {buffer[:20]!r}")
        if size >= 126:
            length = 2 if size == 126 else 8
            if len(buffer) < at + length:
                return False
            least, size, at = (
                (126 if size == 126 else 1 << 16),
                int.from_bytes(buffer[at : at + length], "big"),
                at + length,
            )
            if size < least:
                raise Malformation(f"a length in a form that is too long: {buffer[:20]!r}")
        mask = buffer[at : at + 4] if masked else b""
        at += len(mask)
        if len(buffer) < at + size or (masked and len(mask) < 4):
            return False
        payload, self._buffer = buffer[at : at + size], buffer[at + size :]
        if masked:
            payload = _masked(payload, mask)
        self._follow(first, payload)
        return True

    def _follow(self, first: int, payload: bytes) -> None:
        if first == 0x88:
            if len(payload) < 2:
                raise Malformation("a Close without the code that was said")
            self.code = int.from_bytes(payload[:2], "big")
            return self._on_close()
        if first & 0x7F not in ((0,) if self._in_message else (1, 2)):
            raise Malformation(f"a frame out of its order: {first:#x} {payload[:40]!r}")
        self._in_message = first < 0x80
        if self._expected[self.heard : self.heard + len(payload)] != payload:
            raise Malformation(f"a message that was not said, from byte {self.heard} on: {payload[:40]!r}")
        self.heard += len(payload)

"""Where frames begin and end, and how to write one (RFC 6455 section 5). Nothing is decoded here.

Theory of operation
-------------------
A tunnel passes bytes as they come, and `FrameTracker` looks at them in passing: at the two bytes
that begin each frame, and at the length where it doesn't fit there. Payload is skipped by counting,
so a frame costs the same whatever its size, and whatever extension made it. That is enough to count
messages, to see a Close go by, and to know where a frame of our own may stand: between two others.

What the bytes mean is the business of both ends, and so are their errors. A length that can't be
(section 5.2: the topmost bit is 0) makes a frame that doesn't end, and so nothing is inserted.
"""

from __future__ import annotations

import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
"""Opcodes (section 5.2)."""

FIN = 0x80
DEFLATED = 0x40
"""The first reserved bit: of a message that permessage-deflate made (RFC 7692 section 6)."""

GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
INVALID_DATA = 1007
TOO_BIG = 1009
INTERNAL_ERROR = 1011

_CONTROL = 0x8
_MASKED = 0x80
_SHORT_MAX = 125
_IN_TWO_BYTES = 126
_TWO_BYTES_MAX = 0xFFFF

_TWO = struct.Struct("!H")
_EIGHT = struct.Struct("!Q")

_SIZES = tuple(
    (second & 0x7F) + (6 if second & _MASKED else 2) if second & 0x7F <= _SHORT_MAX else 0 for second in range(256)
)
"""Bytes of a whole frame by its second byte; 0 where the length stands behind that."""


class FrameTracker:
    """Follows the frames of one direction of a WebSocket.

    `messages` counts those whose last frame has begun; `saw_close` says that a Close has.
    """

    __slots__ = ("_head", "_left", "messages", "saw_close")

    def __init__(self) -> None:
        self.messages = 0
        self.saw_close = False
        self._head = b""  # of a frame whose length isn't known yet
        self._left = 0  # bytes of the frame under way that are still to come

    @property
    def is_between_frames(self) -> bool:
        """Whether all frames that began have ended: another may be written here."""
        return not self._left and not self._head

    def follow(self, data: bytes) -> None:
        """`data` passes: any number of bytes, cut anywhere."""
        if self._head:
            data = self._head + data
            self._head = b""
        size = len(data)
        at = self._left
        while at < size:
            length = _size(data, at)
            if not length:
                self._head = data[at:]
                at = size
                break
            first = data[at]
            if first >= FIN:
                if not first & _CONTROL:
                    self.messages += 1
                elif first & 0xF == CLOSE:
                    self.saw_close = True
            at += length
        self._left = at - size

    def end_of_frame(self, data: bytes) -> int:
        """How many bytes of `data` belong to the frame under way. Ask before `follow`."""
        left = self._left
        if self._head:
            left = _size(self._head + data, 0) - len(self._head)
        return left if 0 <= left < len(data) else len(data)

    def __repr__(self) -> str:
        state = f"left={self._left}, head={self._head!r}"
        return f"FrameTracker(messages={self.messages}, saw_close={self.saw_close}, {state})"


def _size(data: bytes, at: int) -> int:
    """Bytes of the whole frame that begins at `at`; 0 where too little of it is here to say."""
    try:
        second = data[at + 1]
        size = _SIZES[second]
        if size:
            return size
        number = _TWO if second & 0x7F == _IN_TWO_BYTES else _EIGHT
        payload: int = number.unpack_from(data, at + 2)[0]
    except (IndexError, struct.error):
        return 0
    return 2 + number.size + (4 if second & _MASKED else 0) + payload


def frame(opcode: int, payload: bytes, mask: bytes | None = None, *, bits: int = FIN) -> bytes:
    """One frame, ready to be sent; masked with these four bytes if a client sends it (section 5.3).

    `bits` are those above the opcode. `mask` must be unpredictable: a fresh one for each frame.
    """
    length = len(payload)
    masked = 0 if mask is None else _MASKED
    if length <= _SHORT_MAX:
        head = bytes((bits | opcode, masked | length))
    elif length <= _TWO_BYTES_MAX:
        head = bytes((bits | opcode, masked | _IN_TWO_BYTES)) + _TWO.pack(length)
    else:
        head = bytes((bits | opcode, masked | _IN_TWO_BYTES + 1)) + _EIGHT.pack(length)
    return head + payload if mask is None else b"%b%b%b" % (head, mask, masking(payload, mask))


def close_frame(code: int | None, reason: str = "", mask: bytes | None = None) -> bytes:
    """A Close with this code (none: 1005 to its reader), and a reason that is cut to what fits (section 5.5.1)."""
    if code is None:
        return frame(CLOSE, b"", mask)
    text = reason.encode()[: _SHORT_MAX - 2].decode("utf-8", "ignore").encode()
    return frame(CLOSE, _TWO.pack(code) + text, mask)


def masking(payload: bytes, mask: bytes) -> bytes:
    """Mask, or unmask (section 5.3): as one long number, which is done at the speed of C."""
    length = len(payload)
    pad = mask * (length // 4 + 1)
    number = int.from_bytes(payload, "little") ^ int.from_bytes(pad[:length], "little")
    return number.to_bytes(length, "little")

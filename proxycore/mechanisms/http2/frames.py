"""Frames as bytes: where one ends, and the few that are written here (RFC 9113 section 4.1 and 6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (RFC 9113 section 3.4)."""

FRAME_MAX: Final = 16_384
"""Bytes of a frame's payload, in both directions: the default of SETTINGS_MAX_FRAME_SIZE, and everybody's choice."""

HEADER: Final = 9

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4

WINDOW_MAX: Final = 2**31 - 1
STREAM_MAX: Final = 2**31 - 1

SETTING_MAX_STREAMS, SETTING_WINDOW, SETTING_HEAD_SIZE = 0x3, 0x4, 0x6
"""The settings that a server tells: concurrent streams, a stream's initial window, the size of a header list."""

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0x0, 0x1, 0x2, 0x3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 0x5, 0x6, 0x7, 0x8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x9, 0xB


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    entries = (key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values.items())
    return frame(SETTINGS, 0, 0, b"".join(entries))


def goaway(last_stream: int, code: int, reason: str = "") -> bytes:
    """A GOAWAY frame, whose reason is for whoever reads the peer's log."""
    return frame(GOAWAY, 0, 0, last_stream.to_bytes(4, "big") + code.to_bytes(4, "big") + reason.encode())


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame, of the connection where `stream` is 0."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The frames of `data`, which holds whole ones: kind, stream, and the frame itself."""
    at = 0
    while at < len(data):
        end = at + HEADER + int.from_bytes(data[at : at + 3], "big")
        yield data[at + 3], int.from_bytes(data[at + 5 : at + 9], "big"), data[at:end]
        at = end

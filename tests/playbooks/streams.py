"""What the playbooks of HTTP/2 share: frames in words.

sends(client, "1 HEADERS 200", "1 DATA b'hi' end")
"""

from __future__ import annotations

from hpack.hpack import Decoder

from proxycore.mechanisms.http2 import frames
from proxycore.testing.playbook import Expected, Handle, Line, Pattern, accepted, nothing, received, send
from tests.http2.wire import OPENING, SETTINGS_ACK

_NAMES = ("DATA", "HEADERS", "PRIORITY", "RST", "SETTINGS", "PUSH", "PING", "GOAWAY", "WINDOW", "CONTINUATION")
_LONG = 40


def told(frame: bytes) -> str:
    """A frame in words."""
    kind, flags, payload = frame[3], frame[4], frame[9:]
    stream = int.from_bytes(frame[5:9], "big")
    end = " end" if kind in (frames.DATA, frames.HEADERS) and flags & frames.END_STREAM else ""
    if kind == frames.HEADERS:
        fields = [(name, value) for name, value in Decoder().decode(payload, raw=True)]
        said = fields[0][1].decode() if fields[0][0] == b":status" else str(fields)
        return f"{stream} HEADERS {said}{end}"
    if kind == frames.DATA:
        return f"{stream} DATA {payload!r}{end}" if len(payload) <= _LONG else f"{stream} DATA {len(payload)}{end}"
    if kind == frames.RST_STREAM:
        return f"{stream} RST {payload[3]}"
    if kind == frames.GOAWAY:
        return f"GOAWAY {int.from_bytes(payload[:4], 'big')} {payload[7]}"
    if kind == frames.WINDOW_UPDATE:
        return f"{stream} WINDOW +{int.from_bytes(payload, 'big')}"
    return f"{_NAMES[kind]}{' ACK' if flags & frames.ACK else ''}"


def sends(conn: Handle, *words: str) -> Expected:
    """`Send`, with exactly these frames."""

    def matches(sent: bytes) -> bool:
        return [told(frame) for *_, frame in frames.split(sent)] == list(words)

    return send(conn, Pattern(f"frames{words!r}", matches))


GREETING = ("SETTINGS", "0 WINDOW +2147418112")


def opened(client: Handle, listener: str = "web", settings: bytes = OPENING) -> tuple[Line, ...]:
    """A client that speaks HTTP/2 from the first byte on, to a listener that may speak HTTP/1 too."""
    return (
        accepted(client, listener) >> nothing,
        received(client, settings) >> sends(client, *GREETING, "SETTINGS ACK"),
        received(client, SETTINGS_ACK) >> nothing,
    )

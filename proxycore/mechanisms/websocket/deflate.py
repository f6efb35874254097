"""permessage-deflate (RFC 7692): agreed on with each side by itself, inflated within bounds.

Neither direction takes context over: each message is compressed by itself. It costs some of the
ratio where messages are short, and in return a connection that is silent holds no window (some
300 KiB for both directions, else), and one message can't make the next one expand.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

from proxycore.mechanisms.http1.fields import TCHAR
from proxycore.words.errors import Malformed
from proxycore.words.messages import Headers

_FIELD = b"sec-websocket-extensions"
_NAME = b"permessage-deflate"
_WITHOUT_CONTEXT = frozenset((b"server_no_context_takeover", b"client_no_context_takeover"))
_WINDOWS = frozenset((b"server_max_window_bits", b"client_max_window_bits"))

_BITS = {b"%d" % bits: bits for bits in range(8, 16)}
"""Sizes of windows as they are written (section 7.1.2: decimal, no leading zeros)."""

OFFER = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
"""What we offer to a server."""

_TAIL = b"\x00\x00\xff\xff"
"""The end of a flushed block, which no message carries (section 7.2.1)."""


class Deflate:
    """What was agreed on with one side. `answer` is the field for a client; `window_bits` bound what we compress."""

    __slots__ = ("answer", "window_bits")

    def __init__(self, window_bits: int = zlib.MAX_WBITS, answer: bytes = OFFER) -> None:
        self.window_bits = window_bits
        self.answer = answer


def accepted_offer(headers: Headers) -> Deflate | None:
    """The first of a client's offers that we can accept (section 5); None where there is none."""
    for offer in headers.get_list(_FIELD):
        parameters = _parameters(offer)
        if parameters is None or not parameters.keys() <= _WITHOUT_CONTEXT | _WINDOWS:
            continue
        if any(parameters.get(name) for name in _WITHOUT_CONTEXT):
            continue
        # What the client's own window may be asked to be (no value: anything), we don't ask for.
        if parameters.get(b"client_max_window_bits") not in (None, *_BITS):
            continue
        if b"server_max_window_bits" not in parameters:
            return Deflate()
        bits = _BITS.get(parameters[b"server_max_window_bits"] or b"", 0)
        if bits > 8:  # zlib's smallest window is the next one
            return Deflate(bits, b"%b; server_max_window_bits=%d" % (OFFER, bits))
    return None


def read_answer(headers: Headers) -> Deflate | None:
    """What a server made of `OFFER`; None where it declined. Raises Malformed (section 7.1)."""
    answers = headers.get_list(_FIELD)
    if not answers:
        return None
    parameters = _parameters(answers[0])
    if len(answers) > 1 or parameters is None or b"server_no_context_takeover" not in parameters:
        raise _refusal()
    for name, value in parameters.items():
        # A window for the client may not be asked for, as it wasn't offered. One of the server's own fits in ours.
        is_known = value is None if name in _WITHOUT_CONTEXT else name == b"server_max_window_bits" and value in _BITS
        if not is_known:
            raise _refusal()
    return Deflate()


def _refusal() -> Malformed:
    return Malformed("a 101 with an extension that wasn't offered so", "http_upgrade_failed")


def _parameters(offer: bytes) -> Mapping[bytes, bytes | None] | None:
    """Parameters of one offer of permessage-deflate, those without a value as None. None for anything else."""
    name, *parts = (part.strip(b" \t") for part in offer.split(b";"))
    if name.lower() != _NAME:
        return None
    parameters: dict[bytes, bytes | None] = {}
    for part in parts:
        key, equals, value = part.partition(b"=")
        if value[:1] == b'"' and value[-1:] == b'"' and len(value) > 2:
            value = value[1:-1]
        if not key or (key + value).translate(None, TCHAR) or key in parameters or (equals and not value):
            return None
        parameters[key] = value if equals else None
    return parameters


class Inflater(Extension):
    """Inflates what is read, for wsproto's decoder. A message of more than `limit` bytes ends at the first beyond."""

    name = "permessage-deflate"

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inflated = 0
        self._is_control = False
        self._inflater: zlib._Decompress | None = None

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool:
        """Agreed on before, by `accepted_offer` or `read_answer`."""
        return True

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        self._is_control = opcode.iscontrol()
        # Section 6: the bit is set on the first frame of a message, and nowhere else.
        if rsv.rsv1 and (self._is_control or opcode is Opcode.CONTINUATION):
            return CloseReason.PROTOCOL_ERROR
        if not self._is_control and opcode is not Opcode.CONTINUATION:
            self._inflated = 0
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if rsv.rsv1 else None
        return RsvBits(True, False, False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        if self._inflater is None or self._is_control:
            return data
        return self._inflate(self._inflater, data)

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        inflater = self._inflater
        if inflater is None or self._is_control or not fin:
            return None
        rest = self._inflate(inflater, _TAIL)
        self._inflater = None
        if inflater.unused_data.strip(b"\x00\xff"):
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA  # behind the last block: it would be lost in silence
        return rest

    def _inflate(self, inflater: zlib._Decompress, data: bytes) -> bytes | CloseReason:
        room = self._limit - self._inflated + 1
        try:
            inflated = inflater.decompress(data, room)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._inflated += len(inflated)
        if self._inflated > self._limit:
            return CloseReason.MESSAGE_TOO_BIG
        return inflated

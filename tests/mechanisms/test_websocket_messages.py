"""Messages: what wsproto writes we read, and the other way; what breaks a rule has its code; bombs stay small."""

from __future__ import annotations

import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol, Opcode

from proxycore.mechanisms.websocket.deflate import OFFER, Deflate, accepted_offer, read_answer
from proxycore.mechanisms.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEFLATED,
    FIN,
    PING,
    TEXT,
    close_frame,
    frame,
)
from proxycore.mechanisms.websocket.messages import (
    Broken,
    Close,
    MessageReader,
    MessageWriter,
    Piece,
    Ping,
    Pong,
)
from proxycore.words.errors import Malformed
from proxycore.words.messages import Headers

MASK = b"\x01\x02\x03\x04"
LIMIT = 100_000


def reader(*, deflate: bool = False, max_message: int = LIMIT) -> MessageReader:
    """Of what a client sends."""
    return MessageReader(from_client=True, max_message=max_message, deflate=deflate)


def events(reader: MessageReader, *received: bytes) -> list[Piece | Ping | Pong | Close]:
    found = []
    for data in received:
        reader.receive(data)
        while (event := reader.next_event()) is not None:
            found.append(event)
    return found


def messages(found: list[Piece | Ping | Pong | Close]) -> list[tuple[bool, bytes]]:
    """The pieces put together."""
    whole: list[tuple[bool, bytes]] = []
    data = b""
    for piece in found:
        assert isinstance(piece, Piece)
        data += piece.data
        if piece.last:
            whole.append((piece.is_text, data))
            data = b""
    assert not data
    return whole


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, wbits=-15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


MESSAGES = st.lists(st.tuples(st.booleans(), st.text(max_size=300).map(str.encode)), max_size=5)


@given(MESSAGES, st.booleans(), st.lists(st.integers(0, 3000), max_size=8))
def test_any_split_has_the_same_messages(sent: list[tuple[bool, bytes]], deflate: bool, cuts: list[int]) -> None:
    writer = MessageWriter(deflate=Deflate() if deflate else None, mask=lambda: MASK)
    data = b"".join(
        writer.piece(Piece(text, part, last))
        for text, message in sent
        for part, last in ((message[:7], False), (message[7:], True))
    )
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    assert messages(events(reader(deflate=deflate), *pieces)) == sent


@given(MESSAGES, st.booleans())
def test_wsproto_reads_what_we_write(sent: list[tuple[bool, bytes]], deflate: bool) -> None:
    extension = PerMessageDeflate(server_no_context_takeover=True)
    extension.finalize("permessage-deflate")
    peer = FrameProtocol(client=True, extensions=[extension] if deflate else [])
    writer = MessageWriter(deflate=Deflate() if deflate else None, mask=None)
    for text, message in sent:
        peer.receive_bytes(writer.piece(Piece(text, message[:5], False)) + writer.piece(Piece(text, message[5:], True)))
    got: list[tuple[bool, bytes]] = []
    data = b""
    for found in peer.received_frames():
        data += found.payload.encode() if isinstance(found.payload, str) else bytes(found.payload)  # type: ignore[arg-type]
        if found.message_finished:
            got.append((found.opcode is Opcode.TEXT, data))
            data = b""
    assert got == sent


@given(MESSAGES)
def test_we_read_what_wsproto_compresses(sent: list[tuple[bool, bytes]]) -> None:
    extension = PerMessageDeflate(client_no_context_takeover=True)
    extension.finalize("permessage-deflate")
    peer = FrameProtocol(client=True, extensions=[extension])
    data = b"".join(bytes(peer.send_data(message.decode() if text else message)) for text, message in sent)
    assert messages(events(reader(deflate=True), data)) == sent


def test_control_frames_may_stand_within_a_message() -> None:
    found = events(
        reader(),
        frame(TEXT, b"one ", MASK, bits=0)
        + frame(PING, b"?", MASK)
        + frame(CONTINUATION, b"two", MASK)
        + close_frame(1000, "bye", MASK)
        + b"what follows a Close is nothing",
    )
    assert found == [Piece(True, b"one ", False), Ping(b"?"), Piece(True, b"two", True), Close(1000, "bye")]


def test_a_character_may_be_cut_by_fragments() -> None:
    euro = "€".encode()
    found = events(reader(), frame(TEXT, euro[:1], MASK, bits=0) + frame(CONTINUATION, euro[1:], MASK))
    assert messages(found) == [(True, euro)]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"\xff", MASK), 1007),
        (frame(TEXT, "€".encode()[:2], MASK), 1007),
        (frame(TEXT, b"unmasked"), 1002),
        (frame(3, b"", MASK), 1002),
        (frame(TEXT, b"", MASK, bits=FIN | 0x20), 1002),
        (frame(TEXT, b"", MASK, bits=FIN | DEFLATED), 1002),
        (frame(CONTINUATION, b"of nothing", MASK), 1002),
        (frame(TEXT, b"a", MASK, bits=0) + frame(TEXT, b"b", MASK), 1002),
        (frame(PING, b"", MASK, bits=0), 1002),
        (frame(PING, bytes(126), MASK), 1002),
        (frame(CLOSE, b"\x03", MASK), 1002),
        (close_frame(1005, "", MASK), 1002),
        (close_frame(999, "", MASK), 1002),
        (frame(CLOSE, b"\x03\xe8\xff", MASK), 1007),
        (b"\x82\xfe\x00\x05", 1002),
        (b"\x82\xff" + b"\xff" * 8, 1002),
        (frame(BINARY, bytes(LIMIT + 1), MASK), 1009),
    ],
    ids=repr,
)
def test_each_broken_rule_has_its_code(data: bytes, code: int) -> None:
    for size in (len(data), 1) if len(data) < 1000 else (len(data),):
        reading = reader()
        with pytest.raises(Broken) as broken:
            events(reading, *(data[at : at + size] for at in range(0, len(data), size)))
        assert broken.value.code == code
        assert events(reading, frame(TEXT, b"later", MASK)) == []
        assert reading.buffered == 0


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"no deflate", MASK, bits=FIN | DEFLATED), 1007),
        (frame(TEXT, deflated(b"a") + b"and more", MASK, bits=FIN | DEFLATED), 1007),
        (frame(TEXT, deflated(b"\xff"), MASK, bits=FIN | DEFLATED), 1007),
        (frame(PING, b"", MASK, bits=FIN | DEFLATED), 1002),
        (
            frame(TEXT, deflated(b"a"), MASK, bits=DEFLATED)
            + frame(CONTINUATION, deflated(b"a"), MASK, bits=FIN | DEFLATED),
            1002,
        ),
    ],
    ids=repr,
)
def test_each_broken_rule_of_compression_has_its_code(data: bytes, code: int) -> None:
    with pytest.raises(Broken) as broken:
        events(reader(deflate=True), data)
    assert broken.value.code == code


def test_a_bomb_goes_off_at_the_limit() -> None:
    bomb = frame(BINARY, deflated(bytes(50_000_000)), MASK, bits=FIN | DEFLATED)
    reading = reader(deflate=True)
    with pytest.raises(Broken) as broken:
        events(reading, bomb)
    assert broken.value.code == 1009


def test_what_nobody_asks_for_is_not_inflated() -> None:
    bomb = frame(BINARY, deflated(bytes(20_000_000)), MASK, bits=FIN | DEFLATED)
    reading = reader(deflate=True, max_message=1 << 30)
    reading.receive(bomb)
    first = reading.next_event()
    assert isinstance(first, Piece)
    assert len(first.data) <= 1_032 * 1024
    assert reading.buffered >= len(bomb) - 1024


def test_the_limit_is_for_each_message() -> None:
    data = frame(BINARY, bytes(LIMIT), MASK) + frame(BINARY, bytes(LIMIT), MASK)
    assert len(messages(events(reader(), data))) == 2
    data = frame(BINARY, deflated(bytes(LIMIT)), MASK, bits=FIN | DEFLATED)
    assert len(messages(events(reader(deflate=True), data + data))) == 2


def test_a_piece_that_waits_in_the_compressor_is_no_frame() -> None:
    writer = MessageWriter(deflate=Deflate(), mask=None)
    assert writer.piece(Piece(True, b"a", False)) == b""
    whole = writer.piece(Piece(True, b"b", True))
    assert whole[0] == FIN | DEFLATED | TEXT
    assert writer.piece(Piece(False, b"", True)) == bytes([FIN | DEFLATED | BINARY, 1, 0])


def test_control_frames_are_written_as_they_are() -> None:
    writer = MessageWriter(deflate=Deflate(), mask=None)
    assert writer.ping(b"a") + writer.pong(b"b") + writer.close(None) == b"\x89\x01a\x8a\x01b\x88\x00"


# ---- what is agreed on ------------------------------------------------------------------------------------------


def extensions(*values: bytes) -> Headers:
    return Headers([(b"sec-websocket-extensions", value) for value in values])


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (b"permessage-deflate", OFFER),
        (b"permessage-deflate; client_max_window_bits", OFFER),
        (b"permessage-deflate; client_max_window_bits=8; server_no_context_takeover", OFFER),
        (b'permessage-deflate;server_max_window_bits="10"', OFFER + b"; server_max_window_bits=10"),
        (b"permessage-deflate; server_max_window_bits=8, permessage-deflate", OFFER),
        (b"x-other, Permessage-Deflate; client_no_context_takeover", OFFER),
        (b"permessage-deflate; server_max_window_bits=8", None),
        (b"permessage-deflate; server_max_window_bits=+9", None),
        (b"permessage-deflate; server_max_window_bits=16", None),
        (b"permessage-deflate; server_max_window_bits", None),
        (b"permessage-deflate; client_max_window_bits=7", None),
        (b"permessage-deflate; server_no_context_takeover=1", None),
        (b"permessage-deflate; unknown", None),
        (b"permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        (b"permessage-deflate; =9", None),
        (b"permessage-deflate; client_max_window_bits=", None),
        (b"permessage-bzip2", None),
        (b"", None),
    ],
)
def test_offers(offer: bytes, answer: bytes | None) -> None:
    agreed = accepted_offer(extensions(offer))
    assert (None if agreed is None else agreed.answer) == answer


@pytest.mark.parametrize("answer", [OFFER, b"permessage-deflate; server_no_context_takeover; server_max_window_bits=8"])
def test_answers_that_keep_to_our_offer(answer: bytes) -> None:
    assert isinstance(read_answer(extensions(answer)), Deflate)
    assert read_answer(extensions()) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"permessage-deflate",
        b"permessage-deflate; server_no_context_takeover=1",
        OFFER + b"; client_max_window_bits=9",
        OFFER + b"; server_max_window_bits",
        OFFER + b"; server_max_window_bits=7",
        OFFER + b", " + OFFER,
        b"x-other",
    ],
)
def test_answers_that_do_not(answer: bytes) -> None:
    with pytest.raises(Malformed):
        read_answer(extensions(answer))


def test_a_smaller_window_is_kept() -> None:
    data = bytes(range(256)) * 8 + b"x"
    agreed = accepted_offer(extensions(b"permessage-deflate; server_max_window_bits=9"))
    writer = MessageWriter(deflate=agreed, mask=None)
    written = writer.piece(Piece(False, data, True))
    payload = written[4:] if written[1] == 126 else written[2:]
    assert zlib.decompressobj(-9).decompress(payload + b"\x00\x00\xff\xff") == data

"""Frames as they go by: any split of the same bytes has the same boundaries; and what we write, wsproto reads."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode, XorMaskerSimple

from proxycore.mechanisms.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEFLATED,
    FIN,
    PING,
    PONG,
    TEXT,
    FrameTracker,
    close_frame,
    frame,
    masking,
)

MASKS = st.one_of(st.none(), st.binary(min_size=4, max_size=4))
OPCODES = st.sampled_from([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG, 3, 0xB])
SIZES = st.one_of(st.integers(0, 5), st.sampled_from([125, 126, 127, 200, 65_535, 65_536, 65_537]))


@st.composite
def frames(draw: Callable[..., object]) -> tuple[int, int, bytes]:
    """Opcode, bits, and the frame."""
    opcode, size, mask = draw(OPCODES), draw(SIZES), draw(MASKS)
    bits = draw(st.sampled_from([0, FIN, FIN | DEFLATED]))
    assert isinstance(opcode, int)
    assert isinstance(bits, int)
    assert isinstance(size, int)
    assert mask is None or isinstance(mask, bytes)
    return opcode, bits, frame(opcode, bytes(size), mask, bits=bits)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


@given(st.lists(frames(), max_size=12), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_any_split_has_the_same_boundaries(parts: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    ends = {0, *accumulate(len(data) for _, _, data in parts)}
    tracker = FrameTracker()
    passed = 0
    for piece in split(b"".join(data for _, _, data in parts), cuts):
        due = min(end for end in ends if end >= passed)
        assert passed + tracker.end_of_frame(piece) == min(due, passed + len(piece))
        tracker.follow(piece)
        passed += len(piece)
        assert tracker.is_between_frames is (passed in ends)
    assert tracker.messages == sum(1 for opcode, bits, _ in parts if bits & FIN and opcode < CLOSE)
    assert tracker.saw_close is any(opcode == CLOSE and bits & FIN for opcode, bits, _ in parts)


@given(frames(), frames())
def test_byte_by_byte_is_as_good_as_whole(first: tuple[int, int, bytes], second: tuple[int, int, bytes]) -> None:
    data = first[2][:300] + second[2][:300]
    whole, slow = FrameTracker(), FrameTracker()
    whole.follow(data)
    for at in range(len(data)):
        slow.follow(data[at : at + 1])
    assert repr(whole) == repr(slow)


def test_the_frame_under_way_ends_where_its_length_says_even_when_that_is_cut() -> None:
    data = frame(BINARY, bytes(70_000))
    for cut in range(1, 11):
        tracker = FrameTracker()
        tracker.follow(data[:cut])
        assert not tracker.is_between_frames
        assert tracker.end_of_frame(data[cut:] + b"more") == len(data) - cut


def test_a_length_that_cannot_be_never_ends() -> None:
    tracker = FrameTracker()
    tracker.follow(b"\x82\x7f" + b"\xff" * 8 + bytes(1000))
    assert not tracker.is_between_frames
    assert tracker.end_of_frame(bytes(1000)) == 1000


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("mask", [None, b"\x01\xff\x00\x7f"])
def test_wsproto_reads_our_frames(size: int, mask: bytes | None) -> None:
    payload = bytes(number & 0xFF for number in range(size))
    reader = FrameProtocol(client=mask is None, extensions=[])
    reader.receive_bytes(frame(BINARY, payload, mask))
    found = list(reader.received_frames())
    assert b"".join(one.payload for one in found if isinstance(one.payload, bytes)) == payload
    assert found[-1].message_finished


@given(st.binary(max_size=40), st.binary(min_size=4, max_size=4))
def test_masking_is_what_the_rfc_says_and_undoes_itself(payload: bytes, mask: bytes) -> None:
    masked = masking(payload, mask)
    assert masked == bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    assert masked == bytes(XorMaskerSimple(mask).process(bytearray(payload)))
    assert masking(masked, mask) == payload


@pytest.mark.parametrize(
    ("code", "reason", "read"),
    [
        (1001, "going away", (1001, "going away")),
        (None, "", (1005, "")),
        (3000, "ü" * 100, (3000, "ü" * 61)),
    ],
)
def test_a_close_says_why(code: int | None, reason: str, read: tuple[int, str]) -> None:
    reader = FrameProtocol(client=True, extensions=[])
    reader.receive_bytes(close_frame(code, reason))
    (found,) = reader.received_frames()
    assert (found.opcode, found.payload) == (Opcode.CLOSE, read)

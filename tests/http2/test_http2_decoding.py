"""Short header blocks are read here and all others by hpack: whoever reads one, it says the same or is as wrong."""

from __future__ import annotations

import pytest
from hpack.exceptions import HPACKError
from hpack.hpack import Decoder, Encoder
from hypothesis import example, given
from hypothesis import strategies as st

from proxycore.mechanisms.http2.session import _BadBlock, _Decoder
from proxycore.words.messages import Field

SIZE = 1 << 24
FIRST = Encoder().encode([(b":authority", b"a.test"), (b"user-agent", b"test"), (b"x", b"y" * 100)])
"""What fills the table, as a client's first request does."""

INDICES = st.integers(0x80, 0xFF).map(lambda byte: bytes([byte]))
VALUES = st.one_of(
    st.binary(max_size=8).map(lambda value: bytes([len(value)]) + value),
    st.sampled_from([b"/", b"/small", b"/a?b=c"]).map(lambda path: Encoder().encode([(b":path", path)])[1:]),
    st.binary(max_size=4).map(lambda value: bytes([0x80 | len(value)]) + value),
)
LITERALS = st.tuples(st.integers(0x00, 0x7F).map(lambda byte: bytes([byte])), VALUES).map(b"".join)
BLOCKS = st.one_of(st.lists(INDICES | LITERALS, max_size=12).map(b"".join), st.binary(max_size=160))


def read_by_hpack(block: bytes) -> list[Field] | None:
    decoder = Decoder(SIZE)
    decoder.decode(FIRST, raw=True)
    try:
        return [(name, value) for name, value in decoder.decode(block, raw=True)]
    except HPACKError:
        return None


def read_here(block: bytes) -> list[Field] | None:
    decoder = _Decoder(SIZE)
    decoder.decode(FIRST)
    try:
        decoder.decode(block)
    except _BadBlock:
        return None
    return [(name, value) for name, value in decoder.fields]


@given(BLOCKS)
@example(b"")
@example(b"\x04")
@example(b"\x04\x02/")
@example(b"\x04\x7f\x01" + b"/" * 128)
@example(b"\x0f\x00\x01a")
@example(b"\x04\x81\x00")
def test_a_block_says_the_same_whoever_reads_it(block: bytes) -> None:
    assert read_here(block) == read_by_hpack(block)


@pytest.mark.parametrize("first", [0x04, 0x14])
def test_a_path_that_stays_out_of_the_table_is_read_here(first: int) -> None:
    decoder = _Decoder(SIZE)
    decoder.decode(FIRST)
    path = Encoder().encode([(b":path", b"/small")])[1:]
    fields = decoder._read_short(b"\x82\x87%c%b\xbf" % (first, path))
    assert fields == [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/small"), (b"user-agent", b"test")]

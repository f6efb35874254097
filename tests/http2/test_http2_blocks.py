"""Header blocks that are written: any decoder reads them, alone, and nothing that isn't valid is in them."""

from __future__ import annotations

import pytest
from hpack.hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from proxycore.mechanisms.http2.blocks import NO_TABLE, response_block, trailer_block
from proxycore.words.messages import ABSENT, Field, Headers, ResponseHead


def decoded(block: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in Decoder(1 << 24).decode(block, raw=True)]


@pytest.mark.parametrize("status", [100, 103, 200, 204, 206, 304, 404, 418, 500, 599, 999])
def test_any_status(status: int) -> None:
    assert decoded(response_block(ResponseHead(status, Headers()))) == [(b":status", b"%d" % status)]


def test_a_length_is_told_where_there_is_one() -> None:
    assert decoded(response_block(ResponseHead(200, Headers(), length=12))) == [
        (b":status", b"200"),
        (b"content-length", b"12"),
    ]
    for head in (ResponseHead(204, Headers(), length=0), ResponseHead(103, Headers(), length=0)):
        assert len(decoded(response_block(head))) == 1


@given(st.lists(st.tuples(st.from_regex(rb"[a-z][a-z0-9-]{0,300}", fullmatch=True), st.binary(max_size=300))))
def test_what_is_written_is_read_again(fields: list[Field]) -> None:
    try:
        block = response_block(ResponseHead(200, Headers(fields)))
    except ValueError:
        assert any(value.translate(None, bytes(range(9)) + bytes(range(10, 32)) + b"\x7f") != value or name in
                   (b"te", b"host", b"upgrade", b"connection") for name, value in fields)  # fmt: skip
        return
    assert decoded(NO_TABLE + block)[1:] == [(name, value.strip(b" \t")) for name, value in fields]


def test_long_values_have_long_lengths() -> None:
    for size in (126, 127, 128, 254, 255, 256, 16_383, 70_000):
        assert decoded(trailer_block([(b"x", b"v" * size)])) == [(b"x", b"v" * size)]


def test_secrets_are_kept_from_tables() -> None:
    [field] = Decoder().decode(response_block(ResponseHead(200, Headers([(b"set-cookie", b"s=1")])))[1:], raw=True)
    assert not field.indexable


@pytest.mark.parametrize("name", [b"", b"X-A", b"a b", b":status", b"a:", b"a\r\n", b"connection", b"upgrade", b"te"])
def test_a_name_that_may_not_be_written(name: bytes) -> None:
    with pytest.raises(ValueError, match="field"):
        response_block(ResponseHead(200, Headers([(name, b"x")])))


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"\x00", b"a\nb", b"\x7f"])
def test_a_value_that_may_not_be_written(value: bytes) -> None:
    with pytest.raises(ValueError, match="control byte"):
        response_block(ResponseHead(200, Headers([(b"x", value)])))


def test_no_status() -> None:
    with pytest.raises(ValueError, match="no status"):
        response_block(ResponseHead(99, Headers(), length=ABSENT))


def test_trailers_may_not_be_framing() -> None:
    with pytest.raises(ValueError, match="only the writer"):
        trailer_block([(b"content-length", b"3")])

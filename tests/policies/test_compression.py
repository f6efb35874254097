"""Who gets content coded, and which (RFC 9110 sections 8.4 and 12.5.3)."""

from __future__ import annotations

import zlib
from importlib import import_module

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from proxycore.config import Compression
from proxycore.mechanisms.codings import Coding, encoders
from proxycore.policies.compression import Offer, accepted_codings, vary_by_coding
from proxycore.words.messages import ABSENT, UNKNOWN, Field, Headers, ResponseHead

OFFER = Offer(("zstd", "br", "gzip"), Compression())


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        ([b""], None),
        ([b"gzip"], "gzip"),
        ([b"GZip"], "gzip"),
        ([b"x-gzip"], "gzip"),
        ([b"gzip, br"], "br"),
        ([b"gzip", b"zstd"], "zstd"),
        ([b"*"], "zstd"),
        ([b"*, zstd;q=0"], "br"),
        ([b"gzip;q=1.0, br;q=0.5"], "gzip"),
        ([b"gzip;q=0.5, br;q=0.500"], "br"),
        ([b"gzip;Q=0.4 , br; q=0.5"], "br"),
        ([b"gzip;q=0"], None),
        ([b"gzip;q=2"], None),
        ([b"gzip;q=x"], None),
        ([b"identity, gzip;q=0.5"], None),
        ([b"identity;q=0.5, gzip"], "gzip"),
        ([b"identity, gzip"], "gzip"),
        ([b"*;q=0"], None),
        ([b"deflate, compress"], None),
    ],
)
def test_choice(lines: list[bytes], expected: str | None) -> None:
    assert OFFER.choose(Headers([(b"accept-encoding", line) for line in lines])) == expected


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_whatever_is_asked_has_an_answer(lines: list[bytes]) -> None:
    assert all(0 <= weight <= 1 for weight in accepted_codings(lines).values())
    assert OFFER.choose(Headers([(b"accept-encoding", line) for line in lines])) in (None, "zstd", "br", "gzip")


HTML = (b"content-type", b"text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("status", "length", "fields", "expected"),
    [
        (200, 5000, [HTML], True),
        (404, 5000, [HTML], True),
        (200, UNKNOWN, [HTML], True),
        (200, ABSENT, [HTML], True),  # of a HEAD
        (200, 1023, [HTML], False),
        (206, 5000, [HTML], False),
        (304, 5000, [HTML], False),
        (200, 5000, [(b"content-type", b"Application/JSON")], True),
        (200, 5000, [(b"content-type", b"image/png")], False),
        (200, 5000, [(b"content-type", b"textual/x")], False),
        (200, 5000, [], False),
        (200, 5000, [HTML, (b"content-encoding", b"gzip")], False),
        (200, 5000, [HTML, (b"cache-control", b"max-age=1, No-Transform")], False),
    ],
)
def test_what_is_coded(status: int, length: int, fields: list[Field], expected: bool) -> None:
    assert OFFER.covers(ResponseHead(status, Headers(fields), length=length, has_content=True)) is expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [b"accept-encoding"]),
        ([b"cookie"], [b"cookie", b"accept-encoding"]),
        ([b"Accept-Encoding"], [b"Accept-Encoding"]),
        ([b"*"], [b"*"]),
    ],
)
def test_vary(before: list[bytes], after: list[bytes]) -> None:
    headers = Headers([(b"vary", value) for value in before])
    vary_by_coding(headers)
    assert headers.get_all(b"vary") == after


class Decoder:
    """What a client decodes as it comes."""

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._gzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._zstd = zstd.ZstdDecompressor()
        self._br = import_module("brotli").Decompressor()

    def decode(self, data: bytes) -> bytes:
        if self._coding == "gzip":
            return self._gzip.decompress(data)
        found: bytes = self._zstd.decompress(data) if self._coding == "zstd" else self._br.process(data)
        return found

    @property
    def is_done(self) -> bool:
        if self._coding == "br":
            return bool(self._br.is_finished())
        return self._gzip.eof if self._coding == "gzip" else self._zstd.eof


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
@given(pieces=st.lists(st.binary(max_size=200), max_size=6), rest=st.binary(max_size=20))
def test_each_piece_can_be_decoded_when_it_comes(coding: Coding, pieces: list[bytes], rest: bytes) -> None:
    encoder, decoder = encoders(coding, 4)(), Decoder(coding)
    for piece in pieces:
        assert decoder.decode(encoder.encode(piece, False)) == piece
    assert decoder.decode(encoder.encode(rest, True)) == rest
    assert decoder.is_done

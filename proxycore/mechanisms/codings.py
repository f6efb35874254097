"""Content codings, coded piece by piece: gzip always, br and zstd where their packages are installed.

Every piece comes out whole: what a server sent, a client can decode at once, so an event stream stays live. That
costs a few bytes for each piece, which are many bytes long where there is much to send.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Literal, Protocol

Coding = Literal["zstd", "br", "gzip"]


class CodingMissing(Exception):
    """The package that codes so isn't installed."""


class Encoder(Protocol):
    """Codes one response's content."""

    def encode(self, data: bytes, last: bool) -> bytes:
        """What stands for `data`, all of it; `last` ends the content, once."""


MakeEncoder = Callable[[], Encoder]


def encoders(coding: Coding, level: int) -> MakeEncoder:
    """What makes encoders of a coding and level. Raises CodingMissing with what to install."""
    if coding == "gzip":
        return lambda: GzipEncoder(level)
    if coding == "br":
        brotli = _import_brotli()
        return lambda: BrotliEncoder(brotli, level)
    zstd = _import_zstd()
    return lambda: ZstdEncoder(zstd, level)


def _import_brotli() -> Any:
    try:
        import brotli  # type: ignore[import-untyped]
    except ImportError as error:
        raise CodingMissing('"br" needs the package brotli: pip install "proxycore[brotli]"') from error
    return brotli


def _import_zstd() -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found]  # Python 3.14
    except ImportError:
        try:
            from backports import zstd
        except ImportError as error:
            raise CodingMissing('"zstd" needs the package backports.zstd: pip install "proxycore[zstd]"') from error
    return zstd


class GzipEncoder:
    """RFC 1952, by zlib."""

    __slots__ = ("_deflate",)

    def __init__(self, level: int) -> None:
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def encode(self, data: bytes, last: bool) -> bytes:
        coded = self._deflate.compress(data) if data else b""
        if last:
            return coded + self._deflate.flush()
        return coded + self._deflate.flush(zlib.Z_SYNC_FLUSH) if data else coded


class BrotliEncoder:
    """RFC 7932, by the package brotli."""

    __slots__ = ("_compressor",)

    def __init__(self, brotli: Any, level: int) -> None:
        self._compressor = brotli.Compressor(quality=level)

    def encode(self, data: bytes, last: bool) -> bytes:
        coded: bytes = self._compressor.process(data) if data else b""
        if last:
            return coded + bytes(self._compressor.finish())
        return coded + bytes(self._compressor.flush()) if data else coded


_ZSTD_WINDOW_LOG = 23
"""RFC 9659: a client may refuse more than 8 MiB."""


class ZstdEncoder:
    """RFC 8878, by the standard library since 3.14, else by its backport."""

    __slots__ = ("_compressor", "_flush", "_last")

    def __init__(self, zstd: Any, level: int) -> None:
        parameters = zstd.CompressionParameter
        options = {parameters.compression_level: level}
        if level > 15:
            options[parameters.window_log] = _ZSTD_WINDOW_LOG
        self._compressor = zstd.ZstdCompressor(options=options)
        self._flush = zstd.ZstdCompressor.FLUSH_BLOCK
        self._last = zstd.ZstdCompressor.FLUSH_FRAME

    def encode(self, data: bytes, last: bool) -> bytes:
        if not data and not last:
            return b""
        coded: bytes = self._compressor.compress(data, self._last if last else self._flush)
        return coded

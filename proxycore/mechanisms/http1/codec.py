"""The second opinion on a head: what another parser, h11 or llhttp, reads in the same bytes.

A codec never decides. `strict` proves each answer against the bytes and reads them itself where it
can't; a codec that refuses a head which is strictly valid, or reads it otherwise, is a bug of one
of the two: the head is refused, and `disagreements` counts it.
"""

from __future__ import annotations

from typing import Literal, Protocol

from proxycore.words.messages import Field

CodecName = Literal["auto", "h11", "httptools"]


class CodecError(Exception):
    """The codec doesn't take these bytes for a head."""


class CodecMissing(Exception):
    """The codec that the configuration asks for isn't installed."""


class Codec(Protocol):
    """Reads whole heads, empty line included; holds nothing of one when it reads the next.

    Field names come as they were spelled. Values come without leading blanks at least: the rest of
    what HTTP allows around a value is for `strict` to judge. The version isn't asked for: `strict`
    has read it, and no codec's view of it changes a thing.
    """

    name: str
    disagreements: int

    def request(self, head: bytes) -> tuple[bytes, bytes, list[Field]]:
        """The method, the target and the fields of a request. Raises CodecError."""

    def response(self, head: bytes) -> tuple[int, list[Field]]:
        """The status and the fields of a response. Raises CodecError."""


def choose(name: CodecName) -> Codec:
    """A new codec: `auto` is httptools where that is installed, else h11. Raises CodecMissing."""
    if name != "h11":
        try:
            from proxycore.mechanisms.http1.codec_httptools import HttptoolsCodec
        except ImportError as error:
            if name == "httptools":
                raise CodecMissing(
                    'http1 = "httptools" needs the package httptools: pip install "proxycore[speed]"'
                ) from error
        else:
            return HttptoolsCodec()
    from proxycore.mechanisms.http1.codec_h11 import H11Codec

    return H11Codec()

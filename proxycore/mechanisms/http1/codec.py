"""The second opinion on a head: whether another parser, h11 or llhttp, reads it as `strict` did.

A codec never decides what a message is, and what it read is used nowhere: what travels on is what
`strict` approved. It is a witness. A head that is valid to `strict` and not to the codec, or that
has another target or status there, shows a bug of one of the two: the head is refused, and
`disagreements` counts it. (That they read the same fields, too, is a matter of the tests: to have
llhttp hand over each field costs more than all the rest of reading a head.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from proxycore.mechanisms.http1.fields import FieldTable

CodecName = Literal["auto", "h11", "httptools"]


class CodecMissing(Exception):
    """The codec that the configuration asks for isn't installed."""


class Codec(ABC):
    """Reads whole heads, empty line included, that `strict` approved. One serves all connections of a core.

    It carries what those share: the field lines that they read before.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.disagreements = 0
        self.request_fields = FieldTable(keep_underscore=False)
        self.response_fields = FieldTable(keep_underscore=True)

    @abstractmethod
    def reads_request(self, head: bytes, method: bytes, target: bytes) -> bool:
        """Whether it, too, reads a request with this method and target."""

    @abstractmethod
    def reads_response(self, head: bytes, status: int) -> bool:
        """Whether it, too, reads a response with this status."""


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

"""Content of any size that need not be kept: its pieces, and the digest that says that all came, once and in order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from random import Random

_BLOCK = Random(2026).randbytes(1_000_003)
"""Of a length that no buffer is a multiple of: a piece that is lost, doubled or moved changes the digest."""


def pieces(size: int) -> Iterator[bytes]:
    """`size` bytes, in pieces of a megabyte."""
    whole, rest = divmod(size, len(_BLOCK))
    for _ in range(whole):
        yield _BLOCK
    if rest:
        yield _BLOCK[:rest]


def digest(size: int) -> str:
    """What `Digest` gives for all of `pieces(size)`."""
    running = Digest()
    for piece in pieces(size):
        running.update(piece)
    return running.text


class Digest:
    """A running digest of content as it comes."""

    def __init__(self) -> None:
        self._hash = hashlib.sha1(usedforsecurity=False)
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        self.size += len(data)
        self._hash.update(data)

    @property
    def text(self) -> str:
        return f"{self.size} {self._hash.hexdigest()}"

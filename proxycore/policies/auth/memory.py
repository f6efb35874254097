"""What was verified is remembered for a while, so that a request doesn't pay for it twice."""

from __future__ import annotations

from hashlib import blake2b
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """A bounded table of what was proved by secrets, each until its time. The one that was idle longest makes way.

    Secrets aren't kept: their digests under `secret`, 16 unpredictable bytes, are.
    """

    __slots__ = ("_capacity", "_found", "_secret")

    def __init__(self, capacity: int, secret: bytes) -> None:
        self._capacity = capacity
        self._secret = secret
        self._found: dict[bytes, tuple[float, T]] = {}

    def digest(self, *parts: bytes) -> bytes:
        """What stands for these secrets here. No two lists of parts share one."""
        joined = parts[0] if len(parts) == 1 else b"".join([b"%d:%b" % (len(part), part) for part in parts])
        return blake2b(joined, digest_size=16, key=self._secret).digest()

    def get(self, digest: bytes, now: float) -> T | None:
        """What was remembered, if its time isn't over."""
        entry = self._found.pop(digest, None)
        if entry is None or entry[0] <= now:
            return None
        self._found[digest] = entry
        return entry[1]

    def put(self, digest: bytes, value: T, until: float) -> None:
        """Remember until that time."""
        self._found.pop(digest, None)
        while len(self._found) >= self._capacity:
            del self._found[next(iter(self._found))]
        self._found[digest] = (until, value)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"Remembered({len(self._found)} of {self._capacity})"

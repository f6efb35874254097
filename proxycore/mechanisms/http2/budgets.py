"""How much a peer may make us do for nothing, over time."""

from __future__ import annotations


class Budget:
    """Holds `capacity`, and refills itself to that at `per_second`. What is spent beyond it is an attack.

    What is earned besides may bring it up to `most`.
    """

    __slots__ = ("_at", "_capacity", "_left", "_most", "_per_second")

    def __init__(self, capacity: float, per_second: float, now: float, *, most: float = 0.0) -> None:
        self._capacity = capacity
        self._per_second = per_second
        self._most = max(most, capacity)
        self._left = capacity
        self._at = now

    def spend(self, now: float) -> bool:
        """Take one. False: there was none."""
        if self._left < self._capacity:
            self._left = min(self._left + (now - self._at) * self._per_second, self._capacity)
        self._at = now
        self._left -= 1
        return self._left >= 0

    def earn(self, amount: float) -> None:
        """Put something back, for work that is worth it."""
        self._left = min(self._left + amount, self._most)

    def __repr__(self) -> str:
        return f"Budget({self._left:g}/{self._capacity:g}, {self._per_second:g}/s)"

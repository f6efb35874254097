"""Backpressure in two small parts: who may be read, and how much waits to be written.

A `Gate` stands before a connection's reading side. Several parties may want it shut at once, so each
has its own reason, and reading goes on when the last is gone. A `Watermark` stands behind a
connection's writing side and tells when the gate of the side that feeds it should shut and open:

    if watermark.sent(len(data)) and source.gate.shut(PEER_SLOW):
        effects.append(PauseReading(source.conn))
    ...
    if watermark.writing_resumed() and source.gate.open(PEER_SLOW):
        effects.append(ResumeReading(source.conn))
"""

from __future__ import annotations

from typing import Final

BUFFER: Final = 1
"""What was read waits inside the core and is as much as `limits.buffer` allows."""

PEER_SLOW: Final = 2
"""The other side's watermark: it takes bytes slower than this one brings them."""

HELD: Final = 4
"""The exchange waits for a verdict, a server or a connection, and has all that it may keep meanwhile."""

TURN: Final = 8
"""What was read is more than is used at once: the other connections have their turn first."""

_NAMES = ((BUFFER, "BUFFER"), (PEER_SLOW, "PEER_SLOW"), (HELD, "HELD"), (TURN, "TURN"))


class Gate:
    """Open while there is no reason against it. `reasons` is the sum of those that hold, 0 when open."""

    __slots__ = ("reasons",)

    def __init__(self) -> None:
        self.reasons = 0

    def shut(self, reason: int) -> bool:
        """Add a reason. True if the gate was open until now: pause reading."""
        before = self.reasons
        self.reasons = before | reason
        return not before

    def open(self, reason: int) -> bool:
        """Take a reason away; one that didn't hold is no error. True if it was the last: resume reading."""
        before = self.reasons
        if not before:
            return False
        self.reasons = after = before & ~reason
        return not after

    @property
    def is_open(self) -> bool:
        return not self.reasons

    def __repr__(self) -> str:
        names = [name for bit, name in _NAMES if self.reasons & bit]
        return f"Gate(shut: {' | '.join(names) or self.reasons})" if self.reasons else "Gate(open)"


class Watermark:
    """How much was sent on a connection since the kernel refused bytes, and whether that is too much.

    While the kernel takes all, nothing is counted. `waiting` is in bytes, and never less than what
    really waits. `is_full` is the state that `sent`, `writing_paused` and `writing_resumed` tell
    the changes of. `limit` is in bytes, `inf` for none.
    """

    __slots__ = ("is_full", "is_paused", "limit", "waiting")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.waiting = 0
        self.is_paused = False
        self.is_full = False

    def sent(self, size: int) -> bool:
        """Count what was just sent. True if that reached the limit: shut the gate of who feeds it."""
        if not self.is_paused:
            return False
        self.waiting += size
        if self.is_full or self.waiting < self.limit:
            return False
        self.is_full = True
        return True

    def writing_paused(self, refused: int) -> bool:
        """The driver told so: begin to count, with the last piece, of which some was `refused`, perhaps all.

        True if that reached the limit: shut the gate of who feeds it.
        """
        if self.is_paused:
            return False
        self.is_paused = True
        return self.sent(refused)

    def writing_resumed(self) -> bool:
        """The driver told so: nothing waits. True if it had been full: open the gate of who feeds it."""
        was_full = self.is_full
        self.is_paused = self.is_full = False
        self.waiting = 0
        return was_full

    def __repr__(self) -> str:
        state = "full" if self.is_full else "paused" if self.is_paused else "flowing"
        return f"Watermark({state}, {self.waiting}/{self.limit})"

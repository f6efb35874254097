"""One connection's writing side and read gate: everything that a state machine does to a socket.

Pieces written during one fact leave as one `Send`, so that a head and a small body are one packet
and one system call. What the kernel refuses waits in the driver: `Watermark` counts it, and tells
the connection's owner when the other side must stop feeding it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from proxycore.mechanisms.gates import Gate, Watermark
from proxycore.mechanisms.timers import Timer
from proxycore.words.effects import Abort, Close, PauseReading, ResumeReading, Send, SendEof
from proxycore.words.ids import ConnId

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange

WHOLE = 128 * 1024
"""A piece this large is sent as it came. A smaller one is copied into one block with what stands around it
(a head, the line of a chunk): that costs less than the system call and the packet that it saves."""


class WireOwner(Protocol):
    """The state machine behind a wire: its `owner`. None of these may be called from within a write but `blocked`."""

    def blocked(self) -> None:
        """Too much waits to be written: stop what feeds it."""

    def unblocked(self) -> None:
        """Nothing waits any more."""

    def send_expired(self) -> None:
        """The peer took no bytes for `timeouts.send`."""


class _Nobody:
    """Owns a wire that is lost. Without it, a connection and its wire would hold each other until a collection."""

    def blocked(self) -> None: ...
    def unblocked(self) -> None: ...
    def send_expired(self) -> None: ...


_NOBODY = _Nobody()


class Wire:
    """Writes to, and reads from, one connection.

    `unsent`: bytes written during this fact and not yet turned into effects. `is_waiting`: bytes that
    were sent still wait in the driver. `is_blocked`: as many as may. `is_gated`: we read nothing from
    this connection at present. `lost`: its last fact has come, with `lost_error`. All are kept as plain
    attributes because they are read for each request.
    `owner` is told what happens; a connection may change hands.
    """

    __slots__ = (
        "_clock",
        "_engine",
        "_flushed",
        "_gate",
        "_leaving",
        "_pieces",
        "_watermark",
        "conn",
        "emptied_at",
        "is_blocked",
        "is_gated",
        "is_waiting",
        "lost",
        "lost_error",
        "owner",
        "unsent",
    )

    def __init__(self, engine: Engine, conn: ConnId) -> None:
        self.conn = conn
        self.is_waiting = self.is_blocked = self.is_gated = self.lost = False
        self.lost_error: str | None = None
        self.emptied_at = 0.0
        self._engine = engine
        self.owner: WireOwner = _NOBODY
        self._pieces: list[bytes] = []
        self.unsent = self._flushed = 0
        self._gate = Gate()
        self._watermark = Watermark(engine.plan.limits.buffer)
        self._leaving: list[Exchange] | None = None
        self._clock: Timer | None = None

    @property
    def leaving(self) -> Sequence[Exchange]:
        """The exchanges that have ended and whose last bytes wait."""
        return self._leaving or ()

    def block_at(self, size: int) -> None:
        """Be blocked by that many bytes, instead of by `limits.buffer`."""
        self._watermark.limit = size

    def write(self, data: bytes) -> None:
        pieces = self._pieces
        if not pieces:
            self._engine.dirty.append(self)
        pieces.append(data)
        self.unsent += len(data)
        if self.is_waiting and self._watermark.sent(len(data)):
            self.is_blocked = True
            self.owner.blocked()

    def flush(self) -> None:
        """Turn what was written into sends, which come before all other effects of the fact."""
        pieces = self._pieces
        if not pieces:
            return
        self._pieces = []
        self._flushed = size = self.unsent
        self.unsent = 0
        if size < WHOLE:
            self._engine.sends.append(Send(self.conn, b"".join(pieces)))
        else:
            self._engine.sends += [Send(self.conn, piece) for piece in join_small(pieces)]

    def send_eof(self) -> None:
        self.flush()
        self._engine.effects.append(SendEof(self.conn))

    def close(self) -> None:
        """Close once all is sent; the send clock still runs until then."""
        self.flush()
        self._engine.effects.append(Close(self.conn))

    def abort(self) -> None:
        self._pieces = []
        self.unsent = 0
        self._engine.effects.append(Abort(self.conn))

    def shut(self, reason: int) -> bool:
        """Read nothing more while `reason` (of `gates`) holds. True if reading went on until now."""
        if not self._gate.shut(reason):
            return False
        self.is_gated = True
        self._engine.effects.append(PauseReading(self.conn))
        return True

    def open(self, reason: int) -> bool:
        """`reason` is gone. True if it was the last, and reading goes on."""
        if not self._gate.open(reason):
            return False
        self.is_gated = False
        if not self.lost:
            self._engine.effects.append(ResumeReading(self.conn))
        return True

    def writing_paused(self) -> None:
        self.is_waiting = True
        if self._clock is None:
            self._clock = Timer(self._engine.timers, self._send_expired)
        self._clock.set(self._engine.now + self._engine.plan.timeouts.send)
        if self._watermark.writing_paused(self._flushed):
            self.is_blocked = True
            self.owner.blocked()

    def writing_resumed(self) -> None:
        self.is_waiting = self.is_blocked = False
        self.emptied_at = self._engine.now
        if self._clock is not None:
            self._clock.clear()
        was_full = self._watermark.writing_resumed()
        self._conclude_leaving()
        if was_full:
            self.owner.unblocked()

    def _send_expired(self) -> None:
        self.owner.send_expired()

    def wait_to_leave(self, exchange: Exchange) -> None:
        """Conclude `exchange` when the bytes that wait have left, or are known to be lost."""
        if self._leaving is None:
            self._leaving = []
        self._leaving.append(exchange)

    def connection_lost(self, error: str | None) -> None:
        """The last fact of the connection: nothing it holds outlives it."""
        self.lost = True
        self.lost_error = error
        self._pieces = []
        self.unsent = 0
        self.is_waiting = self.is_blocked = self.is_gated = False
        if self._clock is not None:
            self._clock.drop()
        self.owner = _NOBODY
        self._conclude_leaving()

    def _conclude_leaving(self) -> None:
        if self._leaving is not None:
            leaving, self._leaving = self._leaving, None
            for exchange in leaving:
                exchange.settle()

    def __repr__(self) -> str:
        return f"Wire({self.conn}, {self._gate!r}, {self._watermark!r}{', lost' if self.lost else ''})"


def join_small(pieces: list[bytes]) -> list[bytes]:
    """The same bytes in as few pieces as is worth it: large ones stay as they are."""
    if max(map(len, pieces)) < WHOLE:
        return [b"".join(pieces)]
    joined: list[bytes] = []
    small: list[bytes] = []
    for piece in pieces:
        if len(piece) < WHOLE:
            small.append(piece)
            continue
        if small:
            joined.append(b"".join(small))
            small = []
        joined.append(piece)
    if small:
        joined.append(b"".join(small))
    return joined

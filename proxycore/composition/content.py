"""A request's content on its way: what can't be sent yet, and what may have to be sent again."""

from __future__ import annotations

from proxycore.words.messages import Field


class RequestContent:
    """Made for exchanges whose request has content. Sizes are in bytes.

    `waiting` is what has come and no server was given, `filtered` what filters have made of it, in
    all; `is_done` says that all has come. What was
    given out is kept as long as it is at most `replay_limit` in all, so that `rewind` can put it
    back for another try.
    """

    __slots__ = ("_kept", "_kept_size", "_pieces", "filtered", "is_done", "replay_limit", "trailers", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self.filtered = 0
        self.is_done = False
        self.trailers: list[Field] = []
        self._pieces: list[bytes] = []
        self._kept: list[bytes] | None = []
        self._kept_size = 0
        self.replay_limit = 0

    @property
    def can_rewind(self) -> bool:
        """Whether all that was given out is still here."""
        return self._kept is not None

    def add(self, data: bytes) -> None:
        self._pieces.append(data)
        self.waiting += len(data)

    def peek(self) -> bytes:
        """All that waits, without giving it out."""
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0] if self._pieces else b""

    def replace(self, data: bytes) -> None:
        """Put `data` in the place of what waits."""
        self._pieces = [data] if data else []
        self.waiting = len(data)

    def take(self) -> list[bytes]:
        """Give out what waits."""
        pieces, self._pieces = self._pieces, []
        self.waiting = 0
        for piece in pieces:
            self.passed(piece)
        return pieces

    def passed(self, data: bytes) -> None:
        """Note a piece that went out without waiting."""
        if self._kept is None:
            return
        self._kept_size += len(data)
        if self._kept_size > self.replay_limit:
            self._kept = None
        else:
            self._kept.append(data)

    def rewind(self) -> None:
        """Put what was given out back, before what waits. Only where `can_rewind`."""
        assert self._kept is not None
        self._pieces = self._kept + self._pieces
        self.waiting += self._kept_size
        self._kept = []
        self._kept_size = 0

    def keep_no_more(self) -> None:
        """The response has begun: there will be no other try."""
        self._kept = None
        self._kept_size = 0

    def clear(self) -> None:
        """Nobody will send any of it (again)."""
        self._pieces = []
        self._kept = None
        self.waiting = self._kept_size = 0

    @property
    def held_bytes(self) -> int:
        """For the ledger: what is in memory because of this request's content."""
        return self.waiting + (self._kept_size if self._kept is not None else 0)

    def __repr__(self) -> str:
        return f"RequestContent(waiting={self.waiting}, kept={self._kept_size}, done={self.is_done})"

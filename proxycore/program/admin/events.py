"""What the dashboard is told live: server-sent events, one a second, the same bytes for everybody who looks."""

from __future__ import annotations

import json
from collections.abc import Callable

from proxycore.program.admin.reports import Board


class Events:
    """Feeds of one board. Call `tell` whenever the board has taken new reports."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._feeds: dict[Feed, Callable[[], None]] = {}
        self._latest = b""
        self.number = 0

    def open(self) -> Feed:
        """The body of one answer."""
        return Feed(self)

    def tell(self) -> None:
        """There is news: wake whoever waits for it."""
        self.number += 1
        self._latest = b""
        for wake in list(self._feeds.values()):
            wake()

    def join(self, feed: Feed, wake: Callable[[], None]) -> None:
        self._feeds[feed] = wake

    def leave(self, feed: Feed) -> None:
        self._feeds.pop(feed, None)

    def whole(self) -> bytes:
        """An event with all seconds: for who has just come."""
        return self._event(self._board.seconds())

    def latest(self) -> bytes:
        """An event with the last second."""
        if not self._latest:
            self._latest = self._event(self._board.seconds(1))
        return self._latest

    def _event(self, seconds: object) -> bytes:
        told = {"seconds": seconds, "status": self._board.status()}
        return b"data: " + json.dumps(told, separators=(",", ":")).encode() + b"\n\n"


class Feed:
    """A `BodySource` without an end. Who reads too slowly misses events, and gets the newest next."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._seen = 0

    def begin(self, wake: Callable[[], None]) -> None:
        self._events.join(self, wake)

    def pull(self) -> bytes | None:
        events = self._events
        if self._seen == events.number:
            return None
        is_first, self._seen = not self._seen, events.number
        return events.whole() if is_first else events.latest()

    def close(self) -> None:
        self._events.leave(self)

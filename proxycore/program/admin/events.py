"""What the dashboard is told live: server-sent events, one a second, the same bytes for everybody who looks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from proxycore.program.admin.reports import SECONDS_SHOWN, Board

TARGET_SHOWN = 300
"""Characters of the target of a failed exchange; `GET /api/v1/failures` has all of them."""


class Events:
    """Feeds of one board. Call `tell` whenever the board has taken new reports."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._feeds: dict[Feed, Callable[[], None]] = {}
        self._made: dict[int, bytes] = {}
        self.number = 0

    def open(self) -> Feed:
        """The body of one answer."""
        return Feed(self)

    def tell(self) -> None:
        """There is news: wake whoever waits for it."""
        self.number += 1
        self._made.clear()
        for wake in list(self._feeds.values()):
            wake()

    def join(self, feed: Feed, wake: Callable[[], None]) -> None:
        self._feeds[feed] = wake

    def leave(self, feed: Feed) -> None:
        self._feeds.pop(feed, None)

    def event(self, seconds: int) -> bytes:
        """The event with the last `seconds`, made once however many look."""
        if seconds not in self._made:
            status = self._board.status()
            told = {
                "seconds": self._board.seconds(seconds),
                "status": {**status, "failures": [_shown(failed) for failed in status["failures"]]},
            }
            self._made[seconds] = b"data: " + json.dumps(told, separators=(",", ":")).encode() + b"\n\n"
        return self._made[seconds]


def _shown(failed: Mapping[str, Any]) -> Mapping[str, Any]:
    """A failed exchange with no more of its target than a page has room for: each second tells it again."""
    target = failed["target"]
    return failed if len(target) <= TARGET_SHOWN else {**failed, "target": f"{target[:TARGET_SHOWN]}…"}


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
        # Who has just come is given all of them.
        return events.event(SECONDS_SHOWN if is_first else 1)

    def close(self) -> None:
        self._events.leave(self)

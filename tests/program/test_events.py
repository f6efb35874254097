"""The feeds of the dashboard: what one turn costs, however many look on."""

from __future__ import annotations

import json
from typing import Any

from proxycore.program.admin.events import Events
from proxycore.program.admin.reports import Board


class CountingBoard(Board):
    """Counts how often its status is made."""

    def __init__(self) -> None:
        super().__init__(version="1", binding="asyncio", started=0.0)
        self.made = 0
        self.failures: list[dict[str, Any]] = []

    def seconds(self, last: int = 300) -> list[dict[str, Any]]:
        return [{"last": last}]

    def status(self) -> dict[str, Any]:
        self.made += 1
        return {"failures": self.failures}


def test_a_thousand_who_come_and_stay_cost_one_event_each_second() -> None:
    board = CountingBoard()
    events = Events(board)
    events.tell()
    feeds = [events.open() for _ in range(1_000)]
    for feed in feeds:
        feed.begin(lambda: None)
    whole = {feed.pull() for feed in feeds}
    assert (whole, board.made) == ({b'data: {"seconds":[{"last":300}],"status":{"failures":[]}}\n\n'}, 1)
    assert {feed.pull() for feed in feeds} == {None}
    events.tell()
    latest = {feed.pull() for feed in feeds}
    assert (latest, board.made) == ({b'data: {"seconds":[{"last":1}],"status":{"failures":[]}}\n\n'}, 2)


def test_long_targets_are_told_in_part() -> None:
    board = CountingBoard()
    board.failures = [{"target": f"/{'a' * 14_000}", "status": 502} for _ in range(50)] + [{"target": "/short"}]
    told = json.loads(Events(board).event(1).removeprefix(b"data: "))["status"]["failures"]
    assert {len(failed["target"]) for failed in told[:50]} == {301}
    assert told[50:] == [{"target": "/short"}]

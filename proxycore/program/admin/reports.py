"""Reports of processes that serve, and the one status that is made of them.

A report is plain values that JSON can carry: `report` makes it in the process that serves, `Board` takes
those of all processes once a second and tells what the API and the dashboard show.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import pairwise
from typing import Any, NamedTuple

from proxycore.composition.overview import CacheView
from proxycore.core import Core
from proxycore.policies.statistics import (
    Failed,
    Statistics,
    Summary,
    Tally,
    Turn,
    Where,
    between,
    dumped,
    loaded,
    merged,
    percentile,
    summed,
)
from proxycore.program.program_log import current_level
from proxycore.words.commands import command_as_dict

SHARES = (0.5, 0.95, 0.99)
"""The percentiles that are shown."""


class Part(NamedTuple):
    """A part of the overview of which each process has its own: entries of one `key` are one, and added up.

    `counts` only grow, also when a process ends; what it `holds` goes with it. `is_shown_alone`: also where no process
    that runs has such an entry.
    """

    key: tuple[str, ...]
    counts: tuple[str, ...]
    holds: tuple[str, ...] = ()
    is_shown_alone: bool = False


_HELD_BY_CACHES = ("size", "used", "objects")
PARTS: Mapping[str, Part] = {
    "limits": Part(("kind", "name"), ("refused", "delayed", "pushed_out"), ("keys", "capacity")),
    "rules": Part(("id",), ("found", "blocked"), is_shown_alone=True),
    "caches": Part(
        ("name",),
        tuple(field.name for field in fields(CacheView) if field.name not in ("name", *_HELD_BY_CACHES)),
        _HELD_BY_CACHES,
    ),
}

MINUTES = 5
"""What a percentile of a route or a server goes back to."""

SECONDS_SHOWN = 300
FAILURES_SHOWN = 50
CHANGES_SHOWN = 50

AT_ONCE = 2.0
"""Seconds within which the same change of a server in several processes is one: an order reaches each in turn."""

Report = Mapping[str, Any]
Groups = defaultdict[tuple[str, ...], dict[Where, Tally]]
"""Tallies by what they are of: `("route", name)`, `("server", upstream, name)`."""

Status = dict[str, Any]


def report(core: Core, statistics: Statistics, process: Mapping[str, float]) -> Report:
    """What one process knows at this moment. `process` tells it apart from all others, and when it `began`."""
    return {
        "process": process,
        "log_level": current_level(),
        "orders": [command_as_dict(command) for command in core.orders()],
        "tallies": dumped(statistics.tallies),
        "failures": [_flat(failed) for failed in statistics.failures],
        "changes": [asdict(change) for change in statistics.changes],
        "turns": [[*turn, count] for turn, count in statistics.turns.items()],
        "overview": asdict(core.overview()),
        "dropped": core.notices_dropped,
    }


def _flat(failed: Failed) -> dict[str, Any]:
    return {**{key: value for key, value in asdict(failed).items() if key != "where"}, **failed.where._asdict()}


class Moment(NamedTuple):
    """The totals at one moment, and what was open at it."""

    total: Summary
    connections: int
    exchanges: int


class Board:
    """The status of all processes together, second by second. `started` is wall time, in seconds since 1970."""

    def __init__(self, *, version: str, binding: str, started: float) -> None:
        self._version = version
        self._binding = binding
        self._started = started
        self._seconds: deque[Moment] = deque(maxlen=SECONDS_SHOWN + 1)
        self._minutes: deque[dict[Where, tuple[list[int], list[int]]]] = deque(maxlen=MINUTES)
        self._minute = -1
        self._reports: Sequence[Report] = ()
        self._counted: Sequence[Report] = ()
        self.tallies: dict[Where, Tally] = {}
        self.turns: Counter[Turn] = Counter()

    def take(self, reports: Sequence[Report], wall: float, ended: Report | None = None) -> None:
        """The processes' reports of this second, and what those had counted that have ended since we began."""
        self.renew(reports, ended)
        views = [report["overview"] for report in reports]
        self._seconds.append(
            Moment(
                summed(self.tallies.values(), wall),
                sum(view["connections"] for view in views),
                sum(view["exchanges"] for view in views),
            )
        )
        if int(wall // 60) != self._minute:
            self._minute = int(wall // 60)
            self._minutes.append({where: (t.durations, t.first_bytes) for where, t in self.tallies.items()})

    def renew(self, reports: Sequence[Report], ended: Report | None = None) -> None:
        """Reports that come between two seconds: what an order changed is shown at once."""
        self._reports = reports
        self._counted = reports if ended is None else (*reports, ended)
        self.tallies = merged(loaded(report["tallies"]) for report in self._counted)
        self.turns = Counter()
        for report in self._counted:
            self.turns.update({Turn(*turn): count for *turn, count in report["turns"]})

    @property
    def has_reports(self) -> bool:
        return bool(self._reports)

    def seconds(self, last: int = SECONDS_SHOWN) -> list[dict[str, Any]]:
        """The last seconds, oldest first: rates and percentiles of each."""
        kept = list(self._seconds)[-last - 1 :]
        return [_second(before, after) for before, after in pairwise(kept)]

    def status(self) -> Status:
        """All that the dashboard shows, but for the seconds."""
        now, connections, exchanges = self._seconds[-1]
        views = [report["overview"] for report in self._reports]
        groups = _grouped(self.tallies)
        return {
            "version": self._version,
            "binding": self._binding,
            "workers": len(self._reports),
            "started": self._started,
            "uptime": now.wall - self._started,
            "draining": any(view["is_draining"] for view in views),
            "exchanges": exchanges,
            "connections": connections,
            "dropped": sum(report["dropped"] for report in self._counted),
            "totals": {
                "requests": now.count,
                "failed": now.failed,
                "retries": now.retries,
                "received": now.received,
                "sent": now.sent,
            },
            "listeners": [
                {**listener, **self._figures(groups["listener", listener["name"]])}
                for listener in _added([view["listeners"] for view in views], "connections")
            ],
            "routes": [{**route, **self._figures(groups["route", route["name"]])} for route in views[0]["routes"]],
            "upstreams": [self._upstream(copies, groups) for copies in _alike([view["upstreams"] for view in views])],
            **{name: self._part(name) for name in PARTS},
            "causes": self._causes(),
            "failures": self._latest_failures(),
            "changes": self._latest_changes(),
        }

    def _upstream(self, copies: Sequence[Mapping[str, Any]], groups: Groups) -> dict[str, Any]:
        """One upstream, as it stands in each process."""
        first = copies[0]
        servers = _added([copy["servers"] for copy in copies], "active", "connections", "idle")
        figures = self._figures(groups["upstream", first["name"]])
        return {
            **first,
            "in_flight": sum(copy["in_flight"] for copy in copies),
            "queued": sum(copy["queued"] for copy in copies),
            "retries": figures["retries"],
            "servers": [
                {
                    **server,
                    "turns": self._turns(first["name"], server["name"]),
                    **self._figures(groups["server", first["name"], server["name"]]),
                }
                for server in servers
            ],
        }

    def _part(self, name: str) -> list[dict[str, Any]]:
        """One of `PARTS`, of the processes that run and those that ended."""
        part = PARTS[name]
        added = _summed_part([report["overview"][name] for report in self._counted], part)
        if part.is_shown_alone:
            return added
        there = {_key(entry, part.key) for report in self._reports for entry in report["overview"][name]}
        return [entry for entry in added if _key(entry, part.key) in there]

    def _turns(self, upstream: str, server: str) -> dict[str, int]:
        """How often a server became what."""
        return {turn.state: count for turn, count in self.turns.items() if turn[:2] == (upstream, server)}

    def _figures(self, mine: Mapping[Where, Tally]) -> dict[str, Any]:
        """Counts since the start, and percentiles of the last minutes, of some tallies."""
        whole = summed(mine.values(), 0.0)
        before = self._minutes[0] if self._minutes else {}
        durations, first_bytes = list(whole.durations), list(whole.first_bytes)
        for where in mine:
            if where in before and len(self._minutes) > 1:
                durations = between(before[where][0], durations)
                first_bytes = between(before[where][1], first_bytes)
        return {
            "requests": whole.count,
            "failed": whole.failed,
            "retries": whole.retries,
            "duration": _percentiles(durations),
            "first_byte": _percentiles(first_bytes),
        }

    def _causes(self) -> list[dict[str, Any]]:
        causes: dict[tuple[str, str], int] = {}
        for tally in self.tallies.values():
            for cause, count in tally.causes.items():
                causes[cause] = causes.get(cause, 0) + count
        ordered = sorted(causes.items(), key=lambda entry: -entry[1])
        return [{"cause": cause, "detail": detail, "count": count} for (cause, detail), count in ordered]

    def _latest_failures(self) -> list[dict[str, Any]]:
        entries = [entry for report in self._counted for entry in report["failures"]]
        return sorted(entries, key=lambda entry: -float(entry["wall"]))[:FAILURES_SHOWN]

    def _latest_changes(self) -> list[dict[str, Any]]:
        """Without echoes: what other processes had `AT_ONCE`."""
        entries = [(number, entry) for number, report in enumerate(self._counted) for entry in report["changes"]]
        told: list[dict[str, Any]] = []
        heard: dict[tuple[str, ...], tuple[int, float]] = {}
        for number, entry in sorted(entries, key=lambda entry: -float(entry[1]["wall"])):
            what = (entry["upstream"], entry["server"], entry["state"], entry["reason"])
            first, wall = heard.get(what, (number, math.inf))
            if number == first or wall - entry["wall"] > AT_ONCE:
                heard[what] = (number, entry["wall"])
                told.append(entry)
        return told[:CHANGES_SHOWN]


def _grouped(tallies: Mapping[Where, Tally]) -> Groups:
    """Those of each listener, route, upstream and server, in one walk: there may be hundreds of each."""
    groups: Groups = defaultdict(dict)
    for where, tally in tallies.items():
        groups["listener", where.listener][where] = tally
        groups["route", where.route][where] = tally
        groups["upstream", where.upstream][where] = tally
        groups["server", where.upstream, where.server][where] = tally
    return groups


def _second(first: Moment, second: Moment) -> dict[str, Any]:
    before, after = first.total, second.total
    length = max(after.wall - before.wall, 0.001)
    return {
        "wall": after.wall,
        "requests": max(after.count - before.count, 0) / length,
        "failed": max(after.failed - before.failed, 0) / length,
        "received": max(after.received - before.received, 0) / length,
        "sent": max(after.sent - before.sent, 0) / length,
        "duration": _percentiles(between(before.durations, after.durations)),
        "first_byte": _percentiles(between(before.first_bytes, after.first_bytes)),
        "connections": second.connections,
        "exchanges": second.exchanges,
    }


def _percentiles(counts: Sequence[int]) -> list[float | None]:
    # A worker that ended took its counts along: less than nothing is nothing.
    counts = [max(count, 0) for count in counts]
    return [percentile(counts, share) for share in SHARES]


Entries = Sequence[Mapping[str, Any]]


def _key(entry: Mapping[str, Any], key: Sequence[str]) -> tuple[Any, ...]:
    return tuple(entry[word] for word in key)


def _alike(lists: Sequence[Entries], key: Sequence[str] = ("name",)) -> list[list[Mapping[str, Any]]]:
    """The entries of several lists that have the same `key`, in the order of the first list."""
    alike: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for one in lists:
        for entry in one:
            alike.setdefault(_key(entry, key), []).append(entry)
    return list(alike.values())


def _added(lists: Sequence[Entries], *figures: str, key: Sequence[str] = ("name",)) -> list[dict[str, Any]]:
    """Entries of the same `key` as one: the figures are added, all else is that of one of them."""
    return [
        {**_telling(alike), **{figure: _sum(entry[figure] for entry in alike) for figure in figures}}
        for alike in _alike(lists, key)
    ]


def _summed_part(lists: Sequence[Entries], part: Part) -> list[dict[str, Any]]:
    return _added(lists, *part.counts, *part.holds, key=part.key)


def _sum(figures: Iterable[int | None]) -> int | None:
    """Their sum; without end (None) if one of them is."""
    known = list(figures)
    return None if None in known else sum(figure or 0 for figure in known)


def _telling(alike: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first, or the first that tells of a server that isn't up: one process that can't use it is enough."""
    return next((entry for entry in alike if entry.get("state", "up") != "up"), alike[0])


# ---- what processes leave that end

NOTHING_ENDED: Report = {
    "tallies": [],
    "failures": [],
    "changes": [],
    "turns": [],
    "overview": {name: [] for name in PARTS},
    "dropped": 0,
}


def left_behind(before: Report, last: Report) -> Report:
    """What all those had counted that ended: `before` of them, and one more whose `last` report this is."""
    return {
        "tallies": dumped(merged([loaded(before["tallies"]), loaded(last["tallies"])])),
        "failures": _latest(before["failures"], last["failures"], FAILURES_SHOWN),
        "changes": _latest(before["changes"], last["changes"], CHANGES_SHOWN),
        "turns": _counted(before["turns"], last["turns"]),
        "overview": {
            name: [
                {**entry, **dict.fromkeys(part.holds, 0)}
                for entry in _summed_part([before["overview"][name], last["overview"][name]], part)
            ]
            for name, part in PARTS.items()
        },
        "dropped": before["dropped"] + last["dropped"],
    }


def _counted(first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    counts: Counter[tuple[Any, ...]] = Counter()
    for *turn, count in (*first, *second):
        counts[tuple(turn)] += count
    return [[*turn, count] for turn, count in counts.items()]


def _latest(first: Sequence[Any], second: Sequence[Any], most: int) -> list[Any]:
    return sorted((*first, *second), key=lambda entry: float(entry["wall"]))[-most:]

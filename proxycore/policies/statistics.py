"""Traffic counted: what the metrics and the dashboard are made of.

Theory of operation. Each record of an exchange adds to one `Tally`, found by where the exchange went
(listener, route, upstream, server): a few additions, nothing is computed. Tallies only grow. Whoever
wants rates or percentiles of a span of time takes the totals at its two ends (`summed`) and subtracts
(`between`). Those of several processes are added with `merged`.

Durations are counted in buckets whose bounds are ten to a decade (the R10 series of ISO 3), so a percentile is off
by 12 % at most, and 1, 2.5 and 5 of each decade, which people expect of a histogram, are among them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from proxycore.words.errors import Outcome
from proxycore.words.notices import ExchangeEnded, Kind, Notice, ServerChanged

_STEPS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0)
BOUNDS: tuple[float, ...] = (
    *(step * decade / 10_000 for decade in (1, 10, 100, 1_000, 10_000, 100_000) for step in _STEPS),
    100.0,
)
"""Upper bounds of the buckets, in seconds: from 100 us to 100 s. One bucket more counts what took longer."""

COUNTED_KINDS: frozenset[Kind] = frozenset(("exchanges", "servers"))
"""What `Statistics` needs to be given."""

FAILURES_KEPT = 100
"""Failed exchanges that are remembered."""

CHANGES_KEPT = 200
"""Changes of servers that are remembered."""

CAUSES_MAX = 200
"""Causes that are told apart in one tally."""

TALLIES_MAX = 20_000
"""Combinations of listener, route, upstream and server that are told apart. All come from the configuration, but for
the servers behind a name; beyond this many, those that are new count together, with an empty server."""

TURNS_MAX = 20_000
"""What became of which server: combinations that are told apart, as with tallies."""


class Where(NamedTuple):
    """Where exchanges went: names of the configuration, empty where it did not come to that."""

    listener: str
    route: str
    upstream: str
    server: str


class Tally:
    """What happened to the exchanges of one `Where`, since the process began.

    `statuses` counts responses by status (0: none was sent), `causes` ends by cause and detail, but for complete
    ones. `failed` are those that a person wants to hear of: a status from 500, or a response that was cut and not by
    its client. The histograms count seconds by `BOUNDS`, their sums stand beside them.
    """

    __slots__ = (
        "causes",
        "duration_sum",
        "durations",
        "failed",
        "first_byte_sum",
        "first_bytes",
        "received",
        "retries",
        "sent",
        "statuses",
    )

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.causes: dict[tuple[str, str], int] = {}
        self.received = self.sent = self.retries = self.failed = 0
        self.durations = [0] * (len(BOUNDS) + 1)
        self.duration_sum = 0.0
        self.first_bytes = [0] * (len(BOUNDS) + 1)
        self.first_byte_sum = 0.0

    @property
    def count(self) -> int:
        return sum(self.statuses.values())

    def add(self, other: Tally) -> None:
        """Count `other`'s exchanges too."""
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count
        for cause, count in other.causes.items():
            self.causes[cause] = self.causes.get(cause, 0) + count
        self.failed += other.failed
        self.received += other.received
        self.sent += other.sent
        self.retries += other.retries
        self.durations = [a + b for a, b in zip(self.durations, other.durations, strict=True)]
        self.first_bytes = [a + b for a, b in zip(self.first_bytes, other.first_bytes, strict=True)]
        self.duration_sum += other.duration_sum
        self.first_byte_sum += other.first_byte_sum


def _is_cut(outcome: Outcome) -> bool:
    """Whether the response had begun and could not be completed, and not by its client's doing."""
    return outcome.detail == "response_body" and outcome.cause in ("upstream_failed", "timed_out")


@dataclass(frozen=True, slots=True)
class Summary:
    """The totals of all exchanges at one moment (`wall`, seconds since 1970)."""

    wall: float
    count: int = 0
    failed: int = 0
    retries: int = 0
    received: int = 0
    sent: int = 0
    durations: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    first_bytes: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)


@dataclass(frozen=True, slots=True)
class Failed:
    """An exchange that went wrong, for a person who asks why."""

    wall: float
    where: Where
    client: str
    method: str
    scheme: str
    authority: str
    target: str
    status: int
    cause: str
    detail: str
    duration: float
    request_id: str
    tls_subject: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A server changed its state, and why."""

    wall: float
    upstream: str
    server: str
    state: str
    reason: str


class Turn(NamedTuple):
    """What became of a server: it was `ejected`, `down`, `drained`, `up` again ..."""

    upstream: str
    server: str
    state: str


class Statistics:
    """Counts exchanges and changes of servers (`turns`), and remembers the last of those that failed and of these."""

    def __init__(self) -> None:
        self.tallies: dict[Where, Tally] = {}
        self.failures: deque[Failed] = deque(maxlen=FAILURES_KEPT)
        self.changes: deque[Changed] = deque(maxlen=CHANGES_KEPT)
        self.turns: dict[Turn, int] = {}

    def take(self, notices: Iterable[Notice]) -> None:
        """An observer: count what can be counted of these."""
        for notice in notices:
            if notice.__class__ is ExchangeEnded:
                self.count(notice)
            elif isinstance(notice, ServerChanged):
                self._count_change(notice)

    def count(self, record: ExchangeEnded) -> None:
        """Count one exchange that has ended."""
        key = (record.listener, record.route, record.upstream, record.server)
        tally = self.tallies.get(key)  # type: ignore[call-overload]  # a plain tuple is found as a Where is, and is cheaper
        if tally is None:
            tally = self._new_tally(Where(*key))
        status = record.status
        statuses = tally.statuses
        statuses[status] = statuses.get(status, 0) + 1
        outcome = record.outcome
        if outcome.cause != "completed" or status >= 500:
            self._count_failure(tally, record)
        tally.received += record.received
        tally.sent += record.sent
        tally.retries += record.retries
        tally.durations[bisect_left(BOUNDS, record.duration)] += 1
        tally.duration_sum += record.duration
        first_byte = record.first_byte
        if first_byte is not None:
            tally.first_bytes[bisect_left(BOUNDS, first_byte)] += 1
            tally.first_byte_sum += first_byte

    def _new_tally(self, where: Where) -> Tally:
        if len(self.tallies) >= TALLIES_MAX:
            where = Where(where.listener, where.route, where.upstream, "")
        return self.tallies.setdefault(where, Tally())

    def _count_failure(self, tally: Tally, record: ExchangeEnded) -> None:
        outcome = record.outcome
        if outcome.cause != "completed":
            # A user's filter names its rules as it likes.
            key = (outcome.cause, outcome.detail if len(tally.causes) < CAUSES_MAX else "")
            tally.causes[key] = tally.causes.get(key, 0) + 1
        if record.status < 500 and not _is_cut(outcome):
            return
        tally.failed += 1
        self.failures.append(
            Failed(
                record.wall,
                Where(record.listener, record.route, record.upstream, record.server),
                record.client,
                record.method.decode("latin-1"),
                record.scheme.decode("latin-1"),
                record.authority.decode("latin-1"),
                record.target.decode("latin-1"),
                record.status,
                outcome.cause,
                f"{outcome.detail}: {outcome.reason}" if outcome.reason else outcome.detail,
                record.duration,
                record.request_id,
                record.tls_subject,
            )
        )

    def _count_change(self, change: ServerChanged) -> None:
        self.changes.append(Changed(change.wall, change.upstream, change.server, change.state, change.reason))
        turn = Turn(change.upstream, change.server, change.state)
        if turn not in self.turns and len(self.turns) >= TURNS_MAX:
            turn = Turn(change.upstream, "", change.state)
        self.turns[turn] = self.turns.get(turn, 0) + 1


def summed(tallies: Iterable[Tally], wall: float) -> Summary:
    """All of them together."""
    whole = Tally()
    for tally in tallies:
        whole.add(tally)
    return Summary(
        wall,
        whole.count,
        whole.failed,
        whole.retries,
        whole.received,
        whole.sent,
        tuple(whole.durations),
        tuple(whole.first_bytes),
    )


def percentile(counts: Sequence[int], share: float) -> float | None:
    """The duration in seconds that `share` (0 to 1) of the counted ones don't exceed; None where nothing was counted.

    Within a bucket they are taken to be spread evenly.
    """
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    below = 0
    for index, count in enumerate(counts):
        if count and below + count >= wanted:
            low = BOUNDS[index - 1] if index else 0.0
            high = BOUNDS[index] if index < len(BOUNDS) else BOUNDS[-1]
            return low + (high - low) * (wanted - below) / count
        below += count
    return BOUNDS[-1]


def between(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """What was counted from `first` to `second`."""
    return [b - a for a, b in zip(first, second, strict=True)]


def merged(parts: Iterable[Mapping[Where, Tally]]) -> dict[Where, Tally]:
    """The tallies of several processes as one."""
    whole: dict[Where, Tally] = {}
    for part in parts:
        for where, tally in part.items():
            whole.setdefault(where, Tally()).add(tally)
    return whole


def dumped(tallies: Mapping[Where, Tally]) -> list[dict[str, Any]]:
    """Plain values, to send to another process: `loaded` reads them."""
    return [
        {
            "where": list(where),
            "statuses": list(tally.statuses.items()),
            "causes": [[*cause, count] for cause, count in tally.causes.items()],
            "counts": [tally.failed, tally.received, tally.sent, tally.retries],
            "durations": tally.durations,
            "first_bytes": tally.first_bytes,
            "sums": [tally.duration_sum, tally.first_byte_sum],
        }
        for where, tally in tallies.items()
    ]


def loaded(values: Iterable[Mapping[str, Any]]) -> dict[Where, Tally]:
    """The tallies that `dumped` wrote."""
    tallies = {}
    for value in values:
        tally = Tally()
        tally.statuses = {int(status): int(count) for status, count in value["statuses"]}
        tally.causes = {(cause, detail): int(count) for cause, detail, count in value["causes"]}
        tally.failed, tally.received, tally.sent, tally.retries = value["counts"]
        tally.durations = list(value["durations"])
        tally.first_bytes = list(value["first_bytes"])
        tally.duration_sum, tally.first_byte_sum = value["sums"]
        tallies[Where(*value["where"])] = tally
    return tallies

"""Traffic counted: tallies, summaries of a span of time, percentiles, and sums over processes."""

from __future__ import annotations

import json
from itertools import pairwise
from math import ceil
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.policies import statistics
from proxycore.policies.statistics import BOUNDS, Statistics, Where, between, dumped, loaded, merged, percentile, summed
from proxycore.words.errors import Failure, Outcome
from proxycore.words.messages import Headers
from proxycore.words.notices import ExchangeEnded, ServerChanged

COMPLETED = Outcome("completed")
CUT = Outcome(
    "upstream_failed",
    "response_body",
    Failure("response_body", "connection_terminated", status=502, resend="never", detail="a: ECONNRESET"),
)
API = Where("web", "api", "main", "a")


def record(where: Where = API, **changes: Any) -> ExchangeEnded:
    made = ExchangeEnded(1_000.0)
    made.listener, made.route, made.upstream, made.server = where
    values: dict[str, Any] = {
        "client": "192.0.2.1",
        "method": b"GET",
        "scheme": b"http",
        "authority": b"a.test",
        "target": b"/x",
        "status": 200,
        "outcome": COMPLETED,
        "received": 10,
        "sent": 100,
        "duration": 0.003,
        "first_byte": 0.002,
        "retries": 0,
        "request_id": "r1",
        "tls_subject": "",
        "headers": Headers(),
        **changes,
    }
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_an_exchange_is_counted_where_it_went() -> None:
    counted = Statistics()
    counted.count(record())
    counted.count(record(status=404, received=1, sent=2, retries=1))
    counted.count(record(Where("web", "other", "", ""), first_byte=None))
    tally = counted.tallies[API]
    assert (tally.count, tally.statuses, tally.received, tally.sent, tally.retries) == (2, {200: 1, 404: 1}, 11, 102, 1)
    assert (tally.failed, tally.causes, list(counted.failures)) == (0, {}, [])
    assert sum(counted.tallies[Where("web", "other", "", "")].first_bytes) == 0


def test_a_failure_remembers_who_asked() -> None:
    counted = Statistics()
    counted.count(record(status=502, outcome=CUT, tls_subject="CN=ann"))
    (failed,) = counted.failures
    assert (failed.tls_subject, failed.detail) == ("CN=ann", "response_body: a: ECONNRESET")


@pytest.mark.parametrize(
    ("status", "outcome", "failed"),
    [
        (500, COMPLETED, True),
        (200, CUT, True),
        (200, Outcome("client_left", "response_body"), False),
        (200, Outcome("timed_out", "send"), False),
        (403, Outcome("refused", "access"), False),
        (503, Outcome("refused", "max_exchanges"), True),
        (0, Outcome("client_left", "request"), False),
    ],
)
def test_what_counts_as_failed_and_is_remembered(status: int, outcome: Outcome, failed: bool) -> None:
    counted = Statistics()
    counted.count(record(status=status, outcome=outcome))
    tally = counted.tallies[API]
    assert tally.failed == len(counted.failures) == failed
    assert tally.causes == ({} if outcome == COMPLETED else {(outcome.cause, outcome.detail): 1})
    if outcome is CUT:
        assert counted.failures[0].detail == "response_body: a: ECONNRESET"


def test_everything_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "TALLIES_MAX", 3)
    counted = Statistics()
    for number in range(2_000):
        refused = Outcome("refused", f"rule {number}")
        counted.count(record(API._replace(server=f"s{number}"), status=500, outcome=refused))
    assert len(counted.tallies) == 4
    assert counted.tallies[API._replace(server="")].count == 1_997
    assert len(counted.tallies[API._replace(server="")].causes) <= statistics.CAUSES_MAX + 1
    assert len(counted.failures) == statistics.FAILURES_KEPT


def test_what_became_of_servers_is_remembered_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "TURNS_MAX", 2)
    counted = Statistics()
    for server, state in (("a", "ejected"), ("a", "up"), ("a", "ejected"), ("b", "ejected"), ("c", "ejected")):
        counted.take([ServerChanged(1.0, "main", server, state, "five failures")])
    assert counted.turns == {("main", "a", "ejected"): 2, ("main", "a", "up"): 1, ("main", "", "ejected"): 2}
    assert [(change.server, change.reason) for change in counted.changes][-1] == ("c", "five failures")


def test_a_span_of_time_is_the_difference_of_its_ends() -> None:
    counted = Statistics()
    counted.count(record(duration=5.0))
    first = summed(counted.tallies.values(), 1.0)
    for _ in range(99):
        counted.count(record(duration=0.0021))
    counted.count(record(duration=0.09))
    second = summed(counted.tallies.values(), 2.0)
    span = between(first.durations, second.durations)
    assert sum(span) == second.count - first.count == 100
    assert percentile(span, 0.5) == pytest.approx(0.00225, rel=0.02)
    assert percentile(span, 1.0) == 0.1
    assert percentile([0] * len(span), 0.5) is None


def test_the_bounds_are_those_of_r10() -> None:
    assert len(BOUNDS) == 61
    assert list(BOUNDS) == sorted(BOUNDS)
    assert {0.0001, 0.001, 0.0025, 0.005, 0.01, 1.0, 2.5, 10.0, 100.0} <= set(BOUNDS)
    assert all(1.2 < high / low < 1.3 for low, high in pairwise(BOUNDS))


@given(st.lists(st.floats(0.000101, 99.0), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_percentile_is_in_the_bucket_of_the_true_one(durations: list[float], share: float) -> None:
    counted = Statistics()
    for duration in durations:
        counted.count(record(duration=duration))
    exact = sorted(durations)[max(0, ceil(share * len(durations)) - 1)]
    found = percentile(counted.tallies[API].durations, share)
    assert found is not None
    assert exact / 1.3 <= found <= exact * 1.3


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_processes_add_up_to_what_one_would_have_counted(seed: int, processes: int) -> None:
    random = Random(seed)
    parts = [Statistics() for _ in range(processes)]
    whole = Statistics()
    for _ in range(50):
        where = API._replace(server=random.choice("abc"))
        status, outcome = random.choice([(200, COMPLETED), (502, CUT), (200, CUT), (403, Outcome("refused", "access"))])
        made = record(where, status=status, outcome=outcome, duration=float(random.choice(BOUNDS)), retries=1)
        whole.count(made)
        random.choice(parts).count(made)
    sent = [json.loads(json.dumps(dumped(part.tallies))) for part in parts]
    together = merged(loaded(part) for part in sent)
    assert summed(together.values(), 0.0) == summed(whole.tallies.values(), 0.0)
    assert {w: (t.statuses, t.causes) for w, t in together.items()} == {
        w: (t.statuses, t.causes) for w, t in whole.tallies.items()
    }

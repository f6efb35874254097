"""Rate limits as arithmetic: never more than burst + rate x time, whatever the order, the keys and the memory."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.config import Rate
from proxycore.policies.addresses import number_of
from proxycore.policies.limits import ConcurrencyTable, RatePolicy, RateTable, compile_key, rate_limit_fields
from proxycore.words.messages import Headers

SECRET = bytes(16)


def times_passed(table: RateTable, policy: RatePolicy, arrivals: list[tuple[float, bytes]]) -> dict[bytes, list[float]]:
    """When requests of each key passed, of all that arrived."""
    passed: dict[bytes, list[float]] = {}
    for now, key in arrivals:
        if not policy.is_exceeded(table.take(key, policy, now)):
            passed.setdefault(key, []).append(now)
    return passed


def exceeds(times: list[float], rate: Rate, burst: int) -> bool:
    """Whether within any span more than burst + rate x span passed, counted exactly."""
    per_second = Fraction(rate.count) / Fraction(rate.per)
    stamps = [Fraction(int(time * 1e9), 10**9) for time in times]
    return any(
        end - start + 1 > burst + per_second * (stamps[end] - stamps[start])
        for start in range(len(stamps))
        for end in range(start, len(stamps))
    )


rates = st.builds(Rate, st.integers(1, 1000), st.sampled_from([0.1, 1.0, 7.0, 60.0]))
gaps = st.one_of(st.just(0.0), st.floats(0.0, 0.5), st.floats(0.0, 100.0))


@given(rates, st.integers(1, 10), st.lists(st.tuples(gaps, st.integers(0, 8)), max_size=60), st.integers(1, 6))
def test_no_window_sees_more_than_burst_and_rate_allow(
    rate: Rate, burst: int, steps: list[tuple[float, int]], capacity: int
) -> None:
    """Also when there are more keys than the table remembers."""
    now, arrivals = 1e6, []
    for gap, key in steps:
        now += gap
        arrivals.append((now, b"%d" % key))
    passed = times_passed(RateTable(capacity, SECRET), RatePolicy(rate, burst), arrivals)
    assert not any(exceeds(times, rate, burst) for times in passed.values())


@given(rates, st.integers(1, 200))
def test_a_burst_is_exactly_a_burst(rate: Rate, burst: int) -> None:
    passed = times_passed(RateTable(10, SECRET), RatePolicy(rate, burst), [(9e6, b"a")] * (burst + 50))
    assert len(passed[b"a"]) == burst


@given(rates, st.integers(1, 20))
def test_whoever_waits_as_long_as_told_may_come(rate: Rate, burst: int) -> None:
    table, policy = RateTable(10, SECRET), RatePolicy(rate, burst)
    now = 5.0
    while not policy.is_exceeded(debt := table.take(b"a", policy, now)):
        pass
    now += policy.seconds_until(debt) + 1e-8
    assert not policy.is_exceeded(table.take(b"a", policy, now))


def test_a_steady_client_at_the_rate_is_never_refused() -> None:
    passed = times_passed(
        RateTable(10, SECRET), RatePolicy(Rate(100, 1.0), 1), [(100 + n / 100 + 1e-9 * n, b"a") for n in range(5000)]
    )
    assert len(passed[b"a"]) == 5000


def test_a_flood_of_keys_frees_nobody_of_a_debt() -> None:
    table, policy = RateTable(100, SECRET), RatePolicy(Rate(1, 1.0), 5)
    for _ in range(5):
        table.take(b"victim or attacker", policy, 10.0)
    for number in range(10_000):
        table.take(b"%d" % number, policy, 10.0)
    assert len(table) == 100
    assert policy.is_exceeded(table.take(b"victim or attacker", policy, 10.0))


def test_a_flood_beyond_the_memory_costs_few_strangers_anything() -> None:
    table, policy = RateTable(100, SECRET), RatePolicy(Rate(1, 1.0), 5)
    for number in range(2_000):
        table.take(b"%d" % number, policy, 10.0)
    strangers = [b"stranger %d" % number for number in range(100)]
    passed = times_passed(table, policy, [(10.0, key) for key in strangers for _ in range(4)])
    assert sum(len(times) for times in passed.values()) > 380


def test_who_is_active_stays_in_the_table_through_a_flood() -> None:
    table, policy = RateTable(100, SECRET), RatePolicy(Rate(10, 1.0), 1)
    now, allowed = 0.0, 0
    for number in range(20_000):
        now += 0.002
        table.take(b"%d" % number, policy, now)
        if number % 50 == 0:  # every 0.1 s, as the rate has it
            allowed += not policy.is_exceeded(table.take(b"active", policy, now + number * 1e-9))
    assert allowed == 400


def test_the_table_shrinks_when_keys_have_no_debt() -> None:
    table, policy = RateTable(1000, SECRET), RatePolicy(Rate(1, 1.0), 1)
    for number in range(1000):
        table.take(b"%d" % number, policy, 0.0)
    for number in range(3000):
        table.take(b"later %d" % number, policy, 100.0 + number)
    assert len(table) < 1000


def scope(ip: str = "192.0.2.1", **headers: str) -> Any:
    request = SimpleNamespace(headers=Headers([(name.encode(), value.encode()) for name, value in headers.items()]))
    return SimpleNamespace(client=SimpleNamespace(ip=ip, number=number_of(ip)), request=request, user="")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_an_ipv6_client_is_its_64(one: str, other: str, same: bool) -> None:
    key = compile_key(["client_ip"])
    assert (key(scope(one)) == key(scope(other))) is same


@given(st.tuples(st.text("ab:1", max_size=4), st.text("ab:1", max_size=4)), st.tuples(st.text("ab:1"), st.text("ab:1")))
def test_no_two_lists_of_values_share_a_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    key = compile_key(["header.a", "header.b"])
    assert (key(scope(a=one[0], b=one[1])) == key(scope(a=other[0], b=other[1]))) is (one == other)


def test_a_long_key_takes_no_more_memory_than_a_short_one() -> None:
    key = compile_key(["header.a"])
    assert len(key(scope(a="x" * 30_000))) == 64
    assert key(scope(a="x" * 30_000)) != key(scope(a="x" * 30_001))


def test_the_fields_tell_when_to_come_again() -> None:
    assert rate_limit_fields("slow", RatePolicy(Rate(5, 60.0), 5), 11.2) == [
        (b"retry-after", b"12"),
        (b"ratelimit-policy", b'"slow";q=5;w=60'),
        (b"ratelimit", b'"slow";r=0;t=12'),
    ]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([b"a", b"b"])), max_size=50), st.integers(1, 3))
def test_concurrency_counts_each_key_and_forgets_it(steps: list[tuple[bool, bytes]], most: int) -> None:
    table, going_on = ConcurrencyTable(), {b"a": 0, b"b": 0}
    for enters, key in steps:
        if enters:
            entered = table.enter(key, most)
            assert entered is (going_on[key] < most)
            going_on[key] += entered
        elif going_on[key]:
            table.leave(key)
            going_on[key] -= 1
    assert len(table) == sum(count > 0 for count in going_on.values())

"""One verdict from checks and traffic: what takes a server out, for how long, and what brings it back."""

from __future__ import annotations

from copy import copy
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxycore.config import HealthCheck, Outliers
from proxycore.policies.health import FASTER, JITTER, Health, may_eject, next_warmer, warmth

CHECK = HealthCheck(interval=4, rise=2, fall=3)
OUTLIERS = Outliers(failures=3, eject=10, eject_max=60)


def health(check: HealthCheck | None = CHECK, outliers: Outliers = OUTLIERS) -> Health:
    return Health(check, outliers)


def fail(server: Health, now: float, times: int = 1, *, refused: bool = False, may_eject: bool = True) -> bool:
    return [server.failed("a reset", now, refused=refused, may_eject=may_eject) for _ in range(times)][-1]


def check(server: Health, results: str, now: float = 0.0) -> list[bool]:
    """Checks in a row, `+` for a good one."""
    return [server.checked("" if result == "+" else "it said 500", now, began=now) for result in results]


# ---- checks


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ("", "up"),
        ("+", "up"),
        ("-", "down"),  # the first decides alone
        ("+--", "up"),
        ("+---", "down"),
        ("+--+--", "up"),
        ("+---+", "down"),
        ("+---+-+", "down"),
        ("+---++", "up"),
        ("-+", "down"),
        ("-++", "up"),
    ],
)
def test_as_many_in_a_row_as_are_asked_for(results: str, state: str) -> None:
    server = health()
    check(server, results)
    assert server.state == state


def test_each_change_is_told_once_with_its_reason() -> None:
    server = health()
    assert check(server, "+---++") == [False, False, False, True, False, True]
    assert server.reason == "checks pass"
    check(server, "---")
    assert server.reason == "check failed: it said 500"


def test_one_is_checked_more_often_while_its_verdict_may_change() -> None:
    server = health()
    span = JITTER * CHECK.interval

    def usual(now: float) -> float:
        return server.next_check(now, Random(1))

    check(server, "+")
    assert abs(usual(0) - CHECK.interval) <= span
    check(server, "-", now=4)
    assert abs(usual(4) - CHECK.interval / FASTER) <= span / FASTER
    check(server, "--", now=6)
    assert abs(usual(20) - CHECK.interval / FASTER) <= span / FASTER  # it went down just now
    assert abs(usual(200) - CHECK.interval) <= span
    check(server, "+", now=200)
    assert abs(usual(200) - CHECK.interval / FASTER) <= span / FASTER


def test_checks_of_many_servers_spread() -> None:
    server, random = health(), Random(1)
    check(server, "+")
    drawn = [server.next_check(100, random) for _ in range(1000)]
    assert min(drawn) < 0.92 * CHECK.interval < 1.08 * CHECK.interval < max(drawn)
    assert abs(sum(drawn) / len(drawn) - CHECK.interval) < 0.02 * CHECK.interval


# ---- traffic


def test_failures_in_a_row_eject_and_time_brings_back() -> None:
    server = health(check=None)
    assert fail(server, 0, 2) is False
    assert fail(server, 0) is True
    assert (server.state, server.reason, server.until) == ("ejected", "3 failures in a row, then a reset", 10)
    assert server.expired(9.9) is False
    assert server.expired(10) is True
    assert (server.state, server.failures) == ("up", 0)


def test_a_success_between_them_begins_anew() -> None:
    server = health()
    fail(server, 0, 2)
    server.failures = 0
    assert fail(server, 0, 2) is False


def test_a_refused_connect_ejects_at_once() -> None:
    server = health(check=None)
    assert fail(server, 0, refused=True) is True
    assert (server.state, server.reason) == ("ejected", "a reset")


def test_each_further_ejection_is_twice_as_long_up_to_the_longest() -> None:
    server, now, lengths = health(check=None), 0.0, []
    for _ in range(6):
        fail(server, now, refused=True)
        lengths.append(server.until - now)
        now = server.until
        server.expired(now)
    assert lengths == [10, 20, 40, 60, 60, 60]
    fail(server, now + 60, refused=True)
    assert server.until == now + 60 + 10  # it had served as long as it was out


def test_no_more_than_the_share_is_ejected() -> None:
    server = health()
    assert fail(server, 0, 9, may_eject=False) is False
    assert server.state == "up"
    assert fail(server, 0) is True  # there is room again


@given(st.integers(0, 100), st.integers(1, 100), st.floats(0, 1))
def test_the_share_is_never_exceeded(ejected: int, servers: int, share: float) -> None:
    if may_eject(ejected, servers, Outliers(eject_share_max=share)):
        assert (ejected + 1) / servers <= share * (1 + 1e-9)


# ---- both


def test_good_checks_do_not_shorten_an_ejection_for_what_checks_do_not_see() -> None:
    server = health()
    fail(server, 5, 3)
    check(server, "+++++", now=6)
    assert server.state == "ejected"
    assert server.expired(15) is True


def test_good_checks_end_an_ejection_for_a_refused_connect() -> None:
    server = health()
    fail(server, 5, refused=True)
    assert check(server, "++", now=6) == [False, True]
    assert (server.state, server.reason) == ("up", "checks pass")


def test_a_check_from_before_the_ejection_proves_nothing() -> None:
    server = health(HealthCheck(rise=1))
    fail(server, 5, refused=True)
    assert server.checked("", 5.1, began=4.9) is False
    assert server.state == "ejected"
    assert server.checked("", 5.3, began=5.2) is True


def test_a_server_is_out_until_both_let_it_in() -> None:
    server = health(HealthCheck(rise=1, fall=1))
    check(server, "+")
    fail(server, 0, 3)
    check(server, "-", now=1)
    assert (server.state, server.reason) == ("down", "check failed: it said 500")
    assert server.expired(10) is False
    assert check(server, "+", now=11) == [True]
    assert server.state == "up"


def test_without_checks_any_more_nothing_is_left_of_their_findings() -> None:
    server = health()
    check(server, "-")
    assert server.reconfigure(None, OUTLIERS, 1.0) is True
    assert (server.state, server.reason) == ("up", "it is checked no more")
    assert server.reconfigure(CHECK, OUTLIERS, 2.0) is False
    check(server, "-")
    assert server.state == "down"


class OneVerdict(RuleBasedStateMachine):
    """Whatever comes in whatever order: the verdict is what both witnesses together say."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.server = health()
        self.changes: list[str] = ["up"]

    def told(self, changed: bool) -> None:
        before = self.changes[-1]
        assert changed == (self.server.state != before)
        if changed:
            assert self.server.reason
            self.changes.append(self.server.state)

    @rule(seconds=st.sampled_from([0.0, 0.5, 5.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.server.until <= self.now:
            self.told(self.server.expired(self.now))

    @rule(good=st.booleans(), ago=st.sampled_from([0.0, 1.0]))
    def a_check_ends(self, good: bool, ago: float) -> None:
        self.told(self.server.checked("" if good else "bad", self.now, began=self.now - ago))

    @rule(refused=st.booleans(), allowed=st.booleans())
    def traffic_fails(self, refused: bool, allowed: bool) -> None:
        self.told(self.server.failed("it broke", self.now, refused=refused, may_eject=allowed))

    @rule()
    def traffic_succeeds(self) -> None:
        self.server.failures = 0

    @invariant()
    def an_ejection_has_an_end(self) -> None:
        if self.server.state == "ejected":
            assert self.now <= self.server.until <= self.now + OUTLIERS.eject_max

    @invariant()
    def two_good_checks_and_patience_bring_it_back(self) -> None:
        other = copy(self.server)
        later = self.now + OUTLIERS.eject_max
        for _ in range(CHECK.rise):
            other.checked("", later, began=later)
        other.expired(later)
        assert other.state == "up"


TestOneVerdict: Any = OneVerdict.TestCase


# ---- slow start


def test_a_server_that_comes_back_takes_its_share_in_tenths() -> None:
    assert [warmth(at, 10) for at in (0, 0.9, 1, 5.5, 9.9, 10, 11)] == [0.1, 0.1, 0.2, 0.6, 1.0, 1.0, 1.0]
    assert warmth(0, 0) == 1.0


@given(st.floats(0, 1e6), st.floats(0.001, 600), st.integers(0, 12))
def test_the_next_step_lies_ahead_and_all_are_over_in_time(since: float, slow_start: float, steps: int) -> None:
    now = since
    for _ in range(steps):
        at = next_warmer(now, since, slow_start)
        assert at > now
        if at == inf:
            assert warmth(now - since, slow_start) == 1.0
            return
        now = at
    assert next_warmer(since + slow_start * 1.001 + 0.001, since, slow_start) == inf

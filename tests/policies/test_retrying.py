"""When a request may be sent again, and how many of them."""

from __future__ import annotations

from math import exp
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.config import Retries
from proxycore.policies.retrying import (
    IDEMPOTENT,
    RetryBudget,
    is_free,
    kind_of,
    may_resend,
    may_resend_stale,
    pause,
    replay_limit,
    waits_until_up,
    why_not,
    why_unsafe,
)
from proxycore.policies.trace import Trace
from proxycore.words.errors import Failure, Resend, Stage

METHODS = [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE", b"POST", b"PATCH", b"CONNECT", b"MKCOL", b"get"]
ERRORS = [
    "connection_refused",
    "connection_timeout",
    "connection_terminated",
    "http_response_timeout",
    "http_response_incomplete",
    "http_protocol_error",
    "http_upstream_status",
]
REFUSED = Failure("connect", "connection_refused", status=502, resend="safe")
UNREACHED = Failure("connect", "connection_timeout", status=504, resend="safe")
RESET = Failure("response_head", "connection_terminated", status=502, resend="idempotent")
SILENT = Failure("response_head", "http_response_timeout", status=504, resend="idempotent")
BUSY = Failure("response_head", "http_upstream_status", status=503, resend="idempotent")
TRUNCATED = Failure("response_body", "connection_terminated", status=502, resend="never")
EVERYTHING = Retries(max=5, on=["connect", "reset", "timeout"], statuses=["any"], non_idempotent=True, budget=1.0)


def may(method: bytes, failure: Failure, policy: Retries | None = None, **given: Any) -> bool:
    facts = {"retries": 0, "can_rewind": True} | given
    return may_resend(method, failure, policy or Retries(), RetryBudget(0.2, 0.0), 0.0, **facts)


failures = st.builds(
    Failure,
    st.sampled_from(get_args(Stage)),
    st.sampled_from(ERRORS),
    status=st.sampled_from([502, 503, 504]),
    resend=st.sampled_from(get_args(Resend)),
)
policies = st.builds(
    Retries,
    max=st.integers(0, 3),
    on=st.lists(st.sampled_from(["connect", "reset", "timeout"]), unique=True),
    statuses=st.sampled_from([(), (503,), ("5xx",)]),
    non_idempotent=st.booleans(),
)


@given(st.sampled_from(METHODS), failures, policies, st.integers(0, 4), st.booleans())
def test_what_may_have_been_carried_out_is_repeated_only_where_that_is_harmless(
    method: bytes, failure: Failure, policy: Retries, retries: int, can_rewind: bool
) -> None:
    if not may(method, failure, policy, retries=retries, can_rewind=can_rewind):
        return
    assert failure.resend != "never"
    assert failure.resend == "safe" or method in IDEMPOTENT or policy.non_idempotent
    assert can_rewind
    assert retries < policy.max
    assert failure.stage not in ("response_body", "queue", "proxy") or failure.error == "http_upstream_status"


@given(st.sampled_from(METHODS), failures, policies, st.booleans())
def test_a_stale_connection_frees_from_the_counts_but_not_from_safety(
    method: bytes, failure: Failure, policy: Retries, can_rewind: bool
) -> None:
    safe = failure.resend == "safe" or (
        failure.resend == "idempotent" and (method in IDEMPOTENT or policy.non_idempotent)
    )
    assert may_resend_stale(method, failure, policy, can_rewind=can_rewind) is (safe and can_rewind)


@given(st.sampled_from(METHODS), failures, policies)
def test_content_that_was_sent_is_kept_only_where_it_may_be_sent_again(
    method: bytes, failure: Failure, policy: Retries
) -> None:
    assert replay_limit(method, policy) in (0, policy.replay_body)
    if failure.resend == "idempotent":
        may_be_sent_again = not why_unsafe(method, failure, policy, can_rewind=True)
        assert (replay_limit(method, policy) > 0) is may_be_sent_again


@pytest.mark.parametrize("method", METHODS)
def test_nothing_was_sent_so_every_method_may_go_again(method: bytes) -> None:
    assert may(method, REFUSED)


def test_the_defaults_repeat_a_get_after_a_reset_and_never_a_post() -> None:
    assert may(b"GET", RESET)
    assert not may(b"POST", RESET)
    assert not may(b"PATCH", RESET)
    assert not may(b"get", RESET)
    assert may(b"POST", RESET, Retries(non_idempotent=True))


def test_the_kinds_are_those_of_the_configuration() -> None:
    assert [kind_of(failure) for failure in (REFUSED, RESET, SILENT, BUSY, TRUNCATED)] == [
        "connect",
        "reset",
        "timeout",
        "status",
        None,
    ]
    assert kind_of(Failure("connect", "connection_timeout", status=504, resend="safe")) == "connect"
    assert kind_of(Failure("response_head", "http_protocol_error", status=502, resend="idempotent")) is None
    assert not may(b"GET", SILENT)
    assert may(b"GET", SILENT, Retries(on=["timeout"]))
    assert not may(b"GET", RESET, Retries(on=["timeout"]))
    assert not may(b"GET", BUSY)
    assert may(b"GET", BUSY, Retries(statuses=[502, 503]))
    assert not may(b"POST", BUSY, Retries(statuses=[502, 503]))
    assert not may(b"GET", BUSY, Retries(statuses=[502]))


def test_an_answer_that_has_begun_is_final_whatever_is_configured() -> None:
    assert not may(b"GET", TRUNCATED, EVERYTHING)


@pytest.mark.parametrize(
    ("method", "failure", "facts", "reason"),
    [
        (b"GET", TRUNCATED, {}, "it can't be undone: the failure is final or the answer has begun"),
        (b"POST", RESET, {}, "it was sent and its method isn't idempotent"),
        (b"PUT", RESET, {"can_rewind": False}, "its body is longer than retries.replay_body"),
        (b"GET", SILENT, {}, "retries.on doesn't name timeout"),
        (b"GET", BUSY, {}, "retries.statuses doesn't name 503"),
        (b"GET", RESET, {"retries": 1}, "retries.max is 1"),
        (b"GET", RESET, {}, ""),
    ],
)
def test_each_refusal_says_why(method: bytes, failure: Failure, facts: dict[str, Any], reason: str) -> None:
    budget, given = RetryBudget(0.2, 0.0), {"retries": 0, "can_rewind": True} | facts
    assert why_not(method, failure, Retries(), budget, 0.0, **given) == reason
    trace = Trace()
    may_resend(method, failure, Retries(), budget, 0.0, trace=trace, **given)
    assert trace.steps == [("retry", "refused" if reason else "allowed", failure.error, reason)]


def test_a_spent_budget_refuses() -> None:
    budget = RetryBudget(0.2, 0.0)
    for _ in range(10):
        assert why_not(b"GET", RESET, Retries(), budget, 0.0, retries=0, can_rewind=True) == ""
        budget.resent()
    reason = why_not(b"GET", RESET, Retries(), budget, 0.0, retries=0, can_rewind=True)
    assert reason == "retries.budget, 0.2 of all requests, is used up"


def test_a_connect_that_failed_needs_no_budget() -> None:
    """It was no load to anybody: with one of three servers dead, a third of all requests meets it."""
    budget = RetryBudget(0.2, 0.0)
    while budget.allows(0.0):
        budget.resent()
    assert why_not(b"POST", REFUSED, Retries(), budget, 0.0, retries=0, can_rewind=True) == ""
    assert why_not(b"POST", REFUSED, Retries(), budget, 0.0, retries=1, can_rewind=True) == "retries.max is 1"


def test_a_refusal_does_not_count_where_others_are_left() -> None:
    facts: dict[str, Any] = {"retries": 1, "can_rewind": True, "others": True}
    budget = RetryBudget(0.2, 0.0)
    assert why_not(b"POST", REFUSED, Retries(), budget, 0.0, **facts) == ""
    assert why_not(b"POST", REFUSED, Retries(max=0), budget, 0.0, **facts) == "retries.max is 0"
    assert why_not(b"GET", RESET, Retries(), budget, 0.0, **facts) == "retries.max is 1"
    assert why_not(b"GET", UNREACHED, Retries(), budget, 0.0, **facts) == "retries.max is 1"
    assert [is_free(failure, True) for failure in (REFUSED, RESET, UNREACHED)] == [True, False, False]


def test_a_server_that_let_a_dial_run_out_of_time_is_not_dialled_again() -> None:
    budget = RetryBudget(0.2, 0.0)
    assert may(b"GET", UNREACHED, others=True)
    reason = why_not(b"GET", UNREACHED, Retries(), budget, 0.0, retries=0, can_rewind=True)
    assert reason == "no other server is left, and for this one it would be the same"


def test_a_request_waits_for_a_server_only_while_none_has_had_anything_of_it() -> None:
    assert waits_until_up(REFUSED, 9.9, 10)
    assert not waits_until_up(REFUSED, 10, 10)
    assert not waits_until_up(REFUSED, 0, 0)
    assert not any(waits_until_up(failure, 1, 10) for failure in (RESET, SILENT, BUSY, TRUNCATED, UNREACHED))


def test_a_budget_of_nothing_allows_nothing() -> None:
    budget = RetryBudget(0.0, 0.0)
    assert not budget.allows(0.0)
    for failure in (REFUSED, RESET):
        assert why_not(b"GET", failure, Retries(budget=0.0), budget, 0.0, retries=0, can_rewind=True) == (
            "retries.budget, 0 of all requests, is used up"
        )


@given(
    st.sampled_from([0.05, 0.2, 1.0]),
    st.lists(st.tuples(st.sampled_from([0.0, 0.01, 0.4, 3.0, 60.0]), st.sampled_from([0, 1, 2, 40])), max_size=80),
)
@settings(max_examples=200, deadline=None)
def test_retries_stay_within_their_share_and_a_trickle(share: float, steps: list[tuple[float, int]]) -> None:
    """All that could be retried is: no storm, whatever the traffic."""
    budget, now, requests, retries = RetryBudget(share, 100.0), 100.0, 0, 0
    for passed, burst in steps:
        now += passed
        for _ in range(burst):
            budget.sent(now)
            requests += 1
        while budget.allows(now):
            budget.resent()
            retries += 1
        elapsed = now - 100.0
        assert retries <= share * requests + budget.RESERVE * (1 + elapsed / budget.WINDOW) + 1e-6


@given(st.lists(st.floats(0.0, 30.0), max_size=60))
def test_the_budget_counts_as_if_each_request_faded_by_itself(gaps: list[float]) -> None:
    budget, now, times = RetryBudget(0.5, 0.0), 0.0, []
    for gap in gaps:
        now += gap
        budget.sent(now)
        times.append(now)
    faded = sum(exp((time - now) / budget.WINDOW) for time in times)
    # Each fades in steps: up to one too early, or one too late.
    step = exp(budget.STEP / budget.WINDOW)
    assert faded / step - 1e-6 <= budget._requests <= faded * step + 1e-6


def test_steady_traffic_pays_for_its_share_of_retries() -> None:
    budget, retries = RetryBudget(0.2, 0.0), 0
    for tick in range(60_000):
        budget.sent(tick / 1000)
        if budget.allows(tick / 1000):
            budget.resent()
            retries += 1
    assert retries == pytest.approx(0.2 * 60_000, rel=0.02)


def test_a_burst_of_resets_in_busy_traffic_is_paid_for() -> None:
    """A server with a third of 1,000 requests a second dies: all that were on it are sent again."""
    budget = RetryBudget(0.2, 0.0)
    for tick in range(10_000):
        budget.sent(tick / 1000)
    for _ in range(333):
        assert budget.allows(10.0)
        budget.resent()


def test_a_fresh_server_is_tried_at_once_and_a_tried_one_after_a_random_pause() -> None:
    chance = Random(3)
    assert pause(1, False, chance) == 0.0
    for retries, most in [(1, 0.025), (2, 0.05), (4, 0.2), (7, 1.0), (1000, 1.0)]:
        waits = [pause(retries, True, chance) for _ in range(300)]
        assert 0.0 <= min(waits) < most * 0.1
        assert most * 0.9 < max(waits) <= most

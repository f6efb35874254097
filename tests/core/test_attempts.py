"""The tries of an exchange, decided without a connection: which failure leads to another try, and where to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxycore.composition.attempts import Attempts
from proxycore.config import Retries
from proxycore.policies.retrying import RetryBudget
from proxycore.words.errors import Failure, Resend

NOW = 10.0
A: Any = object()


class Upstream:
    """Two servers and a budget: what attempts need of an `UpstreamState`."""

    name = "api"

    def __init__(self, policy: Retries) -> None:
        self.in_flight = 0
        self.config = SimpleNamespace(retries=policy, queue_timeout=1.0)
        self.budget = RetryBudget(policy.budget, NOW)
        self.others = True

    def has_another(self, attempts: Attempts) -> bool:
        return self.others


def begun(policy: Retries | None = None) -> tuple[Attempts, Upstream]:
    upstream = Upstream(policy or Retries(max=2, budget=0.2, statuses=["503"]))
    attempts = Attempts(cast(Any, upstream), NOW)
    attempts.server = A
    return attempts, upstream


def asking(method: bytes = b"GET", *, can_rewind: bool = True) -> Any:
    return SimpleNamespace(request=SimpleNamespace(method=method), can_rewind=can_rewind, trace=None)


def reset(resend: Resend = "idempotent") -> Failure:
    return Failure("response_head", "connection_terminated", status=502, resend=resend)


def leased(*, is_reused: bool) -> Any:
    return SimpleNamespace(is_reused=is_reused)


def test_they_are_in_the_upstreams_books_until_they_end() -> None:
    attempts, upstream = begun()
    assert upstream.in_flight == 1
    attempts.end()
    assert upstream.in_flight == 0


def test_a_kept_connection_that_was_closed_is_no_retry_but_only_once() -> None:
    attempts, _ = begun()
    assert attempts.follows(asking(), reset(), leased(is_reused=True), NOW)
    assert (attempts.retries, attempts.tried, attempts.wants_fresh) == (0, (), True)
    assert attempts.follows(asking(), reset(), leased(is_reused=True), NOW)
    assert (attempts.retries, attempts.tried) == (1, (A,))


def test_tries_go_on_up_to_the_limit() -> None:
    attempts, _ = begun()
    fresh = leased(is_reused=False)
    assert [attempts.follows(asking(), reset(), fresh, NOW) for _ in range(3)] == [True, True, False]
    assert attempts.retries == 2


@pytest.mark.parametrize(
    ("exchange", "failure"),
    [(asking(b"POST"), reset()), (asking(can_rewind=False), reset()), (asking(), reset("never"))],
)
def test_what_may_not_be_sent_twice_is_not(exchange: Any, failure: Failure) -> None:
    attempts, _ = begun()
    assert not attempts.follows(exchange, failure, leased(is_reused=True), NOW)
    assert (attempts.retries, attempts.wants_fresh) == (0, False)


def test_a_status_is_replaced_only_where_another_server_may_know_better() -> None:
    attempts, upstream = begun()
    assert attempts.replaces(asking(), 503, NOW)
    assert attempts.tried == (A,)
    upstream.others = False
    assert not attempts.replaces(asking(), 503, NOW)


def test_a_filters_retry_needs_no_policy() -> None:
    attempts, _ = begun(Retries(max=0, budget=0.0))
    assert not attempts.follows(asking(), reset(), None, NOW)
    attempts.again(reset(), NOW)
    assert (attempts.retries, attempts.tried) == (1, (A,))

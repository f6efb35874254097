"""Whether a request goes to a server again after a try that failed.

Three things must agree. What happened: nothing of the request had been sent, or it may have been
carried out, or its answer has begun (`Failure.resend`). What the request is: one with an idempotent method may be
repeated though it was carried out (RFC 9110 section 9.2.2), any other only if it wasn't sent. What the configuration
wants: for which failures, how often, with how much of all traffic. The last is the `RetryBudget`: when
every server fails, retries would else multiply the load that makes them fail. A connect that failed was no load, and
needs no budget: with one of three servers dead a third of all requests meets it, more than any sensible one. And where
it failed at once, another server is asked whatever `retries.max` says: that counts what was carried to a server.
"""

from __future__ import annotations

from math import exp
from random import Random
from typing import Final, Literal

from proxycore.config import Retries
from proxycore.policies.trace import Trace
from proxycore.words.errors import Failure

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""RFC 9110 section 9.2.2. A method that we don't know is not: it may do anything."""

MOST_REFUSALS: Final = 16
"""Servers that may refuse one request. Each that does is ejected where it may be, so requests after it meet fewer."""

ANSWERED: Final = "http_upstream_status"
"""`Failure.error` of a whole answer whose status the configuration takes for a failure."""


class RetryBudget:
    """How many tries of one upstream may be retries: a share of its requests, and a few whatever their number.

    Both are counted with less and less weight the longer ago they were (1/e after `WINDOW`). Over any time, retries are
    at most `share` of the requests, plus `RESERVE`, plus one a second. Times are seconds, as the core's `now`.
    """

    __slots__ = ("_decays_at", "_requests", "_retries", "_since", "share")

    WINDOW: Final = 10.0
    RESERVE: Final = 10.0
    """Retries that need no traffic to pay for them: the first request of the day may be one that fails."""

    STEP: Final = 1.0
    """Weights change this often, not at each request."""

    def __init__(self, share: float, now: float) -> None:
        self.share = share
        self._requests = 0.0
        self._retries = 0.0
        self._since = now
        self._decays_at = now + self.STEP

    def sent(self, now: float) -> None:
        """A request was sent for the first time."""
        if now >= self._decays_at:
            self._decay(now)
        self._requests += 1.0

    def allows(self, now: float) -> bool:
        """Whether one more retry is within the budget; if it is made, call `resent`. A share of 0 allows none."""
        if now >= self._decays_at:
            self._decay(now)
        return self.share > 0 and self._retries + 1.0 <= self.RESERVE + self.share * self._requests

    def resent(self) -> None:
        """A request is being sent again."""
        self._retries += 1.0

    def _decay(self, now: float) -> None:
        left = exp((self._since - now) / self.WINDOW)
        self._requests *= left
        self._retries *= left
        self._since = now
        self._decays_at = now + self.STEP

    def __repr__(self) -> str:
        return f"RetryBudget({self._retries:.1f} of {self.RESERVE:g} + {self.share:g} * {self._requests:.1f})"


def may_resend(
    method: bytes,
    failure: Failure,
    policy: Retries,
    budget: RetryBudget,
    now: float,
    *,
    retries: int,
    can_rewind: bool,
    others: bool = False,
    trace: Trace | None = None,
) -> bool:
    """Whether the request goes out again, on a server that wasn't tried if there is one.

    `retries` counts those that it had, but for those that were `is_free`; `can_rewind` says that what was sent of its
    body is still there, `others` that a server wasn't tried yet. If it goes, call `budget.resent` unless a connect had
    failed, and wait for `pause` before a server that was tried.
    """
    reason = why_not(method, failure, policy, budget, now, retries=retries, can_rewind=can_rewind, others=others)
    if trace is not None:
        trace.add("retry", "refused" if reason else "allowed", failure.error, reason)
    return not reason


def why_not(
    method: bytes,
    failure: Failure,
    policy: Retries,
    budget: RetryBudget,
    now: float,
    *,
    retries: int,
    can_rewind: bool,
    others: bool = False,
) -> str:
    """Why the request is not sent again, as a sentence; empty if it may be."""
    reason = why_unsafe(method, failure, policy, can_rewind=can_rewind)
    if reason:
        return reason
    kind = kind_of(failure)
    if kind == "status":
        if not any(failure.status in statuses for statuses in policy.statuses):
            return f"retries.statuses doesn't name {failure.status}"
    elif kind is None or kind not in policy.on:
        return f"retries.on doesn't name {kind or failure.error}"
    if kind == "connect" and not others and (failure.stage == "resolve" or _took_long(failure)):
        return "no other server is left, and for this one it would be the same"
    if retries >= policy.max and not (policy.max and is_free(failure, others)):
        return f"retries.max is {policy.max}"
    if kind == "connect" and policy.budget:
        # No server has had anything of it yet: it is no load but for the one that takes it in the end.
        return ""
    return "" if budget.allows(now) else f"retries.budget, {policy.budget:g} of all requests, is used up"


def is_free(failure: Failure, others: bool) -> bool:
    """Whether the next try counts for nothing: the last cost no server anything and no time, and others are left."""
    return others and kind_of(failure) == "connect" and not _took_long(failure)


def _took_long(failure: Failure) -> bool:
    return failure.error.endswith("_timeout")


def may_resend_stale(method: bytes, failure: Failure, policy: Retries, *, can_rewind: bool) -> bool:
    """Whether a request that met the end of a kept connection goes out again on a new one.

    RFC 9112 section 9.3.1 lets any peer close an idle connection, and a request may cross that on the way. It
    says nothing of the server, so neither `retries.max` nor the budget counts it; but it may have been
    carried out. Ask once for an exchange: the next try must not be on a kept connection.
    """
    return not why_unsafe(method, failure, policy, can_rewind=can_rewind)


def why_unsafe(method: bytes, failure: Failure, policy: Retries, *, can_rewind: bool) -> str:
    """Why sending the request again would be wrong, whatever its chances; empty if it wouldn't."""
    if failure.resend == "never":
        return "it can't be undone: the failure is final or the answer has begun"
    # RFC 9110 section 9.2.2: a proxy must not repeat what may have been carried out, unless its repetition is
    # harmless; `non_idempotent` is the operator's word that it is.
    if failure.resend == "idempotent" and method not in IDEMPOTENT and not policy.non_idempotent:
        return "it was sent and its method isn't idempotent"
    return "" if can_rewind else "its body is longer than retries.replay_body"


def replay_limit(method: bytes, policy: Retries) -> int:
    """How much of a request's content to keep after it was sent, in bytes: 0 where `why_unsafe` rules out another try.

    What is kept stays in memory until the response begins: of 64 uploads at once, as much as the processor's cache.
    """
    return policy.replay_body if method in IDEMPOTENT or policy.non_idempotent else 0


def kind_of(failure: Failure) -> Literal["connect", "reset", "timeout", "status"] | None:
    """What `retries.on` calls it; `status` for an answer, None for what no retry helps against (a malformed answer)."""
    if failure.error == ANSWERED:
        return "status"
    if failure.stage in ("resolve", "connect", "tls"):
        return "connect"
    if failure.stage not in ("request", "response_head"):
        return None
    if _took_long(failure):
        return "timeout"
    return "reset" if failure.error in ("connection_terminated", "http_response_incomplete") else None


def pause(retries: int, was_tried: bool, random: Random) -> float:
    """Seconds to wait before the next try, the `retries`-th beyond the first (from 1).

    None before a server that wasn't tried yet. Before one that was, a random time up to 25 ms, doubled for each
    retry up to 1 s: requests that failed together shall not come back together.
    """
    return random.random() * min(1.0, 0.025 * 2.0 ** min(retries - 1, 16)) if was_tried else 0.0


WAIT_STEP: Final = 0.1
"""Seconds after which a request that waits for a server to be started (`wait_until_up`) looks again."""


def waits_until_up(failure: Failure, elapsed: float, wait_until_up: float) -> bool:
    """Whether a request of which no server has had anything waits for one to be started, `elapsed` after it came."""
    return (
        elapsed < wait_until_up and failure.stage in ("resolve", "connect") and not failure.error.endswith("_timeout")
    )

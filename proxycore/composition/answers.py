"""Answers that we make ourselves: to a request that is refused, and in the place of a server that failed.

Nothing here decides that an exchange is over, or how: `Exchange` does, and asks here for what the
client is told then, and to send it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxycore.composition.deliberation import FAILED
from proxycore.composition.filters import Reject, Respond
from proxycore.composition.streaming import Streaming
from proxycore.policies.local_responses import local_response, proxy_status
from proxycore.words.errors import Failure, Outcome, Refused
from proxycore.words.messages import ABSENT, UNKNOWN, Headers, RequestHead

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange

COMPLETED = Outcome("completed")
FAULT = Outcome("refused", FAILED.rule)

_CLOCKS = {
    "connection_timeout": "connect",
    "http_response_timeout": "response_head",
    "connection_read_timeout": "response_body",
    "connection_write_timeout": "send",
}
"""The clocks of `[timeouts]` that an upstream failure may have run out of."""

_SORRY = {
    408: "The request did not come in time.",
    502: "The server behind this address could not be reached, or gave no valid answer.",
    503: "The service has no room for this request at the moment.",
    504: "The server behind this address did not answer in time.",
}
"""What a client is told of a clock that ran down or a failure upstream: nothing of the inside."""


def unread(refused: Refused | None, scheme: bytes, *, version: bytes = b"1.1") -> RequestHead:
    """Stands in for the head of a request that was refused, or whose time was up, before all of it could be read."""
    line = (b"", b"") if refused is None else refused.line
    fields = [] if refused is None or refused.accept is None else [(b"accept", refused.accept)]
    return RequestHead(*line, b"", Headers(fields), scheme=scheme, version=version, persistent=False)


def outcome_of(failure: Failure) -> Outcome:
    """How an exchange ended that `failure` ended."""
    clock = _CLOCKS.get(failure.error)
    if clock is not None:
        return Outcome("timed_out", clock, failure)
    return Outcome("upstream_failed", failure.stage, failure)


def rejection(exchange: Exchange, reject: Reject) -> Respond:
    """A page, or problem+json where the client prefers that, with the fields that `reject` adds."""
    answer = _error(exchange, reject.status, reject.reason)
    if b"allow" in reject.headers:
        answer.head.headers.remove(b"allow")
    answer.head.headers.fields += reject.headers.fields
    return answer


def apology(exchange: Exchange, status: int, failure: Failure | None = None) -> Respond:
    """For a clock that ran down, or `failure`, which Proxy-Status names."""
    # A status of a server's that was to be tried again isn't one of ours.
    reason = _SORRY.get(status, _SORRY[502])
    return _error(exchange, status, reason, None if failure is None else proxy_status(failure.error))


def _error(exchange: Exchange, status: int, reason: str, status_field: bytes | None = None) -> Respond:
    head, body = local_response(
        status,
        reason,
        accept=exchange.request.headers.get(b"accept"),
        error_pages=exchange.plan.error_pages,
        request_id=exchange.request_id,
        proxy_status=status_field,
    )
    return Respond(head, body)


def frame(exchange: Exchange, answer: Respond) -> None:
    """Say in its head what content follows."""
    head, body = answer.head, answer.body
    if head.status in (204, 304):
        head.length = ABSENT
    elif isinstance(body, bytes):
        head.length = len(body)
    elif head.length == ABSENT:
        head.length = UNKNOWN
    head.has_content = head.length not in (0, ABSENT) and exchange.request.method != b"HEAD"


def send(engine: Engine, exchange: Exchange, answer: Respond | Reject, outcome: Outcome) -> None:
    """Send the answer as it stands, and end the exchange: at once, or when the source of its content has ended."""
    if isinstance(answer, Reject):
        answer = rejection(exchange, answer)
    head, body = answer.head, answer.body
    frame(exchange, answer)
    if b"date" not in head.headers:
        head.headers.add(b"date", engine.http_date())
    if exchange.downstream.hsts:
        head.headers.set(b"strict-transport-security", exchange.downstream.hsts)
    try:
        if head.status < 200:
            raise ValueError(f"an answer with the status {head.status} of an interim response")
        exchange.downstream.send_head(head)
    except ValueError:
        if outcome.detail == FAULT.detail:
            raise
        engine.fault(f"the head of an answer, in exchange {exchange.id}")
        return send(engine, exchange, FAILED, FAULT)
    exchange.response = head
    if head.has_content:
        if not isinstance(body, bytes):
            exchange.streaming = Streaming(engine, exchange, body, outcome)
            return exchange.streaming.begin()
        exchange.sent += len(body)
        exchange.downstream.send_data(body)
    exchange.downstream.send_end([])
    exchange.end(outcome)

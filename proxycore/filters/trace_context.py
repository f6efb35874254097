"""`logging.trace_context`: each request belongs to a trace, its client's or one that begins here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proxycore.composition.filters import Filter, Verdict
from proxycore.policies.trace_context import ENTROPY, begin, pass_on, trace_id_of

if TYPE_CHECKING:
    from proxycore.composition.exchange import Exchange


class TraceContextFilter(Filter):
    """Passes `traceparent` and `tracestate` on, or begins a trace; `sampled` is the share of those that is marked so.

    It changes the request itself, before all else: so whatever is made of it is in the trace, also what we ask
    ourselves for it, and every filter can read the id.
    """

    def __init__(self, sampled: float, entropy: Callable[[int], bytes]) -> None:
        self._sampled = sampled
        self._entropy = entropy

    def on_request(self, exchange: Exchange) -> Verdict | None:
        headers = exchange.request.headers
        if not pass_on(headers):
            begin(headers, self._entropy(ENTROPY), self._sampled)
            if exchange.trace is not None:
                exchange.trace.add("trace context", "begun", trace_id_of(headers).decode(), "the request had none")
        elif exchange.trace is not None:
            exchange.trace.add("trace context", "passed on", trace_id_of(headers).decode())
        return None

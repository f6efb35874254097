"""One request with its response: from a head that was read to an outcome that is told once.

Theory of operation. An exchange stands between two sides that it knows only as `DownstreamSide`
and `UpstreamSide`: whatever protocol they speak, and whether the client is a client or ourselves.
`begin` runs the filters and the route, then asks the upstream for a lease; each thing that it may
have to wait for is a state of `tables.EXCHANGE`, left by exactly the facts that can end the wait:

    deciding -> held        a filter wants something first        `_resume`
             -> queued      every server is at its limit          `room`
             -> connecting  the lease's connection is dialled     `lease_ready`, `upstream_failed`
             -> awaiting    the request is being sent             `response_head`, `upstream_failed`

The request's content flows meanwhile: what can't be sent yet is kept, and the client is not read
beyond `limits.buffer`. What was sent is kept up to `retries.replay_body`, while it may have to go
to another server.

Whatever happens, `_end` is called once. It cancels what is under way upstream in the same fact,
tells the downstream side to go on, and leaves the exchange in `engine.ended` until it is known
whether its last bytes left (`Engine.settle`): only then is it concluded, with the final outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from proxycore.composition.content import RequestContent
from proxycore.composition.deliberation import FAILED, Deliberation, Step
from proxycore.composition.filters import Reject, Respond, Retry
from proxycore.composition.records import record_of
from proxycore.composition.tables import EXCHANGE
from proxycore.composition.tunnel import Tunnel
from proxycore.mechanisms.timers import Timer
from proxycore.policies.forwarding import Client, chosen_host, outbound, take_hop, told_request_id
from proxycore.policies.local_responses import local_response, proxy_status
from proxycore.policies.paths import NormalPath, normalise
from proxycore.policies.retrying import ANSWERED, kind_of, may_resend, may_resend_stale
from proxycore.policies.rewriting import PathRewrite
from proxycore.policies.trace import Trace
from proxycore.words.errors import Failure, Outcome, Refused
from proxycore.words.messages import ABSENT, UNKNOWN, Field, Headers, RequestHead, ResponseHead

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.filters import Filter
    from proxycore.composition.plan import Plan, RoutePlan
    from proxycore.composition.sides import DownstreamSide, UpstreamSide
    from proxycore.composition.upstreams import ServerState, UpstreamState
    from proxycore.config import Timeouts

_WINDOWS = {
    "deciding": "request",
    "held": "request",
    "queued": "queue",
    "connecting": "connect",
    "awaiting": "response_head",
    "responding": "response_body",
    "answering": "response_body",
    "tunnelling": "tunnel",
}
"""What a client that leaves is said to have left in, by the exchange's state."""

_CLOCKS = {
    "connection_timeout": "connect",
    "http_response_timeout": "response_head",
    "connection_read_timeout": "response_body",
    "connection_write_timeout": "send",
}
"""The clocks of `[timeouts]` that an upstream failure may have run out of."""

_SORRY = {
    502: "The server behind this address could not be reached, or gave no valid answer.",
    503: "The service has no room for this request at the moment.",
    504: "The server behind this address did not answer in time.",
}
"""What a client is told of a failure upstream: nothing of the inside."""

_COMPLETED = Outcome("completed")
_FAULT = Outcome("refused", "fault")


class Exchange:
    """See the module's docstring. Filters may read every attribute without an underscore.

    `request` is what came; `response` the head that was sent to the client, or None. `upstream` is
    the name that the route gives, and may be set by `Filter.on_route`. `user` is who the client was
    proved to be. Times are those of the core's clock, durations seconds.
    """

    __slots__ = (
        "_clock",
        "_deliberation",
        "_engine",
        "_failure",
        "_lease",
        "_locals",
        "_outcome",
        "_rewritten",
        "_sent_continue",
        "_upstream_state",
        "began",
        "client",
        "connected",
        "content",
        "downstream",
        "ended",
        "first_byte",
        "id",
        "path",
        "plan",
        "queued",
        "received",
        "request",
        "response",
        "retries",
        "route",
        "sent",
        "server",
        "state",
        "timeouts",
        "trace",
        "tried",
        "tunnel",
        "upstream",
        "user",
        "waiting_since",
        "wants_fresh",
    )

    def __init__(self, engine: Engine, downstream: DownstreamSide, request: RequestHead, plan: Plan) -> None:
        engine.exchange_count = number = engine.exchange_count + 1
        engine.exchanges[number] = self
        self.id = number
        self._engine = engine
        self.downstream = downstream
        self.request = request
        self.plan = plan
        self.trace: Trace | None = plan.trace
        self.client: Client = downstream.peer.client_of(request, self.trace)
        request.scheme = self.client.scheme
        self.route: RoutePlan = plan.unrouted
        self.timeouts: Timeouts = plan.timeouts
        self.state = "deciding"
        self.began = self.ended = self.waiting_since = engine.now
        self.received = self.sent = self.retries = 0
        self.user = ""
        self.upstream: str | None = None
        self.server: ServerState | None = None
        self.response: ResponseHead | None = None
        self.path: NormalPath | None = None
        self.tried: tuple[ServerState, ...] = ()
        self.wants_fresh = False
        self.queued: float | None = None
        self.connected: float | None = None
        self.first_byte: float | None = None
        self.content = RequestContent() if request.length > 0 or request.length == UNKNOWN else None
        self._upstream_state: UpstreamState | None = None
        self._lease: UpstreamSide | None = None
        self._deliberation: Deliberation | None = None
        self.tunnel: Tunnel | None = None
        self._clock: Timer | None = None
        self._outcome: Outcome | None = None
        self._failure: Failure | None = None
        self._rewritten: bytes | None = None
        self._sent_continue = False
        self._locals: dict[int, dict[str, Any]] | None = None

    # ---- what filters use

    @property
    def request_id(self) -> str:
        """What a trusted proxy calls this request, else a name unique here and (by its random start) elsewhere."""
        told = told_request_id(self.request, self.downstream.peer)
        return told or f"{self._engine.request_id_prefix}{self.id:012x}"

    @property
    def listener(self) -> str:
        """The name of the listener that the request came in by."""
        return self.downstream.listener

    @property
    def tls_subject(self) -> str:
        """Subject of the client's certificate."""
        return ""

    @property
    def began_at(self) -> float:
        """Wall time at which the head had been read, in seconds since 1970."""
        return self.began + self._engine.wall_offset

    @property
    def elapsed(self) -> float:
        """Seconds since then."""
        return self._engine.now - self.began

    def local(self, owner: Filter) -> dict[str, Any]:
        """What `owner` keeps for this exchange."""
        if self._locals is None:
            self._locals = {}
        return self._locals.setdefault(id(owner), {})

    # ---- from a request to a lease

    def begin(self) -> None:
        """Decide what becomes of the request. The exchange may have ended when this returns."""
        if self.request.length > self.plan.limits.request_body:
            return self.refuse(Refused(413, "The request's content is too long."), "limits.request_body")
        if self.request.method == b"OPTIONS" and take_hop(self.request):
            return self._answer(ResponseHead(204, Headers()), b"", _COMPLETED)
        try:
            self.path = normalise(self.request.target)
        except Refused as refused:
            return self.refuse(refused, "path")
        if self.plan.chain.on_request:
            self._deliberate(self.plan.chain.on_request, self._choose_route)
        else:
            self._choose_route()

    def want_content(self) -> None:
        """Read content now, before any origin is asked: one that waits for a 100 gets it (RFC 9110 section 10.1.1)."""
        if self.request.expect_continue and not self._sent_continue:
            self._sent_continue = True
            self.downstream.send_interim(ResponseHead(100, Headers()))
        self.downstream.release_request()

    def _deliberate(self, phase: tuple[Step, ...], then: Callable[[], None]) -> None:
        if self._deliberation is None:
            self._deliberation = Deliberation(self, self._engine)
        self._deliberation.run(phase, then)

    def _choose_route(self) -> None:
        try:
            if self.plan.chain.on_request:
                # A filter may have changed the target, and what is decided on is what will be sent.
                self.path = normalise(self.request.target)
            route = self.plan.find_route(self)
        except Refused as refused:
            return self.refuse(refused, "path")
        except Exception:
            # A matcher that fails costs one request (CVE-2024-21536).
            self._engine.fault(f"routing, in exchange {self.id}")
            return self.reject(FAILED)
        if route is None:
            return self.reject(Reject(404, "Nothing is served here.", rule="route"))
        self.route = route
        self.timeouts = route.timeouts
        self.upstream = route.upstream
        if route.timeouts.exchange != inf:
            self._set_clock(self.began + route.timeouts.exchange)
        if route.chain.on_route:
            self._deliberate(route.chain.on_route, self._dispatch)
        else:
            self._dispatch()

    def _dispatch(self) -> None:
        """Send the request on its way, for the first time or again."""
        if self.upstream is None:
            return self._answer_by_route()
        upstream = self._upstream_state
        if upstream is None:
            if self.route.rewrite is not None and not self._rewrite(self.route.rewrite):
                return
            try:
                upstream = self._upstream_state = self.plan.upstreams[self.upstream]
            except KeyError:
                self._engine.fault(f"the upstream that a filter named, in exchange {self.id}")
                return self.reject(FAILED)
            if upstream.in_flight >= upstream.config.max_exchanges:
                self._upstream_state = None
                return self.reject(Reject(503, "This service has all the work it can take.", rule="max_exchanges"))
            upstream.in_flight += 1
            upstream.budget.sent(self._engine.now)
            if self.content is not None:
                self.content.replay_limit = upstream.config.retries.replay_body
        lease = upstream.lease(self, self._chosen_server(upstream) if self.route.chain.choose_server else None)
        if lease is None:
            self.state = EXCHANGE[self.state]["queue"]
            if self.queued is None:
                self.queued = 0.0
            end = self.began + self.timeouts.exchange
            if self._clock is None or self._clock.at >= end:
                # Each wait has its end; that of one which `room` has only interrupted stays.
                self._set_clock(min(self._engine.now + upstream.config.queue_timeout, end))
        elif isinstance(lease, Failure):
            self._give_up(self._failure or lease)
        else:
            self._lease = lease
            self.server = lease.server
            if self.queued is not None:
                self.queued = self._engine.now - self.waiting_since
            if lease.is_ready:
                self._send_request(lease)
            else:
                self.state = EXCHANGE[self.state]["dial"]

    def _chosen_server(self, upstream: UpstreamState) -> ServerState | None:
        """The server that a filter wants, if it can take this exchange now."""
        candidates = upstream.candidates(self)
        for choose in self.route.chain.choose_server:
            try:
                server = choose(self, candidates)
            except Exception:
                self._engine.fault(f"a filter, in exchange {self.id}")
                continue
            if server is not None and server in candidates:
                return server
        return None

    def _answer_by_route(self) -> None:
        if self.route.answer is None:
            self._engine.fault(f"a filter took the upstream of a route that has no answer, in exchange {self.id}")
            return self.reject(FAILED)
        try:
            head, body = self.route.answer(self)
        except Refused as refused:
            return self.refuse(refused, "route")
        self._answer(head, body, _COMPLETED)

    def _set_clock(self, at: float) -> None:
        if self._clock is None:
            self._clock = Timer(self._engine.timers, self._expired)
        self._clock.set(at)

    def _expired(self) -> None:
        if self._engine.now >= self.began + self.timeouts.exchange:
            self._time_out("exchange", 504)
        elif self.state == "queued":
            detail = "no server had room in time"
            self._give_up(Failure("queue", "connection_limit_reached", status=503, resend="never", detail=detail))

    def room(self) -> bool:
        """A server may have room now. False: not for this exchange, which waits on in its place."""
        self.state = EXCHANGE[self.state]["resume"]
        self._dispatch()
        if self.state == "queued":
            return False
        if self._clock is not None and self._outcome is None:
            self._clock.set(self.began + self.timeouts.exchange)
        return True

    def lease_ready(self, lease: UpstreamSide) -> None:
        """The connection that was dialled for us is there."""
        self.connected = lease.connect_seconds
        self._send_request(lease)

    def _send_request(self, lease: UpstreamSide) -> None:
        route = self.route
        try:
            request = self.request
            host = lease.server.upstream.config.host
            head = outbound(
                request,
                self.client,
                target=request.target if self._rewritten is None else self._rewritten,
                authority=request.authority or lease.server.host
                if host == "preserve"
                else chosen_host(host, request.authority, lease.server.host),
            )
            if route.request_edits is not None:
                route.request_edits.apply(head.headers, self)
            if route.chain.on_upstream_request:
                self._change_outbound(head)
            self.state = EXCHANGE[self.state]["send"]
            lease.send_request(head)
            if self.content is not None:
                self._send_content(self.content, lease)
        except Exception:
            self._engine.fault(f"writing a request, in exchange {self.id}")
            return self.reject(FAILED)
        if self.downstream.outlet.is_blocked:
            # The response before this one, to the same client, hasn't left yet.
            lease.pause_response()

    def _rewrite(self, rewrite: PathRewrite) -> bool:
        """Make what the server is asked for, before it is asked. False: refused."""
        assert self.path is not None
        try:
            self._rewritten = rewrite(self.request.target, self.path, self.trace)
        except Refused as refused:
            self.refuse(refused, "rewrite")
            return False
        return True

    def _change_outbound(self, head: RequestHead) -> None:
        for step in self.route.chain.on_upstream_request:
            step(self, head)
        if head.has_content != self.request.has_content:
            raise ValueError("a filter declared content that isn't there, or none where there is")

    def _send_content(self, content: RequestContent, lease: UpstreamSide) -> None:
        for piece in content.take():
            lease.send_data(piece)
        if content.is_done:
            lease.send_end(content.trailers)
        elif not lease.is_blocked:
            self.downstream.release_request()

    # ---- the request's content, from the downstream side

    def request_data(self, data: bytes) -> None:
        """A piece of content has come."""
        content = self.content
        if content is None or self._outcome is not None:
            return
        self.received += len(data)
        if self.received > self.plan.limits.request_body:
            return self.refuse(Refused(413, "The request's content is too long."), "limits.request_body")
        if self.route.chain.on_request_data:
            filtered = self._filter_request_data(data, False)
            if filtered is None:
                return
            data = filtered
        state = self.state
        if state == "awaiting" or state == "responding":
            assert self._lease is not None
            content.passed(data)
            self._lease.send_data(data)
        elif data:
            content.add(data)
            self._keep_content(content)

    def request_end(self, trailers: list[Field]) -> None:
        """All content has come."""
        content = self.content
        if content is None or self._outcome is not None:
            return
        if self.route.chain.on_request_data:
            rest = self._filter_request_data(b"", True)
            if rest is None:
                return
            if rest:
                content.add(rest)
        content.is_done = True
        content.trailers = trailers
        if self.state == "awaiting" or self.state == "responding":
            assert self._lease is not None
            self._send_content(content, self._lease)
        else:
            self._keep_content(content)

    def _filter_request_data(self, data: bytes, last: bool) -> bytes | None:
        """Pass a piece through the filters. None if that ended the exchange."""
        content = self.content
        assert content is not None
        try:
            for step in self.route.chain.on_request_data:
                result = step(self, data, last)
                if isinstance(result, Reject):
                    self.reject(result)
                    return None
                data = result
            content.filtered += len(data)
            _check_length("request", self.request.length, content.filtered, last)
        except Exception:
            self._engine.fault(f"a filter, in exchange {self.id}")
            self.reject(FAILED)
            return None
        return data

    def _keep_content(self, content: RequestContent) -> None:
        if self._deliberation is not None and self._deliberation.offer(content):
            return
        if content.waiting >= self.plan.limits.buffer and self._outcome is None:
            self.downstream.hold_request()

    def request_refused(self, refused: Refused) -> None:
        """The request's content turned out to be malformed, too slow or too long."""
        self.refuse(refused, "framing" if refused.status == 400 else "limits")

    # ---- backpressure, from either side to the other

    def upstream_blocked(self) -> None:
        self.downstream.hold_request()

    def upstream_unblocked(self) -> None:
        self.downstream.release_request()

    def downstream_blocked(self) -> None:
        if self.tunnel is not None:
            self.tunnel.client_blocked()
        elif self._lease is not None and self.state != "connecting":
            self._lease.pause_response()

    def downstream_unblocked(self) -> None:
        if self.tunnel is not None:
            self.tunnel.client_unblocked()
        elif self._lease is not None and self.state != "connecting":
            self._lease.resume_response()

    # ---- the response, from the upstream side

    def response_interim(self, head: ResponseHead) -> None:
        """A 1xx: passed on (RFC 9110 section 15.2), but a 100 that the client has had from us."""
        if self.state == "awaiting" and not (head.status == 100 and self._sent_continue):
            self._sent_continue = self._sent_continue or head.status == 100
            self.downstream.send_interim(head)

    def response_head(self, head: ResponseHead) -> None:
        """The final response's head. What follows comes by `response_data` and `response_end`."""
        lease = self._lease
        assert lease is not None
        self.first_byte = lease.first_byte_seconds
        if self.route.retry_statuses and head.status in self.route.retry_statuses:
            failure = self._status_failure(head.status)
            if lease.server.upstream.has_another(self) and self._can_resend(failure):
                self._drop_lease()
                return self._try_again(failure)
        self.state = EXCHANGE[self.state]["respond"]
        if self.content is not None:
            self.content.keep_no_more()
        route = self.route
        try:
            for seen in route.chain.on_upstream_response:
                seen(self, head)
            if route.response_edits is not None:
                route.response_edits.apply(head.headers, self)
            for step in route.chain.on_response:
                instead = step(self, head)
                if instead is not None:
                    self._drop_lease()
                    return self._send_answer(instead.head.copy(), instead.body, _COMPLETED)
            self.downstream.send_head(head)
        except Exception:
            return self._filter_failed()
        self.response = head

    def _filter_failed(self) -> None:
        self._engine.fault(f"a filter, in exchange {self.id}")
        self._drop_lease()
        self._send_answer(*self._error_answer(500, FAILED.reason), _FAULT)

    def response_data(self, data: bytes) -> None:
        if self.state != "responding" or self._outcome is not None:
            return
        if self.route.chain.on_response_data:
            data = self._filter_response_data(data, False)
        if data:
            self.sent += len(data)
            self.downstream.send_data(data)

    def response_end(self, trailers: list[Field]) -> None:
        """The response is whole; its lease has ended by itself."""
        if self.state != "responding" or self._outcome is not None:
            return
        self._lease = None
        if self.route.chain.on_response_data and self.response is not None and self.response.has_content:
            rest = self._filter_response_data(b"", True)
            if self._outcome is not None:
                return
            if rest:
                self.sent += len(rest)
                self.downstream.send_data(rest)
        self.downstream.send_end(trailers)
        self._end(_COMPLETED)

    def _filter_response_data(self, data: bytes, last: bool) -> bytes:
        try:
            for step in self.route.chain.on_response_data:
                data = step(self, data, last)
            if self.response is not None:
                _check_length("response", self.response.length, self.sent + len(data), last)
        except Exception:
            self._engine.fault(f"a filter, in exchange {self.id}")
            self._end(_FAULT, complete=False)
            return b""
        return data

    # ---- failures of a try

    def upstream_failed(self, failure: Failure) -> None:
        """The try is over and its lease has ended. Try again where that is safe, else tell the client."""
        lease, self._lease = self._lease, None
        if self._outcome is not None:
            return
        if self.response is not None or self.state == "tunnelling":
            return self._end(self._failure_outcome(failure), complete=False)
        for step in self.route.chain.on_upstream_error:
            try:
                verdict = step(self, failure)
            except Exception:
                self._engine.fault(f"a filter, in exchange {self.id}")
                continue
            if isinstance(verdict, Retry) and self._can_rewind:
                return self._try_again(failure)
            if isinstance(verdict, Respond):
                return self._answer(verdict.head, verdict.body, self._failure_outcome(failure))
        if lease is not None and lease.is_reused and self._can_resend_stale(failure):
            self.wants_fresh = True
            return self._resend()
        if self._can_resend(failure):
            return self._try_again(failure)
        self._give_up(failure)

    def _can_resend_stale(self, failure: Failure) -> bool:
        """The server may have closed a kept connection just when we used it: one try on a fresh one is free."""
        upstream = self._upstream_state
        if upstream is None or self.wants_fresh or kind_of(failure) != "reset":
            return False
        return may_resend_stale(self.request.method, failure, upstream.config.retries, can_rewind=self._can_rewind)

    def _can_resend(self, failure: Failure) -> bool:
        upstream = self._upstream_state
        return upstream is not None and may_resend(
            self.request.method,
            failure,
            upstream.config.retries,
            upstream.budget,
            self._engine.now,
            retries=self.retries,
            can_rewind=self._can_rewind,
            trace=self.trace,
        )

    @property
    def _can_rewind(self) -> bool:
        return self.content is None or self.content.can_rewind

    def _try_again(self, failure: Failure) -> None:
        """On another server, if there is one."""
        self.retries += 1
        self._failure = failure
        if self._upstream_state is not None and kind_of(failure) != "connect":
            self._upstream_state.budget.resent()
        if self.server is not None:
            self.tried = (*self.tried, self.server)
        self._resend()

    def _resend(self) -> None:
        if self.content is not None:
            self.content.rewind()
        self.state = EXCHANGE[self.state]["resume"]
        self.waiting_since = self._engine.now
        self._dispatch()

    def _status_failure(self, status: int) -> Failure:
        detail = f"the server answered {status}"
        return Failure("response_head", ANSWERED, status=status, resend="idempotent", detail=detail)

    def _failure_outcome(self, failure: Failure) -> Outcome:
        clock = _CLOCKS.get(failure.error)
        if clock is not None:
            return Outcome("timed_out", clock, failure)
        return Outcome("upstream_failed", failure.stage, failure)

    def _give_up(self, failure: Failure) -> None:
        # A status that was to be tried again isn't one of ours.
        reason = _SORRY.get(failure.status, _SORRY[502])
        answer = self._error_answer(failure.status, reason, proxy_status(failure.error))
        self._answer(*answer, self._failure_outcome(failure))

    def upgraded(self, head: ResponseHead, rest: bytes) -> None:
        """The server switched protocols: from here on, bytes are passed as they come; `rest` are the first."""
        self.state = EXCHANGE[self.state]["upgrade"]
        if self.route.response_edits is not None:
            self.route.response_edits.apply(head.headers, self)
        self.response = head
        lease, self._lease = self._lease, None
        assert lease is not None
        if self._clock is not None:
            self._clock.clear()
        self.tunnel = Tunnel(self, self._engine, lease)
        self.downstream.start_tunnel(head)
        if rest:
            self.tunnel.from_upstream(rest)

    def tunnel_ended(self, outcome: Outcome) -> None:
        self._end(outcome, complete=outcome.cause == "completed")

    # ---- answers of our own

    def refuse(self, refused: Refused, rule: str) -> None:
        """Answer what is wrong with the request itself."""
        self.reject(Reject(refused.status, refused.reason, rule=rule))

    def respond(self, respond: Respond) -> None:
        """Answer what a filter gave."""
        self._answer(respond.head, respond.body, _COMPLETED)

    def reject(self, reject: Reject) -> None:
        """Answer with an error page or problem+json, or cut the response if it has begun."""
        outcome = Outcome("refused", reject.rule)
        if self.response is not None:
            return self._end(outcome, complete=False)
        head, body = self._error_answer(reject.status, reject.reason)
        head.headers.fields += reject.headers.fields
        self._answer(head, body, outcome)

    def _time_out(self, clock: str, status: int) -> None:
        outcome = Outcome("timed_out", clock)
        if self.response is not None:
            return self._end(outcome, complete=False)
        reason = "The request did not come in time." if status == 408 else _SORRY[status]
        self._answer(*self._error_answer(status, reason), outcome)

    def request_timed_out(self, clock: str) -> None:
        """The client took too long to send its request."""
        self._time_out(clock, 408)

    def _error_answer(self, status: int, reason: str, proxy_status: bytes | None = None) -> tuple[ResponseHead, bytes]:
        return local_response(
            status,
            reason,
            accept=self.request.headers.get(b"accept"),
            error_pages=self.plan.error_pages,
            request_id=self.request_id,
            proxy_status=proxy_status,
        )

    def _answer(self, head: ResponseHead, body: bytes, outcome: Outcome) -> None:
        """End the exchange with a response of our own; only while none was sent."""
        self._drop_lease()
        self.state = EXCHANGE[self.state]["answer"]
        head = head.copy()  # a filter may answer with the same one each time
        try:
            if self.route.response_edits is not None:
                self.route.response_edits.apply(head.headers, self)
            for step in self.route.chain.on_response:
                instead = step(self, head)
                if instead is not None:
                    head, body = instead.head.copy(), instead.body
            if body:
                for change in self.route.chain.on_response_data:
                    body = change(self, body, True)
        except Exception:
            self._engine.fault(f"a filter, in exchange {self.id}")
            head, body = self._error_answer(500, FAILED.reason)
        self._send_answer(head, body, outcome)

    def _send_answer(self, head: ResponseHead, body: bytes, outcome: Outcome) -> None:
        head.length = ABSENT if head.status in (204, 304) else len(body)
        head.has_content = bool(body) and self.request.method != b"HEAD" and head.length >= 0
        if b"date" not in head.headers:
            head.headers.add(b"date", self.plan.http_date(self._engine.wall))
        try:
            if head.status < 200:
                raise ValueError(f"an answer with the status {head.status} of an interim response")
            self.downstream.send_head(head)
        except ValueError:
            if outcome.detail == "fault":
                raise
            self._engine.fault(f"the head of an answer, in exchange {self.id}")
            return self._send_answer(*self._error_answer(500, FAILED.reason), _FAULT)
        self.response = head
        if head.has_content:
            self.sent += len(body)
            self.downstream.send_data(body)
        self.downstream.send_end([])
        self._end(outcome)

    # ---- ends

    def client_left(self) -> None:
        """The downstream side is gone, or as good as gone."""
        if self._outcome is None:
            self._end(Outcome("client_left", _WINDOWS[self.state]), complete=False)

    def drained(self) -> None:
        """The deadline of a drain has come."""
        if self._outcome is None:
            self._end(Outcome("drained"), complete=False)
        else:
            self._outcome = Outcome("drained")

    def send_timed_out(self) -> None:
        """The client takes no bytes."""
        if self._outcome is None:
            self._end(Outcome("timed_out", "send"), complete=False)
        else:
            self._outcome = Outcome("timed_out", "send")

    def _drop_lease(self) -> None:
        """Whatever is under way upstream is of no use any more."""
        if self.state == "queued" and self._upstream_state is not None:
            self._upstream_state.leave_queue(self)
        if self._deliberation is not None:
            self._deliberation.cancel()
        if self.tunnel is not None:
            self.tunnel.end()
            self.tunnel = None
        if self._lease is not None:
            lease, self._lease = self._lease, None
            lease.cancel()

    def _end(self, outcome: Outcome, *, complete: bool = True) -> None:
        if outcome is not _COMPLETED or self._lease is not None or self._deliberation is not None:
            self._drop_lease()
        self.state = EXCHANGE[self.state]["end"]
        self._outcome = outcome
        self.ended = self._engine.now
        if self._clock is not None:
            self._clock.drop()
        if self.content is not None:
            self.content.clear()
        if self._upstream_state is not None:
            self._upstream_state.in_flight -= 1
        self._engine.ended.append(self)
        self.downstream.exchange_ended(complete)

    @property
    def request_is_whole(self) -> bool:
        """Whether the client has sent all of its request."""
        return self.content is None or self.content.is_done

    @property
    def held_bytes(self) -> int:
        return 0 if self.content is None else self.content.held_bytes

    def settle(self) -> None:
        """It is known now whether the last bytes left: conclude, or wait for the wire to tell."""
        outlet = self.downstream.outlet
        outcome = self._outcome
        assert outcome is not None
        if outlet.is_waiting and not outlet.lost:
            return outlet.wait_to_leave(self)
        if outlet.lost_error is not None and outcome.cause == "completed":
            outcome = Outcome("client_left", "response_body")
        self._conclude(outcome)

    def _conclude(self, outcome: Outcome) -> None:
        engine = self._engine
        del engine.exchanges[self.id]
        for step in self.route.chain.on_finished:
            try:
                step(self, outcome)
            except Exception:
                engine.fault(f"a filter, in exchange {self.id}")
        if "exchanges" in engine.watch:
            engine.notify(record_of(self, outcome))

    def __repr__(self) -> str:
        request = self.request
        return (
            f"Exchange({self.id}, {self.state}, {request.method.decode('latin-1')} {request.target.decode('latin-1')}, "
            f"received={self.received}, sent={self.sent}, retries={self.retries}, lease={self._lease!r})"
        )


def _check_length(whose: str, declared: int, passed: int, last: bool) -> None:
    """Hold filters to the length that was declared: what follows too much or too little is read as another message."""
    if declared >= 0 and (passed > declared or (last and passed != declared)):
        raise ValueError(f"filters made {passed} bytes of a {whose}'s {declared}: see Filter about changing lengths")

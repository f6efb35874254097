"""One request with its response: from a head that was read to an outcome that is told once.

Theory of operation. An exchange stands between two sides that it knows only as `DownstreamSide`
and `UpstreamSide`: whatever protocol they speak, and whether the client is a client or ourselves.
`begin` runs the filters and the route, then asks the upstream for a lease; each thing that it may
have to wait for is a state of `tables.EXCHANGE`, left by exactly the facts that can end the wait:

    deciding -> held        a filter wants something first        `_resume`
             -> queued      every server is at its limit          `room`
             -> pausing     every server was tried, or none is up `_resume`
             -> connecting  the lease's connection is dialled     `lease_ready`, `upstream_failed`
             -> awaiting    the request is being sent             `response_head`, `upstream_failed`

The request's content flows meanwhile: what can't be sent yet is kept, and the client is not read
beyond `limits.buffer`. What was sent is kept up to `retries.replay_body`, while it may have to go
to another server.

Whatever happens, `end` is called once. It cancels what is under way upstream in the same fact,
tells the downstream side to go on, and leaves the exchange in `engine.ended` until it is known
whether its last bytes left (`Engine.settle`): only then is it concluded, with the final outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from proxycore.composition import answers, phases
from proxycore.composition.answers import COMPLETED, FAULT, outcome_of
from proxycore.composition.attempts import Attempts
from proxycore.composition.content import RequestContent
from proxycore.composition.deliberation import FAILED, Deliberation, Step
from proxycore.composition.filters import Reject, Respond
from proxycore.composition.records import record_of
from proxycore.composition.streaming import Streaming
from proxycore.composition.tables import EXCHANGE
from proxycore.composition.tunnel import Tunnel
from proxycore.composition.websocket import WebSocket, open_websocket, refusal
from proxycore.mechanisms.timers import Timer
from proxycore.policies.forwarding import Client, chosen_host, outbound, take_hop, told_request_id
from proxycore.policies.paths import NormalPath, normalise
from proxycore.policies.rewriting import PathRewrite
from proxycore.policies.trace import Trace
from proxycore.words.errors import Failure, Outcome, Refused
from proxycore.words.messages import UNKNOWN, Field, Headers, RequestHead, ResponseHead
from proxycore.words.notices import Kind, Notice

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.filters import Filter
    from proxycore.composition.own_requests import Consumer, OwnRequest, Repetition
    from proxycore.composition.plan import Plan, RoutePlan
    from proxycore.composition.sides import DownstreamSide, UpstreamSide
    from proxycore.composition.upstreams import ServerState
    from proxycore.config import Timeouts

_WINDOWS = {
    "deciding": "request",
    "held": "request",
    "pausing": "queue",
    "queued": "queue",
    "connecting": "connect",
    "awaiting": "response_head",
    "responding": "response_body",
    "answering": "response_body",
    "tunnelling": "tunnel",
}
"""What a client that leaves is said to have left in, by the exchange's state."""


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
        "_locals",
        "_outcome",
        "_rewritten",
        "_sent_continue",
        "attempts",
        "began",
        "client",
        "content",
        "downstream",
        "ended",
        "id",
        "path",
        "plan",
        "received",
        "request",
        "response",
        "route",
        "sent",
        "state",
        "streaming",
        "timeouts",
        "trace",
        "tunnel",
        "upstream",
        "user",
        "websocket",
    )

    is_own = False
    """Whether the client is ourselves: see `own_requests`."""

    def __init__(self, engine: Engine, downstream: DownstreamSide, request: RequestHead, plan: Plan) -> None:
        engine.exchange_count = number = engine.exchange_count + 1
        engine.exchanges[number] = self
        self.id = number
        self._engine = engine
        self.downstream = downstream
        self.request = request
        self.plan = plan
        self.trace: Trace | None = None if self.is_own else plan.trace
        self.client: Client = downstream.peer.client_of(request, self.trace)
        request.scheme = self.client.scheme
        self.route: RoutePlan = plan.unrouted
        self.timeouts: Timeouts = plan.timeouts
        self.state = "deciding"
        self.began = self.ended = engine.now
        self.received = self.sent = 0
        self.user = ""
        self.upstream: str | None = None
        self.response: ResponseHead | None = None
        self.path: NormalPath | None = None
        self.attempts: Attempts | None = None
        self.content = RequestContent() if request.length > 0 or request.length == UNKNOWN else None
        self._deliberation: Deliberation | None = None
        self.websocket: WebSocket | None = None
        self.tunnel: Tunnel | None = None
        self.streaming: Streaming | None = None
        self._clock: Timer | None = None
        self._outcome: Outcome | None = None
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
    def server(self) -> ServerState | None:
        """The server of the try under way, or of the last one."""
        return None if self.attempts is None else self.attempts.server

    @property
    def retries(self) -> int:
        """Tries beyond the first."""
        return 0 if self.attempts is None else self.attempts.retries

    @property
    def tls_subject(self) -> str:
        """Subject of the client's certificate; empty without one."""
        return self.downstream.peer.tls_subject

    @property
    def outcome(self) -> Outcome | None:
        """How it ended, once it has; it may still turn out that its last bytes were lost."""
        return self._outcome

    @property
    def began_at(self) -> float:
        """Wall time at which the head had been read, in seconds since 1970."""
        return self.began + self._engine.wall_offset

    @property
    def now(self) -> float:
        """The core's clock, in seconds."""
        return self._engine.now

    @property
    def wall(self) -> float:
        """The time of day, in seconds since 1970."""
        return self._engine.wall

    @property
    def elapsed(self) -> float:
        """Seconds since then."""
        return self._engine.now - self.began

    def notify(self, kind: Kind, make: Callable[[float], Notice]) -> None:
        """Tell observers of something; `make` is called with the wall time if anyone watches that kind."""
        if kind in self._engine.watch:
            self._engine.notify(make(self._engine.wall))

    def local(self, owner: Filter) -> dict[str, Any]:
        """What `owner` keeps for this exchange."""
        if self._locals is None:
            self._locals = {}
        return self._locals.setdefault(id(owner), {})

    def fetch(
        self, upstream: str, request: RequestHead, consumer: Consumer, *, content: bytes = b"", seconds: float = inf
    ) -> OwnRequest:
        """Send a request of our own that this exchange doesn't wait for: it goes on when this one has ended.

        `consumer` is told what comes of it. See `own_requests.begin`; to wait for it, a filter answers with `Fetch`.
        """
        return self._engine.fetch(self.plan, upstream, request, consumer, content=content, seconds=seconds)

    def repeat(self, consumer: Consumer) -> tuple[OwnRequest, Repetition]:
        """This request, which has no content, once more, for ourselves: `ask` it, or let it be. See `own_requests`."""
        return self._engine.repeat(self, consumer)

    def hand_over(self, consumer: Consumer) -> OwnRequest:
        """In `on_cut`: what is still to come of the response comes for ourselves. See `own_requests.Continuation`."""
        return self._engine.take_over(self, consumer)

    # ---- from a request to a lease

    def begin(self) -> None:
        """Decide what becomes of the request. The exchange may have ended when this returns."""
        if self.content is not None and self.request.length > self.plan.limits.request_body:
            return self.refuse(Refused(413, "The request's content is too long."), "limits.request_body")
        if self.request.method == b"OPTIONS" and take_hop(self.request):
            return self.respond(Respond(ResponseHead(204, Headers())))
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
            self._clock = Timer(self._engine.timers, self._expired)
            self._clock.set(self.began + route.timeouts.exchange)
        if route.chain.on_route:
            self._deliberate(route.chain.on_route, self._dispatch)
        else:
            self._dispatch()

    def _dispatch(self) -> None:
        """Send the request on its way, for the first time or again."""
        if self.upstream is None:
            return self._answer_by_route()
        attempts = self.attempts or self._first_attempt(self.upstream)
        if attempts is None:
            return
        server = None
        if self.route.chain.choose_server:
            server = phases.choose_server(self._engine, self, attempts)
        lease = attempts.ask(self, self._engine.now, server)
        if lease is None:
            self.state = EXCHANGE[self.state]["queue"]
            attempts.wait(self._engine, self._queue_expired)
        elif isinstance(lease, Failure):
            self._give_up(lease)
        elif lease.is_ready:
            self._send_request(lease)
        else:
            self.state = EXCHANGE[self.state]["dial"]

    def _first_attempt(self, name: str) -> Attempts | None:
        """Enter the upstream's books. None: the request was refused."""
        if self.request.upgrade is not None:
            try:
                open_websocket(self)
            except Refused as refused:
                self._answer(refusal(self, refused), Outcome("refused", "websocket", reason=refused.reason))
                return None
        if self.route.rewrite is not None and not self._rewrite(self.route.rewrite):
            return None
        try:
            upstream = self.plan.upstreams[name]
        except KeyError:
            self._engine.fault(f"the upstream that a filter named, in exchange {self.id}")
            self.reject(FAILED)
            return None
        if upstream.in_flight >= upstream.config.max_exchanges:
            self.reject(Reject(503, "This service has all the work it can take.", rule="max_exchanges"))
            return None
        self.attempts = attempts = Attempts(upstream, self._engine.now)
        if self.content is not None:
            self.content.replay_limit = attempts.replay_limit(self)
        return attempts

    def _answer_by_route(self) -> None:
        if self.route.answer is None:
            self._engine.fault(f"a filter took the upstream of a route that has no answer, in exchange {self.id}")
            return self.reject(FAILED)
        try:
            head, body = self.route.answer(self)
        except Refused as refused:
            return self.refuse(refused, "route")
        self.respond(Respond(head, body))

    def _expired(self) -> None:
        self._time_out("exchange", 504)

    def _queue_expired(self) -> None:
        detail = "no server had room in time"
        self._give_up(Failure("queue", "connection_limit_reached", status=503, resend="never", detail=detail))

    def room(self) -> bool:
        """A server may have room now. False: not for this exchange, which waits on in its place."""
        self.state = EXCHANGE[self.state]["resume"]
        self._dispatch()
        return self.state != "queued"

    def lease_ready(self, lease: UpstreamSide) -> None:
        """The connection that was dialled for us is there."""
        assert self.attempts is not None
        self.attempts.connected = lease.connect_seconds
        self._send_request(lease)

    def _send_request(self, lease: UpstreamSide) -> None:
        route = self.route
        try:
            head = self._outbound(lease)
            if route.request_edits is not None:
                route.request_edits.apply(head.headers, self)
            if self.websocket is not None:
                self.websocket.change_request(head)
            if route.chain.on_upstream_request:
                phases.change_outbound(self, head)
            affinity = lease.server.upstream.affinity
            if affinity is not None:
                affinity.hide(head.headers)
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

    def _outbound(self, lease: UpstreamSide) -> RequestHead:
        request = self.request
        host = lease.server.upstream.config.host
        return outbound(
            request,
            self.client,
            target=request.target if self._rewritten is None else self._rewritten,
            authority=request.authority or lease.server.host
            if host == "preserve"
            else chosen_host(host, request.authority, lease.server.host),
        )

    def _rewrite(self, rewrite: PathRewrite) -> bool:
        """Make what the server is asked for, before it is asked. False: refused."""
        assert self.path is not None
        try:
            self._rewritten = rewrite(self.request.target, self.path, self.trace)
        except Refused as refused:
            self.refuse(refused, "rewrite")
            return False
        return True

    def _send_content(self, content: RequestContent, lease: UpstreamSide) -> None:
        for piece in content.take():
            lease.send_data(piece)
        if content.is_done:
            hidden = self.route.hidden_fields
            lease.send_end([field for field in content.trailers if field[0] not in hidden])
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
            filtered = phases.change_request_data(self._engine, self, content, data, False)
            if isinstance(filtered, Reject):
                return self.reject(filtered)
            data = filtered
        state = self.state
        if state == "awaiting" or state == "responding":
            lease = self._lease
            assert lease is not None
            content.passed(data)
            lease.send_data(data)
        elif data:
            content.add(data)
            self._keep_content(content)

    def request_end(self, trailers: list[Field]) -> None:
        """All content has come."""
        content = self.content
        if content is None or self._outcome is not None:
            return
        if self.route.chain.on_request_data:
            rest = phases.change_request_data(self._engine, self, content, b"", True)
            if isinstance(rest, Reject):
                return self.reject(rest)
            if rest:
                content.add(rest)
        content.is_done = True
        content.trailers = trailers
        if self.state == "awaiting" or self.state == "responding":
            lease = self._lease
            assert lease is not None
            self._send_content(content, lease)
        else:
            self._keep_content(content)

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
        if self.tunnel is None or self.tunnel.upstream_unblocked():
            self.downstream.release_request()

    def downstream_blocked(self) -> None:
        lease = self._lease
        if lease is not None and self.state != "connecting":
            lease.pause_response()

    def downstream_unblocked(self) -> None:
        lease = self._lease
        if self.tunnel is not None and not self.tunnel.client_unblocked():
            return
        if lease is not None and self.state != "connecting":
            lease.resume_response()
        elif self.streaming is not None:
            self.streaming.go_on()

    @property
    def _lease(self) -> UpstreamSide | None:
        return None if self.attempts is None else self.attempts.lease

    # ---- the response, from the upstream side

    def response_interim(self, head: ResponseHead) -> None:
        """A 1xx: passed on (RFC 9110 section 15.2), but a 100 that the client has had from us."""
        if self.state == "awaiting" and not (head.status == 100 and self._sent_continue):
            self._sent_continue = self._sent_continue or head.status == 100
            if self.route.response_edits is not None:
                self.route.response_edits.hide(head.headers)
            self.downstream.send_interim(head)

    def response_head(self, head: ResponseHead) -> None:
        """The final response's head. What follows comes by `response_data` and `response_end`."""
        attempts = self.attempts
        assert attempts is not None
        assert attempts.lease is not None
        attempts.first_byte = attempts.lease.first_byte_seconds
        if (
            self.route.retry_statuses
            and head.status in self.route.retry_statuses
            and attempts.replaces(self, head.status, self._engine.now)
        ):
            self._stop()
            return self._resend()
        if self.content is not None:
            self.content.keep_no_more()
        for field in head.headers.fields:
            if field[0] == b"date":
                break
        else:
            # RFC 9110 section 6.6.1: who has a clock dates what it passes on.
            head.headers.fields.append((b"date", self._engine.http_date()))
        if self.route.changes_responses:
            instead = phases.change_response(self._engine, self, head)
            if instead is not None:
                if not head.has_content and self.attempts is not None:
                    # Nothing of it follows (a 304, mostly): it ends by itself, and its connection is kept.
                    self.attempts.take_lease()
                self._stop()
                self.state = EXCHANGE[self.state]["answer"]
                return answers.send(self._engine, self, instead, FAULT if instead is FAILED else COMPLETED)
        server = attempts.lease.server
        affinity = server.upstream.affinity
        if affinity is not None:
            # After all that may store the response: the cookie is this client's alone.
            is_secure = self.request.scheme == b"https"
            affinity.bind(self.request.headers, head.headers, server.name, is_secure=is_secure)
        if self.downstream.hsts:
            head.headers.set(b"strict-transport-security", self.downstream.hsts)
        try:
            self.downstream.send_head(head)
        except ValueError:
            self._engine.fault(f"the head of a response, in exchange {self.id}")
            self._stop()
            self.state = EXCHANGE[self.state]["answer"]
            return answers.send(self._engine, self, FAILED, FAULT)
        self.state = EXCHANGE[self.state]["respond"]
        self.response = head

    def response_data(self, data: bytes) -> None:
        if self.state != "responding" or self._outcome is not None:
            return
        if self.route.chain.on_response_data:
            changed = phases.change_response_data(self._engine, self, data, False)
            if changed is None:
                return self.end(FAULT, complete=False)
            data = changed
        if data:
            self.sent += len(data)
            self.downstream.send_data(data)

    def response_end(self, trailers: list[Field]) -> None:
        """The response is whole; its lease has ended by itself."""
        if self.state != "responding" or self._outcome is not None:
            return
        assert self.attempts is not None
        self.attempts.lease = None
        if self.route.chain.on_response_data and self.response is not None and self.response.has_content:
            rest = phases.change_response_data(self._engine, self, b"", True)
            if rest is None:
                return self.end(FAULT, complete=False)
            if rest:
                self.sent += len(rest)
                self.downstream.send_data(rest)
        self.downstream.send_end(trailers)
        self.end(COMPLETED)

    # ---- failures of a try

    def upstream_failed(self, failure: Failure) -> None:
        """The try is over and its lease has ended. Try again where that is safe, else tell the client."""
        attempts = self.attempts
        assert attempts is not None
        lease = attempts.take_lease()
        if self._outcome is not None:
            return
        if self.response is not None:
            return self.end(outcome_of(failure), complete=False)
        if self.route.chain.on_upstream_error:
            verdict = phases.decide_on_error(self._engine, self, failure)
            if isinstance(verdict, Respond):
                return self._answer(verdict, outcome_of(failure))
            if verdict is not None:
                attempts.again(failure, self._engine.now)
                return self._resend()
        if attempts.follows(self, failure, lease, self._engine.now):
            return self._resend()
        self._give_up(failure)

    @property
    def can_rewind(self) -> bool:
        """Whether all content that was sent is still here, for another try."""
        return self.content is None or self.content.can_rewind

    def _resend(self) -> None:
        """Send the request again, after a pause if there is to be one."""
        if self.content is not None:
            self.content.rewind()
        attempts = self.attempts
        if attempts is not None and attempts.pause:
            self.state = EXCHANGE[self.state]["pause"]
            attempts.wait_for_pause(self._engine, self._resume)
        else:
            self._resume()

    def _resume(self) -> None:
        self.state = EXCHANGE[self.state]["resume"]
        self._dispatch()

    def _give_up(self, failure: Failure) -> None:
        if self.attempts is not None and self.attempts.waits_until_up(self, failure):
            return self._resend()
        self._answer(answers.apology(self, failure.status, failure), outcome_of(failure))

    def check_upgrade(self, head: ResponseHead) -> None:
        """The server wants to switch protocols. Raises Malformed where that is no answer to what was asked."""
        if self.websocket is not None:
            self.websocket.accept(head)

    def upgraded(self, head: ResponseHead, rest: bytes) -> None:
        """The server switched protocols: from here on, bytes are passed as they come; `rest` are the first."""
        self.state = EXCHANGE[self.state]["upgrade"]
        if self.route.response_edits is not None:
            self.route.response_edits.apply(head.headers, self)
        self.response = head
        lease = self._lease
        assert lease is not None
        if self._clock is not None:
            self._clock.clear()
        if self.websocket is None:
            self.tunnel = Tunnel(self, self._engine, lease)
        else:
            self.tunnel = self.websocket.tunnel(self, self._engine, lease)
        self.downstream.start_tunnel(head)
        if rest and self.tunnel is not None:
            self.tunnel.from_upstream(rest)

    def tunnel_ended(self, outcome: Outcome, *, is_torn: bool = False) -> None:
        """Both sides got all that they will get. `is_torn`: they didn't, and must be able to tell."""
        assert self.attempts is not None
        lease = None if is_torn else self.attempts.take_lease()
        if lease is not None:
            lease.end_tunnel()
        self.end(outcome, complete=not is_torn)

    # ---- answers of our own

    def refuse(self, refused: Refused, rule: str) -> None:
        """Answer what is wrong with the request itself."""
        self.reject(Reject(refused.status, refused.reason, rule=rule))

    def respond(self, respond: Respond) -> None:
        """Answer what a filter gave."""
        self._answer(respond, COMPLETED)

    def reject(self, reject: Reject) -> None:
        """Answer with an error page or problem+json, or cut the response if it has begun."""
        outcome = Outcome("refused", reject.rule, reason=reject.reason)
        if self.response is not None:
            return self.end(outcome, complete=False)
        self._answer(answers.rejection(self, reject), outcome)

    def request_timed_out(self, clock: str) -> None:
        """The client took too long to send its request."""
        self._time_out(clock, 408)

    def _time_out(self, clock: str, status: int) -> None:
        outcome = Outcome("timed_out", clock)
        if self.response is not None:
            return self.end(outcome, complete=False)
        self._answer(answers.apology(self, status), outcome)

    def _answer(self, answer: Respond, outcome: Outcome) -> None:
        """End the exchange with a response of our own; only while none was sent."""
        self._stop()
        self.state = EXCHANGE[self.state]["answer"]
        answers.send(self._engine, self, phases.change_answer(self._engine, self, answer), outcome)

    # ---- ends

    def client_left(self) -> None:
        """The downstream side is gone, or as good as gone."""
        if self._outcome is None:
            self.end(Outcome("client_left", _WINDOWS[self.state]), complete=False)

    def drained(self) -> None:
        """The deadline of a drain has come."""
        if self._outcome is None:
            self.end(Outcome("drained"), complete=False)
        else:
            self._outcome = Outcome("drained")

    def send_timed_out(self) -> None:
        """The client takes no bytes."""
        if self._outcome is None:
            self.end(Outcome("timed_out", "send"), complete=False)
        else:
            self._outcome = Outcome("timed_out", "send")

    def _stop(self) -> None:
        """Whatever is under way upstream is of no use any more."""
        if self._deliberation is not None:
            self._deliberation.cancel()
        if self.tunnel is not None:
            self.tunnel.end()
            self.tunnel = None
        if self.streaming is not None:
            self.streaming.end()
            self.streaming = None
        if self.attempts is not None:
            self.attempts.cancel(self)

    def end(self, outcome: Outcome, *, complete: bool = True) -> None:
        """All that the client gets has been written, or, not `complete`, what it got can't be completed."""
        if outcome is not COMPLETED or self._deliberation or self.tunnel or self.streaming:
            if self.route.chain.on_cut and self.state == "responding":
                phases.tell_cut(self._engine, self, outcome)
            self._stop()
        self.state = EXCHANGE[self.state]["end"]
        self._outcome = outcome
        self.ended = self._engine.now
        if self._clock is not None:
            self._clock.drop()
        if self.content is not None:
            self.content.clear()
        if self.attempts is not None:
            self.attempts.end()
        self._engine.ended.append(self)
        self.downstream.exchange_ended(complete)

    @property
    def request_is_whole(self) -> bool:
        """Whether the client has sent all of its request."""
        return self.content is None or self.content.is_done

    @property
    def held_bytes(self) -> int:
        if self.tunnel is not None:
            return self.tunnel.held_bytes
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
        if self.route.chain.on_finished:
            phases.tell_finished(engine, self, outcome)
        self._deliberation = None  # the two would hold each other until a collection
        if "exchanges" in engine.watch and not self.is_own:
            engine.notify(record_of(self, outcome))

    def __repr__(self) -> str:
        request = self.request
        return (
            f"Exchange({self.id}, {self.state}, {request.method.decode('latin-1')} {request.target.decode('latin-1')}, "
            f"received={self.received}, sent={self.sent}, attempts={self.attempts!r})"
        )

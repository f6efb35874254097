"""Requests of our own: exchanges whose client is ourselves.

A filter asks an upstream before it lets a request pass, or renews what it has stored while nobody waits for it. Each
such request is an exchange like any other, with the same pool, queue, retries, deadlines, causes and ledger. But it
has no route, and no filters run: so none leads to another, and it is sent just as it was given. Nothing is answered
in a server's place, and no `ExchangeEnded` tells of it: whoever began it is told, as `Consumer`. A `Repetition` has the
route and the filters of the request that it repeats, and a `Continuation` brings the rest of a response whose client
has gone.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Protocol

from proxycore.composition.exchange import Exchange
from proxycore.mechanisms.timers import Timer
from proxycore.policies.addresses import AddressSet
from proxycore.policies.forwarding import Peer
from proxycore.words.errors import Outcome
from proxycore.words.messages import ABSENT, Field, RequestHead, ResponseHead

if TYPE_CHECKING:
    from proxycore.composition.attempts import Attempts
    from proxycore.composition.engine import Engine
    from proxycore.composition.filters import Respond
    from proxycore.composition.plan import Plan
    from proxycore.composition.sides import UpstreamSide

_OURSELVES = Peer("", scheme=b"http", trusted=AddressSet(()))


class Consumer(Protocol):
    """Who is told of a request of our own: never more after `ended`, which comes in any case."""

    def head(self, head: ResponseHead) -> None:
        """The final response's head."""

    def data(self, data: bytes) -> None:
        """A piece of its content, at least one byte."""

    def ended(self, outcome: Outcome) -> None:
        """`completed`: that was the whole response. Anything else: it wasn't, or there was none."""


class OwnRequest:
    """The downstream side of a request of our own. `cancel` it when nobody wants the answer any more."""

    __slots__ = ("_consumer", "exchange", "hsts", "listener", "outlet", "peer")

    exchange: OwnExchange | Repetition

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.peer = _OURSELVES
        self.listener = ""
        self.hsts = b""
        self.outlet = _OPEN

    def cancel(self) -> None:
        """End it, if it hasn't ended: the consumer is told `ended` before this returns."""
        self.exchange.client_left()

    def send_interim(self, head: ResponseHead) -> None:
        """Of no interest."""

    def send_head(self, head: ResponseHead) -> None:
        self._consumer.head(head)

    def send_data(self, data: bytes) -> None:
        self._consumer.data(data)

    def send_end(self, trailers: list[Field]) -> None:
        """`exchange_ended` follows."""

    def exchange_ended(self, complete: bool) -> None:
        outcome = self.exchange.outcome
        assert outcome is not None
        self._consumer.ended(outcome)

    def hold_request(self) -> None:
        """All content was given at once."""

    def release_request(self) -> None: ...

    def start_tunnel(self, head: ResponseHead) -> None:
        raise AssertionError("no request of our own asks for another protocol")

    def send_raw(self, data: bytes) -> None: ...
    def send_raw_eof(self) -> None: ...


class _Open:
    """The outlet of who takes everything."""

    is_waiting = is_blocked = lost = False
    lost_error: str | None = None

    def wait_to_leave(self, exchange: Exchange) -> None:
        raise AssertionError("nothing waits here")


_OPEN = _Open()


class OwnExchange(Exchange):
    """See the module's docstring."""

    __slots__ = ()

    is_own = True

    def __init__(self, engine: Engine, downstream: OwnRequest, request: RequestHead, plan: Plan) -> None:
        super().__init__(engine, downstream, request, plan)
        engine.own_exchange_count += 1
        downstream.exchange = self
        self.route = plan.unfiltered

    def ask(self, upstream: str, content: bytes, seconds: float) -> None:
        """Send it. It may have ended when this returns."""
        if self.content is not None:
            self.content.add(content)
            self.content.is_done = True
        if seconds != inf:
            self._clock = Timer(self._engine.timers, self._expired)
            self._clock.set(self.began + seconds)
        self.upstream = upstream
        self._dispatch()

    def _outbound(self, lease: UpstreamSide) -> RequestHead:
        request = self.request
        return RequestHead(
            request.method,
            request.target,
            request.authority or lease.server.host,
            request.headers.copy(),
            scheme=request.scheme,
            length=request.length,
        )

    def _answer(self, answer: Respond, outcome: Outcome) -> None:
        """Nobody waits for an answer in the server's place."""
        self.end(outcome, complete=False)


class Repetition(Exchange):
    """A client's request without content once more, for ourselves: along its route, past the filters that it has.

    Nobody is let in or limited by it, so the phases before `on_upstream_request` are left out.
    """

    __slots__ = ()

    is_own = True

    def __init__(self, engine: Engine, downstream: OwnRequest, original: Exchange) -> None:
        asked = original.request
        request = RequestHead(asked.method, asked.target, asked.authority, asked.headers.copy(), version=asked.version)
        super().__init__(engine, downstream, request, original.plan)
        engine.own_exchange_count += 1
        downstream.exchange = self
        request.scheme = asked.scheme
        self.client = original.client
        self.path = original.path
        self.route = original.route
        self.timeouts = original.timeouts
        self.upstream = original.upstream

    def ask(self) -> None:
        """Send it. It may have ended when this returns."""
        if self.timeouts.exchange != inf:
            self._clock = Timer(self._engine.timers, self._expired)
            self._clock.set(self.began + self.timeouts.exchange)
        self._dispatch()

    def _answer(self, answer: Respond, outcome: Outcome) -> None:
        """Nobody waits for an answer in the server's place."""
        self.end(outcome, complete=False)


def repeat(engine: Engine, original: Exchange, consumer: Consumer) -> tuple[OwnRequest, Repetition]:
    """The request of `original` once more, ready to `ask`."""
    own = OwnRequest(consumer)
    return own, Repetition(engine, own, original)


class Continuation(Repetition):
    """The rest of a client's response, for ourselves: the client has gone, and others want it.

    Of the filters, only those with `on_content` take part, and go on with what they kept for the client's exchange.
    """

    __slots__ = ()

    def __init__(self, engine: Engine, downstream: OwnRequest, original: Exchange) -> None:
        super().__init__(engine, downstream, original)
        self.route = original.route.content_only()
        self.state = original.state
        self.response = original.response
        self.sent = original.sent
        self._locals = original._locals
        if self.timeouts.exchange != inf:
            self._clock = Timer(engine.timers, self._expired)
            self._clock.set(engine.now + self.timeouts.exchange)

    def go_on(self, attempts: Attempts) -> None:
        """Go on with the try that the client's exchange had."""
        lease = attempts.lease
        assert lease is not None
        self.attempts = attempts
        lease.hand_over(self)
        lease.resume_response()


def take_over(engine: Engine, original: Exchange, consumer: Consumer) -> OwnRequest:
    """What is still to come of the response of `original`, which ends."""
    own = OwnRequest(consumer)
    assert original.attempts is not None
    Continuation(engine, own, original).go_on(original.attempts.hand_over(engine.now))
    return own


def begin(
    engine: Engine,
    plan: Plan,
    upstream: str,
    request: RequestHead,
    consumer: Consumer,
    *,
    content: bytes = b"",
    seconds: float = inf,
) -> OwnRequest:
    """Send `request` with `content` to the upstream of that name, for at most `seconds` in all.

    Its `length` is set here; an empty `authority` becomes the server's. The consumer may have been told `ended` when
    this returns.
    """
    request.length = len(content) if content else ABSENT
    own = OwnRequest(consumer)
    OwnExchange(engine, own, request, plan).ask(upstream, content, seconds)
    return own

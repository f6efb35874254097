"""Filters: steps that may read or change an exchange, ours and the user's, through one interface.

A filter is made once and serves every exchange, so what it keeps for one exchange lives in
`exchange.local(self)`. Phases are called in the order of `Filter`'s methods; those of the response
in reverse order of filters. A filter never waits: it answers with a verdict that says what for, and
a function to go on with, and the exchange waits as a state that hears every fact meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from proxycore.config import Config, Route
from proxycore.config.materials import Materials
from proxycore.words.errors import Failure, Outcome
from proxycore.words.messages import UNKNOWN, Headers, RequestHead, ResponseHead

if TYPE_CHECKING:
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.streaming import BodySource
    from proxycore.composition.upstreams import ServerState


class Verdict:
    """What a filter decided. `None` in its place only ever means: go on."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Respond(Verdict):
    """Answer the client with this; the upstream is not asked (any more).

    `body` may be a source that is pulled as the client takes it. Then `head.length` is how much it
    will give, or `UNKNOWN`, which `ABSENT` becomes; with bytes the length is theirs, whatever the head says.
    """

    head: ResponseHead
    body: bytes | BodySource = b""


@dataclass(frozen=True, slots=True)
class Reject(Verdict):
    """Refuse the request: `status` with an error page or problem+json, and `reason` for its reader.

    `rule` names who refused, in the log and the outcome; `headers` are added (`retry-after` ...).
    """

    status: int
    reason: str = ""
    rule: str = "filter"
    headers: Headers = field(default_factory=Headers)


@dataclass(frozen=True, slots=True)
class NeedBody(Verdict):
    """Hold the exchange until `limit` bytes of the request's content, or all of it, are here.

    Then `then(exchange, content, complete)` decides. Nothing has reached an origin before. A
    client that waits for a 100 (Continue) gets it from us. No more than `limits.buffer` is held,
    whatever `limit` says.
    """

    limit: int
    then: Callable[[Exchange, bytes, bool], Verdict | None]


@dataclass(frozen=True, slots=True)
class Ask(Verdict):
    """Wait for the function that the embedder registered under `name`, at most `timeouts.call`.

    Then `then(exchange, result)` decides; a call that fails or takes too long is a 503 unless
    `otherwise(exchange, error)` is given and decides.
    """

    name: str
    arguments: Mapping[str, Any]
    then: Callable[[Exchange, Any], Verdict | None]
    otherwise: Callable[[Exchange, str], Verdict | None] | None = None


@dataclass(frozen=True, slots=True)
class Wait(Verdict):
    """Wait for another exchange's `signal` (a cache lock), at most `seconds`.

    Then `then(exchange, fired)` decides; `fired` is False when the time ran out or the signal was
    abandoned: its holder ended without firing it.
    """

    signal: Signal
    seconds: float
    then: Callable[[Exchange, bool], Verdict | None]


class Fetched(NamedTuple):
    """What a server answered to a `Fetch`. Not `is_whole`: there was more content than was wanted."""

    head: ResponseHead
    content: bytes
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Fetch(Verdict):
    """Ask an upstream of ours first, at most `seconds` (else `timeouts.call`): a request of our own.

    `request` is sent as it stands, with `content`; no route is looked for and no filter sees it. An
    empty `authority` becomes the server's. When its answer has come, with at most `limit` bytes of its
    content, `then(exchange, fetched)` decides. Where there is none it is a 503, unless
    `otherwise(exchange, outcome)` is given and decides.
    """

    upstream: str
    request: RequestHead
    then: Callable[[Exchange, Fetched], Verdict | None]
    content: bytes = b""
    limit: int = 0
    seconds: float | None = None
    otherwise: Callable[[Exchange, Outcome], Verdict | None] | None = None


class Signal:
    """Something that one exchange does and others wait for. Fire or abandon it exactly once.

    Whoever holds it abandons it in `on_finished` at the latest: then no waiter outlives its leader.
    """

    __slots__ = ("_waiters", "fired")

    def __init__(self) -> None:
        self.fired: bool | None = None
        self._waiters: dict[int, Callable[[bool], None]] = {}

    def fire(self) -> None:
        self._end(True)

    def abandon(self) -> None:
        """It won't happen. After `fire` this does nothing."""
        self._end(False)

    def join(self, exchange: int, wake: Callable[[bool], None]) -> None:
        self._waiters[exchange] = wake

    def leave(self, exchange: int) -> None:
        self._waiters.pop(exchange, None)

    def _end(self, fired: bool) -> None:
        if self.fired is not None:
            return
        self.fired = fired
        while self._waiters:
            # One by one: what a waiter does may end another that waits here.
            wake = self._waiters.pop(next(iter(self._waiters)))
            wake(fired)

    def __repr__(self) -> str:
        return f"Signal(fired={self.fired}, waiters={len(self._waiters)})"


@dataclass(frozen=True, slots=True)
class Retry:
    """From `on_upstream_error`: try another server, whatever the policy says."""


@dataclass(frozen=True, slots=True)
class Drop:
    """From `on_message`: this message goes no further."""


@dataclass(frozen=True, slots=True)
class CloseWebSocket:
    """From `on_message`: the WebSocket ends, and both sides are told so (RFC 6455 section 7.4)."""

    code: int = 1008
    reason: str = ""


class Filter:
    """Override what you need: a phase that isn't overridden costs nothing.

    A phase that raises costs that one exchange a 500, and a `Fault` notice tells where.

    `hidden_fields` are request fields, in lower case, that clients have no say in. The filter takes them out of heads;
    out of trailers they are taken for it, since a server may merge those into the head (RFC 9110 section 6.5.1).
    """

    hidden_fields: frozenset[bytes] = frozenset()

    def on_request(self, exchange: Exchange) -> Verdict | None:
        """The head is here, its hop-by-hop fields are gone; no route is chosen yet."""

    def on_route(self, exchange: Exchange) -> Verdict | None:
        """The route is chosen. May set `exchange.upstream` to another upstream's name: a router in Python."""

    def choose_server(self, exchange: Exchange, candidates: Sequence[ServerState]) -> ServerState | None:
        """Choose among servers that may be used, or leave it to the balancing policy."""

    def on_upstream_request(self, exchange: Exchange, outbound: RequestHead) -> None:
        """Before a try is sent: `exchange.request` is what came, `outbound` what goes; change the latter."""

    def on_request_data(self, exchange: Exchange, data: bytes, last: bool) -> bytes | Reject:
        """A piece of the request's content. Return as many bytes, unless the length was `UNKNOWN` when it was sent."""
        return data

    def on_upstream_error(self, exchange: Exchange, error: Failure) -> Retry | Respond | None:
        """A try failed and no response has been sent to the client."""

    def on_upstream_response(self, exchange: Exchange, head: ResponseHead) -> None:
        """The final response's head as the origin sent it, before a cache stores it."""

    def on_content(self, exchange: Exchange, head: ResponseHead) -> Respond | None:
        """The origin's head when every `on_upstream_response` has seen it, and before the route's own edits.

        Here it is decided how content is coded and whether the response is stored. What a filter with this phase
        does in `on_response_data` it does to the origin's content only, not to answers that we make ourselves.
        """

    def on_response(self, exchange: Exchange, head: ResponseHead) -> Respond | None:
        """The head that the client will get, from the origin, the cache or ourselves."""

    def on_response_data(self, exchange: Exchange, data: bytes, last: bool) -> bytes:
        """A piece of the response's content. See `body_changes` where its length changes."""
        return data

    def on_message(
        self, exchange: Exchange, message: str | bytes, from_client: bool
    ) -> str | bytes | Drop | CloseWebSocket | None:
        """A whole message of a WebSocket, text or binary. What is returned goes on in its place."""

    def on_cut(self, exchange: Exchange, outcome: Outcome) -> None:
        """A response that has begun won't reach this client whole, for the reason that `outcome` gives.

        Where that is the client's own, what is still to come may be of use to others: see `Exchange.hand_over`.
        """

    def on_finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Exactly once for each exchange, always, after its last byte has left or was lost."""


PHASES = (
    "on_request",
    "on_route",
    "choose_server",
    "on_upstream_request",
    "on_request_data",
    "on_upstream_error",
    "on_upstream_response",
    "on_content",
    "on_response",
    "on_response_data",
    "on_message",
    "on_cut",
    "on_finished",
)

_RESPONSE_PHASES = frozenset(("on_upstream_response", "on_content", "on_response", "on_response_data"))


class Chain:
    """The filters of a route, by phase: tuples of bound methods, made when the configuration is loaded.

    `on_answer_data` is `on_response_data` for answers of our own: without the filters that have `on_content`.
    """

    __slots__ = (*PHASES, "_content", "hidden_fields", "on_answer_data")

    on_request: tuple[Callable[[Exchange], Verdict | None], ...]
    on_route: tuple[Callable[[Exchange], Verdict | None], ...]
    choose_server: tuple[Callable[[Exchange, Sequence[ServerState]], ServerState | None], ...]
    on_upstream_request: tuple[Callable[[Exchange, RequestHead], None], ...]
    on_request_data: tuple[Callable[[Exchange, bytes, bool], bytes | Reject], ...]
    on_upstream_error: tuple[Callable[[Exchange, Failure], Retry | Respond | None], ...]
    on_upstream_response: tuple[Callable[[Exchange, ResponseHead], None], ...]
    on_content: tuple[Callable[[Exchange, ResponseHead], Respond | None], ...]
    on_response: tuple[Callable[[Exchange, ResponseHead], Respond | None], ...]
    on_response_data: tuple[Callable[[Exchange, bytes, bool], bytes], ...]
    on_answer_data: tuple[Callable[[Exchange, bytes, bool], bytes], ...]
    on_message: tuple[Callable[[Exchange, str | bytes, bool], str | bytes | Drop | CloseWebSocket | None], ...]
    on_cut: tuple[Callable[[Exchange, Outcome], None], ...]
    on_finished: tuple[Callable[[Exchange, Outcome], None], ...]

    def __init__(self, filters: Iterable[Filter]) -> None:
        ordered = tuple(filters)
        for phase in PHASES:
            overriding = [f for f in ordered if getattr(type(f), phase) is not getattr(Filter, phase)]
            if phase in _RESPONSE_PHASES:
                overriding.reverse()
            setattr(self, phase, tuple(getattr(f, phase) for f in overriding))
        self.hidden_fields = frozenset[bytes]().union(*(f.hidden_fields for f in ordered))
        self._content = tuple(f for f in ordered if type(f).on_content is not Filter.on_content)
        own = {f.on_response_data for f in self._content}
        self.on_answer_data = tuple(step for step in self.on_response_data if step not in own)

    def content_only(self) -> Chain:
        """Those of its filters alone that have `on_content`."""
        return Chain(self._content)


class FilterSource(Protocol):
    """Who makes our own filters: `first` those before the route is known, `gate` those of a route before the
    user's, `content` those behind them.
    """

    def first(self, config: Config) -> Sequence[Filter]: ...
    def gate(self, route: Route, config: Config, materials: Materials) -> Sequence[Filter]: ...
    def content(self, route: Route, config: Config, materials: Materials) -> Sequence[Filter]: ...


def body_changes(head: ResponseHead) -> None:
    """Call in the head phase when content will not be what the origin made.

    The length becomes unknown, digests go (RFC 9530), and a strong ETag weakens, since the bytes
    that it names are no longer these (RFC 9110 section 8.8.1).
    """
    if head.has_content:
        head.length = UNKNOWN
    head.headers.fields[:] = [
        (name, b"W/" + value if name == b"etag" and not value.startswith(b"W/") else value)
        for name, value in head.headers.fields
        if name not in _DIGESTS
    ]


_DIGESTS = frozenset((b"content-digest", b"repr-digest", b"digest", b"content-md5"))

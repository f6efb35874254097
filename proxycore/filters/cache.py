"""A shared cache in front of a route's upstream: the key `cache` of a route, and `[caches]`.

Theory of operation. `on_route` looks into the store. A response that may serve is the answer. Otherwise the origin
is asked, and `Lookup` remembers what for: nothing is stored, or what is has to be validated. Whoever asks first for
a key leads a `Flight`, and others wait for it (at most `lock_timeout`), until its head is here: then they take its
content as it comes. After an answer that was for the leader alone each asks for itself.

What may serve stale while it is renewed does, and the same request goes out once more behind the client's back.

The request goes out (`on_upstream_request`) without what would change the answer behind the key's back, and with
our conditions where something is validated. The answer (`on_content`) is a 304 that renews what is stored, a failure
that a stale response covers for, or another response, which is stored as its content passes (`on_response_data`) if
nothing is against it, under the fields that its Vary names.

All that is decided, is decided by `policies.caching`; here is when, and what becomes of the exchange.
"""

from __future__ import annotations

from functools import partial

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Filter, Reject, Respond, Verdict, Wait
from proxycore.composition.own_requests import OwnRequest
from proxycore.config import RouteCache
from proxycore.config.units import format_roughly
from proxycore.filters.filling import Fill, FillReader, Flight, Result, SharedCache, response_of
from proxycore.policies.caching.cache_status import Forwarded, collapsed_status, forwarded_status, hit_status
from proxycore.policies.caching.directives import NO_DIRECTIVES, Directives, request_directives, response_directives
from proxycore.policies.caching.freshness import freshness_of, initial_age, made_at
from proxycore.policies.caching.invalidation import invalidated_urls, tags_of
from proxycore.policies.caching.keys import (
    UNKEYED,
    compile_key,
    keyed_authority,
    shown_key,
    url_of,
    vary_names,
    vary_of,
)
from proxycore.policies.caching.ranges import UNSATISFIABLE, asked_span
from proxycore.policies.caching.ranges import partial as partial_head
from proxycore.policies.caching.reuse import may_serve_on_error, use_of
from proxycore.policies.caching.stored import StoredResponse
from proxycore.policies.caching.storing import StoringRules, request_refusal, response_refusal, stored_fields
from proxycore.policies.caching.validators import (
    can_be_validated,
    is_about,
    is_conditional,
    is_not_modified,
    not_modified,
    revalidation_fields,
    updated,
)
from proxycore.policies.compression import Offer
from proxycore.policies.conditions import NO, Subject, compile_match
from proxycore.words.errors import Outcome
from proxycore.words.messages import RequestHead, ResponseHead

_NAME = b"proxycore"
# A request without any of these takes whatever is fresh, whole.
_TELLING = frozenset((b"cache-control", b"pragma", b"if-none-match", b"if-modified-since", b"range"))

_OF_THE_CLIENT = frozenset(("client_left", "timed_out", "drained"))
"""Causes that end a client's exchange while the server's response is as good as it was."""

_NOT_STORED = Reject(504, "Nothing that is stored can answer this request.", rule="only-if-cached")


class Lookup:
    """What one request found in the store, and what its way to the origin is for.

    Without a `key` the store is not used for it. `stored` is what may be validated, or stand in for a failure.
    `alone` says that it waits for nobody (any more), `voidings` are those of the cache when the origin was asked;
    it counts as `result` in the end. `is_whole` says that all content has come.
    """

    __slots__ = ("alone", "asked", "fill", "flight", "is_whole", "key", "result", "since", "stored", "voidings", "why")

    def __init__(self, key: bytes | None, asked: Directives, why: Forwarded, since: float) -> None:
        self.key = key
        self.asked = asked
        self.why: Forwarded = why
        self.since = since
        self.stored: StoredResponse | None = None
        self.flight: Flight | None = None
        self.fill: Fill | None = None
        self.alone = False
        self.is_whole = False
        self.voidings = 0
        self.result: Result = "bypassed" if key is None else "misses"


class CacheFilter(Filter):
    """`offer` is what the route compresses, if it does: what is stored is coded already."""

    def __init__(self, cache: RouteCache, shared: SharedCache, route: str, offer: Offer | None) -> None:
        self._shared = shared
        self._store = shared.store
        self._rules = StoringRules(cache)
        self._key = compile_key(cache.key, route)
        self._bypass = compile_match(cache.bypass) if cache.bypass is not None else None
        self._locks = cache.lock
        self._lock_timeout = cache.lock_timeout
        self._offer = offer
        self._lookups: dict[int, Lookup] = {}

    # ---- a request

    def on_route(self, exchange: Exchange) -> Verdict | None:
        request = exchange.request
        asks_nothing = _TELLING.isdisjoint([name for name, _ in request.headers.fields])
        asked = NO_DIRECTIVES if asks_nothing else request_directives(request.headers)
        why = self._bypassed(exchange, request, asked)
        key = self._key(exchange) if why is None else None
        if key is None:
            lookup = self._lookups[exchange.id] = Lookup(None, asked, why or "request", exchange.now)
            self._tell(exchange, "not asked", None, None, lookup.why)
            return None
        if asks_nothing:
            stored = self._store.find(key, self._selecting(request))
            if stored is not None and stored.is_fresh(exchange.now):
                self._tell(exchange, "hit", key, stored)
                self._shared.results["hits"] += 1
                return Respond(self._head_of(exchange, stored), stored.content)
        lookup = self._lookups[exchange.id] = Lookup(key, asked, "uri-miss", exchange.now)
        return self._look(exchange, lookup)

    def _bypassed(self, exchange: Exchange, request: RequestHead, asked: Directives) -> Forwarded | None:
        """Why the store isn't asked for this request; None: it is, if its key isn't too long."""
        refusal = request_refusal(request, asked)
        if refusal is not None:
            return "method" if refusal == "method" else "request"
        if self._bypass is not None and self._bypass.answer(self._subject(exchange)) != NO:
            return "bypass"
        return None

    def _subject(self, exchange: Exchange) -> Subject:
        assert exchange.path is not None
        return Subject(exchange.request, exchange.path, exchange.listener, exchange.client.ip, exchange.tls_subject)

    def _look(self, exchange: Exchange, lookup: Lookup) -> Verdict | None:
        """Answer from the store, wait, or let the request go to the origin."""
        assert lookup.key is not None
        stored = self._store.find(lookup.key, self._selecting(exchange.request))
        if stored is not None:
            use = use_of(stored.freshness, stored.age(exchange.now), lookup.asked)
            if use == "serve" or (use == "serve-and-renew" and self._renew_behind(exchange, lookup.key, stored)):
                self._tell(exchange, "hit", lookup.key, stored)
                lookup.result = "hits" if stored.age(exchange.now) < stored.freshness.lifetime else "stale"
                return self._answer(exchange, stored)
            lookup.stored = stored
            lookup.why = "request" if stored.age(exchange.now) < stored.freshness.lifetime else "stale"
        elif self._store.has(lookup.key):
            lookup.why = "vary-miss"
        self._tell(exchange, lookup.why, lookup.key, stored)
        if b"only-if-cached" in lookup.asked:
            return _NOT_STORED
        return self._lead_or_wait(exchange, lookup)

    def _renew_behind(self, exchange: Exchange, key: bytes, stored: StoredResponse) -> bool:
        """Ask the origin while nobody waits for it. False: not with the credentials of this client."""
        if exchange.user or b"authorization" in exchange.request.headers:
            return False
        if key not in self._shared.flights:
            lookup = Lookup(key, NO_DIRECTIVES, "stale", exchange.now)
            lookup.stored = stored
            lookup.flight = self._shared.flights[key] = Flight()
            renewal = _ForTheStore(lookup)
            renewal.own, repetition = exchange.repeat(renewal)
            repetition.request.method = b"GET"
            self._lookups[repetition.id] = lookup
            repetition.ask()
        return True

    def _selecting(self, request: RequestHead) -> RequestHead:
        """The request by which a variant is selected: of what it accepts, the coding that we would choose counts."""
        if self._offer is None:
            return request
        headers = request.headers.copy()
        coding = self._offer.choose(headers)
        headers.remove(b"accept-encoding")
        if coding is not None:
            headers.add(b"accept-encoding", coding.encode())
        return RequestHead(request.method, request.target, request.authority, headers)

    def _tell(
        self, exchange: Exchange, verdict: str, key: bytes | None, stored: StoredResponse | None, why: str = ""
    ) -> None:
        if exchange.trace is None:
            return
        if stored is not None:
            age, lifetime = stored.age(exchange.now), stored.freshness.lifetime
            status = stored.head.status
            why = f"stored with a lifetime of {format_roughly(lifetime)}, {format_roughly(age)} old, status {status}"
        exchange.trace.add("cache", verdict, "" if key is None else f"key {shown_key(key)}", why)

    def _lead_or_wait(self, exchange: Exchange, lookup: Lookup) -> Verdict | None:
        assert lookup.key is not None
        if not self._locks or lookup.alone:
            return None
        flight = self._shared.flights.get(lookup.key)
        if flight is None:
            if self._may_lead(exchange, lookup):
                lookup.flight = self._shared.flights[lookup.key] = Flight()
            return None
        if flight.fill is not None:
            return self._join(exchange, lookup, flight.fill)
        seconds = lookup.since + self._lock_timeout - exchange.now
        if seconds <= 0 or b"no-cache" in lookup.asked:
            return None
        return Wait(flight.signal, seconds, partial(self._woken, lookup, flight))

    def _join(self, exchange: Exchange, lookup: Lookup, fill: Fill) -> Respond | None:
        """Take a response while it comes in, if it is one for this request."""
        response, request = fill.response, exchange.request
        names = [name for name, _ in response.vary]
        fits = fill.can_be_joined and response.vary == vary_of(names, self._selecting(request))
        if not fits or use_of(response.freshness, response.age(exchange.now), lookup.asked) != "serve":
            return None
        self._tell(exchange, "joined", lookup.key, response)
        lookup.result = "joined"
        head = response.head.copy()
        head.headers.add(b"age", b"%d" % response.age(exchange.now))
        head.headers.add(b"cache-status", collapsed_status(_NAME, lookup.why))
        if head.status == 200 and self._has_it(exchange, response):
            return Respond(not_modified(head))
        head.length = fill.length
        return Respond(head, FillReader(fill))

    def _may_lead(self, exchange: Exchange, lookup: Lookup) -> bool:
        """Whether others may hope for the answer to this request: it will be whole, and of use to them."""
        if exchange.request.method != b"GET" or self._shared.is_unshared(lookup.key or b"", exchange.now):
            return False
        return self._asks_for_whole(exchange, lookup)

    def _asks_for_whole(self, exchange: Exchange, lookup: Lookup) -> bool:
        """Whether the answer can be whole: the client doesn't ask for less, or our conditions replace its own."""
        return self._validates(lookup) is not None or not is_conditional(exchange.request)

    def _woken(self, lookup: Lookup, flight: Flight, exchange: Exchange, fired: bool) -> Verdict | None:
        if flight.is_unshared or (not fired and exchange.now >= lookup.since + self._lock_timeout):
            lookup.alone = True
        return self._look(exchange, lookup)

    @staticmethod
    def _validates(lookup: Lookup) -> StoredResponse | None:
        """What the origin is asked about."""
        stored = lookup.stored
        return stored if stored is not None and can_be_validated(stored.head.headers) else None

    # ---- on its way to the origin

    def on_upstream_request(self, exchange: Exchange, outbound: RequestHead) -> None:
        lookup = self._lookups.get(exchange.id)
        if lookup is None or lookup.key is None:
            return
        lookup.voidings = self._shared.voidings
        request = exchange.request
        behind_the_key = {field for field in request.headers.fields if field[0] in UNKEYED}
        fields = [field for field in outbound.headers.fields if field not in behind_the_key]
        authority = keyed_authority(request)
        told = (b"x-forwarded-host", request.authority)
        outbound.headers.fields = [(told[0], authority) if field == told else field for field in fields]
        if outbound.authority == request.authority:
            outbound.authority = authority
        if self._offer is not None:
            coding = self._offer.choose(request.headers)
            outbound.headers.set(b"accept-encoding", b"identity" if coding is None else coding.encode())
        stored = self._validates(lookup)
        if stored is not None and request.method == b"GET":
            outbound.headers.fields = revalidation_fields(outbound.headers.fields, stored.head.headers)

    # ---- a response

    def on_content(self, exchange: Exchange, head: ResponseHead) -> Respond | None:
        lookup = self._lookups.get(exchange.id)
        if lookup is None:
            return None
        for url in invalidated_urls(exchange.request, head):
            self._shared.invalidate(url)
        if lookup.key is None:
            head.headers.add(b"cache-status", forwarded_status(_NAME, lookup.why, status=head.status, stored=False))
            return None
        stored = lookup.stored
        if stored is not None and exchange.request.method == b"GET":
            if head.status == 304 and self._validates(lookup) is not None:
                return self._still_holds(exchange, lookup, stored, head)
            if head.status >= 500 and self._covers(exchange, lookup, stored):
                lookup.result = "stale"
                return self._answer(exchange, stored, b"%b; fwd=stale; fwd-status=%d" % (_NAME, head.status))
        refusal = self._take_in(exchange, lookup, head)
        value = forwarded_status(_NAME, lookup.why, status=head.status, stored=refusal is None, detail=refusal)
        head.headers.add(b"cache-status", value)
        return None

    def _take_in(self, exchange: Exchange, lookup: Lookup, head: ResponseHead) -> str | None:
        """Begin to store a response, or say why not."""
        assert lookup.key is not None
        if exchange.request.method == b"HEAD":
            self._learn_from_head(exchange, lookup, head)
            return "head"
        refusal = self._begin_fill(exchange, lookup, head)
        if refusal is not None:
            if lookup.stored is not None and head.status < 500:
                self._store.remove(lookup.stored)  # the origin has said something newer, which we mustn't keep
            if self._asks_for_whole(exchange, lookup):
                self._shared.note_unshared(lookup.key, exchange.now)
            self._land(lookup, unshared=True)
            return refusal
        assert lookup.fill is not None
        if not head.has_content:
            self._complete(lookup)
        elif lookup.flight is not None:
            self._share(exchange, lookup.flight, lookup.fill)
        return None

    def _share(self, exchange: Exchange, flight: Flight, fill: Fill) -> None:
        """Let those who wait have the response as it comes."""
        flight.fill = fill
        if not fill.response.is_fresh(exchange.now):
            # Each has to ask the origin whether it holds, and needn't have waited.
            flight.is_unshared = True
            self._shared.note_unshared(fill.response.key, exchange.now)
        flight.signal.fire()

    def _begin_fill(self, exchange: Exchange, lookup: Lookup, head: ResponseHead) -> str | None:
        assert lookup.key is not None
        request, headers, wall = exchange.request, head.headers, exchange.wall
        directives = response_directives(headers)
        freshness = freshness_of(
            head.status,
            headers,
            directives,
            wall=wall,
            valid=self._rules.valid,
            while_revalidating=self._rules.while_revalidating,
            if_error=self._rules.if_error,
        )
        refusal = response_refusal(
            request,
            head,
            directives,
            freshness,
            self._rules,
            is_authorized=b"authorization" in request.headers or bool(exchange.user or exchange.tls_subject),
        )
        if refusal is not None:
            return refusal
        if head.length > self._store.object_max:
            return "size"
        names = vary_names(headers)
        assert names is not None
        delay = exchange.attempts.first_byte if exchange.attempts is not None else None
        age, made = initial_age(headers, delay=delay or 0.0, wall=wall), made_at(headers, wall)
        response = StoredResponse(
            lookup.key,
            url_of(request),
            vary_of(names, self._selecting(request)),
            ResponseHead(head.status, stored_fields(headers, directives, freshness), reason=head.reason),
            b"",
            freshness,
            received_at=exchange.now,
            initial_age=age,
            made_at=made,
            tags=tags_of(headers),
        )
        lookup.fill = Fill(self._store, response, head.length)
        self._shared.begin(lookup.fill, lookup.voidings)
        return None

    def _learn_from_head(self, exchange: Exchange, lookup: Lookup, head: ResponseHead) -> None:
        """A HEAD's answer renews what is stored for GET, or tells that it is outdated (RFC 9111 section 4.3.5)."""
        stored = lookup.stored
        if stored is None or head.status != stored.head.status:
            return
        if is_about(head.headers, stored.head.headers) and head.length in (-1, -2, stored.head.length):
            self._renew(exchange, stored, head)
        else:
            self._store.remove(stored)

    def _still_holds(self, exchange: Exchange, lookup: Lookup, stored: StoredResponse, head: ResponseHead) -> Respond:
        """The origin answered 304 to our question."""
        if is_about(head.headers, stored.head.headers):
            stored = self._renew(exchange, stored, head)
        else:
            self._store.remove(stored)
        self._land(lookup)
        lookup.result = "revalidated"
        answer = self._answer(exchange, stored, b"%b; fwd=%b; fwd-status=304" % (_NAME, lookup.why.encode()))
        if b"set-cookie" not in answer.head.headers:
            # It may have been for this client alone, and not stored.
            for cookie in head.headers.get_all(b"set-cookie"):
                answer.head.headers.add(b"set-cookie", cookie)
        return answer

    def _renew(self, exchange: Exchange, stored: StoredResponse, head: ResponseHead) -> StoredResponse:
        headers, wall = updated(stored.head.headers, head.headers), exchange.wall
        directives = response_directives(headers)
        freshness = freshness_of(
            stored.head.status,
            headers,
            directives,
            wall=wall,
            valid=self._rules.valid,
            while_revalidating=self._rules.while_revalidating,
            if_error=self._rules.if_error,
        )
        delay = exchange.attempts.first_byte if exchange.attempts is not None else None
        renewed = stored.with_head(
            response_of(stored, stored_fields(headers, directives, freshness)),
            freshness,
            received_at=exchange.now,
            initial_age=initial_age(head.headers, delay=delay or 0.0, wall=wall),
            made_at=made_at(headers, wall),
        )
        if b"no-store" in directives or directives.is_whole(b"private"):
            self._store.remove(stored)
        elif self._store.holds(stored):
            # Else it was purged since we asked, or something newer has its place.
            self._store.put(renewed)
        return renewed

    def on_response(self, exchange: Exchange, head: ResponseHead) -> Respond | None:
        """Our own apology for an origin that can't be reached: something stale may be better (RFC 5861 section 4)."""
        if head.status < 500 or exchange.attempts is None or exchange.attempts.lease is not None:
            return None
        lookup = self._lookups.get(exchange.id)
        stored = None if lookup is None else lookup.stored
        if lookup is None or stored is None or exchange.state != "answering":
            return None
        if not self._covers(exchange, lookup, stored):
            return None
        lookup.result = "stale"
        return self._answer(exchange, stored)

    @staticmethod
    def _covers(exchange: Exchange, lookup: Lookup, stored: StoredResponse) -> bool:
        """Whether what is stored may stand in for a failure of the origin, and is none itself."""
        is_failure = stored.head.status >= 500
        return not is_failure and may_serve_on_error(stored.freshness, stored.age(exchange.now), lookup.asked)

    def on_response_data(self, exchange: Exchange, data: bytes, last: bool) -> bytes:
        lookup = self._lookups.get(exchange.id)
        if lookup is not None and lookup.fill is not None:
            if data and not lookup.fill.add(data):
                self._give_up(lookup)
            elif last:
                self._complete(lookup)
        return data

    def on_cut(self, exchange: Exchange, outcome: Outcome) -> None:
        """The client has gone: those who take the response as it comes get the rest all the same."""
        lookup = self._lookups.get(exchange.id)
        if lookup is None or lookup.fill is None:
            return
        if outcome.cause not in _OF_THE_CLIENT or outcome.failure is not None or not lookup.fill.is_read:
            return self._give_up(lookup)
        self._count(exchange, self._lookups.pop(exchange.id))
        rest = _ForTheStore(lookup)
        rest.own = exchange.hand_over(rest)
        self._lookups[rest.own.exchange.id] = lookup
        lookup.fill.when_unread = rest.own.cancel

    def on_finished(self, exchange: Exchange, outcome: Outcome) -> None:
        lookup = self._lookups.pop(exchange.id, None)
        if lookup is None:
            return
        self._count(exchange, lookup)
        self._give_up(lookup)
        self._land(lookup)

    def _count(self, exchange: Exchange, lookup: Lookup) -> None:
        if not exchange.is_own:
            self._shared.results[lookup.result] += 1

    def _give_up(self, lookup: Lookup) -> None:
        """It won't be stored: it is too large, or the rest won't come."""
        if lookup.fill is not None:
            fill, lookup.fill = lookup.fill, None
            self._shared.end(fill, whole=False)
            self._land(lookup)

    def _complete(self, lookup: Lookup) -> None:
        assert lookup.fill is not None
        fill, lookup.fill = lookup.fill, None
        lookup.is_whole = True
        is_stored = self._shared.end(fill, whole=True)
        self._land(lookup, unshared=not is_stored)

    def _land(self, lookup: Lookup, *, unshared: bool = False) -> None:
        """Let those go on who wait for what this request brings."""
        if lookup.flight is not None and lookup.key is not None:
            flight, lookup.flight = lookup.flight, None
            flight.is_unshared = flight.is_unshared or unshared
            self._shared.land(lookup.key, flight)

    # ---- answers from the store

    def _answer(self, exchange: Exchange, stored: StoredResponse, status: bytes | None = None) -> Respond:
        """What this client gets of a stored response: all of it, a part, or that it has it already."""
        head = self._head_of(exchange, stored)
        if status is not None:
            head.headers.set(b"cache-status", status)
        request = exchange.request
        if not is_conditional(request):
            return Respond(head, stored.content)
        if head.status == 200 and self._has_it(exchange, stored):
            return Respond(not_modified(head))
        size = len(stored.content)
        span = asked_span(request, stored.head, size, wall=exchange.wall)
        if span is None:
            return Respond(head, stored.content)
        content = b"" if span == UNSATISFIABLE else stored.content[span.first : span.end]
        return Respond(partial_head(head, span, size), content)

    @staticmethod
    def _has_it(exchange: Exchange, stored: StoredResponse) -> bool:
        """Whether the client says that it has this response."""
        wall = exchange.wall
        received_at = wall - (exchange.now - stored.received_at)
        return is_not_modified(exchange.request, stored.head.headers, wall=wall, received_at=received_at)

    @staticmethod
    def _head_of(exchange: Exchange, stored: StoredResponse) -> ResponseHead:
        """The head of the whole response, with its age and that it was a hit."""
        return response_of(stored, stored.headers_at(int(stored.age(exchange.now)), _hit))


class _ForTheStore:
    """The consumer of what no client waits for: the filter takes it in, and what it doesn't take needn't come."""

    __slots__ = ("_lookup", "own")

    own: OwnRequest

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def head(self, head: ResponseHead) -> None:
        """It is stored by now, or is being stored, or won't be."""

    def data(self, data: bytes) -> None:
        if self._lookup.fill is None and not self._lookup.is_whole and self.own.exchange.state == "responding":
            self.own.cancel()

    def ended(self, outcome: Outcome) -> None:
        """The filter is told, too."""


def _hit(ttl: float) -> bytes:
    return hit_status(_NAME, ttl)

"""`forward_auth`: an upstream of ours is asked whether a request may pass, and whose it is (nginx's auth_request)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxycore.composition.filters import Fetch, Fetched, Filter, Reject, Verdict
from proxycore.config import ForwardAuth
from proxycore.filters.identity import IdentityFilter
from proxycore.policies.forwarding import outbound
from proxycore.words.errors import Outcome
from proxycore.words.messages import ABSENT, Headers, RequestHead

if TYPE_CHECKING:
    from proxycore.composition.exchange import Exchange

# What tells the asked upstream about the request; a client's own say in it is removed.
_TOLD = frozenset((b"x-forwarded-method", b"x-forwarded-uri", b"x-original-method", b"x-original-uri"))
# Of content that isn't sent along, and conditions: they are about what was asked for, and who decides would answer 304.
_OF_CONTENT = frozenset(
    b"content-type content-encoding content-language expect range "
    b"if-range if-match if-none-match if-modified-since if-unmodified-since".split()
)
# What a refusal of the asked upstream may tell the client: how to log in, and where.
_PASSED_ON = frozenset((b"www-authenticate", b"location", b"set-cookie"))
# What is a refusal. A 304 is none: the client would show what it has kept.
_REFUSALS = frozenset((301, 302, 303, 307, 308, 401, 403))

_NO_ANSWER = Reject(503, "What decides on this request did not answer.", rule="forward_auth")


class ForwardAuthFilter(Filter):
    """Asks with the head of the request: 2xx lets in, 401, 403 and redirects are passed on, and all else refuses."""

    def __init__(self, settings: ForwardAuth, identity: IdentityFilter) -> None:
        self._upstream = settings.upstream
        self._path = settings.path.encode()
        self._copied = [name.encode() for name in settings.copy_headers]
        self._user_header = None if settings.user_header is None else settings.user_header.encode()
        self._identity = identity

    def on_route(self, exchange: Exchange) -> Verdict | None:
        return Fetch(self._upstream, self._question(exchange), self._decide, otherwise=self._decide_without)

    def _question(self, exchange: Exchange) -> RequestHead:
        request = exchange.request
        head = outbound(request, exchange.client, target=self._path, authority=b"")
        gone = _TOLD | _OF_CONTENT
        fields = [field for field in head.headers.fields if field[0] not in gone]
        fields += [
            (b"x-forwarded-method", request.method),
            (b"x-forwarded-uri", request.target),
            (b"x-original-method", request.method),
            (b"x-original-uri", request.target),
        ]
        return RequestHead(b"GET", self._path, b"", Headers(fields), scheme=head.scheme, length=ABSENT)

    def _decide(self, exchange: Exchange, fetched: Fetched) -> Verdict | None:
        status, headers = fetched.head.status, fetched.head.headers
        if 200 <= status < 300:
            self._admit(exchange, headers)
            return None
        if status not in _REFUSALS:
            return self._refuse(exchange, _NO_ANSWER, f"it answered {status}")
        passed_on = Headers([field for field in headers.fields if field[0] in _PASSED_ON])
        reject = Reject(status, "You may not come in, or not yet.", rule="forward_auth", headers=passed_on)
        return self._refuse(exchange, reject, f"it answered {status}")

    def _decide_without(self, exchange: Exchange, outcome: Outcome) -> Verdict | None:
        return self._refuse(exchange, _NO_ANSWER, f"it gave no answer: {outcome.cause} {outcome.detail}".rstrip())

    def _admit(self, exchange: Exchange, headers: Headers) -> None:
        fields = [(name, value) for name in self._copied for value in headers.get_all(name)]
        if fields:
            self._identity.tell(exchange, fields)
        if self._user_header is not None:
            exchange.user = (headers.get(self._user_header) or b"").decode("utf-8", "replace")
        if exchange.trace is not None:
            exchange.trace.add("forward_auth", "let in", exchange.user)

    def _refuse(self, exchange: Exchange, reject: Reject, why: str) -> Reject:
        if exchange.trace is not None:
            exchange.trace.add("forward_auth", "refused", "", why)
        return reject

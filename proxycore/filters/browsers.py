"""What concerns browsers: `cors`, `csrf`, `security_headers`, `cookies`, and `rewrite_responses`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxycore.composition.filters import Filter, Reject, Respond, Verdict
from proxycore.policies.cors import CorsPolicy, CsrfPolicy, is_preflight
from proxycore.policies.reversal import Reversal
from proxycore.policies.security_fields import CookieGuard, SecurityFields
from proxycore.words.messages import Headers, ResponseHead

if TYPE_CHECKING:
    from proxycore.composition.exchange import Exchange

_NO_CORS = Reject(403, "Scripts of that origin may not ask here.", rule="cors")
_FORGED = Reject(403, "This request was made by another site.", rule="csrf")


class CorsFilter(Filter):
    """Answers preflights, which carry no credentials and so come before authentication; tells who may see answers."""

    def __init__(self, policy: CorsPolicy) -> None:
        self._policy = policy

    def on_route(self, exchange: Exchange) -> Verdict | None:
        request = exchange.request
        if not is_preflight(request):
            return None
        origin = request.headers.get(b"origin") or b""
        allowed = self._policy.allows(origin)
        if exchange.trace is not None:
            name = origin.decode("ascii", "backslashreplace")
            exchange.trace.add("cors", "answered" if allowed else "refused", name, "a preflight")
        return Respond(ResponseHead(204, Headers(self._policy.preflight(request)))) if allowed else _NO_CORS

    def on_response(self, exchange: Exchange, head: ResponseHead) -> Respond | None:
        self._policy.apply(exchange.request.headers.get(b"origin"), head.headers)
        return None


class CsrfFilter(Filter):
    """Refuses what other sites made a browser send."""

    def __init__(self, policy: CsrfPolicy) -> None:
        self._policy = policy

    def on_route(self, exchange: Exchange) -> Verdict | None:
        request = exchange.request
        objection = self._policy.objection(request, exchange.client.host or request.authority)
        if exchange.trace is not None:
            exchange.trace.add("csrf", "refused" if objection else "let in", "", objection)
        return _FORGED if objection else None


class ResponseFieldsFilter(Filter):
    """Changes what servers tell browsers, in this order: what they say of themselves, cookies, security headers."""

    def __init__(
        self, reversal: Reversal | None, cookies: CookieGuard | None, security: SecurityFields | None, host: str
    ) -> None:
        self._reversal = reversal
        self._cookies = cookies
        self._security = security
        self._host = () if host in ("preserve", "upstream") else (host.encode(),)

    def on_upstream_response(self, exchange: Exchange, head: ResponseHead) -> None:
        # Before a cache stores it: what comes from the store came from no server that could be asked for its name.
        if self._reversal is not None and exchange.server is not None:
            self._reversal.apply(
                head.headers,
                scheme=exchange.request.scheme,
                authority=exchange.client.host or exchange.request.authority,
                servers=(exchange.server.host, *self._host),
            )

    def on_response(self, exchange: Exchange, head: ResponseHead) -> Respond | None:
        if self._cookies is not None:
            self._cookies.apply(head.headers)
        if self._security is not None:
            self._security.apply(head.headers)
        return None

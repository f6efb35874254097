"""The filter that answers every request to the admin listener: the page, the API, the metrics, the probes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping
from importlib.resources import files
from typing import Any

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Ask, Filter, NeedBody, Reject, Respond, Verdict
from proxycore.policies.hosts import HostPatterns, host_of
from proxycore.program.admin.api import ACTION_HEADER, Source, operations
from proxycore.program.admin.metrics import MISSING, exposition
from proxycore.program.admin.operations import Call, NotAllowed, Operation, Operations, Problem, checked, openapi
from proxycore.words.messages import Field, Headers, ResponseHead

CONTENT_MAX = 4 << 20
"""Bytes of what an action may send: a configuration is the largest."""

_PAGE = {
    b"/": ("index.html", b"text/html; charset=utf-8"),
    b"/style.css": ("style.css", b"text/css; charset=utf-8"),
    b"/dashboard.js": ("dashboard.js", b"text/javascript; charset=utf-8"),
    b"/icon.svg": ("icon.svg", b"image/svg+xml"),
}

PROBES = ("/livez", "/readyz")
"""Answered to everybody, whatever host they ask for: an orchestrator knows a container's address and no password."""

_READING = (b"GET", b"HEAD")

_GUARDS: list[Field] = [
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]

PERFORM = "proxycore.admin.perform"
"""The name under which `perform` is asked for."""

NOBODY = Problem(503, "no worker runs at this moment; ask again")

_log = logging.getLogger("proxycore.admin")


class Pages(Filter):
    """Answers for `source`. `hosts` are the hosts that are answered, or patterns of them; empty: every one.

    A site that had its own name resolved to our address (DNS rebinding) is refused by `hosts`; a form or
    a link of another site by the header that actions need. Where actions wait for others, they `wait_in_threads`: then
    the embedder runs `perform` under its name.
    """

    def __init__(
        self, source: Source, *, version: str, hosts: Collection[str] = (), wait_in_threads: bool = False
    ) -> None:
        self._source = source
        self._is_ours = HostPatterns(hosts).match if hosts else None
        self._wait_in_threads = wait_in_threads
        self._operations: Operations = operations(source, lambda: openapi(self._operations, version, ACTION_HEADER))
        folder = files("proxycore.program.admin") / "page"
        self._page = {
            path: _response(200, media_type, (folder / name).read_bytes()) for path, (name, media_type) in _PAGE.items()
        }
        self._probes = {b"/livez": self._live, b"/readyz": self._ready}
        self._ours: Mapping[bytes, Callable[[Exchange], Verdict]] = {
            b"/metrics": self._metrics,
            b"/api/v1/events": self._feed,
        }

    def on_route(self, exchange: Exchange) -> Verdict:
        """Every request ends here, once authentication has let it pass."""
        request = exchange.request
        # By the path that chose the route: it asks for no password.
        probe = None if exchange.path is None else self._probes.get(exchange.path.path)
        if probe is not None:
            return probe(exchange) if request.method in _READING else _refusal(NotAllowed(["GET"]))
        if self._is_ours is not None:
            if not self._is_ours(host_of(request.authority)):
                return Reject(421, "This host isn't answered here; see hosts in [admin].", rule="admin.hosts")
            # As far as a browser says which site asks (the Fetch standard's Origin).
            origin = request.headers.get(b"origin")
            if origin is not None and not self._is_ours(host_of(origin.rpartition(b"//")[2])):
                return Reject(403, "Pages of other sites aren't answered; see hosts in [admin].", rule="admin.hosts")
        path = request.target.partition(b"?")[0]
        page = self._page.get(path)
        own = self._ours.get(path)
        if page is not None or own is not None:
            if request.method not in _READING:
                return _refusal(NotAllowed(["GET"]))
            return page if page is not None else own(exchange)  # type: ignore[misc]  # one of the two is there
        if not self._source.board.has_reports:
            return _refusal(NOBODY)
        try:
            operation, names = self._operations.find(request.method.decode("latin-1"), path.decode("latin-1"))
            return self._operate(exchange, operation, names)
        except Problem as problem:
            return _refusal(problem)

    # ---- probes and metrics

    def _live(self, exchange: Exchange) -> Verdict:
        return _response(200, b"text/plain", b"alive\n")

    def _ready(self, exchange: Exchange) -> Verdict:
        """Whether requests should come here: something serves, and it doesn't drain."""
        board = self._source.board
        self._source.renew()  # a drain isn't told of a second later
        if not board.has_reports or board.status()["draining"]:
            return _response(503, b"text/plain", b"not ready\n")
        return _response(200, b"text/plain", b"ready\n")

    def _metrics(self, exchange: Exchange) -> Verdict:
        board = self._source.board
        if not board.has_reports:
            return _refusal(NOBODY)
        try:
            text, media_type = exposition(board.tallies, board.status())
        except ImportError:
            return _refusal(Problem(501, MISSING))
        return _response(200, media_type, text)

    def _feed(self, exchange: Exchange) -> Verdict:
        if not self._source.board.has_reports:
            return _refusal(NOBODY)
        response = _response(200, b"text/event-stream", b"")
        return Respond(response.head, self._source.events.open())

    # ---- the API

    def _operate(self, exchange: Exchange, operation: Operation, names: Mapping[str, str]) -> Verdict:
        if operation.is_action and ACTION_HEADER.lower().encode() not in exchange.request.headers:
            return _refusal(Problem(403, f"an action needs the header {ACTION_HEADER}, with any value"))
        if operation.content is None:
            return self._done(exchange, operation, Call(names))
        return NeedBody(
            CONTENT_MAX, lambda exchange, content, whole: self._read(exchange, operation, names, content, whole)
        )

    def _read(
        self, exchange: Exchange, operation: Operation, names: Mapping[str, str], content: bytes, whole: bool
    ) -> Verdict:
        if not whole:
            return _refusal(Problem(413, f"the content is longer than {CONTENT_MAX} bytes"))
        assert operation.content is not None
        try:
            value = checked(json.loads(content), operation.content)
        except (ValueError, RecursionError):
            return _refusal(Problem(400, "the content is no JSON, or nested too deeply"))
        except Problem as problem:
            return _refusal(problem)
        return self._done(exchange, operation, Call(names, value))

    def _done(self, exchange: Exchange, operation: Operation, call: Call) -> Verdict:
        if self._wait_in_threads and (operation.is_action or operation.asks_workers):
            arguments = {"operation": operation, "call": call}
            return Ask(PERFORM, arguments, lambda exchange, result: self._answer(exchange, operation, call, result))
        return self._answer(exchange, operation, call, perform(operation, call))

    def _answer(self, exchange: Exchange, operation: Operation, call: Call, result: Any) -> Verdict:
        if isinstance(result, Problem):
            self._tell(exchange, operation, "", result.detail)
            return _refusal(result)
        self._tell(exchange, operation, operation.told_of(call), "done")
        if operation.changes:
            self._source.renew()
        if not operation.gives:
            return _response(204, b"", b"")
        return _response(200, operation.media_type.encode(), json.dumps(result).encode())

    def _tell(self, exchange: Exchange, operation: Operation, told: str, end: str) -> None:
        """Actions are logged, with who did what, in one line each.

        `told` is what the content said, empty for what was refused: that may hold a secret, which is why it was.
        """
        if operation.is_action:
            who = exchange.user or exchange.client.ip
            target = exchange.request.target.decode("latin-1")
            what = " ".join(filter(None, (operation.method, target, told)))
            _log.info("%s: %s: %s", who, what, "; ".join(end.splitlines()))


def perform(operation: Operation, call: Call) -> Any:
    """What an operation gives, or the Problem why it doesn't."""
    try:
        return operation.handle(call)
    except Problem as problem:
        return problem


def _response(status: int, media_type: bytes, body: bytes) -> Respond:
    fields = [*_GUARDS, (b"content-type", media_type)] if media_type else [*_GUARDS]
    return Respond(ResponseHead(status, Headers(fields)), body)


def _refusal(problem: Problem) -> Respond:
    """A problem document (RFC 9457)."""
    body: dict[str, Any] = {"title": "not done", "status": problem.status, "detail": problem.detail}
    refusal = _response(problem.status, b"application/problem+json", json.dumps(body).encode())
    if isinstance(problem, NotAllowed):
        refusal.head.headers.add(b"allow", ", ".join(problem.allowed).encode())
    return refusal

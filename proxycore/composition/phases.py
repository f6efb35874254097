"""The phases of a chain that never wait, run on one exchange, and what a filter that raises costs there.

`Deliberation` runs the others, `on_request` and `on_route`. An exchange asks for a phase only where
its chain has one, so an exchange without filters doesn't come here but for an answer of our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxycore.composition.answers import frame
from proxycore.composition.deliberation import FAILED
from proxycore.composition.filters import CloseWebSocket, Drop, Reject, Respond, Retry
from proxycore.mechanisms.websocket.frames import INTERNAL_ERROR
from proxycore.words.errors import Failure, Outcome
from proxycore.words.messages import RequestHead, ResponseHead, WrittenHeaders

if TYPE_CHECKING:
    from proxycore.composition.attempts import Attempts
    from proxycore.composition.content import RequestContent
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.upstreams import ServerState


def choose_server(engine: Engine, exchange: Exchange, attempts: Attempts) -> ServerState | None:
    """The server that a filter wants, if it can take this exchange now."""
    candidates = attempts.upstream.candidates(attempts)
    for choose in exchange.route.chain.choose_server:
        try:
            server = choose(exchange, candidates)
        except Exception:
            _fault(engine, exchange)
            continue
        if server is not None and server in candidates:
            return server
    return None


def change_outbound(exchange: Exchange, head: RequestHead) -> None:
    """`on_upstream_request`. What a filter raises passes, and ValueError for a head that its content can't follow."""
    for step in exchange.route.chain.on_upstream_request:
        step(exchange, head)
    if head.has_content != exchange.request.has_content:
        raise ValueError("a filter declared content that isn't there, or none where there is")


def change_request_data(
    engine: Engine, exchange: Exchange, content: RequestContent, data: bytes, last: bool
) -> bytes | Reject:
    """What goes to the server in the place of `data`, or why nothing does any more."""
    try:
        for step in exchange.route.chain.on_request_data:
            result = step(exchange, data, last)
            if isinstance(result, Reject):
                return result
            data = result
        content.filtered += len(data)
        _check_length("request", exchange.request.length, content.filtered, last)
    except Exception:
        _fault(engine, exchange)
        return FAILED
    return data


def decide_on_error(engine: Engine, exchange: Exchange, failure: Failure) -> Retry | Respond | None:
    """What the first filter that knows better wants done about a try that failed."""
    for step in exchange.route.chain.on_upstream_error:
        try:
            verdict = step(exchange, failure)
        except Exception:
            _fault(engine, exchange)
            continue
        if isinstance(verdict, Respond) or (isinstance(verdict, Retry) and exchange.can_rewind):
            return verdict
    return None


def change_response(engine: Engine, exchange: Exchange, head: ResponseHead) -> Respond | Reject | None:
    """Make of a server's head what the client gets. A verdict: answer that instead."""
    route = exchange.route
    try:
        for seen in route.chain.on_upstream_response:
            seen(exchange, head)
        for decide in route.chain.on_content:
            instead = decide(exchange, head)
            if instead is not None:
                return change_answer(engine, exchange, instead)
        if route.response_edits is not None:
            route.response_edits.apply(head.headers, exchange)
        for step in route.chain.on_response:
            instead = step(exchange, head)
            if instead is not None:
                return _framed(exchange, instead)
    except Exception:
        _fault(engine, exchange)
        return FAILED
    return None


def change_response_data(engine: Engine, exchange: Exchange, data: bytes, last: bool) -> bytes | None:
    """What the client gets in the place of `data`; None: the response can't be completed."""
    try:
        for step in exchange.route.chain.on_response_data:
            data = step(exchange, data, last)
        if exchange.response is not None:
            _check_length("response", exchange.response.length, exchange.sent + len(data), last)
    except Exception:
        _fault(engine, exchange)
        return None
    return data


def change_answer(engine: Engine, exchange: Exchange, answer: Respond) -> Respond | Reject:
    """Make of an answer of our own what the client gets, which may be another. The one given stays as it is."""
    route = exchange.route
    try:
        answer = _framed(exchange, answer)
        if route.response_edits is not None:
            route.response_edits.apply(answer.head.headers, exchange)
        for step in route.chain.on_response:
            instead = step(exchange, answer.head)
            if instead is not None:
                answer = _framed(exchange, instead)
        body = answer.body
        if isinstance(body, bytes) and body:
            for change in route.chain.on_answer_data:
                body = change(exchange, body, True)
    except Exception:
        _fault(engine, exchange)
        return FAILED
    return answer if body is answer.body else Respond(answer.head, body)


def _framed(exchange: Exchange, answer: Respond) -> Respond:
    """A copy, since a filter may answer with the same one each time. Headers that are written are for one answer."""
    if type(answer.head.headers) is not WrittenHeaders:
        answer = Respond(answer.head.copy(), answer.body)
    frame(exchange, answer)
    return answer


def change_message(
    engine: Engine, exchange: Exchange, message: str | bytes, from_client: bool
) -> str | bytes | Drop | CloseWebSocket:
    """What goes on in the place of a WebSocket's message; those of the server pass the filters in reverse."""
    steps = exchange.route.chain.on_message
    try:
        for step in steps if from_client else reversed(steps):
            changed = step(exchange, message, from_client)
            if isinstance(changed, Drop | CloseWebSocket):
                return changed
            if changed is not None:
                message = changed
        if not isinstance(message, str | bytes):
            raise TypeError(f"a filter made {message!r} of a message")
    except Exception:
        _fault(engine, exchange)
        return CloseWebSocket(INTERNAL_ERROR)
    return message


def tell_cut(engine: Engine, exchange: Exchange, outcome: Outcome) -> None:
    """`on_cut`, of each filter whatever another does."""
    for step in exchange.route.chain.on_cut:
        try:
            step(exchange, outcome)
        except Exception:
            _fault(engine, exchange)


def tell_finished(engine: Engine, exchange: Exchange, outcome: Outcome) -> None:
    """`on_finished`, of each filter whatever another does."""
    for step in exchange.route.chain.on_finished:
        try:
            step(exchange, outcome)
        except Exception:
            _fault(engine, exchange)


def _fault(engine: Engine, exchange: Exchange) -> None:
    engine.fault(f"a filter, in exchange {exchange.id}")


def _check_length(whose: str, declared: int, passed: int, last: bool) -> None:
    """Hold filters to the length that was declared: what follows too much or too little is read as another message."""
    if declared >= 0 and (passed > declared or (last and passed != declared)):
        raise ValueError(f"filters made {passed} bytes of a {whose}'s {declared}: see Filter about changing lengths")

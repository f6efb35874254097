"""What filters may do wrong, and what must come of it: one exchange pays, and no connection is left hanging."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Filter, NeedBody, Respond, Retry, Verdict, body_changes
from proxycore.config import Config, Limits, Listener, Match, Route, Upstream
from proxycore.config import Respond as Answer
from proxycore.core import Core
from proxycore.mechanisms.websocket.frames import TEXT, close_frame, frame
from proxycore.words.effects import Abort, Connect, Effect, Send
from proxycore.words.errors import Failure
from proxycore.words.ids import ConnId
from proxycore.words.messages import ABSENT, Headers, RequestHead, ResponseHead
from proxycore.words.notices import Fault

HERE = ("127.0.0.1", 80)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def make_core(*filters: Filter, routes: tuple[Route, ...] = (Route(upstream="api"),)) -> Core:
    config = Config(
        limits=Limits(buffer=1024),
        listeners=[Listener(name="web", bind="127.0.0.1:0")],
        upstreams={"api": Upstream(servers=["http://127.0.0.1:3000", "http://127.0.0.1:3001"])},
        routes=list(routes),
    )
    return Core(config, now=0.0, wall=1e9, seed=1, entropy=bytes, filters=filters, watch=["faults"])


def accept(core: Core) -> ConnId:
    conn = core.next_conn_id()
    core.accepted(conn, "web", ("192.0.2.1", 1), HERE, 1.0)
    return conn


def ask(core: Core, client: ConnId, request: bytes = GET) -> ConnId:
    (dial,) = core.data_received(client, request, 1.0)
    assert isinstance(dial, Connect)
    core.connected(dial.conn, HERE, HERE, 1.0)
    return dial.conn


def sent(effects: object) -> bytes:
    assert isinstance(effects, list)
    return b"".join(effect.data for effect in effects if isinstance(effect, Send))


def faults(core: Core) -> list[str]:
    return [notice.traceback for notice in core.take_notices(9.0) if isinstance(notice, Fault)]


class Appending(Filter):
    def on_response(self, exchange: Exchange, head: ResponseHead) -> Respond | None:
        body_changes(head)
        return None

    def on_response_data(self, exchange: Exchange, data: bytes, last: bool) -> bytes:
        return data + b"!" if last else data


@pytest.mark.parametrize("status", [b"HEAD 200", b"GET 304", b"GET 204"])
def test_nothing_is_added_where_there_is_no_content(status: bytes) -> None:
    method, _, code = status.partition(b" ")
    core = make_core(Appending())
    client = accept(core)
    server = ask(core, client, method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = sent(core.data_received(server, b"HTTP/1.1 " + code + b' X\r\nETag: "1"\r\n\r\n', 2.0))
    assert answer.endswith(b"\r\n\r\n")
    assert not faults(core)


def test_our_own_answers_pass_the_filters_of_content_too() -> None:
    core = make_core(Appending(), routes=(Route(match=Match(), respond=Answer(body="hello")),))
    answer = sent(core.data_received(accept(core), GET, 1.0))
    assert b"content-length: 6\r\n" in answer
    assert answer.endswith(b"\r\n\r\nhello!")


class Greedy(Filter):
    def on_route(self, exchange: Exchange) -> Verdict | None:
        return NeedBody(1_000_000, lambda exchange, content, complete: None)


def test_no_more_content_is_held_than_the_buffer_takes() -> None:
    core = make_core(Greedy())
    client = accept(core)
    core.data_received(client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n", 1.0)
    effects = core.data_received(client, b"x" * 1500, 1.0)
    assert [type(effect) for effect in effects if isinstance(effect, Connect)] == [Connect]


class Stubborn(Filter):
    def on_upstream_error(self, exchange: Exchange, error: Failure) -> Retry | Respond | None:
        return Retry()


def test_what_was_not_kept_is_not_sent_again() -> None:
    core = make_core(Stubborn())
    client = accept(core)
    server = ask(core, client, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
    core.data_received(client, b"x" * 90_000, 1.0)
    answer = sent(core.connection_lost(server, "ECONNRESET", 2.0))
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert not faults(core)


def wrong_verdict(exchange: Exchange) -> Verdict | None:
    return "yes"  # type: ignore[return-value]


def bad_header(exchange: Exchange) -> Verdict | None:
    return Respond(ResponseHead(200, Headers([(b"X-Upper", b"1")])), b"x")


def no_such_upstream(exchange: Exchange) -> Verdict | None:
    exchange.upstream = "nowhere"
    return None


@pytest.mark.parametrize("decide", [wrong_verdict, bad_header, no_such_upstream])
def test_a_mistake_is_a_500_that_says_where(decide: Callable[[Exchange], Verdict | None]) -> None:
    class Mistaken(Filter):
        def on_route(self, exchange: Exchange) -> Verdict | None:
            return decide(exchange)

    core = make_core(Mistaken())
    client = accept(core)
    effects: object = core.data_received(client, GET, 1.0)
    assert sent(effects).startswith(b"HTTP/1.1 500 ")
    (fault,) = faults(core)
    assert "Error" in fault
    again: list[Effect] = list(core.data_received(client, GET, 2.0))
    assert sent(again).startswith(b"HTTP/1.1 500 ")


def test_a_changed_target_is_what_is_routed() -> None:
    class Disguise(Filter):
        def on_request(self, exchange: Exchange) -> Verdict | None:
            exchange.request.target = b"/admin"
            return None

    routes = (Route(match=Match(path="/admin"), respond=Answer(status=403)), Route(upstream="api"))
    core = make_core(Disguise(), routes=routes)
    assert sent(core.data_received(accept(core), GET, 1.0)).startswith(b"HTTP/1.1 403 ")


def test_an_answer_may_be_given_again_and_again() -> None:
    class Door(Filter):
        answer = Respond(ResponseHead(403, Headers([(b"x-door", b"shut")])), b"no")

        def on_route(self, exchange: Exchange) -> Verdict | None:
            return self.answer

    core = make_core(Door(), routes=(Route(upstream="api", response_headers={"add": {"X-Seen": "{path}"}}),))
    client = accept(core)
    first, second = (sent(core.data_received(client, GET, at)) for at in (1.0, 1.1))
    assert first == second
    assert first.count(b"x-seen") == 1


def answers_101(exchange: Exchange, head: ResponseHead) -> Respond | None:
    return Respond(ResponseHead(101, Headers(), upgrade=b"echo"), b"x")


def declares_less(exchange: Exchange, head: ResponseHead) -> Respond | None:
    head.length = 1
    return None


def declares_nothing(exchange: Exchange, head: ResponseHead) -> Respond | None:
    head.status = 204
    return None


def declares_more(exchange: Exchange, head: ResponseHead) -> Respond | None:
    head.length = 3
    return None


@pytest.mark.parametrize("change", [answers_101, declares_less, declares_nothing, declares_more])
def test_a_response_is_never_longer_or_shorter_than_its_head_says(
    change: Callable[[Exchange, ResponseHead], Respond | None],
) -> None:
    class Tearing(Filter):
        def on_response(self, exchange: Exchange, head: ResponseHead) -> Respond | None:
            return change(exchange, head)

    core = make_core(Tearing())
    client = accept(core)
    server = ask(core, client)
    effects = core.data_received(server, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 2.0)
    assert faults(core)
    head, _, body = sent(effects).partition(b"\r\n\r\n")
    declared = next((int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"content-length: ")), 0)
    assert len(body) <= declared
    if len(body) < declared or declared == 0:
        assert Abort(server) in effects


@pytest.mark.parametrize("length", [ABSENT, 0, 3, 10])
def test_a_request_is_never_longer_or_shorter_than_its_head_says(length: int) -> None:
    class Tearing(Filter):
        def on_upstream_request(self, exchange: Exchange, outbound: RequestHead) -> None:
            outbound.length = length

    core = make_core(Tearing())
    client = accept(core)
    (dial,) = core.data_received(client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 1.0)
    assert isinstance(dial, Connect)
    effects = core.connected(dial.conn, HERE, HERE, 1.0)
    assert faults(core)
    upstream = b"".join(e.data for e in effects if isinstance(e, Send) and e.conn == dial.conn)
    assert len(upstream.partition(b"\r\n\r\n")[2]) <= max(length, 0)
    assert Abort(dial.conn) in effects


class Clumsy(Filter):
    def on_message(self, exchange: Exchange, message: str | bytes, from_client: bool) -> str | bytes:
        raise KeyError(message)


def test_a_message_that_makes_a_filter_raise_costs_that_websocket_a_1011() -> None:
    core = make_core(Clumsy())
    client = accept(core)
    opening = (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    answer = (
        b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    server = ask(core, client, opening)
    core.data_received(server, answer, 1.0)
    first, second = core.data_received(server, frame(TEXT, b"boo"), 2.0)
    assert isinstance(first, Send)
    assert isinstance(second, Send)
    assert (first.conn, first.data) == (client, close_frame(1011))
    assert (second.conn, second.data) == (server, close_frame(1011, "", bytes(4)))
    assert len(faults(core)) == 1

"""Filters of an embedder's own, on every binding: what each verdict does to real connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import (
    Ask,
    Filter,
    NeedBody,
    Reject,
    Respond,
    Retry,
    Signal,
    Verdict,
    Wait,
    body_changes,
)
from proxycore.composition.upstreams import ServerState
from proxycore.config import Config
from proxycore.program.service import blocking
from proxycore.words.errors import Failure, Outcome
from proxycore.words.messages import Headers, RequestHead, ResponseHead
from tests.conformance.conftest import Run
from tests.conformance.origins import (
    Line,
    answering,
    client,
    echoing,
    fields_of,
    origin,
    refused_ports,
    response,
    status_of,
)
from tests.conformance.proxies import Handle, outcome_of_first, soon

Configure = Callable[..., Config]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def answer(proxy: Handle, request: bytes = GET) -> tuple[int, dict[bytes, bytes], bytes]:
    with client(proxy.port) as c:
        c.send(request)
        head, body = c.message()
        return status_of(head), fields_of(head), body


def test_a_rejection_and_a_response(run: Run, configure: Configure) -> None:
    class Door(Filter):
        def on_request(self, exchange: Exchange) -> Verdict | None:
            if b"x-key" not in exchange.request.headers:
                return Reject(401, "Who are you?", rule="door", headers=Headers([(b"www-authenticate", b"Key")]))
            if exchange.request.target == b"/mine":
                return Respond(ResponseHead(200, Headers([(b"x-by", b"filter")])), b"mine")
            return None

    with origin(answering(response(b"x"))) as o, run(configure(o.url), [Door()]) as proxy:
        status, fields, body = answer(proxy)
        assert (status, fields[b"www-authenticate"]) == (401, b"Key")
        assert b"Who are you?" in body
        assert answer(proxy, b"GET / HTTP/1.1\r\nHost: a\r\nX-Key: 1\r\n\r\n")[2] == b"x"
        status, fields, body = answer(proxy, b"GET /mine HTTP/1.1\r\nHost: a\r\nX-Key: 1\r\n\r\n")
        assert (status, fields[b"x-by"], body) == (200, b"filter", b"mine")


class Login(Filter):
    def on_request(self, exchange: Exchange) -> Verdict | None:
        def decide(exchange: Exchange, user: Any) -> Verdict | None:
            exchange.user = str(user)
            return None

        return Ask("login", {"target": exchange.request.target}, decide)

    def on_upstream_request(self, exchange: Exchange, outbound: RequestHead) -> None:
        outbound.headers.set(b"x-user", exchange.user.encode())


def test_asking_a_function(run: Run, configure: Configure) -> None:
    def login(target: bytes) -> str:
        if target == b"/no":
            raise PermissionError
        return "ada"

    with origin(echoing) as o, run(configure(o.url), [Login()], {"login": login}) as proxy:
        assert b"\r\nx-user: ada\r\n" in answer(proxy)[2]
        assert answer(proxy, b"GET /no HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 503


def test_a_question_that_nobody_answers_in_time(run: Run, configure: Configure) -> None:
    with origin(echoing) as o:
        config = configure(o.url, timeouts={"call": "100ms"})
        with run(config, [Login()], {"login": blocking(lambda target: time.sleep(0.5))}) as proxy:
            assert answer(proxy)[0] == 503
            assert outcome_of_first(proxy) == ("refused", "call")


def test_content_is_looked_at_before_the_origin_sees_any(run: Run, configure: Configure) -> None:
    class Guard(Filter):
        def on_route(self, exchange: Exchange) -> Verdict | None:
            return NeedBody(1000, self.look)

        def look(self, exchange: Exchange, content: bytes, complete: bool) -> Verdict | None:
            return Reject(403, "Not that.", rule="guard") if b"attack" in content else None

    with origin(echoing) as o, run(configure(o.url), [Guard()]) as proxy:
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
        assert answer(proxy, post % (6, b"attack"))[0] == 403
        assert o.accepted == 0
        assert answer(proxy, post % (5, b"hello"))[2].endswith(b"hello")
        assert answer(proxy, post % (5000, b"y" * 5000))[2].endswith(b"y" * 5000)
        with client(proxy.port) as c:
            c.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert status_of(c.head()) == 100
            c.send(b"hello")
            assert c.message()[1].endswith(b"hello")


def test_content_that_is_changed_on_its_way_back(run: Run, configure: Configure) -> None:
    class Shout(Filter):
        def on_response(self, exchange: Exchange, head: ResponseHead) -> Respond | None:
            body_changes(head)
            return None

        def on_response_data(self, exchange: Exchange, data: bytes, last: bool) -> bytes:
            return data.upper() + (b"!" if last else b"")

    with origin(answering(response(b"hello", b'ETag: "1"'))) as o, run(configure(o.url), [Shout()]) as proxy:
        status, fields, body = answer(proxy)
    assert (status, body) == (200, b"HELLO!")
    assert fields[b"etag"] == b'W/"1"'
    assert b"content-length" not in fields


def test_a_router_in_python(run: Run, configure: Configure) -> None:
    class Last(Filter):
        def choose_server(self, exchange: Exchange, candidates: Sequence[ServerState]) -> ServerState | None:
            return candidates[-1]

    with origin(answering(response(b"one"))) as one, origin(answering(response(b"two"))) as two:
        with run(configure(one.url, two.url), [Last()]) as proxy:
            assert [answer(proxy)[2] for _ in range(4)] == [b"two"] * 4


def test_a_filter_has_a_say_when_a_server_fails(run: Run, configure: Configure) -> None:
    class Patient(Filter):
        def on_upstream_error(self, exchange: Exchange, error: Failure) -> Retry | Respond | None:
            if exchange.retries < 2:
                return Retry()
            return Respond(ResponseHead(200, Headers()), error.error.encode())

    dead = [f"http://127.0.0.1:{port}" for port in refused_ports(3)]
    with run(configure(*dict.fromkeys(dead)), [Patient()]) as proxy:
        assert answer(proxy)[2] == b"connection_refused"


def test_waiters_go_on_when_their_leader_dies(run: Run, configure: Configure) -> None:
    class Lock(Filter):
        def __init__(self) -> None:
            self.signal: Signal | None = None
            self.fired: list[bool] = []

        def on_route(self, exchange: Exchange) -> Verdict | None:
            if self.signal is None:
                self.signal = exchange.local(self)["signal"] = Signal()
                return None
            return Wait(self.signal, 5.0, self.woken)

        def woken(self, exchange: Exchange, fired: bool) -> Verdict | None:
            self.fired.append(fired)
            return Respond(ResponseHead(200, Headers()), b"after all")

        def on_finished(self, exchange: Exchange, outcome: Outcome) -> None:
            signal = exchange.local(self).get("signal")
            if signal is not None:
                signal.abandon()

    def silent(line: Line) -> None:
        line.to_end()

    lock = Lock()
    with origin(silent) as o, run(configure(o.url), [lock]) as proxy:
        with client(proxy.port) as leader, client(proxy.port) as waiter:
            leader.send(GET)
            while o.accepted == 0:
                time.sleep(0.005)
            waiter.send(GET)
            time.sleep(0.02)
            leader.close()
            assert waiter.message()[1] == b"after all"
    assert lock.fired == [False]


def test_every_exchange_is_finished_once(run: Run, configure: Configure) -> None:
    class Count(Filter):
        def __init__(self) -> None:
            self.outcomes: list[Outcome] = []

        def on_finished(self, exchange: Exchange, outcome: Outcome) -> None:
            self.outcomes.append(outcome)

    counting = Count()
    with origin(answering(response(b"x"))) as o, run(configure(o.url), [counting]) as proxy:
        for _ in range(5):
            answer(proxy)
        assert soon(lambda: len(counting.outcomes) == 5)
    assert counting.outcomes == [Outcome("completed")] * 5


def test_a_filter_cannot_tear_content_from_its_length(run: Run, configure: Configure) -> None:
    class Longer(Filter):
        def on_response_data(self, exchange: Exchange, data: bytes, last: bool) -> bytes:
            return data + b"HTTP/1.1 200 OK\r\n" if data else data

    with (
        origin(answering(response(b"hello"))) as o,
        run(configure(o.url), [Longer()]) as proxy,
        client(proxy.port) as c,
    ):
        c.send(GET)
        with pytest.raises((EOFError, ConnectionError)):
            c.message()
        assert soon(lambda: bool(proxy.ended))
        assert proxy.ended[0].outcome == Outcome("refused", "fault")
        assert "see Filter about changing lengths" in proxy.faults[0].traceback
        proxy.notices.clear()


def test_a_filter_that_raises_costs_one_exchange(run: Run, configure: Configure) -> None:
    class Broken(Filter):
        def on_request(self, exchange: Exchange) -> Verdict | None:
            if exchange.request.target == b"/bad":
                raise KeyError("oops")
            return None

    with origin(answering(response(b"x"))) as o, run(configure(o.url), [Broken()]) as proxy:
        status, _, body = answer(proxy, b"GET /bad HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status == 500
        assert b"oops" not in body
        assert answer(proxy)[2] == b"x"
        assert soon(lambda: bool(proxy.faults))
        assert "KeyError" in proxy.faults[0].traceback
        proxy.notices.clear()

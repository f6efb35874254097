"""When an exchange is concluded, and what follows from it."""

from __future__ import annotations

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Filter, Respond, Signal, Verdict, Wait
from proxycore.config import Config, Listener, Route, Upstream
from proxycore.core import Core
from proxycore.words.effects import Close, Connect, Send
from proxycore.words.errors import Outcome
from proxycore.words.ids import ConnId
from proxycore.words.messages import Headers, ResponseHead
from proxycore.words.notices import ExchangeEnded

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
HERE = ("127.0.0.1", 80)


def make_core(*filters: Filter) -> Core:
    config = Config(
        listeners=[Listener(name="web", bind="127.0.0.1:0")],
        upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"])},
        routes=[Route(upstream="api")],
    )
    return Core(config, now=0.0, wall=1e9, seed=1, entropy=bytes, filters=filters, watch=["exchanges"])


def accept(core: Core) -> ConnId:
    conn = core.next_conn_id()
    core.accepted(conn, "web", ("192.0.2.1", 1), HERE, 1.0)
    return conn


def ask(core: Core, client: ConnId) -> ConnId:
    """Send a request, and connect what is dialled for it."""
    (dial,) = core.data_received(client, GET, 1.0)
    assert isinstance(dial, Connect)
    core.connected(dial.conn, HERE, HERE, 1.0)
    return dial.conn


def outcomes(core: Core) -> list[Outcome]:
    return [notice.outcome for notice in core.take_notices(2.0) if isinstance(notice, ExchangeEnded)]


def test_an_answer_that_left_is_complete() -> None:
    core = make_core()
    client = accept(core)
    core.data_received(ask(core, client), OK, 1.0)
    assert outcomes(core) == [Outcome("completed")]


def test_an_answer_that_waits_is_not_complete_until_it_has_left() -> None:
    core = make_core()
    client = accept(core)
    core.data_received(ask(core, client), OK, 1.0)
    core.writing_paused(client, 1.0)
    assert outcomes(core) == []
    core.writing_resumed(client, 2.0)
    assert outcomes(core) == [Outcome("completed")]


def test_an_answer_that_was_lost_on_its_way_is_not_complete() -> None:
    core = make_core()
    client = accept(core)
    core.data_received(ask(core, client), OK, 1.0)
    core.writing_paused(client, 1.0)
    core.connection_lost(client, "ECONNRESET", 2.0)
    assert outcomes(core) == [Outcome("client_left", "response_body")]


def test_an_answer_whose_sending_failed_is_not_complete() -> None:
    core = make_core()
    client = accept(core)
    core.data_received(ask(core, client), OK, 1.0)
    core.connection_lost(client, "EPIPE", 1.0)
    assert outcomes(core) == [Outcome("client_left", "response_body")]


class Lock(Filter):
    """The first exchange leads, the others wait until it has finished."""

    def __init__(self) -> None:
        self.signal: Signal | None = None

    def on_route(self, exchange: Exchange) -> Verdict | None:
        if self.signal is not None:
            return Wait(self.signal, 5.0, lambda exchange, fired: Respond(ResponseHead(200, Headers()), b"after you"))
        self.signal = exchange.local(self)["signal"] = Signal()
        return None

    def on_finished(self, exchange: Exchange, outcome: Outcome) -> None:
        if "signal" in exchange.local(self):
            exchange.local(self)["signal"].fire()


def test_what_a_filter_does_in_the_end_needs_no_other_fact() -> None:
    core = make_core(Lock())
    leader, waiter = accept(core), accept(core)
    server = ask(core, leader)
    assert core.data_received(waiter, GET, 1.0) == ()
    core.data_received(server, OK, 1.5)
    core.take_notices(1.5)
    assert core.next_deadline() == 1.5
    (answer,) = core.timer_expired(1.5)
    assert isinstance(answer, Send)
    assert answer.conn == waiter
    assert answer.data.endswith(b"after you")
    core.take_notices(1.5)
    assert core.ledger().exchanges == 0


def test_a_burst_of_connections_is_kept_for_a_moment() -> None:
    config = Config(
        listeners=[Listener(name="web", bind="127.0.0.1:0")],
        upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"], idle_connections=2)},
        routes=[Route(upstream="api")],
    )
    core = Core(config, now=0.0, wall=1e9, seed=1, entropy=bytes)
    clients = [accept(core) for _ in range(5)]
    servers = [ask(core, client) for client in clients]
    for server in servers:
        core.data_received(server, OK, 1.0)
    assert core.ledger().upstreams == 5
    for client in clients:
        assert [type(effect) for effect in core.data_received(client, GET, 1.5)] == [Send]
    for server in servers:
        core.data_received(server, OK, 1.5)
    closed = [effect for effect in core.timer_expired(3.0) if isinstance(effect, Close)]
    assert len(closed) == 3

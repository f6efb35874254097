"""Requests of our own: what a filter asks an upstream before it decides, and what it asks for nobody who waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Fetch, Fetched, Filter, Reject, Verdict
from proxycore.composition.holds import DISCARDED
from proxycore.config import Config, Limits, Listener, Retries, Route, Timeouts, Upstream
from proxycore.core import Core
from proxycore.words.effects import Abort, Connect, Send
from proxycore.words.errors import Outcome
from proxycore.words.ids import ConnId
from proxycore.words.messages import Headers, RequestHead, ResponseHead
from proxycore.words.notices import ExchangeEnded, Fault

HERE = ("127.0.0.1", 80)
GET = b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-User: ann\r\n\r\nhello"
Then = Callable[[Exchange, Fetched], Verdict | None]


class Asking(Filter):
    """Asks /auth, and keeps what it was told."""

    def __init__(self, then: Then | None = None, limit: int = 0, upstream: str = "auth", content: bytes = b"") -> None:
        self.then = then or self.keep
        self.limit = limit
        self.upstream = upstream
        self.content = content
        self.fetched: list[Fetched] = []
        self.failed: list[Outcome] = []
        self.seen: list[bytes] = []
        self.otherwise: Verdict | None = Reject(403, rule="auth")

    def on_request(self, exchange: Exchange) -> Verdict | None:
        request = RequestHead(b"GET", b"/auth", b"", Headers([(b"x-asked", b"1")]))
        return Fetch(self.upstream, request, self.then, content=self.content, limit=self.limit, otherwise=self.without)

    def keep(self, exchange: Exchange, fetched: Fetched) -> Verdict | None:
        self.fetched.append(fetched)
        return None

    def without(self, exchange: Exchange, outcome: Outcome) -> Verdict | None:
        self.failed.append(outcome)
        return self.otherwise

    def on_upstream_request(self, exchange: Exchange, outbound: RequestHead) -> None:
        self.seen.append(outbound.target)


def make_core(*filters: Filter, max_exchanges: int | str = "off") -> Core:
    config = Config(
        limits=Limits(buffer=1024),
        timeouts=Timeouts(call="5s", connect="30s"),
        listeners=[Listener(name="web", bind="127.0.0.1:0")],
        upstreams={
            "api": Upstream(servers=["http://127.0.0.1:3000"]),
            "auth": Upstream(servers=["http://127.0.0.1:4000"], max_exchanges=max_exchanges, retries=Retries(max=0)),
        },
        routes=[Route(upstream="api")],
    )
    return Core(config, now=0.0, wall=1e9, seed=1, entropy=bytes, filters=filters, watch=["faults", "exchanges"])


def accept(core: Core) -> ConnId:
    conn = core.next_conn_id()
    core.accepted(conn, "web", ("192.0.2.1", 1), HERE, 1.0)
    return conn


def dialled(effects: object, port: int) -> ConnId:
    assert isinstance(effects, list)
    (dial,) = [effect for effect in effects if isinstance(effect, Connect)]
    assert dial.address == ("127.0.0.1", port)
    return dial.conn


def sent(effects: object, conn: ConnId) -> bytes:
    assert isinstance(effects, list | tuple)
    return b"".join(effect.data for effect in effects if isinstance(effect, Send) and effect.conn == conn)


def notices(core: Core) -> list[ExchangeEnded]:
    taken = core.take_notices(9.0)
    assert [notice for notice in taken if isinstance(notice, Fault)] == []
    return [notice for notice in taken if isinstance(notice, ExchangeEnded)]


def asked(core: Core, client: ConnId) -> ConnId:
    """The connection on which the filter's request waits for its answer."""
    conn = dialled(core.data_received(client, GET, 1.0), 4000)
    request = sent(core.connected(conn, HERE, HERE, 1.0), conn)
    assert request.startswith(b"GET /auth HTTP/1.1\r\n")
    return conn


def test_the_request_goes_out_as_it_is_and_its_answer_decides() -> None:
    asking = Asking(limit=100)
    core = make_core(asking)
    client = accept(core)
    auth = dialled(core.data_received(client, GET, 1.0), 4000)
    request = sent(core.connected(auth, HERE, HERE, 1.0), auth)
    assert request == b"GET /auth HTTP/1.1\r\nhost: 127.0.0.1:4000\r\nx-asked: 1\r\n\r\n"
    assert core.ledger().leases == 1
    server = dialled(core.data_received(auth, OK, 1.0), 3000)
    ((head, content, is_whole),) = asking.fetched
    assert (head.status, head.headers.get(b"x-user"), content, is_whole) == (200, b"ann", b"hello", True)
    core.connected(server, HERE, HERE, 1.0)
    core.data_received(server, OK, 1.0)
    assert asking.seen == [b"/page"]
    assert [notice.target for notice in notices(core)] == [b"/page"]
    ledger = core.ledger()
    assert (ledger.exchanges, ledger.leases, ledger.upstreams) == (0, 0, 2)


def test_content_is_sent_along() -> None:
    core = make_core(Asking(content=b"token=1"))
    auth = dialled(core.data_received(accept(core), GET, 1.0), 4000)
    assert sent(core.connected(auth, HERE, HERE, 1.0), auth).endswith(b"content-length: 7\r\nx-asked: 1\r\n\r\ntoken=1")


def test_content_beyond_the_limit_is_not_given() -> None:
    asking = Asking(limit=3)
    core = make_core(asking)
    dialled(core.data_received(asked(core, accept(core)), OK, 1.0), 3000)
    assert [(f.content, f.is_whole) for f in asking.fetched] == [(b"hel", False)]


def test_content_without_end_is_cut() -> None:
    asking = Asking()
    core = make_core(asking)
    auth = asked(core, accept(core))
    core.data_received(auth, b"HTTP/1.1 204 No Content\r\n\r\n".replace(b"204 No Content", b"200 OK"), 1.0)
    core.data_received(auth, b"x" * DISCARDED, 1.0)
    assert not asking.fetched
    effects = core.data_received(auth, b"x", 1.0)
    dialled(effects, 3000)
    assert Abort(auth) in effects
    assert [(f.content, f.is_whole) for f in asking.fetched] == [(b"", False)]


def test_a_verdict_on_the_answer_is_obeyed() -> None:
    core = make_core(Asking(lambda exchange, fetched: Reject(fetched.head.status, rule="auth")))
    client = accept(core)
    answer = core.data_received(asked(core, client), OK.replace(b"200", b"401"), 1.0)
    assert sent(answer, client).startswith(b"HTTP/1.1 401 ")


def end_by_connect(core: Core, client: ConnId) -> object:
    return core.connect_failed(dialled(core.data_received(client, GET, 1.0), 4000), "ECONNREFUSED", 1.0)


def end_by_reset(core: Core, client: ConnId) -> object:
    auth = asked(core, client)
    core.data_received(auth, OK[:-1], 1.0)
    return core.connection_lost(auth, "ECONNRESET", 1.0)


def end_by_time(core: Core, client: ConnId) -> object:
    asked(core, client)
    return core.timer_expired(6.0)


ENDS: dict[Callable[[Core, ConnId], object], Outcome] = {
    end_by_connect: Outcome("upstream_failed", "connect"),
    end_by_reset: Outcome("upstream_failed", "response_body"),
    end_by_time: Outcome("timed_out", "exchange"),
}


@pytest.mark.parametrize("end", ENDS)
def test_without_an_answer_the_filter_decides_otherwise(end: Callable[[Core, ConnId], object]) -> None:
    asking = Asking()
    core = make_core(asking)
    client = accept(core)
    assert sent(end(core, client), client).startswith(b"HTTP/1.1 403 ")
    assert asking.failed == [ENDS[end]]
    assert [notice.outcome for notice in notices(core)] == [Outcome("refused", "auth")]
    assert core.ledger().leases == 0


@pytest.mark.parametrize("why", ["no such upstream", "no room"])
def test_what_can_not_be_asked_at_all_is_decided_at_once(why: str) -> None:
    asking = Asking(upstream="nowhere" if why == "no such upstream" else "auth")
    core = make_core(asking, max_exchanges=1)
    if why == "no room":
        asked(core, accept(core))
    client = accept(core)
    assert sent(core.data_received(client, GET, 1.0), client).startswith(b"HTTP/1.1 403 ")
    assert [outcome.cause for outcome in asking.failed] == ["refused"]


def test_a_client_that_leaves_ends_the_request_in_the_same_fact() -> None:
    asking = Asking()
    core = make_core(asking)
    client = accept(core)
    auth = asked(core, client)
    assert Abort(auth) in core.connection_lost(client, "ECONNRESET", 2.0)
    assert not asking.failed
    assert [notice.outcome for notice in notices(core)] == [Outcome("client_left", "request")]
    core.connection_lost(auth, None, 2.0)
    assert core.ledger().is_empty


class Renewing(Filter):
    """Lets each request pass, and asks for something else for whoever comes later."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def on_request(self, exchange: Exchange) -> Verdict | None:
        exchange.fetch("auth", RequestHead(b"GET", b"/auth", b"", Headers()), self)
        return Reject(404)

    def head(self, head: ResponseHead) -> None:
        self.told.append(head.status)

    def data(self, data: bytes) -> None:
        self.told.append(data)

    def ended(self, outcome: Outcome) -> None:
        self.told.append(outcome)


def test_what_nobody_waits_for_goes_on_when_the_client_has_its_answer() -> None:
    renewing = Renewing()
    core = make_core(renewing)
    client = accept(core)
    auth = asked(core, client)
    core.connection_lost(client, None, 1.0)
    core.data_received(auth, OK, 1.0)
    assert renewing.told == [200, b"hello", Outcome("completed")]
    assert [notice.outcome for notice in notices(core)] == [Outcome("refused", "filter")]


def test_the_deadline_of_a_drain_ends_it() -> None:
    renewing = Renewing()
    core = make_core(renewing)
    client = accept(core)
    auth = asked(core, client)
    core.connection_lost(client, None, 1.0)
    core.drain_requested(2.0, deadline=3.0)
    assert not core.is_drained
    assert Abort(auth) in core.timer_expired(3.0)
    assert renewing.told == [Outcome("drained")]
    core.connection_lost(auth, None, 3.0)
    core.take_notices(3.0)
    assert core.is_drained
    assert core.ledger().is_empty

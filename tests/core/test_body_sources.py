"""Answers of our own whose content comes as the client takes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Filter, Respond, Verdict, body_changes
from proxycore.composition.streaming import BodyCut
from proxycore.config import Config, Limits, Listener, Route, Upstream
from proxycore.core import Core
from proxycore.words.effects import Abort, Close, Effect, Send
from proxycore.words.errors import Outcome
from proxycore.words.ids import ConnId
from proxycore.words.messages import ABSENT, UNKNOWN, Headers, ResponseHead
from proxycore.words.notices import ExchangeEnded, Fault

BUFFER = 1024
HERE = ("127.0.0.1", 80)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Source:
    """Gives what is put into `pieces`; an exception among them is raised."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = list(pieces)
        self.wake: Callable[[], None] | None = None
        self.closed = 0

    def begin(self, wake: Callable[[], None]) -> None:
        assert self.wake is None
        self.wake = wake

    def pull(self) -> bytes | None:
        assert not self.closed
        if not self.pieces:
            return None
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.closed += 1

    def add(self, *pieces: bytes | Exception) -> None:
        self.pieces += pieces
        assert self.wake is not None
        self.wake()


class Answering(Filter):
    def __init__(self, source: Source, status: int = 200, length: int = UNKNOWN) -> None:
        self.answer = Respond(ResponseHead(status, Headers(), length=length), source)

    def on_request(self, exchange: Exchange) -> Verdict | None:
        return self.answer


def make_core(*filters: Filter) -> Core:
    config = Config(
        limits=Limits(buffer=BUFFER),
        listeners=[Listener(name="web", bind="127.0.0.1:0")],
        upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"])},
        routes=[Route(upstream="api")],
    )
    return Core(config, now=0.0, wall=1e9, seed=1, entropy=bytes, filters=filters, watch=["faults", "exchanges"])


def accept(core: Core) -> ConnId:
    conn = core.next_conn_id()
    core.accepted(conn, "web", ("192.0.2.1", 1), HERE, 1.0)
    return conn


def sent(effects: object) -> bytes:
    assert isinstance(effects, list | tuple)
    return b"".join(effect.data for effect in effects if isinstance(effect, Send))


def kinds(effects: object) -> set[type[Effect]]:
    assert isinstance(effects, list | tuple)
    return {type(effect) for effect in effects}


def outcomes(core: Core) -> list[Outcome]:
    return [notice.outcome for notice in core.take_notices(9.0) if isinstance(notice, ExchangeEnded)]


def test_content_of_a_known_length_is_sent_as_it_is_pulled() -> None:
    source = Source(b"hel", b"lo", b"")
    core = make_core(Answering(source, length=5))
    answer = sent(core.data_received(accept(core), GET, 1.0))
    assert b"content-length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\nhello")
    assert source.closed == 1
    assert outcomes(core) == [Outcome("completed")]


@pytest.mark.parametrize("length", [UNKNOWN, ABSENT])
def test_content_of_unknown_length_is_chunked_and_the_connection_is_kept(length: int) -> None:
    source = Source(b"hello", b"")
    core = make_core(Answering(source, length=length))
    client = accept(core)
    assert sent(core.data_received(client, GET, 1.0)).endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    source.pieces, source.wake, source.closed = [b"again", b""], None, 0
    assert sent(core.data_received(client, GET, 2.0)).endswith(b"5\r\nagain\r\n0\r\n\r\n")


def test_a_source_that_has_nothing_yet_is_pulled_again_when_it_wakes_us() -> None:
    source = Source(b"one")
    core = make_core(Answering(source))
    assert sent(core.data_received(accept(core), GET, 1.0)).endswith(b"3\r\none\r\n")
    source.add(b"two")
    assert core.next_deadline() == 1.0
    assert sent(core.timer_expired(1.0)) == b"3\r\ntwo\r\n"
    source.add(b"")
    assert sent(core.timer_expired(1.0)) == b"0\r\n\r\n"
    assert source.closed == 1
    core.take_notices(1.0)
    assert core.ledger().exchanges == 0
    source.add(b"too late")
    assert not core.timer_expired(1.0)


def test_no_more_than_the_buffer_is_pulled_in_one_fact() -> None:
    source = Source(*[b"x" * 300] * 10, b"")
    core = make_core(Answering(source, length=3000))
    core.data_received(accept(core), GET, 1.0)
    assert len(source.pieces) == 7
    assert not core.timer_expired(1.0)
    assert len(sent(core.timer_expired(1.1))) == 1200
    core.timer_expired(1.2)
    assert source.closed == 1


def test_a_client_that_takes_nothing_is_pulled_for_no_more_until_it_does() -> None:
    source = Source(b"x" * BUFFER)
    core = make_core(Answering(source))
    client = accept(core)
    core.data_received(client, GET, 1.0)
    core.writing_paused(client, 1.0)
    source.add(b"y" * BUFFER, b"z", b"")
    core.timer_expired(1.0)
    assert source.pieces == [b"y" * BUFFER, b"z", b""]
    assert sent(core.writing_resumed(client, 2.0)).endswith(b"y\r\n")
    assert sent(core.timer_expired(2.1)) == b"1\r\nz\r\n0\r\n\r\n"


@pytest.mark.parametrize(("method", "status", "length"), [(b"HEAD", 200, 5), (b"GET", 304, 5), (b"GET", 204, 5)])
def test_a_source_is_not_begun_where_no_content_follows(method: bytes, status: int, length: int) -> None:
    source = Source(b"hello", b"")
    core = make_core(Answering(source, status, length))
    answer = sent(core.data_received(accept(core), GET.replace(b"GET", method), 1.0))
    assert answer.endswith(b"\r\n\r\n")
    assert (b"content-length: 5\r\n" in answer) == (method == b"HEAD")
    assert source.wake is None
    assert not source.closed
    assert outcomes(core) == [Outcome("completed")]


def test_a_client_that_leaves_closes_the_source() -> None:
    source = Source(b"one")
    core = make_core(Answering(source))
    client = accept(core)
    core.data_received(client, GET, 1.0)
    core.connection_lost(client, "ECONNRESET", 2.0)
    assert source.closed == 1
    assert outcomes(core) == [Outcome("client_left", "response_body")]
    assert core.ledger().is_empty


def test_a_source_that_is_cut_cuts_the_response() -> None:
    source = Source(b"one", BodyCut())
    core = make_core(Answering(source))
    effects = core.data_received(accept(core), GET, 1.0)
    assert sent(effects).endswith(b"3\r\none\r\n")
    assert source.closed == 1
    assert outcomes(core) == [Outcome("upstream_failed", "response_body")]


@pytest.mark.parametrize("pieces", [(b"one", RuntimeError("broken")), (b"one", b"")])
def test_a_source_that_fails_or_gives_too_little_is_a_fault_and_cuts_the_response(
    pieces: tuple[bytes | Exception, ...],
) -> None:
    source = Source(*pieces)
    core = make_core(Answering(source, length=10))
    effects = core.data_received(accept(core), GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), 1.0)
    assert kinds(effects) & {Close, Abort}
    notices = core.take_notices(2.0)
    assert [notice.where for notice in notices if isinstance(notice, Fault)] == [
        "the content of an answer, in exchange 1"
    ]
    assert [n.outcome for n in notices if isinstance(n, ExchangeEnded)] == [Outcome("refused", "fault")]
    assert source.closed == 1


class Shouting(Filter):
    def on_response(self, exchange: Exchange, head: ResponseHead) -> Respond | None:
        body_changes(head)
        return None

    def on_response_data(self, exchange: Exchange, data: bytes, last: bool) -> bytes:
        return data.upper() + b"!" if last else data.upper()


def test_filters_of_content_see_each_piece() -> None:
    core = make_core(Shouting(), Answering(Source(b"hel", b"lo", b""), length=5))
    answer = sent(core.data_received(accept(core), GET, 1.0))
    assert answer.endswith(b"3\r\nHEL\r\n2\r\nLO\r\n1\r\n!\r\n0\r\n\r\n")

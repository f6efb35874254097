"""Exchanges on streams of HTTP/2: side by side, in every order, and with every end."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from h2.connection import H2Connection

from proxycore.composition.clients import FirstBytes
from proxycore.composition.draining import GRACE
from proxycore.composition.http2_connection import Http2Connection
from proxycore.composition.http2_stream import Http2Stream
from proxycore.composition.wire import Wire
from proxycore.config import Config, Limits, Listener, Route, Timeouts
from proxycore.mechanisms.http2 import frames
from proxycore.mechanisms.http2.session import Session
from proxycore.testing.playbook import (
    Handle,
    Playbook,
    abort,
    accepted,
    close,
    connect,
    connect_failed,
    connected,
    containing,
    drain,
    eof,
    exchange_ended,
    lost,
    nothing,
    pause,
    paused,
    peer_ended,
    received,
    resume,
    resumed,
    send,
    send_eof,
    starting,
    stop_accepting,
    tick,
)
from tests.http2.wire import GET, OPENING, POST, SETTINGS_ACK, data, head, ping, reset
from tests.playbooks.scripts import GET as GET_1
from tests.playbooks.scripts import GET_OUT, OK, OK_OUT, ONE, config
from tests.playbooks.streams import GREETING, opened, sends

OK_FRAMES = ("1 HEADERS 200", "1 DATA b'hi' end")
OURS = [*GET[:3], (b":path", b"/own")]


def h2c(**settings: Any) -> Config:
    """One listener of both protocols, one upstream, and a route of our own."""
    return config(
        listeners=[Listener(name="web", bind="192.0.2.10:80", protocols=["http/1.1", "h2c"])],
        routes=[Route(match={"path": "/own"}, respond={"status": 200, "body": "ours"}), Route(upstream="api")],
        **settings,
    )


def asked(server: Handle, *more: bytes) -> Any:
    return send(server, containing(b"GET /a HTTP/1.1\r\nhost: a.test\r\n", b"via: 2 proxycore\r\n", *more))


def test_a_request_and_its_response() -> None:
    client, server = Handle("client"), Handle("server")
    book = Playbook(h2c()).run(
        *opened(client),
        received(client, head(1)) >> connect(server, ONE),
        connected(server) >> asked(server, b"x-forwarded-proto: http\r\n"),
        received(server, OK) >> (sends(client, *OK_FRAMES), exchange_ended("completed")),
        received(client, head(3)) >> asked(server),
        received(server, OK) >> (sends(client, "3 HEADERS 200", "3 DATA b'hi' end"), exchange_ended("completed")),
        lost(client) >> nothing,
    )
    assert [notice.version for notice in book.notices] == [b"2", b"2"]
    assert [notice.scheme for notice in book.notices] == [b"http", b"http"]


def test_a_stream_that_is_reset_while_its_server_is_dialled() -> None:
    """The story of DESIGN's last section: what goes on for one stream ends in that fact, and nothing else does."""
    client, one, two = Handle("client"), Handle("one"), Handle("two")
    Playbook(h2c()).run(
        *opened(client),
        received(client, head(1)) >> connect(one, ONE),
        received(client, head(3)) >> connect(two, ONE),
        received(client, reset(1)) >> (abort(one), exchange_ended("client_left", "connect")),
        connect_failed(one, "ECANCELED") >> nothing,
        connected(two) >> asked(two),
        received(two, OK) >> (sends(client, "3 HEADERS 200", "3 DATA b'hi' end"), exchange_ended("completed")),
    )


def test_answers_come_in_whichever_order() -> None:
    client, one, two = Handle("client"), Handle("one"), Handle("two")
    Playbook(h2c()).run(
        *opened(client),
        received(client, head(1) + head(3) + head(5, OURS))
        >> (sends(client, "5 HEADERS 200", "5 DATA b'ours' end"), connect(one, ONE), connect(two, ONE),
            exchange_ended("completed")),
        connected(one) >> asked(one),
        connected(two) >> asked(two),
        received(two, OK) >> (sends(client, "3 HEADERS 200", "3 DATA b'hi' end"), exchange_ended("completed")),
        received(one, OK) >> (sends(client, *OK_FRAMES), exchange_ended("completed")),
    )  # fmt: skip


def started(client: Handle, server: Handle, request: bytes = head(1)) -> tuple[Any, ...]:
    return (
        *opened(client),
        received(client, request) >> connect(server, ONE),
        connected(server) >> send(server, containing(b"via: 2 proxycore\r\n")),
    )


def test_a_reset_ends_the_work_upstream_in_that_fact() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(h2c()).run(
        *started(client, server),
        received(server, OK[:-1]) >> sends(client, "1 HEADERS 200", "1 DATA b'h'"),
        received(client, reset(1)) >> (abort(server), exchange_ended("client_left", "response_body")),
        lost(server) >> nothing,
        received(client, ping()) >> sends(client, "PING ACK"),
    )


def test_a_response_that_was_cut_is_a_reset_and_no_end() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(h2c()).run(
        *started(client, server),
        received(server, OK[:-1]) >> sends(client, "1 HEADERS 200", "1 DATA b'h'"),
        lost(server, "ECONNRESET") >> (sends(client, "1 RST 2"), exchange_ended("upstream_failed", "response_body")),
    )


def test_an_unending_response_that_was_cut_is_a_reset_too() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(h2c()).run(
        *started(client, server),
        received(server, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        >> sends(client, "1 HEADERS 200", "1 DATA b'abc'"),
        eof(server) >> (sends(client, "1 RST 2"), abort(server), exchange_ended("upstream_failed", "response_body")),
    )


def test_content_that_ends_with_its_connection_ends_the_stream() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(h2c()).run(
        *started(client, server),
        received(server, b"HTTP/1.1 200 OK\r\n\r\nabc") >> sends(client, "1 HEADERS 200", "1 DATA b'abc'"),
        eof(server) >> (sends(client, "1 DATA b'' end"), close(server), exchange_ended("completed")),
    )


def test_interim_heads_trailers_and_heads_alone() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(h2c()).run(
        *started(client, server),
        received(server, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n") >> sends(client, "1 HEADERS 103"),
        received(server, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 9\r\n\r\n")
        >> (sends(client, "1 HEADERS 200", "1 DATA b'hi'", "1 HEADERS [(b'x-sum', b'9')] end"),
            exchange_ended("completed")),
        received(client, head(3, [(b":method", b"HEAD"), *GET[1:]])) >> send(server, starting(b"HEAD /a HTTP/1.1\r\n")),
        received(server, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        >> (sends(client, "3 HEADERS 200 end"), exchange_ended("completed")),
        received(client, head(5)) >> asked(server),
        received(server, b"HTTP/1.1 304 Not Modified\r\n\r\n")
        >> (sends(client, "5 HEADERS 304 end"), exchange_ended("completed")),
    )  # fmt: skip


def test_content_and_trailers_of_a_request() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(h2c()).run(
        *opened(client),
        received(client, head(1, POST, ends=False)) >> connect(server, ONE),
        connected(server) >> send(server, containing(b"transfer-encoding: chunked\r\n")),
        received(client, data(1, b"abc")) >> send(server, b"3\r\nabc\r\n"),
        received(client, head(1, [(b"x-sum", b"9")])) >> send(server, b"0\r\nx-sum: 9\r\n\r\n"),
        received(server, OK) >> (sends(client, *OK_FRAMES), exchange_ended("completed")),
    )


def test_an_expectation_is_the_origins_to_meet() -> None:
    client, server = Handle("client"), Handle("server")
    request = head(1, [*POST, (b"content-length", b"3"), (b"expect", b"100-continue")], ends=False)
    Playbook(h2c()).run(
        *opened(client),
        received(client, request) >> connect(server, ONE),
        connected(server) >> send(server, containing(b"expect: 100-continue\r\n", b"content-length: 3\r\n")),
        received(server, b"HTTP/1.1 100 Continue\r\n\r\n") >> sends(client, "1 HEADERS 100"),
        received(client, data(1, b"abc", ends=True)) >> send(server, b"abc"),
        received(server, OK) >> (sends(client, *OK_FRAMES), exchange_ended("completed")),
    )


def test_an_answer_before_the_request_has_ended() -> None:
    """What is still on its way is passed over, and a reset would tell some clients that the answer was lost."""
    client, server = Handle("client"), Handle("server")
    book = Playbook(h2c()).run(
        *started(client, server, head(1, POST, ends=False)),
        received(server, OK) >> (sends(client, *OK_FRAMES), abort(server), exchange_ended("completed")),
        received(client, data(1, b"x" * 100)) >> nothing,
        received(client, data(1, ends=True)) >> nothing,
        received(client, head(3, OURS))
        >> (sends(client, "3 HEADERS 200", "3 DATA b'ours' end"), exchange_ended("completed")),
        tick(10.0) >> nothing,
    )
    assert book.core.ledger().exchanges == 0


def test_a_client_that_goes_on_sending_what_nobody_wants() -> None:
    """RFC 9113 section 8.1: the answer is whole, and after `timeouts.linger` a reset without an error follows."""
    client, server = Handle("client"), Handle("server")
    Playbook(h2c(timeouts=Timeouts(linger=2))).run(
        *started(client, server, head(1, POST, ends=False)),
        received(server, OK) >> (sends(client, *OK_FRAMES), abort(server), exchange_ended("completed")),
        received(client, data(1, b"x" * 100)) >> nothing,
        tick(1.9) >> nothing,
        received(client, data(1, b"x" * 100)) >> nothing,
        tick(0.2) >> sends(client, "1 RST 0"),
        received(client, data(1, b"x" * 100)) >> nothing,
        received(client, head(3, OURS))
        >> (sends(client, "3 HEADERS 200", "3 DATA b'ours' end"), exchange_ended("completed")),
    )


def test_content_over_the_limit() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(h2c(limits=Limits(request_body=10))).run(
        *started(client, server, head(1, POST, ends=False)),
        received(client, data(1, b"x" * 11))
        >> (sends(client, "1 HEADERS 413", "1 DATA 96 end"), abort(server),
            exchange_ended("refused", "limits.request_body")),
    )  # fmt: skip


# ---- flow control


def reply(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


def test_credit_is_given_back_as_the_server_takes() -> None:
    client, server = Handle("client"), Handle("server")
    block = b"x" * 16_384
    Playbook(h2c()).run(
        *started(client, server, head(1, POST, ends=False)),
        received(client, data(1, block)) >> send(server),
        received(client, data(1, block)) >> (send(server), sends(client, "1 WINDOW +32768")),
        paused(server) >> nothing,
        received(client, data(1, block) * 2) >> (send(server), sends(client, "1 WINDOW +32768")),
        received(client, data(1, block) * 2) >> send(server),
        received(client, data(1, block) * 2) >> send(server),
        resumed(server) >> sends(client, "1 WINDOW +65536"),
        lost(client) >> (abort(server), exchange_ended("client_left", "response_head")),
    )  # fmt: skip


def test_a_window_that_is_shut_pauses_its_own_server_alone() -> None:
    client, one, two = Handle("client"), Handle("one"), Handle("two")
    narrow = OPENING + frames.settings({frames.SETTING_WINDOW: 4})
    large = reply(70_000)[:-1000]
    Playbook(h2c()).run(
        accepted(client) >> nothing,
        received(client, narrow) >> sends(client, *GREETING, "SETTINGS ACK", "SETTINGS ACK"),
        received(client, head(1)) >> connect(one, ONE),
        connected(one) >> asked(one),
        received(client, head(3)) >> connect(two, ONE),
        connected(two) >> asked(two),
        received(one, large) >> (sends(client, "1 HEADERS 200", "1 DATA b'xxxx'"), pause(one)),
        received(two, OK) >> (sends(client, "3 HEADERS 200", "3 DATA b'hi' end"), exchange_ended("completed")),
        received(client, frames.window_update(1, 1)) >> sends(client, "1 DATA b'x'"),
        received(client, frames.window_update(1, 40_000))
        >> (sends(client, "1 DATA 16384", "1 DATA 16384", "1 DATA 7232"), resume(one)),
        received(client, frames.window_update(1, 50_000)) >> sends(client, "1 DATA 16384", "1 DATA 9144"),
        received(client, frames.window_update(0, 50_000)) >> sends(client, "1 DATA 3467"),
        received(one, b"x" * 1000) >> (sends(client, "1 DATA 1000 end"), exchange_ended("completed")),
    )  # fmt: skip


def test_streams_take_turns() -> None:
    client, one, two = Handle("client"), Handle("one"), Handle("two")
    Playbook(h2c()).run(
        *opened(client, settings=OPENING + frames.settings({frames.SETTING_WINDOW: 0})[:0]),
        received(client, frames.settings({frames.SETTING_WINDOW: 0})) >> sends(client, "SETTINGS ACK"),
        received(client, head(1)) >> connect(one, ONE),
        connected(one) >> asked(one),
        received(client, head(3)) >> connect(two, ONE),
        connected(two) >> asked(two),
        received(one, reply(40_000)) >> sends(client, "1 HEADERS 200"),
        received(two, reply(20_000)) >> sends(client, "3 HEADERS 200"),
        received(client, frames.settings({frames.SETTING_WINDOW: 65_535}))
        >> (sends(client, "SETTINGS ACK", "1 DATA 16384", "3 DATA 16384", "1 DATA 16384", "3 DATA 3616 end",
                  "1 DATA 7232 end"), exchange_ended("completed"), exchange_ended("completed")),
    )  # fmt: skip


def test_nothing_is_pumped_while_the_kernel_takes_nothing() -> None:
    client, one, two = Handle("client"), Handle("one"), Handle("two")
    Playbook(h2c()).run(
        *opened(client),
        received(client, head(1)) >> connect(one, ONE),
        connected(one) >> asked(one),
        received(client, head(3)) >> connect(two, ONE),
        connected(two) >> asked(two),
        received(one, OK[:-1]) >> sends(client, "1 HEADERS 200", "1 DATA b'h'"),
        paused(client) >> nothing,
        received(one, b"i") >> nothing,
        received(two, OK) >> nothing,
        received(client, ping()) >> sends(client, "PING ACK"),
        resumed(client) >> (sends(client, "1 DATA b'i' end", "3 HEADERS 200", "3 DATA b'hi' end"),
                            exchange_ended("completed"), exchange_ended("completed")),
    )  # fmt: skip


def test_a_client_that_opens_no_window_is_given_up() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(h2c(timeouts=Timeouts(send=10))).run(
        *opened(client),
        received(client, frames.settings({frames.SETTING_WINDOW: 1})) >> sends(client, "SETTINGS ACK"),
        received(client, head(1)) >> connect(server, ONE),
        connected(server) >> asked(server),
        received(server, OK) >> sends(client, "1 HEADERS 200", "1 DATA b'h'"),
        tick(9.0) >> nothing,
        tick(1.5) >> (sends(client, "1 RST 8"), exchange_ended("timed_out", "send")),
        received(client, head(3, OURS)) >> sends(client, "3 HEADERS 200", "3 DATA b'o'"),
        received(client, reset(3)) >> exchange_ended("client_left", "response_body"),
    )


def test_a_client_that_takes_no_bytes_at_all() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(h2c(timeouts=Timeouts(send=10))).run(
        *started(client, server),
        received(server, OK[:-1]) >> sends(client, "1 HEADERS 200", "1 DATA b'h'"),
        paused(client) >> nothing,
        tick(10.5) >> (abort(client), abort(server), exchange_ended("timed_out", "send")),
        lost(client) >> nothing,
    )


def test_content_that_comes_too_slowly() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(h2c(timeouts=Timeouts(request_body=5))).run(
        *started(client, server, head(1, POST, ends=False)),
        tick(5.5) >> (sends(client, "1 HEADERS 408", "1 DATA 93 end"), abort(server),
                      exchange_ended("timed_out", "request_body")),
    )  # fmt: skip


# ---- faults


def test_a_malformed_request_is_reset_and_told_of() -> None:
    client = Handle("client")
    book = Playbook(h2c()).run(
        *opened(client),
        received(client, head(1, [*GET, (b"connection", b"close")]) + head(3, OURS))
        >> (sends(client, "1 RST 1", "3 HEADERS 200", "3 DATA b'ours' end"), exchange_ended("refused", "framing"),
            exchange_ended("completed")),
    )  # fmt: skip
    malformed, served = book.notices
    assert (malformed.status, served.status) == (0, 200)
    assert (malformed.method, malformed.target) == (b"GET", b"/a")
    assert malformed.outcome.reason == "a field of a connection: connection"


def test_what_of_a_malformed_request_can_be_read_is_told() -> None:
    client = Handle("client")
    fields = [(b":method", b"G ET"), (b":path", b"/" + b"x" * 10_000)]
    book = Playbook(h2c()).run(
        *opened(client),
        received(client, head(1, fields)) >> (sends(client, "1 RST 1"), exchange_ended("refused", "framing")),
    )
    (ended,) = book.notices
    assert (ended.method, ended.target) == (b"G ET", b"/" + b"x" * 8_191)
    assert ended.outcome.reason == "no method"


def test_content_that_contradicts_its_length_ends_the_work_upstream() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(h2c()).run(
        *started(client, server, head(1, [*POST, (b"content-length", b"3")], ends=False)),
        received(client, data(1, b"abcd"))
        >> (sends(client, "1 RST 1"), abort(server), exchange_ended("refused", "framing")),
    )


@pytest.mark.parametrize(
    ("length", "came"),
    [(7, exchange_ended("completed")), (9, exchange_ended("client_left", "response_body"))],
    ids=["whole", "too short"],
)
def test_a_turn_never_ends_within_what_one_frame_tells(length: int, came: Any) -> None:
    """Else we'd answer on a stream that the session knows to be closed, and nobody else does yet."""
    client = Handle("client")
    before = b"".join(head(stream, OURS) for stream in range(1, 61, 2))
    upload = [POST[0], *OURS[1:], (b"content-length", b"%d" % length)]
    Playbook(h2c()).run(
        *opened(client),
        received(client, before + head(61, upload, ends=False) + data(61, b"content", ends=True))
        >> (send(client), pause(client), *[exchange_ended("completed")] * 30, came),
        tick(0.01) >> resume(client),
    )


@pytest.mark.parametrize(
    ("fields", "status"),
    [([(b":method", b"CONNECT"), GET[2]], 405), ([GET[0], (b":scheme", b"https"), *GET[2:]], 421)],
    ids=["CONNECT", "another scheme"],
)
def test_what_is_not_served_gets_an_answer(fields: list[tuple[bytes, bytes]], status: int) -> None:
    client = Handle("client")
    book = Playbook(h2c()).run(
        *opened(client),
        received(client, head(1, [*fields, (b"accept", b"application/json")]))
        >> (send(client, containing(b'{"status": %d' % status)), exchange_ended("refused", "framing")),
    )
    (ended,) = book.notices
    assert ended.status == status
    if status == 405:
        assert (ended.method, ended.target) == (b"CONNECT", b"a.test")


def test_a_connection_error_ends_everything() -> None:
    client, server = Handle("client"), Handle("server")
    book = Playbook(h2c()).run(
        *started(client, server),
        received(client, data(0, b"x"))
        >> (sends(client, "GOAWAY 1 1"), abort(server), send_eof(client), exchange_ended("refused", "framing")),
        lost(server) >> nothing,
        received(client, b"whatever") >> nothing,
        tick(3.0) >> close(client),
        lost(client) >> nothing,
    )
    assert book.is_empty()


def test_rapid_resets_end_the_connection() -> None:
    client = Handle("client")
    book = Playbook(h2c(limits=Limits(stream_resets="3/10s"))).run(*opened(client))
    book.run(
        received(client, b"".join(head(stream, GET[:2]) for stream in (1, 3, 5, 7)))
        >> (sends(client, "1 RST 1", "3 RST 1", "5 RST 1", "GOAWAY 7 11"), send_eof(client),
            *[exchange_ended("refused", "framing")] * 3),
    )  # fmt: skip


def test_a_header_block_that_does_not_end() -> None:
    client = Handle("client")
    Playbook(h2c(timeouts=Timeouts(request_head=5))).run(
        *opened(client),
        received(client, frames.frame(frames.HEADERS, 0, 1, b"\x82")) >> nothing,
        tick(3.0) >> nothing,
        received(client, frames.frame(frames.CONTINUATION, 0, 1, b"\x86")) >> nothing,
        tick(2.5) >> (sends(client, "GOAWAY 0 11"), send_eof(client)),
    )


# ---- how a connection begins and ends


@pytest.mark.parametrize("cut", [1, 3, 13, 23, 24, 30, len(OPENING)])
def test_the_first_bytes_decide(cut: int) -> None:
    client = Handle("client")
    book = Playbook(h2c()).run(accepted(client) >> nothing)
    for piece in (OPENING[:cut], OPENING[cut:] + SETTINGS_ACK, head(1, OURS)):
        book.core.data_received(client.number, piece, 0.0)  # type: ignore[arg-type]
    book.core.take_notices(0.0)
    assert [client.state for client in book.core._engine.clients.values()] == ["open"]  # type: ignore[attr-defined]


def test_http1_is_spoken_on_the_same_listener() -> None:
    client, server = Handle("client"), Handle("server")
    post = b"P" + GET_1.replace(b"GET", b"OST")
    Playbook(h2c()).run(
        accepted(client) >> nothing,
        received(client, post[:1]) >> nothing,
        received(client, post[1:]) >> connect(server, ONE),
        connected(server) >> send(server, starting(b"POST /a HTTP/1.1\r\n")),
        received(server, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
        received(client, GET_1) >> send(server, GET_OUT),
    )


def test_a_beginning_that_is_nothing() -> None:
    for cut in (0, 1, 13):
        client = Handle("client")
        book = Playbook(h2c(timeouts=Timeouts(request_head=5))).run(accepted(client) >> nothing)
        if cut:
            book.run(received(client, OPENING[:cut]) >> nothing)
            book.run(tick(6.0) >> (send(client, starting(b"HTTP/1.1 408 ")), send_eof(client),
                                   exchange_ended("timed_out", "request_head")))  # fmt: skip
        else:
            book.run(tick(6.0) >> close(client))
        book.run(lost(client) >> nothing)
        assert book.is_empty()


def test_a_beginning_that_is_left() -> None:
    for last in (eof, lost):
        client = Handle("client")
        book = Playbook(h2c()).run(accepted(client) >> nothing, received(client, OPENING[:10]) >> nothing)
        book.run(last(client) >> (close(client) if last is eof else nothing))
        if last is eof:
            book.run(lost(client) >> nothing)
        assert book.is_empty()


def test_a_preface_without_settings() -> None:
    client = Handle("client")
    Playbook(h2c(timeouts=Timeouts(request_head=5))).run(
        accepted(client) >> nothing,
        received(client, OPENING[:24]) >> sends(client, *GREETING),
        tick(5.5) >> (sends(client, "GOAWAY 0 0"), send_eof(client)),
    )


def test_an_idle_connection_is_closed_and_no_ping_keeps_it() -> None:
    client = Handle("client")
    book = Playbook(h2c(timeouts=Timeouts(idle=20))).run(
        *opened(client),
        tick(15.0) >> nothing,
        received(client, ping()) >> sends(client, "PING ACK"),
        tick(6.0) >> (sends(client, "GOAWAY 0 0"), send_eof(client)),
        eof(client) >> close(client),
        lost(client) >> nothing,
    )
    assert book.is_empty()


def drained(client: Handle) -> tuple[Any, ...]:
    return (stop_accepting(), sends(client, "GOAWAY 2147483647 0", "PING"))


PONG = ping(b"proxycor", ack=True)


def test_a_drain_lets_in_what_is_on_its_way_and_finishes_it() -> None:
    client, server = Handle("client"), Handle("server")
    book = Playbook(h2c()).run(
        *started(client, server),
        drain(30.0) >> (drained(client)[1], stop_accepting()),
        received(client, head(3, OURS) + PONG)
        >> (sends(client, "GOAWAY 3 0", "3 HEADERS 200", "3 DATA b'ours' end"), exchange_ended("completed")),
        received(client, head(5, OURS)) >> sends(client, "5 RST 7"),
        received(server, OK) >> (sends(client, *OK_FRAMES), close(server), send_eof(client),
                                 exchange_ended("completed")),
        eof(client) >> close(client),
        lost(client) >> nothing,
        lost(server) >> nothing,
    )  # fmt: skip
    assert book.is_empty()
    assert book.core.is_drained


def test_a_drain_waits_only_so_long_for_the_client_to_hear() -> None:
    client = Handle("client")
    Playbook(h2c()).run(
        *opened(client),
        drain(30.0) >> (drained(client)[1], stop_accepting()),
        tick(1.5) >> (sends(client, "GOAWAY 0 0"), send_eof(client)),
    )


def test_the_deadline_of_a_drain() -> None:
    client, server = Handle("client"), Handle("server")
    book = Playbook(h2c()).run(
        *started(client, server),
        drain(5.0) >> (drained(client)[1], stop_accepting()),
        tick(6.0) >> (sends(client, "GOAWAY 1 0"), abort(client), abort(server), exchange_ended("drained")),
        lost(client) >> nothing,
        lost(server) >> nothing,
    )
    assert book.is_empty()


def test_after_so_many_requests_a_connection_is_done() -> None:
    client = Handle("client")
    Playbook(h2c(limits=Limits(requests_per_connection=2))).run(
        *opened(client),
        received(client, head(1, OURS))
        >> (sends(client, "1 HEADERS 200", "1 DATA b'ours' end"), exchange_ended("completed")),
        received(client, head(3, OURS))
        >> (sends(client, "GOAWAY 2147483647 0", "PING", "3 HEADERS 200", "3 DATA b'ours' end"),
            exchange_ended("completed")),
        received(client, PONG) >> (sends(client, "GOAWAY 3 0"), send_eof(client)),
    )  # fmt: skip


def test_a_client_that_says_goodbye() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(h2c()).run(
        *started(client, server),
        received(client, frames.goaway(0, 0)) >> sends(client, "GOAWAY 1 0"),
        received(server, OK) >> (sends(client, *OK_FRAMES), send_eof(client), exchange_ended("completed")),
        eof(client) >> close(client),
    )


@pytest.mark.parametrize("leave", [lost, eof, peer_ended])
def test_a_client_that_leaves_ends_the_work_of_all_its_streams(leave: Any) -> None:
    client, one, two = Handle("client"), Handle("one"), Handle("two")
    book = Playbook(h2c()).run(
        *opened(client),
        received(client, head(1)) >> connect(one, ONE),
        connected(one) >> asked(one),
        received(client, head(3)) >> connect(two, ONE),
    )
    ends = [exchange_ended("client_left", "response_head"), exchange_ended("client_left", "connect")]
    closing = [] if leave is lost else [close(client)]
    book.run(leave(client) >> (abort(one), abort(two), *closing, *ends))


def test_a_half_close_that_the_listener_lets_pass() -> None:
    client, one, two = Handle("client"), Handle("one"), Handle("two")
    listener = Listener(name="web", bind="192.0.2.10:80", protocols=["h2c"], half_close="finish")
    Playbook(config(listeners=[listener])).run(
        accepted(client) >> sends(client, *GREETING),
        received(client, OPENING + head(1) + head(3, POST, ends=False))
        >> (sends(client, "SETTINGS ACK"), connect(one, ONE), connect(two, ONE)),
        connected(one) >> asked(one),
        eof(client) >> (abort(two), exchange_ended("client_left", "connect")),
        received(one, OK) >> (sends(client, *OK_FRAMES), close(client), exchange_ended("completed")),
    )


ENDS = {
    "kept": [reset(1), ping()],
    "served": [head(3, OURS)],
    "broken": [data(0, b"x")],
    "in mid-head": [frames.frame(frames.HEADERS, 0, 3, b"\x82")],
    "in mid-upload": [head(3, POST, ends=False), data(3, b"x")],
    "left": [frames.goaway(0, 0)],
}


@pytest.mark.parametrize("sent", ENDS.values(), ids=ENDS.keys())
def test_what_has_ended_is_freed_at_once(sent: list[bytes]) -> None:
    core = Playbook(h2c()).core
    conn = core.next_conn_id()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        core.accepted(conn, "web", ("192.0.2.1", 5), ("192.0.2.10", 80), 0.0)
        for piece in (OPENING[:10], OPENING[10:] + SETTINGS_ACK, head(1), *sent):
            core.data_received(conn, piece, 0.0)
        core.connection_lost(conn, None, 0.0)
        core.take_notices(0.0)
        gc.collect()
        kinds = (Http2Connection, Http2Stream, Session, H2Connection, FirstBytes, Wire)
        assert [thing for thing in gc.garbage if isinstance(thing, kinds)] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_a_drain_waits_to_hear_which_protocol_a_new_client_speaks() -> None:
    client, silent = Handle("client"), Handle("silent")
    Playbook(h2c()).run(
        accepted(client) >> nothing,
        accepted(silent) >> nothing,
        drain(30.0) >> stop_accepting(),
        received(client, OPENING) >> sends(client, *GREETING, "GOAWAY 2147483647 0", "PING", "SETTINGS ACK"),
        received(client, head(1, OURS))
        >> (sends(client, "1 HEADERS 200", "1 DATA b'ours' end"), exchange_ended("completed")),
        # It is one of HTTP/1 then: told politely that there is no more.
        lost(client) >> nothing,
        tick(GRACE + 0.01) >> nothing,
        tick(GRACE) >> send_eof(silent),
        tick(GRACE + 0.01) >> close(silent),
    )

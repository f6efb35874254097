"""What passes, and how: interim responses, expectations, HEAD, pipelining, keep-alive, clocks."""

from __future__ import annotations

import pytest

from proxycore.testing.playbook import (
    Handle,
    Playbook,
    abort,
    accepted,
    close,
    connect,
    connected,
    containing,
    eof,
    exchange_ended,
    lost,
    nothing,
    pause,
    paused,
    received,
    resume,
    resumed,
    send,
    send_eof,
    starting,
    tick,
)
from tests.playbooks.scripts import GET, GET_OUT, OK, OK_OUT, ONE, POST, Limits, Timeouts, config, leased


def test_interim_responses_pass() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server),
        received(server, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        >> send(client, b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
        received(server, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
    )


def test_an_old_client_sees_no_interim_response() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        accepted(client) >> nothing,
        received(client, b"GET /a HTTP/1.0\r\nHost: a.test\r\n\r\n") >> connect(server, ONE),
        connected(server) >> send(server, GET_OUT),
        received(server, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n") >> nothing,
        received(server, OK)
        >> (
            send(client, containing(b"connection: close\r\n", b"\r\n\r\nhi")),
            close(client),
            exchange_ended("completed"),
        ),
    )


def test_an_expectation_is_the_origins_to_meet() -> None:
    client, server = Handle("client"), Handle("server")
    expecting = POST[:-2] + b"Expect: 100-continue\r\n\r\n"
    Playbook(config()).run(
        accepted(client) >> nothing,
        received(client, expecting) >> connect(server, ONE),
        connected(server) >> send(server, containing(b"expect: 100-continue\r\n")),
        received(server, b"HTTP/1.1 100 Continue\r\n\r\n") >> send(client, b"HTTP/1.1 100 Continue\r\n\r\n"),
        received(client, b"0123456789") >> send(server, b"0123456789"),
        received(server, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
    )


def test_a_response_without_a_date_gets_one() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server),
        received(server, b"HTTP/1.1 103 Early Hints\r\n\r\n") >> send(client, b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        received(server, b"HTTP/1.1 204 No Content\r\n\r\n")
        >> (
            send(client, b"HTTP/1.1 204 No Content\r\ndate: Fri, 15 Jan 2027 08:00:00 GMT\r\n\r\n"),
            exchange_ended("completed"),
        ),
        tick(1.0) >> nothing,
        received(client, GET) >> send(server, GET_OUT),
        received(server, b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        >> (
            send(client, b"HTTP/1.1 500 No\r\ncontent-length: 0\r\ndate: Fri, 15 Jan 2027 08:00:01 GMT\r\n\r\n"),
            exchange_ended("completed"),
        ),
    )


def test_the_length_of_a_head_response_passes_and_no_content_does() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server, GET.replace(b"GET", b"HEAD")),
        received(server, OK[:-2].replace(b": 2", b": 1234"))
        >> (send(client, OK_OUT[:-2].replace(b": 2", b": 1234")), exchange_ended("completed")),
        received(client, GET) >> send(server, GET_OUT),
    )


def test_pipelined_requests_are_answered_in_order() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        accepted(client) >> nothing,
        received(client, GET + POST + b"0123456789" + GET) >> connect(server, ONE),
        connected(server) >> send(server, GET_OUT),
        received(server, OK)
        >> (send(client, OK_OUT), send(server, containing(b"POST ", b"0123456789")), exchange_ended("completed")),
        received(server, OK) >> (send(client, OK_OUT), send(server, GET_OUT), exchange_ended("completed")),
        received(server, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
    )


def test_nothing_runs_behind_a_bad_request() -> None:
    client = Handle("client")
    Playbook(config()).run(
        accepted(client) >> nothing,
        received(client, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n" + GET)
        >> (send(client, starting(b"HTTP/1.1 400 ")), send_eof(client), exchange_ended("refused", "framing")),
        received(client, GET) >> nothing,
        eof(client) >> close(client),
    )


def test_a_head_must_come_whole_in_time_whatever_drips() -> None:
    client = Handle("client")
    Playbook(config(timeouts=Timeouts(request_head=10))).run(
        accepted(client) >> nothing,
        tick(4) >> nothing,
        received(client, GET[:5]) >> nothing,
        tick(4) >> nothing,
        received(client, GET[5:9]) >> nothing,
        tick(3)
        >> (send(client, starting(b"HTTP/1.1 408 ")), send_eof(client), exchange_ended("timed_out", "request_head")),
    )


def test_a_connection_that_never_speaks_is_closed() -> None:
    client = Handle("client")
    Playbook(config(timeouts=Timeouts(request_head=10))).run(
        accepted(client) >> nothing,
        tick(9.9) >> nothing,
        tick(0.2) >> close(client),
        lost(client) >> nothing,
    )


def test_an_idle_connection_is_closed_in_its_time() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(config(timeouts=Timeouts(idle=20), idle_timeout=7)).run(
        *leased(client, server),
        received(server, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
        tick(6.9) >> nothing,
        tick(0.2) >> close(server),
        lost(server) >> nothing,
        tick(12.8) >> nothing,
        tick(0.2) >> close(client),
        lost(client) >> nothing,
    )
    assert play.is_empty()


def test_content_that_stops_coming_is_a_408() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config(timeouts=Timeouts(request_body=5))).run(
        *leased(client, server, POST),
        tick(4) >> nothing,
        received(client, b"01") >> send(server, b"01"),
        tick(4) >> nothing,
        tick(2)
        >> (
            send(client, starting(b"HTTP/1.1 408 ")),
            abort(server),
            send_eof(client),
            exchange_ended("timed_out", "request_body"),
        ),
    )


def test_a_server_that_says_nothing_is_a_504() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config(timeouts=Timeouts(response_head=5))).run(
        *leased(client, server),
        tick(4.9) >> nothing,
        tick(0.2)
        >> (
            send(client, containing(b"HTTP/1.1 504 ", b"error=http_response_timeout")),
            abort(server),
            exchange_ended("timed_out", "response_head"),
        ),
    )


def test_a_server_that_says_nothing_is_a_504_also_where_its_client_was_slow_before() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config(timeouts=Timeouts(response_head=5), limits=Limits(buffer=1024))).run(
        *leased(client, server),
        received(client, GET) >> nothing,
        received(server, b"HTTP/1.1 200 OK\r\nContent-Length: 1500\r\n\r\n" + b"x" * 1500)
        >> (send(client), send(server, GET_OUT), exchange_ended("completed")),
        paused(client) >> pause(server),
        resumed(client) >> resume(server),
        tick(4.9) >> nothing,
        tick(0.2)
        >> (send(client, containing(b"HTTP/1.1 504 ")), abort(server), exchange_ended("timed_out", "response_head")),
    )


def test_the_clock_of_the_head_runs_from_when_the_last_of_the_request_has_left() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config(timeouts=Timeouts(response_head=5))).run(
        *leased(client, server, POST),
        received(client, b"0123456789") >> send(server),
        paused(server) >> nothing,
        tick(3) >> nothing,
        paused(server) >> nothing,
        tick(3) >> nothing,
        resumed(server) >> nothing,
        tick(4.9) >> nothing,
        tick(0.2)
        >> (send(client, containing(b"HTTP/1.1 504 ")), abort(server), exchange_ended("timed_out", "response_head")),
    )


def test_a_response_that_stops_is_cut() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config(timeouts=Timeouts(response_body=5))).run(
        *leased(client, server),
        received(server, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n") >> send(client),
        tick(4) >> nothing,
        received(server, b"1\r\nd\r\n") >> send(client),
        tick(4) >> nothing,
        tick(2) >> (abort(server), send_eof(client), exchange_ended("timed_out", "response_body")),
    )


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", b"505"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n", b"413"),
        (b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 300), b"414"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % (b"a" * 1100), b"431"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", b"417"),
    ],
)
def test_each_refusal_has_its_status(request_bytes: bytes, status: bytes) -> None:
    client = Handle("client")
    limits = Limits(request_body=50, request_target=256, request_head=1024)
    play = Playbook(config(limits=limits)).run(accepted(client) >> nothing)
    effects = play.core.data_received(client.number or 0, request_bytes, 0.0)  # type: ignore[arg-type]
    assert effects[0].data.startswith(b"HTTP/1.1 " + status)  # type: ignore[attr-defined]

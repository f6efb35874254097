"""Peers that take nothing, end half, or answer early: no wait without a clock, no growth without a limit."""

from __future__ import annotations

import pytest

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Filter, Retry
from proxycore.config import Listener
from proxycore.testing.playbook import (
    Handle,
    Playbook,
    abort,
    accepted,
    close,
    connect,
    connect_failed,
    connected,
    drain,
    ending,
    eof,
    exchange_ended,
    lost,
    nothing,
    pause,
    paused,
    received,
    resolve,
    resolved,
    resume,
    resumed,
    send,
    send_eof,
    starting,
    stop_accepting,
    tick,
)
from proxycore.words.errors import Failure
from tests.playbooks.scripts import (
    GET,
    GET_OUT,
    OK,
    OK_OUT,
    ONE,
    POST,
    SWITCHED,
    TWO,
    UPGRADE,
    Retries,
    Server,
    Timeouts,
    config,
    leased,
    two_servers,
)

LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000
BLOCK = b"x" * 40_000


def test_a_tunnel_reads_its_server_no_faster_than_its_client() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server, UPGRADE),
        received(server, SWITCHED) >> send(client, starting(b"HTTP/1.1 101")),
        received(server, b"x") >> send(client, b"x"),
        paused(client) >> nothing,
        received(server, BLOCK) >> send(client, BLOCK),
        received(server, BLOCK) >> (send(client, BLOCK), pause(server)),
        resumed(client) >> resume(server),
    )


def test_a_tunnel_whose_client_had_half_closed_passes_that_on() -> None:
    client, server = Handle("client"), Handle("server")
    listener = Listener(name="web", bind="192.0.2.10:80", half_close="finish")
    Playbook(config(listeners=[listener])).run(
        *leased(client, server, UPGRADE),
        eof(client) >> nothing,
        received(server, SWITCHED) >> (send(client, starting(b"HTTP/1.1 101")), send_eof(server)),
        eof(server) >> (send_eof(client), close(server), close(client), exchange_ended("completed")),
    )


def test_a_client_that_takes_no_bytes_is_cut_also_while_its_next_request_is_served() -> None:
    client, server = Handle("client"), Handle("server")
    book = Playbook(config(timeouts=Timeouts(send=10)))
    book.run(
        *leased(client, server),
        received(client, GET) >> nothing,
        received(server, LARGE) >> (send(client), send(client), send(server, GET_OUT), exchange_ended("completed")),
        paused(client) >> pause(server),
        tick(10) >> (abort(server), abort(client)),
        lost(client) >> exchange_ended("timed_out", "send"),
        lost(server) >> nothing,
    )
    assert book.is_empty()


def test_a_server_that_answers_while_the_request_waits_unsent_is_not_kept() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server, POST),
        received(client, b"0123456789") >> send(server, b"0123456789"),
        paused(server) >> nothing,
        received(server, OK) >> (send(client, OK_OUT), abort(server), exchange_ended("completed")),
    )


def test_a_status_is_not_tried_again_where_no_other_server_is_left() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config(retries=Retries(max=2, statuses=["5xx"]))).run(
        *leased(client, server),
        received(server, b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nhi")
        >> (send(client, starting(b"HTTP/1.1 500 No")), exchange_ended("completed")),
    )


def test_a_status_that_was_to_be_tried_again_is_answered_when_no_server_can() -> None:
    client, other, one, two = Handle("client"), Handle("other"), Handle("one"), Handle("two")
    servers = ("http://10.0.0.1:8080", Server(url="http://10.0.0.2:8080", max_connections=1))
    book = Playbook(config(*servers, queue=0, retries=Retries(max=2, statuses=["5xx"])))
    book.run(
        *leased(client, one),
        accepted(other) >> nothing,
        received(other, GET) >> connect(two, TWO),
        received(one, b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nhi")
        >> (send(client, starting(b"HTTP/1.1 500 ")), abort(one), exchange_ended("upstream_failed", "response_head")),
    )


def test_each_wait_in_the_queue_has_its_end() -> None:
    busy = [Handle("busy one"), Handle("busy two")]
    ones, twos, client, dialled = Handle("to one"), Handle("to two"), Handle("client"), Handle("dialled")
    servers = [Server(url=f"http://10.0.0.{n}:8080", max_connections=1) for n in (1, 2)]
    Playbook(config(*servers, queue_timeout=5, retries=Retries(max=2))).run(
        *leased(busy[0], ones),
        accepted(busy[1]) >> nothing,
        received(busy[1], GET) >> connect(twos, TWO),
        connected(twos) >> send(twos, GET_OUT),
        accepted(client) >> nothing,
        received(client, GET) >> nothing,
        tick(1) >> nothing,
        received(ones, OK[:-2] + b"hi") >> (send(busy[0], OK_OUT), send(ones, GET_OUT), exchange_ended("completed")),
        lost(ones, "ECONNRESET") >> connect(dialled, ONE),
        connect_failed(dialled) >> nothing,
        tick(6) >> (send(client, starting(b"HTTP/1.1 503")), exchange_ended("upstream_failed", "queue")),
    )


def test_a_slow_client_does_not_stop_the_clock_of_a_dial() -> None:
    client, server, next_server = Handle("client"), Handle("server"), Handle("next server")
    Playbook(config(timeouts=Timeouts(connect=5, send=100, idle=100), retries=Retries(max=0))).run(
        *leased(client, server),
        received(client, GET) >> nothing,
        received(server, LARGE.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        >> (send(client), send(client), close(server), connect(next_server, ONE), exchange_ended("completed")),
        paused(client) >> nothing,
        tick(5) >> (send(client, starting(b"HTTP/1.1 504")), abort(next_server)),
    )


def test_a_response_that_begins_while_the_client_is_slow_is_read_no_further_than_the_buffer() -> None:
    client, server, next_server = Handle("client"), Handle("server"), Handle("next server")
    Playbook(config(timeouts=Timeouts(response_head=30, send=100, idle=200))).run(
        *leased(client, server),
        received(client, GET) >> nothing,
        received(server, LARGE.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        >> (send(client), send(client), close(server), connect(next_server, ONE), exchange_ended("completed")),
        paused(client) >> nothing,
        connected(next_server) >> (send(next_server, GET_OUT), pause(next_server)),
        tick(40) >> nothing,
        resumed(client) >> resume(next_server),
        tick(30)
        >> (send(client, starting(b"HTTP/1.1 504")), abort(next_server), exchange_ended("timed_out", "response_head")),
    )


class TriesAgain(Filter):
    def on_upstream_error(self, exchange: Exchange, error: Failure) -> Retry:
        return Retry()


def test_a_filter_can_not_have_content_sent_again_that_is_gone() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(two_servers(retries=Retries(replay_body=4)), filters=[TriesAgain()]).run(
        *leased(client, server, POST),
        received(client, b"0123456789") >> send(server, b"0123456789"),
        lost(server, "ECONNRESET")
        >> (send(client, starting(b"HTTP/1.1 502")), exchange_ended("upstream_failed", "response_head")),
    )


@pytest.mark.parametrize(
    ("method", "filters", "kept"), [(b"PUT", [], 10), (b"POST", [], 0), (b"POST", [TriesAgain()], 10)]
)
def test_sent_content_is_kept_only_for_whom_it_may_be_sent_again(
    method: bytes, filters: list[Filter], kept: int
) -> None:
    client, server, other = Handle("client"), Handle("server"), Handle("other")
    book = Playbook(two_servers(), filters=filters)
    book.run(
        *leased(client, server, POST.replace(b"POST", method)),
        received(client, b"0123456789") >> send(server, b"0123456789"),
    )
    assert book.core.ledger().buffered == kept
    if kept:
        book.run(
            lost(server, "ECONNRESET") >> connect(other, TWO),
            connected(other) >> send(other, ending(b"\r\n\r\n0123456789")),
        )


def test_a_drain_lets_a_name_be_looked_up_for_a_request_that_waits_for_it() -> None:
    client, server, lookup = Handle("client"), Handle("server"), Handle("look-up")
    book = Playbook(config("http://api.test:8080"))
    book.run(
        tick(0) >> resolve(lookup, "api.test", 8080),
        accepted(client) >> nothing,
        received(client, GET) >> nothing,
        drain(60) >> stop_accepting(),
        resolved(lookup, "10.0.0.1") >> connect(server, ONE),
        connected(server) >> send(server, GET_OUT),
    )


EXPECTING = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") + b"0123456789"


def test_a_server_that_answers_without_the_100_that_was_expected_is_not_kept() -> None:
    """It may take content that comes all the same for a request: the desyncs of Expect of 2025."""
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server, EXPECTING),
        received(server, OK) >> (send(client, OK_OUT), close(server), exchange_ended("completed")),
    )


def test_a_server_that_asked_for_the_content_is_kept() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server, EXPECTING),
        received(server, b"HTTP/1.1 100 Continue\r\n\r\n") >> send(client, b"HTTP/1.1 100 Continue\r\n\r\n"),
        received(server, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
        received(client, GET) >> send(server, GET_OUT),
    )

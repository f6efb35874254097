"""Who left, and what follows: a client that goes away in any window ends the work upstream in the same fact."""

from __future__ import annotations

import pytest

from proxycore.testing.playbook import (
    Fact,
    Handle,
    Playbook,
    abort,
    accepted,
    anything,
    close,
    connect,
    connect_failed,
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
    Limits,
    Retries,
    Server,
    Timeouts,
    config,
    leased,
    two_servers,
)


def leaves(client: Handle) -> list[Fact]:
    return [lost(client, "ECONNRESET"), lost(client)]


@pytest.mark.parametrize("how", [0, 1])
def test_a_client_leaves_while_its_upstream_is_being_dialled(how: int) -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(config()).run(
        accepted(client) >> nothing,
        received(client, GET) >> connect(server, ONE),
        leaves(client)[how] >> (abort(server), exchange_ended("client_left", "connect")),
        connect_failed(server, "ECANCELED") >> nothing,
    )
    assert play.is_empty()


def test_a_dial_that_succeeds_while_it_is_aborted_carries_nothing() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(config()).run(
        accepted(client) >> nothing,
        received(client, GET) >> connect(server, ONE),
        lost(client) >> (abort(server), exchange_ended("client_left", "connect")),
        connected(server) >> nothing,
        lost(server) >> nothing,
    )
    assert play.is_empty()


def test_a_client_leaves_before_the_first_byte() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(config()).run(
        *leased(client, server),
        lost(client, "ECONNRESET") >> (abort(server), exchange_ended("client_left", "response_head")),
        lost(server) >> nothing,
    )
    assert play.is_empty()


def test_a_client_that_ends_its_side_has_left() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(config()).run(
        *leased(client, server),
        eof(client) >> (abort(server), close(client), exchange_ended("client_left", "response_head")),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()


def test_a_client_leaves_in_mid_stream() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(config()).run(
        *leased(client, server),
        received(server, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin") >> send(client),
        lost(client, "ECONNRESET") >> (abort(server), exchange_ended("client_left", "response_body")),
        lost(server) >> nothing,
    )
    assert play.is_empty()


def test_a_client_leaves_in_mid_upload() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server, POST),
        received(client, b"half ") >> send(server, b"half "),
        lost(client, "ECONNRESET") >> (abort(server), exchange_ended("client_left", "response_head")),
        lost(server) >> nothing,
    )


def test_a_client_leaves_while_queued() -> None:
    client, server, other = Handle("client"), Handle("server"), Handle("other")
    narrow = config(Server(url="http://10.0.0.1:8080", max_connections=1))
    Playbook(narrow).run(
        *leased(other, server),
        accepted(client) >> nothing,
        received(client, GET) >> nothing,
        lost(client) >> exchange_ended("client_left", "queue"),
        received(server, OK) >> (send(other, OK_OUT), exchange_ended("completed")),
    )


def test_the_first_in_the_queue_gets_the_connection_that_is_free() -> None:
    first, second, third, server = Handle("first"), Handle("second"), Handle("third"), Handle("server")
    Playbook(config(Server(url="http://10.0.0.1:8080", max_connections=1))).run(
        *leased(first, server),
        accepted(second) >> nothing,
        accepted(third) >> nothing,
        received(second, GET) >> nothing,
        received(third, GET) >> nothing,
        received(server, OK) >> (send(first, OK_OUT), send(server, GET_OUT), exchange_ended("completed")),
        received(server, OK) >> (send(second, OK_OUT), send(server, GET_OUT), exchange_ended("completed")),
        received(server, OK) >> (send(third, OK_OUT), exchange_ended("completed")),
    )


def test_either_side_of_a_tunnel_leaves() -> None:
    for who in ("client", "server"):
        client, server = Handle("client"), Handle("server")
        ending = (
            (lost(client) >> (abort(server), exchange_ended("client_left", "tunnel")), lost(server) >> nothing)
            if who == "client"
            else (
                lost(server, "ECONNRESET") >> (abort(client), exchange_ended("upstream_failed", "tunnel")),
                lost(client) >> nothing,
            )
        )
        play = Playbook(config()).run(
            *leased(client, server, UPGRADE),
            received(server, SWITCHED) >> send(client, starting(b"HTTP/1.1 101 ")),
            received(client, b"up") >> send(server, b"up"),
            received(server, b"down") >> send(client, b"down"),
            *ending,
        )
        assert play.is_empty()


@pytest.mark.parametrize("client_first", [True, False])
def test_a_tunnel_is_over_when_both_sides_have_ended(client_first: bool) -> None:
    client, server = Handle("client"), Handle("server")
    one, other = (client, server) if client_first else (server, client)
    play = Playbook(config()).run(
        *leased(client, server, UPGRADE),
        received(server, SWITCHED + b"early") >> send(client, containing(b"\r\n\r\nearly")),
        eof(one) >> send_eof(other),
        received(other, b"still here") >> send(one, b"still here"),
        eof(other) >> (send_eof(one), close(server), close(client), exchange_ended("completed")),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()


def test_an_origin_that_answers_before_the_request_has_ended_is_heard_at_once() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server, POST),
        received(server, b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        >> (
            send(client, containing(b"HTTP/1.1 413 ", b"connection: close\r\n")),
            abort(server),
            send_eof(client),
            exchange_ended("completed"),
        ),
        lost(server) >> nothing,
        received(client, b"still coming") >> nothing,
        eof(client) >> close(client),
        lost(client) >> nothing,
    )


def test_whoever_lingers_too_long_is_closed() -> None:
    client = Handle("client")
    Playbook(config(timeouts=Timeouts(linger=2))).run(
        accepted(client) >> nothing,
        received(client, b"nonsense\r\n\r\n")
        >> (send(client, starting(b"HTTP/1.1 400 ")), send_eof(client), exchange_ended("refused", "framing")),
        tick(1.9) >> nothing,
        received(client, b"x" * 10_000) >> nothing,
        tick(0.2) >> close(client),
    )


def test_a_backend_that_dies_in_mid_body_is_seen_as_a_cut_message() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server),
        received(server, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin") >> send(client),
        eof(server) >> (abort(server), send_eof(client), exchange_ended("upstream_failed", "response_body")),
    )


def test_a_body_that_ends_with_the_connection_is_whole_by_an_end_of_file_alone() -> None:
    for ending in ("eof", "lost"):
        client, server = Handle("client"), Handle("server")
        script = (
            *leased(client, server),
            received(server, b"HTTP/1.1 200 OK\r\n\r\nall") >> send(client, containing(b"chunked", b"3\r\nall\r\n")),
        )
        if ending == "eof":
            last = eof(server) >> (send(client, b"0\r\n\r\n"), close(server), exchange_ended("completed"))
        else:
            last = lost(server, "ECONNRESET") >> (send_eof(client), exchange_ended("upstream_failed", "response_body"))
        Playbook(config()).run(*script, last)


def test_an_old_client_learns_the_status_of_a_response_that_breaks_at_once() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        accepted(client) >> nothing,
        received(client, b"GET /a HTTP/1.0\r\nHost: a.test\r\n\r\n") >> connect(server, ONE),
        connected(server) >> send(server, GET_OUT),
        received(server, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\nno chunk\r\n")
        >> (
            send(client, containing(b"HTTP/1.1 200 OK\r\n", b"\r\n\r\nsome")),
            abort(server),
            abort(client),
            exchange_ended("upstream_failed", "response_body"),
        ),
    )


def test_a_refused_dial_goes_to_the_next_server() -> None:
    client, one, two = Handle("client"), Handle("one"), Handle("two")
    Playbook(two_servers()).run(
        accepted(client) >> nothing,
        received(client, POST + b"0123456789") >> connect(one, ONE),
        connect_failed(one) >> connect(two, TWO),
        connected(two) >> send(two, starting(b"POST ")),
        received(two, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
    )


def test_with_every_server_refusing_one_is_tried_again_and_then_the_client_hears_of_it() -> None:
    client, one, two, again = Handle("client"), Handle("one"), Handle("two"), Handle("again")
    Playbook(two_servers()).run(
        accepted(client) >> nothing,
        received(client, GET) >> connect(one, ONE),
        connect_failed(one) >> connect(two, TWO),
        connect_failed(two) >> nothing,
        tick(0.025) >> connect(again, TWO),
        connect_failed(again)
        >> (
            send(client, containing(b"HTTP/1.1 502 ", b"error=connection_refused")),
            exchange_ended("upstream_failed", "connect"),
        ),
    )


@pytest.mark.parametrize("method", [b"GET", b"PUT"])
def test_a_kept_connection_that_died_is_replaced_once(method: bytes) -> None:
    client, kept, fresh = Handle("client"), Handle("kept"), Handle("fresh")
    again = b"%b /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n" % method
    Playbook(config()).run(
        *leased(client, kept),
        received(kept, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
        received(client, again) >> send(kept, starting(method)),
        lost(kept, "ECONNRESET") >> connect(fresh, ONE),
        connected(fresh) >> send(fresh, starting(method)),
        received(fresh, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
    )


def test_a_post_is_never_sent_again_once_sent() -> None:
    client, kept = Handle("client"), Handle("kept")
    Playbook(config(retries=Retries(max=3))).run(
        *leased(client, kept),
        received(kept, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
        received(client, POST + b"0123456789") >> send(kept, starting(b"POST ")),
        lost(kept, "ECONNRESET")
        >> (send(client, starting(b"HTTP/1.1 502 ")), exchange_ended("upstream_failed", "response_head")),
    )


def test_a_connection_that_said_a_byte_too_many_is_never_used_again() -> None:
    client, first, second = Handle("client"), Handle("first"), Handle("second")
    Playbook(config()).run(
        *leased(client, first),
        received(first, OK + b"!") >> (send(client, OK_OUT), close(first), exchange_ended("completed")),
        lost(first) >> nothing,
        received(client, GET) >> connect(second, ONE),
    )


def test_an_idle_upstream_connection_that_speaks_is_closed() -> None:
    client, first, second = Handle("client"), Handle("first"), Handle("second")
    Playbook(config()).run(
        *leased(client, first),
        received(first, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
        received(first, b"HTTP/1.1 200 OK\r\n") >> close(first),
        received(client, GET) >> connect(second, ONE),
    )


def test_a_101_that_nobody_asked_for_is_a_502() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server),
        received(server, SWITCHED)
        >> (
            send(client, containing(b"HTTP/1.1 502 ", b"error=http_upgrade_failed")),
            abort(server),
            exchange_ended("upstream_failed", "response_head"),
        ),
    )


def test_an_exchange_is_over_when_its_last_bytes_have_left() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server),
        received(server, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbe") >> send(client),
        paused(client) >> nothing,
        received(server, b"gi") >> send(client, b"gi"),
        resumed(client) >> exchange_ended("completed"),
    )


def test_bytes_that_never_left_are_a_client_that_left() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server),
        received(server, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbe") >> send(client),
        paused(client) >> nothing,
        received(server, b"gi") >> send(client, b"gi"),
        lost(client, "ECONNRESET") >> exchange_ended("client_left", "response_body"),
    )


def test_a_client_that_takes_nothing_is_cut_off() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config(timeouts=Timeouts(send=5))).run(
        *leased(client, server),
        received(server, b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nbe") >> send(client, anything),
        paused(client) >> nothing,
        tick(4) >> nothing,
        paused(client) >> nothing,
        tick(4) >> nothing,
        tick(1.5) >> (abort(server), abort(client)),
        lost(client) >> exchange_ended("timed_out", "send"),
    )


def test_a_slow_client_stops_the_server_and_no_longer_than_it_must() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config(limits=Limits(buffer=1024))).run(
        *leased(client, server),
        received(server, b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n") >> send(client),
        paused(client) >> nothing,
        received(server, b"x" * 900) >> send(client),
        received(server, b"x" * 1000) >> (send(client), pause(server)),
        paused(client) >> nothing,
        resumed(client) >> resume(server),
        received(server, b"x" * 1000) >> send(client),
    )

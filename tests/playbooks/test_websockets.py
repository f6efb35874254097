"""WebSockets that pass as they come: their handshake, their ends, and the goodbye of a drain."""

from __future__ import annotations

import pytest

from proxycore import Exchange, Filter, Outcome
from proxycore.config import Config, Route
from proxycore.mechanisms.websocket.frames import BINARY, FIN, TEXT, close_frame, frame
from proxycore.testing.playbook import (
    Handle,
    Line,
    Playbook,
    abort,
    accepted,
    close,
    connect,
    connected,
    containing,
    drain,
    ending,
    eof,
    exchange_ended,
    lost,
    nothing,
    received,
    reloaded,
    send,
    send_eof,
    starting,
    stop_accepting,
    tick,
)
from tests.playbooks.scripts import ONE, Timeouts, config, leased

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MASK = b"\x01\x02\x03\x04"


def opening(*fields: bytes, method: bytes = b"GET") -> bytes:
    lines = [method + b" /a HTTP/1.1", b"Host: a.test", b"Connection: Upgrade", b"Upgrade: websocket", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


OPEN = opening(b"Sec-WebSocket-Key: " + KEY, b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Protocol: chat")


def switched(*fields: bytes, accept: bytes = ACCEPT) -> bytes:
    lines = [b"HTTP/1.1 101 Fine", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Accept: " + accept]
    return b"\r\n".join([*lines, *fields]) + b"\r\n\r\n"


SWITCHED = switched(b"Sec-WebSocket-Protocol: chat")


def opened(client: Handle, server: Handle) -> tuple[Line, ...]:
    """A WebSocket between the two."""
    return (
        *leased(client, server, OPEN),
        received(server, SWITCHED) >> send(client, starting(b"HTTP/1.1 101 Fine\r\n")),
    )


def hello(text: bytes = b"hello") -> bytes:
    """As a client sends it."""
    return frame(TEXT, text, MASK)


# ---- the handshake


def test_the_handshake_goes_to_the_server_first_and_its_answer_comes_as_it_is() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        accepted(client) >> nothing,
        received(client, OPEN + hello()) >> connect(server, ONE),
        connected(server)
        >> send(
            server,
            containing(
                b"connection: upgrade\r\nupgrade: websocket\r\n",
                b"sec-websocket-key: " + KEY,
                b"sec-websocket-protocol: chat\r\n",
            ),
        ),
        received(client, hello(b"still too early")) >> nothing,
        received(server, SWITCHED + frame(TEXT, b"at once"))
        >> (
            send(
                client,
                containing(
                    b"HTTP/1.1 101 Fine\r\nconnection: upgrade\r\nupgrade: websocket\r\n",
                    b"sec-websocket-accept: " + ACCEPT,
                    b"sec-websocket-protocol: chat\r\n",
                    b"\r\n\r\n" + frame(TEXT, b"at once"),
                ),
            ),
            send(server, hello() + hello(b"still too early")),
        ),
    )


def test_a_server_may_decline() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server, OPEN),
        received(server, b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        >> (send(client, containing(b"HTTP/1.1 403 No\r\n", b"\r\n\r\nno")), exchange_ended("completed")),
    )


@pytest.mark.parametrize(
    "request_head",
    [
        opening(b"Sec-WebSocket-Version: 13"),
        opening(b"Sec-WebSocket-Key: c2hvcnQ=", b"Sec-WebSocket-Version: 13"),
        opening(b"Sec-WebSocket-Key: " + KEY, b"Sec-WebSocket-Version: 13", method=b"POST"),
    ],
)
def test_no_server_sees_a_handshake_that_is_none(request_head: bytes) -> None:
    client = Handle("client")
    Playbook(config()).run(
        accepted(client) >> nothing,
        received(client, request_head)
        >> (send(client, starting(b"HTTP/1.1 400 ")), exchange_ended("refused", "websocket")),
    )


def test_another_version_is_told_ours() -> None:
    client = Handle("client")
    Playbook(config()).run(
        accepted(client) >> nothing,
        received(client, OPEN.replace(b"Version: 13", b"Version: 8"))
        >> (
            send(
                client,
                containing(
                    b"HTTP/1.1 426 Upgrade Required\r\n",
                    b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n",
                    b"\r\nsec-websocket-version: 13\r\n",
                ),
            ),
            exchange_ended("refused", "websocket"),
        ),
    )


@pytest.mark.parametrize(
    "answer",
    [
        switched(accept=KEY),
        switched(b"Sec-WebSocket-Protocol: other"),
        switched(b"Sec-WebSocket-Extensions: permessage-deflate"),
        SWITCHED.replace(b"Upgrade: websocket", b"Upgrade: chat"),
        SWITCHED.replace(b"Connection: Upgrade\r\n", b""),
    ],
)
def test_a_101_that_answers_something_else_is_a_502_and_nothing_behind_it_passes(answer: bytes) -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server, OPEN),
        received(server, answer + frame(TEXT, b"smuggled"))
        >> (
            send(client, containing(b"HTTP/1.1 502 ", b"proxy-status: proxycore; error=http_")),
            abort(server),
            exchange_ended("upstream_failed", "response_head"),
        ),
    )


def test_a_local_answer_needs_no_handshake() -> None:
    client = Handle("client")
    Playbook(config(routes=[Route(respond={"status": 404})])).run(
        accepted(client) >> nothing,
        received(client, opening()) >> (send(client, starting(b"HTTP/1.1 404 ")), exchange_ended("completed")),
    )


# ---- frames


def test_frames_pass_untouched_and_are_counted() -> None:
    client, server = Handle("client"), Handle("server")
    odd = frame(BINARY, b"x" * 70_000, bits=FIN | 0x70)
    counted: list[tuple[int, int] | None] = []

    class Counts(Filter):
        def on_finished(self, exchange: Exchange, outcome: Outcome) -> None:
            assert exchange.websocket is not None
            counted.append(exchange.websocket.messages)

    play = Playbook(config(), filters=[Counts()]).run(
        *opened(client, server),
        received(client, hello()[:3]) >> send(server, hello()[:3]),
        received(client, hello()[3:] + hello()) >> send(server, hello()[3:] + hello()),
        received(server, odd[:7]) >> send(client, odd[:7]),
        received(server, odd[7:]) >> send(client, odd[7:]),
        received(client, close_frame(4321, "as I like", MASK)) >> send(server, close_frame(4321, "as I like", MASK)),
        received(server, close_frame(4321)) >> send(client, close_frame(4321)),
        eof(server) >> (close(server), close(client), exchange_ended("completed")),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()
    assert counted == [(2, 1)]


def test_once_both_have_closed_an_end_that_is_forgotten_is_not_waited_for() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(config(timeouts=Timeouts(linger=2))).run(
        *opened(client, server),
        received(server, close_frame(1000)) >> send(client, close_frame(1000)),
        received(client, close_frame(1000, "", MASK)) >> send(server, close_frame(1000, "", MASK)),
        tick(3) >> (close(server), close(client), exchange_ended("completed")),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()


@pytest.mark.parametrize("who", ["client", "server"])
def test_one_that_ends_without_a_close_takes_the_other_along(who: str) -> None:
    client, server = Handle("client"), Handle("server")
    one, other = (client, server) if who == "client" else (server, client)
    play = Playbook(config(timeouts=Timeouts(linger=2))).run(
        *opened(client, server),
        eof(one) >> send_eof(other),
        tick(3) >> (close(server), close(client), exchange_ended("completed")),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()


def test_a_frame_that_its_server_leaves_unfinished_does_not_end_well() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(config()).run(
        *opened(client, server),
        received(server, frame(TEXT, b"half")[:4]) >> send(client, frame(TEXT, b"half")[:4]),
        eof(server) >> (abort(server), abort(client), exchange_ended("upstream_failed", "tunnel")),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()


def test_a_frame_that_its_client_leaves_unfinished_was_left() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(config()).run(
        *opened(client, server),
        received(client, hello()[:4]) >> send(server, hello()[:4]),
        eof(client) >> (abort(server), abort(client), exchange_ended("client_left", "tunnel")),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()


def test_a_silent_websocket_ends() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config(timeouts=Timeouts(tunnel=60))).run(
        *opened(client, server),
        tick(59) >> nothing,
        received(server, frame(TEXT, b"a sign")) >> send(client, frame(TEXT, b"a sign")),
        tick(59) >> nothing,
        tick(2) >> (abort(server), abort(client), exchange_ended("timed_out", "tunnel")),
    )


# ---- a drain

GOODBYE = close_frame(1001, "going away")
ANSWER = close_frame(1001, "", MASK)


def test_a_drain_says_goodbye_and_loses_nothing_that_the_client_sent() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(config()).run(
        *opened(client, server),
        drain(30) >> (send(client, GOODBYE), stop_accepting("web")),
        received(client, hello()) >> send(server, hello()),
        received(server, frame(TEXT, b"too late")) >> nothing,
        received(client, ANSWER) >> send(server, ANSWER),
        received(server, ANSWER) >> nothing,
        eof(server) >> (close(server), close(client), exchange_ended("completed")),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()


def test_the_goodbye_waits_for_the_end_of_a_frame() -> None:
    client, server = Handle("client"), Handle("server")
    long = frame(TEXT, b"x" * 300)
    Playbook(config()).run(
        *opened(client, server),
        received(server, long[:3]) >> send(client, long[:3]),
        drain(30) >> stop_accepting("web"),
        received(server, long[3:100]) >> send(client, long[3:100]),
        received(server, long[100:] + long[:20]) >> send(client, long[100:] + GOODBYE),
        received(server, long[20:]) >> nothing,
    )


def test_who_has_said_goodbye_needs_none() -> None:
    client, server = Handle("client"), Handle("server")
    long = frame(TEXT, b"x" * 300)
    Playbook(config()).run(
        *opened(client, server),
        received(server, long[:3]) >> send(client, long[:3]),
        received(client, close_frame(1000, "", MASK)) >> send(server, close_frame(1000, "", MASK)),
        drain(30) >> stop_accepting("web"),
        received(server, long[3:] + close_frame(1000)) >> send(client, ending(close_frame(1000))),
        eof(client) >> (close(server), close(client), exchange_ended("completed")),
    )


def test_a_client_that_closes_while_the_goodbye_is_due_gets_what_its_server_still_says() -> None:
    client, server = Handle("client"), Handle("server")
    long = frame(TEXT, b"x" * 300)
    Playbook(config()).run(
        *opened(client, server),
        received(server, long[:3]) >> send(client, long[:3]),
        drain(30) >> stop_accepting("web"),
        received(client, close_frame(1000, "", MASK)) >> send(server, close_frame(1000, "", MASK)),
        received(server, long[3:] + long) >> send(client, long[3:] + long),
        received(server, close_frame(1000)) >> send(client, close_frame(1000)),
    )


def test_who_does_not_answer_the_goodbye_is_cut_at_the_deadline() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(config()).run(
        *opened(client, server),
        drain(30) >> (send(client, GOODBYE), stop_accepting("web")),
        tick(29) >> nothing,
        tick(2) >> (abort(server), abort(client), exchange_ended("drained")),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()


def test_one_that_opens_during_a_drain_is_told_at_once() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config()).run(
        *leased(client, server, OPEN),
        drain(30) >> stop_accepting("web"),
        received(server, SWITCHED) >> send(client, ending(b"\r\n\r\n" + GOODBYE)),
    )


def test_a_reload_that_removes_the_listener_says_goodbye() -> None:
    client, server = Handle("client"), Handle("server")
    before = config(
        listeners=[{"name": "web", "bind": "192.0.2.10:80"}, {"name": "other", "bind": "192.0.2.10:81"}],
    )
    after = Config(
        listeners=[{"name": "other", "bind": "192.0.2.10:81"}], upstreams=before.upstreams, routes=before.routes
    )
    Playbook(before).run(
        *opened(client, server),
        reloaded(after) >> (send(client, GOODBYE), stop_accepting("web")),
    )

"""WebSockets whose messages are read: limits, codes, pings, origins, compression, filters."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from proxycore import CloseWebSocket, Drop, Exchange, Filter
from proxycore.config import Config, Route
from proxycore.mechanisms.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEFLATED,
    FIN,
    GOING_AWAY,
    INTERNAL_ERROR,
    PING,
    PONG,
    TEXT,
    TOO_BIG,
    close_frame,
    frame,
    masking,
)
from proxycore.testing.playbook import (
    Expected,
    Handle,
    Line,
    Pattern,
    Playbook,
    abort,
    accepted,
    close,
    connect,
    connected,
    containing,
    drain,
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
    starting,
    stop_accepting,
    tick,
)
from proxycore.words.errors import Cause
from tests.playbooks.scripts import ONE, Limits, Timeouts, config

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x01\x02\x03\x04"
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
AGREED = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"

OPEN = (
    b"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n%b\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n%b\r\n"
)


def reading(**settings: Any) -> Config:
    """A route that reads messages."""
    limits, timeouts = settings.pop("limits", Limits()), settings.pop("timeouts", Timeouts(linger=2))
    return config(routes=[Route(upstream="api", websocket=settings)], limits=limits, timeouts=timeouts)


def opened(client: Handle, server: Handle, offer: bytes = b"", answer: bytes = b"") -> tuple[Line, ...]:
    return (
        accepted(client) >> nothing,
        received(client, OPEN % offer) >> connect(server, ONE),
        connected(server) >> send(server, starting(b"GET /a")),
        received(server, SWITCHED % answer) >> send(client, starting(b"HTTP/1.1 101 Fine\r\n")),
    )


def from_client(text: bytes, opcode: int = TEXT, bits: int = FIN) -> bytes:
    return frame(opcode, text, MASK, bits=bits)


def masked(*frames: bytes) -> Pattern:
    """These frames, each behind a mask of its own."""

    def unmasked(data: bytes) -> list[bytes] | None:
        found = []
        while data:
            length, at = data[1] & 0x7F, 2
            if length == 126:
                length, at = int.from_bytes(data[2:4], "big"), 4
            if not data[1] & 0x80:
                return None
            mask, payload = data[at : at + 4], data[at + 4 : at + 4 + length]
            found.append(frame(data[0] & 0xF, masking(payload, mask), bits=data[0] & 0xF0))
            data = data[at + 4 + length :]
        return found

    return Pattern(f"masked({', '.join(map(repr, frames))})", lambda data: unmasked(data) == list(frames))


# ---- messages


def test_messages_pass_both_ways_with_control_frames_between_their_pieces() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(reading()).run(
        *opened(client, server),
        received(client, from_client(b"one ", bits=0) + from_client(b"?", PING))
        >> send(server, masked(frame(TEXT, b"one ", bits=0), frame(PING, b"?"))),
        received(client, from_client(b"two", CONTINUATION)) >> send(server, masked(frame(CONTINUATION, b"two"))),
        received(server, frame(PONG, b"?") + frame(BINARY, bytes(300)))
        >> send(client, frame(PONG, b"?") + frame(BINARY, bytes(300))),
        received(server, frame(TEXT, b"cut")[:3]) >> send(client, frame(TEXT, b"c", bits=0)),
        received(server, b"ut") >> send(client, frame(CONTINUATION, b"ut")),
        received(client, close_frame(4321, "as I like", MASK)) >> send(server, masked(close_frame(4321, "as I like"))),
        received(server, frame(TEXT, b"one more") + close_frame(4321))
        >> (
            send(client, frame(TEXT, b"one more") + close_frame(4321)),
            close(server),
            close(client),
            exchange_ended("completed"),
        ),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()


def test_a_server_may_close_first_and_without_a_code() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(reading()).run(
        *opened(client, server),
        received(server, close_frame(None)) >> send(client, close_frame(None)),
        received(client, from_client(b"one more") + close_frame(None, "", MASK))
        >> (
            send(server, masked(frame(TEXT, b"one more"), close_frame(None))),
            close(server),
            close(client),
            exchange_ended("completed"),
        ),
    )


def closing(code: int) -> Pattern:
    """One Close with this code, whatever its reason and mask."""

    def matches(data: bytes) -> bool:
        masks = bool(data[1] & 0x80)
        payload = masking(data[6:], data[2:6]) if masks else data[2:]
        whole = data[0] == FIN | CLOSE and len(payload) == data[1] & 0x7F
        return whole and int.from_bytes(payload[:2], "big") == code

    return Pattern(f"closing({code})", matches)


def over(client: Handle, server: Handle, *outcome: Any) -> tuple[Expected, ...]:
    return close(server), close(client), exchange_ended(*outcome)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (from_client(b"\xff"), 1007),
        (frame(TEXT, b"unmasked"), 1002),
        (from_client(b"x" * 101), TOO_BIG),
    ],
)
def test_a_client_that_breaks_a_rule_is_told_which_and_its_server_that_it_went(sent: bytes, code: int) -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(reading(max_message=100)).run(
        *opened(client, server),
        received(client, sent) >> (send(client, closing(code)), send(server, closing(GOING_AWAY))),
        received(client, from_client(b"is not heard any more")) >> nothing,
        received(server, close_frame(GOING_AWAY)) >> nothing,
        eof(client) >> over(client, server, "refused", "websocket"),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()


def test_a_message_that_grows_too_big_ends_where_it_does() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(reading(max_message=100)).run(
        *opened(client, server),
        received(client, from_client(b"x" * 60, bits=0)) >> send(server, masked(frame(TEXT, b"x" * 60, bits=0))),
        received(client, from_client(b"x" * 60, CONTINUATION))
        >> (send(client, closing(TOO_BIG)), send(server, closing(GOING_AWAY))),
        received(server, close_frame(GOING_AWAY)) >> nothing,
        tick(3) >> over(client, server, "refused", "websocket"),
    )


def test_a_server_that_breaks_a_rule_is_told_and_its_client_that_it_failed() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(reading(max_message=100)).run(
        *opened(client, server),
        received(server, from_client(b"masked"))
        >> (send(client, closing(INTERNAL_ERROR)), send(server, closing(1002))),
        received(client, close_frame(INTERNAL_ERROR, "", MASK)) >> nothing,
        tick(3) >> over(client, server, "upstream_failed", "tunnel"),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()


def test_a_client_that_ends_without_a_close_takes_its_server_along() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(reading()).run(
        *opened(client, server),
        eof(client) >> send(server, closing(GOING_AWAY)),
        received(server, close_frame(GOING_AWAY)) >> over(client, server, "client_left", "tunnel"),
    )


def test_a_server_that_ends_without_a_close_takes_its_client_along() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(reading()).run(
        *opened(client, server),
        eof(server) >> send(client, closing(INTERNAL_ERROR)),
        received(client, close_frame(1000, "", MASK)) >> over(client, server, "upstream_failed", "tunnel"),
    )


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_connection_that_breaks_cuts_the_other(who: str) -> None:
    client, server = Handle("client"), Handle("server")
    cause: Cause = "client_left" if who == "client" else "upstream_failed"
    one, other = (client, server) if who == "client" else (server, client)
    play = Playbook(reading()).run(
        *opened(client, server),
        lost(one, "ECONNRESET") >> (abort(other), exchange_ended(cause, "tunnel")),
        lost(other) >> nothing,
    )
    assert play.is_empty()


# ---- signs of life


def test_a_silent_peer_is_asked_and_closed_when_it_does_not_answer() -> None:
    client, server = Handle("client"), Handle("server")
    asked = Pattern("a ping", lambda data: data[0] == FIN | PING)
    play = Playbook(reading(ping_interval=30)).run(
        *opened(client, server),
        tick(20) >> nothing,
        received(server, frame(TEXT, b"a sign of life")) >> send(client, frame(TEXT, b"a sign of life")),
        tick(15) >> send(client, asked),
        tick(16) >> send(server, asked),
        received(server, frame(PONG, b"of its own")) >> send(client, frame(PONG, b"of its own")),
        tick(10) >> (send(client, closing(INTERNAL_ERROR)), send(server, closing(GOING_AWAY))),
        received(server, close_frame(GOING_AWAY)) >> nothing,
        tick(3) >> over(client, server, "timed_out", "ping_interval"),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()


def test_an_answer_to_our_ping_stays_here() -> None:
    client, server = Handle("client"), Handle("server")
    seen: list[bytes] = []

    def is_ping(data: bytes) -> bool:
        seen.append(data[2:])
        return data[0] == FIN | PING and len(data) == 10

    play = Playbook(reading(ping_interval=30))
    play.run(*opened(client, server), received(server, frame(PONG, b"")) >> send(client, frame(PONG, b"")))
    play.run(tick(31) >> (send(client, Pattern("a ping", is_ping)), send(server)))
    play.run(received(client, from_client(seen[-1], PONG)) >> nothing)
    play.run(received(server, frame(PONG, b"")) >> send(client, frame(PONG, b"")))


def test_nothing_said_for_long_is_the_end() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(reading(ping_interval=300, timeouts=Timeouts(linger=2, tunnel=60))).run(
        *opened(client, server),
        tick(61) >> (send(client, closing(GOING_AWAY)), send(server, closing(GOING_AWAY))),
        received(client, close_frame(GOING_AWAY, "", MASK)) >> nothing,
        received(server, close_frame(GOING_AWAY)) >> over(client, server, "timed_out", "tunnel"),
    )


def test_who_does_not_answer_a_close_is_not_waited_for() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(reading(ping_interval=30)).run(
        *opened(client, server),
        received(client, close_frame(1000, "", MASK)) >> send(server, masked(close_frame(1000))),
        received(server, frame(TEXT, b"going on")) >> send(client, frame(TEXT, b"going on")),
        tick(29) >> nothing,
        tick(2) >> over(client, server, "completed"),
    )


# ---- backpressure


def test_a_side_that_takes_no_more_is_not_read_for_and_nothing_is_lost() -> None:
    client, server = Handle("client"), Handle("server")
    long = frame(BINARY, bytes(1024))
    Playbook(reading(limits=Limits(buffer=1024))).run(
        *opened(client, server),
        received(server, long) >> send(client, long),
        paused(client) >> pause(server),
        received(server, long + close_frame(1000)) >> nothing,
        eof(server) >> nothing,
        resumed(client) >> (send(client, long + close_frame(1000)), resume(server)),
        received(client, close_frame(1000, "", MASK)) >> over(client, server, "completed"),
    )


def test_many_small_frames_take_turns() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(reading())
    play.run(
        *opened(client, server),
        received(client, from_client(b"") * 100) >> (send(server, masked(*[frame(TEXT, b"")] * 64)), pause(client)),
        tick(0.002) >> (send(server, masked(*[frame(TEXT, b"")] * 36)), resume(client)),
        lost(client) >> (abort(server), exchange_ended("client_left", "tunnel")),
        lost(server) >> nothing,
    )
    assert play.is_empty()


def test_frames_of_nothing_within_a_message_take_turns_too_and_are_not_passed_on() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(reading())
    nothings = frame(TEXT, b"", MASK, bits=0) + frame(CONTINUATION, b"", MASK, bits=0) * 98
    play.run(
        *opened(client, server),
        received(client, nothings + frame(CONTINUATION, b"x", MASK)) >> pause(client),
        tick(0.002) >> (send(server, masked(frame(TEXT, b"x"))), resume(client)),
    )


# ---- who may come, and what is agreed on


@pytest.mark.parametrize("origin", [b"", b"Origin: https://evil.test\r\n", b"Origin: null\r\n"])
def test_pages_of_other_origins_stay_outside(origin: bytes) -> None:
    client = Handle("client")
    Playbook(reading(origins=["https://a.test"])).run(
        accepted(client) >> nothing,
        received(client, OPEN % origin)
        >> (send(client, starting(b"HTTP/1.1 403 ")), exchange_ended("refused", "websocket")),
    )


def test_pages_of_this_origin_come_in() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(reading(origins=["https://a.test"])).run(*opened(client, server, b"Origin: https://a.test\r\n"))


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_compression_is_agreed_on_with_each_side() -> None:
    client, server = Handle("client"), Handle("server")
    text = b"again and again and again and again and again"
    Playbook(reading()).run(
        accepted(client) >> nothing,
        received(client, OPEN % DEFLATE) >> connect(server, ONE),
        connected(server) >> send(server, containing(b"\r\nsec-websocket-extensions: " + AGREED + b"\r\n")),
        received(server, SWITCHED % b"")
        >> send(client, containing(b"HTTP/1.1 101 ", b"\r\nsec-websocket-extensions: " + AGREED + b"\r\n")),
        received(client, from_client(deflated(text), bits=FIN | DEFLATED)) >> send(server, masked(frame(TEXT, text))),
        received(server, frame(TEXT, text)) >> send(client, frame(TEXT, deflated(text), bits=FIN | DEFLATED)),
    )


def test_who_cannot_compress_is_not_offered_it() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(reading()).run(
        accepted(client) >> nothing,
        received(client, OPEN % b"Sec-WebSocket-Extensions: x-other\r\n") >> connect(server, ONE),
        connected(server) >> send(server, Pattern("no extensions", lambda data: b"extensions" not in data)),
        received(server, SWITCHED % b"Sec-WebSocket-Extensions: x-other\r\n")
        >> (
            send(client, starting(b"HTTP/1.1 502 ")),
            abort(server),
            exchange_ended("upstream_failed", "response_head"),
        ),
    )


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    client, server = Handle("client"), Handle("server")
    bomb = from_client(deflated(bytes(30_000_000)), BINARY, bits=FIN | DEFLATED)
    Playbook(reading(max_message=100_000)).run(
        *opened(client, server, DEFLATE),
        received(client, bomb) >> (send(client, closing(TOO_BIG)), send(server, closing(GOING_AWAY))),
    )


# ---- filters


class Censor(Filter):
    """Sees whole messages, and changes, drops or ends some."""

    def __init__(self) -> None:
        self.seen: list[tuple[str | bytes, bool]] = []

    def on_message(
        self, exchange: Exchange, message: str | bytes, from_client: bool
    ) -> str | bytes | Drop | CloseWebSocket | None:
        self.seen.append((message, from_client))
        if message == "drop":
            return Drop()
        if message == "close":
            return CloseWebSocket(4000, "enough")
        return message.upper() if isinstance(message, str) else None


def test_a_filter_sees_whole_messages_and_may_change_them() -> None:
    client, server = Handle("client"), Handle("server")
    censor = Censor()
    play = Playbook(config(timeouts=Timeouts(linger=2)), filters=[censor]).run(
        *opened(client, server),
        received(client, from_client(b"hel", bits=0)) >> nothing,
        received(client, from_client(b"lo", CONTINUATION)) >> send(server, masked(frame(TEXT, b"HELLO"))),
        received(client, from_client(b"drop")) >> nothing,
        received(server, frame(BINARY, b"\xff")) >> send(client, frame(BINARY, b"\xff")),
        received(server, frame(TEXT, b"close")) >> (send(client, closing(4000)), send(server, closing(4000))),
        received(client, from_client(b"too late") + close_frame(4000, "", MASK)) >> nothing,
        received(server, close_frame(4000)) >> over(client, server, "refused", "filter"),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert censor.seen == [("hello", True), ("drop", True), (b"\xff", False), ("close", False)]
    assert play.is_empty()


# ---- a drain


def test_a_drain_says_goodbye_at_once_even_within_a_message() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(reading()).run(
        *opened(client, server),
        received(server, frame(TEXT, b"begun", bits=0)) >> send(client, frame(TEXT, b"begun", bits=0)),
        drain(30) >> (send(client, closing(GOING_AWAY)), stop_accepting("web")),
        received(server, frame(CONTINUATION, b"too late")) >> nothing,
        received(client, from_client(b"still sent") + close_frame(GOING_AWAY, "", MASK))
        >> send(server, masked(frame(TEXT, b"still sent"), close_frame(GOING_AWAY))),
        received(server, close_frame(GOING_AWAY)) >> over(client, server, "completed"),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()

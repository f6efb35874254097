"""One connection that brings much at once doesn't keep all others waiting, nor fill the memory with its answers."""

from __future__ import annotations

from proxycore.config import Listener, Respond, Route
from proxycore.testing.playbook import (
    Handle,
    Pattern,
    Playbook,
    accepted,
    close,
    eof,
    exchange_ended,
    nothing,
    pause,
    paused,
    received,
    resume,
    send,
    tick,
)
from proxycore.words.effects import PauseReading, ResumeReading, Send
from tests.playbooks.scripts import GET, Limits, Timeouts, config, leased

OURS = [Route(respond=Respond(status=200, body="ours"))]


def answers(count: int) -> Pattern:
    """So many answers, one behind the other."""
    return Pattern(f"answers({count})", lambda data: data.count(b"HTTP/1.1 200 OK") == count)


def test_pipelined_requests_that_we_answer_take_turns_with_others() -> None:
    client = Handle("client")
    Playbook(config(routes=OURS)).run(
        accepted(client) >> nothing,
        received(client, GET * 20) >> (send(client, answers(16)), pause(client), *[exchange_ended("completed")] * 16),
        tick(0.01) >> (send(client, answers(4)), resume(client), *[exchange_ended("completed")] * 4),
        tick(1.0) >> nothing,
        received(client, GET) >> (send(client, answers(1)), exchange_ended("completed")),
    )


def test_a_turn_ends_when_the_answers_fill_the_buffer() -> None:
    client = Handle("client")
    large = [Route(respond=Respond(status=200, body="x" * 600))]
    Playbook(config(routes=large, limits=Limits(buffer=1024))).run(
        accepted(client) >> nothing,
        received(client, GET * 3) >> (send(client, answers(2)), pause(client), *[exchange_ended("completed")] * 2),
        tick(0.01) >> (send(client, answers(1)), resume(client), exchange_ended("completed")),
    )


def test_who_has_asked_for_all_it_wants_is_still_answered() -> None:
    client = Handle("client")
    listener = Listener(name="web", bind="192.0.2.10:80", half_close="finish")
    Playbook(config(routes=OURS, listeners=[listener])).run(
        accepted(client) >> nothing,
        received(client, GET * 20) >> (send(client, answers(16)), pause(client), *[exchange_ended("completed")] * 16),
        eof(client) >> nothing,
        tick(0.01) >> (send(client, answers(4)), resume(client), close(client), *[exchange_ended("completed")] * 4),
    )


def test_a_client_that_left_has_no_turn() -> None:
    client = Handle("client")
    playbook = Playbook(config(routes=OURS)).run(
        accepted(client) >> nothing,
        received(client, GET * 20) >> (send(client, answers(16)), pause(client), *[exchange_ended("completed")] * 16),
    )
    assert playbook.core.connection_lost(client.number, "ECONNRESET", playbook.now) == ()  # type: ignore[arg-type]
    assert playbook.is_empty()
    playbook.run(tick(1.0) >> nothing)


def test_tiny_chunks_take_turns_and_the_clocks_of_the_content_go_on() -> None:
    """All of the content reaches the server, piece by piece; a turn isn't counted as the client's time."""
    client, server = Handle("client"), Handle("server")
    request = GET.replace(b"GET", b"PUT").replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    playbook = Playbook(config(timeouts=Timeouts(request_body=2))).run(*leased(client, server, request))
    core, now = playbook.core, 0.0
    assert client.number is not None
    effects = [*core.data_received(client.number, b"1\r\nx\r\n" * 16_000 + b"0\r\n\r\n", now)]  # type: ignore[arg-type]
    turns = 1
    while (deadline := core.next_deadline()) is not None and deadline < 1.0:
        now = deadline
        turns += 1
        effects += core.timer_expired(now)
    assert turns > 4
    sent = b"".join(effect.data for effect in effects if isinstance(effect, Send))
    assert sent.replace(b"\r\n", b"").count(b"x") == 16_000
    assert sent.endswith(b"0\r\n\r\n")
    reading = [type(effect) for effect in effects if isinstance(effect, (PauseReading, ResumeReading))]
    assert reading == [PauseReading, ResumeReading] * (turns - 1)


def test_a_turn_and_a_full_server_hold_the_same_client() -> None:
    """Whichever of them ends first, the clock of the content counts the client's time alone."""
    client, server = Handle("client"), Handle("server")
    request = GET.replace(b"GET", b"PUT").replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    settings = {"timeouts": Timeouts(request_body=2, send=60), "limits": Limits(buffer=1024)}
    playbook = Playbook(config(**settings)).run(*leased(client, server, request))
    core = playbook.core
    assert client.number is not None
    assert server.number is not None
    core.data_received(client.number, b"1\r\nx\r\n" * 8_000, 0.0)  # type: ignore[arg-type]
    core.writing_paused(server.number, 0.0)  # type: ignore[arg-type]
    for _ in range(20):
        core.timer_expired(0.5)
    core.writing_resumed(server.number, 50.0)  # type: ignore[arg-type]
    for step in range(20):
        core.timer_expired(50.0 + step * 0.01)
    effects = core.data_received(client.number, b"5\r\nhello\r\n", 51.0)  # type: ignore[arg-type]
    assert [type(effect) for effect in effects] == [Send]
    assert not any(b"408" in getattr(effect, "data", b"") for effect in core.timer_expired(52.9))
    assert any(b"408" in getattr(effect, "data", b"") for effect in core.timer_expired(53.1))


def test_a_refusal_counts_what_it_may_have_left_waiting() -> None:
    """What the kernel didn't take may be all of the last piece: if that is too much, the server is paused at once."""
    client, server = Handle("client"), Handle("server")
    Playbook(config(limits=Limits(buffer=1024))).run(
        *leased(client, server),
        received(server, b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + b"x" * 2000) >> send(client),
        paused(client) >> pause(server),
        paused(client) >> nothing,
    )

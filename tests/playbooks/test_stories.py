"""The three stories that the design was walked through with, and their neighbours: waits, reloads, drains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from proxycore.composition.draining import GRACE
from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Ask, Filter, NeedBody, Reject, Respond, Signal, Verdict, Wait
from proxycore.config import Listener
from proxycore.testing.playbook import (
    Handle,
    Playbook,
    abort,
    accepted,
    call,
    call_completed,
    call_failed,
    cancel,
    close,
    connect,
    connect_failed,
    connected,
    containing,
    drain,
    ending,
    eof,
    exchange_ended,
    lost,
    nothing,
    paused,
    received,
    reloaded,
    resolve,
    resolve_failed,
    resolved,
    send,
    send_eof,
    starting,
    stop_accepting,
    tick,
)
from proxycore.words.errors import Outcome
from proxycore.words.messages import Headers, ResponseHead
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
    Timeouts,
    config,
    leased,
    two_servers,
)


class Lock(Filter):
    """One exchange at a time asks the origin, as behind a cache lock: the others wait for it."""

    def __init__(self) -> None:
        self.signal: Signal | None = None

    def on_route(self, exchange: Exchange) -> Verdict | None:
        if self.signal is None:
            self.signal = exchange.local(self)["signal"] = Signal()
            return None
        return Wait(self.signal, 5.0, self.woken)

    def woken(self, exchange: Exchange, fired: bool) -> Verdict | None:
        if fired:
            return Respond(ResponseHead(200, Headers()), b"from the store")
        return self.on_route(exchange)

    def on_finished(self, exchange: Exchange, outcome: Outcome) -> None:
        signal = exchange.local(self).get("signal")
        if signal is not None:
            self.signal = None
            if outcome.cause == "completed":
                signal.fire()
            else:
                signal.abandon()


def test_a_waiter_whose_leader_completes_is_served_by_it() -> None:
    leader, waiter, server = Handle("leader"), Handle("waiter"), Handle("server")
    Playbook(config(), filters=[Lock()]).run(
        *leased(leader, server),
        accepted(waiter) >> nothing,
        received(waiter, GET) >> nothing,
        received(server, OK) >> (send(leader, OK_OUT), exchange_ended("completed")),
        tick(0) >> (send(waiter, ending(b"from the store")), exchange_ended("completed")),
    )


def test_a_waiter_whose_leader_dies_leads() -> None:
    leader, waiter, first, second = Handle("leader"), Handle("waiter"), Handle("first"), Handle("second")
    Playbook(config(), filters=[Lock()]).run(
        *leased(leader, first),
        accepted(waiter) >> nothing,
        received(waiter, GET) >> nothing,
        lost(leader, "ECONNRESET") >> (abort(first), exchange_ended("client_left", "response_head")),
        tick(0) >> connect(second, ONE),
        lost(first) >> nothing,
        connected(second) >> send(second, GET_OUT),
        received(second, OK) >> (send(waiter, OK_OUT), exchange_ended("completed")),
    )


def test_a_waiter_waits_no_longer_than_it_may() -> None:
    leader, waiter, server, own = Handle("leader"), Handle("waiter"), Handle("server"), Handle("own")

    class Impatient(Lock):
        def woken(self, exchange: Exchange, fired: bool) -> Verdict | None:
            return None

    Playbook(config(), filters=[Impatient()]).run(
        *leased(leader, server),
        accepted(waiter) >> nothing,
        received(waiter, GET) >> nothing,
        tick(4.9) >> nothing,
        tick(0.2) >> connect(own, ONE),
    )


def test_a_waiter_that_leaves_is_not_woken() -> None:
    leader, waiter, server = Handle("leader"), Handle("waiter"), Handle("server")
    play = Playbook(config(), filters=[Lock()]).run(
        *leased(leader, server),
        accepted(waiter) >> nothing,
        received(waiter, GET) >> nothing,
        lost(waiter) >> exchange_ended("client_left", "request"),
        lost(leader) >> (abort(server), exchange_ended("client_left", "response_head")),
        lost(server) >> nothing,
    )
    assert play.is_empty()


# ---- a reload, a drain


def passing() -> Any:
    return config(
        listeners=[Listener(name="web", bind="192.0.2.10:80"), Listener(name="old", bind="192.0.2.10:81")],
        timeouts=Timeouts(drain=30),
    )


def test_a_reload_that_removes_a_listener_with_a_tunnel_on_it() -> None:
    client, server, idle = Handle("client"), Handle("server"), Handle("idle")
    before = passing()
    play = Playbook(before).run(
        accepted(client, "old") >> nothing,
        received(client, UPGRADE) >> connect(server, ONE),
        connected(server) >> send(server),
        received(server, SWITCHED) >> send(client, starting(b"HTTP/1.1 101 ")),
        accepted(idle, "old") >> nothing,
        reloaded(replace(before, listeners=before.listeners[:1])) >> stop_accepting("old"),
        tick(GRACE + 0.01) >> send_eof(idle),
        eof(idle) >> close(idle),
        lost(idle) >> nothing,
        received(client, b"still") >> send(server, b"still"),
        received(server, b"here") >> send(client, b"here"),
        tick(28) >> nothing,
        tick(2) >> (abort(server), abort(client), exchange_ended("drained")),
        lost(server) >> nothing,
        lost(client) >> nothing,
    )
    assert play.is_empty()


def test_each_listener_that_a_reload_removes_has_its_own_time() -> None:
    first, second, one, two = Handle("first"), Handle("second"), Handle("one"), Handle("two")
    web, old = passing().listeners
    before = replace(passing(), listeners=[web, old, replace(old, name="older", bind="192.0.2.10:82")])
    Playbook(before).run(
        accepted(first, "older") >> nothing,
        received(first, GET) >> connect(one, ONE),
        accepted(second, "old") >> nothing,
        received(second, GET) >> connect(two, ONE),
        reloaded(passing()) >> stop_accepting("older"),
        tick(4.9) >> nothing,
        connected(one) >> send(one),
        connected(two) >> send(two),
        reloaded(replace(before, listeners=[web])) >> stop_accepting("old"),
        tick(25) >> nothing,
        tick(0.2) >> (abort(one), send_eof(first), abort(first), exchange_ended("drained")),
        tick(4.7) >> nothing,
        tick(0.2) >> (abort(two), send_eof(second), abort(second), exchange_ended("drained")),
    )


def test_a_reload_leaves_what_is_in_flight_and_its_connections_alone() -> None:
    client, server = Handle("client"), Handle("server")
    before = config()
    Playbook(before).run(
        *leased(client, server),
        reloaded(replace(before, timeouts=Timeouts(idle=5))) >> nothing,
        received(server, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
        received(client, GET) >> send(server, GET_OUT),
    )


def test_a_reload_that_removes_a_server_closes_what_it_keeps_and_ends_what_it_does() -> None:
    busy, idle, one, two = Handle("busy"), Handle("idle"), Handle("one"), Handle("two")
    before = two_servers()
    after = config("http://10.0.0.2:8080")
    Playbook(before).run(
        accepted(busy) >> nothing,
        accepted(idle) >> nothing,
        received(busy, GET) >> connect(one, ONE),
        connected(one) >> send(one),
        received(one, OK) >> (send(busy, OK_OUT), exchange_ended("completed")),
        received(idle, GET) >> connect(two, TWO),
        connected(two) >> send(two),
        reloaded(after) >> close(one),
        lost(one) >> nothing,
        received(two, OK) >> (send(idle, OK_OUT), exchange_ended("completed")),
        received(busy, GET) >> send(two, GET_OUT),
    )


def test_a_drain_ends_what_is_idle_and_lets_the_rest_finish() -> None:
    busy, idle, server = Handle("busy"), Handle("idle"), Handle("server")
    play = Playbook(config()).run(
        accepted(idle) >> nothing,
        *leased(busy, server),
        drain(30) >> stop_accepting(),
        tick(GRACE + 0.01) >> send_eof(idle),
        tick(GRACE + 0.01) >> close(idle),
        lost(idle) >> nothing,
        received(server, OK)
        >> (
            send(busy, containing(b"connection: close\r\n")),
            close(server),
            send_eof(busy),
            exchange_ended("completed"),
        ),
        lost(server) >> nothing,
        lost(busy) >> nothing,
    )
    assert play.core.is_drained
    assert play.is_empty()


def test_a_drain_answers_requests_that_are_on_their_way() -> None:
    """Of clients that have connected and sent nothing yet, and of those whose connection was kept."""
    fresh, kept, dripping, server = Handle("fresh"), Handle("kept"), Handle("dripping"), Handle("server")
    one, two, three = Handle("one"), Handle("two"), Handle("three")
    last = containing(b"connection: close\r\n")
    play = Playbook(config()).run(
        *leased(kept, server),
        received(server, OK) >> (send(kept, OK_OUT), exchange_ended("completed")),
        accepted(fresh) >> nothing,
        accepted(dripping) >> nothing,
        received(dripping, GET[:10]) >> nothing,
        drain(30) >> (stop_accepting(), close(server)),
        lost(server) >> nothing,
        tick(GRACE - 0.1) >> nothing,
        received(fresh, GET) >> connect(one, ONE),
        received(kept, GET) >> connect(two, ONE),
        connected(one) >> send(one),
        connected(two) >> send(two),
        tick(1) >> nothing,
        received(one, OK) >> (send(fresh, last), close(one), send_eof(fresh), exchange_ended("completed")),
        received(two, OK) >> (send(kept, last), close(two), send_eof(kept), exchange_ended("completed")),
        received(dripping, GET[10:]) >> connect(three, ONE),
        connected(three) >> send(three),
        received(three, OK) >> (send(dripping, last), close(three), send_eof(dripping), exchange_ended("completed")),
    )
    for handle in (one, two, three):
        play.run(lost(handle) >> nothing)
    for handle in (fresh, kept, dripping):
        play.run(eof(handle) >> close(handle), lost(handle) >> nothing)
    assert play.core.is_drained
    assert play.is_empty()


def test_who_was_told_that_it_is_kept_when_the_drain_began_may_ask_once_more() -> None:
    client, server, next_server = Handle("client"), Handle("server"), Handle("next_server")
    Playbook(config()).run(
        *leased(client, server),
        received(server, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbe") >> send(client),
        drain(30) >> stop_accepting(),
        tick(5) >> nothing,
        received(server, b"gi") >> (send(client, b"gi"), close(server), exchange_ended("completed")),
        received(client, GET) >> connect(next_server, ONE),
        connected(next_server) >> send(next_server),
        received(next_server, OK)
        >> (
            send(client, containing(b"connection: close\r\n")),
            close(next_server),
            send_eof(client),
            exchange_ended("completed"),
        ),
    )


def test_an_answer_whose_last_bytes_a_drain_cuts_off_was_not_completed() -> None:
    client, server = Handle("client"), Handle("server")
    play = Playbook(config()).run(
        *leased(client, server),
        received(server, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbe") >> send(client),
        paused(client) >> nothing,
        received(server, b"gi") >> send(client, b"gi"),
        drain(2) >> (stop_accepting(), send_eof(client), close(server)),
        tick(2.1) >> abort(client),
        lost(client) >> exchange_ended("drained"),
        lost(server) >> nothing,
    )
    assert play.is_empty()


# ---- what filters wait for


class Guard(Filter):
    def on_request(self, exchange: Exchange) -> Verdict | None:
        return Ask("may", {"path": exchange.request.target}, self.decided)

    def decided(self, exchange: Exchange, result: Any) -> Verdict | None:
        return None if result else Reject(403, "No.", rule="guard")


def test_a_filter_asks_and_the_answer_decides() -> None:
    client, server, asked = Handle("client"), Handle("server"), Handle("asked")
    question = call(asked, "may", {"path": b"/a"})
    Playbook(config(), filters=[Guard()]).run(
        accepted(client) >> nothing,
        received(client, GET) >> question,
        call_completed(asked, True) >> connect(server, ONE),
    )
    client, asked = Handle("client"), Handle("asked")
    Playbook(config(), filters=[Guard()]).run(
        accepted(client) >> nothing,
        received(client, GET) >> call(asked, "may", {"path": b"/a"}),
        call_completed(asked, False) >> (send(client, starting(b"HTTP/1.1 403 ")), exchange_ended("refused", "guard")),
    )


def test_a_call_that_fails_or_takes_too_long_is_a_503() -> None:
    for failing in (True, False):
        client, asked = Handle("client"), Handle("asked")
        answer = (send(client, starting(b"HTTP/1.1 503 ")), exchange_ended("refused", "call"))
        play = Playbook(config(timeouts=Timeouts(call=2)), filters=[Guard()]).run(
            accepted(client) >> nothing,
            received(client, GET) >> call(asked, "may", {"path": b"/a"}),
        )
        if failing:
            play.run(call_failed(asked, "KeyError: 'a'") >> answer)
        else:
            play.run(tick(2.5) >> (answer[0], cancel(asked), answer[1]), call_failed(asked, "ECANCELED") >> nothing)


def test_a_client_that_leaves_cancels_what_was_asked_for_it() -> None:
    client, asked = Handle("client"), Handle("asked")
    play = Playbook(config(), filters=[Guard()]).run(
        accepted(client) >> nothing,
        received(client, GET) >> call(asked, "may", {"path": b"/a"}),
        lost(client) >> (cancel(asked), exchange_ended("client_left", "request")),
        call_completed(asked, True) >> nothing,
    )
    assert play.is_empty()


class Inspector(Filter):
    def on_request(self, exchange: Exchange) -> Verdict | None:
        return NeedBody(8, self.looked)

    def looked(self, exchange: Exchange, content: bytes, complete: bool) -> Verdict | None:
        return Reject(403, rule="waf") if b"evil" in content else None


def test_a_filter_looks_at_content_before_any_origin_does() -> None:
    client, server = Handle("client"), Handle("server")
    Playbook(config(), filters=[Inspector()]).run(
        accepted(client) >> nothing,
        received(client, POST) >> nothing,
        received(client, b"01234") >> nothing,
        received(client, b"567") >> connect(server, ONE),
        connected(server) >> send(server, containing(b"POST /a ", b"\r\n\r\n01234567")),
        received(client, b"89") >> send(server, b"89"),
        received(server, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
    )


def test_an_attack_in_content_reaches_no_origin() -> None:
    client = Handle("client")
    Playbook(config(), filters=[Inspector()]).run(
        accepted(client) >> nothing,
        received(client, POST + b"ev") >> nothing,
        received(client, b"ilevil")
        >> (send(client, starting(b"HTTP/1.1 403 ")), send_eof(client), exchange_ended("refused", "waf")),
    )


# ---- names


def test_a_name_is_looked_up_before_the_first_request_and_again_without_a_gap() -> None:
    client, first, second, server = Handle("client"), Handle("first"), Handle("second"), Handle("server")
    Playbook(config("http://api.internal:9000")).run(
        tick(0) >> resolve(first, "api.internal", 9000),
        accepted(client) >> nothing,
        received(client, GET) >> nothing,
        resolved(first, "10.7.0.1") >> connect(server, ("10.7.0.1", 9000)),
        connected(server) >> send(server, GET_OUT),
        tick(29.9) >> nothing,
        received(server, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
        tick(0.2) >> resolve(second, "api.internal", 9000),
        received(client, GET) >> send(server, GET_OUT),
        resolve_failed(second) >> nothing,
        received(server, OK) >> (send(client, OK_OUT), exchange_ended("completed")),
    )


def test_a_name_without_an_address_is_a_502() -> None:
    client, lookup = Handle("client"), Handle("lookup")
    Playbook(config("http://api.internal:9000")).run(
        accepted(client) >> nothing,
        received(client, GET) >> resolve(lookup, "api.internal", 9000),
        resolve_failed(lookup, "EAI_NONAME")
        >> (
            send(client, containing(b"HTTP/1.1 502 ", b"error=dns_error")),
            exchange_ended("upstream_failed", "resolve"),
        ),
    )


def test_a_dial_is_given_up_in_time_and_the_next_address_has_its_own() -> None:
    client, lookup, one, two = Handle("client"), Handle("lookup"), Handle("one"), Handle("two")
    Playbook(config("http://api.internal:9000", timeouts=Timeouts(connect=5))).run(
        accepted(client) >> nothing,
        received(client, GET) >> resolve(lookup, "api.internal", 9000),
        resolved(lookup, "10.7.0.1", "10.7.0.2") >> connect(one, ("10.7.0.2", 9000)),
        connect_failed(one) >> connect(two, ("10.7.0.1", 9000)),
        tick(4.9) >> nothing,
        tick(0.2)
        >> (
            send(client, containing(b"HTTP/1.1 504 ", b"error=connection_timeout")),
            abort(two),
            exchange_ended("timed_out", "connect"),
        ),
        connect_failed(two, "ECANCELED") >> nothing,
    )

"""TLS with clients in the whole core: handshakes, ends and cuts, limits, deadlines, reloads, drains."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import Any

import pytest

from proxycore.composition.draining import GRACE
from proxycore.config import Config, ConfigError, Limits, Listener, ListenerTls, Match, Respond, Route, Upstream
from proxycore.config.materials import Materials
from proxycore.core import Core
from proxycore.mechanisms.client_hello import NO_COMMON_PROTOCOL
from proxycore.words.effects import Abort, Close
from proxycore.words.notices import ConnectionEnded, ExchangeEnded, Fault
from tests.certificates import authority, client_context, leaf, server_context
from tests.core.tls_world import Party, World, listener_tls

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def config(tls: ListenerTls | None = None, limits: Limits | None = None, **listener: Any) -> Config:
    return Config(
        listeners=[
            Listener(name="web", bind="127.0.0.1:0", protocols=["http/1.1"], tls=tls or listener_tls(), **listener)
        ],
        limits=limits or Limits(),
        upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"])},
        routes=[
            Route(match=Match(path="/here"), respond=Respond(status=200, body="hello\n")),
            Route(upstream="api", request_headers={"set": {"X-Subject": "{tls_subject}"}}),
        ],
    )


def world(served: Config | None = None, context: ssl.SSLContext | None = None) -> World:
    return World(served or config(), Materials(listener_tls={"web": context or server_context()}))


def reasons(of: World) -> list[str]:
    assert not [notice for notice in of.notices if isinstance(notice, Fault)]
    return [notice.reason for notice in of.notices if isinstance(notice, ConnectionEnded)]


def is_refused(here: World, client: Party) -> bool:
    """Whether the client was told why it goes no further, could read that, and was closed once it had."""
    told = client.got_eof and client.closed is None
    here.eof(client)
    return told and client.closed is Close and here.core.ledger().is_empty


def outcomes(of: World) -> list[tuple[str, str]]:
    assert not [notice for notice in of.notices if isinstance(notice, Fault)]
    return [(n.outcome.cause, n.outcome.detail) for n in of.notices if isinstance(n, ExchangeEnded)]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_request_is_answered(version: str) -> None:
    here = world()
    client = here.connect(client_context(version=version))
    assert client.session is not None
    assert client.session.protocol == "http/1.1"
    sends = client.sends
    here.say(client, GET.replace(b"/ ", b"/here "))
    assert client.text.startswith(b"HTTP/1.1 200 ")
    assert client.text.endswith(b"\r\n\r\nhello\n")
    assert b"hello" not in client.ciphertext
    assert client.sends == sends + 1  # what was written in one fact is one send
    here.finish(client)
    assert client.ended
    assert client.closed is Close
    assert here.core.ledger().is_empty
    assert outcomes(here) == [("completed", "")]


@pytest.mark.parametrize("tickets", [0, 2])
def test_tickets_answer_and_close_notify_leave_together(tickets: int) -> None:
    context = server_context()
    context.num_tickets = tickets
    here = world(context=context)
    client = here.connect(client_context(version="1.3"), silent=True)
    assert client.session is not None
    client.session.start()
    here._facts.clear()
    (hello,) = [client.session.take()]
    effects = here.core.data_received(client.conn, hello, 0.0)
    client.session.receive(b"".join(effect.data for effect in effects))  # type: ignore[attr-defined]
    get = b"GET /here HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    sends = client.sends
    here.raw(client, client.session.take() + client.session.encrypt([get]))
    assert client.sends == sends + 1
    assert client.text.endswith(b"hello\n")
    assert client.ended
    assert (client.session.ticket is not None) == (tickets > 0)


def test_a_request_that_came_with_the_handshake_is_answered() -> None:
    here = world()
    client = here.connect(client_context(), silent=True)
    assert client.session is not None
    client.session.start()
    here._facts.clear()
    (hello,) = [client.session.take()]
    effects = here.core.data_received(client.conn, hello, 0.0)
    client.session.receive(b"".join(effect.data for effect in effects))  # type: ignore[attr-defined]
    here.raw(client, client.session.take() + client.session.encrypt([GET.replace(b"/ ", b"/here ")]))
    assert client.text.endswith(b"hello\n")


def test_every_byte_by_itself_gives_the_same() -> None:
    here = world()
    client = here.connect(client_context())
    assert client.session is not None
    for byte in client.session.encrypt([GET.replace(b"/ ", b"/here ") * 2]) + client.session.close():
        here.raw(client, bytes([byte]))
    assert client.text.count(b"\r\n\r\nhello\n") == 2
    assert client.ended


def test_a_client_that_ends_without_close_notify_was_cut() -> None:
    here = world()
    client = here.connect(client_context())
    here.say(client, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    here.eof(client)
    assert outcomes(here) == [("client_left", "response_head")]
    assert here.servers[0].closed is Abort
    assert client.closed is not None
    assert here.core.ledger().is_empty


def test_a_half_close_is_one_only_with_close_notify() -> None:
    for is_proper in (True, False):
        here = world(config(half_close="finish"))
        client = here.connect(client_context())
        here.say(client, GET)
        if is_proper:
            here.finish(client)
        else:
            here.eof(client)
        assert (client.closed is None) == is_proper
        if is_proper:
            here.say(here.servers[0], b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
            assert client.text.endswith(b"x")
            assert outcomes(here) == [("completed", "")]
        else:
            assert outcomes(here) == [("client_left", "response_head")]


def test_a_response_that_is_cut_upstream_is_no_proper_end() -> None:
    here = world()
    client = here.connect(client_context())
    here.say(client, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    here.say(here.servers[0], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    here.lose(here.servers[0], "ECONNRESET")
    assert client.text.endswith(b"hello")
    assert client.closed is Abort
    assert not client.ended


def test_a_changed_byte_costs_the_connection_and_says_so() -> None:
    here = world()
    client = here.connect(client_context())
    here.say(client, GET)
    assert client.session is not None
    broken = bytearray(client.session.encrypt([b"x"]))
    broken[-1] ^= 1
    here.raw(client, bytes(broken))
    assert client.closed is Close
    assert client.session.failure is not None
    assert client.session.failure.error == "tls_alert_received"
    assert outcomes(here) == [("client_left", "response_head")]


# ---- handshakes


def test_a_client_that_trusts_us_not_is_told_of_with_its_reason() -> None:
    here = world()
    client = here.connect(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    assert client.closed is Close
    assert reasons(here) == ["tls_alert_received: tlsv1 alert unknown ca"]
    assert here.core.ledger().is_empty


def test_bytes_that_are_no_tls_end_the_connection() -> None:
    here = world()
    client = here.connect(None)
    here.say(client, bytes(100))
    assert is_refused(here, client)
    assert reasons(here) == ["tls_protocol_error: wrong version number"]


@pytest.mark.parametrize("begin", [b"", b"\x16\x03"])
def test_a_handshake_has_a_deadline(begin: bytes) -> None:
    here = world()
    client = here.connect(None)
    here.raw(client, begin)
    here.pass_time(9.9)
    assert client.closed is None
    here.pass_time(0.2)
    assert client.closed is Close
    assert reasons(here) == ["timeouts.tls_handshake"]
    assert here.core.ledger().is_empty


def test_a_client_that_leaves_in_the_handshake_is_forgotten() -> None:
    here = world()
    for leave in (here.eof, lambda party: here.lose(party, "ECONNRESET")):
        client = here.connect(None)
        here.raw(client, b"\x16\x03")
        leave(client)
    assert reasons(here) == ["closed in the handshake", "ECONNRESET"]
    assert here.core.ledger().is_empty
    assert here.core._engine.handshakes.under_way == 0


def test_plain_http_is_answered_in_plain_words() -> None:
    here = world()
    client = here.connect(None)
    here.say(client, GET)
    assert client.text.startswith(b"HTTP/1.1 400 ")
    assert client.text.endswith(b"ask for https.\n")
    assert client.got_eof
    assert client.closed is None
    here.say(client, b"x" * 1000)
    here.eof(client)
    assert client.closed is Close
    assert reasons(here) == ["plain HTTP on a TLS port"]


def test_plain_http_that_goes_on_is_cut() -> None:
    here = world()
    client, patient = here.connect(None), here.connect(None)
    here.say(client, b"POST / HTTP/1.1\r\n")
    here.say(client, bytes(300_000))
    assert client.closed is Close
    here.say(patient, GET)
    here.pass_time(2.1)
    assert patient.closed is Close


def stall(here: World) -> Party:
    """A client that says its first message and nothing more."""
    client = here.connect(client_context(), silent=True)
    assert client.session is not None
    client.session.start()
    hello, session, client.session = client.session.take(), client.session, None
    here.raw(client, hello)
    client.session = session
    return client


def test_one_handshake_too_many_waits_for_its_turn() -> None:
    here = world(config(limits=Limits(handshakes=2)))
    slow = [stall(here) for _ in range(2)]
    waiting = [here.connect(client_context()) for _ in range(2)]
    left = here.connect(client_context())
    assert [client.is_read for client in waiting] == [False, False]
    assert here.core.ledger().gates == 3
    here.lose(left, "ECONNRESET")
    here.eof(slow[0])
    for client in waiting:
        assert client.is_read
        here.say(client, GET.replace(b"/ ", b"/here "))
        assert client.text.endswith(b"hello\n")
        here.finish(client)
    here.eof(slow[1])
    assert here.core.ledger().is_empty
    assert here.core._engine.handshakes.under_way == 0


def test_many_that_fail_at_once_after_waiting_take_no_stack() -> None:
    here = world(config(limits=Limits(handshakes=1)))
    first = stall(here)
    clients = [here.connect(None) for _ in range(900)]
    for client in clients:
        here.raw(client, bytes(10))
    here.eof(first)
    for client in clients:
        here.eof(client)
    assert reasons(here).count("tls_protocol_error: wrong version number") == 900
    assert here.core.ledger().is_empty


def test_a_byte_takes_no_place_from_another() -> None:
    here = world(config(limits=Limits(handshakes=1)))
    for _ in range(5):
        here.raw(here.connect(None), b"\x16\x03")
    innocent = here.connect(client_context())
    here.say(innocent, GET.replace(b"/ ", b"/here "))
    assert innocent.text.endswith(b"hello\n")


def test_who_sits_on_a_place_gives_way_to_who_waits() -> None:
    here = world(config(limits=Limits(handshakes=2)))
    attackers = [stall(here) for _ in range(2)]
    here.pass_time(0.5)
    innocent = here.connect(client_context())
    assert not innocent.is_read
    here.pass_time(0.4)
    assert [client.closed for client in attackers] == [None, None]
    here.pass_time(0.1)
    assert [client.closed for client in attackers] == [Close, None]
    here.say(innocent, GET.replace(b"/ ", b"/here "))
    assert innocent.text.endswith(b"hello\n")
    assert reasons(here) == ["limits.handshakes"]
    here.pass_time(5.0)
    assert attackers[1].closed is None  # nobody waits
    late = stall(here)
    here.connect(client_context())
    here.pass_time(0.0)
    assert [attackers[1].closed, late.closed] == [Close, None]


@pytest.mark.parametrize(("offered", "agreed"), [(("h2", "x"), None), (("x", "http/1.1"), "http/1.1"), ((), None)])
def test_a_client_that_speaks_nothing_of_ours_is_told_so(offered: tuple[str, ...], agreed: str | None) -> None:
    here = world()
    client = here.connect(client_context(protocols=offered))
    assert client.session is not None
    assert client.session.protocol == agreed
    if agreed or not offered:
        return here.say(client, GET)
    assert client.session.failure is not None
    assert client.ciphertext == NO_COMMON_PROTOCOL
    assert is_refused(here, client)
    assert reasons(here) == ["no common protocol: b'h2, x'"]


def test_a_client_that_names_no_protocol_means_http1() -> None:
    here = world()
    client = here.connect(client_context(protocols=()))
    here.say(client, GET.replace(b"/ ", b"/here "))
    assert client.text.endswith(b"hello\n")


# ---- who the client is


def asking(required: bool = True) -> tuple[Config, ssl.SSLContext]:
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    authority().configure_trust(context)
    wanted = "required" if required else "optional"
    return config(listener_tls(client_authentication=wanted, client_ca="unread.pem")), context


def test_the_subject_of_a_client_reaches_what_is_sent_on() -> None:
    here = world(*asking())
    context = client_context()
    leaf("ann.example").configure_cert(context)
    client = here.connect(context)
    here.say(client, GET)
    assert b"x-subject: CN=ann.example," in here.servers[0].text.lower().replace(b"cn=", b"CN=")
    here.say(here.servers[0], b"HTTP/1.1 204 No Content\r\n\r\n")
    (ended,) = [notice for notice in here.notices if isinstance(notice, ExchangeEnded)]
    assert ended.tls_subject.startswith("CN=ann.example,")


@pytest.mark.parametrize("name", ["ann.example", ""])
def test_a_route_is_chosen_by_who_the_client_is(name: str) -> None:
    asked, context = asking(required=False)
    known = Route(name="known", match={"tls_subject": "*"}, respond={"status": 200, "body": "hello"})
    here = world(replace(asked, routes=[known, *asked.routes]), context)
    trusted = client_context()
    if name:
        leaf(name).configure_cert(trusted)
    client = here.connect(trusted)
    here.say(client, GET)
    assert bool(here.servers) is not bool(name)
    assert (b"hello" in client.text) is bool(name)


@pytest.mark.parametrize("required", [True, False])
def test_a_client_without_a_certificate(required: bool) -> None:
    here = world(*asking(required))
    client = here.connect(client_context())
    if required:
        assert is_refused(here, client)
        assert reasons(here) == ["tls_certificate_error: peer did not return a certificate"]
    else:
        here.say(client, GET)
        assert b"x-subject" not in here.servers[0].text.lower() or b"CN=" not in here.servers[0].text


def test_a_certificate_of_another_authority_is_refused() -> None:
    here = world(*asking(False))
    context = client_context()
    leaf("ann.example", by="theirs").configure_cert(context)
    assert is_refused(here, here.connect(context))
    assert reasons(here)[0].startswith("tls_certificate_error: ")


# ---- headers, reloads, drains


def test_hsts_is_on_every_response_of_its_listener() -> None:
    here = world(config(listener_tls(hsts="180d")))
    client = here.connect(client_context())
    here.say(client, GET.replace(b"/ ", b"/here ") + GET)
    here.say(here.servers[0], b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nStrict-Transport-Security: max-age=1\r\n\r\n")
    here.say(client, b"nonsense\r\n\r\n")
    assert client.text.lower().count(b"strict-transport-security: max-age=15552000\r\n") == 3
    assert b"max-age=1\r\n" not in client.text


def test_a_reload_takes_new_certificates_and_loses_no_connection() -> None:
    here = world()
    old = here.connect(client_context())
    new = server_context("new.example")
    here.tell(here.core.reconfigured, config(), Materials(listener_tls={"web": new}))
    trusting = client_context()
    trusting.check_hostname = False
    client = here.connect(trusting)
    assert client.session is not None
    assert client.session.subject.startswith("CN=new.example")
    for party in (old, client):
        here.say(party, GET.replace(b"/ ", b"/here "))
        assert party.text.endswith(b"hello\n")


def test_a_drain_lets_a_handshake_end_and_closes_what_is_silent() -> None:
    here = world()
    silent = here.connect(None)
    idle = here.connect(client_context())
    client = here.connect(client_context(), silent=True)
    assert client.session is not None
    client.session.start()
    effects = here.core.data_received(client.conn, client.session.take(), 0.0)
    client.session.receive(b"".join(effect.data for effect in effects))  # type: ignore[attr-defined]
    here.tell(lambda now: here.core.drain_requested(now, deadline=30.0))
    assert client.closed is None
    here.raw(client, client.session.take() + client.session.encrypt([GET.replace(b"/ ", b"/here ")]))
    assert client.text.endswith(b"hello\n")
    assert b"\r\nconnection: close\r\n" in client.text
    here.pass_time(GRACE / 2)
    assert silent.closed is None
    assert idle.closed is None
    here.pass_time(GRACE / 2 + 0.01)
    assert silent.closed is Close
    assert idle.ended
    here.pass_time(GRACE)
    assert idle.closed is Close
    here.pass_time(2.0)
    assert client.closed is Close
    assert here.core.is_drained


def test_the_deadline_of_a_drain_ends_a_handshake() -> None:
    here = world()
    client = here.connect(None)
    here.raw(client, b"\x16\x03")
    here.tell(lambda now: here.core.drain_requested(now, deadline=1.0))
    here.pass_time(1.5)
    assert client.closed is Abort
    assert here.core.is_drained


def test_a_context_that_is_missing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'listeners "web"\.tls: its SSLContext is missing'):
        Core(config(), now=0.0, wall=1e9, seed=1, entropy=bytes)


# ---- slow readers


def test_a_client_that_reads_slowly_stops_the_server() -> None:
    here = world()
    client = here.connect(client_context())
    here.say(client, GET)
    server = here.servers[0]
    here.say(server, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    here.tell(here.core.writing_paused, client.conn)
    assert server.is_read
    for _ in range(5):
        here.say(server, bytes(16_384))
    assert not server.is_read
    here.tell(here.core.writing_resumed, client.conn)
    assert server.is_read
    assert client.text.count(b"\x00") == 5 * 16_384


def test_a_client_that_takes_nothing_is_cut() -> None:
    here = world()
    client = here.connect(client_context())
    here.say(client, GET.replace(b"/ ", b"/here "))
    here.tell(here.core.writing_paused, client.conn)
    here.pass_time(31)
    assert client.closed is Abort

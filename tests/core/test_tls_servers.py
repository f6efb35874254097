"""TLS with servers in the whole core: what is verified, how failures are told, and that a cut is never an end."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from proxycore.config import Config, ConfigError, HealthCheck, Listener, Retries, Route, Upstream
from proxycore.config.materials import Materials
from proxycore.core import Core
from proxycore.words.commands import AddServer, CommandRefused
from proxycore.words.effects import Abort, Close, Connect
from proxycore.words.notices import ExchangeEnded, Fault
from tests.certificates import authority, client_context, server_context
from tests.core.tls_world import Party, World

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ONE = "https://localhost:1"
TWO = "https://localhost:2"


def config(*servers: str, **upstream: Any) -> Config:
    return Config(
        listeners=[Listener(name="web", bind="127.0.0.1:0")],
        upstreams={"api": Upstream(servers=list(servers), **{"retries": Retries(max=0), **upstream})},
        routes=[Route(upstream="api")],
    )


def world(
    served: Config | None = None, *, dialling: ssl.SSLContext | None = None, server: ssl.SSLContext | None = None
) -> World:
    materials = Materials(upstream_tls={"api": dialling or client_context()})
    here = World(served or config(ONE), materials, server=server or server_context())
    here.pass_time(0)  # the name is looked up
    return here


def ask(here: World, request: bytes = GET) -> Party:
    client = here.connect(None)
    here.say(client, request)
    return client


def ending(here: World) -> tuple[str, str, str]:
    """How the one exchange ended: its cause, the stage and the error of the failure."""
    assert not [notice for notice in here.notices if isinstance(notice, Fault)]
    (ended,) = [notice for notice in here.notices if isinstance(notice, ExchangeEnded)]
    failure = ended.outcome.failure
    return ended.outcome.cause, failure.stage if failure else "", failure.error if failure else ""


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_request_and_its_answer_pass(version: str) -> None:
    here = world(dialling=client_context(version=version))
    client = ask(here)
    server = here.servers[0]
    assert server.text.startswith(b"GET / HTTP/1.1\r\n")
    assert b"GET" not in server.ciphertext
    here.say(server, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert client.text.endswith(b"hello")
    assert ending(here) == ("completed", "", "")
    here.say(client, GET)
    assert len(here.servers) == 1
    assert server.text.count(b"GET / HTTP/1.1\r\n") == 2


def test_a_body_that_ends_with_the_connection_needs_close_notify() -> None:
    for is_proper in (True, False):
        here = world()
        client = ask(here)
        here.say(here.servers[0], b"HTTP/1.1 200 OK\r\n\r\nhello")
        if is_proper:
            here.finish(here.servers[0])
        else:
            here.eof(here.servers[0])
        assert b"hello\r\n" in client.text
        assert client.text.endswith(b"0\r\n\r\n") == is_proper
        cut = ("upstream_failed", "response_body", "connection_terminated")
        assert ending(here) == (("completed", "", "") if is_proper else cut)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_stream_cut_at_any_byte_is_never_complete(version: str) -> None:
    here = world(dialling=client_context(version=version))
    ask(here)
    server = here.servers[0].session
    assert server is not None
    whole = server.encrypt([b"HTTP/1.1 200 OK\r\n\r\n"]) + server.encrypt([b"hello"]) + server.close()
    for length in range(0, len(whole), 1 if version == "1.3" else 7):
        here = world(dialling=client_context(version=version))
        client = ask(here)
        server = here.servers[0].session
        assert server is not None
        stream = server.encrypt([b"HTTP/1.1 200 OK\r\n\r\n"]) + server.encrypt([b"hello"]) + server.close()
        assert len(stream) == len(whole)
        here.raw(here.servers[0], stream[:length])
        here.eof(here.servers[0])
        assert ending(here)[0] == "upstream_failed", length
        assert not client.text.endswith(b"0\r\n\r\n")
        assert client.got_eof or client.text.startswith(b"HTTP/1.1 502 ")


# ---- what is refused


def untrusting() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def unverifying() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def modern() -> ssl.SSLContext:
    context = client_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def old() -> ssl.SSLContext:
    context = server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def demanding() -> ssl.SSLContext:
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@pytest.mark.parametrize(
    ("dialling", "server", "error"),
    [
        (untrusting, server_context, "tls_certificate_error"),
        (client_context, lambda: server_context("other.example"), "tls_certificate_error"),
        (modern, old, "tls_alert_received"),
        (client_context, demanding, "tls_alert_received"),
    ],
)
def test_a_handshake_that_fails_is_told_by_its_name(dialling: Any, server: Any, error: str) -> None:
    here = world(dialling=dialling(), server=server())
    client = ask(here)
    assert client.text.startswith(b"HTTP/1.1 502 ")
    assert f"proxy-status: proxycore; error={error}".encode() in client.text.lower()
    assert ending(here) == ("upstream_failed", "tls", error)
    assert here.servers[0].closed is Close
    assert b"GET" not in here.servers[0].text
    here.eof(client)
    assert here.core.ledger().is_empty


def test_a_server_that_speaks_no_tls() -> None:
    here = world()
    here._server = None
    client = ask(here)
    here.raw(here.servers[0], b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert client.text.startswith(b"HTTP/1.1 502 ")
    assert ending(here) == ("upstream_failed", "tls", "tls_protocol_error")


@pytest.mark.parametrize("end", ["eof", "ECONNRESET"])
def test_a_server_that_leaves_in_the_handshake(end: str) -> None:
    here = world()
    here._server = None
    client = ask(here)
    if end == "eof":
        here.eof(here.servers[0])
    else:
        here.lose(here.servers[0], end)
    assert client.text.startswith(b"HTTP/1.1 502 ")
    assert ending(here) == ("upstream_failed", "tls", "connection_terminated")
    here.eof(client)
    assert here.core.ledger().is_empty


def test_the_clock_of_connecting_covers_the_handshake() -> None:
    here = world()
    here._server = None
    client = ask(here)
    here.pass_time(4.9)
    assert client.text == b""
    here.pass_time(0.2)
    assert client.text.startswith(b"HTTP/1.1 504 ")
    assert ending(here) == ("timed_out", "tls", "connection_timeout")
    assert here.servers[0].closed is Abort


def test_a_client_that_leaves_ends_the_handshake() -> None:
    here = world()
    here._server = None
    client = ask(here)
    here.eof(client)
    assert here.servers[0].closed is Abort
    assert ending(here) == ("client_left", "", "")
    assert here.core.ledger().is_empty


def test_a_handshake_that_failed_is_safe_to_try_elsewhere() -> None:
    here = world(config(ONE, TWO, retries=Retries(max=1, on=["connect"])))
    wrong, here._server = here._server, None
    client = ask(here, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    here._server = wrong
    here.eof(here.servers[0])
    assert here.servers[1].text.endswith(b"\r\n\r\nhi")
    here.say(here.servers[1], b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert client.text.startswith(b"HTTP/1.1 200 ")


def test_an_alert_behind_the_handshake_is_told_too() -> None:
    server = server_context()
    server.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(server)
    here = world(config(ONE, retries=Retries(max=0)), server=server)
    client = ask(here)  # in TLS 1.3 a client has shaken hands before its missing certificate is noticed
    assert client.text.startswith(b"HTTP/1.1 502 ")
    assert ending(here) == ("upstream_failed", "response_head", "tls_alert_received")


def test_unverified_is_served_where_the_context_says_so() -> None:
    here = world(dialling=unverifying(), server=server_context("other.example"))
    ask(here)
    assert here.servers[0].text.startswith(b"GET ")


def test_the_name_that_is_asked_for_may_be_configured() -> None:
    here = world(
        config("https://127.0.0.1:1", tls={"server_name": "inner.example"}), server=server_context("inner.example")
    )
    ask(here)
    assert here.servers[0].text.startswith(b"GET ")
    assert b"\r\nhost: a\r\n" in here.servers[0].text.lower()


# ---- kept connections


def test_the_next_connection_resumes_the_session() -> None:
    here = world()
    for number in range(2):
        client = ask(here)
        here.say(here.servers[number], b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert client.text.startswith(b"HTTP/1.1 200 ")
    reused = [server.session._object.session_reused for server in here.servers if server.session is not None]
    assert reused == [False, True]


def test_a_kept_connection_that_ends_either_way_is_forgotten() -> None:
    for end in (World.finish, World.eof):
        here = world()
        client = ask(here)
        server = here.servers[0]
        here.say(server, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        end(here, server)
        assert server.closed is Close
        here.say(client, GET)
        assert len(here.servers) == 2


def test_a_server_that_reads_slowly_stops_the_client() -> None:
    here = world()
    client = here.connect(None)
    here.say(client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    here.tell(here.core.writing_paused, here.servers[0].conn)
    for _ in range(5):
        here.say(client, bytes(16_384))
    assert not client.is_read
    here.tell(here.core.writing_resumed, here.servers[0].conn)
    assert client.is_read
    assert here.servers[0].text.count(b"\x00") == 5 * 16_384


# ---- configuration


def test_a_context_that_is_missing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"upstreams\.api\.tls: its SSLContext is missing"):
        Core(config(ONE), now=0.0, wall=1e9, seed=1, entropy=bytes)


def test_an_operator_adds_no_server_that_would_be_spoken_to_in_plain() -> None:
    core = Core(config("http://127.0.0.1:1"), now=0.0, wall=1e9, seed=1, entropy=bytes)
    command = AddServer("api", "two", {"url": "https://127.0.0.1:2"})
    with pytest.raises(CommandRefused, match="has https"):
        core.commanded(command, 0.0)
    here = world()
    here.tell(lambda now: here.core.commanded(command, now))
    here.tell(here.core.reconfigured, config("http://127.0.0.1:1"), Materials())
    assert [server.tls is not None for server in here.core._upstreams["api"].servers] == [False, True]


def test_tls_outside_dials_in_plain() -> None:
    core = Core(config("https://127.0.0.1:1"), Materials(tls_is_outside=True), now=0.0, wall=1e9, seed=1, entropy=bytes)
    conn = core.next_conn_id()
    core.accepted(conn, "web", ("192.0.2.1", 1), ("127.0.0.1", 80), 0.0)
    (dial,) = core.data_received(conn, GET, 0.0)
    assert isinstance(dial, Connect)
    (send,) = core.connected(dial.conn, ("127.0.0.1", 1), ("127.0.0.1", 1), 0.0)
    assert send.data.startswith(b"GET ")  # type: ignore[attr-defined]


def test_a_health_check_goes_over_tls_and_a_server_that_proves_nothing_is_down() -> None:
    checked = config(ONE, health_check=HealthCheck(path="/health", interval=10, timeout=5))
    here = world(checked)
    here.pass_time(1)
    (server,) = here.servers
    assert server.text.startswith(b"GET /health HTTP/1.1\r\n")
    assert b"GET" not in server.ciphertext
    here.say(server, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    (state,) = here.core._upstreams["api"].servers
    assert (state.state, server.closed) == ("up", Close)
    stranger = world(checked, dialling=ssl.create_default_context())
    stranger.pass_time(1)
    (state,) = stranger.core._upstreams["api"].servers
    assert state.state == "down"

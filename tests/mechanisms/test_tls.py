"""TLS in memory: two sessions that talk to each other, whole, in pieces, and cut off."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.mechanisms.tls import RECORD, TlsSession, certificate_of, choose_by_name
from tests.certificates import authority, client_context, leaf, server_context

VERSIONS = ("1.2", "1.3")


def shake_hands(client: TlsSession, server: TlsSession) -> None:
    """Carry messages until neither has one."""
    client.start()
    message = client.take()
    while message:
        server.receive(message)
        client.receive(server.take())
        message = client.take()


def pair(
    client: ssl.SSLContext | None = None, server: ssl.SSLContext | None = None, name: str = "localhost"
) -> tuple[TlsSession, TlsSession]:
    """A client and a server that have shaken hands, or failed to."""
    ours = TlsSession(client or client_context(), server_side=False, server_name=name)
    theirs = TlsSession(server or server_context(), server_side=True)
    shake_hands(ours, theirs)
    return ours, theirs


@pytest.mark.parametrize("version", VERSIONS)
def test_plaintext_comes_out_as_it_went_in(version: str) -> None:
    client, server = pair(client_context(version=version))
    assert client.is_established
    assert server.is_established
    assert server.protocol == client.protocol == "http/1.1"
    assert server.receive(client.encrypt([b"GET / ", b"", b"HTTP/1.1\r\n"])) == b"GET / HTTP/1.1\r\n"
    large = bytes(range(256)) * 1024
    assert client.receive(server.encrypt([large, b"end"])) == large + b"end"
    assert server.receive(b"") == b""
    assert not server.has_ended
    assert server.failure is None


def test_a_record_in_parts_waits_for_its_end() -> None:
    client, server = pair()
    record = client.encrypt([b"hello"])
    for index in range(len(record) - 1):
        assert server.receive(record[index : index + 1]) == b""
    assert server.receive(record[-1:]) == b"hello"


@given(data=st.binary(max_size=3 * RECORD), cuts=st.lists(st.integers(0, 4 * RECORD), max_size=20))
def test_any_split_of_the_same_stream_gives_the_same(data: bytes, cuts: list[int]) -> None:
    client, server = pair()
    stream = client.encrypt([data[:100], data[100:]]) + client.close()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    received = b"".join(server.receive(stream[begin:end]) for begin, end in pairwise(edges))
    assert received == data
    assert server.has_ended


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_cut_anywhere_has_not_ended(version: str) -> None:
    client, server = pair(client_context(version=version))
    stream = client.encrypt([b"first"]) + client.encrypt([b"second"]) + client.close()
    for byte in stream[:-1]:
        assert not server.has_ended
        server.receive(bytes([byte]))
    assert not server.has_ended
    assert server.receive(stream[-1:]) == b""
    assert server.has_ended
    assert server.failure is None


@pytest.mark.parametrize("version", VERSIONS)
def test_each_side_ends_by_itself(version: str) -> None:
    client, server = pair(client_context(version=version))
    assert client.receive(server.encrypt([b"all"]) + server.close()) == b"all"
    assert client.has_ended
    assert server.close() == b""  # once
    assert server.encrypt([b"more"]) == b""
    assert server.receive(client.encrypt([b"late"])) == b"late"
    assert not server.has_ended
    assert server.receive(client.encrypt([b"later"]) + client.close()) == b"later"
    assert server.has_ended
    assert server.receive(b"anything") == b""


def test_a_session_that_never_shook_hands_has_nothing_to_close() -> None:
    session = TlsSession(server_context(), server_side=True)
    assert session.close() == b""
    assert not session.has_ended


def test_a_changed_byte_is_a_failure_behind_what_came_whole() -> None:
    client, server = pair()
    whole, broken = client.encrypt([b"whole"]), bytearray(client.encrypt([b"broken"]))
    broken[-1] ^= 1
    assert server.receive(whole + bytes(broken)) == b"whole"
    assert server.failure is not None
    assert str(server.failure) == "tls_protocol_error: decryption failed or bad record mac"
    assert not server.has_ended
    alert = server.take()
    assert alert
    assert server.receive(client.encrypt([b"after"])) == b""
    assert server.encrypt([b"never"]) == server.close() == b""
    client.receive(alert)
    assert client.failure is not None
    assert client.failure.error == "tls_alert_received"


@given(st.binary(min_size=1, max_size=400))
def test_no_bytes_raise(data: bytes) -> None:
    session = TlsSession(_SERVER, server_side=True)
    assert session.receive(data) == b""
    assert not session.is_established
    assert not session.has_ended


_SERVER = server_context()


def _untrusting() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _old() -> ssl.SSLContext:
    context = client_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def _modern() -> ssl.SSLContext:
    context = server_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _demanding() -> ssl.SSLContext:
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(context)
    return context


@pytest.mark.parametrize(
    ("client", "server", "name", "at_client", "at_server"),
    [
        (_untrusting, server_context, "localhost", "tls_certificate_error", "tls_alert_received"),
        (client_context, server_context, "other.example", "tls_certificate_error", "tls_alert_received"),
        (_old, _modern, "localhost", "tls_alert_received", "tls_protocol_error"),
        (client_context, _demanding, "localhost", "tls_alert_received", "tls_certificate_error"),
    ],
)
def test_a_handshake_that_fails_says_why(
    client: Callable[[], ssl.SSLContext],
    server: Callable[[], ssl.SSLContext],
    name: str,
    at_client: str,
    at_server: str,
) -> None:
    ours, theirs = pair(client(), server(), name)
    assert ours.failure is not None
    assert theirs.failure is not None
    assert (ours.failure.error, theirs.failure.error) == (at_client, at_server)
    assert ours.failure.reason


def test_the_subject_is_that_of_a_verified_certificate() -> None:
    context = client_context()
    authority().issue_cert("c.example", common_name='Ann, "the" <first>', organization_name="#1 ").configure_cert(
        context
    )
    _, server = pair(context, _demanding())
    assert server.subject.startswith('CN=Ann\\, \\"the\\" \\<first\\>')
    assert ",O=\\#1\\ " in server.subject
    client, server = pair()
    assert server.subject == ""
    assert client.subject.startswith("CN=localhost")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_resumed(version: str) -> None:
    trusting, serving = client_context(version=version), server_context()
    client, server = pair(trusting, serving)
    client.receive(server.encrypt([b"data"]))
    ticket = client.ticket
    assert ticket is not None
    again = TlsSession(trusting, server_side=False, server_name="localhost", resume=ticket)
    other = TlsSession(serving, server_side=True)
    shake_hands(again, other)
    assert again.is_established
    assert again._object.session_reused
    assert again.protocol == "http/1.1"


# ---- certificates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("one.example", "one.example"),
        ("ONE.example", "one.example"),
        ("exact.two.example", "exact.two.example"),
        ("other.two.example", "*.two.example"),
        ("a.b.two.example", "one.example"),  # a wildcard stands for one label (RFC 9525 section 6.3)
        ("two.example", "one.example"),
        ("unknown.example", "one.example"),
        ("", "one.example"),
    ],
)
def test_the_certificate_is_chosen_by_name(asked: str, shown: str) -> None:
    contexts = [server_context(host) for host in ("one.example", "*.two.example", "exact.two.example")]
    context = choose_by_name([(context, certificate_of(context)) for context in contexts])
    trusting = client_context()
    trusting.check_hostname = False
    client = TlsSession(trusting, server_side=False, server_name=asked or None)
    server = TlsSession(context, server_side=True)
    shake_hands(client, server)
    assert client.subject.startswith(f"CN={shown},")
    assert client.protocol == "http/1.1"


def test_a_certificate_is_read_from_its_context() -> None:
    certificate = certificate_of(server_context("one.example", "*.Two.example", "127.0.0.1"))
    assert certificate.names == ("one.example", "*.two.example")
    assert certificate.begins < certificate.ends


def test_an_expired_certificate_is_read_too() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf("old.example", expired=True).configure_cert(context)
    assert certificate_of(context).ends == 1577836800.0


def test_a_context_without_a_certificate_is_told_so() -> None:
    with pytest.raises(ValueError, match=r"no shared cipher|handshake failure"):
        certificate_of(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

"""A client's first message: when it is whole, and what it offers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.mechanisms.client_hello import offered_protocols, read_client_hello
from proxycore.mechanisms.tls import TlsSession
from tests.certificates import client_context


def hello(*protocols: str, version: str = "1.3") -> bytes:
    client = TlsSession(
        client_context(protocols=protocols, version=version), server_side=False, server_name="localhost"
    )
    client.start()
    return client.take()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("protocols", [(), ("h2",), ("h2", "http/1.1", "x" * 255)])
def test_what_a_client_offers_is_read(protocols: tuple[str, ...], version: str) -> None:
    message = read_client_hello(hello(*protocols, version=version))
    assert message
    assert offered_protocols(message) == [name.encode() for name in protocols]


def test_it_is_whole_with_its_last_byte() -> None:
    data = hello("h2")
    assert {read_client_hello(data[:size]) for size in range(len(data))} == {None}
    assert read_client_hello(data) == read_client_hello(data + b"more") == data[9:]


def test_it_may_come_in_more_than_one_record() -> None:
    data = hello("h2")
    message = data[5:]

    def records(*sizes: int) -> bytes:
        split, at = b"", 0
        for size in sizes:
            piece = message[at : at + size]
            split += data[:3] + len(piece).to_bytes(2, "big") + piece
            at += size
        return split

    assert read_client_hello(records(1, 2, len(message))) == message[4:]
    assert read_client_hello(records(1, 2)) is None
    assert read_client_hello(records(1, 1, 1, 1, len(message))) == b""


def test_what_is_none_is_left_to_openssl() -> None:
    assert read_client_hello(b"\x17") == b""
    assert read_client_hello(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00") == b""
    assert read_client_hello(b"\x16\x03\x01\x40\x00\x01\x00\xff\xff") == b""


@given(st.binary(max_size=200), st.integers(0, 300))
def test_no_bytes_are_an_exception(noise: bytes, cut: int) -> None:
    read_client_hello(noise)
    read_client_hello(b"\x16\x03\x01" + noise)
    offered_protocols(noise)
    message = read_client_hello(hello_once)
    assert message
    offered_protocols(message[:cut] + noise)


hello_once = hello("h2", "http/1.1")

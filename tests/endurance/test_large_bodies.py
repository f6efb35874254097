"""A gibibyte through the proxy, up and down, to a slow reader: every byte comes, and few are held."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.conformance.origins import Line, client
from tests.endurance.conftest import Tell
from tests.endurance.content import Digest, digest, pieces
from tests.endurance.programs import OriginProgram, ProxyProgram, write_config

MIB = 1 << 20
GROWTH = 16 * 1024
"""KiB that the proxy may grow by."""

REST = 0.2
"""Seconds in which a slow reader takes nothing: long enough for all buffers on the way to fill."""


@pytest.fixture(scope="module")
def size(is_long: bool) -> int:
    return 1 << 30 if is_long else 64 * MIB


@pytest.fixture
def proxy(folder: Path, origin: OriginProgram, binding: str) -> ProxyProgram:
    return ProxyProgram(write_config(folder, origin.url), binding)


def receive(line: Line, size: int) -> str:
    """Read content of this size, with two rests; its digest."""
    received = Digest()
    received.update(line.buffer)
    line.buffer = b""
    buffer = memoryview(bytearray(256 << 10))
    rests = [0, size // 2]
    while received.size < size:
        if rests and received.size >= rests[0]:
            rests.pop(0)
            time.sleep(REST)
        count = line.socket.recv_into(buffer)
        assert count, f"the content ended after {received.size} bytes"
        received.update(buffer[:count])
    return received.text


def test_down_to_a_slow_reader(proxy: ProxyProgram, size: int, tell: Tell) -> None:
    with proxy, client(proxy.port) as c:
        c.send(b"GET /bytes/%d HTTP/1.1\r\nHost: a\r\n\r\n" % MIB)
        c.message()
        before = proxy.forget_peak()
        c.send(b"GET /bytes/%d HTTP/1.1\r\nHost: a\r\n\r\n" % size)
        assert b" 200 " in c.head()
        assert receive(c, size) == digest(size)
        growth = proxy.peak() - before
        tell(f"grew by {growth} KiB")
        assert growth < GROWTH


def test_up_to_a_slow_origin(proxy: ProxyProgram, size: int, tell: Tell) -> None:
    with proxy, client(proxy.port) as c:
        c.send(b"POST /sink/0 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % MIB)
        for piece in pieces(MIB):
            c.send(piece)
        assert c.message()[1].decode() == digest(MIB)
        before = proxy.forget_peak()
        c.send(b"POST /sink/%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (REST * 1000, size))
        for piece in pieces(size):
            c.send(piece)
        assert c.message()[1].decode() == digest(size)
        growth = proxy.peak() - before
        tell(f"grew by {growth} KiB")
        assert growth < GROWTH


def test_chunks_both_ways(folder: Path, origin: OriginProgram, main_binding: str, size: int, tell: Tell) -> None:
    """Up in chunks of every size, and down again in others."""
    sizes = [1, 10, 1_000, 65_536, 500_000]
    with ProxyProgram(write_config(folder, origin.url), main_binding) as proxy, client(proxy.port) as c:
        before = proxy.forget_peak()

        def send() -> None:
            c.send(b"POST /sink/100 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            turn = 0
            for piece in pieces(size // 4):
                view = memoryview(piece)
                while view:
                    part = view[: sizes[turn % len(sizes)]]
                    view = view[len(part) :]
                    turn += 1
                    c.send(b"%x\r\n%b\r\n" % (len(part), bytes(part)))
            c.send(b"0\r\n\r\n")

        sender = threading.Thread(target=send)
        sender.start()
        assert c.message()[1].decode() == digest(size // 4)
        sender.join()
        c.send(b"GET /chunks/%d HTTP/1.1\r\nHost: a\r\n\r\n" % (size // 4))
        c.head()
        received = Digest()
        while length := int(c.until(b"\r\n"), 16):
            received.update(c.exactly(length))
            assert c.exactly(2) == b"\r\n"
        assert received.text == digest(size // 4)
        growth = proxy.peak() - before
        tell(f"grew by {growth} KiB")
        assert growth < GROWTH

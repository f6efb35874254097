"""Clients who mean no harm, and how long they wait."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conformance.origins import Line, connect, status_of

GET = b"GET /innocent HTTP/1.1\r\nHost: a\r\n\r\n"
EXPECTED = b"/innocent 0"


def ask(line: Line) -> float:
    """One request; the seconds until its whole answer, which must be its own."""
    began = time.monotonic()
    line.send(GET)
    head, body = line.message()
    assert (status_of(head), body) == (200, EXPECTED), (head, body)
    return time.monotonic() - began


class Waits:
    """How long requests took, in seconds."""

    def __init__(self) -> None:
        self.kept: list[float] = []
        self.fresh: list[float] = []

    def measure(self, port: int, seconds: float, pause: float = 0.01) -> None:
        """Ask for a while, on a kept connection and on fresh ones in turn."""
        end = time.monotonic() + seconds
        with_address = connect(port)
        try:
            while time.monotonic() < end:
                self.kept.append(ask(with_address))
                began = time.monotonic()
                fresh = connect(port)
                ask(fresh)
                self.fresh.append(time.monotonic() - began)
                fresh.close()
                time.sleep(pause)
        finally:
            with_address.close()

    @property
    def worst(self) -> float:
        return max(self.kept + self.fresh)

    @property
    def median(self) -> float:
        ordered = sorted(self.kept + self.fresh)
        return ordered[len(ordered) // 2]

    def __str__(self) -> str:
        count = len(self.kept) + len(self.fresh)
        if not count:
            return "no innocent requests"
        return f"{count} innocent requests, median {self.median * 1000:.1f} ms, worst {self.worst * 1000:.1f} ms"


@contextmanager
def crowd(port: int, count: int, first: bytes = b"", receive_buffer: int = 0) -> Iterator[list[socket.socket]]:
    """So many connections, which have each sent `first`, from addresses of which each has a few hundred at most."""
    sockets: list[socket.socket] = []
    try:
        for number in range(count):
            sock = socket.socket()
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.bind((f"127.0.0.{2 + number // 250}", 0))
            sock.settimeout(10)
            sockets.append(sock)
            with contextlib.suppress(ConnectionError):  # it may be one too many
                sock.connect(("127.0.0.1", port))
                sock.sendall(first)
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def ended(sockets: list[socket.socket]) -> int:
    """How many of them the proxy has ended by now; what it sent before is read."""
    count = 0
    for sock in sockets:
        sock.setblocking(False)
        try:
            while sock.recv(1 << 20):
                pass
            count += 1
        except BlockingIOError:
            pass
        except ConnectionError:
            count += 1
    return count

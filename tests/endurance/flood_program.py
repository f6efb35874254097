"""Attackers with a process of their own: `flood_program.py KIND PORT SECONDS`.

It goes on for so many seconds on several connections at once, then prints how many it used.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator
from random import Random

_RANDOM = Random(7)
_PIECE = 64 << 10


def garbage() -> Iterator[bytes]:
    """Bytes of no protocol."""
    while True:
        yield _RANDOM.randbytes(_PIECE)


def headers() -> Iterator[bytes]:
    """A head without an end, of long fields."""
    yield b"GET / HTTP/1.1\r\nHost: a\r\n"
    for number in itertools.count():
        yield b"x-%d: %b\r\n" % (number, b"y" * 8_000)


def tiny_headers() -> Iterator[bytes]:
    """Heads of as many fields as may be, none of which was ever seen before."""
    for number in itertools.count():
        lines = b"".join(b"x-%x-%x: %x\r\n" % (number, i, i) for i in range(90))
        yield b"GET /innocent HTTP/1.1\r\nHost: a\r\n%b\r\n" % lines


def extensions() -> Iterator[bytes]:
    """Chunks of one byte with long extensions."""
    yield b"POST /sink/0 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"1;%b\r\nx\r\n" % (b"e" * 200) * 100


def tiny_chunks() -> Iterator[bytes]:
    """Chunks of one byte."""
    yield b"POST /sink/0 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"1\r\nx\r\n" * 10_000


def requests() -> Iterator[bytes]:
    """Requests behind requests, for an origin."""
    while True:
        yield b"GET /innocent HTTP/1.1\r\nHost: a\r\n\r\n" * 1_000


def local_requests() -> Iterator[bytes]:
    """Requests behind requests, that the proxy answers itself."""
    while True:
        yield b"GET /local HTTP/1.1\r\nHost: a\r\n\r\n" * 1_000


def big_local_requests() -> Iterator[bytes]:
    """The same, with long answers."""
    while True:
        yield b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n" * 1_000


def nothing() -> Iterator[bytes]:
    """Comes, and goes."""
    return iter(())


KINDS: dict[str, tuple[Callable[[], Iterator[bytes]], int]] = {
    "garbage": (garbage, 8),
    "headers": (headers, 8),
    "tiny_headers": (tiny_headers, 8),
    "extensions": (extensions, 8),
    "tiny_chunks": (tiny_chunks, 8),
    "requests": (requests, 20),
    "local_requests": (local_requests, 20),
    "big_local_requests": (big_local_requests, 20),
    "nothing": (nothing, 8),
}
"""What each connection sends, and how many there are at once. None ever reads."""


class Attacker:
    """One connection at a time; when it is cut, the next."""

    def __init__(self, port: int, what: Callable[[], Iterator[bytes]], number: int) -> None:
        self._port = port
        self._what = what
        self._address = f"127.0.1.{number + 1}"
        self.begin()

    def begin(self) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.bind((self._address, 0))
        self.socket.settimeout(5)
        self.socket.connect(("127.0.0.1", self._port))
        self.socket.setblocking(False)
        self._pieces = self._what()
        self._rest = b""

    def go_on(self) -> bool:
        """Send some more. False when the connection has ended."""
        try:
            data = self._rest or next(self._pieces)
            self._rest = data[self.socket.send(data) :]
        except BlockingIOError:
            pass
        except (OSError, StopIteration):
            self.socket.close()
            return False
        return True


def main(kind: str, port: int, seconds: float) -> None:
    what, at_once = KINDS[kind]
    selector = selectors.DefaultSelector()
    count = 0
    end = time.monotonic() + seconds
    for number in range(at_once):
        attacker = Attacker(port, what, number)
        selector.register(attacker.socket, selectors.EVENT_WRITE, attacker)
        count += 1
    while time.monotonic() < end:
        for key, _ in selector.select(0.05):
            attacker = key.data
            if not attacker.go_on():
                selector.unregister(key.fileobj)
                attacker.begin()
                selector.register(attacker.socket, selectors.EVENT_WRITE, attacker)
                count += 1
    sys.stdout.write(f"{count}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))

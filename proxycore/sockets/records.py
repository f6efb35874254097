"""What the driver remembers of each socket: for an idle connection one slots object and two table entries."""

from __future__ import annotations

import socket
from collections import deque

from proxycore.words.ids import Address, ConnId

SMALL = 96 << 10
"""Bytes asked of a connection that talks little. Costs no more to allocate than 4 KiB, and holds any usual head."""

LARGE = 256 << 10
"""Bytes asked once a read came back full: a 1 MiB body takes four reads."""


MODEST = 64 << 10
"""Bytes asked of a connection that talks much while a crowd waits to be written: what comes then mostly waits, too."""

CROWD = 16
"""Connections that wait to be written at once: as many slow readers as may cost a large read each."""


class Connection:
    """One socket with a peer.

    `watched` is the mask in the readiness set, None where the socket isn't in it. `reading` says that
    bytes are wanted and may still come: open, not `paused`, not `ended`. `waiting` holds what the kernel
    refused, None when nothing waits. `ended`: the peer's end of file was told. `finishing`: ours goes
    out when nothing waits; `finished`: it did. `broken` is why nothing can be sent any more.
    `deaf`: paused, and the peer's end stands behind bytes that we don't read yet.
    """

    __slots__ = (
        "address",
        "broken",
        "closing",
        "conn",
        "deaf",
        "dialling",
        "ended",
        "fd",
        "finished",
        "finishing",
        "paused",
        "reading",
        "size",
        "socket",
        "waiting",
        "watched",
    )

    def __init__(self, conn: ConnId, sock: socket.socket, dialled: Address | None = None) -> None:
        self.conn = conn
        self.socket = sock
        self.fd = sock.fileno()
        self.address = dialled
        self.dialling = dialled is not None
        self.reading = not self.dialling
        self.size = SMALL
        self.watched: int | None = None
        self.waiting: deque[bytes | memoryview] | None = None
        self.broken: str | None = None
        self.paused = False
        self.ended = False
        self.finishing = False
        self.finished = False
        self.closing = False
        self.deaf = False

    def __repr__(self) -> str:
        state = " ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__ if name != "socket")
        return f"<Connection {state}>"


class Listening:
    """One listening socket of a listener.

    `local` is the address that its connections come to, None where only each of them can tell (a
    wildcard). `burst` is how many to accept at the next wake-up.
    """

    __slots__ = ("accepting", "burst", "fd", "local", "name", "socket")

    reading = False  # so that one test in the driver's loop tells a talking connection from all else

    def __init__(self, name: str, sock: socket.socket, local: Address | None) -> None:
        self.name = name
        self.socket = sock
        self.fd = sock.fileno()
        self.local = local
        self.accepting = True
        self.burst = 1

    def __repr__(self) -> str:
        return f"<Listening {self.name!r} fd={self.fd} local={self.local!r} accepting={self.accepting}>"

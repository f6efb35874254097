"""Writing logs without ever making the proxy wait.

Theory of operation
-------------------
Any destination may stall: a pipe that nobody reads, a disk that is full or far away. So a thread of its own
writes each log, and whoever logs only puts bytes on a queue. The thread sleeps until there is something, lets
more of it gather for `INTERVAL`, and writes it at once: at most twenty wake-ups a second, whatever the traffic.

What waits is bounded by `CAPACITY`. Beyond it, and when writing fails, lines are dropped whole and counted, and
the log itself says how many as soon as it can be written again. Each counter has one thread that writes it.
"""

from __future__ import annotations

import logging
import os
import pwd
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

INTERVAL = 0.05
"""Seconds for which lines gather before they are written."""

CAPACITY = 8 << 20
"""Bytes that wait at most: some 20,000 lines."""

CLOSING = 2.0
"""Seconds that what waits has to be written when the program ends."""

_SYSLOG_PATHS = ("/dev/log", "/var/run/syslog")
_SYSLOG_PRIORITY = 16 * 8 + 6  # local0.info (RFC 5424 section 6.2.1)
_SYSLOG_LENGTH = 8_000  # what journald and rsyslog take in one datagram by default

_log = logging.getLogger("proxycore")


class Destination(Protocol):
    """Where a log goes. Used by the writing thread alone, once it is made; all but `close` may raise OSError."""

    def write(self, data: bytes) -> None: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...


def open_destination(name: str, *, folder: str = "", shared: bool = False, owner: str | None = None) -> Destination:
    """The destination that `logging.access_file` names, a relative one counting from `folder`. Raises OSError.

    `shared` says that other processes write there too. The user `owner` is given a file of root's, where we are root.
    """
    if name == "-":
        return Stream(1, shared=shared)
    if name == "syslog":
        return Syslog()
    return File(os.path.join(folder, name), shared=shared, owner=owner)


class Stream:
    """A descriptor that was given: standard output or error."""

    def __init__(self, fd: int, *, shared: bool = False) -> None:
        self._fd = fd
        # Only so many bytes go into a pipe in one piece (PIPE_BUF): more, and two processes tear each other's lines.
        self._atomic = select.PIPE_BUF if shared and _is_pipe(fd) else 0

    def write(self, data: bytes) -> None:
        for piece in _whole_lines(data, self._atomic) if self._atomic else (data,):
            _write_all(self._fd, piece)

    def reopen(self) -> None:
        pass

    def close(self) -> None:
        pass


class File(Stream):
    """A file that is appended to. Several processes may share one: each write lands whole at its end."""

    def __init__(self, path: str, *, shared: bool = False, owner: str | None = None) -> None:
        self._path = path
        self._shared = shared
        self._owner = owner
        super().__init__(_open(path, owner), shared=shared)

    def reopen(self) -> None:
        before = self._fd
        super().__init__(_open(self._path, self._owner), shared=self._shared)
        os.close(before)

    def close(self) -> None:
        os.close(self._fd)


class Syslog:
    """The machine's own log, one datagram for each line (RFC 3164 section 4, in the form that local daemons take)."""

    def __init__(self) -> None:
        self._socket = self._connect()

    def _connect(self) -> socket.socket:
        path = next(filter(os.path.exists, _SYSLOG_PATHS), _SYSLOG_PATHS[0])
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.connect(path)
        except OSError as error:
            sock.close()
            raise OSError(error.errno, error.strerror, path) from None
        return sock

    def write(self, data: bytes) -> None:
        prefix = f"<{_SYSLOG_PRIORITY}>{time.strftime('%b %e %H:%M:%S')} proxycore[{os.getpid()}]: ".encode()
        for line in data.splitlines():
            try:
                self._socket.send(prefix + line[:_SYSLOG_LENGTH])
            except (ConnectionError, FileNotFoundError):  # the daemon was restarted
                self.reopen()
                self._socket.send(prefix + line[:_SYSLOG_LENGTH])

    def reopen(self) -> None:
        self._socket.close()
        self._socket = self._connect()

    def close(self) -> None:
        self._socket.close()


class LogWriter:
    """Writes lines to a destination from a thread of its own.

    `write` never waits. `reopen` has the destination opened anew soon, as log rotation wants it.
    `describe_drops` makes the line that tells of so many lost ones.
    """

    def __init__(self, destination: Destination, name: str, describe_drops: Callable[[int], str]) -> None:
        self._destination = destination
        self._name = name
        self._describe_drops = describe_drops
        self._waiting: deque[bytes] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._must_reopen = False
        self._failing = False
        # Written by whoever logs.
        self._accepted = 0
        self._refused = 0
        # Written by the thread.
        self._handled = 0
        self._failed = 0
        self._reported = 0
        self._thread = threading.Thread(target=self._run, name=f"proxycore {name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were lost so far."""
        return self._refused + self._failed

    def write(self, lines: bytes) -> None:
        """Have these whole lines written, or count them as dropped where too much waits already."""
        size = len(lines)
        if self._accepted - self._handled + size > CAPACITY:
            self._refused += lines.count(b"\n")
            return
        self._accepted += size
        self._waiting.append(lines)
        if not self._wake.is_set():
            self._wake.set()

    def reopen(self) -> None:
        """Have the destination opened anew. What waits is written to the old one first."""
        self._must_reopen = True
        self._wake.set()

    def close(self, timeout: float = CLOSING) -> None:
        """End once all that waits is written; wait for that at most `timeout` seconds."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)

    # ---- in the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            self._closing.wait(INTERVAL)
            must_reopen, self._must_reopen = self._must_reopen, False
            self._write_waiting()
            if must_reopen:  # what came before still belongs into the old file
                self._reopen()
        self._write_waiting()
        self._destination.close()

    def _reopen(self) -> None:
        try:
            self._destination.reopen()
        except OSError as error:
            _log.error("the %s can't be reopened, the old one goes on: %s", self._name, error)

    def _write_waiting(self) -> None:
        waiting = self._waiting
        lines = b"".join([waiting.popleft() for _ in range(len(waiting))])
        dropped = self.dropped
        news = self._describe_drops(dropped - self._reported).encode() if dropped != self._reported else b""
        if lines or news:
            try:
                self._destination.write(lines + news)
                self._reported = dropped
                self._failing = False
            except OSError as error:
                self._failed += lines.count(b"\n")
                self._tell_failing(error)
            self._handled += len(lines)

    def _tell_failing(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            _log.error("the %s can't be written, lines are dropped: %s", self._name, error)


def _open(path: str, owner: str | None) -> int:
    """Open a file to append to. A named pipe that nobody reads is an error at once, and not a wait."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
    os.set_blocking(fd, True)
    found = os.fstat(fd)
    if owner is not None and os.geteuid() == 0 and found.st_uid == 0 and stat.S_ISREG(found.st_mode):
        entry = pwd.getpwnam(owner)
        os.fchown(fd, entry.pw_uid, entry.pw_gid)
    return fd


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:  # a standard output that was given to us non-blocking
            waiter = select.poll()
            waiter.register(fd, select.POLLOUT)
            waiter.poll()


def _whole_lines(data: bytes, size: int) -> Iterator[bytes]:
    """`data` in pieces of whole lines, each at most `size` bytes where no single line is longer."""
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + size) + 1
        if not end:
            end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end

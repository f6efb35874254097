"""Origins that do what a test tells them, with plain sockets: nothing of proxycore checks proxycore here."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

LIMIT = 10.0


class Line:
    """One connection, with a buffer: `until` and `exactly` read from it, `send` writes to it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(LIMIT)
        self.socket = sock
        self.buffer = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def until(self, mark: bytes) -> bytes:
        """Read up to `mark`, that included. EOFError where the connection ends before it."""
        while mark not in self.buffer:
            self._more()
        found, _, self.buffer = self.buffer.partition(mark)
        return found + mark

    def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self._more()
        found, self.buffer = self.buffer[:size], self.buffer[size:]
        return found

    def to_end(self) -> bytes:
        """All that comes until the peer ends its side. ConnectionError where it was reset."""
        with contextlib.suppress(EOFError):
            while True:
                self._more()
        found, self.buffer = self.buffer, b""
        return found

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError(self.buffer)
        self.buffer += data

    def head(self) -> bytes:
        """The head of the next message."""
        return self.until(b"\r\n\r\n")

    def content(self, head: bytes) -> bytes:
        """The content that `head` announces, chunks put together, trailers dropped."""
        fields = fields_of(head)
        if b"content-length" in fields:
            return self.exactly(int(fields[b"content-length"]))
        if fields.get(b"transfer-encoding") != b"chunked":
            return b""
        content = b""
        while size := int(self.until(b"\r\n"), 16):
            content += self.exactly(size)
            assert self.exactly(2) == b"\r\n"
        while self.until(b"\r\n") != b"\r\n":
            pass
        return content

    def message(self) -> tuple[bytes, bytes]:
        head = self.head()
        return head, self.content(head)

    def is_ended(self) -> bool:
        """Whether the peer ended or reset the connection, with nothing unread before it."""
        try:
            return not self.buffer and self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


def fields_of(head: bytes) -> dict[bytes, bytes]:
    """The fields of a head by name; repeated ones joined by commas."""
    fields: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n")[1:]:
        if line:
            name, _, value = line.partition(b": ")
            fields[name] = fields[name] + b", " + value if name in fields else value
    return fields


def status_of(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


Handler = Callable[[Line], None]


class Origin:
    """Accepts connections and runs `handler` on each in a thread of its own."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.accepted = 0
        self.errors: list[BaseException] = []
        self._lines: list[Line] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            line = Line(sock)
            self._lines.append(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: Line) -> None:
        try:
            self._handler(line)
        except (EOFError, OSError):
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            line.close()

    def close(self) -> None:
        # Closing alone doesn't wake a thread that waits in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.socket.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def origin(handler: Handler) -> Iterator[Origin]:
    serving = Origin(handler)
    try:
        yield serving
    finally:
        serving.close()
    assert not serving.errors, serving.errors


def answering(response: bytes) -> Handler:
    """Answers every request of a connection with these bytes."""

    def handle(line: Line) -> None:
        while True:
            line.message()
            line.send(response)

    return handle


def response(body: bytes = b"", *fields: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def echoing(line: Line) -> None:
    """Answers each request with what reached us: the head, and behind it the content."""
    while True:
        head, content = line.message()
        line.send(response(head + content))


def connect(port: int) -> Line:
    return Line(socket.create_connection(("127.0.0.1", port), timeout=LIMIT))


@contextlib.contextmanager
def client(port: int) -> Iterator[Line]:
    line = connect(port)
    try:
        yield line
    finally:
        line.close()


def refused_port() -> int:
    """A port that nobody listens on."""
    return refused_ports(1)[0]


_REFUSING: list[socket.socket] = []


def refused_ports(count: int) -> list[int]:
    """Different ports that nobody listens on while these tests run: they stay bound, so that no server gets one."""
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    _REFUSING.extend(sockets)
    return [sock.getsockname()[1] for sock in sockets]

"""A network that cuts everything in the worst places, and peers that lie: every answer is whole or seen to be cut."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from tests.conformance.origins import Line, client, connect, origin, status_of
from tests.conformance.proxies import soon
from tests.endurance.conftest import Tell
from tests.endurance.programs import ProxyProgram, write_config

BODY = bytes(range(256)) * 4
CHUNKED = (
    b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (BODY[:1], BODY[1:300], BODY[300:])) + b"0\r\n\r\n"
)
RESPONSES = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
}
REQUEST = b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789"
REQUESTS = [
    b"GET /x?y=z HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nConnection: keep-alive\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a.b:80\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n"
    b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    b"POST http://a/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
]
Ending = Callable[[Line], None]
ENDINGS: dict[str, Ending] = {"closes": Line.close, "resets": Line.reset}


def one_by_one(line: Line, data: bytes) -> None:
    line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for place in range(len(data)):
        line.send(data[place : place + 1])


@contextlib.contextmanager
def proxied(folder: Path, url: str, binding: str, **settings: Any) -> Iterator[ProxyProgram]:
    """A proxy that holds nothing in the end, and has not met a bug."""
    with ProxyProgram(write_config(folder, url, **settings), binding) as proxy:
        files = proxy.open_files()
        yield proxy
        assert soon(lambda: proxy.open_files() <= files + 4, 10), proxy.open_files()


def test_every_byte_alone(folder: Path, binding: str) -> None:
    def drip(line: Line) -> None:
        for framing in (*RESPONSES, *RESPONSES):
            assert line.message()[1] == b"0123456789"
            one_by_one(line, RESPONSES[framing])

    with origin(drip) as o, proxied(folder, o.url, binding) as proxy, client(proxy.port) as c:
        for _ in (*RESPONSES, *RESPONSES):
            one_by_one(c, REQUEST)
            head, body = c.message()
            assert (status_of(head), body) == (200, BODY)


def test_a_client_leaves_at_every_moment_of_its_request(folder: Path, main_binding: str) -> None:
    def answer(line: Line) -> None:
        while True:
            line.message()
            line.send(RESPONSES["length"])

    with origin(answer) as o, proxied(folder, o.url, main_binding) as proxy:
        for request, end in itertools.product(REQUESTS, ENDINGS.values()):
            for size in range(len(request) + 1):
                c = connect(proxy.port)
                c.send(request[:size])
                end(c)
        with client(proxy.port) as c:
            c.send(REQUEST)
            assert c.message()[1] == BODY


def test_a_client_leaves_at_every_moment_of_its_answer(folder: Path, main_binding: str) -> None:
    now = SimpleNamespace()

    def answer_slowly(line: Line) -> None:
        while True:
            line.message()
            for place in range(0, len(now.response), 100):
                line.send(now.response[place : place + 100])
                time.sleep(0.001)

    with origin(answer_slowly) as o, proxied(folder, o.url, main_binding) as proxy:
        for now.response, end in itertools.product(RESPONSES.values(), ENDINGS.values()):
            for size in range(1, 400, 11):
                c = connect(proxy.port)
                c.send(REQUEST)
                c.exactly(size)
                end(c)


def test_an_origin_leaves_at_every_moment_of_its_answer(folder: Path, main_binding: str) -> None:
    """The client has the whole, or a 502, or sees that what it has was cut."""
    now = SimpleNamespace()

    def leave(line: Line) -> None:
        line.head()
        line.send(now.response[: now.sent])
        time.sleep(0.001)
        now.end(line)

    with origin(leave) as o, proxied(folder, o.url, main_binding, upstream="retries = { max = 0 }") as proxy:
        for response, now.end in itertools.product(RESPONSES.values(), ENDINGS.values()):
            now.response = response
            head_size = response.index(b"\r\n\r\n") + 4
            results = Counter[str]()
            for now.sent in (*range(60), *range(60, len(response), 41), len(response) - 1, len(response)):
                result = result_of_get(proxy.port)
                results[result] += 1
                if result == "200":
                    assert now.sent == len(response)
                elif result == "502":
                    assert now.sent < head_size
                else:
                    assert head_size <= now.sent < len(response)
            assert results.keys() == {"200", "502", "cut"}


def result_of_get(port: int) -> str:
    """The status, or "cut" where the answer can be seen to be no whole one."""
    with client(port) as c:
        c.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            head, body = c.message()
        except (EOFError, ConnectionError):
            return "cut"
        assert status_of(head) != 200 or body == BODY
        return str(status_of(head))


def mutated(message: bytes, random: Random) -> bytes:
    """The message with some bytes changed, doubled, lost or put in."""
    data = bytearray(message)
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(data))
        match random.randrange(5):
            case 0:
                data[place] = random.choice(b"\0\t\r\n :;,-0123456789aAzZ\x7f\xff")
            case 1:
                del data[place]
            case 2:
                data.insert(place, random.choice(b"\0\t\r\n :;,0\xff"))
            case 3:
                end = place + random.randint(1, 20)
                data[place:place] = data[place:end]
            case 4:
                del data[place : place + random.randint(1, 20)]
    return bytes(data)


def answers_in(data: bytes) -> list[int]:
    """The statuses of the answers in what a client got; each must begin where the one before it ended."""
    statuses = []
    while data:
        assert data.startswith(b"HTTP/1.1 "), data[:100]
        head, blank, data = data.partition(b"\r\n\r\n")
        if not blank:
            break
        status = status_of(head)
        statuses.append(status)
        if status < 200:
            continue
        assert b"\r\ncontent-length: " in head, head
        data = data[int(head.partition(b"\r\ncontent-length: ")[2].split(b"\r\n")[0]) :]
    return statuses


def test_clients_that_lie(folder: Path, main_binding: str, is_long: bool, tell: Tell) -> None:
    """Whatever a client sends, it gets answers, and the origin none but whole and valid requests."""

    def check(line: Line) -> None:
        while True:
            head, _ = line.message()
            assert head.count(b"\r\nhost: ") == 1
            assert not (b"\r\ncontent-length:" in head and b"\r\ntransfer-encoding:" in head)
            assert b"\n" not in head.replace(b"\r\n", b"")
            line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    random = Random(5)
    statuses = Counter[int]()
    timeouts = {"request_head": "1s", "request_body": "1s", "idle": "1s", "linger": "100ms"}
    settings = {"timeouts": timeouts, "listener": 'half_close = "finish"'}
    with origin(check) as o, proxied(folder, o.url, main_binding, **settings) as proxy:
        for number in range(5_000 if is_long else 500):
            with client(proxy.port) as c:
                c.send(mutated(REQUESTS[number % len(REQUESTS)], random))
                c.socket.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    for status in answers_in(c.to_end()):
                        statuses[status] += 1
        with client(proxy.port) as c:
            c.send(REQUEST)
            assert c.message()[1] == b"ok"
    tell(dict(sorted(statuses.items())))
    assert statuses.keys() > {200, 400}


def test_origins_that_lie(folder: Path, main_binding: str, is_long: bool, tell: Tell) -> None:
    """Whatever an origin answers, the client gets a valid answer, or sees that it was cut; and the next is its own."""
    random = Random(6)

    def lie(line: Line) -> None:
        while True:
            head, _ = line.message()
            if b"/true" in head:
                line.send(RESPONSES["length"])
            else:
                line.send(
                    mutated(RESPONSES[random.choice(list(RESPONSES))][:400], random) + BODY * random.randint(0, 1)
                )
                if random.random() < 0.5:
                    return

    seen = Counter[str]()
    timeouts = {"response_head": "50ms", "response_body": "50ms"}
    with origin(lie) as o, proxied(folder, o.url, main_binding, timeouts=timeouts) as proxy:
        for _ in range(1_000 if is_long else 100):
            with client(proxy.port) as c:
                c.send(b"GET /lie HTTP/1.1\r\nHost: a\r\n\r\n")
                try:
                    result = str(status_of(c.message()[0]))
                    c.send(b"GET /true HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert c.message()[1] == BODY
                except (EOFError, ConnectionError):
                    result = "cut"
                seen[result] += 1
    tell(seen)
    assert seen.keys() >= {"200", "502", "cut"}

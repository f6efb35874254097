"""Origins that die, reloads and drains under load: nobody who asks notices."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pytest

from tests.conformance.origins import Line, client, connect, fields_of, status_of
from tests.conformance.proxies import soon
from tests.endurance.conftest import Tell
from tests.endurance.content import Digest, digest
from tests.endurance.programs import OriginProgram, ProxyProgram, write_config

RATE = 50.0
"""Requests a second, of each client."""

GET = b"GET /load/%d HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /load/%d HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000


class Load:
    """Four clients that ask and ask; each wants the answer to its own request."""

    def __init__(self, port: int, *, with_posts: bool = True) -> None:
        self._port = port
        self._with_posts = with_posts
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(4)]
        self.wrong: list[object] = []
        self.waits: list[float] = []
        self.servers: Counter[bytes] = Counter()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, client_number: int) -> None:
        """Every second client takes a new connection for each request."""
        line = connect(self._port)
        number = client_number * 1_000_000
        while not self._over.is_set():
            number += 1
            try:
                if client_number % 2:
                    line.close()
                    line = connect(self._port)
                self._ask_once(line, number)
            except (OSError, EOFError, AssertionError) as error:
                self.wrong.append(error)
                line.close()
                line = connect(self._port)
            time.sleep(1 / RATE)
        line.close()

    def _ask_once(self, line: Line, number: int) -> None:
        is_post = self._with_posts and number % 3 == 0
        began = time.monotonic()
        line.send((POST if is_post else GET) % number)
        head, body = line.message()
        self.waits.append(time.monotonic() - began)
        assert (status_of(head), body) == (200, b"/load/%d %d" % (number, 5000 if is_post else 0)), (head, body)
        fields = fields_of(head)
        self.servers[fields[b"x-origin"]] += 1
        if fields.get(b"connection") == b"close":
            line.socket.close()
            line.socket = connect(self._port).socket

    def __str__(self) -> str:
        ordered = sorted(self.waits)
        return f"{len(ordered)} requests, {len(self.wrong)} lost; worst {ordered[-1] * 1000:.1f} ms"


@pytest.fixture
def origins() -> Iterator[list[OriginProgram]]:
    with ExitStack() as stack:
        yield [stack.enter_context(OriginProgram()) for _ in range(3)]


CHECKED = 'health_check = { path = "/health", interval = "1s", timeout = "1s", rise = 1, fall = 1 }\n'


def share_after_a_kill(file: str, origins: list[OriginProgram], binding: str, out: float, tell: Tell) -> float:
    """Kill an origin under steady load, start it again `out` seconds later, and look at its share once it is back."""
    with ProxyProgram(file, binding) as proxy, Load(proxy.port, with_posts=False) as load:
        time.sleep(0.3)
        assert len(load.servers) == 3
        origins[0].kill()
        time.sleep(0.1)
        load.servers.clear()
        time.sleep(out)
        assert len(load.servers) == 2
        origins[0].start()
        load.servers.clear()
        came_back = time.monotonic()
        assert soon(lambda: len(load.servers) == 3, 5)
        tell(f"back after {time.monotonic() - came_back:.2f} s")
        load.servers.clear()
        time.sleep(0.5)
        share = min(load.servers.values()) / load.servers.total()
    tell(load)
    assert load.wrong == []
    assert max(load.waits) < 0.5
    return share


def test_an_origin_is_killed_and_comes_back(
    folder: Path, origins: list[OriginProgram], binding: str, is_long: bool, tell: Tell
) -> None:
    """An origin died of OOM, under steady load: no GET fails, it is out at once, and soon takes its share again."""
    file = write_config(folder, *(origin.url for origin in origins), upstream=CHECKED)
    assert 0.2 <= share_after_a_kill(file, origins, binding, 10 if is_long else 0.6, tell) <= 0.4


def test_an_origin_that_comes_back_starts_slowly(
    folder: Path, origins: list[OriginProgram], main_binding: str, tell: Tell
) -> None:
    file = write_config(folder, *(origin.url for origin in origins), upstream=f'{CHECKED}slow_start = "2s"')
    assert share_after_a_kill(file, origins, main_binding, 0.3, tell) <= 0.2


# ---- reloads and drains


@contextmanager
def tunnel(port: int) -> Iterator[Line]:
    with client(port) as line:
        line.send(b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        assert status_of(line.head()) == 101
        yield line


def echo(line: Line, text: bytes) -> None:
    line.send(text)
    assert line.exactly(len(text)) == text


def large_content(line: Line, size: int) -> str:
    received = Digest()
    received.update(line.buffer)
    while received.size < size:
        received.update(line.socket.recv(1 << 20))
    return received.text


def test_reloads_under_load(folder: Path, origins: list[OriginProgram], binding: str, tell: Tell) -> None:
    """Servers come and go, limits and routes change: no request is lost, none answered wrongly, each is logged once."""
    urls = [origin.url for origin in origins]
    routes = '[[routes]]\nmatch = { path = "/elsewhere" }\nrespond = { status = 404 }\n'
    file = write_config(folder, *urls)
    with ProxyProgram(file, binding) as proxy, tunnel(proxy.port) as line:
        with Load(proxy.port) as load:
            files = proxy.open_files()
            for number in range(1, 21):
                servers = urls[number % 3 :] if number % 2 else urls
                write_config(
                    folder, *servers, limits={"request_head": f"{16_000 + number}B"}, routes=routes * (number % 2)
                )
                proxy.reload(number)
                echo(line, b"still here %d" % number)
            assert proxy.open_files() <= files + 40
        tell(load)
        assert load.wrong == []
        assert max(load.waits) < 0.5
        proxy.signal(signal.SIGTERM)
        line.close()
        assert proxy.end()[0] == 0
        logged = (folder / "access.log").read_text().splitlines()
        assert len(logged) == len(load.waits) + 1
        assert not [entry for entry in logged if '"status":200' not in entry.replace(" ", "")][1:]


def test_a_drain_with_requests_in_flight(folder: Path, origin: OriginProgram, binding: str, tell: Tell) -> None:
    """Thirty answers are still to come, one is coming, and a tunnel is open: all end as they should."""
    file = write_config(folder, origin.url, timeouts={"drain": "10s", "linger": "100ms"})
    with ProxyProgram(file, binding) as proxy, tunnel(proxy.port) as line, client(proxy.port) as idle:
        lines = [connect(proxy.port) for _ in range(30)]
        for waiting in lines:
            waiting.send(b"GET /late/500 HTTP/1.1\r\nHost: a\r\n\r\n")
        large = connect(proxy.port)
        large.send(b"GET /bytes/20000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        head = large.head()
        idle.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        idle.message()
        proxy.signal(signal.SIGTERM)
        began = time.monotonic()
        proxy.wait_for("draining")
        assert idle.is_ended()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy.port)
        assert [status_of(waiting.message()[0]) for waiting in lines] == [200] * 30
        assert head.startswith(b"HTTP/1.1 200 ")
        assert large_content(large, 20_000_000) == digest(20_000_000)
        echo(line, b"still here")
        line.close()
        code, _ = proxy.end()
        tell(f"drained in {time.monotonic() - began:.2f} s")
        assert code == 0
        for waiting in (*lines, large):
            waiting.close()


def test_a_drain_ends_what_does_not_end(folder: Path, origin: OriginProgram, main_binding: str) -> None:
    file = write_config(folder, origin.url, timeouts={"drain": "500ms"})
    with ProxyProgram(file, main_binding) as proxy, tunnel(proxy.port) as line, client(proxy.port) as waiting:
        waiting.send(b"GET /late/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
        echo(line, b"here")
        proxy.signal(signal.SIGTERM)
        began = time.monotonic()
        assert waiting.is_ended()
        assert line.is_ended()
        assert proxy.end()[0] == 0
        assert 0.4 < time.monotonic() - began < 3

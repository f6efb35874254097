"""What attackers do, and what becomes meanwhile of those who mean no harm."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.origins import client
from tests.conformance.proxies import soon
from tests.endurance.conftest import Tell
from tests.endurance.flood_program import KINDS
from tests.endurance.innocents import Waits, ask, crowd, ended
from tests.endurance.programs import ENVIRONMENT, OriginProgram, ProxyProgram, write_config

GROWTH = 8 * 1024
"""KiB that the proxy may grow by under any attack."""

CLOCK = 1.3
"""Seconds that the clocks of these tests give a peer."""

LATE = 0.7
"""Seconds after which a peer that was too slow for its clock must have been cut."""

TIMEOUTS = {
    "request_head": f"{CLOCK}s",
    "request_body": f"{CLOCK}s",
    "send": f"{CLOCK}s",
    "idle": f"{CLOCK}s",
    "linger": "300ms",
}

ROUTES = """
[upstreams.calm]
servers = ["{calm}"]
[[routes]]
match = {{ path = "/innocent" }}
upstream = "calm"
[[routes]]
match = {{ path = "/local" }}
respond = {{ status = 200, body = "ours" }}
[[routes]]
match = {{ path = "/big" }}
respond = {{ status = 200, body = "{big}" }}
"""


class Siege:
    """A proxy under attack, and what it was before."""

    def __init__(self, proxy: ProxyProgram) -> None:
        self.proxy = proxy
        self.port = proxy.port
        self.waits = Waits()
        self._files = proxy.open_files()
        self._before = proxy.forget_peak()

    @property
    def growth(self) -> int:
        """KiB by which it grew at its peak."""
        return self.proxy.peak() - self._before

    def is_over(self) -> bool:
        """Whether nothing is left of it. Ten connections to the origins may be kept for later."""
        return self.proxy.open_files() <= self._files + 10

    def measure(self, seconds: float) -> None:
        self.waits.measure(self.port, seconds)


Besiege = Callable[..., AbstractContextManager[Siege]]


@pytest.fixture
def besiege(folder: Path, origin: OriginProgram, calm_origin: OriginProgram, tell: Tell) -> Besiege:
    """Starts a proxy to attack. In the end nothing may be left of the attack, and the proxy must have stayed small."""

    @contextmanager
    def siege(binding: str, growth: int = GROWTH, files: int | None = None, **settings: Any) -> Iterator[Siege]:
        settings["timeouts"] = {**TIMEOUTS, **settings.get("timeouts", {})}
        routes = ROUTES.format(calm=calm_origin.url, big="x" * 60_000)
        with ProxyProgram(write_config(folder, origin.url, routes=routes, **settings), binding, files=files) as proxy:
            Waits().measure(proxy.port, 0.2, pause=0)
            under = Siege(proxy)
            yield under
            tell(f"grew by {under.growth} KiB; {under.waits}")
            assert soon(under.is_over, 15), f"{under.proxy.open_files()} files are open"
            assert under.growth < growth

    return siege


# ---- slow ones


SLOW = {
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ": (300, b"y"),
    b"POST /sink/0 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n": (100, b"y"),
    b"POST /sink/0 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n": (100, b"1\r\nx\r\n"),
    b"": (100, b""),
}
"""What slow clients send at first, how many of each there are, and what they let drip afterwards."""


def test_slow_heads_slow_bodies_and_clients_that_say_nothing(besiege: Besiege, binding: str) -> None:
    """Each is cut when its clock says so, and not before, though something comes from it all the time."""
    with besiege(binding) as under, ExitStack() as stack:
        crowds = [(stack.enter_context(crowd(under.port, count, first)), d) for first, (count, d) in SLOW.items()]
        began = time.monotonic()
        everybody = [sock for sockets, _ in crowds for sock in sockets]
        position = 0
        while (elapsed := time.monotonic() - began) < CLOCK + LATE:
            for sockets, dripping in crowds:
                for sock in sockets:
                    with contextlib.suppress(OSError):
                        sock.send(dripping[position % max(len(dripping), 1) :][:1])
            position += 1
            under.measure(0.1)
            if elapsed < CLOCK - 0.6:
                assert ended(everybody) == 0
        # Those with a 408 may linger to read it.
        assert soon(lambda: ended(everybody) == len(everybody), 2)
        assert under.waits.worst < 0.25


def test_readers_that_never_read(besiege: Besiege, main_binding: str, is_long: bool) -> None:
    """Each holds what `limits.buffer` lets it, at most one modest read more, and two connections' own 6 KiB."""
    count, kibibytes = 200 if is_long else 100, 64 + 64 + 2 * 6
    first = b"GET /bytes/100000000 HTTP/1.1\r\nHost: a\r\n\r\n"
    with besiege(main_binding, count * kibibytes) as under, crowd(under.port, count, first, receive_buffer=4096):
        under.measure(CLOCK + LATE)
        assert soon(under.is_over, 15)
        assert under.waits.worst < 1


# ---- more than may come


def test_more_connections_than_there_may_be(besiege: Besiege, main_binding: str) -> None:
    """The rest waits with the kernel; as the first run out of their time, those that wait have their turn."""
    with besiege(main_binding, limits={"connections": 50}, timeouts={"request_head": "500ms"}) as under:
        files = under.proxy.open_files()
        with crowd(under.port, 150) as sockets:
            assert soon(lambda: under.proxy.open_files() >= files + 40)
            with client(under.port) as c:
                assert ask(c) < 0.5 * (len(sockets) / 50 + 1) + LATE
            assert under.proxy.open_files() <= files + 55
            assert soon(lambda: ended(sockets) == len(sockets), 5)


def test_more_connections_than_one_client_may_have(besiege: Besiege, main_binding: str) -> None:
    with besiege(main_binding, limits={"connections_per_client": 50}) as under, crowd(under.port, 200) as sockets:
        assert soon(lambda: ended(sockets) == len(sockets) - 50)
        under.measure(0.5)
        assert ended(sockets) == len(sockets) - 50
        assert under.waits.worst < 0.25


def test_more_connections_than_there_are_files(besiege: Besiege, main_binding: str) -> None:
    """Whoever was let in is served, which takes a file for the origin's side, too."""
    with besiege(main_binding, files=64, timeouts={"request_head": "600ms"}) as under:
        with ExitStack() as stack:
            early = [stack.enter_context(client(under.port)) for _ in range(8)]
            for line in early:
                ask(line)
            sockets = stack.enter_context(crowd(under.port, 70, b"GET /held"))
            time.sleep(0.2)
            for _ in range(2):
                for line in early:
                    line.send(b"GET /late/100 HTTP/1.1\r\nHost: a\r\n\r\n")
                assert [line.message()[1] for line in early] == [b"late"] * len(early)
            assert under.proxy.open_files() <= 64
            late = stack.enter_context(client(under.port))
            ask(late)
            assert soon(lambda: ended(sockets) == len(sockets), 5)


# ---- floods


@contextmanager
def flood(kind: str, port: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    script = str(Path(__file__).with_name("flood_program.py"))
    attackers = subprocess.Popen(
        [sys.executable, script, kind, str(port), str(seconds)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield attackers
    finally:
        attackers.kill()
        attackers.communicate()


def test_floods(besiege: Besiege, main_binding: str, is_long: bool, tell: Tell) -> None:
    """One after the other, each with its eyes on those who ask innocently."""
    seconds = 5.0 if is_long else 0.4
    with besiege(main_binding) as under:
        for kind in KINDS:
            waits = Waits()
            with flood(kind, under.port, seconds + 0.2) as attackers:
                time.sleep(0.2)  # it takes that long to begin
                waits.measure(under.port, seconds)
                output, _ = attackers.communicate(timeout=10)
                assert attackers.returncode == 0
            tell(f"{kind}: {output.strip()} connections; grew by {under.growth} KiB; {waits}")
            assert waits.median < 0.2, kind
            assert waits.worst < 1, kind
            assert soon(under.is_over, 15), kind

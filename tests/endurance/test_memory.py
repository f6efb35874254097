"""Memory stays flat, however many requests were served and however often the configuration was changed.

h2load makes the requests, since nothing in Python is fast enough. `--long` makes a million of them on each binding, and
a thousand reloads.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.origins import Line, connect, status_of
from tests.conformance.proxies import soon
from tests.endurance.conftest import Tell
from tests.endurance.innocents import ask
from tests.endurance.programs import OriginProgram, ProxyProgram, write_config

STEPS = 10
"""Times that memory is looked at. Caches, pools and Python's own arenas fill in the first half."""

GROWTH = 1.5 * 1024
"""KiB that memory may differ by between the middle and the end: pages come and go by the quarter of a mebibyte."""

# What keeps books of its own about clients, keys or responses, each with a limit that is soon reached.
LIMITED = """
[admin]
bind = "127.0.0.1:0"
[caches.small]
size = "512KiB"
object_max = "64KiB"
[rate_limits.each_path]
key = ["path"]
rate = "1000000/s"
burst = 1000000
[[routes]]
name = "cached"
match = { path = "/cached/*" }
upstream = "api"
rewrite = { strip_prefix = "/cached" }
cache = { store = "small", valid = { 200 = "1h" } }
compress = ["gzip"]
[[routes]]
name = "limited"
match = { path = "/limited/*" }
upstream = "api"
rate_limits = ["each_path"]
[[routes]]
name = "own"
match = { path = "/own/*" }
respond = { body = "ours" }
"""

PATHS = (*(f"/{kind}/{number}" for number in range(2_000) for kind in ("cached", "limited", "own", "plain")), "/late/1")


@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load isn't installed (Debian: nghttp2-client)")
@pytest.mark.timeout(1_800)
def test_requests(folder: Path, origin: OriginProgram, binding: str, is_long: bool, tell: Tell) -> None:
    count = 1_000_000 if is_long else 10_000
    limits: dict[str, int | str] = {"requests_per_connection": 500}
    with ProxyProgram(write_config(folder, origin.url, limits=limits, routes=LIMITED), binding) as proxy:
        urls = folder / "urls"
        urls.write_text("".join(f"http://127.0.0.1:{proxy.port}{path}\n" for path in PATHS))
        sizes = []
        for _ in range(STEPS):
            load(urls, count // STEPS)
            sizes.append(proxy.memory())
    tell(f"{count} requests: {', '.join(map(str, sizes))} KiB")
    assert flat(sizes)


@pytest.mark.timeout(1_800)
def test_reloads(folder: Path, origin: OriginProgram, main_binding: str, is_long: bool, tell: Tell) -> None:
    """With connections open: idle ones, one in the middle of a request, and a tunnel."""
    count = 1_000 if is_long else 40
    patient = {"request_body": "1h", "idle": "1h"}
    with ProxyProgram(write_config(folder, origin.url, timeouts=patient, routes=LIMITED), main_binding) as proxy:
        files = proxy.open_files() + 4
        with open_connections(proxy.port) as (idle, held, tunnel):
            sizes = []
            for number in range(1, count + 1):
                # A route, a listener and an upstream with its servers come and go.
                others = ["", OTHER % (9 + number % 7, number % 3)][number % 2]
                write_config(folder, origin.url, timeouts=patient, routes=LIMITED + others)
                proxy.reload(number)
                ask(idle[number % len(idle)])
                if number % (count // STEPS) == 0:
                    sizes.append(proxy.memory())
            held.send(b"5")
            assert held.message()[1] == b"/held 5"
            tunnel.send(b"still there")
            assert tunnel.exactly(11) == b"still there"
        tell(f"{count} reloads: {', '.join(map(str, sizes))} KiB")
        assert flat(sizes)
        assert soon(lambda: proxy.open_files() <= files)


OTHER = """
[upstreams.other]
servers = ["http://127.0.0.1:%d"]
health_check = { type = "tcp", interval = "1h" }
[[routes]]
name = "other-%d"
match = { path = "/other/*" }
upstream = "other"
[[listeners]]
name = "other"
bind = "127.0.0.1:0"
"""


def load(urls: Path, count: int) -> None:
    """Make so many requests, on connections that are each used for 500 of them, and see that all are answered."""
    command = ["h2load", "--h1", "-n", str(count), "-c", "16", "-i", str(urls)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"{count} succeeded, 0 failed" in said, said


@contextmanager
def open_connections(port: int) -> Iterator[tuple[list[Line], Line, Line]]:
    """Twenty idle ones, one whose request isn't whole yet, and a tunnel."""
    idle = [connect(port) for _ in range(20)]
    held, tunnel = connect(port), connect(port)
    try:
        for line in idle:
            ask(line)
        held.send(b"POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1234")
        tunnel.send(b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        assert status_of(tunnel.head()) == 101
        yield idle, held, tunnel
    finally:
        for line in (*idle, held, tunnel):
            line.close()


def flat(sizes: list[int]) -> bool:
    """Whether the second half of these is level."""
    late = sizes[len(sizes) // 2 :]
    return max(late) - min(late) < GROWTH or late[-1] - late[0] < GROWTH / 2

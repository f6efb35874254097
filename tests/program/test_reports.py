"""What is made of the reports of several processes."""

from __future__ import annotations

from proxycore.policies.statistics import Statistics
from proxycore.program.admin.reports import Board, report
from proxycore.testing import Proxy

CACHED = """
[[listeners]]
bind = "127.0.0.1:8080"
[upstreams.api]
servers = ["http://127.0.0.1:3000"]
[caches.main]
size = "1MiB"
object_max = "64KiB"
[[routes]]
upstream = "api"
cache = { store = "main" }
"""


def test_the_caches_of_all_workers_are_shown_as_one() -> None:
    workers = [Proxy.from_toml(CACHED) for _ in range(2)]
    for proxy in workers:
        for _ in range(3):
            journey = proxy.get("http://example.com/a")
            if journey.outbound is not None:
                journey.returns(200, {"Cache-Control": "max-age=60"}, b"one")
    board = Board(version="1", binding="asyncio", started=0.0)
    board.take([report(proxy.core, Statistics()) for proxy in workers], 1.0)
    (cache,) = board.status()["caches"]
    assert cache["name"] == "main"
    assert (cache["size"], cache["objects"], cache["stored"]) == (2 << 20, 2, 2)
    assert (cache["hits"], cache["misses"], cache["evicted"]) == (4, 2, 0)

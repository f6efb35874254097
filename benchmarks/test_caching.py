"""What a hit costs in the core, and how often the store's policy hits on a Zipf trace with scans, beside LRU."""

from __future__ import annotations

from typing import Any

import pytest

from proxycore.config import Cache, Config, Limits, Listener, Route, RouteCache, Upstream
from proxycore.core import Core
from proxycore.words.effects import Connect
from proxycore.words.ids import ConnId
from tests.mechanisms.test_s3fifo import hits_of_lru, hits_of_s3fifo, zipf_trace

HERE = ("127.0.0.1", 80)
GET = b"GET /cached HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 09 Sep 2001 01:46:41 GMT\r\nContent-Type: application/json\r\n"
    b'Content-Length: 128\r\nCache-Control: max-age=3600\r\nETag: "abc"\r\n\r\n' + b"x" * 128
)


def filled_core() -> tuple[Core, ConnId]:
    """A core that has stored one response, and a client."""
    config = Config(
        listeners=[Listener(name="web", bind="127.0.0.1:0")],
        limits=Limits(requests_per_connection="off"),
        upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"])},
        caches={"main": Cache()},
        routes=[Route(upstream="api", cache=RouteCache(store="main"))],
    )
    core = Core(config, now=0.0, wall=1e9, seed=1, entropy=bytes)
    client = core.next_conn_id()
    core.accepted(client, "web", ("192.0.2.1", 1), HERE, 1.0)
    (dial,) = core.data_received(client, GET, 1.0)
    assert isinstance(dial, Connect)
    core.connected(dial.conn, HERE, HERE, 1.0)
    core.data_received(dial.conn, ANSWER, 1.0)
    core.take_notices(1.0)
    return core, client


def test_a_hit(benchmark: Any) -> None:
    core, client = filled_core()

    def hit() -> None:
        core.data_received(client, GET, 2.0)
        core.take_notices(2.0)

    benchmark(hit)


@pytest.mark.parametrize("policy", ["lru", "s3fifo"])
def test_hits_on_a_zipf_trace(benchmark: Any, policy: str) -> None:
    trace = zipf_trace(seed=1, things=5_000, length=60_000)
    hits = benchmark.pedantic(hits_of_lru if policy == "lru" else hits_of_s3fifo, (trace, 500), rounds=1)
    benchmark.extra_info["hit_ratio"] = round(hits / len(trace), 3)

"""Rate and concurrency limits in a whole proxy, under a clock that stands still until it is told."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.config import ConcurrencyLimit, Config, Listener, Match, RateLimit, Route, Upstream
from proxycore.testing import Proxy
from proxycore.testing.playbook import (
    Handle,
    Playbook,
    abort,
    accepted,
    connect,
    connected,
    containing,
    exchange_ended,
    lost,
    nothing,
    received,
    send,
    starting,
    tick,
)


def configuration(*limits: RateLimit, concurrency: ConcurrencyLimit | None = None) -> Config:
    return Config(
        listeners=[Listener(name="web", bind="127.0.0.1:8080")],
        upstreams={"api": Upstream(servers="http://127.0.0.1:3000")},
        rate_limits={limit.name: limit for limit in limits},
        concurrency_limits={} if concurrency is None else {concurrency.name: concurrency},
        routes=[
            Route(match=Match(path="/free"), upstream="api"),
            Route(
                upstream="api",
                rate_limits=[limit.name for limit in limits],
                concurrency_limits=[] if concurrency is None else [concurrency.name],
            ),
        ],
    )


def test_above_the_limit_is_429_with_the_time_to_come_again() -> None:
    proxy = Proxy(configuration(RateLimit(name="slow", rate="1/10s", burst=2)))
    for _ in range(2):
        proxy.get("http://a/").goes_to("api")
    refused = proxy.get("http://a/").is_refused(429, rule="rate_limits.slow")
    refused.gets(retry_after="10", ratelimit='"slow";r=0;t=10', ratelimit_policy='"slow";q=1;w=10')
    proxy.get("http://a/", client_ip="192.0.2.99").goes_to("api")
    proxy.get("http://a/free").goes_to("api")
    proxy.pass_time(10.0)
    proxy.get("http://a/").goes_to("api")
    proxy.get("http://a/").is_refused(429)


def test_each_limit_of_a_route_holds() -> None:
    proxy = Proxy(
        configuration(
            RateLimit(name="client", rate="10/s"),
            RateLimit(name="tenant", key=["header.X-Tenant"], rate="1/s", status=503),
        )
    )
    proxy.get("http://a/", headers={"X-Tenant": "one"}).goes_to("api")
    proxy.get("http://a/", headers={"X-Tenant": "one"}).is_refused(503, rule="rate_limits.tenant")
    journey = proxy.get("http://a/", headers={"X-Tenant": "two"}).goes_to("api")
    assert [step.verdict for step in journey.trace.of("rate_limits")] == ["let in", "let in"]


def test_limits_survive_a_reload() -> None:
    proxy = Proxy(configuration(RateLimit(name="slow", rate="1/10s")))
    proxy.get("http://a/").goes_to("api")
    proxy.core.reconfigured(configuration(RateLimit(name="slow", rate="1/20s")), None, proxy.now)
    proxy.get("http://a/").is_refused(429)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(st.tuples(st.floats(0.0, 1.5), st.integers(1, 3)), min_size=1, max_size=40),
)
def test_no_window_lets_more_reach_the_upstream(per_second: int, burst: int, steps: list[tuple[float, int]]) -> None:
    proxy = Proxy(configuration(RateLimit(name="all", rate=f"{per_second}/s", burst=burst)))
    passed: dict[int, list[float]] = {}
    for gap, client in steps:
        proxy.pass_time(gap)
        if proxy.get("http://a/", client_ip=f"192.0.2.{client}").outbound is not None:
            passed.setdefault(client, []).append(proxy.now)
    for times in passed.values():
        for first, start in enumerate(times):
            for last in range(first, len(times)):
                assert last - first + 1 <= burst + per_second * (times[last] - start) + 1e-6


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_delayed_burst_is_held_to_the_rate() -> None:
    config = configuration(RateLimit(name="paced", rate="1/s", burst=3, excess="delay"))
    clients, servers = [Handle(f"client {n}") for n in range(4)], [Handle(f"server {n}") for n in range(3)]
    address = ("127.0.0.1", 3000)
    Playbook(config).run(
        *(accepted(client) >> nothing for client in clients),
        received(clients[0], GET) >> connect(servers[0], address),
        received(clients[1], GET) >> nothing,
        received(clients[2], GET) >> nothing,
        received(clients[3], GET)
        >> (send(clients[3], containing(b"HTTP/1.1 429 ")), exchange_ended("refused", "rate_limits.paced")),
        tick(1.0) >> connect(servers[1], address),
        tick(1.0) >> connect(servers[2], address),
    )


def test_whoever_leaves_while_delayed_asks_no_server() -> None:
    config = configuration(RateLimit(name="paced", rate="1/s", burst=3, excess="delay"))
    one, two, server = Handle("one"), Handle("two"), Handle("server")
    Playbook(config).run(
        accepted(one) >> nothing,
        accepted(two) >> nothing,
        received(one, GET) >> connect(server, ("127.0.0.1", 3000)),
        received(two, GET) >> nothing,
        lost(two) >> exchange_ended("client_left", "request"),
        tick(3.0) >> nothing,
    )


def test_exchanges_at_once_are_limited_by_key() -> None:
    config = configuration(concurrency=ConcurrencyLimit(name="few", max_exchanges=1))
    one, two, server = Handle("one"), Handle("two"), Handle("server")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    Playbook(config).run(
        accepted(one) >> nothing,
        accepted(two) >> nothing,
        received(one, GET) >> connect(server, ("127.0.0.1", 3000)),
        connected(server) >> send(server, starting(b"GET / ")),
        received(two, GET)
        >> (send(two, containing(b"retry-after: 1\r\n")), exchange_ended("refused", "concurrency_limits.few")),
        received(server, answer) >> (send(one, starting(b"HTTP/1.1 200 ")), exchange_ended("completed")),
        received(two, GET) >> send(server, starting(b"GET / ")),
        received(one, GET)
        >> (send(one, starting(b"HTTP/1.1 429 ")), exchange_ended("refused", "concurrency_limits.few")),
        lost(two) >> (abort(server), exchange_ended("client_left", "response_head")),
        received(one, GET) >> connect(Handle("another"), ("127.0.0.1", 3000)),
    )

"""What limits and rules have done, as the dashboard shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxycore.composition.overview import LimitView, RuleView
from proxycore.config import ConcurrencyLimit, Config, ConfigError, Listener, RateLimit, Route, Upstream, Waf
from proxycore.testing import Proxy


def configuration(route: Route, **limits: RateLimit) -> Config:
    return Config(
        listeners=[Listener(name="web", bind="127.0.0.1:8080")],
        upstreams={"api": Upstream(servers="http://127.0.0.1:3000")},
        rate_limits={"unused": RateLimit(name="unused", rate="1/s"), **limits},
        concurrency_limits={"at-once": ConcurrencyLimit(name="at-once", max_exchanges=1)},
        routes=[route],
    )


def test_a_rate_limit_tells_its_refusals_its_keys_and_those_that_were_pushed_out() -> None:
    limit = RateLimit(name="slow", rate="1/10s", capacity=16)
    proxy = Proxy(configuration(Route(upstream="api", rate_limits=["slow"]), slow=limit))
    assert proxy.core.overview().limits == (LimitView("slow", "rate", 0, 0, 0, 16, 0),)
    for client in (1, 1, *range(2, 18)):
        proxy.get("http://a/", client_ip=f"192.0.2.{client}")
    assert proxy.core.overview().limits == (LimitView("slow", "rate", 1, 0, 16, 16, 1),)


def test_a_rate_limit_tells_whom_it_delayed() -> None:
    limit = RateLimit(name="slow", rate="1/s", burst=2, excess="delay")
    proxy = Proxy(configuration(Route(upstream="api", rate_limits=["slow"]), slow=limit))
    proxy.get("http://a/").goes_to("api")
    proxy.get("http://a/")  # it waits
    proxy.get("http://a/").is_refused(429)
    (view,) = proxy.core.overview().limits
    assert (view.delayed, view.refused) == (1, 1)


def test_a_concurrency_limit_tells_its_refusals_and_its_keys() -> None:
    core = Proxy(configuration(Route(upstream="api", concurrency_limits=["at-once"]))).core
    for port in (50_001, 50_002):
        client = core.next_conn_id()
        core.accepted(client, "web", ("192.0.2.1", port), ("127.0.0.1", 8080), 1.0)
        core.data_received(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1.0)
    assert core.overview().limits == (LimitView("at-once", "concurrency", 1, 0, 1, None, 0),)


def test_counts_survive_a_reload_and_go_with_their_limit() -> None:
    route = Route(upstream="api", rate_limits=["slow"])
    proxy = Proxy(configuration(route, slow=RateLimit(name="slow", rate="1/10s")))
    for _ in range(2):
        proxy.get("http://a/")
    proxy.core.reconfigured(configuration(route, slow=RateLimit(name="slow", rate="2/10s")), None, proxy.now)
    (view,) = proxy.core.overview().limits
    assert view.refused == 1
    proxy.core.reconfigured(configuration(Route(upstream="api")), None, proxy.now)
    assert proxy.core.overview().limits == ()


def test_a_limit_that_a_reload_removed_is_forgotten() -> None:
    limited = configuration(Route(upstream="api", rate_limits=["slow"]), slow=RateLimit(name="slow", rate="1/1h"))
    proxy = Proxy(limited)
    proxy.get("http://a/").goes_to("api")
    proxy.core.reconfigured(configuration(Route(upstream="api")), None, proxy.now)
    proxy.core.reconfigured(limited, None, proxy.now)
    proxy.get("http://a/").goes_to("api")


def test_the_capacity_of_a_refused_reload_holds_nobody() -> None:
    route = Route(upstream="api", rate_limits=["slow"])
    proxy = Proxy(configuration(route, slow=RateLimit(name="slow", rate="1/1h", capacity=16)))
    guarded = Route(name="guarded", upstream="api", access={"deny_file": "nowhere"})
    smaller = configuration(route, slow=RateLimit(name="slow", rate="1/1h", capacity=20))
    with pytest.raises(ConfigError):
        proxy.core.reconfigured(replace(smaller, routes=[route, guarded]), None, proxy.now)
    assert proxy.core.overview().limits[0].capacity == 16
    proxy.core.reconfigured(smaller, None, proxy.now)
    assert proxy.core.overview().limits[0].capacity == 20


def test_rules_tell_what_they_found_and_what_was_refused() -> None:
    attack = "http://a/?q=<script>&r=<script>"
    detecting = configuration(Route(upstream="api", waf=Waf(mode="detect")))
    proxy = Proxy(detecting)
    proxy.get("http://a/?q=shoes").goes_to("api")
    assert proxy.core.overview().rules == ()
    proxy.get(attack).goes_to("api")
    proxy.core.reconfigured(configuration(Route(upstream="api", waf=Waf())), None, proxy.now)
    proxy.get(attack).is_refused(403)
    assert proxy.core.overview().rules == (RuleView("941110", "script element", 2, 1),)

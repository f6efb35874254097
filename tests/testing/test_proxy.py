"""The user's kit: what a configuration does with a request, in lines that read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proxycore import (
    Ask,
    Config,
    ConfigError,
    Exchange,
    Filter,
    Listener,
    Reject,
    RequestHead,
    Route,
    Upstream,
    Verdict,
)
from proxycore.testing.explaining import explain
from proxycore.testing.proxy import Journey, NoListener, Proxy

TEXT = """
[[listeners]]
name = "web"
bind = "0.0.0.0:80"
trusted_proxies = ["10.0.0.0/8"]

[[listeners]]
name = "inside"
bind = "127.0.0.1:8081"

[upstreams.api]
servers = ["http://10.0.0.1:8080", "http://10.0.0.2:8080"]

[upstreams.ml]
servers = ["http://ml.internal:9000"]
host = "upstream"

[[routes]]
name = "health"
match = { path = "/healthz" }
respond = { status = 200, body = "ok\\n" }

[[routes]]
name = "to-https"
match = { scheme = "http", host = "secure.example.com" }
redirect = { scheme = "https" }

[[routes]]
name = "inside"
match = { listener = "inside" }
respond = { status = 418 }

[[routes]]
name = "api"
match = { host = "api.example.com", path = "/api/*" }
upstream = "api"
rewrite = { strip_prefix = "/api" }
request_headers = { set = { X-From = "{client_ip}" }, remove = ["X-Debug"] }
response_headers = { set = { X-Frame-Options = "DENY" }, remove = ["Server"] }

[[routes]]
name = "ml"
match = { path = "/ml/*" }
upstream = "ml"
"""


@pytest.fixture
def proxy() -> Proxy:
    return Proxy.from_toml(TEXT)


def test_where_requests_go(proxy: Proxy) -> None:
    proxy.get("https://api.example.com/api/x").goes_to("api")
    proxy.get("https://api.example.com/api/x?q=1").goes_to("api", path="/x?q=1", host="api.example.com")
    proxy.get("http://x/ml/a").goes_to("ml", host="ml.internal:9000", server="http://ml.internal:9000")
    proxy.get("http://x/ml/a").takes_route("ml")
    proxy.get("http://secure.example.com/a?b").is_redirected_to("https://secure.example.com/a?b", status=308)
    proxy.get("http://x/healthz").is_answered(200, body="ok\n")
    proxy.get("http://x/nothing").is_refused(404, rule="route")


def test_every_method(proxy: Proxy) -> None:
    for method in ("get", "head", "post", "put", "patch", "delete"):
        ask: Callable[..., Journey] = getattr(proxy, method)
        journey = ask("http://api.example.com/api/x", body=b"1" if method in ("post", "put", "patch") else None)
        journey.goes_to("api")
        assert journey.outbound is not None
        assert journey.outbound.method == method.upper().encode()


def test_what_servers_are_sent(proxy: Proxy) -> None:
    journey = proxy.get(
        "https://api.example.com/api/x", headers={"X-Debug": "1", "X-Two": ["a", "b"]}, client_ip="203.0.113.7"
    )
    journey.sends(x_debug=None, x_from="203.0.113.7", x_forwarded_proto="https", x_two="b")
    journey.sends({"X-Real-IP": "203.0.113.7"})


def test_what_clients_get(proxy: Proxy) -> None:
    journey = proxy.get("http://api.example.com/api/x").returns(200, {"Server": "x", "ETag": '"1"'}, b"hello")
    journey.is_answered(200, body=b"hello").gets(server=None, x_frame_options="DENY", etag='"1"')
    proxy.head("http://api.example.com/api/x").returns(200, body=b"hello").gets(content_length="5")


def test_a_path_goes_out_as_it_was_written(proxy: Proxy) -> None:
    for path in ("/ml/%41?a=b%20c", "/ml/a//b", "/ml/~x!$&'()*,;=:@"):
        proxy.get(f"http://x{path}").goes_to("ml", path=path)
    proxy.get("http://x/ml/ä b").goes_to("ml", path="/ml/%C3%A4%20b")


def test_listeners_are_chosen_by_scheme_and_port_and_by_name(proxy: Proxy) -> None:
    assert proxy.get("http://x/").listener == "web"
    assert proxy.get("http://x:8081/").listener == "inside"
    proxy.get("http://x/", listener="inside").is_answered(418)
    with pytest.raises(NoListener, match="nowhere"):
        proxy.get("http://x/", listener="nowhere")


def test_without_tls_or_somebody_to_tell_of_it_nothing_is_https() -> None:
    config = Config(listeners=[Listener(bind="0.0.0.0:80")], routes=[Route(respond={"status": 200})])
    with pytest.raises(NoListener, match="trusted_proxies"):
        Proxy(config).get("https://x/")
    with pytest.raises(ValueError, match="URL"):
        Proxy(config).get("/path")


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (lambda j: j.is_refused(403), "expected to be refused with 403; it went to api, server 10.0.0.1:8080, for /x"),
        (lambda j: j.goes_to("ml"), "expected to go to ml"),
        (lambda j: j.goes_to("api", path="/api/x"), "not for /x"),
        (lambda j: j.is_redirected_to("/"), "expected to be redirected to /"),
        (lambda j: j.sends(x_from="1"), "expected to send x-from: 1, and there is ['192.0.2.1']"),
        (lambda j: j.sends(via=None), "expected to send no via"),
        (lambda j: j.is_answered(200), "expected to be answered 200"),
        (lambda j: j.gets(a="b"), "expected to be answered"),
    ],
)
def test_a_failure_tells_what_happened_and_why(proxy: Proxy, check: Callable[[Journey], object], expected: str) -> None:
    with pytest.raises(AssertionError) as failure:
        check(proxy.get("http://api.example.com/api/x"))
    text = str(failure.value)
    assert expected in text
    assert "route: passed over health (path /api/x is not /healthz)" in text
    assert "route: matched api" in text


def test_malformed_requests_are_refused(proxy: Proxy) -> None:
    proxy.send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n").is_refused(400)
    proxy.get("http://x/", headers={"Content-Length": "1, 2"}).is_refused(400)


def test_a_server_that_refuses(proxy: Proxy) -> None:
    proxy.refusing.add(("10.0.0.1", 8080))
    proxy.get("http://api.example.com/api/x").goes_to("api", server="10.0.0.2:8080")
    proxy.refusing.add(("10.0.0.2", 8080))
    proxy.get("http://api.example.com/api/x").is_answered(502)


class Guard(Filter):
    def on_request(self, exchange: Exchange) -> Verdict | None:
        return Ask("may", {"who": exchange.client.ip}, self.decided)

    def decided(self, exchange: Exchange, result: Any) -> Verdict | None:
        return None if result else Reject(403, rule="guard")

    def on_upstream_request(self, exchange: Exchange, outbound: RequestHead) -> None:
        outbound.headers.set(b"x-user", b"somebody")


def test_filters_of_the_users_own() -> None:
    config = Config(
        listeners=[Listener(bind="0.0.0.0:80")],
        upstreams={"a": Upstream(servers="http://10.0.0.1")},
        routes=[Route(upstream="a")],
    )
    proxy = Proxy(config, filters=[Guard()], calls={"may": lambda arguments: arguments["who"] == "192.0.2.1"})
    proxy.get("http://x/").goes_to("a").sends(x_user="somebody")
    proxy.get("http://x/", client_ip="192.0.2.2").is_refused(403, rule="guard")
    Proxy(config, filters=[Guard()]).get("http://x/").is_refused(503, rule="call")


def test_requests_leave_nothing_behind(proxy: Proxy) -> None:
    for _ in range(50):
        proxy.get("http://api.example.com/api/x").goes_to("api")
        proxy.get("http://x/nothing").is_refused(404)
    ledger = proxy.core.ledger()
    assert (ledger.upstreams, ledger.exchanges, ledger.leases) == (0, 0, 0)


def test_an_older_journey_can_be_looked_at_but_not_go_on(proxy: Proxy) -> None:
    older = proxy.get("http://api.example.com/api/x")
    proxy.get("http://x/healthz").is_answered(200)
    older.goes_to("api")
    with pytest.raises(AssertionError, match="another request"):
        older.returns(200)


def test_time_passes_when_told(proxy: Proxy) -> None:
    journey = proxy.get("http://api.example.com/api/x").goes_to("api")
    proxy.pass_time(29)
    assert journey.status == 0
    proxy.pass_time(2)
    journey.is_answered(504)


def test_a_bad_configuration_says_so() -> None:
    with pytest.raises(ConfigError):
        Proxy.from_toml("[[listeners]]\nbind = 80\n")


def test_explaining() -> None:
    config = Proxy.from_toml(TEXT).core.config
    explanation = explain(config, "GET https://api.example.com/api/x", {"Accept": "a"})
    assert "route: passed over to-https (scheme https is not http)" in explanation.text
    assert "it went to api, server 10.0.0.1:8080, for /x" in explanation.text
    values = explanation.as_dict()
    assert values["upstream"]["target"] == "/x"
    assert values["route"] == "api"
    assert [step["name"] for step in values["steps"] if step["verdict"] == "matched"] == ["api"]
    refused = explain(config, "http://x/nothing")
    assert refused.as_dict()["answer"]["status"] == 404
    assert "none matched" in refused.text


def test_requests_without_the_hashed_header_go_to_any_server() -> None:
    servers = [f"http://10.0.0.{n}:80" for n in range(1, 4)]
    proxy = Proxy(
        Config(
            listeners=[Listener(name="web", bind="127.0.0.1:80")],
            upstreams={"app": Upstream(balance="header_hash", hash_header="X-Key", servers=servers)},
            routes=[Route(upstream="app")],
        )
    )
    assert len({proxy.get("http://x/").server for _ in range(40)}) == 3
    assert len({proxy.get("http://x/", headers={"X-Key": "k"}).server for _ in range(10)}) == 1


@pytest.mark.parametrize(("url", "headers"), [("http://a.test/\ud800", {}), ("http://a.test/", {"x": "\ud800"})])
def test_half_of_a_character_is_refused_with_a_sentence(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="half of a character"):
        Proxy(Config.reverse_proxy("127.0.0.1:80", to="http://10.0.0.1")).get(url, headers=headers)


def test_bytes_that_are_no_text_are_sent_as_they_were_given() -> None:
    Proxy(Config.reverse_proxy("127.0.0.1:80", to="http://10.0.0.1")).get("http://a.test/\udcff").goes_to(
        "main", path="/%FF"
    )

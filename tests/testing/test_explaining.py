"""What an explanation holds: every decision, with what it went by, as it stands in a core at work."""

from __future__ import annotations

import pytest

from proxycore import Config, Filter, Reject
from proxycore.composition.exchange import Exchange
from proxycore.config import load_toml
from proxycore.testing.explaining import Explanation, explain
from proxycore.testing.proxy import Proxy
from proxycore.words.commands import DisableServer

TEXT = """
[[listeners]]
name = "web"
bind = "127.0.0.1:80"
trusted_proxies = ["10.0.0.0/8"]
[caches.main]
[rate_limits.often]
key = ["client_ip"]
rate = "1/s"
burst = 3
[concurrency_limits.many]
key = ["client_ip"]
max_exchanges = 5
[upstreams.api]
balance = "BALANCE"
servers = [
  { name = "a", url = "http://10.0.0.1:80", weight = 2 },
  { name = "b", url = "http://10.0.0.2:80" },
  { name = "c", url = "http://10.0.0.3:80", backup = true },
]
[[routes]]
name = "stored"
match = { path = "/stored/*" }
upstream = "api"
cache = { store = "main", valid = { 200 = "1m" } }
[[routes]]
name = "all"
upstream = "api"
rate_limits = ["often"]
concurrency_limits = ["many"]
timeouts = { response_head = "3s" }
"""


def configured(balance: str = "round_robin") -> Config:
    return load_toml(TEXT.replace("BALANCE", balance), source="test")


def reasons(explanation: Explanation, stage: str) -> list[tuple[str, str, str]]:
    return [(step.verdict, step.name, step.reason) for step in explanation.steps if step.stage == stage]


def test_whom_the_client_was_believed_from() -> None:
    forwarded = {"X-Forwarded-For": "1.1.1.1, 203.0.113.5, 10.0.0.9", "X-Forwarded-Proto": "https"}
    assert reasons(explain(configured(), "http://x/", forwarded, client_ip="10.0.0.1"), "client") == [
        ("forwarded by", "10.0.0.1", "it is 203.0.113.5"),
        (
            "believed",
            "X-Forwarded-For",
            "the last address in 1.1.1.1, 203.0.113.5, 10.0.0.9, 10.0.0.1 that is no trusted proxy's is 203.0.113.5",
        ),
        ("believed", "https", "the scheme, told by 10.0.0.1"),
    ]
    assert reasons(explain(configured(), "http://x/", forwarded), "client") == [
        (
            "is the peer",
            "192.0.2.1",
            "it is no trusted proxy; what it says in x-forwarded-for, x-forwarded-proto is dropped",
        )
    ]
    silent = reasons(explain(configured(), "http://x/", client_ip="10.0.0.1"), "client")
    assert silent == [("is the peer", "10.0.0.1", "a trusted proxy, which told of no client; it is 10.0.0.1")]


def test_timeouts_in_force() -> None:
    ((verdict, _, reason),) = reasons(explain(configured(), "http://x/"), "timeouts")
    assert verdict == "in force"
    assert "connect 5s, request_body 30s, response_head 3s by this route" in reason


@pytest.mark.parametrize(
    ("balance", "score"),
    [
        ("round_robin", "weight 2 of 3, 0 in flight"),
        ("random_two", "weight 2 of 3, 0 in flight"),
        ("least_connections", "0 in flight, weight 2: 0"),
        ("least_time", "not measured yet, 0 in flight, weight 2: 0.00005s"),
        ("uri_hash", "weight 2 of 3, 0 in flight"),
    ],
)
def test_candidates_and_what_they_weigh(balance: str, score: str) -> None:
    steps = reasons(explain(configured(balance), "http://x/"), "balance")
    assert steps[0] == ("candidate", "a", score)
    assert steps[2] == ("passed over", "c", "a backup, and a primary can take it")
    assert steps[3][0] == "chosen"


def test_limits_and_how_much_is_left() -> None:
    explanation = explain(configured(), "http://x/")
    assert reasons(explanation, "rate_limits") == [("let in", "often", '1/s, bursts of 3; 2 left to "192.0.2.1"')]
    assert reasons(explanation, "concurrency_limits") == [("let in", "many", '1 of 5 at once to "192.0.2.1"')]
    assert reasons(explanation, "upstream") == [("asked", "api", "1 in flight with this one, 0 wait")]


def test_what_a_core_at_work_knows_counts_and_stays_as_it_is() -> None:
    """Its limits, its servers and what it has stored."""
    proxy = Proxy(configured())
    proxy.get("http://x/stored/1").returns(200, body=b"kept")
    for _ in range(3):
        proxy.get("http://x/").returns()
    proxy.core.commanded(DisableServer("api", "a"), 0.0)
    for _ in range(2):
        explanation = explain(proxy.core.config, "http://x/", like=proxy.core, now=proxy.now)
        assert reasons(explanation, "rate_limits")[0][:2] == ("refused", "often")
        assert explanation.as_dict()["answer"]["status"] == 429
        other = explain(proxy.core.config, "http://x/", client_ip="192.0.2.9", like=proxy.core, now=proxy.now)
        assert ("passed over", "a", "disabled by an operator") in reasons(other, "balance")
        hit = explain(proxy.core.config, "http://x/stored/1", like=proxy.core, now=proxy.now)
        verdict, name, reason = reasons(hit, "cache")[0]
        assert (verdict, name) == ("hit", "key stored api http x /stored/1")
        assert reason.startswith("stored with a lifetime of 60s, 0s old")
        miss = explain(proxy.core.config, "http://x/stored/2", like=proxy.core, now=proxy.now)
        assert reasons(miss, "cache") == [("uri-miss", "key stored api http x /stored/2", "")]
    unasked = explain(proxy.core.config, "POST http://x/stored/1", like=proxy.core, now=proxy.now)
    assert reasons(unasked, "cache") == [("not asked", "", "method")]
    proxy.pass_time(1)
    assert (
        reasons(explain(proxy.core.config, "http://x/", like=proxy.core, now=proxy.now), "rate_limits")[0][0]
        == "let in"
    )
    proxy.get("http://x/stored/1").is_answered(200, body="kept")


class Door(Filter):
    def on_route(self, exchange: Exchange) -> Reject | None:
        return Reject(403, rule="door") if exchange.path and exchange.path.path == b"/closed" else None


class Broken(Filter):
    def on_request(self, exchange: Exchange) -> None:
        if exchange.request.target == b"/broken":
            raise KeyError("a bug")


def test_a_listener_that_takes_http2_alone() -> None:
    text = TEXT.replace("BALANCE", "round_robin").replace('name = "web"', 'name = "web"\nprotocols = ["h2c"]')
    explanation = explain(load_toml(text, source="test"), "http://x/")
    assert reasons(explanation, "listener") == [("took", "web", "127.0.0.1:80; h2c")]
    assert explanation.as_dict()["result"] == "went to api, server a, for /"


KEYED = """
[[listeners]]
bind = "127.0.0.1:80"
[caches.main]
[rate_limits.few]
key = ["method", "host", "query"]
rate = "1/s"
[upstreams.api]
servers = ["http://10.0.0.1:80"]
[[routes]]
name = "all"
upstream = "api"
forward_auth = { upstream = "api", path = "/auth" }
rate_limits = ["few"]
cache = { store = "main", key = ["host", "path"] }
"""


def test_keys_of_several_values() -> None:
    config = load_toml(KEYED.replace("forward_auth", "# "), source="test")
    explanation = explain(config, "http://x/a")
    assert reasons(explanation, "cache") == [("uri-miss", "key all api x /a", "")]
    assert reasons(explanation, "rate_limits")[0][2].endswith('to "GET x """')


def test_what_a_filter_asks_another_server_is_no_step_of_this_request() -> None:
    explanation = explain(load_toml(KEYED, source="test"), "http://x/a")
    assert [step[1] for step in reasons(explanation, "client")] == ["192.0.2.1"]
    assert reasons(explanation, "filter") == [("asks", "ForwardAuthFilter", "the upstream api")]


@pytest.mark.parametrize(
    ("request_", "headers", "how"),
    [
        (
            "GET http://x/a/../..",
            {},
            "400 (refused: path): The path of the request can't be trusted: it climbs above the root.",
        ),
        ("GET http://x/", {"a b": "c"}, "400 (refused: framing): an illegal field name"),
        ("TRACE http://x/", {}, "405 (refused: framing): a method that isn't served here"),
        (
            "POST http://x/",
            {"Connection": "upgrade", "Upgrade": "websocket"},
            "400 (refused: websocket): A WebSocket opens with GET.",
        ),
    ],
)
def test_what_is_wrong_with_a_request(request_: str, headers: dict[str, str], how: str) -> None:
    explanation = explain(configured(), request_, headers)
    assert f"it was answered {how}\n" in explanation.text
    assert how.endswith(explanation.as_dict()["outcome"]["reason"])


def test_filters_of_the_users_own() -> None:
    filters = [Broken(), Door()]
    assert reasons(explain(configured(), "http://x/", filters=filters), "filter") == [
        ("let pass", "Broken", ""),
        ("let pass", "Door", ""),
    ]
    refused = explain(configured(), "http://x/closed", filters=filters)
    assert reasons(refused, "filter")[1] == ("refused", "Door", "403, rule door")
    with pytest.raises(AssertionError, match="KeyError"):
        explain(configured(), "http://x/broken", filters=filters)


CERTIFICATES = """
[[listeners]]
name = "plain"
bind = "127.0.0.1:80"
[[listeners]]
name = "web"
bind = "127.0.0.1:443"
[listeners.tls]
certificates = { certificate = "a.crt", key = "a.key" }
client_authentication = "optional"
client_ca = "ca.pem"
[[routes]]
name = "ann"
match = { tls_subject = "CN=ann" }
respond = { body = "ann" }
[[routes]]
name = "others"
respond = { status = 404 }
"""


@pytest.mark.parametrize(
    ("subject", "route", "reason"),
    [
        ("CN=ann", "ann", "subject 'CN=ann'"),
        ("CN=bob", "others", "subject 'CN=bob' is not 'CN=ann'"),
        ("", "others", "there is no verified client certificate"),
    ],
)
def test_whose_certificate_the_client_shows(subject: str, route: str, reason: str) -> None:
    config = load_toml(CERTIFICATES, source="test")
    explanation = explain(config, "https://x/", tls_subject=subject)
    assert explanation.as_dict()["route"] == route
    assert reason in [step[2] for step in reasons(explanation, "route")]


def test_a_subject_is_shown_only_where_one_is_asked_for() -> None:
    with pytest.raises(ValueError, match='listener "plain" asks no client for a certificate'):
        explain(load_toml(CERTIFICATES, source="test"), "http://x/", tls_subject="CN=ann")

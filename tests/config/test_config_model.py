"""Configurations built in Python, and the checks that hold for them and for files alike."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from proxycore.config import (
    UNLIMITED,
    Access,
    Admin,
    ApiKeys,
    BasicAuth,
    Cache,
    Config,
    ConfigError,
    Cors,
    HeaderEdits,
    HealthCheck,
    Jwt,
    Limits,
    Listener,
    ListenerTls,
    Match,
    Outliers,
    Problem,
    Rate,
    RateLimit,
    Redirect,
    Respond,
    Retries,
    Rewrite,
    Route,
    RouteCache,
    Server,
    StatusRange,
    Sticky,
    Table,
    Timeouts,
    Upstream,
    Waf,
    WebSocket,
)

CERTIFICATE = {"certificate": "a.crt", "key": "a.key"}


def a_config(**changes: Any) -> Config:
    settings: dict[str, Any] = {
        "listeners": [Listener(bind="127.0.0.1:0")],
        "upstreams": {"api": Upstream(servers=["http://127.0.0.1:3000"])},
        "routes": [Route(upstream="api")],
    }
    return Config(**(settings | changes))


def problems(make: Callable[[], object]) -> list[tuple[str, str]]:
    """Place and message (with its suggestion) of all that is wrong with what `make` makes."""
    with pytest.raises(ConfigError) as caught:
        make()
    return [
        (problem.place, problem.message + (f" -> {problem.suggestion}" if problem.suggestion else ""))
        for problem in caught.value.problems
    ]


# ---- what a program gives, and what is kept --------------------------------------------------------------------------


def test_few_lines_are_a_configuration() -> None:
    config = a_config()
    (listener,) = config.listeners
    assert (listener.name, listener.bind, listener.protocols) == ("127.0.0.1:0", ("127.0.0.1:0",), ("http/1.1",))
    assert listener.binds[0].host == "127.0.0.1"
    upstream = config.upstreams["api"]
    assert (upstream.name, upstream.balance) == ("api", "round_robin")
    assert upstream.servers == (Server(url="http://127.0.0.1:3000"),)
    assert config.routes == (Route(name="route-1", upstream="api"),)
    assert config.timeouts.connect == 5.0


def test_a_reverse_proxy_in_one_call() -> None:
    config = Config.reverse_proxy("127.0.0.1:8080", to="http://127.0.0.1:3000")
    assert config == Config.reverse_proxy(to=["http://127.0.0.1:3000"])
    assert config.listeners[0].bind == ("127.0.0.1:8080",)
    assert config.upstreams[config.routes[0].upstream or ""].servers[0].address == ("127.0.0.1", 3000)


def test_a_program_gives_numbers_or_texts() -> None:
    assert Timeouts(connect=2.5, idle="2m", exchange=math.inf) == Timeouts(connect="2500ms", idle=120, exchange="off")
    assert Limits(buffer=65_536, request_body="off").request_body == UNLIMITED
    assert RateLimit(rate=Rate(5, 60.0)) == RateLimit(rate="5/m")
    assert Retries(statuses=[502, "503", "5xx", StatusRange(504, 504)]).statuses == (
        StatusRange(502, 502),
        StatusRange(503, 503),
        StatusRange(500, 599),
        StatusRange(504, 504),
    )


def test_what_off_is() -> None:
    assert Limits(stream_resets="off", minimum_rate="off", connections="off") == Limits(
        stream_resets=Rate(UNLIMITED), minimum_rate=Rate(0), connections=UNLIMITED
    )
    assert (Timeouts(idle="off").idle, Upstream(servers="http://h", slow_start="off").slow_start) == (math.inf, 0.0)
    assert a_config(user="off").user is None


def test_networks_and_hosts_in_any_form() -> None:
    given = ["10.0.0.0/8", "10.0.0.1", ip_network("10.0.0.0/8"), ip_address("::1"), "::1/128"]
    assert [str(network) for network in Access(allow=given).allow] == [
        "10.0.0.0/8",
        "10.0.0.1/32",
        "10.0.0.0/8",
        "::1/128",
        "::1/128",
    ]
    assert Upstream(servers="http://h", host="[::1]:80").host == "[::1]:80"
    assert Match(host=["[::1]", "*.a.b", "10.0.0.1"]).host == ("[::1]", "*.a.b", "10.0.0.1")
    assert HealthCheck(host="a.b:80").host == "a.b:80"


def test_tables_stand_for_sections() -> None:
    assert Route(match={"path": "/x", "not": {"method": "GET"}}, upstream="a") == Route(
        match=Match(path=["/x"], not_=Match(method=("GET",))), upstream="a"
    )


def test_it_can_be_copied_changed_compared_and_sent() -> None:
    config = a_config(routes=[Route(upstream="api", match=Match(header={"X-A": ["1", "2"]}))])
    assert dataclasses.replace(config) == config
    assert dataclasses.replace(config, workers=4) != config
    assert dataclasses.replace(config.timeouts, connect="1s").connect == 1.0
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(copy.deepcopy(config))


def test_nobody_can_change_it() -> None:
    config = a_config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.workers = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.upstreams["x"] = Upstream(servers="http://h")  # type: ignore[index]
    with pytest.raises((AttributeError, TypeError)):
        config.other = 1  # type: ignore[attr-defined]


def test_it_shows_what_differs_from_the_defaults() -> None:
    assert repr(Timeouts(connect="1s")) == "Timeouts(connect=1.0)"
    assert repr(Table({"a": 1})) == "Table({'a': 1})"


def test_names_that_follow_from_the_rest() -> None:
    assert Server(url="https://web1:3443").name == "web1:3443"
    assert Server(url="unix:/run/app.sock").name == "unix:/run/app.sock"
    assert Listener(bind=["[::]:80", "0.0.0.0:80"]).name == "[::]:80"
    assert Listener(bind="[::]:443", tls={"certificates": [CERTIFICATE]}).protocols == ("h2", "http/1.1")
    config = a_config(
        basic_auth={"staff": BasicAuth(file="users")},
        rate_limits={"all": {"rate": "5/m"}},
        routes=[Route(upstream="api")] * 2,
    )
    assert [route.name for route in config.routes] == ["route-1", "route-2"]
    assert config.basic_auth["staff"].realm == "staff"
    assert (config.rate_limits["all"].name, config.rate_limits["all"].burst) == ("all", 5)


def test_header_names_are_kept_in_lower_case_and_hosts_too() -> None:
    assert HeaderEdits(remove="X-Debug").remove == ("x-debug",)
    assert Match(host="API.Example.com").host == ("api.example.com",)


# ---- what is wrong ---------------------------------------------------------------------------------------------------


def test_every_problem_is_told_at_once_with_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        a_config(
            http1="httptool",
            timeouts={"conect": 5, "idle": -1},
            upstreams={"api": {"servers": [{"url": "http://a", "weight": "3"}, {}], "balanse": "random"}},
            routes=[{"upstream": "apo"}, {"match": {"client_ip": "10.0.0.1/8"}}],
        )
    assert str(caught.value).splitlines() == [
        'Config: http1: "httptool" is not one of "auto", "h11", "httptools"; did you mean "httptools"?',
        'Config: timeouts.conect: unknown key; did you mean "connect"?',
        'Config: timeouts.idle: a duration is above zero; did you mean "off"?',
        'Config: upstreams.api.balanse: unknown key; did you mean "balance"?',
        'Config: upstreams.api.servers[0].weight: "3" is text; a number stands without quotes',
        "Config: upstreams.api.servers[1].url: this key is needed",
        'Config: routes[1].match.client_ip: "10.0.0.1/8" has bits set behind its prefix; did you mean "10.0.0.0/8"?',
        "Config: routes[1]: a route has exactly one of upstream, redirect and respond; here is none",
        'Config: routes[0].upstream: there is no "apo" in [upstreams]; did you mean "api"?',
    ]


def test_a_line_of_a_problem_stays_a_line() -> None:
    assert str(Problem("f", 1, 'a."b\n"', "x\x1b[1m")) == 'f:1: a."b\\n": x\\x1b[1m'


REFERENCES: list[tuple[dict[str, Any], str, str]] = [
    ({"upstream": "apj"}, "routes[0].upstream", "api"),
    ({"upstream": "api", "rate_limits": ["per_client", "per_clients"]}, "routes[0].rate_limits[1]", "per_client"),
    ({"upstream": "api", "basic_auth": "staf"}, "routes[0].basic_auth", "staff"),
    ({"upstream": "api", "jwt": "servce"}, "routes[0].jwt", "service"),
    ({"upstream": "api", "api_key": "partner"}, "routes[0].api_key", "partners"),
    ({"upstream": "api", "forward_auth": {"upstream": "app"}}, "routes[0].forward_auth.upstream", "api"),
    ({"upstream": "api", "cache": {"store": "mein"}}, "routes[0].cache.store", "main"),
    ({"upstream": "api", "match": {"listener": "wep"}}, "routes[0].match.listener[0]", "web"),
    (
        {"upstream": "api", "match": {"any": [{"not": {"listener": "wep"}}]}},
        "routes[0].match.any[0].not.listener[0]",
        "web",
    ),
    (
        {"upstream": "api", "cache": {"store": "main", "bypass": {"listener": "wep"}}},
        "routes[0].cache.bypass.listener[0]",
        "web",
    ),
]


@pytest.mark.parametrize(("route", "place", "suggestion"), REFERENCES, ids=[place for _, place, _ in REFERENCES])
def test_a_name_that_points_nowhere(route: dict[str, Any], place: str, suggestion: str) -> None:
    with pytest.raises(ConfigError) as caught:
        a_config(
            listeners=[Listener(name="web", bind="127.0.0.1:0")],
            rate_limits={"per_client": {"rate": "1/s"}},
            basic_auth={"staff": {"file": "f"}},
            jwt={"service": {"algorithms": ["RS256"], "keys_file": "f"}},
            api_keys={"partners": {"file": "f", "header": "X-Key"}},
            caches={"main": {}},
            routes=[route],
        )
    (problem,) = caught.value.problems
    assert (problem.place, problem.suggestion) == (place, suggestion)


def test_two_that_are_no_addresses_are_not_the_same_address() -> None:
    found = problems(lambda: a_config(listeners=[{"bind": "127.0.0.1:99999"}, {"bind": 8080}]))
    assert [place for place, _ in found] == ["listeners[0].bind", "listeners[1].bind"]


def test_what_stands_twice() -> None:
    listener = Listener(name="a", bind="127.0.0.1:80")
    assert problems(lambda: a_config(listeners=[listener, listener])) == [
        ("listeners[1].name", 'there is another listener "a"'),
        ("listeners[1].bind[0]", 'listener "a" listens on 127.0.0.1:80 already'),
    ]
    assert problems(lambda: a_config(routes=[Route(name="a", upstream="api")] * 2)) == [
        ("routes[1].name", 'there is another route "a"')
    ]
    assert problems(lambda: Upstream(servers=["http://h", "http://h"])) == [
        ("servers[1]", 'there is another server "h" in this upstream')
    ]
    assert problems(lambda: HeaderEdits(set={"X-A": "1", "x-a": "2"})) == [
        ("set.x-a", "this stands here twice, written differently")
    ]
    assert [place for place, _ in problems(lambda: HeaderEdits(set={"a b": "1", "c d": "2"}))] == [
        'set."a b"',
        'set."c d"',
    ]
    assert problems(lambda: a_config(upstreams={"api": Upstream(name="app", servers="http://h")})) == [
        ("upstreams.api", 'this is named "app" and stands under another name -> app')
    ]
    a_config(listeners=[Listener(name="a", bind="127.0.0.1:0"), Listener(name="b", bind="127.0.0.1:0")])


OK = Route(respond=Respond())

WRONG: list[tuple[Callable[[], object], str, str]] = [
    (lambda: Listener(bind=[]), "bind", "empty"),
    (lambda: Listener(bind="127.0.0.1:1", protocols="h2"), "protocols", "h2c"),
    (lambda: Listener(bind="127.0.0.1:1", protocols="h2c", tls={"certificates": CERTIFICATE}), "protocols", "h2"),
    (lambda: Listener(bind="127.0.0.1:1", protocols=["http/1.1", "http/1.1"]), "protocols[1]", "twice"),
    (lambda: ListenerTls(certificates=[]), "certificates", "empty"),
    (lambda: ListenerTls(certificates=CERTIFICATE, client_authentication="required"), "client_ca", "needed"),
    (lambda: Listener(bind="127.0.0.1:1", trusted_proxies="x"), "trusted_proxies", "network"),
    (lambda: Server(url="http://10.0.0.1", resolve="all"), "resolve", "one"),
    (lambda: Upstream(servers=[]), "servers", "empty"),
    (lambda: Upstream(servers="http://h", balance="header_hash"), "hash_header", "needed"),
    (lambda: Upstream(servers="http://h", hash_header="X-A"), "hash_header", "header_hash"),
    (lambda: Upstream(servers="http://h", host="preserv"), "host", "preserve"),
    (lambda: Outliers(eject="10m"), "eject_max", "shorter"),
    (lambda: Outliers(eject_share_max=50), "eject_share_max", "0.5"),
    (lambda: Retries(on=["conect"]), "on[0]", "connect"),  # type: ignore[list-item]
    (lambda: Sticky(secret_file="s", cookie="a b"), "cookie", "token"),
    (lambda: HealthCheck(path="health"), "path", "/health"),
    (lambda: HealthCheck(method="get"), "method", "GET"),
    (lambda: Cache(size="1MiB"), "object_max", "8MiB has no room in a cache of 1MiB"),
    (lambda: RateLimit(key=["{client_ip}"], rate="1/s"), "key[0]", "client_ip"),
    (lambda: RateLimit(rate="0/s"), "rate", "above zero"),
    (lambda: ApiKeys(file="f"), "", "one of header and query"),
    (lambda: ApiKeys(file="f", header="X", query="k"), "", "one of header and query"),
    (lambda: Jwt(algorithms=["none"], keys_file="f"), "algorithms[0]", "not one of"),  # type: ignore[list-item]
    (lambda: Jwt(algorithms="RS256", keys_file="f", claims_to_headers={"s": "Host"}), "claims_to_headers.s", "Host"),
    (lambda: Admin(bind="0.0.0.0:1"), "username", "needed"),
    (lambda: Admin(username="a"), "password_file", "together"),
    (lambda: Admin(mode="0660"), "mode", "Unix"),
    (lambda: Admin(bind="unix:/a", mode="660x"), "mode", "0660"),
    (lambda: Match(path="/a*"), "path", "/a/*"),
    (lambda: Match(path="/a/*/b"), "path", "path_regex"),
    (lambda: Match(path="a"), "path", "/a"),
    (lambda: Match(path="/a//b"), "path", "normalised"),
    (lambda: Match(path="/a/../b"), "path", "normalised"),
    (lambda: Match(path="/a?b"), "path", "query"),
    (lambda: Match(path_regex="(a"), "path_regex", "at character 1"),
    (lambda: Match(path_regex="a{99999999999999999999}"), "path_regex", "too large"),
    (lambda: Match(host="a.*.b"), "host", "front"),
    (lambda: Match(host="a.b:80"), "host", "a.b"),
    (lambda: Match(host=[]), "host", "empty"),
    (lambda: Match(client_ip=[]), "client_ip", "empty"),
    (lambda: Match(header={"Host": "a"}), "header.Host", "host"),
    (lambda: Match(header={"Connection": "a"}), "header.Connection", "framing"),
    (lambda: Match(header={"a b": "a"}), 'header."a b"', "no name"),
    (lambda: Match(method="get"), "method", "GET"),
    (Redirect, "", "at least one"),
    (lambda: Redirect(to="https://a", scheme="https"), "scheme", "alone"),
    (lambda: Redirect(to="https://a{targt}"), "to", "target"),
    (lambda: Redirect(to="https://a\r\nX: y"), "to", "visible"),
    (lambda: Redirect(path="x"), "path", "/x"),
    (lambda: Redirect(scheme="https", status=304), "status", "not one of"),  # type: ignore[arg-type]
    (lambda: Respond(status=204, body="x"), "body", "no content"),
    (lambda: Respond(headers={"Content-Length": "5"}), "headers.Content-Length", "framing"),
    (lambda: Respond(status=101), "status", "200"),
    (Rewrite, "", "exactly one"),
    (lambda: Rewrite(strip_prefix="/a", add_prefix="/b"), "", "exactly one"),
    (lambda: Rewrite(strip_prefix="/a/"), "strip_prefix", "/a"),
    (lambda: Rewrite(strip_prefix="/"), "strip_prefix", "no prefix"),
    (lambda: Rewrite(pattern="a"), "replacement", "together"),
    (lambda: Rewrite(pattern="(a)", replacement="$2"), "replacement", "1 group"),
    (lambda: HeaderEdits(set={"X-A": "a\nb"}), "set.X-A", "control"),
    (lambda: HeaderEdits(add={"X-A": "{reqest_id}"}), "add.X-A", "request_id"),
    (lambda: HeaderEdits(remove=["Transfer-Encoding"]), "remove[0]", "framing"),
    (lambda: HeaderEdits(set={"Host": "a"}), "set.Host", "upstream"),
    (lambda: Cors(origins="*", credentials=True), "credentials", "every origin"),
    (lambda: Cors(origins="https://a.b/"), "origins", "https://a.b"),
    (lambda: Cors(origins="a.b"), "origins", "https://a.b"),
    (lambda: RouteCache(store="m", valid={"20x": "1m"}), "valid.20x", "status"),
    (lambda: Waf(level=5), "level", "between 1 and 4"),
    (lambda: WebSocket(origins=[]), "origins", "empty"),
    (Access, "", "at least one"),
    (lambda: Access(allow=[]), "allow", "empty"),
    (Route, "", "here is none"),
    (lambda: Route(upstream="a", respond=Respond()), "", "upstream and respond"),
    (lambda: Route(respond=Respond(), rewrite=Rewrite(strip_prefix="/a")), "rewrite", "goes with upstream"),
    (lambda: Limits(connections=0), "connections", "off"),
    (lambda: Limits(streams="off"), "streams", "whole number"),
    (lambda: Limits(buffer="off"), "buffer", "size"),
    (lambda: Limits(minimum_rate="500/s"), "minimum_rate", "500B/s"),
    (lambda: Timeouts(linger="off"), "linger", "duration"),
    (lambda: Timeouts(idle="0s"), "idle", "off"),
    (lambda: HeaderEdits(set={"X-A": " a "}), "set.X-A", "-> a"),
    (lambda: Match(method="a b"), "method", "no method"),
    (lambda: Match(host="https://a.b/c"), "host", "-> a.b"),
    (lambda: Match(host="[::1"), "host", "no host name"),
    (lambda: Match(host="::1"), "host", "[::1]"),
    (lambda: Match(host="[::1]:80"), "host", "[::1]"),
    (lambda: Upstream(servers="http://h", host="::1"), "host", "[::1]"),
    (lambda: Rewrite(add_prefix="api"), "add_prefix", "/api"),
    (lambda: HealthCheck(path="/a b"), "path", "visible"),
    (lambda: HealthCheck(host="a b"), "host", "no host name"),
    (lambda: BasicAuth(file="a\0"), "file", "NUL"),
    (lambda: BasicAuth(file=""), "file", "empty"),
    (lambda: Outliers(eject_share_max=[]), "eject_share_max", "a list is no share"),  # type: ignore[arg-type]
    (lambda: Limits(request_head=True), "request_head", "true is no size"),
    (lambda: Limits(request_head=0), "request_head", "1B or more"),
    (lambda: Limits(stream_resets=100), "stream_resets", "100/s"),  # type: ignore[arg-type]
    (lambda: Retries(statuses=[[]]), "statuses[0]", "no status"),  # type: ignore[list-item]
    (lambda: Timeouts(idle=math.nan), "idle", "above zero"),
    (lambda: Redirect(scheme="ftp"), "scheme", "not one of"),  # type: ignore[arg-type]
    (lambda: a_config(user="a b"), "user", "no name"),
    (lambda: a_config(workers="many"), "workers", "auto"),
    (lambda: a_config(logging={"access": "jsn"}), "logging.access", "json"),
    (lambda: a_config(logging={"access": "{client}"}), "logging.access", "client_ip"),
    (lambda: a_config(logging={"empty_connections": "false"}), "logging.empty_connections", "false"),
    (lambda: a_config(error_pages={"200": "x"}), "error_pages.200", "from 400"),
    (lambda: a_config(error_pages={"5xx": "x"}), "error_pages.5xx", "from 400"),
    (lambda: a_config(listeners=[]), "listeners", "empty"),
    (lambda: a_config(routes=()), "routes", "empty"),
    (lambda: a_config(limits=5), "limits", "5 is no table"),
    (lambda: Route(cache="c", respond={}), "cache", '"c" is no table; write { store = "c" }'),  # type: ignore[arg-type]
    (lambda: a_config(upstreams={"a b": {"servers": "http://h"}}, routes=[OK]), 'upstreams."a b"', "no name"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[f"{place or 'whole'}-{hint}" for _, place, hint in WRONG])
def test_one_thing_wrong_is_one_problem(number: int) -> None:
    make, place, hint = WRONG[number]
    ((where, message),) = problems(make)
    assert where == place
    assert hint in message


def test_matches_may_be_nested_but_not_without_end() -> None:
    match: dict[str, Any] = {"path": "/x"}
    for _ in range(20):
        match = {"not": match}
    a_config(routes=[{"match": match, "upstream": "api"}])
    for _ in range(500):
        match = {"not": match}
    ((_, message),) = problems(lambda: a_config(routes=[{"match": match, "upstream": "api"}]))
    assert message == "this is nested too deep"


@pytest.mark.parametrize(
    ("name", "suggestion"), [("X Request Id", "X-Request-Id"), ("X-Id:", "X-Id"), ("X(Id)", None), (" ", None)]
)
def test_a_field_name_is_suggested_only_where_it_is_one(name: str, suggestion: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        a_config(routes=[{"upstream": "api", "request_headers": {"set": {name: "x"}}}])
    (problem,) = caught.value.problems
    assert problem.suggestion == suggestion

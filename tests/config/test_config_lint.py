"""What `check --lint` finds, and that a route which it calls unreachable is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from proxycore.config import Match, Route, from_dict, load_toml
from proxycore.config.lint import covers, lint, secrets
from proxycore.config.problems import dotted
from proxycore.policies.paths import normalise
from proxycore.policies.routing import RouteTable
from proxycore.words.errors import Refused
from proxycore.words.messages import Headers, RequestHead

GOOD: dict[str, Any] = {
    "listeners": [{"name": "web", "bind": "0.0.0.0:80"}],
    "upstreams": {"api": {"servers": ["http://a", "http://b"], "health_check": {"path": "/health"}}},
    "routes": [{"name": "all", "upstream": "api"}],
}
CERTIFICATES = [{"certificate": "a.crt", "key": "a.key"}]
ASKING = {"certificates": CERTIFICATES, "client_authentication": "optional", "client_ca": "ca.pem"}


def found(**changes: Any) -> dict[str, str]:
    return {dotted(finding.path): finding.message for finding in lint(from_dict({**GOOD, **changes}))}


def test_a_good_configuration_has_nothing() -> None:
    assert found() == {}


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        ({"timeouts": {"request_head": "off"}}, "timeouts.request_head", "Slowloris"),
        (
            {"routes": [{"name": "all", "upstream": "api", "timeouts": {"response_head": "off"}}]},
            "routes[0].timeouts.response_head",
            "hangs",
        ),
        ({"limits": {"request_body": "off"}}, "limits.request_body", "no end"),
        (
            {"listeners": [{"bind": "0.0.0.0:80", "trusted_proxies": ["10.0.0.0/8", "::/0"]}]},
            "listeners[0].trusted_proxies[1]",
            "believed",
        ),
        ({"upstreams": {"api": {"servers": ["http://a", "http://b"]}}}, "upstreams.api", "health_check"),
        (
            {"upstreams": {"api": {"servers": ["https://a"], "tls": {"verify": False}}}},
            "upstreams.api.tls.verify",
            "whoever stands between",
        ),
        (
            {"upstreams": {"api": {"servers": ["http://a"], "retries": {"non_idempotent": True}}}},
            "upstreams.api.retries.non_idempotent",
            "twice",
        ),
        ({"caches": {"main": {"size": "64MiB"}}}, "caches.main", "no route names this"),
        (
            {
                "basic_auth": {"staff": {"file": "users", "realm": "staff"}},
                "routes": [{"name": "all", "upstream": "api", "basic_auth": "staff"}],
            },
            "routes[0].basic_auth",
            "in clear",
        ),
        (
            {
                "caches": {"main": {"size": "64MiB"}},
                "basic_auth": {"staff": {"file": "users", "realm": "staff"}},
                "listeners": [{"name": "tls", "bind": "0.0.0.0:443", "tls": {"certificates": CERTIFICATES}}],
                "routes": [{"name": "all", "upstream": "api", "basic_auth": "staff", "cache": {"store": "main"}}],
            },
            "routes[0].cache.key",
            "stored for everybody",
        ),
        (
            {"routes": [{"name": "all", "upstream": "api"}, {"name": "late", "upstream": "api"}]},
            "routes[1].match",
            'never reached: route "all"',
        ),
        (
            {"routes": [{"name": "ann", "match": {"tls_subject": "CN=ann"}, "upstream": "api"}]},
            "routes[0].match.tls_subject",
            "never matches",
        ),
        (
            {"routes": [{"name": "ann", "upstream": "api", "client_certificate": {}}]},
            "routes[0].client_certificate",
            "refuses everybody",
        ),
        (
            {
                "listeners": [
                    {"name": "asks", "bind": "0.0.0.0:443", "tls": ASKING},
                    {"name": "tls", "bind": "0.0.0.0:444", "tls": {"certificates": CERTIFICATES}},
                ],
                "routes": [
                    {
                        "name": "ann",
                        "match": {"tls_subject": "CN=ann", "listener": "tls"},
                        "upstream": "api",
                    }
                ],
            },
            "routes[0].match.tls_subject",
            "never matches",
        ),
        (
            {"routes": [{"name": "all", "match": {"scheme": "https"}, "upstream": "api"}]},
            "routes[0].match.scheme",
            "never matches",
        ),
        (
            {"routes": [{"match": {"path": "/a/b", "not": {"path": "/a/*"}}, "upstream": "api"}]},
            "routes[0].match.not",
            "never matches",
        ),
        (
            {"admin": {"bind": "0.0.0.0:8404", "username": "admin", "password_file": "secret"}},
            "admin.tls",
            "in clear",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_each_slip_is_found_alone(changes: dict[str, Any], place: str, message: str) -> None:
    findings = found(**changes)
    assert list(findings) == [place]
    assert message in findings[place]


@pytest.mark.parametrize(
    "listener",
    [
        {"bind": "0.0.0.0:443", "tls": {"certificates": CERTIFICATES}},
        {"bind": "0.0.0.0:81", "trusted_proxies": ["10.0.0.1"]},
    ],
)
def test_a_scheme_is_good_where_a_listener_takes_it_or_a_proxy_may_tell_it(listener: dict[str, Any]) -> None:
    routes = [{"match": {"scheme": "https", "not": {"path": "/a"}}, "upstream": "api"}]
    assert found(listeners=[*GOOD["listeners"], listener], routes=routes) == {}


def test_a_subject_is_good_where_one_listener_asks_for_it() -> None:
    listeners = [*GOOD["listeners"], {"name": "asks", "bind": "0.0.0.0:443", "tls": ASKING}]
    route = {"name": "ann", "match": {"tls_subject": "CN=ann"}, "upstream": "api", "client_certificate": {}}
    assert found(listeners=listeners, routes=[route]) == {}


TO_HTTPS = {
    "name": "to-https",
    "match": {"listener": "web", "not": {"path": "/open/*"}},
    "redirect": {"scheme": "https"},
}


@pytest.mark.parametrize(
    ("first", "path", "is_exposed"),
    [
        (TO_HTTPS, "/staff/*", False),
        (TO_HTTPS, "/open/staff/*", True),
        ({**TO_HTTPS, "redirect": {"to": "https://example.com{target}"}}, "/staff/*", False),
        ({**TO_HTTPS, "redirect": {"path": "/"}}, "/staff/*", True),
        ({**TO_HTTPS, "match": {"listener": "web", "host": "other"}}, "/staff/*", True),
    ],
)
def test_passwords_are_safe_behind_a_redirect_to_https(first: dict[str, Any], path: str, is_exposed: bool) -> None:
    guarded = {"name": "staff", "match": {"path": path}, "upstream": "api", "basic_auth": "staff"}
    tls = {"name": "tls", "bind": "0.0.0.0:443", "tls": {"certificates": CERTIFICATES}}
    findings = found(
        listeners=[*GOOD["listeners"], tls],
        basic_auth={"staff": {"file": "users", "realm": "staff"}},
        routes=[first, guarded, *GOOD["routes"]],
    )
    assert list(findings) == (["routes[1].basic_auth"] if is_exposed else [])


def test_the_example_passes_but_for_what_it_leaves_out_to_be_short() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "proxycore.example.toml").read_text()
    places = [dotted(finding.path) for finding in lint(load_toml(text, source="example"))]
    assert places == ["upstreams.web", "upstreams.static", "routes[2].cache.key", "routes[7].client_certificate"]


def test_secrets_are_every_file_that_nobody_else_should_read() -> None:
    config = from_dict(
        {
            **GOOD,
            "listeners": [{"bind": "0.0.0.0:443", "tls": {"certificates": CERTIFICATES}}],
            "upstreams": {
                "api": {
                    "servers": ["https://a"],
                    "sticky": {"cookie": "S", "secret_file": "sticky"},
                    "tls": {"certificate": {"certificate": "b.crt", "key": "b.key"}},
                }
            },
            "basic_auth": {"staff": {"file": "users", "realm": "staff"}},
            "api_keys": {"partners": {"header": "X-Key", "file": "keys"}},
            "jwt": {
                "own": {"algorithms": ["HS256"], "keys_file": "jwks"},
                "o": {"algorithms": "RS256", "keys_file": "p"},
            },
            "admin": {
                "bind": "127.0.0.1:1",
                "username": "admin",
                "password_file": "password",
                "tls": {"certificate": "c.crt", "key": "c.key"},
            },
        }
    )
    assert {dotted(path): name for path, name in secrets(config)} == {
        "listeners[0].tls.certificates[0].key": "a.key",
        "upstreams.api.sticky.secret_file": "sticky",
        "upstreams.api.tls.certificate.key": "b.key",
        "basic_auth.staff.file": "users",
        "api_keys.partners.file": "keys",
        "jwt.own.keys_file": "jwks",
        "admin.tls.key": "c.key",
        "admin.password_file": "password",
    }


# ---- unreachable routes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {"path": "/x"}, True),
        ({"path": "/x"}, {}, False),
        ({"path": "/a/*"}, {"path": ["/a", "/a/b/*"]}, True),
        ({"path": "/a/*"}, {"path": "/ab"}, False),
        ({"path": "/a"}, {"path": "/a/*"}, False),
        ({"host": "*.example.com"}, {"host": ["a.example.com", "*.b.example.com"]}, True),
        ({"host": "*.example.com"}, {"host": "example.com"}, False),
        ({"method": "GET"}, {"method": "HEAD"}, True),
        ({"method": "HEAD"}, {"method": "GET"}, False),
        ({"header": {"X": "*"}}, {"header": {"X": "1"}, "path": "/x"}, True),
        ({"header": {"X": "1"}}, {"header": {"X": ["1", "2"]}}, False),
        ({"client_ip": "10.0.0.0/8"}, {"client_ip": ["10.1.0.0/16", "10.2.3.4"]}, True),
        ({"client_ip": "10.0.0.0/8"}, {"client_ip": "::1"}, False),
        ({"tls_subject": "*"}, {"tls_subject": "CN=ann"}, True),
        ({"tls_subject": "*"}, {}, False),
        ({"tls_subject": ["CN=ann", "CN=bob"]}, {"tls_subject": "CN=ann"}, True),
        ({"tls_subject": "CN=ann"}, {"tls_subject": "*"}, False),
        ({"any": [{"path": "/a"}, {"path": "/b/*"}]}, {"path": "/b/c"}, True),
        ({"path": "/*", "not": {"host": "a"}}, {"path": "/x"}, False),
    ],
)
def test_covers(first: dict[str, Any], second: dict[str, Any], expected: bool) -> None:
    assert covers(match_of(first), match_of(second)) is expected


def match_of(given: dict[str, Any]) -> Match:
    return from_dict({**GOOD, "routes": [{"match": given, "respond": {}}]}).routes[0].match


PATHS = ["/a", "/a/*", "/a/b", "/a/b/*", "/*"]
HOSTS = ["x.com", "*.x.com", "a.x.com", "*.a.x.com"]


def some(values: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.just(()) | st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True).map(tuple)


plain = st.builds(
    Match,
    path=some(PATHS),
    host=some(HOSTS),
    method=some(["GET", "HEAD", "POST"]),
    header=st.sampled_from([{}, {"x": "*"}, {"x": "1"}, {"x": ["1", "2"]}]),
    client_ip=some(["10.0.0.0/8", "10.1.0.0/16", "::1"]),
)
matches = st.builds(
    lambda base, among, but: replace(base, any=among, not_=but),
    plain,
    st.just(()) | st.lists(plain, min_size=1, max_size=2).map(tuple),
    st.none() | plain,
)
requests = st.builds(
    lambda method, path, host, value: RequestHead(method, path, host, Headers([(b"x", value)] if value else [])),
    st.sampled_from([b"GET", b"HEAD", b"POST"]),
    st.sampled_from([b"/", b"/a", b"/a/b", b"/a/b/c", b"/ab"]),
    st.sampled_from([b"x.com", b"a.x.com", b"b.a.x.com"]),
    st.sampled_from([b"", b"1", b"2"]),
)


def takes(match: Match, request: RequestHead, client_ip: str) -> bool:
    table = RouteTable([Route(name="it", match=match, upstream="a")])
    try:
        return table.find(request, normalise(request.target), listener="web", client_ip=client_ip) is not None
    except Refused:
        return False


@settings(max_examples=400)
@given(matches, matches, requests, st.sampled_from(["10.1.2.3", "10.2.3.4", "::1"]))
def test_what_the_second_takes_the_first_takes_too(first: Match, second: Match, request: RequestHead, ip: str) -> None:
    if covers(first, second) and takes(second, request, ip):
        event("both")
        assert takes(first, request, ip)

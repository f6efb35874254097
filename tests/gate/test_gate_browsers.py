"""What concerns browsers: CORS, CSRF, security headers, cookies, and servers that speak of themselves."""

from __future__ import annotations

from typing import Any

import pytest

from proxycore.config import Config as Configuration
from proxycore.config import ConfigError, CookieFlags, Listener, Route, Upstream
from proxycore.testing import Proxy

APP = "https://app.example.com"


def proxy(host: str = "preserve", **route: Any) -> Proxy:
    config = Configuration(
        listeners=[Listener(name="web", bind="127.0.0.1:8080", trusted_proxies=["10.0.0.0/8"])],
        upstreams={"api": Upstream(servers="http://origin.internal:3000", host=host)},
        routes=[Route(upstream="api", **route)],
    )
    return Proxy(config)


# ---- CORS

CORS = {
    "origins": [APP, "https://*.partner.test"],
    "methods": ["GET", "PUT"],
    "headers": ["Authorization"],
    "expose": ["X-Total"],
    "credentials": True,
    "max_age": "1m",
}


def preflight(origin: str, method: str = "PUT") -> dict[str, str]:
    return {"Origin": origin, "Access-Control-Request-Method": method}


@pytest.mark.parametrize("origin", [APP, "https://a.partner.test"])
def test_a_preflight_is_answered_without_the_server(origin: str) -> None:
    journey = proxy(cors=CORS).request("OPTIONS", "https://a/", headers=preflight(origin))
    journey.is_answered(204).gets(
        access_control_allow_origin=origin,
        access_control_allow_credentials="true",
        access_control_allow_methods="GET, PUT",
        access_control_allow_headers="authorization",
        access_control_max_age="60",
        vary="Origin",
    )
    assert journey.outbound is None


@pytest.mark.parametrize(
    "origin", ["https://evil.test", "https://app.example.com.evil.test", "https://partner.test", "null"]
)
def test_a_preflight_from_elsewhere_is_refused(origin: str) -> None:
    journey = proxy(cors=CORS).request("OPTIONS", "https://a/", headers=preflight(origin))
    journey.is_refused(403, rule="cors").gets(access_control_allow_origin=None)


def test_answers_say_who_may_see_them_whatever_the_server_says() -> None:
    guarded = proxy(cors=CORS)
    answer = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"}
    seen = guarded.get("https://a/", headers={"Origin": APP}).returns(200, answer)
    seen.gets(access_control_allow_origin=APP, access_control_expose_headers="x-total", vary="Origin")
    assert [value for name, value in seen.headers if name == "access-control-allow-origin"] == [APP]
    unseen = guarded.get("https://a/", headers={"Origin": "https://evil.test"}).returns(200, answer)
    unseen.gets(access_control_allow_origin=None, access_control_allow_credentials=None, vary="Origin")


def test_scripts_see_our_refusals_too() -> None:
    journey = proxy(cors=CORS, access={"deny": ["192.0.2.1"]}).get("https://a/", headers={"Origin": APP})
    journey.is_refused(403, rule="access").gets(access_control_allow_origin=APP)


def test_all_origins_means_a_star_and_no_vary() -> None:
    journey = proxy(cors={"origins": "*", "headers": ["*"]}).request(
        "OPTIONS", "https://a/", headers={**preflight(APP), "Access-Control-Request-Headers": "x-a, x-b"}
    )
    journey.gets(access_control_allow_origin="*", access_control_allow_headers="x-a, x-b")


def test_options_without_a_preflight_goes_to_the_server() -> None:
    proxy(cors=CORS).request("OPTIONS", "https://a/", headers={"Origin": APP}).goes_to("api")


# ---- CSRF


@pytest.mark.parametrize(
    ("method", "headers", "passes"),
    [
        ("GET", {"Sec-Fetch-Site": "cross-site"}, True),
        ("POST", {}, True),
        ("POST", {"Sec-Fetch-Site": "same-origin"}, True),
        ("POST", {"Sec-Fetch-Site": "none"}, True),
        ("POST", {"Sec-Fetch-Site": "cross-site"}, False),
        ("POST", {"Sec-Fetch-Site": "same-site"}, False),
        ("POST", {"Origin": "https://a.example"}, True),
        ("POST", {"Origin": "https://a.example:443"}, True),
        ("POST", {"Origin": "https://evil.test"}, False),
        ("POST", {"Origin": "null"}, False),
        ("POST", {"Origin": "https://evil.test", "Sec-Fetch-Site": "same-origin"}, True),
        ("POST", {"Origin": APP, "Sec-Fetch-Site": "cross-site"}, True),
        ("DELETE", {"Sec-Fetch-Site": "cross-site"}, False),
        ("GET", {"Connection": "Upgrade", "Upgrade": "websocket", "Origin": "https://evil.test"}, False),
    ],
)
def test_what_another_site_made_a_browser_send_is_refused(method: str, headers: dict[str, str], passes: bool) -> None:
    journey = proxy(csrf={"origins": [APP]}).request(method, "https://a.example/", headers=headers)
    if passes:
        journey.goes_to("api")
    else:
        journey.is_refused(403, rule="csrf")
        assert journey.trace.of("csrf")[0].reason


# ---- headers and cookies


def test_the_preset_fills_in_what_the_server_left_out() -> None:
    guarded = proxy(security_headers={"content_security_policy": "default-src 'self'"})
    guarded.get("https://a/").returns(200, {"X-Frame-Options": "DENY"}).gets(
        x_content_type_options="nosniff",
        x_frame_options="DENY",
        referrer_policy="strict-origin-when-cross-origin",
        permissions_policy="camera=(), geolocation=(), microphone=()",
        content_security_policy="default-src 'self'",
    )
    journey = proxy(security_headers={"frame_options": "off", "permissions_policy": "off"}).get("https://a/").returns()
    journey.gets(x_frame_options=None, permissions_policy=None, content_security_policy=None)


@pytest.mark.parametrize(
    ("flags", "sent", "got"),
    [
        ({}, "a=1", "a=1; Secure; HttpOnly; SameSite=Lax"),
        ({}, "a=1; path=/; secure; samesite=None", "a=1; path=/; secure; samesite=None; HttpOnly"),
        ({"same_site": "strict", "http_only": False}, "a=1", "a=1; Secure; SameSite=Strict"),
        ({"exempt": ["a"]}, "a=1", "a=1"),
        ({"same_site": "off"}, "a=Secure", "a=Secure; Secure; HttpOnly"),
    ],
)
def test_cookies_get_the_flags_that_they_lack(flags: dict[str, Any], sent: str, got: str) -> None:
    proxy(cookies=flags).get("https://a/").returns(200, {"Set-Cookie": sent}).gets(set_cookie=got)


def test_every_cookie_gets_them() -> None:
    journey = proxy(cookies={"secure": False, "same_site": "off"}).get("https://a/")
    journey.returns(200, {"Set-Cookie": ["a=1", "b=2"]})
    assert [value for name, value in journey.headers if name == "set-cookie"] == ["a=1; HttpOnly", "b=2; HttpOnly"]


def test_a_cookie_that_browsers_would_drop_is_an_error() -> None:
    with pytest.raises(ConfigError, match="SameSite=None"):
        CookieFlags(same_site="none", secure=False)


# ---- servers that speak of themselves

STRIP = {"strip_prefix": "/api"}
ADD = {"add_prefix": "/app"}


@pytest.mark.parametrize(
    ("rewrite", "sent", "got"),
    [
        (None, "http://origin.internal:3000/x?q=1", "https://a.example/x?q=1"),
        (None, "http://origin.internal:3000", "https://a.example/"),
        (None, "http://a.example/x", "https://a.example/x"),
        (None, "https://elsewhere.test/x", "https://elsewhere.test/x"),
        (None, "http://origin.internal/x", "http://origin.internal/x"),
        (None, "/x", "/x"),
        (None, "//origin.internal:3000/x", "//origin.internal:3000/x"),
        (STRIP, "/x", "/api/x"),
        (STRIP, "http://ORIGIN.internal:3000/x", "https://a.example/api/x"),
        (STRIP, "http://origin.internal:3000?q", "https://a.example/api/?q"),
        (STRIP, "x/y", "x/y"),
        (ADD, "/app/x", "/x"),
        (ADD, "/app", "/"),
        (ADD, "/apple", "/apple"),
        (ADD, "/app//evil.test/", "/.//evil.test/"),
        (ADD, "/app/\\evil.test/", "/./\\evil.test/"),
        (ADD, "/app/\t/evil.test/", "/./\t/evil.test/"),
    ],
)
def test_locations_are_put_into_the_clients_words(rewrite: Any, sent: str, got: str) -> None:
    guarded = proxy(rewrite=rewrite, rewrite_responses=True)
    guarded.get("https://a.example/api/x").returns(302, {"Location": sent}).gets(location=got)


@pytest.mark.parametrize(
    ("rewrite", "sent", "got"),
    [
        (None, "a=1; Path=/x; Domain=a.example", "a=1; Path=/x; Domain=a.example"),
        (None, "a=1; Domain=.example; Secure", "a=1; Domain=.example; Secure"),
        (None, "a=1; Domain=origin.internal; Secure", "a=1; Secure"),
        (STRIP, "a=1; Path=/", "a=1; Path=/api"),
        (STRIP, "a=1; path=/x", "a=1; Path=/api/x"),
        (ADD, "a=1; Path=/app/x", "a=1; Path=/x"),
        (ADD, "a=1; Path=/", "a=1; Path=/"),
        (STRIP, "__Host-a=1; Path=/; Secure", "__Host-a=1; Path=/; Secure"),
    ],
)
def test_cookies_keep_to_the_clients_host_and_paths(rewrite: Any, sent: str, got: str) -> None:
    guarded = proxy(rewrite=rewrite, rewrite_responses=True)
    guarded.get("https://a.example/api/x").returns(200, {"Set-Cookie": sent}).gets(set_cookie=got)


def test_a_literal_host_is_one_of_the_servers_names() -> None:
    guarded = proxy(host="shop.internal", rewrite_responses=True)
    guarded.get("https://a.example/").returns(302, {"Location": "http://shop.internal/x"}).gets(
        location="https://a.example/x"
    )


def test_locations_stay_where_nothing_says_otherwise() -> None:
    url = "http://origin.internal:3000/x"
    proxy().get("https://a.example/").returns(302, {"Location": url}).gets(location=url)

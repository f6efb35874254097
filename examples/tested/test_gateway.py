"""What gateway.toml does with a request, in plain pytest: no sockets, no servers, a few milliseconds for each.

pytest examples/tested

It is the proxy itself that is asked, whole. When a check fails, its message is the trace of reasons: what was
chosen, what was passed over, and why.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from proxycore.testing.proxy import Proxy


@pytest.fixture
def proxy() -> Proxy:
    return Proxy.from_toml(Path(__file__).with_name("gateway.toml").read_text())


def test_the_api_gets_its_own_paths(proxy: Proxy) -> None:
    proxy.get("https://api.example.com/api/users?page=2").takes_route("api").goes_to("api", path="/users?page=2")
    proxy.get("https://api.example.com/apis").goes_to("site")
    proxy.get("https://example.com/api/users").goes_to("site")


def test_servers_of_the_api_take_turns(proxy: Proxy) -> None:
    for server in ("http://10.0.0.1:8080", "http://10.0.0.2:8080", "http://10.0.0.1:8080"):
        proxy.get("https://api.example.com/api/users").goes_to("api", server=server)


def test_plain_http_is_sent_to_https(proxy: Proxy) -> None:
    proxy.get("http://example.com/page?a=1").is_redirected_to("https://example.com/page?a=1", status=308)
    proxy.get("http://example.com/healthz").is_answered(200, body="ok\n")


@pytest.mark.parametrize("path", ["/admin/users", "//admin/users", "/%61dmin/users", "/x/../admin", "/api/admin"])
def test_outsiders_see_no_admin_however_they_spell_it(proxy: Proxy, path: str) -> None:
    assert proxy.get(f"https://api.example.com{path}").status in (400, 404)
    proxy.get("https://api.example.com/admin/users", client_ip="10.1.2.3").goes_to("site")


def test_headers_that_we_add_and_take(proxy: Proxy) -> None:
    sent = proxy.get("https://api.example.com/api/x", headers={"X-Debug": "1", "X-Forwarded-For": "1.2.3.4"})
    sent.sends(x_debug=None)
    sent.returns(200, {"Server": "thing/1.0"}, b"hello").is_answered(200, body="hello").gets(server=None)


def test_the_site_is_asked_by_its_own_name(proxy: Proxy) -> None:
    proxy.get("https://www.example.com/").goes_to("site", host="site.internal:3000", path="/")


def test_hosts_that_we_dont_know_are_refused(proxy: Proxy) -> None:
    proxy.get("https://other.example/").is_refused(404, rule="route")


def test_a_dead_server_is_passed_over(proxy: Proxy) -> None:
    proxy.refusing.add(("10.0.0.1", 8080))
    proxy.get("https://api.example.com/api/x").goes_to("api", server="http://10.0.0.2:8080")
    proxy.refusing.add(("10.0.0.2", 8080))
    proxy.get("https://api.example.com/api/x").is_answered(502).gets(proxy_status="proxycore; error=connection_refused")

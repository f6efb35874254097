"""The dashboard as a person sees it: headless Chromium, real traffic."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from proxycore.config import Admin, Config, from_dict
from tests.documentation.pages import free_port
from tests.program.browser import Browser
from tests.program.programs import PATIENCE, Origin, get
from tests.program.test_admin import ACTION, clients, config_for, url_of
from tests.sockets.served import serving

TAB, ENTER, ESCAPE = "\ue004", "\ue007", "\ue00c"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def origins() -> Iterator[list[Origin]]:
    with Origin() as first, Origin() as second:
        yield [first, second]


def test_it_shows_traffic_live(browser: Browser, origins: list[Origin]) -> None:
    with serving("asyncio", config_for(origins)) as served:
        assert served.server.dashboard is not None
        browser.open(url_of(served.server.dashboard))
        browser.wait_for_text("#state", "serving")
        browser.wait_for_text("#failures + .empty", "Nothing has failed")
        for _ in range(6):
            get(f"{url_of(served.server)}/x")
        get(f"{url_of(served.server)}/bad")
        browser.wait_for_text("#tiles", r"Since start\s+7\b")
        browser.wait_for_text("#routes", r"rest\s+everything\s+upstream api\s+6\s+0 %")
        browser.wait_for_text("#failures", r"GET /bad\s+500")
        browser.wait_for_text("#upstream-list", "round_robin · 2 of 2 up")
        assert browser.run("return document.querySelectorAll('#plot-requests .line').length") == 2
        assert browser.log() == []


def test_a_server_is_drained_by_keyboard_and_enabled_by_mouse(browser: Browser, origins: list[Origin]) -> None:
    with serving("asyncio", config_for(origins)) as served:
        admin = clients(served)[1]
        assert served.server.dashboard is not None
        browser.open(url_of(served.server.dashboard))
        browser.wait_for_text("#upstream-list", "2 of 2 up")
        browser.run("document.querySelector('[aria-label=\"Drain s0 of api\"]').focus()")
        browser.press(ENTER)
        assert "Drain s0 of api?" in browser.text("#confirm")
        browser.press(ENTER)  # the first button, which has the focus, is the one that does nothing
        assert admin.status()["upstreams"][0]["servers"][0]["state"] == "up"
        browser.press(ENTER + ESCAPE + ENTER)
        browser.press(TAB + ENTER)
        browser.wait_for_text("#upstream-list tbody tr", "drained")
        browser.click("[aria-label='Enable s0 of api']")
        browser.click("#confirm-yes")
        browser.wait_for_text("#upstream-list tbody tr", r"\bup\b")
        browser.wait_for_text("#told", "Done: s0 of api is enabled")
        assert browser.run("return document.activeElement.ariaLabel") == "Drain s0 of api"
        browser.press(ENTER)
        admin.ask(
            "PATCH", "/api/v1/upstreams/api/servers/s0", {"mode": "drained"}, **ACTION
        )  # by somebody else meanwhile
        browser.wait_for_text("#upstream-list tbody tr", "drained")
        browser.press(ESCAPE)
        assert browser.run("return document.activeElement.ariaLabel") == "Disable s0 of api"


def guarded(origins: list[Origin]) -> Config:
    """One route with a cache, one with a limit, one with the firewall."""
    own = {"body": "ours"}
    return from_dict(
        {
            "admin": {"bind": "127.0.0.1:0"},
            "listeners": [{"name": "web", "bind": "127.0.0.1:0"}],
            "upstreams": {"api": {"servers": [{"name": "s0", "url": origins[0].url}]}},
            "caches": {"main": {"size": "1MiB", "object_max": "64KiB"}},
            "rate_limits": {"few": {"key": "client_ip", "rate": "1/h", "burst": 1}},
            "routes": [
                {"match": {"path": "/stored"}, "upstream": "api", "cache": {"store": "main", "valid": {200: "1m"}}},
                {"match": {"path": "/few"}, "rate_limits": ["few"], "respond": own},
                {"waf": {"mode": "block"}, "respond": own},
            ],
        }
    )


def test_it_shows_caches_limits_and_the_firewall_and_purges(browser: Browser, origins: list[Origin]) -> None:
    with serving("asyncio", guarded(origins)) as served:
        assert served.server.dashboard is not None
        browser.open(url_of(served.server.dashboard))
        browser.wait_for_text("#rules + .empty", "No rule has found anything")
        url = url_of(served.server)
        for _ in range(4):
            get(f"{url}/stored")
            get(f"{url}/few")
        clients(served)[0].ask("GET", "/?q=%3Cscript%3Ealert(1)%3C/script%3E")
        browser.wait_for_text("#caches", r"main\s+75 %\s+[\d.]+ KiB of 1 MiB\s+1\s+3\s")
        browser.wait_for_text("#limits", r"few\s+requests\s+3\s+0\s+1 of")
        browser.wait_for_text("#rules", r"94\d+\s+.*\s+1\s+1\b")
        browser.wait_for_text("#causes", r"refused\s+rate_limits.few\s+3")
        browser.click("#purge")
        browser.run("document.querySelector('#confirm select').value = 'prefix'")
        browser.press(TAB)
        browser.press(f"{url}/sto{ENTER}")
        browser.wait_for_text("#told", "Purged: 1")
        browser.wait_for_text("#caches", r"of 1 MiB\s+0\s+3\s")
        assert browser.log() == []


def test_a_weight_is_asked_for_and_held_to_its_bounds(browser: Browser, origins: list[Origin]) -> None:
    with serving("asyncio", config_for(origins)) as served:
        assert served.server.dashboard is not None
        browser.open(url_of(served.server.dashboard))
        browser.wait_for_text("#upstream-list", "2 of 2 up")
        browser.click("[aria-label='Weight s1 of api']")
        browser.press("4")  # instead of what stands there
        assert browser.run("return document.querySelector('#confirm input').value") == "4"
        browser.run("document.querySelector('#confirm input').value = 70000")
        browser.click("#confirm-yes")
        assert browser.run("return document.querySelector('#confirm').open")
        browser.run("document.querySelector('#confirm input').value = 5")
        browser.click("#confirm-yes")
        browser.wait_for_text("#upstream-list tbody tr:nth-child(2)", r"up\s+5\s")


CROWDED_HEADINGS = """
const edges = (one) => {
  const text = document.createRange();
  text.selectNodeContents(one);
  return text.getBoundingClientRect();
};
const headings = [...document.querySelectorAll('.servers th')];
return headings.slice(1).filter((one, n) => one.textContent && edges(one).left - edges(headings[n]).right < 8)
  .map((one) => one.textContent);
"""


def test_headings_of_servers_stand_apart(browser: Browser, origins: list[Origin]) -> None:
    with serving("asyncio", config_for(origins)) as served:
        assert served.server.dashboard is not None
        browser.open(url_of(served.server.dashboard))
        browser.wait_for_text("#upstream-list", "2 of 2 up")
        assert browser.run(CROWDED_HEADINGS) == []


def test_a_hostile_target_is_shown_and_never_run(browser: Browser, origins: list[Origin]) -> None:
    hostile = "/bad?<img/src=x/onerror=document.title='run'>"
    with serving("asyncio", config_for(origins)) as served:
        assert served.server.dashboard is not None
        browser.open(url_of(served.server.dashboard))
        browser.wait_for_text("#upstream-list", "2 of 2 up")
        before = browser.run("return document.title")
        assert clients(served)[0].ask("GET", hostile)[0] == 500
        assert hostile in browser.wait_for_text("#failures", "onerror=")
        assert browser.run("return document.querySelectorAll('#failures img').length") == 0
        assert browser.run("return document.title") == before
        assert browser.log() == []


def test_a_failure_is_explained_and_stays_where_it_is_meanwhile(browser: Browser, origins: list[Origin]) -> None:
    with serving("asyncio", config_for(origins)) as served:
        assert served.server.dashboard is not None
        browser.open(url_of(served.server.dashboard))
        get(f"{url_of(served.server)}/bad")
        browser.wait_for_text("#failures", "GET /bad")
        browser.run("document.querySelector('[aria-label=\"Explain GET /bad\"]').focus()")
        clients(served)[0].ask("GET", "/bad?later")
        browser.wait_for_text("#tiles", r"Since start\s+2\b")
        assert "later" not in browser.text("#failures")
        browser.press(ENTER)
        browser.wait_for_text("#explained", r"GET http://127.0.0.1:\d+/bad\s+Asked again, it was answered 500")
        assert "matched bad" in browser.text("#steps")
        browser.press(ENTER)
        assert browser.run("return document.activeElement.ariaLabel") == "Explain GET /bad"
        browser.press(TAB)
        browser.wait_for_text("#failures", "later")
        assert browser.log() == []


class Refusal(BaseHTTPRequestHandler):
    """What a proxy before ours says while ours starts again."""

    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_it_tells_when_the_proxy_is_gone_and_finds_it_again(browser: Browser, origins: list[Origin]) -> None:
    # One that the kernel gives to nobody else while nobody listens there.
    port = free_port()
    config = replace(config_for(origins), admin=Admin(bind=f"127.0.0.1:{port}"))
    with serving("asyncio", config):
        browser.open(f"http://127.0.0.1:{port}")
        browser.wait_for_text("#state", "serving")
        browser.run("silenceMax = 500")
    browser.wait_for_text("#state", "no connection")
    with HTTPServer(("127.0.0.1", port), Refusal) as refusing:
        refusing.timeout = PATIENCE
        refusing.handle_request()  # a refusal is final to an EventSource
    with serving("asyncio", config):
        browser.wait_for_text("#state", "serving")


def test_it_tells_when_the_proxy_hangs(browser: Browser, origins: list[Origin]) -> None:
    with serving("asyncio", config_for(origins)) as served:
        assert served.server.dashboard is not None
        browser.open(url_of(served.server.dashboard))
        browser.wait_for_text("#state", "serving")
        browser.run("silenceMax = 1500; hope()")
        goes_on = threading.Event()
        served.post(goes_on.wait)
        try:
            browser.wait_for_text("#state", "no news")
        finally:
            goes_on.set()
        browser.wait_for_text("#state", "serving")


EVERY_STOP = """
const stops = [...document.querySelectorAll('a[href], button, input, select, [tabindex="0"]')];
return stops.filter((stop) => stop.offsetParent && !stop.hidden)
  .map((stop) => stop.ariaLabel || stop.textContent.trim());
"""


def test_every_control_has_a_name_is_reached_by_tab_and_shows_it(browser: Browser, origins: list[Origin]) -> None:
    with serving("asyncio", config_for(origins)) as served:
        assert served.server.dashboard is not None
        browser.open(url_of(served.server.dashboard))
        browser.wait_for_text("#upstream-list", "2 of 2 up")
        stops = browser.run(EVERY_STOP)
        assert all(stops)
        reached = []
        for _ in stops:
            browser.press(TAB)
            focused = "const one = document.activeElement; return "
            reached.append(browser.run(f"{focused}one.ariaLabel || one.textContent.trim()"))
            assert browser.run(f"{focused}getComputedStyle(one).outlineStyle") == "solid"
        assert reached == stops


def test_nothing_is_wider_than_a_phone_and_all_of_it_is_dark_where_that_is_wanted(origins: list[Origin]) -> None:
    config = config_for(origins)
    config = replace(config, routes=[replace(route, name=f"{route.name}-{'r' * 80}") for route in config.routes])
    with serving("asyncio", config) as served, Browser(width=390, height=800, dark=True) as phone:
        assert served.server.dashboard is not None
        phone.open(url_of(served.server.dashboard))
        clients(served)[0].ask("GET", f"/bad?{'long' * 100}")
        phone.wait_for_text("#failures", "longlong")
        width, page = phone.run("return [window.innerWidth, document.documentElement.scrollWidth]")
        assert page <= width
        scrollers = (
            "return [...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth)"
        )
        assert phone.run(f"{scrollers}.length") == 0
        (ground,) = phone.run("return [getComputedStyle(document.body).backgroundColor]")
        assert sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) < 128

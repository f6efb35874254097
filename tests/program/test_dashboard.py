"""The dashboard as a person sees it: headless Chromium, real traffic."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.program.browser import Browser
from tests.program.programs import Origin, get
from tests.program.test_admin import clients, config_for, url_of
from tests.sockets.served import serving

TAB, ENTER = "\ue004", "\ue007"


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
        assert browser.run("return document.querySelectorAll('#plot-requests polyline').length") == 2
        assert browser.log() == []


def test_a_server_is_drained_by_keyboard_and_enabled_by_mouse(browser: Browser, origins: list[Origin]) -> None:
    with serving("asyncio", config_for(origins)) as served:
        admin = clients(served)[1]
        assert served.server.dashboard is not None
        browser.open(url_of(served.server.dashboard))
        browser.wait_for_text("#upstream-list", "2 of 2 up")
        browser.run("document.querySelector('[aria-label=\"Drain s0\"]').focus()")
        browser.press(ENTER)
        assert "Drain s0?" in browser.text("#confirm")
        browser.press(ENTER)  # the first button, which has the focus, is the one that does nothing
        assert admin.status()["upstreams"][0]["servers"][0]["state"] == "up"
        browser.press(ENTER)
        browser.press(TAB + ENTER)
        browser.wait_for_text("#upstream-list tbody tr", "drained")
        browser.click("[aria-label='Enable s0']")
        browser.click("#confirm-yes")
        browser.wait_for_text("#upstream-list tbody tr", r"\bup\b")
        browser.wait_for_text("#told", "Done")
        assert browser.run("return document.activeElement.ariaLabel") == "Drain s0"


def test_it_tells_when_the_proxy_is_gone(browser: Browser, origins: list[Origin]) -> None:
    with serving("asyncio", config_for(origins)) as served:
        assert served.server.dashboard is not None
        browser.open(url_of(served.server.dashboard))
        browser.wait_for_text("#state", "serving")
    browser.wait_for_text("#state", "no connection")


def test_nothing_is_wider_than_a_phone(origins: list[Origin]) -> None:
    with serving("asyncio", config_for(origins)) as served, Browser(width=390, height=800) as phone:
        assert served.server.dashboard is not None
        phone.open(url_of(served.server.dashboard))
        phone.wait_for_text("#upstream-list", "2 of 2 up")
        width, page = phone.run("return [window.innerWidth, document.documentElement.scrollWidth]")
        assert page <= width

"""Headless Chromium by its driver, over the WebDriver protocol: what tests need of it."""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import subprocess
import time
from types import TracebackType
from typing import Any

import pytest

PATIENCE = 20.0
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window. Elements are found by CSS selectors; what is asked for is waited for."""

    def __init__(self, *, width: int = 1180, height: int = 1000, dark: bool = False) -> None:
        self._driver_program = shutil.which("chromedriver")
        self._chromium = shutil.which("chromium") or shutil.which("google-chrome")
        if self._driver_program is None or self._chromium is None:
            pytest.skip("there is no chromium, or no chromedriver")
        self._options = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            f"--window-size={width},{height}", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        ]  # fmt: skip

    def __enter__(self) -> Browser:
        assert self._driver_program is not None
        self._driver = subprocess.Popen(
            [self._driver_program, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                self._port = int(found[1])
                break
        options = {"binary": self._chromium, "args": self._options}
        wanted = {"alwaysMatch": {"acceptInsecureCerts": True, "goog:chromeOptions": options}}
        self._session = ""
        self._session = self._ask("POST", "/session", {"capabilities": wanted})["sessionId"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._session:
                self._ask("DELETE", "", None)
        finally:
            self._driver.kill()
            self._driver.wait()
            assert self._driver.stdout is not None
            self._driver.stdout.close()

    def open(self, url: str) -> None:
        """Leave the page that is open, and what it said, for another."""
        self._ask("POST", "/url", {"url": "about:blank"})
        self.log()
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function of this body returns in the page."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def wait_for_text(self, selector: str, pattern: str) -> str:
        """Wait until the text of the element matches."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, text := self.text(selector)):
            assert time.monotonic() < deadline, f"{selector} shows {text!r}, not {pattern!r}"
            time.sleep(0.1)
        return text

    def click(self, selector: str) -> None:
        element = self._ask("POST", "/element", {"using": "css selector", "value": selector})[_ELEMENT]
        self._ask("POST", f"/element/{element}/click", {})

    def press(self, keys: str) -> None:
        """Keys, to what has the focus."""
        actions = [a for key in keys for a in ({"type": "keyDown", "value": key}, {"type": "keyUp", "value": key})]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def screenshot(self) -> bytes:
        return base64.b64decode(self._ask("GET", "/screenshot", None))

    def log(self) -> list[str]:
        """What the page's console said of errors since the last time."""
        entries = self._ask("POST", "/se/log", {"type": "browser"})
        return [str(entry["message"]) for entry in entries if entry["level"] == "SEVERE"]

    def _ask(self, method: str, path: str, content: Any) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE * 2)
        try:
            session = f"/session/{self._session}" if self._session else ""
            connection.request(method, session + path, None if content is None else json.dumps(content))
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise RuntimeError(f"{method} {path}: {value['error']}: {value['message']}")
        return value

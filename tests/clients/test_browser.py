"""A page in headless Chromium: over https, with HTTP/2, a stream that it reads as it comes, and a WebSocket."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.certificates import leaf
from tests.conformance.echoes import websocket_echo
from tests.conformance.origins import Line, origin, response
from tests.examples.started import Started

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium or chromedriver is not installed"),
    pytest.mark.timeout(120),
]

PAGE = b"<!doctype html><title>a page</title><p>loaded</p>"

SCRIPT = """
const done = arguments[arguments.length - 1];

async function stream() {
    const reader = (await fetch('/events')).body.getReader();
    const heard = [];
    for (;;) {
        const piece = await reader.read();
        if (piece.done) return heard;
        heard.push(new TextDecoder().decode(piece.value));
        await fetch('/go-on');  // the next piece is sent only now
    }
}

function talk() {
    return new Promise((resolve) => {
        const heard = [];
        const socket = new WebSocket('wss://' + location.host + '/ws');
        socket.onopen = () => socket.send('hello');
        socket.onmessage = (event) => {
            heard.push(event.data);
            if (heard.length == 1) socket.send('x'.repeat(70000));
            else socket.close(4000, 'enough');
        };
        socket.onclose = (event) => resolve({
            heard: [heard[0], heard[1] && heard[1].length],
            extensions: socket.extensions, code: event.code, clean: event.wasClean,
        });
    });
}

Promise.all([stream(), talk()]).then(([events, websocket]) => done({
    protocols: performance.getEntries().filter((entry) => entry.nextHopProtocol).map((entry) => entry.nextHopProtocol),
    title: document.title, events, websocket,
}), (error) => done({ error: String(error) }));
"""

CONFIGURATION = """
[logging]
access = "off"

[[listeners]]
name = "web"
bind = "127.0.0.1:0"
protocols = ["h2", "http/1.1"]

[listeners.tls]
certificates = [{{ certificate = "web.crt", key = "web.key" }}]

[upstreams.web]
servers = ["{web}"]

[upstreams.talk]
servers = ["{talk}"]

[[routes]]
match = {{ path = "/ws" }}
upstream = "talk"
{websocket}

[[routes]]
upstream = "web"
"""

MESSAGES = 'websocket = { max_message = "1MiB", ping_interval = "30s" }'


class Site:
    """A page, and a stream whose next piece is sent when the one before was read."""

    def __init__(self) -> None:
        self._go_on = threading.Event()

    def __call__(self, line: Line) -> None:
        while True:
            target = line.message()[0].split(b" ")[1]
            if target == b"/events":
                self._send_events(line)
            elif target == b"/go-on":
                self._go_on.set()
                line.send(response())
            else:
                line.send(response(PAGE, b"Content-Type: text/html"))

    def _send_events(self, line: Line) -> None:
        line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            self._go_on.clear()
            line.send(b"5\r\nnews%d\r\n" % number)
            assert self._go_on.wait(30)
        line.send(b"0\r\n\r\n")


@contextlib.contextmanager
def proxied(folder: Path, web: str, talk: str, websocket: str) -> Iterator[str]:
    """The program, with a certificate of the tests' own authority. Its address."""
    certificate = leaf("localhost")
    (folder / "web.key").write_bytes(certificate.private_key_pem.bytes())
    (folder / "web.crt").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    (folder / "proxycore.toml").write_text(CONFIGURATION.format(web=web, talk=talk, websocket=websocket))
    command = [sys.executable, "-m", "proxycore", "serve", str(folder / "proxycore.toml")]
    with Started(command, cwd=folder) as program:
        port = program.wait_for(r"https?://127\.0\.0\.1:(\d+)")[1]
        yield f"https://localhost:{port}"
        program.stop()


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Any]:
    """Chromium, without a window: `ask(method, path, **body)` speaks WebDriver with it."""
    assert DRIVER is not None
    with Started([DRIVER, "--port=0"]) as driver:
        port = driver.wait_for(r"successfully on port (\d+)")[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:

            def ask(method: str, path: str, **body: Any) -> Any:
                answer = http.request(method, path, json=body if method == "POST" else None).json()["value"]
                assert not (isinstance(answer, dict) and "error" in answer), answer
                return answer

            arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
            options = {"binary": CHROMIUM, "args": arguments}
            wanted = {"acceptInsecureCerts": True, "goog:chromeOptions": options}
            session = ask("POST", "/session", capabilities={"alwaysMatch": wanted})["sessionId"]
            try:
                yield lambda method, path, **body: ask(method, f"/session/{session}{path}", **body)
            finally:
                ask("DELETE", f"/session/{session}")


def test_a_page_over_https(tmp_path: Path) -> None:
    with origin(Site()) as site, websocket_echo() as talk, browser(tmp_path) as ask:
        for websocket in ("", MESSAGES):
            with proxied(tmp_path, site.url, talk, websocket) as url:
                ask("POST", "/url", url=f"{url}/")
                found = ask("POST", "/execute/async", script=SCRIPT, args=[])
            assert found["title"] == "a page"
            assert found["events"] == ["news0", "news1", "news2"]
            assert set(found["protocols"]) == {"h2"}
            talked = found["websocket"]
            assert talked["heard"] == ["hello", 70_000]
            assert talked["extensions"].startswith("permessage-deflate")
            assert (talked["code"], talked["clean"]) == (4000, True)

"""Programs and libraries that people use, speaking HTTP/1.1 with us."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from proxycore.config import Config
from tests.conformance.origins import Line, answering, echoing, origin, response
from tests.conformance.proxies import Handle, soon

Run = Callable[..., AbstractContextManager[Handle]]
Configure = Callable[..., Config]

CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(not CURL, reason="curl is not installed")


@pytest.fixture(params=["httptools"])
def http1(request: pytest.FixtureRequest) -> str:
    """Which codec reads their heads is the corpus's matter."""
    name: str = request.param
    return name


def curl(*arguments: str) -> bytes:
    command = ["curl", "--http1.1", "--silent", "--show-error", "--max-time", "10", "--noproxy", "*", *arguments]
    return subprocess.run(command, capture_output=True, check=True, timeout=20).stdout


@needs_curl
def test_curl_asks_twice_on_one_connection(run: Run, configure: Configure) -> None:
    with origin(answering(response(b"hello\n"))) as o, run(configure(o.url)) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/"
        said = curl("--write-out", "%{http_version} %{http_code} %{num_connects}\n", url, url)
        assert said == b"hello\n1.1 200 1\nhello\n1.1 200 0\n"


@needs_curl
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
def test_curl_uploads_a_file(run: Run, configure: Configure, tmp_path: Path, chunked: bool) -> None:
    content = bytes(range(256)) * 8_000
    file = tmp_path / "upload"
    file.write_bytes(content)
    options = ["--header", "Transfer-Encoding: chunked"] if chunked else []

    def encouraging(line: Line) -> None:
        head = line.head()
        if b"expect: 100-continue" in head:  # as curl does with so large a content
            line.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        line.send(response(head + line.content(head)))

    with origin(encouraging) as o, run(configure(o.url)) as proxy:
        said = curl(*options, "--upload-file", str(file), f"http://127.0.0.1:{proxy.port}/x")
    head, _, echoed = said.partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /x HTTP/1.1\r\n")
    assert echoed == content


@needs_curl
def test_curl_asks_for_a_head(run: Run, configure: Configure) -> None:
    with origin(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")) as o, run(configure(o.url)) as proxy:
        said = curl("--head", f"http://127.0.0.1:{proxy.port}/")
        assert b"content-length: 1000\r\n" in said


@needs_curl
def test_curl_is_refused_a_tunnel(run: Run, configure: Configure) -> None:
    with origin(echoing) as o, run(configure(o.url)) as proxy:
        to = f"http://127.0.0.1:{proxy.port}"
        command = ["curl", "--silent", "--proxytunnel", "--proxy", to, "--noproxy", "", "--max-time", "10", o.url]
        assert subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 56
        assert soon(lambda: len(proxy.ended) == 1)
        assert proxy.ended[0].status == 405
        assert o.accepted == 0


def test_httpx_streams_both_ways(run: Run, configure: Configure) -> None:
    def pieces() -> Iterator[bytes]:
        for number in range(20):
            yield b"%d" % number * 10_000

    with origin(echoing) as o, run(configure(o.url)) as proxy:
        with httpx.Client(base_url=f"http://127.0.0.1:{proxy.port}", trust_env=False) as http:
            for _ in range(3):
                with http.stream("POST", "/x", content=pieces()) as answer:
                    said = b"".join(answer.iter_bytes())
                assert answer.http_version == "HTTP/1.1"
                assert said.endswith(b"".join(pieces()))
        assert soon(lambda: len(proxy.ended) == 3)
        assert len({one.client_port for one in proxy.ended}) == 1


def test_httpx_reads_events_as_they_come(run: Run, configure: Configure) -> None:
    go_on = threading.Event()

    def live(line: Line) -> None:
        line.head()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            line.send(b"9\r\ndata: %d\n\n\r\n" % number)
            assert go_on.wait(5)
            go_on.clear()
        line.send(b"0\r\n\r\n")

    heard = []
    with origin(live) as o, run(configure(o.url)) as proxy:
        with httpx.stream("GET", f"http://127.0.0.1:{proxy.port}/", trust_env=False) as answer:
            for data in answer.iter_bytes():
                heard.append(data)
                go_on.set()  # the next event is sent only now
    assert heard == [b"data: %d\n\n" % number for number in range(3)]

"""What the tests of the program share: a proxy in a process of its own, and an origin that can be held up."""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from proxycore.program.cli import main

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
"""Seconds after which what a test waits for won't come any more, on a machine that is slow."""

_PATHS = [str(ROOT), *(str(ROOT / "bindings" / name) for name in ("asyncio", "trio", "gevent"))]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(_PATHS), "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass
class Result:
    """How a run of the program ended, and what it wrote."""

    code: int
    output: str
    errors: str


def proxycore(*arguments: str, **environment: str) -> Result:
    """Run the program to its end in a process of its own, with further variables in its environment."""
    done = subprocess.run(
        [sys.executable, "-m", "proxycore", *arguments],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def call(*arguments: str) -> Result:
    """Run the program to its end in this process: for what serves nothing."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            code: Any = main(arguments)
        except SystemExit as end:
            code = end.code
    return Result(code, output.getvalue(), errors.getvalue())


class Origin:
    """Answers each request with its path; one for /held only after `release` is set, and it sets `arrived`."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.release = threading.Event()
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/held":
                    origin.arrived.set()
                    origin.release.wait(PATIENCE)
                body = self.path.encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Origin:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Program:
    """`proxycore serve`, or another script, until the block ends. What it says on standard error can be waited for."""

    def __init__(
        self,
        *arguments: str,
        script: Sequence[str] = ("-m", "proxycore", "serve"),
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._command = [sys.executable, *script, *arguments]
        # What it leaves when it is killed goes with this folder.
        self._folder = tempfile.TemporaryDirectory(prefix="program-", ignore_cleanup_errors=True)
        self._environment = {**ENVIRONMENT, "TMPDIR": self._folder.name, **(environment or {})}
        self._pass_fds = pass_fds
        self._said = ""
        self._news = threading.Condition()

    def __enter__(self) -> Program:
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            pass_fds=self._pass_fds,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        self._folder.cleanup()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self._said += line
                self._news.notify_all()

    @property
    def said(self) -> str:
        """All that it wrote to standard error so far."""
        return self._said

    def wait_for(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until it has said what matches so many times; the last match."""
        with self._news:
            found = self._news.wait_for(lambda: len(re.findall(pattern, self._said)) >= times, PATIENCE)
        assert found, f"{pattern!r} not in:\n{self._said}"
        return list(re.finditer(pattern, self._said))[times - 1]

    def address(self) -> str:
        """The url of its first listener, once it serves."""
        self.wait_for("Ctrl-C")
        return self.wait_for(r"http://127\.0\.0\.1:\d+")[0]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Wait for its end: the exit code, and what it wrote to standard output."""
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        return self.process.wait(PATIENCE), output


def get(url: str) -> tuple[int, str]:
    """Status and content of an answer, on a connection of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
    try:
        connection.request("GET", parts.path or "/", headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Request:
    """A request in a thread, under way while the test goes on."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._answer: tuple[int, str] | Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer = get(self._url)
        except (OSError, http.client.HTTPException) as error:
            self._answer = error

    def answer(self) -> tuple[int, str] | Exception | None:
        """What came of it."""
        self._thread.join(PATIENCE)
        return self._answer


def children(pid: int) -> list[int]:
    """The process ids of its children; where there is no /proc, none."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread or process does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)

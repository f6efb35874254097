"""A program in a process of its own, started and stopped as a person would."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
"""Seconds after which what a test waits for won't come any more, on a machine that is slow."""

_PATHS = [ROOT, *(ROOT / "bindings" / name for name in ("asyncio", "trio", "gevent"))]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, _PATHS)), "PYTHONUNBUFFERED": "1"}


class Started:
    """Runs `command` until the block ends. All that it says, on either stream, can be waited for."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path = ROOT, environment: Mapping[str, str] = ENVIRONMENT
    ) -> None:
        self._command = command
        self._cwd = cwd
        self._environment = environment
        self._said = ""
        self._news = threading.Condition()

    def __enter__(self) -> Started:
        self.process = subprocess.Popen(
            self._command,
            cwd=self._cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._said += line
                self._news.notify_all()

    @property
    def said(self) -> str:
        return self._said

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until what it said matches."""
        with self._news:
            self._news.wait_for(lambda: re.search(pattern, self._said), PATIENCE)
        match = re.search(pattern, self._said)
        assert match, f"{pattern!r} not in:\n{self._said}"
        return match

    def url(self, name: str = "listening") -> str:
        """The url that follows `name` in what it says."""
        return self.wait_for(rf"{name}\b.*?(http://127\.0\.0\.1:\d+)")[1]

    def stop(self, number: signal.Signals = signal.SIGINT) -> str:
        """Stop it, see that it ends well, and return all that it said."""
        self.process.send_signal(number)
        assert self.process.wait(PATIENCE) == 0, self._said
        self._listener.join(PATIENCE)
        return self._said


def example(name: str, *arguments: str) -> Started:
    """One of `examples/`."""
    return Started([sys.executable, f"examples/{name}.py", *arguments])


def ask(url: str, method: str = "GET", body: str | None = None, **fields: str) -> tuple[int, str]:
    """Status and content of an answer, on a connection of its own. `x_user` stands for `X-User`."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    try:
        connection.request(method, parts.path or "/", body, headers={"Connection": "close", **headers})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()

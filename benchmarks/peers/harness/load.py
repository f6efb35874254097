"""Load generators. Each call is bounded in time and returns plain numbers."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import processes
from harness.origin import APPS, SMALL


@dataclass(frozen=True)
class Burst:
    """What one bounded load did: requests that succeeded, and the rest as errors."""

    requests: int
    seconds: float
    bytes: int
    errors: int
    p50_ms: float
    p99_ms: float


def _run(argv: Sequence[str], core: int, timeout: float, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        processes.pinned(argv, core),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stdout[-300:]}")
    return done.stdout


def wrk(url: str, core: int, seconds: int, connections: int, *, close: bool = False, upload_bytes: int = 0) -> Burst:
    """HTTP/1.1 from one thread; `close` opens a connection for each request."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", str(APPS / "wrk_report.lua")]
    if close:
        argv += ["-H", "Connection: close"]
    output = _run([*argv, url], core, seconds + 30, {"BENCH_UPLOAD_BYTES": str(upload_bytes)})
    return Burst(**json.loads(output.partition("BENCH_JSON")[2]))


def h2load(url: str, core: int, seconds: int, connections: int, streams: int, scratch: Path) -> Burst:
    """HTTP/2 over TLS; the latencies come from h2load's own log of each request."""
    log = scratch / "h2load.log"
    argv = ["h2load", f"-c{connections}", f"-m{streams}", "-t1", f"-D{seconds}", f"--log-file={log}", url]
    output = _run(argv, core, seconds + 30)
    if "Application protocol: h2" not in output:
        raise RuntimeError("HTTP/2 was not negotiated")
    latencies = sorted(int(line.split()[2]) / 1000 for line in log.read_text().splitlines())
    log.unlink()
    succeeded, failed = (_number(pattern, output) for pattern in (r"status codes: (\d+) 2xx", r"(\d+) failed"))
    return Burst(succeeded, float(seconds), 0, failed, percentile(latencies, 50), percentile(latencies, 99))


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    if not found:
        raise RuntimeError(f"no {pattern!r} in the output: {text[-300:]}")
    return int(found[1])


def websocket(python: Path, port: int, core: int, seconds: int, connections: int, size: int) -> Burst:
    """Messages of `size` bytes, echoed, one in flight on each connection."""
    argv = [python, "-B", APPS / "websocket_client.py", port, connections, size, seconds]
    return Burst(**json.loads(_run([str(word) for word in argv], core, seconds + 30).splitlines()[-1]))


def percentile(ordered: Sequence[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


class IdleConnections:
    """Keep-alive connections that each made one request and now sit idle."""

    REQUEST = b"GET /small HTTP/1.1\r\nHost: bench.local\r\n\r\n"

    def __init__(self, port: int, count: int, seconds_at_most: float = 60.0) -> None:
        self.sockets: list[socket.socket] = []
        deadline = time.monotonic() + seconds_at_most
        while len(self.sockets) < count and time.monotonic() < deadline:
            connection = socket.create_connection(("127.0.0.1", port), 10)
            self.sockets.append(connection)
            self._one_request(connection)

    def _one_request(self, connection: socket.socket) -> None:
        connection.sendall(self.REQUEST)
        data = b""
        while SMALL.encode() not in data:
            more = connection.recv(65536)
            if not more:
                raise RuntimeError("closed after the first request instead of keeping alive")
            data += more

    def alive(self) -> int:
        """How many are still open on the proxy's side."""
        still_open = 0
        for connection in self.sockets:
            connection.setblocking(False)
            try:
                still_open += connection.recv(65536) != b""  # the last chunk of a chunked answer may wait here
            except BlockingIOError:
                still_open += 1
            except OSError:
                pass
        return still_open

    def close(self) -> None:
        for connection in self.sockets:
            connection.close()

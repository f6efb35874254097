"""What is measured. A scenario names its load, its path and what a proxy must be able to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness import load

Feature = Literal["http", "tls", "h2", "ws", "cache"]
Mode = Literal["plain", "tls", "cache"]


@dataclass(frozen=True)
class Bench:
    """Where the load runs, and with what."""

    scratch: Path
    load_core: int
    echo_python: Path | None


@dataclass(frozen=True)
class Scenario:
    """One kind of load. `needs` is what a proxy must do, `mode` how it is started."""

    name: str
    title: str
    needs: Feature = "http"
    mode: Mode = "plain"
    generator: Literal["wrk", "h2load", "websocket", "idle"] = "wrk"
    path: str = "/small"
    connections: int = 64
    close: bool = False
    upload_bytes: int = 0
    message_bytes: int = 64
    streams: int = 8
    megabytes: bool = False
    """Whether MB/s tell something here."""

    def burst(self, port: int, seconds: int, bench: Bench) -> load.Burst:
        """One bounded load on the proxy at `port`."""
        url = f"{'https' if self.mode == 'tls' else 'http'}://127.0.0.1:{port}{self.path}"
        match self.generator:
            case "h2load":
                return load.h2load(url, bench.load_core, seconds, self.connections, self.streams, bench.scratch)
            case "websocket" if bench.echo_python:
                return load.websocket(
                    bench.echo_python, port, bench.load_core, seconds, self.connections, self.message_bytes
                )
            case "wrk":
                return load.wrk(
                    url, bench.load_core, seconds, self.connections, close=self.close, upload_bytes=self.upload_bytes
                )
        raise RuntimeError(f"no load generator for {self.name}")


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("small", "GET 128 B JSON, keep-alive, 64 connections"),
        Scenario("one", "GET 128 B JSON, keep-alive, 1 connection (latency of one request)", connections=1),
        Scenario("medium", "GET 16 KiB, keep-alive, 64 connections", path="/medium", megabytes=True),
        Scenario("large", "GET 1 MiB, keep-alive, 16 connections", path="/large", connections=16, megabytes=True),
        Scenario("chunked", "GET 64 KiB chunked, keep-alive, 64 connections", path="/chunked", megabytes=True),
        Scenario("upload", "POST 64 KiB body, keep-alive, 64 connections", upload_bytes=65536, megabytes=True),
        Scenario("close", "GET 128 B JSON, new connection per request, 64 at a time", close=True),
        Scenario("tls", "GET 128 B JSON over TLS, keep-alive, 64 connections", needs="tls", mode="tls"),
        Scenario(
            "tls-close",
            "GET 128 B JSON, new TLS connection per request, 64 at a time",
            needs="tls",
            mode="tls",
            close=True,
        ),
        Scenario(
            "h2",
            "GET 128 B JSON over HTTP/2 and TLS, 8 connections x 8 streams",
            needs="h2",
            mode="tls",
            generator="h2load",
            connections=8,
        ),
        Scenario(
            "websocket",
            "64 B WebSocket echo, 64 connections, one message in flight on each",
            needs="ws",
            generator="websocket",
        ),
        Scenario(
            "cache",
            "GET 128 B JSON from the proxy's cache, keep-alive, 64 connections",
            needs="cache",
            mode="cache",
            path="/cached",
        ),
        Scenario("idle", "memory per idle keep-alive connection, 2,000 open", generator="idle", connections=2000),
    )
}

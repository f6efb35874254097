"""HTTP/2 over real sockets, with clients that others wrote: curl, h2load, httpx, and h2's own connection."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamEnded, StreamReset

from proxycore.config import Config, Limits, Listener, Route, Upstream
from proxycore.mechanisms.http2 import frames
from tests.conformance.conftest import Run
from tests.conformance.origins import LIMIT, Line, answering, client, echoing, origin, response
from tests.conformance.proxies import Handle, soon
from tests.http2.wire import OPENING, POST, SETTINGS_ACK, FrameReader, Got, data, head, ping

BODY = bytes(range(256)) * 8192  # 2 MiB


def config(*servers: str, **sections: object) -> Config:
    return Config(
        listeners=[Listener(name="web", bind="127.0.0.1:0", protocols=["http/1.1", "h2c"])],
        upstreams={"api": Upstream(servers=servers)},
        routes=[Route(match={"path": "/own"}, respond={"status": 200, "body": "ours"}), Route(upstream="api")],
        **sections,  # type: ignore[arg-type]
    )


def command(*words: str, **options: object) -> bytes:
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} isn't installed")
    ran = subprocess.run(words, capture_output=True, timeout=LIMIT, check=False, **options)  # type: ignore[call-overload]
    assert ran.returncode == 0, ran.stderr
    out: bytes = ran.stdout
    return out


def curl(proxy: Handle, path: str, *options: str, **more: object) -> bytes:
    url = f"http://127.0.0.1:{proxy.port}{path}"
    return command("curl", "-sS", "--http2-prior-knowledge", "--max-time", "8", *options, url, **more)


def test_curl_gets_and_posts(run: Run) -> None:
    with origin(echoing) as o, run(config(o.url)) as proxy:
        assert curl(proxy, "/own", "-w", "%{http_version} %{http_code}") == b"ours2 200"
        head, _, content = curl(proxy, "/x", "--data-binary", "@-", input=BODY).partition(b"\r\n\r\n")
        assert head.startswith(b"POST /x HTTP/1.1\r\n")
        assert b"via: 2 proxycore" in head
        assert content == BODY
        assert b"HTTP/2 200" in curl(proxy, "/own", "-I")
        assert soon(lambda: [ended.version for ended in proxy.ended] == [b"2"] * 3)


def test_a_trace_is_passed_on_or_begun_on_both_protocols(run: Run) -> None:
    valid = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with origin(echoing) as o, run(config(o.url, logging={"trace_context": True})) as proxy:
        for protocol in ("--http1.1", "--http2-prior-knowledge"):
            passed = curl(proxy, "/", protocol, "-H", f"traceparent: {valid.decode()}", "-H", "tracestate: a=1")
            assert (b"traceparent: " + valid in passed, b"tracestate: a=1" in passed) == (True, True)
            begun = curl(proxy, "/", protocol, "-H", "traceparent: 00-0-0-0", "-H", "tracestate: a=1")
            assert re.search(rb"traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-03\r\n", begun)
            assert b"tracestate" not in begun


def test_h2load_is_served_whole(run: Run) -> None:
    with origin(answering(response(b"x" * 128))) as o, run(config(o.url)) as proxy:
        said = command("h2load", "-n300", "-c3", "-m10", f"http://127.0.0.1:{proxy.port}/")
        assert b"300 succeeded, 0 failed" in said
        assert soon(lambda: len(proxy.ended) == 300)
        assert {ended.outcome.cause for ended in proxy.ended} == {"completed"}


def test_httpx_sends_and_reads_streams(run: Run) -> None:
    def pieces() -> Iterator[bytes]:
        for start in range(0, len(BODY), 50_000):
            yield BODY[start : start + 50_000]

    with origin(echoing) as o, run(config(o.url)) as proxy:
        base = f"http://127.0.0.1:{proxy.port}"
        with httpx.Client(http1=False, http2=True, base_url=base, timeout=LIMIT, trust_env=False) as client:
            answer = client.post("/x", content=pieces())
            assert answer.http_version == "HTTP/2"
            assert answer.content.endswith(BODY)
            assert [client.get("/own").text for _ in range(3)] == ["ours"] * 3
        assert soon(lambda: proxy.ledger().streams == 0)


class Http2Client:
    """h2's own client, on a blocking socket. It gives no credit back unless told."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
        self.h2 = H2Connection(H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(1 << 24)
        self._events: list[Event] = []
        self.flush()

    def flush(self) -> None:
        self._socket.sendall(self.h2.data_to_send())

    def ask(self, path: str, method: str = "GET", *, ends: bool = True) -> int:
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)]
        self.h2.send_headers(stream, fields, end_stream=ends)
        return stream

    def until(self, kind: type[Event], stream: int | None = None) -> list[Event]:
        """Events of `stream`, or of all, up to one of this kind."""
        self.flush()
        seen: list[Event] = []
        while True:
            while self._events:
                event = self._events.pop(0)
                if stream is None or getattr(event, "stream_id", stream) == stream:
                    seen.append(event)
                    if isinstance(event, kind):
                        return seen
            received = self._socket.recv(1 << 16)
            if not received:
                raise EOFError(seen)
            self._events += self.h2.receive_data(received)
            self.flush()

    def __enter__(self) -> Http2Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()


def content_of(events: list[Event]) -> bytes:
    return b"".join(event.data or b"" for event in events if isinstance(event, DataReceived))


def test_a_stream_that_is_not_read_stops_no_other(run: Run) -> None:
    def large_or_small(line: Line) -> None:
        while True:
            head, _ = line.message()
            line.send(response(BODY if b" /large " in head else b"small"))

    with origin(large_or_small) as o, run(config(o.url)) as proxy, Http2Client(proxy.port) as peer:
        large = peer.ask("/large")
        peer.until(ResponseReceived, large)
        for _ in range(5):
            small = peer.ask("/small")
            assert content_of(peer.until(StreamEnded, small)) == b"small"
        assert proxy.ledger().buffered < 600_000
        peer.h2.increment_flow_control_window(1 << 24, large)
        rest = peer.until(StreamEnded, large)
        assert hashlib.sha256(BODY).digest() != hashlib.sha256(content_of(rest)).digest()  # some came before
        assert BODY.endswith(content_of(rest))


def test_a_cut_response_is_a_reset(run: Run) -> None:
    def cutting(line: Line) -> None:
        line.message()
        line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")

    with origin(cutting) as o, run(config(o.url)) as proxy, Http2Client(proxy.port) as peer:
        events = peer.until(StreamReset, peer.ask("/"))
        assert content_of(events) == b"hello"
        assert not any(isinstance(event, StreamEnded) for event in events)


def test_rapid_resets_reach_few_servers(run: Run) -> None:
    with (
        origin(echoing) as o,
        run(config(o.url, limits=Limits(stream_resets="50/10s"))) as proxy,
        Http2Client(proxy.port) as peer,
    ):
        peer.until(Event)
        for _ in range(1000):
            peer.h2.reset_stream(peer.ask("/x"), error_code=8)
        goaway = peer.until(ConnectionTerminated)[-1]
        assert isinstance(goaway, ConnectionTerminated)
        assert goaway.error_code == 0xB
        assert len(proxy.ended) <= 60


CONTINUATIONS = frames.frame(frames.HEADERS, 0, 1) + frames.frame(frames.CONTINUATION, 0, 1) * 3000


@pytest.mark.parametrize(
    "flood",
    [ping() * 3000, frames.settings({}) * 3000, CONTINUATIONS],
    ids=["PING", "SETTINGS", "CONTINUATION"],
)
def test_a_flood_costs_its_connection_and_nobody_else(run: Run, flood: bytes) -> None:
    with run(config("http://127.0.0.1:1")) as proxy, Http2Client(proxy.port) as innocent:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=LIMIT) as attacker:
            attacker.sendall(OPENING + SETTINGS_ACK + flood)
            goaway = b""
            while frames.ENHANCE_YOUR_CALM.to_bytes(4, "big") not in goaway:
                received = attacker.recv(1 << 16)
                assert received, goaway
                goaway += received
            assert content_of(innocent.until(StreamEnded, innocent.ask("/own"))) == b"ours"
        assert proxy.faults == []


def test_a_drain_finishes_what_has_begun(run: Run) -> None:
    """In frames of our own: h2's client takes nothing any more once it has read a GOAWAY."""
    with origin(echoing) as o, run(config(o.url)) as proxy, client(proxy.port) as line:
        reader = FrameReader()

        def until(kind: int) -> Got:
            while True:
                for got in reader.feed(line.socket.recv(1 << 16)):
                    if got.kind == kind:
                        return got

        line.send(OPENING + SETTINGS_ACK + head(1, POST, ends=False) + ping())
        until(frames.PING)
        proxy.request_drain(5.0)
        asked = until(frames.PING)
        line.send(ping(asked.payload, ack=True) + data(1, b"late", ends=True))
        answer = until(frames.DATA)
        assert answer.payload.endswith(b"late")
        assert answer.ends
        assert line.to_end() == b""

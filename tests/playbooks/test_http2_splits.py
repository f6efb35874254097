"""Any split of the same bytes of HTTP/2 gives the same answers and outcomes, through the whole core."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxycore import Config, Core, Listener, Route, Upstream
from proxycore.mechanisms.http2 import frames
from proxycore.testing.far_reader import Data, End, FarReader
from proxycore.words.effects import Abort, Close, Connect, Send
from proxycore.words.notices import ExchangeEnded
from tests.http2.wire import GET, OPENING, POST, SETTINGS_ACK, FrameReader, data, head, ping

CONFIG = Config(
    listeners=[Listener(name="web", bind="192.0.2.10:80", protocols=["http/1.1", "h2c"])],
    upstreams={"api": Upstream(servers="http://10.0.0.1:8080")},
    routes=[Route(match={"path": "/own"}, respond={"status": 200, "body": "ours"}), Route(upstream="api")],
)
OWN = [*GET[:3], (b":path", b"/own")]
LENGTH = [*POST, (b"content-length", b"5")]


class Run:
    """A client that sends `inbound` in these pieces, and a server that echoes the content of whole requests."""

    def __init__(self, inbound: list[bytes]) -> None:
        self._core = Core(
            CONFIG, now=0.0, wall=1.8e9, seed=1, entropy=Random(1).randbytes, watch=("exchanges", "faults")
        )
        self._reader = FrameReader()
        self._facts: deque[tuple[Any, ...]] = deque()
        self._servers: dict[int, tuple[FarReader, bytearray]] = {}
        self._client = self._core.next_conn_id()
        self.answers: dict[int, list[object]] = {}
        self.outcomes: list[object] = []
        self.is_over = False
        self._tell("accepted", self._client, "web", ("192.0.2.1", 5), ("192.0.2.10", 80))
        for piece in inbound:
            if not self.is_over:
                self._tell("data_received", self._client, piece)

    def _tell(self, *fact: Any) -> None:
        self._facts.append(fact)
        while self._facts:
            name, *values = self._facts.popleft()
            for effect in getattr(self._core, name)(*values, 0.0):
                self._perform(effect)
        for notice in self._core.take_notices(0.0):
            assert isinstance(notice, ExchangeEnded), notice
            self.outcomes.append((notice.method, notice.target, notice.status, repr(notice.outcome), notice.received))

    def _perform(self, effect: object) -> None:
        if isinstance(effect, Connect):
            self._servers[effect.conn] = (FarReader("request"), bytearray())
            self._facts.append(("connected", effect.conn, ("192.0.2.10", 9), ("10.0.0.1", 8080)))
        elif isinstance(effect, Send) and effect.conn == self._client:
            for got in self._reader.feed(effect.data):
                self._note(got.stream, got.kind, got.fields, got.payload, got.ends)
        elif isinstance(effect, Send):
            self._serve(effect)
        elif isinstance(effect, Close | Abort):
            self.is_over = self.is_over or effect.conn == self._client
            self._facts.append(("connection_lost", effect.conn, None))

    def _note(self, stream: int, kind: int, fields: list[tuple[bytes, bytes]], payload: bytes, ends: bool) -> None:
        """Heads, contents put together, resets and ends; not how often a window was opened, nor pings."""
        answer = self.answers.setdefault(stream, [b""])
        if kind == frames.HEADERS:
            answer.append(fields)
        elif kind == frames.DATA:
            assert isinstance(answer[0], bytes)
            answer[0] += payload
        elif kind in (frames.RST_STREAM, frames.GOAWAY):
            answer.append((kind, payload))
        if ends:
            answer.append("end")

    def _serve(self, effect: Send) -> None:
        reader, content = self._servers[effect.conn]
        for event in reader.feed(effect.data):
            if isinstance(event, Data):
                content += event.data
            elif isinstance(event, End):
                answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), bytes(content))
                content.clear()
                self._facts.append(("data_received", effect.conn, answer))

    @property
    def result(self) -> object:
        answers = {stream: answer for stream, answer in self.answers.items() if answer != [b""]}
        return answers, sorted(map(repr, self.outcomes))


FRAMES = [
    head(1, OWN), head(3), head(5, POST, ends=False), data(5, b"abc"), frames.window_update(0, 100),
    head(7, LENGTH, ends=False), data(5, b"def", ends=True), data(7, b"123456"), data(7, b"12345", ends=True),
    head(9, GET[:2]), ping(), head(11, [*OWN, (b"connection", b"x")]), head(13, [*OWN, (b"cookie", b"a")]),
    head(15, [(b":method", b"CONNECT"), GET[2]]), head(17), frames.goaway(0, 0),
]  # fmt: skip
"""In this order, with any streams left out, nothing depends on what has been answered when the next frame comes."""

STREAMS = st.sets(st.sampled_from(range(1, 18, 2)))


@given(STREAMS, st.data())
@example(set(range(1, 18, 2)), None)
@settings(max_examples=60)
def test_pieces_of_streams_do_not_matter(streams: set[int], drawn: st.DataObject | None) -> None:
    sent = [frame for frame in FRAMES if int.from_bytes(frame[5:9], "big") in {0, *streams}]
    inbound = OPENING + SETTINGS_ACK + b"".join(sent)
    whole = Run([inbound])
    assert Run([inbound[at : at + 1] for at in range(len(inbound))]).result == whole.result
    if drawn is not None:
        cuts = sorted(drawn.draw(st.lists(st.integers(0, len(inbound)), max_size=6)))
        pieces = [inbound[start:end] for start, end in zip([0, *cuts], [*cuts, len(inbound)], strict=True)]
        assert Run([piece for piece in pieces if piece]).result == whole.result

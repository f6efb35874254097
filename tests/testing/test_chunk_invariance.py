"""Any split of the same bytes gives the same heads, contents and outcomes, through the whole core, invalid bytes too.

What was cut may have come further in one run than in another, since nothing is held back to make them equal; it
may not differ as far as it came.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from proxycore import Config, Core, Listener, Route, Upstream
from proxycore.testing.far_reader import Data, End, FarReader, Head
from proxycore.testing.strategies import bad_requests, bad_responses, chunkings, requests, responses
from proxycore.testing.traffic import BAD_HEADS, BAD_REPLIES
from proxycore.words.effects import Abort, Close, Connect, Effect, Send, SendEof
from proxycore.words.notices import ExchangeEnded

CONFIG = Config(
    listeners=[Listener(name="web", bind="192.0.2.10:80", half_close="finish")],
    upstreams={"api": Upstream(servers="http://10.0.0.1:8080")},
    routes=[Route(match={"path": "/own"}, respond={"status": 200, "body": "ours"}), Route(upstream="api")],
)


class Collector:
    """What arrived on one side, framing taken away: heads as they are, contents joined, and how it ended."""

    def __init__(self, reader: FarReader) -> None:
        self.reader = reader
        self.messages: list[Any] = []
        self.whole = 0
        self.end = ""

    def feed(self, data: bytes) -> None:
        for event in self.reader.feed(data):
            if isinstance(event, Head):
                self.messages.append([event, b"", "cut"])
            elif isinstance(event, Data):
                self.messages[-1][1] += event.data
            else:
                assert isinstance(event, End)
                self.messages[-1][2] = event.trailers
                self.whole += 1


class Run:
    """One client that sends `inbound` in these pieces, and a server that answers each request with the next reply."""

    def __init__(self, inbound: list[bytes], replies: list[list[bytes]], methods: list[bytes]) -> None:
        self.core = Core(
            CONFIG, now=0.0, wall=1.8e9, seed=1, entropy=Random(1).randbytes, watch=("exchanges", "faults")
        )
        self.client = Collector(FarReader("response"))
        self.client.reader.methods.extend(methods)
        self.servers: list[Collector] = []
        self.outcomes: list[object] = []
        self._conns: dict[int, Collector] = {}
        self._replies = deque(replies)
        self._facts: deque[tuple[Any, ...]] = deque()
        conn = self.core.next_conn_id()
        self._conns[conn] = self.client
        self._tell("accepted", conn, "web", ("192.0.2.1", 5), ("192.0.2.10", 80))
        for piece in inbound:
            if self.client.end:
                break
            self._tell("data_received", conn, piece)
        self._answer()

    def _answer(self) -> None:
        """Let servers answer what they have got whole, until nothing moves."""
        answered: dict[int, int] = {}
        moved = True
        while moved:
            moved = False
            for conn, server in list(self._conns.items()):
                if server is self.client or server.end or server.whole <= answered.get(conn, 0) or not self._replies:
                    continue
                answered[conn] = answered.get(conn, 0) + 1
                moved = True
                for piece in self._replies.popleft():
                    if not server.end:
                        self._tell("data_received", conn, piece)

    def _tell(self, name: str, *arguments: Any) -> None:
        facts = self._facts
        facts.append((name, *arguments))
        while facts:
            fact, *values = facts.popleft()
            for effect in getattr(self.core, fact)(*values, 0.0):
                self._perform(effect)
        for notice in self.core.take_notices(0.0):
            assert isinstance(notice, ExchangeEnded), notice
            self.outcomes.append((notice.method, notice.target, notice.status, repr(notice.outcome), notice.received))

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Connect):
            server = self._conns[effect.conn] = Collector(FarReader("request"))
            self.servers.append(server)
            self._facts.append(("connected", effect.conn, ("192.0.2.10", 9), ("10.0.0.1", 8080)))
        elif isinstance(effect, Send):
            self._conns[effect.conn].feed(effect.data)
        elif isinstance(effect, SendEof):
            self._conns[effect.conn].end = "ended"
            for event in self._conns[effect.conn].reader.ended():
                assert isinstance(event, End)
                self._conns[effect.conn].messages[-1][2] = event.trailers
        elif isinstance(effect, Close | Abort):
            self._conns[effect.conn].end = self._conns[effect.conn].end or "closed"
            self._facts.append(("connection_lost", effect.conn, None))

    @property
    def result(self) -> object:
        """What must not depend on the pieces: all whole messages, and how each exchange and the client ended."""
        whole = [message for server in self.servers for message in server.messages if message[2] != "cut"]
        return whole, [m for m in self.client.messages if m[2] != "cut"], bool(self.client.end), self.outcomes

    @property
    def cut(self) -> list[Any]:
        """The head and content of what the client got in part."""
        return [message for message in self.client.messages if message[2] == "cut"]


def agree(one: Run, other: Run) -> None:
    assert one.result == other.result
    for (head, content, _), (other_head, other_content, _) in zip(one.cut, other.cut, strict=False):
        assert head == other_head
        assert content.startswith(other_content) or other_content.startswith(content)


inbounds = st.lists(requests(methods=("GET", "POST", "PUT", "DELETE")), min_size=1, max_size=3).map(b"".join)
anything_inbound = st.one_of(
    inbounds,
    st.tuples(inbounds, bad_requests()).map(b"".join),
    bad_requests(),
    st.tuples(inbounds, st.integers(0, 300)).map(lambda drawn: drawn[0][: drawn[1]]).filter(bool),
)
anything_outbound = st.lists(st.one_of(responses(), responses(), bad_responses()), min_size=4, max_size=4)


@given(st.data(), anything_inbound, anything_outbound)
@example(None, b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n", [])
@example(None, BAD_HEADS[3], [])
@example(None, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", [BAD_REPLIES[0]])
@example(
    None, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx"]
)
def test_pieces_do_not_matter(data: st.DataObject | None, inbound: bytes, outbound: list[bytes]) -> None:
    methods = [b"GET"] * 50
    whole = Run([inbound], [[reply] for reply in outbound], methods)
    bytewise = Run(
        [inbound[at : at + 1] for at in range(len(inbound))],
        [[reply[at : at + 1] for at in range(len(reply))] for reply in outbound],
        methods,
    )
    agree(bytewise, whole)
    if data is not None:
        drawn = Run(data.draw(chunkings(inbound)), [data.draw(chunkings(reply)) for reply in outbound], methods)
        agree(drawn, whole)

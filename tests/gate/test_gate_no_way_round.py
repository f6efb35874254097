"""No way leads round the guard: whatever the spelling, method, header or protocol, and as an upgrade too."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.config import Config, Limits, Listener, Match, Route, Upstream
from proxycore.config.materials import Materials
from proxycore.core import Core
from proxycore.policies.auth.passwords import api_key_digest
from proxycore.testing.far_reader import FarReader, Head
from proxycore.words.effects import Connect, Effect, Send
from proxycore.words.ids import ConnId
from tests.http2.wire import OPENING, head

CONFIG = Config(
    limits=Limits(requests_per_connection="off"),
    listeners=[Listener(name="web", bind="127.0.0.1:8080", protocols=["http/1.1", "h2c"])],
    upstreams={"api": Upstream(servers="http://127.0.0.1:3000", idle_connections=0)},
    api_keys={"partners": {"file": "keys", "header": "X-API-Key", "user_header": "X-User"}},
    routes=[
        Route(name="guarded", match=Match(path="/staff/*"), upstream="api", api_key="partners"),
        Route(name="open", upstream="api"),
    ],
)
MATERIALS = Materials(api_keys={"keys": {api_key_digest(b"right"): "partner"}})

PIECES = [
    b"/",
    b"staff",
    b"%73taff",
    b"STAFF",
    b"..",
    b".",
    b"%2e%2e",
    b"%2F",
    b";a=b",
    b"x",
    b"%5C",
    b"//",
    b"?",
    b"*",
]
TARGETS = st.lists(st.sampled_from(PIECES), max_size=7).map(lambda pieces: b"/" + b"".join(pieces))
WHOLE = st.sampled_from([b"http://a/staff/x", b"http://b/staff/x", b"staff/x", b"*", b"a:80", b"//a/staff"])
METHODS = st.sampled_from(
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"PROPFIND", b"get", b"X"]
)
UPGRADE = [
    (b"upgrade", b"websocket"),
    (b"connection", b"upgrade"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
]
H2C = [(b"upgrade", b"h2c"), (b"connection", b"upgrade, http2-settings"), (b"http2-settings", b"AAMAAABkAAQAAP__")]
TRICKS = [
    (b"x-user", b"root"),
    (b"x_user", b"root"),
    (b"x-api-key", b""),
    (b"x-api-key", b"wrong"),
    (b"connection", b"x-api-key"),
    (b"connection", b"close, x-user"),
    (b"x-original-url", b"/open"),
    (b"x-rewrite-url", b"/staff/x"),
    (b"x-http-method-override", b"GET"),
    (b"x-forwarded-for", b"127.0.0.1"),
    (b"x-forwarded-host", b"b"),
    (b"forwarded", b"for=127.0.0.1;proto=https"),
    (b"expect", b"100-continue"),
    (b"te", b"trailers"),
]
FIELDS = st.lists(st.sampled_from(TRICKS), max_size=4)


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class World:
    """A core and one client's connection, at a time that stands still."""

    def __init__(self) -> None:
        self.core = Core(CONFIG, MATERIALS, now=0.0, wall=0.0, seed=1, entropy=Random(1).randbytes)
        self.asked: list[Head] = []

    def send(self, data: bytes) -> list[Head]:
        """What the upstream is asked when a client connects and sends this."""
        client = self.core.next_conn_id()
        self.core.accepted(client, "web", ("192.0.2.1", 50_000), ("127.0.0.1", 8080), 1.0)
        asked = self._perform(self.core.data_received(client, data, 1.0))
        self._perform(self.core.connection_lost(client, None, 1.0))
        self.core.take_notices(1.0)
        return asked

    def _perform(self, effects: Sequence[Effect]) -> list[Head]:
        asked: list[Head] = []
        for effect in effects:
            if isinstance(effect, Connect):
                asked += self._dialled(effect.conn)
        return asked

    def _dialled(self, conn: ConnId) -> list[Head]:
        reader = FarReader("request")
        sent = [
            effect.data
            for effect in self.core.connected(conn, ("127.0.0.1", 1), ("127.0.0.1", 3000), 1.0)
            if isinstance(effect, Send) and effect.conn == conn
        ]
        asked = [event for event in reader.feed(b"".join(sent)) if isinstance(event, Head)]
        asked += self._perform(self.core.data_received(conn, ANSWER, 1.0))
        self.core.connection_lost(conn, None, 1.0)
        return asked


SHARED = World()


def reads_as_guarded(target: bytes) -> bool:
    """Whether some origin could take the target for one below /staff."""
    if target.startswith(b"http://"):
        target = b"/" + target[7:].partition(b"/")[2]
    path = target.partition(b"?")[0].lower()
    for code, character in ((b"%2f", b"/"), (b"%5c", b"/"), (b"%2e", b"."), (b"%73", b"s")):
        path = path.replace(code, character)
    parts: list[bytes] = []
    for part in path.split(b"/"):
        part = part.partition(b";")[0]
        if part == b"..":
            parts = parts[:-1]
        elif part not in (b"", b"."):
            parts.append(part)
    return parts[:1] == [b"staff"]


def check(asked: list[Head]) -> None:
    """Nothing that was asked is guarded, and the upstream is told of no identity."""
    for request in asked:
        assert not reads_as_guarded(request.start[1]), request
        assert request.get(b"x-user") is None, request


def http1(method: bytes, target: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: a", *(b"%b: %b" % field for field in fields)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def http2(method: bytes, target: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    pseudo = [(b":method", method), (b":scheme", b"http"), (b":authority", b"a"), (b":path", target)]
    return OPENING + head(1, [*pseudo, *fields])


def test_the_way_in_is_open_to_who_has_the_key() -> None:
    fields = [(b"x-api-key", b"right")]
    for request in (
        http1(b"GET", b"/staff/x", fields),
        http1(b"GET", b"/staff/x", [*UPGRADE, *fields]),
        http2(b"GET", b"/staff/x", fields),
    ):
        (asked,) = SHARED.send(request)
        assert (asked.start[1], asked.get(b"x-user")) == (b"/staff/x", b"partner")
    assert SHARED.send(http1(b"GET", b"/open", []))
    assert SHARED.send(http2(b"GET", b"/open", []))
    assert len(SHARED.send(http1(b"GET", b"/staff/x", fields) + http1(b"GET", b"/open", []))) == 2


@settings(max_examples=250, deadline=None)
@given(METHODS, TARGETS | WHOLE, FIELDS, st.sampled_from([[], UPGRADE, H2C]))
def test_no_request_of_http1_and_no_upgrade_gets_round_the_guard(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], upgrade: list[tuple[bytes, bytes]]
) -> None:
    check(SHARED.send(http1(method, target, [*upgrade, *fields])))


@settings(max_examples=250, deadline=None)
@given(METHODS, TARGETS | WHOLE, FIELDS, st.booleans())
def test_no_request_of_http2_gets_round_the_guard(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], extended: bool
) -> None:
    protocol = [(b":protocol", b"websocket")] if extended else []
    pseudo = [(b":method", method), (b":scheme", b"http"), (b":authority", b"a"), (b":path", target)]
    check(SHARED.send(OPENING + head(1, [*pseudo, *protocol, *fields])))


@settings(max_examples=100, deadline=None)
@given(TARGETS, METHODS, FIELDS)
def test_nothing_gets_in_behind_one_who_may(target: bytes, method: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    """A key that came with one request is no key for the next on the same connection."""
    first, *others = SHARED.send(http1(b"GET", b"/staff/x", [(b"x-api-key", b"right")]) + http1(method, target, fields))
    assert first.get(b"x-user") == b"partner"
    check(others)

"""What is asked and what is answered in a simulation: scenes, drawn from a seed.

A `Scene` is one request with the reply that an origin gives to it. Both players find it by its nonce, which
travels in the header `x-nonce` and in the query (so that notices have it too). Content is made from the
nonce and the position, so that a byte of another exchange, or of another place, is seen as such.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from proxycore.config import UNLIMITED
from proxycore.testing.far_websocket import accept_of, key_of

Fields = list[tuple[bytes, bytes]]

FEATURES = (
    # what requests and replies look like
    "content",
    "large",
    "chunked",
    "trailers",
    "expect",
    "head",
    "pipelining",
    "http10",
    "close",
    "upgrade",
    "empty",
    "until_close",
    "interim",
    "early",
    "excess",
    "slow_readers",
    "slow_writers",
    "local",
    # what goes wrong
    "leaving",
    "half_close",
    "deaf_clients",
    "bad_requests",
    "stalled_requests",
    "cut",
    "malformed",
    "silence",
    "deaths",
    "idle_closes",
    "resets",
    "outages",
    "dns",
    "files",
    # what an operator does
    "reload",
)
"""What a simulation may do. Each run has about half of them (swarm testing): rare things meet each other more often."""

FAULTS = frozenset(FEATURES[FEATURES.index("leaving") :])
"""Those that may cost a client its answer. The liveness phase has none of them."""


SENT_MAX = 300_000
"""Bytes of content that a client sends at most."""


def content(nonce: bytes, size: int) -> bytes:
    """`size` bytes that only this nonce has, and that differ from block to block."""
    filler = (b"." + nonce * (248 // len(nonce) + 1))[:248]
    return b"".join([b"%08x%b" % (block, filler) for block in range((size + 255) // 256)])[:size]


@dataclass(slots=True)
class Reply:
    """How an origin answers. `fault` is met by the first `faulty_tries` tries; later ones get the answer whole.

    Framing is `length`, `chunked`, `close` or `none` (a status without content). Faults: `cut` (in
    mid-content), `reset` (there, or before the head), `malformed`, `silence`, `death` (closed without an
    answer), `unasked_101`, `wrong_accept` (a WebSocket's 101 for another key).
    """

    status: int = 200
    size: int = 0
    framing: str = "length"
    fields: Fields = field(default_factory=list)
    trailers: Fields = field(default_factory=list)
    interim: tuple[int, ...] = ()
    delay: float = 0.0
    pieces: int = 1
    gap: float = 0.0
    is_early: bool = False
    closes: bool = False
    has_excess: bool = False
    fault: str = ""
    faulty_tries: int = 0
    kept: float = 1.0
    """Of a reply that is cut: how much of its content is sent."""


@dataclass(slots=True)
class Answer:
    """What a client got. `is_ours` says that an origin made it (it has the nonce), not the proxy."""

    status: int
    fields: Fields
    is_origins: bool
    size: int = 0
    trailers: Fields = field(default_factory=list)
    is_complete: bool = False


@dataclass(slots=True)
class Try:
    """A request as an origin got it."""

    at: float
    origin: str
    size: int = 0
    is_whole: bool = False
    is_answered: bool = False
    was_disturbed: bool = False


@dataclass(slots=True)
class Scene:
    """One request, what is planned for it, and what became of it."""

    nonce: bytes
    method: bytes
    path: bytes
    host: bytes
    reply: Reply
    version: bytes = b"1.1"
    size: int = 0
    framing: str = "none"
    fields: Fields = field(default_factory=list)
    trailers: Fields = field(default_factory=list)
    expects: bool = False
    upgrades: bool = False
    is_websocket: bool = False
    client_ends_first: bool = True
    closes: bool = False
    is_local: bool = False
    fault: str = ""
    """Of the request: `bad_head`, `too_long`, `slow_head`, `stalled`."""
    pieces: int = 1
    gap: float = 0.0
    is_strict: bool = False
    """Planned in a phase without faults."""

    sent_at: float = -1.0
    ended_at: float = -1.0
    is_sent_whole: bool = False
    answer: Answer | None = None
    interim: list[int] = field(default_factory=list)
    tries: list[Try] = field(default_factory=list)
    tunnel_up: int = 0
    tunnel_down: int = 0
    was_told: bool = False
    """The proxy said goodbye to its WebSocket's client."""
    excuses: dict[str, None] = field(default_factory=dict)
    """Why the answer may be missing, cut or the proxy's own: what was done to this scene."""

    @property
    def target(self) -> bytes:
        return b"%b?n=%b" % (self.path, self.nonce)

    @property
    def content(self) -> bytes:
        # Of what is longer than any limit only a beginning is ever sent.
        return content(self.nonce + b"q", min(self.size, SENT_MAX))

    @property
    def reply_content(self) -> bytes:
        return content(self.nonce + b"a", self.reply.size)

    @property
    def moment(self) -> float:
        """Seconds after which the end that closes its WebSocket first does so."""
        return int(self.nonce[1:]) % 7 * 0.5

    @property
    def is_idempotent(self) -> bool:
        return self.method in (b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS")

    def __str__(self) -> str:
        parts = [f"{self.nonce.decode()}: {self.method.decode()} {self.path.decode()} HTTP/{self.version.decode()}"]
        parts += [f"{self.size} {self.framing}"] if self.framing != "none" else []
        parts += [name for name in ("expects", "upgrades", "is_websocket", "closes", "fault") if getattr(self, name)]
        reply = self.reply
        parts.append(f"-> {reply.status}, {reply.size} {reply.framing} after {reply.delay:g}s")
        parts += [f"{name}" for name in ("is_early", "closes", "has_excess") if getattr(reply, name)]
        parts += [f"{reply.fault} in {reply.faulty_tries} tries"] if reply.fault else []
        parts.append(f"got {self.answer}" if self.answer else "no answer")
        parts.append(f"tries {self.tries}")
        parts += [f"excused by {', '.join(self.excuses)}"] if self.excuses else []
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests may be sent: a listener's name, a host and a path. `is_local`: the proxy itself answers."""

    listener: str
    host: bytes
    path: bytes
    is_local: bool = False


class Playwright:
    """Writes scenes. `features` are those of this run; `calm` leaves out the faults."""

    def __init__(self, random: Random, features: frozenset[str], targets: Sequence[Target], request_max: int) -> None:
        self._random = random
        self._features = features
        self._targets = [target for target in targets if not target.is_local or "local" in features]
        self._request_max = request_max
        self._written = 0

    def play(self, length: int, *, calm: bool = False) -> tuple[str, list[Scene]]:
        """The scenes of one connection, and the listener that it is for."""
        random = self._random
        target = random.choice(self._targets)
        others = [other for other in self._targets if other.listener == target.listener]
        scenes = [self._scene(random.choice(others), calm) for _ in range(length)]
        return target.listener, scenes

    def websocket(self) -> tuple[str, list[Scene]]:
        """The listener, and the one scene, of a connection that becomes a WebSocket for a while."""
        target = self._random.choice([target for target in self._targets if not target.is_local])
        scene = self._scene(target, True)
        scene.method, scene.framing, scene.expects, scene.trailers = b"GET", "none", False, []
        scene.reply.fault, scene.reply.is_early = "", False
        self._make_upgrade(scene)
        scene.is_websocket = True
        return target.listener, [scene]

    def has(self, feature: str, chance: float, calm: bool = False) -> bool:
        """Whether it is to happen now."""
        if feature not in self._features or (calm and feature in FAULTS):
            return False
        return self._random.random() < chance

    def _scene(self, target: Target, calm: bool) -> Scene:
        random = self._random
        self._written += 1
        nonce = b"n%d" % self._written
        scene = Scene(nonce, b"GET", target.path, target.host, Reply(), is_strict=calm, is_local=target.is_local)
        if self.has("content", 0.4):
            scene.method = random.choice((b"POST", b"PUT", b"PATCH"))
            scene.framing = "chunked" if self.has("chunked", 0.5) else "length"
            scene.size = self._size()
            scene.expects = scene.size > 0 and self.has("expect", 0.3)
            if scene.framing == "chunked" and self.has("trailers", 0.4):
                scene.trailers = [(b"x-sum", nonce)]
        elif self.has("head", 0.15):
            scene.method = b"HEAD"
        elif random.random() < 0.1:
            scene.method = random.choice((b"DELETE", b"OPTIONS", b"PURGE"))
        if scene.framing != "chunked" and not scene.expects and self.has("http10", 0.15):
            scene.version = b"1.0"
        scene.closes = self.has("close", 0.15)
        scene.fields = [(b"X-Tag", nonce), (b"x-tag", b"2"), (b"X-Forwarded-For", b"203.0.113.9")]
        if self.has("slow_writers", 0.2):
            scene.pieces, scene.gap = random.randint(2, 4), random.choice((0.0, 0.01, 0.5, 1.2))
        self._plan_reply(scene, calm)
        if not calm:
            self._spoil_request(scene)
        if scene.method == b"GET" and not scene.is_local and self.has("upgrade", 0.1):
            self._make_upgrade(scene)
        return scene

    def _size(self) -> int:
        random = self._random
        if self.has("large", 0.08):
            return random.randint(40_000, 120_000)
        return random.choice((0, 1, 17, random.randint(1, 3_000), random.randint(1, 20_000)))

    def _plan_reply(self, scene: Scene, calm: bool) -> None:
        random, reply = self._random, scene.reply
        reply.fields = [(b"x-echo", scene.nonce), (b"set-cookie", b"a=" + scene.nonce), (b"set-cookie", b"b=1")]
        reply.delay = random.choice((0.0, 0.0, 0.001, random.uniform(0.0, 0.3)))
        reply.status = random.choice((200, 200, 200, 201, 404, 500))
        reply.size = self._size()
        if self.has("empty", 0.15):
            reply.status, reply.size, reply.framing = random.choice((204, 304)), 0, "none"
        elif self.has("chunked", 0.4):
            reply.framing = "chunked"
            if self.has("trailers", 0.4):
                reply.trailers = [(b"x-check", scene.nonce)]
        elif self.has("until_close", 0.2):
            reply.framing = "close"
        if scene.version == b"1.1" and self.has("interim", 0.2):
            reply.interim = tuple(random.choice(((103,), (102, 103), (103, 103, 103))))
        if scene.size and self.has("early", 0.2):
            reply.is_early, reply.status = True, random.choice((413, 401, 200))
            reply.framing = "length" if reply.framing in ("none", "close") else reply.framing
        if random.random() < 0.3:
            reply.pieces, reply.gap = random.randint(2, 5), random.choice((0.0, 0.01, 0.2))
        reply.closes = self.has("close", 0.15)
        reply.has_excess = reply.framing != "close" and not reply.closes and self.has("excess", 0.1)
        if not calm:
            self._spoil_reply(scene)

    def _spoil_reply(self, scene: Scene) -> None:
        random, reply = self._random, scene.reply
        chosen = ""
        for feature, fault in (("cut", "cut"), ("malformed", "malformed"), ("silence", "silence"), ("deaths", "death")):
            if self.has(feature, 0.07):
                chosen = fault
        if self.has("resets", 0.07):
            chosen = "reset"
        if chosen == "malformed" and not scene.upgrades and random.random() < 0.3:
            chosen = "unasked_101"
        if chosen == "cut" and (reply.size < 2 or reply.framing == "close" or scene.method == b"HEAD"):
            chosen = "death"
        reply.fault = chosen
        reply.kept = random.random() if reply.size > 1 and scene.method != b"HEAD" else 0.0
        reply.faulty_tries = random.choice((1, 1, 99)) if chosen else 0

    def _spoil_request(self, scene: Scene) -> None:
        random = self._random
        if self.has("bad_requests", 0.06):
            scene.fault = random.choice(("bad_head", "too_long")) if self._request_max < UNLIMITED else "bad_head"
        elif self.has("stalled_requests", 0.05):
            scene.fault = "stalled" if scene.size > 1 and not scene.expects else "slow_head"
        if scene.fault == "too_long":
            scene.method, scene.framing, scene.size = (
                b"POST",
                "length",
                self._request_max + 1 + random.randint(0, 9_999),
            )
            scene.expects, scene.version, scene.trailers = False, b"1.1", []

    def _make_upgrade(self, scene: Scene) -> None:
        if scene.fault or scene.reply.fault:
            return
        scene.upgrades, scene.closes, scene.version, scene.fault = True, False, b"1.1", ""
        scene.client_ends_first = self._random.random() < 0.5
        scene.size = self._size()
        reply = scene.reply
        reply.status, reply.framing, reply.interim, reply.has_excess, reply.closes = 101, "none", (), False, False
        reply.trailers = []
        reply.size = self._size()
        # By number and not by chance: chance is the same then for those who keep a seed that shows something.
        scene.is_websocket = self._written % 2 == 0
        if scene.is_websocket and self._written % 10 == 4 and not scene.is_strict:
            reply.fault, reply.faulty_tries = "wrong_accept", 99


BAD_HEADS = (
    b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: 1\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
)
"""Requests that are refused, whatever follows them."""

BAD_REPLIES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX : 1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    b"220 mail.example.com ESMTP\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
)
"""Responses that no client may see."""


def request_head(scene: Scene, bad: bytes) -> bytes:
    """A request's head as the client sends it; `bad` in its place where that is the scene's fault."""
    if scene.fault == "bad_head":
        return bad
    lines = [b"%b %b HTTP/%b" % (scene.method, scene.target, scene.version), b"Host: " + scene.host]
    lines += [b"X-Nonce: " + scene.nonce, *(b"%b: %b" % line for line in scene.fields)]
    options = [b"x-hop"]
    if scene.upgrades:
        options.append(b"upgrade")
        lines.append(b"Upgrade: websocket" if scene.is_websocket else b"Upgrade: test")
        if scene.is_websocket:
            lines += [b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + key_of(scene.nonce)]
    elif scene.closes:
        options.append(b"close")
    elif scene.version == b"1.0":
        options.append(b"keep-alive")
    lines += [b"Connection: " + b", ".join(options), b"X-Hop: 1"]
    if scene.framing == "length":
        lines.append(b"Content-Length: %d" % scene.size)
    elif scene.framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
    if scene.expects:
        lines.append(b"Expect: 100-continue")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def reply_head(scene: Scene) -> bytes:
    """A reply's head as the origin sends it."""
    reply = scene.reply
    lines = [b"HTTP/1.1 %d Some Reason" % reply.status, b"X-Nonce: " + scene.nonce]
    lines += [b"%b: %b" % line for line in reply.fields]
    if reply.status == 101:
        lines += [b"Connection: upgrade", b"Upgrade: websocket" if scene.is_websocket else b"Upgrade: test"]
        if scene.is_websocket:
            key = key_of(b"another" if reply.fault == "wrong_accept" else scene.nonce)
            lines.append(b"Sec-WebSocket-Accept: " + accept_of(key))
    elif reply.framing == "length":
        lines.append(b"Content-Length: %d" % reply.size)
    elif reply.framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
    if reply.closes:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def framed(data: bytes, framing: str, trailers: Fields, pieces: int) -> Iterator[bytes]:
    """Content in pieces, ready to be sent: in chunks with trailers, or as it is."""
    size = max(-(-len(data) // pieces), 1)
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        yield b"%x\r\n%b\r\n" % (len(piece), piece) if framing == "chunked" else piece
    if framing == "chunked":
        yield b"0\r\n" + b"".join(b"%b: %b\r\n" % line for line in trailers) + b"\r\n"

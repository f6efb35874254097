"""Scripted clients and origins: they play scenes over simulated links, and check at once what they get.

An answer to another request, a byte of content that isn't the origin's, a field that was lost, a request
that an origin gets twice at once, anything that is no HTTP: each raises a `Violation` on the spot. What can
only be judged afterwards, they write down in the scene.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from random import Random

from proxycore.testing.checkers import Violation
from proxycore.testing.far_reader import Data, End, Event, FarReader, Head, Malformation
from proxycore.testing.far_websocket import Listening, accept_of, close, key_of, messages
from proxycore.testing.network import Host, Network, Peer
from proxycore.testing.traffic import (
    BAD_HEADS,
    BAD_REPLIES,
    Answer,
    Scene,
    Try,
    framed,
    reply_head,
    request_head,
)

CONTINUE_PATIENCE = 1.0
"""Seconds after which a client sends its content without having been told to continue."""

EXCESS = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Nonce: excess\r\n\r\nbad"
"""What an origin sends behind its answer. It must arrive with it: later, nobody could tell it from the next answer."""

_ECHOED = (b"x-echo", b"set-cookie")


class Stage:
    """What all players of one simulation share. `scenes` are found by their nonce; `idle` is `timeouts.idle`.

    `checks` are the answers to health checks, by their path.
    """

    def __init__(self, network: Network, random: Random, idle: float) -> None:
        self.network = network
        self.idle = idle
        self.random = random
        self.checks: dict[bytes, bytes] = {}
        self.scenes: dict[bytes, Scene] = {}
        self.clients: list[Client] = []
        self.origins: list[OriginHost] = []
        self.connections: dict[int, OriginConnection] = {}

    @property
    def is_whole_weather(self) -> bool:
        """Whether what is sent at once arrives at once."""
        weather = self.network.weather
        return weather.cut == "whole" and weather.room[0] > 250_000

    def violate(self, text: str) -> None:
        raise Violation("conversation", text)


class Client(Peer):
    """One connection of a client: sends its scenes in order, at most `depth` ahead of the answers.

    `patience` is how long it keeps the connection when all is answered, before it closes.
    """

    carries_many = False
    """Whether answers come in any order, and the end of one says nothing of the others."""

    def __init__(self, stage: Stage, scenes: list[Scene], *, depth: int, patience: float) -> None:
        self.stage = stage
        self.scenes = scenes
        self.is_over = False
        self.has_left = False
        self.is_half_closed = False
        self.saw_close = False
        self.was_reset = False
        self.depth = depth
        self._patience = patience
        self._next = 0
        self._waiting: deque[Scene] = deque()
        self._outbound: deque[tuple[float, bytes, Scene | None]] = deque()
        self._sending = False
        self._content: deque[bytes] | None = None
        self._reader = FarReader("response")
        self._expected = b""
        self._tunnel: Scene | None = None
        self._websocket: Listening | None = None
        self._said_close = False
        self._is_opened = False
        self.is_deaf = False
        stage.clients.append(self)
        for scene in scenes:
            stage.scenes[scene.nonce] = scene

    # ---- what happens

    def opened(self) -> None:
        self._is_opened = True
        self._send_more()

    def received(self, data: bytes) -> None:
        try:
            for event in self._reader.feed(data):
                self._follow(event)
        except Malformation as malformation:
            scene = "" if self._tunnel is None else f", {self._tunnel}"
            self._violate(f"a client got what is no HTTP, or no WebSocket: {malformation}{scene}")

    def ended(self) -> None:
        for event in self._reader.ended():
            self._follow(event)
        self.link.close()
        self._over()

    def lost(self, error: str) -> None:
        self.was_reset = True
        self._over()

    # ---- what it does

    def leave(self, how: str) -> None:
        """Go away: `close`, `reset`, or `eof` (half-close and wait)."""
        if self.is_over or not self._is_opened:
            return
        self.has_left = True
        for scene in self.scenes:
            if scene.ended_at < 0:
                scene.excuses["the client left"] = None
        if how == "eof":
            self.is_half_closed = True
            self._outbound.clear()
            self.link.send_eof()
            return
        if how == "reset":
            self.link.reset()
        else:
            self.link.close()
        self._over()

    def go_deaf(self) -> None:
        """Read nothing any more, and never leave: the proxy has to end it."""
        for scene in self.scenes:
            scene.excuses["its client doesn't read"] = None
        self.is_deaf = True
        self.link.pause()

    @property
    def is_done(self) -> bool:
        """Whether nothing will come of it any more. Who doesn't read doesn't see that the proxy has gone."""
        return self.is_over or (self.is_deaf and self.link.is_lost)

    def _send_more(self) -> None:
        while self._next < len(self.scenes) and len(self._waiting) < self.depth and not self.is_half_closed:
            last = self._waiting[-1] if self._waiting else None
            if last is not None and (last.upgrades or last.expects or last.closes or last.fault):
                return
            scene = self.scenes[self._next]
            if self._waiting and (scene.upgrades or scene.expects or scene.fault):
                return
            self._next += 1
            self._send(scene)

    def _send(self, scene: Scene) -> None:
        self._waiting.append(scene)
        self._reader.methods.append(scene.method)
        scene.sent_at = self.stage.network.now
        if self.link.is_lost and self.link.lost_at - self.link.written_at >= self.stage.idle:
            scene.excuses["the connection had been idle"] = None
        if len(self._waiting) == 1:
            self._expected = scene.reply_content
        head = request_head(scene, self.stage.random.choice(BAD_HEADS))
        if scene.fault == "slow_head":
            for start in range(0, len(head) - 2, 7):
                self._queue(2.0, head[start : start + 7], None)
            return
        if scene.fault == "bad_head":
            self._queue(0.0, head, scene)
            return
        if scene.framing == "none":
            self._queue(0.0, head, scene)
            return
        pieces = list(framed(scene.content, scene.framing, scene.trailers, scene.pieces))
        if scene.fault == "stalled":
            pieces = [piece[: len(piece) // 2] for piece in pieces[:1]]
        self._queue(0.0, head, None if pieces else scene)
        if scene.expects:
            self._content = deque(pieces)
            self.stage.network.after(CONTINUE_PATIENCE, self._send_content, scene)
        else:
            self._queue_content(scene, pieces)

    def _queue_content(self, scene: Scene, pieces: list[bytes]) -> None:
        for index, piece in enumerate(pieces):
            is_last = index == len(pieces) - 1 and scene.fault != "stalled"
            self._queue(scene.gap if index else 0.0, piece, scene if is_last else None)

    def _send_content(self, scene: Scene) -> None:
        """It was told to continue, or is tired of waiting."""
        if self._content is not None and self._waiting and self._waiting[0] is scene:
            content, self._content = self._content, None
            self._queue_content(scene, list(content))

    def _queue(self, delay: float, data: bytes, whole: Scene | None) -> None:
        self._outbound.append((delay, data, whole))
        if not self._sending:
            self._send_queued()

    def _send_queued(self) -> None:
        """Send what needs no delay; plan the rest."""
        outbound = self._outbound
        self._sending = False
        while outbound and not self.is_over:
            delay, data, whole = outbound[0]
            if delay:
                outbound[0] = (0.0, data, whole)
                self._sending = True
                self.stage.network.after(delay, self._send_queued)
                return
            outbound.popleft()
            if whole is not None:
                whole.is_sent_whole = True
            self.link.send(data)

    # ---- what it gets

    def _follow(self, event: Event) -> None:
        if self._tunnel is not None:
            assert isinstance(event, Data)
            self._follow_tunnel(self._tunnel, event.data)
            return
        if not self._waiting:
            self._violate(f"a client got an answer to nothing: {event!r}")
        scene = self._waiting[0]
        if isinstance(event, Head):
            if event.status < 200:
                self._follow_interim(scene, event)
            else:
                self._begin_answer(scene, event)
        elif isinstance(event, Data):
            self._take_content(scene, event.data)
        else:
            self._end_answer(scene, event)

    def _follow_interim(self, scene: Scene, head: Head) -> None:
        if head.status == 101:
            if not scene.upgrades:
                self._violate(f"a client got a 101 that it did not ask for: {scene}")
            self._tunnel = scene
            scene.answer = Answer(101, head.fields, is_origins=True)
            self._check_echo(scene, head)
            self._expected = scene.reply_content
            if scene.is_websocket:
                return self._begin_websocket(scene, head)
            self._queue(0.0, scene.content, None)
            if scene.client_ends_first:
                self._end_tunnel()
            return
        scene.interim.append(head.status)
        if head.status == 100:
            if not scene.expects or scene.interim.count(100) > 1:
                self._violate(f"a client was told to continue that did not ask, or twice: {scene}")
            self._send_content(scene)
        elif not is_subsequence([s for s in scene.interim if s != 100], scene.reply.interim, len(scene.tries)):
            self._violate(f"interim responses that the origin did not send: {scene.interim}, {scene}")

    def _begin_answer(self, scene: Scene, head: Head) -> None:
        nonce = head.get(b"x-nonce")
        if nonce is not None and nonce != scene.nonce:
            self._violate(f"the answer to {nonce.decode()} came for {scene}")
        scene.answer = Answer(head.status, head.fields, is_origins=nonce is not None)
        self.saw_close = self.saw_close or (head.get(b"connection") or b"").lower() == b"close"
        if nonce is None:
            return
        if head.status != scene.reply.status:
            self._violate(f"status {head.status} instead of {scene.reply.status}: {scene}")
        self._check_echo(scene, head)
        length = head.get(b"content-length")
        if scene.reply.framing == "length" and length != b"%d" % scene.reply.size:
            self._violate(f"content-length {length!r} instead of {scene.reply.size}: {scene}")

    def _check_echo(self, scene: Scene, head: Head) -> None:
        got = [field for field in head.fields if field[0] in _ECHOED]
        if got != scene.reply.fields:
            self._violate(f"the fields {got} instead of {scene.reply.fields}: {scene}")

    def _take_content(self, scene: Scene, data: bytes) -> None:
        answer = scene.answer
        assert answer is not None
        if answer.is_origins and self._expected[answer.size : answer.size + len(data)] != data:
            self._violate(f"content that the origin did not send, from byte {answer.size} on: {data[:80]!r}, {scene}")
        answer.size += len(data)

    def _end_answer(self, scene: Scene, end: End) -> None:
        answer = scene.answer
        assert answer is not None
        answer.is_complete = True
        answer.trailers = end.trailers
        if answer.is_origins:
            self._check_whole(scene, answer)
        self._waiting.popleft()
        scene.ended_at = self.stage.network.now
        self._content = None
        if self._waiting:
            self._expected = self._waiting[0].reply_content
        elif self._next == len(self.scenes) and not self.saw_close:
            self.stage.network.after(self._patience, self._finish)
        if not self.saw_close:
            self._send_more()

    def _check_whole(self, scene: Scene, answer: Answer) -> None:
        wanted = 0 if scene.method == b"HEAD" else scene.reply.size
        if answer.size != wanted:
            self._violate(f"{answer.size} bytes look like the whole of {wanted}: {scene}")
        reply = scene.reply
        if scene.method != b"HEAD" and scene.version != b"1.0" and answer.trailers != reply.trailers:
            self._violate(f"trailers {answer.trailers} instead of {reply.trailers}: {scene}")

    def _finish(self) -> None:
        if not self.is_over:
            self.link.close()
            self._over()

    def _over(self) -> None:
        self.is_over = True
        now = self.stage.network.now
        for scene in self._waiting:
            if scene.ended_at < 0:
                scene.ended_at = now

    # ---- a tunnel

    def _follow_tunnel(self, scene: Scene, data: bytes) -> None:
        if self._websocket is not None:
            self._websocket.hear(data)
            scene.tunnel_down = self._websocket.heard
            return
        if self._expected[scene.tunnel_down : scene.tunnel_down + len(data)] != data:
            self._violate(f"a tunnel brought what the origin did not send: {data[:80]!r}, {scene}")
        scene.tunnel_down += len(data)

    def _end_tunnel(self) -> None:
        self.is_half_closed = True
        self.link.send_eof()

    # ---- a WebSocket

    def _begin_websocket(self, scene: Scene, head: Head) -> None:
        if head.get(b"sec-websocket-accept") != accept_of(key_of(scene.nonce)):
            self._violate(f"a client got a 101 that doesn't answer its key: {scene}")
        self._websocket = Listening(scene.reply_content, masked=False, on_close=self._websocket_closed)
        self._queue(0.0, messages(scene.content, masked=True), None)
        if scene.client_ends_first:
            self.stage.network.after(scene.moment, self._close_websocket)

    def _close_websocket(self) -> None:
        if not self._said_close and not self.is_over:
            self._said_close = True
            self._queue(0.0, close(1000, masked=True), None)

    def _websocket_closed(self) -> None:
        assert self._websocket is not None
        assert self._tunnel is not None
        self._tunnel.was_told = self._websocket.code == 1001
        self._close_websocket()

    def _violate(self, text: str) -> None:
        self.stage.violate(f"connection {self.link.conn}: {text}")


def is_subsequence(got: list[int], sent: tuple[int, ...], tries: int) -> bool:
    """Whether what came is the beginning of what was sent, once for each try."""
    return got == list(sent * max(tries, 1))[: len(got)]


class OriginHost(Host):
    """An origin at one address. Each dial gets a new `OriginConnection`."""

    def __init__(self, stage: Stage, name: str, *, idle: float) -> None:
        super().__init__(self._accept)
        self.name = name
        self.idle = idle
        self._stage = stage
        stage.origins.append(self)

    def _accept(self) -> Peer:
        return OriginConnection(self._stage, self)


class OriginConnection(Peer):
    """One connection of an origin: plays the replies of the requests that reach it."""

    def __init__(self, stage: Stage, host: OriginHost) -> None:
        self.stage = stage
        self.host = host
        self._reader = FarReader("request")
        self._scene: Scene | None = None
        self._try: Try | None = None
        self._replying: Iterator[bytes] | None = None
        self._is_tunnel = False
        self._websocket: Listening | None = None
        self._said_close = False
        self._after: Callable[[], None] | None = None
        self._idle_since = -1.0
        self.is_over = False

    # ---- what happens

    def opened(self) -> None:
        stage = self.stage
        stage.connections[id(self)] = self
        self._rest()

    def received(self, data: bytes) -> None:
        try:
            for event in self._reader.feed(data):
                if isinstance(event, Head):
                    self._begin(event)
                elif isinstance(event, Data):
                    self._take(event.data)
                else:
                    self._end(event)
        except Malformation as malformation:
            self.stage.violate(f"an origin got what is no HTTP, or no WebSocket: {malformation}, {self._scene}")

    def ended(self) -> None:
        if self._is_tunnel:
            scene = self._scene
            assert scene is not None
            if self._websocket is not None:
                self.link.close()
                self._over()
            elif scene.client_ends_first:
                self._send_rest()
            return
        self.link.close()
        self._over()

    def lost(self, error: str) -> None:
        if self._try is not None and not self._try.is_answered:
            self._try.was_disturbed = True
        self._over()

    def _over(self) -> None:
        self.is_over = True
        self.stage.connections.pop(id(self), None)

    def disturb(self) -> None:
        """The network breaks this connection."""
        if self._scene is not None:
            self._scene.excuses["its upstream connection was reset"] = None
        self.link.reset()
        self._over()

    # ---- a request

    def _begin(self, head: Head) -> None:
        stage = self.stage
        nonce = head.get(b"x-nonce")
        scene = stage.scenes.get(nonce or b"")
        if scene is None and nonce is None and head.start[1] in stage.checks:
            return self.link.send(stage.checks[head.start[1]])
        if scene is None:
            stage.violate(f"an origin got a request that nobody sent: {head!r}")
            return
        if self._try is not None:
            stage.violate(f"an origin got {scene} before it had answered {self._scene}")
        self._check_request(scene, head)
        self._scene = scene
        self._try = attempt = Try(stage.network.now, self.host.name)
        scene.tries.append(attempt)
        if head.get(b"expect") is not None and not scene.reply.is_early and not self._is_faulty("silence"):
            self.link.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if scene.reply.is_early:
            stage.network.after(scene.reply.delay, self._reply, attempt)

    def _check_request(self, scene: Scene, head: Head) -> None:
        method, target, _ = head.start
        if method != scene.method or not target.endswith(b"n=" + scene.nonce):
            self.stage.violate(f"an origin got {method!r} {target!r} for {scene}")
        tags = [value for name, value in head.fields if name.lower() == b"x-tag"]
        if tags != [scene.nonce, b"2"]:
            self.stage.violate(f"an origin got the tags {tags} for {scene}")
        if head.get(b"x-hop") is not None:
            self.stage.violate(f"a field that Connection named was passed on: {scene}")
        if b"203.0.113.9" in (head.get(b"x-forwarded-for") or b""):
            self.stage.violate(f"a stranger's X-Forwarded-For was believed: {scene}")

    def _take(self, data: bytes) -> None:
        scene, attempt = self._scene, self._try
        assert scene is not None
        if self._websocket is not None:
            self._websocket.hear(data)
            scene.tunnel_up = self._websocket.heard
            return
        if self._is_tunnel:
            if scene.content[scene.tunnel_up : scene.tunnel_up + len(data)] != data:
                self.stage.violate(f"a tunnel brought what the client did not send: {data[:80]!r}, {scene}")
            scene.tunnel_up += len(data)
            return
        assert attempt is not None
        if scene.content[attempt.size : attempt.size + len(data)] != data:
            self.stage.violate(f"content that the client did not send, from byte {attempt.size} on: {scene}")
        attempt.size += len(data)

    def _end(self, end: End) -> None:
        scene, attempt = self._scene, self._try
        if scene is None or attempt is None:
            return
        if not scene.upgrades and attempt.size != scene.size:
            self.stage.violate(f"an origin got {attempt.size} bytes that look whole: {scene}")
        if end.trailers != scene.trailers:
            self.stage.violate(f"an origin got the trailers {end.trailers}: {scene}")
        attempt.is_whole = True
        if attempt.is_answered:
            self._finish(attempt)
        elif not scene.reply.is_early:
            self.stage.network.after(scene.reply.delay, self._reply, attempt)

    # ---- a reply

    def _is_faulty(self, fault: str) -> bool:
        scene = self._scene
        return scene is not None and scene.reply.fault == fault and len(scene.tries) <= scene.reply.faulty_tries

    def _reply(self, attempt: Try) -> None:
        scene = self._scene
        if self._try is not attempt or scene is None or self.is_over:
            return
        reply = scene.reply
        fault = reply.fault if len(scene.tries) <= reply.faulty_tries else ""
        if fault == "silence":
            return
        if fault == "death":
            self.link.close()
            return self._over()
        for status in reply.interim:
            self.link.send(b"HTTP/1.1 %d Interim\r\nX-Interim: 1\r\n\r\n" % status)
        if fault == "malformed":
            return self.link.send(self.stage.random.choice(BAD_REPLIES))
        if fault == "unasked_101":
            return self.link.send(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n")
        if fault == "reset" and reply.kept < 0.4:
            self.link.reset()
            return self._over()
        head = reply_head(scene)
        if reply.status == 101:
            return self._begin_tunnel(scene, head)
        data = b"" if scene.method == b"HEAD" else scene.reply_content
        if fault:
            data = data[: int(len(data) * reply.kept)]
        pieces = [] if scene.method == b"HEAD" else list(framed(data, reply.framing, reply.trailers, reply.pieces))
        if reply.has_excess and attempt.is_whole and not fault and not reply.gap and self.stage.is_whole_weather:
            pieces.append(EXCESS)
        self._play(attempt, head, pieces, fault)

    def _play(self, attempt: Try, head: bytes, pieces: list[bytes], fault: str) -> None:
        assert self._scene is not None
        reply = self._scene.reply
        if fault and reply.framing == "chunked":
            pieces = pieces[:-1]
        if fault:
            after = self._break_off if fault == "cut" else self._reset
        else:
            after = lambda: self._answered(attempt)  # noqa: E731
        if not reply.gap:
            self.link.send(head + b"".join(pieces))
            after()
            return
        self.link.send(head)
        for number, piece in enumerate(pieces, 1):
            self.stage.network.after(number * reply.gap, self.link.send, piece)
        self.stage.network.after(len(pieces) * reply.gap, after)

    def _break_off(self) -> None:
        self.link.close()
        self._over()

    def _reset(self) -> None:
        self.link.reset()
        self._over()

    def _answered(self, attempt: Try) -> None:
        scene = self._scene
        if self._try is not attempt or scene is None or self.is_over:
            return
        attempt.is_answered = True
        reply = scene.reply
        if reply.framing == "close" and scene.method != b"HEAD":
            self.link.close()
            self._over()
        elif attempt.is_whole:
            self._finish(attempt)

    def _finish(self, attempt: Try) -> None:
        """Both the request and the reply are whole."""
        scene = self._scene
        assert scene is not None
        self._try = None
        if scene.reply.closes or (scene.reply.framing == "close" and scene.method != b"HEAD"):
            self.link.close()
            self._over()
            return
        self._rest()

    def _rest(self) -> None:
        """Nothing to do: close after a while."""
        self._idle_since = since = self.stage.network.now
        if self.host.idle:
            self.stage.network.after(self.host.idle, self._close_idle, since)

    def _close_idle(self, since: float) -> None:
        if not self.is_over and self._idle_since == since and self._try is None and not self._is_tunnel:
            self.link.close()
            self._over()

    # ---- a tunnel

    def _begin_tunnel(self, scene: Scene, head: bytes) -> None:
        self._reader.be_tunnel()
        self._is_tunnel = True
        self._try = None
        if scene.is_websocket:
            return self._begin_websocket(scene, head)
        data = scene.reply_content
        self.link.send(head + data[: len(data) // 2])
        if not scene.client_ends_first:
            self._send_rest()

    def _send_rest(self) -> None:
        assert self._scene is not None
        data = self._scene.reply_content
        self.link.send(data[len(data) // 2 :])
        self.link.send_eof()

    # ---- a WebSocket

    def _begin_websocket(self, scene: Scene, head: bytes) -> None:
        """Say one half, as a rule up to the midst of a frame; the other with the Close."""
        self._websocket = Listening(scene.content, masked=True, on_close=self._websocket_closed)
        said = messages(scene.reply_content, masked=False)
        self.link.send(head + said[: len(said) // 2])
        if not scene.client_ends_first:
            self.stage.network.after(scene.moment, self._close_websocket)

    def _close_websocket(self) -> None:
        if self._said_close or self.is_over:
            return
        self._said_close = True
        assert self._scene is not None
        said = messages(self._scene.reply_content, masked=False)
        self.link.send(said[len(said) // 2 :] + close(1000, masked=False))

    def _websocket_closed(self) -> None:
        self._close_websocket()
        self.link.close()
        self._over()

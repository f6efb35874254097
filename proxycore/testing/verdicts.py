"""What became of each scene, judged when its client has come to its end.

The players have checked every byte that came. Here is judged what is missing: an answer that should have
come, one that should have been the origin's, a cause that doesn't fit what happened, a request that was
carried out twice. A scene with an excuse (a fault that the simulation itself made) may lack its answer, but
nothing excuses a false one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from proxycore.config import UNLIMITED, Config, Server
from proxycore.testing.checkers import Checker, Endings
from proxycore.testing.traffic import Scene
from proxycore.words.notices import ExchangeEnded, Notice

if TYPE_CHECKING:
    from proxycore.testing.players import Client, Stage

_REQUEST_STATUSES = {
    "bad_head": frozenset((400, 501, 505)),
    "too_long": frozenset((413,)),
    "slow_head": frozenset((408,)),
    "stalled": frozenset((408,)),
}

SLOW = 10_000.0
"""Bytes per second: who reads slower may be cut off by `timeouts.send`."""

PATIENT = 30.0
"""A `queue_timeout` that no simulated load runs out of."""

_CAUSES = {
    "silence": ("timed_out", "upstream_failed"),
    "cut": ("upstream_failed",),
    "malformed": ("upstream_failed",),
    "unasked_101": ("upstream_failed",),
    "wrong_accept": ("upstream_failed",),
    "death": ("upstream_failed",),
    "reset": ("upstream_failed",),
}
"""How an exchange may end whose every try met that fault, if nothing else happened to it."""


class Verdicts(Checker):
    """Judges scenes. It is told of every trouble that may excuse one."""

    name = "verdicts"

    def __init__(self, stage: Stage, config: Config, endings: Endings) -> None:
        self._stage = stage
        self._endings = endings
        self._config = config
        self._troubles: list[tuple[float, float]] = []
        self._listener_of: dict[int, str] = {}
        self._lone_clients: dict[str, Client] = {}
        self._judged = 0
        self._seen = 0
        self._is_draining = False

    # ---- what may excuse

    def connected(self, client: Client, listener: str) -> None:
        self._listener_of[id(client)] = listener
        if client.depth == 1:
            self._lone_clients[str(client.link.address[1])] = client
        if client.link.read_rate < SLOW:
            for scene in client.scenes:
                scene.excuses["its client reads slowly"] = None

    def trouble(self, start: float, end: float, aftermath: float = 10.0) -> None:
        """The world is broken from `start` to `end`, and what that breaks shows until `aftermath` seconds later."""
        self._troubles.append((start, end + aftermath))

    def reloaded(self, listeners: Iterable[str]) -> None:
        """Listeners may be gone: their connections drain, and others are refused."""
        gone = set(self._listener_of.values()) - set(listeners)
        for client in self._stage.clients:
            if self._listener_of.get(id(client)) in gone:
                for scene in client.scenes:
                    scene.excuses["its listener was removed"] = None

    def healed(self) -> None:
        """From now on nothing is excused."""
        self._troubles.clear()

    def _in_trouble(self, scene: Scene) -> bool:
        return any(scene.sent_at <= end and start <= scene.ended_at for start, end in self._troubles)

    def draining(self) -> None:
        """From now on requests that the core has not seen may be lost."""
        self._is_draining = True

    # ---- judging

    def noticed(self, notices: Sequence[Notice]) -> None:
        """Where nothing else can be on its way to a client, an exchange that completed has no bytes waiting."""
        for notice in notices:
            if isinstance(notice, ExchangeEnded) and notice.outcome.cause == "completed":
                client = self._lone_clients.get(notice.client_port)
                if client is not None and client.link.waiting_size:
                    self.violate(f"it is said to be completed, and bytes of it wait: {notice!r}")

    def judge(self) -> None:
        """All clients are at their end: judge those that were not yet."""
        clients = self._stage.clients
        for client in clients[self._judged :]:
            self._judge_client(client)
        self._judged = len(clients)

    def _causes(self) -> dict[bytes, ExchangeEnded]:
        """What the core says of each scene, by nonce."""
        found: dict[bytes, ExchangeEnded] = {}
        for notice in self._endings.ended.values():
            _, mark, nonce = notice.target.rpartition(b"?n=")
            if mark:
                if nonce in found:
                    self.violate(f"two exchanges for one request: {notice!r}")
                found[nonce] = notice
        return found

    def _judge_client(self, client: Client) -> None:
        is_closed = False
        for scene in client.scenes:
            if scene.sent_at < 0:
                continue
            if self._in_trouble(scene):
                scene.excuses["trouble"] = None
            if self._is_draining and not self._was_seen(scene):
                scene.excuses["it came after the drain"] = None
            if self._is_draining and client.was_reset and client.depth > 1:
                # Its connection was idle, and closed, when another request was on its way: that is a reset.
                scene.excuses["the drain met a request behind it"] = None
            self._judge_tries(scene)
            if not is_closed:
                self._judge_answer(scene)
            is_closed = is_closed or (not client.carries_many and self._closes(scene))

    def _was_seen(self, scene: Scene) -> bool:
        """Whether the core took it up, and did not cut it at the drain's deadline."""
        mark = b"?n=" + scene.nonce
        notices = [notice for notice in self._endings.ended.values() if notice.target.endswith(mark)]
        return any(notice.outcome.cause != "drained" for notice in notices)

    def _closes(self, scene: Scene) -> bool:
        """Whether the connection may well end after this scene."""
        answer = scene.answer
        if answer is None or not answer.is_complete:
            return True
        return any(name == b"connection" and value.lower() == b"close" for name, value in answer.fields)

    def _judge_tries(self, scene: Scene) -> None:
        tries = scene.tries
        if tries and scene.fault in ("bad_head", "too_long"):
            self.violate(f"an origin got what should have been refused: {scene}")
        if len(tries) > 1 and not scene.is_idempotent:
            self.violate(f"{scene.method.decode()} was sent {len(tries)} times: {scene}")

    def _judge_answer(self, scene: Scene) -> None:
        answer = scene.answer
        if scene.upgrades and answer is not None and answer.status == 101:
            return  # what it carried is judged when all bytes have arrived
        if answer is not None and answer.is_complete:
            if answer.is_origins:
                if not scene.tries:
                    self.violate(f"an answer that no origin gave: {scene}")
                return
            self._judge_own_answer(scene, answer.status)
        elif not scene.excuses and not self._may_lack_answer(scene):
            self.violate(f"no answer, and no reason for it: {scene}")

    def _judge_own_answer(self, scene: Scene, status: int) -> None:
        """The proxy answered by itself."""
        if scene.is_local:
            return
        allowed = _REQUEST_STATUSES.get(scene.fault)
        if allowed is not None and status in allowed:
            return
        if status == 503 and any(server.max_connections != UNLIMITED for server in self._servers()):
            return  # its queue may be full, or too slow
        if not self._may_fail(scene):
            self.violate(f"{status} by the proxy, and no reason for it: {scene}")

    def _servers(self) -> Iterator[Server]:
        for upstream in self._config.upstreams.values():
            if upstream.queue_timeout < PATIENT:
                yield from upstream.servers

    def _may_fail(self, scene: Scene) -> bool:
        """Whether the proxy may give up on it with an answer of its own."""
        return bool(scene.excuses or scene.reply.fault or (scene.fault and scene.tries)) or not self._must_succeed(
            scene
        )

    def _may_lack_answer(self, scene: Scene) -> bool:
        return bool(scene.fault or scene.reply.fault) or not self._must_succeed(scene)

    def _must_succeed(self, scene: Scene) -> bool:
        """Whether nothing may keep it from its answer: no fault is planned, or what an origin does can be mended.

        A kept connection may be closed just when it is used: then only what may and can be repeated gets through.
        """
        kept = min((upstream.retries.replay_body for upstream in self._config.upstreams.values()), default=0)
        return scene.is_strict or (scene.is_idempotent and scene.size <= kept)

    def _judge_tunnel(self, scene: Scene, notice: ExchangeEnded | None) -> None:
        if notice is not None and notice.outcome.cause == "drained":
            return
        if scene.is_websocket and notice is not None and notice.outcome.cause != "completed":
            self.violate(f"a WebSocket is said to have ended by {notice.outcome!r}: {scene}")
        if scene.tunnel_up != scene.size or (scene.tunnel_down != scene.reply.size and not scene.was_told):
            self.violate(
                f"a tunnel carried {scene.tunnel_up} of {scene.size} up and {scene.tunnel_down} of "
                f"{scene.reply.size} down: {scene}"
            )

    # ---- causes

    def _judge_cause(self, scene: Scene, notice: ExchangeEnded, client: Client) -> None:
        cause = notice.outcome.cause
        answer = scene.answer
        is_whole = answer is not None and answer.is_complete
        left = client.has_left or client.was_reset or "the client left" in scene.excuses
        if cause == "completed" and not (is_whole or left or client.is_deaf or scene.upgrades):
            self.violate(f"it is said to be completed, and the client has no whole answer: {scene}")
        if cause == "client_left" and not left:
            self.violate(f"the client is said to have left, and is there: {scene}")
        if answer is not None and is_whole and answer.is_origins and cause in ("upstream_failed", "refused"):
            self.violate(f"it is said to have ended by {notice.outcome!r}, and the answer is whole: {scene}")
        if answer is not None and is_whole and not answer.is_origins and not scene.is_local and cause == "completed":
            self.violate(f"it is said to be completed, and the proxy gave up: {scene}")
        reply = scene.reply
        if reply.fault and reply.faulty_tries > 10 and scene.tries and not scene.excuses and not scene.fault:
            expected = _CAUSES[reply.fault]
            if cause not in expected and not reply.is_early:
                self.violate(f"it is said to have ended by {notice.outcome!r}, not {' or '.join(expected)}: {scene}")

    def finished(self) -> None:
        causes = self._causes()
        for client in self._stage.clients:
            for scene in client.scenes:
                notice = causes.get(scene.nonce)
                if notice is not None:
                    self._judge_cause(scene, notice, client)
                elif scene.tries:
                    self.violate(f"an origin got it, and no exchange ended: {scene}")
                if scene.answer is not None and scene.answer.status == 101 and not scene.excuses:
                    self._judge_tunnel(scene, notice)

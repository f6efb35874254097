"""Who may connect: how many at once, in all and of one client, and when listeners stop accepting for a while.

Listeners pause when there are as many connections as `limits.connections` allows, until one ends; and when the
system could not accept, for `ACCEPT_PAUSE`.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING

from proxycore.mechanisms.timers import Timer
from proxycore.words.effects import PauseAccepting, ResumeAccepting

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.policies.forwarding import Peer

ACCEPT_PAUSE = 0.1
"""Seconds without accepting after the system had no more files or memory for a connection."""


class Admission:
    """Counts clients' connections. `count` is all of them."""

    __slots__ = ("_clients", "_clock", "_engine", "_paused", "count")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.count = 0
        self._clients: dict[str, int] = {}
        self._paused: dict[str, None] = {}
        self._clock = Timer(engine.timers, self._resume)

    @property
    def is_waiting(self) -> bool:
        """Whether its clock runs."""
        return self._clock.at != inf

    def admit(self, who: Peer) -> bool:
        """Count a connection that has just been accepted. False: it is one too many of its client."""
        plan = self._engine.plan
        of_client = self._clients.get(who.ip, 0) + 1
        # A trusted proxy comes for many clients: what counts them is the limit of all connections.
        if of_client > plan.limits.connections_per_client and not who.is_trusted:
            return False
        self._clients[who.ip] = of_client
        self.count += 1
        if self.count >= plan.limits.connections:
            self._pause(plan.listeners)
        return True

    def leave(self, who: Peer) -> None:
        """A connection that was admitted is gone: others may be accepted again."""
        self.count -= 1
        remaining = self._clients[who.ip] - 1
        if remaining:
            self._clients[who.ip] = remaining
        else:
            del self._clients[who.ip]
        if self._paused and not self.is_waiting:
            self._resume()

    def failed(self, listener: str) -> None:
        """The system could not accept."""
        self._pause((listener,))
        self._clock.set(self._engine.now + ACCEPT_PAUSE)

    def reconfigured(self) -> None:
        """After a reload: the limit may be another, and a name that was paused may have a new socket."""
        plan = self._engine.plan
        if self.count >= plan.limits.connections:
            self._paused.clear()
            self._pause(plan.listeners)
        elif self._paused and not self.is_waiting:
            self._resume()

    def close(self) -> None:
        """Nobody is accepted any more."""
        self._clock.clear()

    def _pause(self, listeners: Iterable[str]) -> None:
        for name in listeners:
            if name not in self._paused:
                self._paused[name] = None
                self._engine.effects.append(PauseAccepting(name))

    def _resume(self) -> None:
        plan = self._engine.plan
        if self.count >= plan.limits.connections:
            return
        for name in self._paused:
            if name in plan.listeners:
                self._engine.effects.append(ResumeAccepting(name))
        self._paused.clear()

    def __repr__(self) -> str:
        return f"Admission({self.count} of {self._engine.plan.limits.connections}, paused={list(self._paused)})"

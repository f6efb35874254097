"""Connections that finish what is under way, each until a time of its own.

A reload that removes a listener gives its connections `timeouts.drain`; a drain of the whole gives all of them its
deadline, where theirs isn't sooner. Whoever isn't done then is ended.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from proxycore.mechanisms.timers import Timer

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.words.ids import ConnId

GRACE = 0.5
"""Seconds in which a client that is owed nothing is still answered when its connection begins to drain: the request
that it connected for, or its next, may be on the way. A few round trips, and what a restart waits for idle clients."""


class Draining:
    """`deadline` is that of a drain of the whole, inf while there is none."""

    __slots__ = ("_clock", "_engine", "_until", "deadline")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._until: dict[ConnId, float] = {}
        self._clock = Timer(engine.timers, self._end_due)
        self.deadline = inf

    @property
    def is_waiting(self) -> bool:
        """Whether its clock runs."""
        return self._clock.at != inf

    def begin(self, conn: ConnId, until: float) -> None:
        """The client's connection `conn` drains. A deadline that it has already isn't put off."""
        self._until[conn] = until = min(until, self._until.get(conn, inf))
        self._end_by(until)

    def begin_all(self, deadline: float) -> None:
        """Everything ends."""
        self.deadline = deadline
        for conn in self._engine.clients:
            self.begin(conn, deadline)
        self._end_by(deadline)

    def leave(self, conn: ConnId) -> None:
        """The connection is gone."""
        self._until.pop(conn, None)

    def _end_by(self, until: float) -> None:
        # A clock that is early, since its connection left, looks for the next; looking each time would take n² steps.
        self._clock.set(min(until, self._clock.at))

    def _end_due(self) -> None:
        engine = self._engine
        for conn in [conn for conn, until in self._until.items() if until <= engine.now]:
            del self._until[conn]
            engine.clients[conn].end_now()
        if engine.now >= self.deadline:
            self._end_own()
        else:
            self._end_by(min(self._until.values(), default=self.deadline))

    def _end_own(self) -> None:
        """Requests of our own, which no connection of a client ends."""
        for exchange in list(self._engine.exchanges.values()):
            if exchange.is_own and exchange.outcome is None:
                exchange.drained()

    def __repr__(self) -> str:
        return f"Draining({len(self._until)}, deadline={self.deadline:g})"

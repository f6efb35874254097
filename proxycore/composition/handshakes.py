"""TLS handshakes of clients, of which only `limits.handshakes` are under way at once.

A handshake costs a hundred times what a small request does, and holds memory before anyone is known.
Those above the limit wait in the order in which they came, unread, while their own clock runs: refusing
would turn away everyone else's clients for the sake of those who flood (HAProxy waits too).

A place is held by right for `BY_RIGHT` seconds, many times what a client takes that means to come in. After
that it is held until somebody waits for it: so places that a flood has taken and sits on are free in a moment.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from proxycore.mechanisms.timers import Timer

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine

BY_RIGHT = 1.0
"""Seconds: a handshake is two round trips and no thinking."""


class Candidate(Protocol):
    """A connection that wants to shake hands."""

    def shake_hands(self) -> None:
        """There is a place: begin. It tells `Handshakes.ended` once it is done."""

    def give_way(self) -> None:
        """Others wait, and this takes long: it is over, and `Handshakes.ended` told."""


class Handshakes:
    """Who shakes hands, and who waits."""

    __slots__ = ("_clock", "_engine", "_is_serving", "_places", "_waiting")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places: OrderedDict[Candidate, float] = OrderedDict()  # and since when, the oldest first
        self._waiting: OrderedDict[Candidate, None] = OrderedDict()
        self._clock = Timer(engine.timers, self._make_way)
        self._is_serving = False

    @property
    def under_way(self) -> int:
        """How many shake hands."""
        return len(self._places)

    def begin(self, candidate: Candidate) -> bool:
        """Take a place. False: there is none, and `candidate` is told when there is, unless it leaves."""
        if self._has_place:
            self._places[candidate] = self._engine.now
            return True
        self._waiting[candidate] = None
        self._watch()
        return False

    def leave(self, candidate: Candidate) -> None:
        """Wait no more."""
        del self._waiting[candidate]
        self._watch()

    def ended(self, candidate: Candidate) -> None:
        """One that had a place is done, well or not: the next may begin."""
        del self._places[candidate]
        if self._is_serving:
            return  # the loop below goes on: one that fails at once takes no more stack than one that doesn't
        self._is_serving = True
        try:
            while self._waiting and self._has_place:
                following, _ = self._waiting.popitem(last=False)
                self._places[following] = self._engine.now
                following.shake_hands()
        finally:
            self._is_serving = False
        self._watch()

    @property
    def _has_place(self) -> bool:
        return len(self._places) < self._engine.plan.limits.handshakes

    def _watch(self) -> None:
        """Somebody waits: be there when the oldest place is no longer held by right."""
        if self._waiting and self._places:
            self._clock.set(next(iter(self._places.values())) + BY_RIGHT)
        else:
            self._clock.clear()

    def _make_way(self) -> None:
        """As many give way as wait."""
        since = self._engine.now - BY_RIGHT
        late = [candidate for candidate, began in self._places.items() if began <= since]
        for candidate in late[: len(self._waiting)]:
            candidate.give_way()

    def __repr__(self) -> str:
        return f"Handshakes(under_way={self.under_way}, waiting={len(self._waiting)})"

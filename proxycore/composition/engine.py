"""What all parts of one machine share: the time, the queue of effects, the tables of handles, the plan.

`Core` is the door and owns one `Engine`; the parts behind the door hold it and find there the time
of the fact that is being handled, so no part passes `now` along, and none can keep an old one.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection
from random import Random
from typing import TYPE_CHECKING, Protocol

from proxycore.composition.handshakes import Handshakes
from proxycore.mechanisms.timers import Timers
from proxycore.policies.dates import http_date
from proxycore.words.effects import Effect
from proxycore.words.ids import Address, CallId, ConnId, LookupId
from proxycore.words.notices import Fault, Kind, Notice

if TYPE_CHECKING:
    from proxycore.composition.clients import ClientConnection
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.own_requests import Consumer, OwnRequest, Repetition
    from proxycore.composition.plan import Plan
    from proxycore.composition.wire import Wire
    from proxycore.words.messages import RequestHead

NOTICES_KEPT = 10_000
"""Notices that wait for `take_notices`. An observer that is this far behind loses the oldest, counted."""

TURN_SECONDS = 0.001
"""Who has used up its turn in a fact goes on after this: the others have the time that they take in a millisecond,
or one turn each if that is longer."""

NO_EFFECTS: tuple[Effect, ...] = ()


class Flushed(Protocol):
    """Whoever has something to send at the end of a fact: it puts itself into `Engine.dirty`."""

    def flush(self) -> None: ...


class Endpoint(Protocol):
    """Whoever is told the facts of a connection."""

    @property
    def wire(self) -> Wire: ...

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> None: ...
    def peer_ended(self) -> None: ...
    def connection_lost(self, error: str | None) -> None: ...


class Dialled(Endpoint, Protocol):
    """The endpoint of a connection that we asked for."""

    def connected(self, local: Address, peer: Address) -> None: ...
    def connect_failed(self, error: str) -> None: ...


class Answered(Protocol):
    """Whoever asked for a look-up or a call."""

    def completed(self, result: object) -> None: ...
    def failed(self, error: str) -> None: ...


class Fetcher(Protocol):
    """`own_requests.begin`, for those whom an exchange is made of, and who therefore can't import it."""

    def __call__(
        self, plan: Plan, upstream: str, request: RequestHead, consumer: Consumer, *, content: bytes, seconds: float
    ) -> OwnRequest: ...


class Engine:
    """The state that is everybody's. Its attributes are read freely; each is written by its owner only."""

    __slots__ = (
        "_date",
        "_date_second",
        "_minted",
        "_notices",
        "calls",
        "clients",
        "dialled",
        "dirty",
        "effects",
        "ended",
        "endpoints",
        "entropy",
        "exchange_count",
        "exchanges",
        "fetch",
        "handshakes",
        "lookups",
        "notices_dropped",
        "now",
        "own_exchange_count",
        "plan",
        "random",
        "repeat",
        "request_id_prefix",
        "sends",
        "stale_facts",
        "take_over",
        "timers",
        "wall_offset",
        "watch",
    )

    plan: Plan
    fetch: Fetcher
    repeat: Callable[[Exchange, Consumer], tuple[OwnRequest, Repetition]]
    take_over: Callable[[Exchange, Consumer], OwnRequest]

    def __init__(
        self, *, now: float, wall: float, seed: int, entropy: Callable[[int], bytes], watch: Collection[Kind]
    ) -> None:
        self.now = now
        self.wall_offset = wall - now
        self.random = Random(seed)
        self.entropy = entropy
        self.watch = frozenset(watch)
        self.timers = Timers()
        self.effects: list[Effect] = []
        self.sends: list[Effect] = []
        self.dirty: list[Flushed] = []
        self.endpoints: dict[ConnId, Endpoint] = {}
        self.clients: dict[ConnId, ClientConnection] = {}
        self.dialled: dict[ConnId, Dialled] = {}
        self.lookups: dict[LookupId, Answered] = {}
        self.calls: dict[CallId, Answered] = {}
        self.exchanges: dict[int, Exchange] = {}
        self.ended: list[Exchange] = []
        self.exchange_count = self.own_exchange_count = 0
        self.stale_facts = 0
        self.handshakes = Handshakes(self)
        self.notices_dropped = 0
        self.request_id_prefix = entropy(8).hex()
        self._date = b""
        self._date_second = -1
        self._minted = 0
        self._notices: list[Notice] = []

    @property
    def wall(self) -> float:
        """Seconds since the epoch at the fact that is being handled."""
        return self.now + self.wall_offset

    def http_date(self) -> bytes:
        """The Date of a response that has none yet (RFC 9110 section 5.6.7), made once for each second."""
        second = int(self.wall)
        if second != self._date_second:
            self._date_second = second
            self._date = http_date(second)
        return self._date

    def mint(self) -> int:
        """A new number for a handle: one counter for all kinds, so none is ever mistaken for another."""
        self._minted += 1
        return self._minted

    def hand_over(self, conn: ConnId, client: ClientConnection) -> None:
        """From now on, `client` is told the facts of this connection: it is known now what is spoken there."""
        self.endpoints[conn] = self.clients[conn] = client

    def collect(self) -> list[Effect] | tuple[Effect, ...]:
        """The effects of the fact: first what was written, joined into as few sends as is worth it, then the rest.

        Each send is tried before anything that makes another fact arise (a close, a dial): so a refusal of the
        kernel is the first thing to be told, and `settle` can count on that.
        """
        if self.dirty:
            # It may grow while it is walked: a connection of many streams writes to its wire here.
            for flushed in self.dirty:
                flushed.flush()
            self.dirty = []
        sends, effects = self.sends, self.effects
        if not sends:
            if not effects:
                return NO_EFFECTS
            self.effects = []
            return effects
        self.sends = []
        if effects:
            self.effects = []
            sends += effects
        return sends

    def settle(self) -> None:
        """Conclude the exchanges that have ended, now that it is known whether their bytes left.

        The driver asks for notices when it has tried all that was to be sent, and has told what arose
        from that: a kernel that refuses (`writing_paused`), a lost connection.
        """
        ended = self.ended
        self.ended = []
        for exchange in ended:
            exchange.settle()

    def notify(self, notice: Notice) -> None:
        """Keep a notice for whoever watches. Ask `watch` before building it."""
        if len(self._notices) >= NOTICES_KEPT:
            self.notices_dropped += len(self._notices) // 2
            del self._notices[: len(self._notices) // 2]
        self._notices.append(notice)

    def take_notices(self) -> list[Notice]:
        notices = self._notices
        self._notices = []
        return notices

    def fault(self, where: str) -> None:
        """Tell of the exception that is being handled: a bug of ours or of a user's filter."""
        if "faults" in self.watch:
            self.notify(Fault(self.wall, where, traceback.format_exc()))

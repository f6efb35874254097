"""What is on its way into a store: content as it comes, and the clients that wait for one answer of the origin."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from proxycore.composition.filters import Signal
from proxycore.config import Cache
from proxycore.policies.caching.invalidation import Purge
from proxycore.policies.caching.store import Store
from proxycore.policies.caching.stored import StoredResponse
from proxycore.words.messages import Headers, ResponseHead

UNSHARED_SECONDS: Final = 10.0
"""For so long after a response that couldn't be stored, nobody waits for another one's answer under its key."""

UNSHARED_MAX: Final = 4096
"""Keys that are remembered for it."""


class Flight:
    """One client's request to the origin, for which others under the same key wait. `signal` tells them to look again.

    `is_unshared` says that its answer was for that client alone: each asks for itself then.
    """

    __slots__ = ("is_unshared", "signal")

    def __init__(self) -> None:
        self.signal = Signal()
        self.is_unshared = False


class SharedCache:
    """One of `[caches]` at work, for all routes that name it."""

    __slots__ = ("_unshared", "flights", "store")

    def __init__(self, cache: Cache) -> None:
        self.store = Store(cache.size, cache.object_max)
        self.flights: dict[bytes, Flight] = {}
        self._unshared: OrderedDict[bytes, float] = OrderedDict()

    def configure(self, cache: Cache) -> None:
        """A reload's sizes."""
        self.store.resize(cache.size, cache.object_max)

    def purge(self, purge: Purge) -> int:
        """Remove what an operator names, and let nothing that is on its way be taken for its answer."""
        for flight in list(self.flights.values()):
            flight.is_unshared = True
        return self.store.purge(purge)

    def land(self, key: bytes, flight: Flight, *, stored: bool) -> None:
        """The answer is stored, or never will be: whoever waits goes on."""
        if self.flights.get(key) is flight:
            del self.flights[key]
        if stored:
            flight.signal.fire()
        else:
            flight.signal.abandon()

    def note_unshared(self, key: bytes, now: float) -> None:
        """The answer under this key was for one client alone, and the next will be, too."""
        self._unshared[key] = now + UNSHARED_SECONDS
        self._unshared.move_to_end(key)
        if len(self._unshared) > UNSHARED_MAX:
            self._unshared.popitem(last=False)

    def is_unshared(self, key: bytes, now: float) -> bool:
        return self._unshared.get(key, now) > now


class Fill:
    """A response that is being stored. What of its content has come is counted in the store's bytes."""

    __slots__ = ("_pieces", "_response", "_size", "_store")

    def __init__(self, store: Store, response: StoredResponse) -> None:
        """`response` is what will be stored, but for its content."""
        self._store = store
        self._response = response
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> bool:
        """Keep a piece. False: it is too much, and nothing is kept any more."""
        if self._size + len(data) > self._store.object_max or not self._store.reserve(len(data)):
            self.drop()
            return False
        self._pieces.append(data)
        self._size += len(data)
        return True

    def drop(self) -> None:
        """It won't be stored."""
        self._store.release(self._size)
        self._pieces = []
        self._size = 0

    def complete(self) -> bool:
        """All has come: store it. False: there is no room for it after all."""
        content = b"".join(self._pieces)
        self.drop()
        return self._store.put(self._response.with_content(content))


def response_of(stored: StoredResponse, headers: Headers) -> ResponseHead:
    """The head of the whole response, with these headers."""
    head = stored.head
    return ResponseHead(head.status, headers, reason=head.reason, length=head.length, has_content=head.has_content)

"""What is on its way into a store: content as it comes, and the clients that wait for one answer of the origin."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import takewhile
from typing import Final, Literal, get_args

from proxycore.composition.filters import Signal
from proxycore.composition.overview import CacheView
from proxycore.composition.streaming import BodyCut
from proxycore.config import Cache
from proxycore.policies.caching.invalidation import is_purged
from proxycore.policies.caching.store import Store
from proxycore.policies.caching.stored import StoredResponse
from proxycore.words.commands import Purge
from proxycore.words.messages import Headers, ResponseHead

UNSHARED_SECONDS: Final = 10.0
"""For so long after a response that couldn't be stored, nobody waits for another one's answer under its key."""

PIECE: Final = 64 * 1024
"""Bytes that are read at once of content that is all here."""

UNSHARED_MAX: Final = 4096
"""Keys that are remembered for it."""

VOIDED_MAX: Final = 1024
"""Purges and invalidated URLs that are remembered, for requests that were on their way meanwhile."""


Result = Literal["hits", "stale", "revalidated", "joined", "misses", "bypassed"]
"""What became of a request, as `CacheView` counts them."""


class Flight:
    """One client's request to the origin, for which others under the same key wait.

    `signal` tells them to look again: `fill` is there then, and they take the response as it comes, or it will never
    be. `is_unshared` says that the answer was for that client alone: each asks for itself.
    """

    __slots__ = ("fill", "is_unshared", "signal")

    def __init__(self) -> None:
        self.signal = Signal()
        self.fill: Fill | None = None
        self.is_unshared = False


class Fill:
    """A response that is being stored, and read by others meanwhile. What of it has come is counted in the store.

    `response` is what will be stored, but for its content; `length` is as in a head, `UNKNOWN` until the end. Where
    it turns out that it can't be stored, it goes on for those who read it, within a window of as many bytes as an
    object may have: who is further behind is cut off. `when_unread` is called when the last of them leaves before
    the end.
    """

    __slots__ = (
        "_content",
        "_dropped",
        "_pieces",
        "_readers",
        "_size",
        "_state",
        "_store",
        "length",
        "response",
        "when_unread",
    )

    def __init__(self, store: Store, response: StoredResponse, length: int) -> None:
        self.response = response
        self.length = length
        self._store = store
        self._pieces: list[bytes] = []
        self._dropped = 0
        self._size = 0
        self._content: bytes | None = None
        self._readers: list[FillReader] = []
        self.when_unread: Callable[[], object] = _nobody
        self._state: Literal["storing", "passing", "complete", "broken"] = "storing"

    @property
    def can_be_joined(self) -> bool:
        """Whether all that has come is still here."""
        return self._state == "storing"

    @property
    def is_read(self) -> bool:
        """Whether others take it as it comes."""
        return bool(self._readers)

    def add(self, data: bytes) -> bool:
        """Keep a piece. False: it won't be stored, and nobody reads it."""
        if self._state == "storing":
            if self._size + len(data) > self._store.object_max or not self._store.reserve(len(data)):
                self.forbid()
            self._size += len(data)
        self._pieces.append(data)
        if self._state == "passing":
            self._forget_read()
        for reader in self._readers:
            reader.wake()
        return self._state == "storing" or bool(self._readers)

    def forbid(self) -> None:
        """It may not be stored (any more): it is too large, or was purged before it was here."""
        if self._state == "storing":
            self._store.release(self._size)
            self._state = "passing"

    def complete(self) -> bool:
        """All has come: store it. False: it may not be stored, or there is no room for it after all."""
        is_stored = False
        if self._state == "storing":
            self._content = b"".join(self._pieces)
            self._pieces = []
            self._store.release(self._size)
            is_stored = self._store.put(self.response.with_content(self._content))
        self._end("complete")
        return is_stored

    def drop(self) -> None:
        """The rest won't come: nothing is stored, and readers are cut off when they have what is here."""
        self.forbid()
        if self._state == "passing":
            self._end("broken")

    def _end(self, state: Literal["complete", "broken"]) -> None:
        self._state = state
        for reader in self._readers:
            reader.wake()

    def _forget_read(self) -> None:
        """Keep what readers may still want, of the last bytes of the window."""
        room = self._store.object_max
        first = len(self._pieces)
        while first > 0 and room >= len(self._pieces[first - 1]):
            first -= 1
            room -= len(self._pieces[first])
        wanted = min((reader.index for reader in self._readers), default=self._dropped + len(self._pieces))
        first = max(first, wanted - self._dropped)
        del self._pieces[:first]
        self._dropped += first

    def join(self, reader: FillReader) -> None:
        self._readers.append(reader)

    def leave(self, reader: FillReader) -> None:
        self._readers.remove(reader)
        if not self._readers and self._state in ("storing", "passing"):
            self.when_unread()

    def read(self, reader: FillReader) -> bytes | None:
        """The next piece for a reader; `b""` at the end, None where it hasn't come. Raises BodyCut."""
        if self._content is not None:
            return self._content[reader.position : reader.position + PIECE]
        index = reader.index - self._dropped
        if index < 0:
            raise BodyCut
        if index < len(self._pieces):
            return self._pieces[index]
        if self._state == "broken":
            raise BodyCut
        return b"" if self._state == "complete" else None


class FillReader:
    """A `BodySource`: the content of a response that another client's request brings, as it comes.

    It stands at the piece `index`, and at the byte `position` of the content.
    """

    __slots__ = ("_fill", "index", "position", "wake")

    def __init__(self, fill: Fill) -> None:
        self._fill = fill
        self.index = 0
        self.position = 0
        self.wake: Callable[[], None] = _nobody

    def begin(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self._fill.join(self)

    def pull(self) -> bytes | None:
        data = self._fill.read(self)
        if data:
            self.index += 1
            self.position += len(data)
        return data

    def close(self) -> None:
        self._fill.leave(self)
        self.wake = _nobody  # whom it woke holds it


def _nobody() -> None: ...


class SharedCache:
    """One of `[caches]` at work, for all routes that name it.

    `voidings` counts purges and invalidations: who asks the origin notes it, and tells it to `begin`. `results` counts
    requests, each once.
    """

    __slots__ = (
        "_evicted",
        "_fills",
        "_forgotten",
        "_purged",
        "_stored",
        "_unshared",
        "_voided",
        "flights",
        "results",
        "store",
        "voidings",
    )

    def __init__(self, cache: Cache, store: Store | None = None) -> None:
        if store is None:
            store = Store(cache.size, cache.object_max, dropped=self._count_evicted)
        self.store = store
        self.results: dict[Result, int] = dict.fromkeys(get_args(Result), 0)
        self._stored = self._evicted = self._purged = 0
        self.flights: dict[bytes, Flight] = {}
        self._fills: dict[int, Fill] = {}
        self._unshared: OrderedDict[bytes, float] = OrderedDict()
        self._voided: OrderedDict[Purge | bytes, int] = OrderedDict()
        self._forgotten = 0
        self.voidings = 0

    def twin(self, cache: Cache) -> SharedCache:
        """Another over the same store, for one who looks and stores nothing: nobody waits for its requests."""
        return SharedCache(cache, self.store)

    def configure(self, cache: Cache) -> None:
        """A reload's sizes."""
        self.store.resize(cache.size, cache.object_max)

    def view(self, name: str) -> CacheView:
        """What it holds and has done, under its `name`."""
        store = self.store
        return CacheView(
            name,
            store.size,
            store.used,
            len(store),
            stored=self._stored,
            evicted=self._evicted,
            purged=self._purged,
            **self.results,
        )

    def _count_evicted(self, response: StoredResponse) -> None:
        self._evicted += 1

    def purge(self, purge: Purge) -> None:
        """Remove what an operator names. What was asked for before this isn't stored."""
        self._note_voided(purge)
        for fill in self._fills.values():
            if is_purged(purge, fill.response.url, fill.response.tags):
                fill.forbid()
        self._purged += self.store.purge(purge)

    def invalidate(self, url: bytes) -> None:
        """Remove all that is stored for a URL, and store nothing that was asked for before this."""
        self._note_voided(url)
        for fill in self._fills.values():
            if fill.response.url == url:
                fill.forbid()
        self.store.invalidate(url)

    def _note_voided(self, what: Purge | bytes) -> None:
        self.voidings += 1
        self._voided[what] = self.voidings
        self._voided.move_to_end(what)
        if len(self._voided) > VOIDED_MAX:
            _, self._forgotten = self._voided.popitem(last=False)

    def _was_voided(self, response: StoredResponse, since: int) -> bool:
        """Whether a purge or an invalidation after the first `since` concerns it; also where nobody remembers."""
        recent = takewhile(lambda voided: voided[1] > since, reversed(self._voided.items()))
        return self._forgotten > since or any(
            what == response.url if isinstance(what, bytes) else is_purged(what, response.url, response.tags)
            for what, _ in recent
        )

    def begin(self, fill: Fill, since: int) -> None:
        """A response begins to come in, that was asked for when `voidings` was `since`. `end` it once."""
        self._fills[id(fill)] = fill
        if self.voidings > since and self._was_voided(fill.response, since):
            fill.forbid()

    def end(self, fill: Fill, *, whole: bool) -> bool:
        """All has come, or no more will. True: it is stored."""
        del self._fills[id(fill)]
        if not whole:
            fill.drop()
            return False
        is_stored = fill.complete()
        self._stored += is_stored
        return is_stored

    def land(self, key: bytes, flight: Flight) -> None:
        """Nobody need wait for this flight any more: what it brought is stored, or never will be."""
        if self.flights.get(key) is flight:
            del self.flights[key]
        flight.signal.fire()

    def note_unshared(self, key: bytes, now: float) -> None:
        """The answer under this key was for one client alone, and the next will be, too."""
        self._unshared[key] = now + UNSHARED_SECONDS
        self._unshared.move_to_end(key)
        if len(self._unshared) > UNSHARED_MAX:
            self._unshared.popitem(last=False)

    def is_unshared(self, key: bytes, now: float) -> bool:
        return self._unshared.get(key, now) > now


def response_of(stored: StoredResponse, headers: Headers) -> ResponseHead:
    """The head of the whole response, with these headers."""
    head = stored.head
    return ResponseHead(head.status, headers, reason=head.reason, length=head.length, has_content=head.has_content)

"""Where responses are kept: in memory, bounded in bytes, all that belongs to them counted.

A lookup is by key, then by what Vary names. `S3Fifo` decides who stays. Whoever adds a second tier (a disk, another
machine) passes `dropped`, which is told of each response that leaves for want of room, and asks its tier between
`find` and the origin with a filter's `Ask`: nothing here ever waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from proxycore.mechanisms.s3fifo import S3Fifo, used
from proxycore.policies.caching.invalidation import is_purged
from proxycore.policies.caching.keys import vary_of
from proxycore.policies.caching.stored import StoredResponse
from proxycore.words.commands import Purge
from proxycore.words.messages import RequestHead

VARIANTS_MAX: Final = 64
"""Responses under one key. A Vary on something that is new in each request would make lookups long."""


def _forget(response: StoredResponse) -> None: ...


class Store:
    """The responses of one `[caches]` entry. Sizes are in bytes."""

    __slots__ = ("_by_key", "_by_url", "_dropped", "_kept", "object_max")

    def __init__(self, size: int, object_max: int, *, dropped: Callable[[StoredResponse], None] = _forget) -> None:
        self.object_max = object_max
        self._dropped = dropped
        self._kept: S3Fifo[StoredResponse] = S3Fifo(size, self._drop)
        self._by_key: dict[bytes, list[StoredResponse]] = {}
        self._by_url: dict[bytes, dict[bytes, StoredResponse]] = {}

    @property
    def used(self) -> int:
        """Bytes in use, never more than `size`: responses, what is coming in, and the memory of what has gone."""
        return self._kept.used

    @property
    def reserved(self) -> int:
        """Bytes among them of what is coming in."""
        return self._kept.reserved

    @property
    def size(self) -> int:
        return self._kept.capacity

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[StoredResponse]:
        return iter(self._kept)

    def find(self, key: bytes, request: RequestHead) -> StoredResponse | None:
        """The response for this request: of several that fit, the one made last (RFC 9111 section 4)."""
        variants = self._by_key.get(key)
        if variants is None:
            return None
        best: StoredResponse | None = None
        for response in variants:
            if response.vary and response.vary != vary_of([name for name, _ in response.vary], request):
                continue
            if best is None or response.made_at >= best.made_at:
                best = response
        if best is not None:
            used(best)
        return best

    def has(self, key: bytes) -> bool:
        """Whether anything is stored under this key, for whatever request."""
        return key in self._by_key

    def holds(self, response: StoredResponse) -> bool:
        """Whether this very response is stored."""
        return response in self._by_key.get(response.key, ())

    def put(self, response: StoredResponse) -> bool:
        """Keep a response, in the place of the one for the same requests. False: it is too large."""
        self.remove(response)
        if len(response.content) > self.object_max or not self._kept.add(response):
            return False
        variants = self._by_key.setdefault(response.key, [])
        if len(variants) >= VARIANTS_MAX:
            self.remove(variants[0])
            variants = self._by_key.setdefault(response.key, [])
        variants.append(response)
        self._by_url.setdefault(response.url, {})[response.fingerprint] = response
        return True

    def remove(self, response: StoredResponse) -> None:
        """Keep no more what is stored for the same requests as `response`."""
        stored = self._kept.remove(response.fingerprint)
        if stored is not None:
            self._unlist(stored)

    def invalidate(self, url: bytes) -> int:
        """Remove all that is stored for a URL, under whatever key. How many there were."""
        gone = list(self._by_url.get(url, {}).values())
        for response in gone:
            self.remove(response)
        return len(gone)

    def purge(self, purge: Purge) -> int:
        """Remove what an operator's command names; how many there were. It looks at each response in the store."""
        gone = [response for response in self._kept if is_purged(purge, response.url, response.tags)]
        for response in gone:
            self.remove(response)
        return len(gone)

    def reserve(self, size: int) -> bool:
        """Make room for content that is coming in. `release` gives it back. False: there is no such room."""
        return self._kept.reserve(size)

    def release(self, size: int) -> None:
        self._kept.release(size)

    def resize(self, size: int, object_max: int) -> None:
        """A reload's sizes."""
        self.object_max = object_max
        self._kept.resize(size)

    def _drop(self, response: StoredResponse) -> None:
        self._unlist(response)
        self._dropped(response)

    def _unlist(self, response: StoredResponse) -> None:
        variants = self._by_key[response.key]
        variants.remove(response)
        if not variants:
            del self._by_key[response.key]
        same_url = self._by_url[response.url]
        del same_url[response.fingerprint]
        if not same_url:
            del self._by_url[response.url]

    def __repr__(self) -> str:
        return f"Store({len(self)} responses, {self._kept!r})"

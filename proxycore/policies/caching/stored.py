"""A response in the store: its head and content, and what is needed to know what it is good for."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from proxycore.mechanisms.http1.writer import response_lines
from proxycore.policies.caching.freshness import Freshness
from proxycore.policies.caching.keys import Vary
from proxycore.words.messages import Field, Headers, ResponseHead, WrittenHeaders

OVERHEAD: Final = 1600
"""Bytes that a stored response takes beside its texts: its objects, and its places in the store's tables."""

FIELD_OVERHEAD: Final = 170
"""Bytes that a field takes beside its texts: a tuple and two bytes objects."""


class StoredResponse:
    """One response to a GET, whole. It never changes: an update makes another.

    `head.length` is that of `content`. `received_at` is the core's clock, `made_at` wall time by its Date;
    `initial_age` are the seconds that it was old when it was received.
    """

    __slots__ = (
        "_shown",
        "_shown_age",
        "content",
        "cost",
        "fingerprint",
        "freshness",
        "head",
        "initial_age",
        "key",
        "made_at",
        "received_at",
        "tags",
        "url",
        "uses",
        "vary",
    )

    def __init__(
        self,
        key: bytes,
        url: bytes,
        vary: Vary,
        head: ResponseHead,
        content: bytes,
        freshness: Freshness,
        *,
        received_at: float,
        initial_age: float,
        made_at: float,
        tags: frozenset[bytes] = frozenset(),
    ) -> None:
        self.key = key
        self.url = url
        self.vary = vary
        self.head = head
        self.content = content
        self.freshness = freshness
        self.received_at = received_at
        self.initial_age = initial_age
        self.made_at = made_at
        self.tags = tags
        self.uses = 0
        self._shown_age = -1
        self._shown: tuple[list[Field], bytes] = ([], b"")
        self.fingerprint = fingerprint_of(key, vary)
        self.cost = cost_of(key, url, vary, head.headers, len(content), tags)

    def age(self, now: float) -> float:
        """Seconds since it was made, as far as anybody knows (RFC 9111 section 4.2.3)."""
        return self.initial_age + now - self.received_at

    def is_fresh(self, now: float) -> bool:
        """Whether it may serve whoever asks for nothing special."""
        freshness = self.freshness
        return not freshness.no_cache and self.initial_age + now - self.received_at < freshness.lifetime

    def headers_at(self, age: int, make_status: Callable[[float], bytes]) -> Headers:
        """Its fields with Age, and the Cache-Status that `make_status` makes of the seconds that it stays fresh.

        They are written once for each second of age: of what is asked for often, most answers are the same bytes.
        """
        if age != self._shown_age:
            own = [(b"age", b"%d" % age), (b"cache-status", make_status(self.freshness.lifetime - age))]
            fields = self.head.headers.fields + own
            self._shown = fields, response_lines(fields)
            self._shown_age = age
        return WrittenHeaders(*self._shown)

    def with_content(self, content: bytes) -> StoredResponse:
        """The same with `content`, and a head that says how long it is."""
        head = self.head.copy()
        head.length = len(content)
        head.has_content = head.length > 0
        return StoredResponse(
            self.key,
            self.url,
            self.vary,
            head,
            content,
            self.freshness,
            received_at=self.received_at,
            initial_age=self.initial_age,
            made_at=self.made_at,
            tags=self.tags,
        )

    def with_head(
        self, head: ResponseHead, freshness: Freshness, *, received_at: float, initial_age: float, made_at: float
    ) -> StoredResponse:
        """The same content under a head that the origin has just told to be true."""
        return StoredResponse(
            self.key,
            self.url,
            self.vary,
            head,
            self.content,
            freshness,
            received_at=received_at,
            initial_age=initial_age,
            made_at=made_at,
            tags=self.tags,
        )

    def __repr__(self) -> str:
        return f"StoredResponse({self.url!r}, {self.head.status}, {len(self.content)} bytes, {self.freshness!r})"


def fingerprint_of(key: bytes, vary: Vary) -> bytes:
    """Names a variant. A digest, since it is remembered long after the response is gone."""
    digest = blake2b(key, digest_size=16)
    for name, value in vary:
        digest.update(b"\n%b:%b" % (name, b"\r" if value is None else value))
    return digest.digest()


def cost_of(
    key: bytes,
    url: bytes,
    vary: Vary,
    headers: Headers,
    length: int,
    tags: frozenset[bytes],
) -> int:
    """Bytes of memory that a response takes in the store, a little more rather than less."""
    texts = [*headers.fields, *((name, value or b"") for name, value in vary), *((tag, b"") for tag in tags)]
    fields = sum(len(name) + len(value) for name, value in texts) + len(texts) * FIELD_OVERHEAD
    lines = sum(len(name) + len(value) + 4 for name, value in headers.fields) + len(headers.fields) * 8
    return OVERHEAD + len(key) + len(url) + fields + lines + length

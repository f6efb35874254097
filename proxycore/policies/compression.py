"""Which responses are coded on their way, and in which coding (RFC 9110 sections 8.4 and 12.5.3).

What an origin coded, or said not to transform, passes as it is; so does a part of something (206), because a part
of the coded content would be another part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from proxycore.config.model import Compression
from proxycore.mechanisms.codings import Coding
from proxycore.words.messages import Headers, ResponseHead

_WEIGHT = re.compile(rb"[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.IGNORECASE)

_MEMBERS_MAX = 32
"""Nobody's Accept-Encoding is longer."""

_NEVER_CODED = frozenset((204, 205, 206, 304, 416))


class Offer:
    """What a route codes: `codings` in the order of our preference, and which responses."""

    __slots__ = ("_codings", "_exact", "_minimum", "_prefixes")

    def __init__(self, codings: Sequence[Coding], compression: Compression) -> None:
        self._codings = [(coding, coding.encode()) for coding in codings]
        types = [media_type.lower().encode() for media_type in compression.types]
        self._exact = frozenset(types)
        self._prefixes = tuple(media_type[:-1] for media_type in types if media_type.endswith(b"/*"))
        self._minimum = compression.minimum

    def choose(self, headers: Headers) -> Coding | None:
        """The coding for a request with these headers: the client's weights first, our order among equals.

        None where the client names none of ours, likes the plain content better, or names nothing at all.
        """
        weights = accepted_codings(headers.get_all(b"accept-encoding"))
        if not weights:
            return None
        others = weights.get(b"*", 0.0)
        best: Coding | None = None
        best_weight = weights.get(b"identity", 0.0)
        for coding, name in self._codings:
            weight = weights.get(name, others)
            if weight > best_weight or (best is None and weight == best_weight > 0):
                best, best_weight = coding, weight
        return best

    def covers(self, head: ResponseHead) -> bool:
        """Whether this response is coded for clients that take it so. Say so with Vary to those, too, that don't."""
        if head.status in _NEVER_CODED or 0 <= head.length < self._minimum:
            return False
        media_type = (head.headers.get(b"content-type") or b"").partition(b";")[0].strip(b" \t").lower()
        if media_type not in self._exact and not media_type.startswith(self._prefixes):
            return False
        headers = head.headers
        return b"content-encoding" not in headers and b"content-range" not in headers and not _is_fixed(headers)


def accepted_codings(lines: Sequence[bytes]) -> dict[bytes, float]:
    """The weight of each coding of Accept-Encoding, in lower case. A weight that can't be read counts as none."""
    weights: dict[bytes, float] = {}
    for member in b",".join(lines).split(b",", _MEMBERS_MAX)[:_MEMBERS_MAX]:
        name, *parameters = member.split(b";")
        name = name.strip(b" \t").lower()
        if not name:
            continue
        weight = 1.0
        if parameters:
            match = _WEIGHT.fullmatch(parameters[0])
            weight = float(match[1]) if match is not None else 0.0
        weights.setdefault(b"gzip" if name == b"x-gzip" else name, weight)
    return weights


def _is_fixed(headers: Headers) -> bool:
    """Whether the origin forbids to change content (RFC 9111 section 5.2.2.6)."""
    return any(b"no-transform" in line.lower() for line in headers.get_all(b"cache-control"))


def vary_by_coding(headers: Headers) -> None:
    """Tell caches that who accepts other codings gets other content (RFC 9110 section 12.5.5)."""
    named = [name.lower() for name in headers.get_list(b"vary")]
    if b"accept-encoding" not in named and b"*" not in named:
        headers.add(b"vary", b"accept-encoding")


def mark_coded(headers: Headers, coding: Coding) -> None:
    """The head of what is coded now. Ranges of it can't be had: the same content may be coded otherwise next time."""
    headers.set(b"content-encoding", coding.encode())
    headers.remove(b"accept-ranges")

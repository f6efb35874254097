"""Conditional requests: from a client, answered from the store; from us, to ask whether a stored response still holds.

RFC 9110 section 13 and RFC 9111 section 4.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from proxycore.policies.dates import parse_http_date
from proxycore.words.messages import ABSENT, Field, Headers, RequestHead, ResponseHead

# RFC 9110 section 8.8.3. What stands unquoted is taken as it is, so that the same odd tag still matches itself.
_TAGS = re.compile(rb'(?:W/)?"[^"]*"|[^,\s][^,]*')

_CONDITIONS = frozenset((b"if-none-match", b"if-modified-since"))

_NOT_IN_304 = frozenset((b"content-type", b"content-encoding", b"content-language", b"content-range", b"last-modified"))
"""RFC 9110 section 15.4.5: a 304 is to be small. Last-Modified goes too where an ETag says more."""

_NEVER_UPDATED = frozenset(
    # RFC 9111 section 3.2: what describes the stored bytes stays with them.
    (b"content-encoding", b"content-type", b"content-range", b"content-length", b"etag", b"age", b"cache-status")
)


def is_not_modified(request: RequestHead, stored: Headers, *, wall: float, received_at: float) -> bool:
    """Whether this client has what is stored, so that a 304 says it all (RFC 9110 section 13.2.2).

    `received_at` is when we got it: it stands in where the response has no Last-Modified (RFC 9111 section 4.3.2).
    """
    tags = request.headers.get_all(b"if-none-match")
    if tags:
        return _matches(tags, stored.get(b"etag"))
    since = request.headers.get(b"if-modified-since")
    if since is None:
        return False
    asked = parse_http_date(since, wall)
    if asked is None:
        return False
    modified = stored.get(b"last-modified") or stored.get(b"date")
    modified_at = parse_http_date(modified, wall) if modified is not None else None
    return (received_at if modified_at is None else modified_at) <= asked


def _matches(lines: Iterable[bytes], tag: bytes | None) -> bool:
    """The weak comparison (RFC 9110 section 8.8.3.2) of a tag with those of If-None-Match."""
    asked = b",".join(lines)
    if asked.strip(b" \t") == b"*":
        return True
    if tag is None:
        return False
    plain = opaque(tag)
    return any(opaque(found) == plain for found in _TAGS.findall(asked))


def opaque(tag: bytes) -> bytes:
    """What weak comparison compares of a tag."""
    return tag.strip(b" \t").removeprefix(b"W/")


def not_modified(stored: ResponseHead) -> ResponseHead:
    """The 304 that stands for `stored`: its fields that a client updates its own copy by."""
    dropped = _NOT_IN_304 if b"etag" in stored.headers else _NOT_IN_304 - {b"last-modified"}
    fields = [field for field in stored.headers.fields if field[0] not in dropped]
    return ResponseHead(304, Headers(fields), reason=b"Not Modified", length=ABSENT)


def is_conditional(request: RequestHead) -> bool:
    """Whether the client asks for less than the whole response."""
    return any(name in _CONDITIONS or name == b"range" for name, _ in request.headers.fields)


def revalidation_fields(fields: Iterable[Field], stored: Headers) -> list[Field]:
    """The fields of a request that asks whether `stored` still holds: its own, our conditions instead of the client's.

    Without a Range: what comes instead of a 304 is to be the whole.
    """
    kept = [field for field in fields if field[0] not in _CONDITIONS and field[0] not in (b"range", b"if-range")]
    tag = stored.get(b"etag")
    if tag is not None:
        kept.append((b"if-none-match", tag))
    modified = stored.get(b"last-modified")
    if modified is not None:
        kept.append((b"if-modified-since", modified))
    return kept


def can_be_validated(stored: Headers) -> bool:
    """Whether the origin can be asked if it still holds."""
    return b"etag" in stored or b"last-modified" in stored


def is_about(update: Headers, stored: Headers) -> bool:
    """Whether a 304, or a HEAD's 200, is about the stored response (RFC 9111 sections 4.3.4 and 4.3.5)."""
    tag, other = update.get(b"etag"), stored.get(b"etag")
    if tag is not None and other is not None:
        return opaque(tag) == opaque(other)
    modified = update.get(b"last-modified")
    return modified is None or modified == stored.get(b"last-modified")


def updated(stored: Headers, update: Headers) -> Headers:
    """The stored fields, each replaced by those of that name in the update (RFC 9111 section 3.2)."""
    new = [field for field in update.fields if field[0] not in _NEVER_UPDATED]
    names = {name for name, _ in new}
    return Headers([field for field in stored.fields if field[0] not in names] + new)

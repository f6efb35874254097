"""Ranges of a response that is stored whole (RFC 9110 section 14). One range; who asks for several gets all."""

from __future__ import annotations

import re
from typing import NamedTuple

from proxycore.policies.dates import parse_http_date
from proxycore.words.messages import Headers, RequestHead, ResponseHead

_RANGE = re.compile(rb"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)


class Span(NamedTuple):
    """The bytes from `first` up to and without `end`."""

    first: int
    end: int


UNSATISFIABLE = Span(0, -1)
"""A range that lies behind the end."""


def asked_span(request: RequestHead, stored: ResponseHead, size: int, *, wall: float) -> Span | None:
    """The part that this request asks for, UNSATISFIABLE, or None for the whole (also where a range can't be read)."""
    asked = request.headers.get_all(b"range")
    if len(asked) != 1 or request.method != b"GET" or stored.status != 200:
        return None
    match = _RANGE.fullmatch(asked[0])
    if match is None or not _range_may_serve(request.headers.get(b"if-range"), stored.headers, wall):
        return None
    first, last = match[1], match[2]
    if first:
        end = size if not last else min(size, int(last) + 1)
        if last and int(last) < int(first):
            return None  # invalid, and so to be ignored (section 14.1.1)
        return Span(int(first), end) if int(first) < size else UNSATISFIABLE
    if not last:
        return None
    if int(last) == 0 or size == 0:
        return UNSATISFIABLE
    return Span(max(0, size - int(last)), size)


def _range_may_serve(if_range: bytes | None, stored: Headers, wall: float) -> bool:
    """If-Range: a strong tag that is the same byte for byte, or the exact time (RFC 9110 section 13.1.5)."""
    if if_range is None:
        return True
    if if_range.startswith(b'"'):
        return if_range == stored.get(b"etag")
    modified = stored.get(b"last-modified")
    date = stored.get(b"date")
    if modified is None or date is None or modified != if_range:
        return False
    modified_at, made_at = parse_http_date(modified, wall), parse_http_date(date, wall)
    # RFC 9110 section 8.8.2.2: within a second of Date it is a weak validator, and two versions may share it.
    return modified_at is not None and made_at is not None and made_at >= modified_at + 1


def partial(stored: ResponseHead, span: Span, size: int) -> ResponseHead:
    """The head of the 206 for a part of `stored`, or of the 416 for one that isn't there."""
    if span == UNSATISFIABLE:
        fields = [field for field in stored.headers.fields if field[0] in (b"date", b"etag", b"last-modified", b"vary")]
        headers = Headers([*fields, (b"content-range", b"bytes */%d" % size)])
        return ResponseHead(416, headers, reason=b"Range Not Satisfiable", length=0)
    headers = stored.headers.copy()
    headers.set(b"content-range", b"bytes %d-%d/%d" % (span.first, span.end - 1, size))
    length = span.end - span.first
    return ResponseHead(206, headers, reason=b"Partial Content", length=length, has_content=True)

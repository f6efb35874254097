"""The responses that we make ourselves: errors, redirects, and what `respond` says.

An error's body says what happened in words that a person can read, and nothing of the inside: no
address, no name of an upstream, no version. Who prefers JSON gets a problem document (RFC 9457); who
doesn't gets the configuration's error page for that status, or else plain text. The request id is in
each, so that who complains can be matched with the log.

Framing and the connection are not decided here: whether the content is sent at all (HEAD), and whether
the connection goes on.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from proxycore.words.messages import Field, Headers, ResponseHead

_PROBLEM = b"application/problem+json"
# What each form of an error satisfies, the most telling first.
_JSON_RANGES = (b"application/problem+json", b"application/json", b"application/*")
_TEXT_RANGES = (b"text/plain", b"text/*")
_PAGE_RANGES = (b"text/html", b"text/*")
_ANY_RANGE = b"*/*"

# RFC 9110 section 12.4.2: at most three digits after the point.
_WEIGHT = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


def local_response(
    status: int,
    reason: str,
    *,
    accept: bytes | None = None,
    error_pages: Mapping[int, bytes] | None = None,
    request_id: str = "",
    retry_after: float | None = None,
    allow: Iterable[str] = (),
    proxy_status: bytes | None = None,
) -> tuple[ResponseHead, bytes]:
    """An error of our own, with its body.

    `reason` is a sentence for the client. `accept` is the request's Accept, its lines joined by commas;
    `error_pages` are HTML documents by status. `retry_after` are the seconds of Retry-After (429, 503),
    `allow` the methods of Allow, which a 405 must have (RFC 9110 section 15.5.6), `proxy_status` what the
    function of that name gave.
    """
    page = error_pages.get(status) if error_pages else None
    if accept and prefers_json(accept, _TEXT_RANGES if page is None else _PAGE_RANGES):
        media_type, body = _PROBLEM, _problem(status, reason, request_id)
    elif page is not None:
        media_type, body = b"text/html; charset=utf-8", page
    else:
        media_type, body = b"text/plain; charset=utf-8", _plain_text(status, reason, request_id)
    fields: list[Field] = [(b"content-type", media_type), (b"cache-control", b"no-store")]
    if retry_after is not None:
        fields.append((b"retry-after", b"%d" % max(0, math.ceil(retry_after))))
    methods = ", ".join(allow)
    if methods or status == 405:
        fields.append((b"allow", methods.encode()))
    if proxy_status is not None:
        fields.append((b"proxy-status", proxy_status))
    return _head(status, fields, body), body


def redirect_response(status: int, location: bytes) -> tuple[ResponseHead, bytes]:
    """A redirect to `location`, which must be safe to send (`rewriting.Redirection` gives such)."""
    body = b"%d %s\n\n%s\n" % (status, phrase_of(status), location)
    return _head(status, [(b"location", location), (b"content-type", b"text/plain; charset=utf-8")], body), body


def proxy_status(error: str | None = None, *, received: int | None = None) -> bytes:
    """A Proxy-Status value (RFC 9209): why we made this response.

    `error` is one of the types of its section 2.3, as in `Failure.error`; `received` the status that a server
    had sent before we gave up on it.
    """
    value = b"proxycore"
    if error is not None:
        value += b"; error=" + error.encode()
    if received is not None:
        value += b"; received-status=%d" % received
    return value


def phrase_of(status: int) -> bytes:
    """The reason phrase of a status; empty for one that has none."""
    return _PHRASES.get(status, b"")


def prefers_json(accept: bytes, others: tuple[bytes, ...] = _TEXT_RANGES) -> bool:
    """Whether an Accept (RFC 9110 section 12.5.1) puts JSON above the media ranges `others`.

    The weight decides, then who is named more exactly, then who is named first. So a browser gets text,
    and `application/json, text/plain, */*`, which a script sends, gets JSON.
    """
    ranges = _parse_accept(accept)
    return _rank(ranges, _JSON_RANGES) > _rank(ranges, others)


def _rank(ranges: dict[bytes, tuple[float, int]], names: tuple[bytes, ...]) -> tuple[float, int, int]:
    """How much some media ranges are wanted: weight, exactness, and how early they are named."""
    best = (0.0, 0, 0)
    for exactness, name in ((1, _ANY_RANGE), *((3 if name[-1:] != b"*" else 2, name) for name in names)):
        weight, position = ranges.get(name, (0.0, 0))
        if weight:
            best = max(best, (weight, exactness, -position))
    return best


def _parse_accept(accept: bytes) -> dict[bytes, tuple[float, int]]:
    """Weight and position of each media range. A weight that can't be read counts as none."""
    ranges: dict[bytes, tuple[float, int]] = {}
    for position, member in enumerate(accept.split(b",")):
        name, *parameters = (part.strip(b" \t").lower() for part in member.split(b";"))
        weight = next((parameter[2:] for parameter in parameters if parameter[:2] == b"q="), b"1")
        ranges.setdefault(name, (float(weight) if _WEIGHT.fullmatch(weight) else 0.0, position))
    return ranges


def _problem(status: int, reason: str, request_id: str) -> bytes:
    document: dict[str, str | int] = {"status": status, "title": phrase_of(status).decode()}
    if reason:
        document["detail"] = reason
    if request_id:
        document["request_id"] = request_id
    return json.dumps(document).encode() + b"\n"


def _plain_text(status: int, reason: str, request_id: str) -> bytes:
    text = f"{status} {phrase_of(status).decode()}".rstrip() + "\n"
    if reason:
        text += f"\n{reason}\n"
    if request_id:
        text += f"\nRequest {request_id}\n"
    return text.encode()


def _head(status: int, fields: list[Field], body: bytes) -> ResponseHead:
    return ResponseHead(status, Headers(fields), reason=phrase_of(status), length=len(body), has_content=len(body) > 0)

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
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from proxycore.config.model import HeaderEdits, Respond, Route
from proxycore.policies.rewriting import HeaderChanges, Redirection
from proxycore.policies.variables import Scope
from proxycore.words.messages import ABSENT, Field, Headers, ResponseHead

SERVED = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What a 405 allows where nothing is known of the resource: CONNECT and TRACE are served nowhere."""

_PROBLEM = b"application/problem+json"
_PLAIN = b"text/plain"
_PAGE = b"text/html"

# Nobody's Accept is longer, and each range costs a microsecond.
_RANGES_MAX = 50

# RFC 9110 section 12.4.2: at most three digits after the point.
_WEIGHT = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")

# RFC 9110 section 15 renamed some since Python 3.11.
_RENAMED = {
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    422: b"Unprocessable Content",
}
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus} | _RENAMED


def local_response(
    status: int,
    reason: str,
    *,
    accept: bytes | None = None,
    error_pages: Mapping[int, bytes] | None = None,
    request_id: str = "",
    retry_after: float | None = None,
    allow: Sequence[str] = (),
    proxy_status: bytes | None = None,
) -> tuple[ResponseHead, bytes]:
    """An error of our own, with its body.

    `reason` is a sentence for the client. `accept` is the request's Accept, its lines joined by commas;
    `error_pages` are HTML documents by status. `retry_after` are the seconds of Retry-After (429, 503),
    `allow` the methods of Allow, which a 405 must have (RFC 9110 section 15.5.6): `SERVED` where none are given.
    `proxy_status` is what the function of that name gave.
    """
    page = error_pages.get(status) if error_pages else None
    if accept and prefers_json(accept, over=_PLAIN if page is None else _PAGE):
        media_type, body = _PROBLEM, _problem(status, reason, request_id)
    elif page is not None:
        media_type, body = _PAGE + b"; charset=utf-8", page
    else:
        media_type, body = _PLAIN + b"; charset=utf-8", _plain_text(status, reason, request_id)
    fields: list[Field] = [(b"content-type", media_type), (b"cache-control", b"no-store")]
    if retry_after is not None:
        fields.append((b"retry-after", b"%d" % max(0, math.ceil(retry_after))))
    methods = ", ".join(allow or (SERVED if status == 405 else ()))
    if methods:
        fields.append((b"allow", methods.encode()))
    if proxy_status is not None:
        fields.append((b"proxy-status", proxy_status))
    return _head(status, fields, body), body


Answer = Callable[[Scope], tuple[ResponseHead, bytes]]
"""Makes the response of a route that needs no upstream, and its content."""


def compile_answer(route: Route) -> Answer | None:
    """What a route's `redirect` or `respond` answers; None for one that sends to an upstream."""
    if route.redirect is not None:
        return _redirecting(Redirection(route.redirect))
    if route.respond is not None:
        return _responding(route.respond)
    return None


def _redirecting(redirection: Redirection) -> Answer:
    status = redirection.status

    def answer(scope: Scope) -> tuple[ResponseHead, bytes]:
        location = redirection.location(scope)
        body = b"%d %b\n\n%b\n" % (status, phrase_of(status), location)
        return _head(status, [(b"location", location), (b"content-type", _PLAIN)], body), body

    return answer


def _responding(respond: Respond) -> Answer:
    body = respond.body.encode()
    typed = body and "content-type" not in respond.headers
    constants: list[Field] = [(b"content-type", _PLAIN + b"; charset=utf-8")] if typed else []
    changes = HeaderChanges(HeaderEdits(set=respond.headers))

    def answer(scope: Scope) -> tuple[ResponseHead, bytes]:
        head = _head(respond.status, constants.copy(), body)
        changes.apply(head.headers, scope)
        return head, body

    return answer


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


def prefers_json(accept: bytes, *, over: bytes = _PLAIN) -> bool:
    """Whether an Accept (RFC 9110 section 12.5.1) puts JSON above the media type `over`.

    The weight decides, then who is named more exactly, then who is named first. So a browser gets text,
    and `application/json, text/plain, */*`, which a script sends, gets JSON. Who names HTML reads text,
    also where there is no page.
    """
    ranges = _parse_accept(accept)
    text = _rank(ranges, over)
    if _PAGE in ranges:
        text = max(text, _rank(ranges, _PAGE))
    return max(_rank(ranges, _PROBLEM), _rank(ranges, b"application/json")) > text


def _rank(ranges: dict[bytes, tuple[float, int]], media_type: bytes) -> tuple[float, int, int]:
    """How much a media type is wanted: weight, exactness of the range that tells so, and how early it is named."""
    for exactness, name in ((3, media_type), (2, media_type.partition(b"/")[0] + b"/*"), (1, b"*/*")):
        if name in ranges:
            weight, position = ranges[name]
            return (weight, exactness, -position) if weight else (0.0, 0, 0)
    return (0.0, 0, 0)


def _parse_accept(accept: bytes) -> dict[bytes, tuple[float, int]]:
    """Weight and position of each media range. A weight that can't be read counts as none."""
    ranges: dict[bytes, tuple[float, int]] = {}
    for position, member in enumerate(accept.split(b",", _RANGES_MAX)[:_RANGES_MAX]):
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
    # RFC 9110 sections 8.6 and 15.4.5: a 204 declares no length, and a 304 none but that of what it stands for.
    length = ABSENT if status in (204, 304) else len(body)
    return ResponseHead(status, Headers(fields), reason=phrase_of(status), length=length, has_content=len(body) > 0)

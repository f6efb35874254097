"""The responses that we make ourselves."""

from __future__ import annotations

import json

import pytest

from proxycore.config.model import Redirect, Respond, Route
from proxycore.policies.local_responses import compile_answer, local_response, phrase_of, prefers_json, proxy_status
from proxycore.policies.variables import Scope
from proxycore.words.messages import ABSENT, Headers, RequestHead

BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (b"", False),
        (b"*/*", False),
        (BROWSER, False),
        (b"application/json", True),
        (b"application/problem+json", True),
        (b"APPLICATION/JSON", True),
        (b"application/*", True),
        (b"application/json, text/plain, */*", True),
        (b"text/plain, application/json, */*", False),
        (b"application/json;q=0.5, text/plain", False),
        (b"text/html, application/json;q=0.5", False),
        (b"text/html, application/json, */*;q=0.1", False),
        (b"application/json, text/html;q=0.9", True),
        (b"text/html;q=0, application/json;q=0.5", True),
        (b"application/json ; q=0.9 , text/plain;q=0.8", True),
        (b"application/json, */*", True),
        (b"*/*, application/json", True),
        (b"text/plain;q=0.1, */*", True),
        (b"text/plain;q=0, */*;q=0.1", True),
        (b"application/json;q=0", False),
        (b"application/json;q=2", False),
        (b"application/json;q=nan", False),
        (b"application/json;q=1e9", False),
        (b"text/*;q=0.5, application/*;q=0.6", True),
        (b",,;=;q, application/json", True),
        (b"a/b," * 100 + b"application/json", False),
    ],
)
def test_who_prefers_json(accept: bytes, expected: bool) -> None:
    assert prefers_json(accept) is expected


def test_an_error_in_plain_text() -> None:
    head, body = local_response(502, "No server answered.", accept=b"*/*", request_id="r-1")
    assert body == b"502 Bad Gateway\n\nNo server answered.\n\nRequest r-1\n"
    assert (head.status, head.reason, head.length, head.has_content) == (502, b"Bad Gateway", len(body), True)
    assert head.headers.get(b"content-type") == b"text/plain; charset=utf-8"
    assert head.headers.get(b"cache-control") == b"no-store"


def test_an_error_as_a_problem_document() -> None:
    head, body = local_response(429, 'Too "many".', accept=b"application/json", request_id="r-1", retry_after=1.2)
    document = {"status": 429, "title": "Too Many Requests", "detail": 'Too "many".', "request_id": "r-1"}
    assert json.loads(body) == document
    assert head.headers.get(b"content-type") == b"application/problem+json"
    assert head.headers.get(b"retry-after") == b"2"
    assert head.length == len(body)


def test_an_error_page_is_for_who_takes_html() -> None:
    pages = {502: b"<h1>Sorry</h1>"}
    head, body = local_response(502, "x", accept=BROWSER, error_pages=pages)
    assert (body, head.headers.get(b"content-type")) == (b"<h1>Sorry</h1>", b"text/html; charset=utf-8")
    assert local_response(502, "x", accept=b"*/*", error_pages=pages)[1] == b"<h1>Sorry</h1>"
    assert local_response(502, "x", error_pages=pages)[1] == b"<h1>Sorry</h1>"
    assert local_response(502, "x", accept=b"application/json", error_pages=pages)[1].startswith(b"{")
    assert local_response(503, "x", accept=BROWSER, error_pages=pages)[1].startswith(b"503 ")


@pytest.mark.parametrize(("seconds", "field"), [(0.0, b"0"), (0.1, b"1"), (30, b"30"), (-1, b"0")])
def test_retry_after_is_rounded_up(seconds: float, field: bytes) -> None:
    assert local_response(503, "", retry_after=seconds)[0].headers.get(b"retry-after") == field


def test_a_405_always_says_what_is_allowed() -> None:
    assert local_response(405, "", allow=["GET", "HEAD"])[0].headers.get(b"allow") == b"GET, HEAD"
    assert local_response(405, "")[0].headers.get(b"allow") == b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
    assert b"allow" not in local_response(404, "")[0].headers


def test_proxy_status_tells_the_kind_of_error_only() -> None:
    assert proxy_status("connection_refused") == b"proxycore; error=connection_refused"
    assert proxy_status("http_response_timeout", received=502) == (
        b"proxycore; error=http_response_timeout; received-status=502"
    )
    head, _ = local_response(502, "", proxy_status=proxy_status("connection_refused"))
    assert head.headers.get(b"proxy-status") == b"proxycore; error=connection_refused"


@pytest.mark.parametrize(
    ("status", "phrase"), [(200, b"OK"), (413, b"Content Too Large"), (422, b"Unprocessable Content"), (299, b"")]
)
def test_phrases_are_those_of_rfc_9110_on_every_python(status: int, phrase: bytes) -> None:
    assert phrase_of(status) == phrase


def test_a_status_without_a_phrase() -> None:
    assert local_response(599, "")[1] == b"599\n"


class Situation:
    """As much of an exchange as these answers look at."""

    def __init__(self, target: bytes) -> None:
        self.request = RequestHead(b"GET", target, b"example.com", Headers())
        self.request_id = "id-1"


def answer_to(route: Route, target: bytes = b"/a") -> tuple[int, dict[bytes, bytes], bytes, int]:
    answer = compile_answer(route)
    assert answer is not None
    scope: Scope = Situation(target)  # type: ignore[assignment]  # it reads no more
    head, body = answer(scope)
    again, _ = answer(scope)
    assert again == head
    assert again.headers.fields is not head.headers.fields, "a filter may change one of them"
    assert head.has_content is bool(body)
    return head.status, dict(head.headers.fields), body, head.length


def test_respond() -> None:
    respond = Respond(status=201, body="é\n", headers={"X-Id": "{request_id}"})
    fields = {b"content-type": b"text/plain; charset=utf-8", b"x-id": b"id-1"}
    assert answer_to(Route(respond=respond)) == (201, fields, "é\n".encode(), 3)


def test_respond_with_a_type_of_its_own() -> None:
    respond = Respond(body="{}", headers={"Content-Type": "application/json"})
    assert answer_to(Route(respond=respond)) == (200, {b"content-type": b"application/json"}, b"{}", 2)


@pytest.mark.parametrize(("status", "length"), [(200, 0), (204, ABSENT), (205, 0), (304, ABSENT)])
def test_respond_with_nothing(status: int, length: int) -> None:
    assert answer_to(Route(respond=Respond(status=status))) == (status, {}, b"", length)


def test_redirect() -> None:
    status, fields, body, length = answer_to(Route(redirect=Redirect(scheme="https", status=308)), b"/a?b")
    assert (status, fields[b"location"], length) == (308, b"https://example.com/a?b", len(body))
    assert body == b"308 Permanent Redirect\n\nhttps://example.com/a?b\n"


def test_a_route_to_an_upstream_answers_nothing_itself() -> None:
    assert compile_answer(Route(upstream="a")) is None

"""What a client gets of a stored response: 304, a part, and what a 304 from the origin makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.policies.caching.cache_status import collapsed_status, forwarded_status, hit_status
from proxycore.policies.caching.invalidation import invalidated_urls, is_purged, tags_of
from proxycore.policies.caching.ranges import UNSATISFIABLE, Span, asked_span, partial
from proxycore.policies.caching.validators import (
    is_about,
    is_not_modified,
    not_modified,
    revalidation_fields,
    updated,
)
from proxycore.policies.dates import http_date
from proxycore.words.commands import CommandRefused, Purge, PurgeKind
from proxycore.words.messages import ABSENT, Field, Headers, RequestHead, ResponseHead

WALL = 784111777.0
MODIFIED = http_date(WALL - 1000)
STORED = [(b"etag", b'"a"'), (b"last-modified", MODIFIED), (b"date", http_date(WALL - 10)), (b"content-type", b"x/y")]


def get(*fields: Field, method: bytes = b"GET", host: bytes = b"example.com", target: bytes = b"/d/f") -> RequestHead:
    return RequestHead(method, target, host, Headers(list(fields)))


@pytest.mark.parametrize(
    ("asked", "stored", "expected"),
    [
        ([], STORED, False),
        ([(b"if-none-match", b'"a"')], STORED, True),
        ([(b"if-none-match", b'W/"a"')], STORED, True),
        ([(b"if-none-match", b'"b"')], STORED, False),
        ([(b"if-none-match", b'"b", "a"')], STORED, True),
        ([(b"if-none-match", b'"b"'), (b"if-none-match", b'"a"')], STORED, True),
        ([(b"if-none-match", b'"b, "a"')], STORED, False),
        ([(b"if-none-match", b"*")], STORED, True),
        ([(b"if-none-match", b'"a"')], [], False),
        ([(b"if-none-match", b'"a"')], [(b"etag", b'W/"a"')], True),
        # RFC 9110 section 13.2.2: where there are tags, the time doesn't count.
        ([(b"if-none-match", b'"b"'), (b"if-modified-since", MODIFIED)], STORED, False),
        ([(b"if-modified-since", MODIFIED)], STORED, True),
        ([(b"if-modified-since", http_date(WALL - 999))], STORED, True),
        ([(b"if-modified-since", http_date(WALL - 1001))], STORED, False),
        ([(b"if-modified-since", b"yesterday")], STORED, False),
        ([(b"if-modified-since", http_date(WALL))], [(b"date", http_date(WALL - 5))], True),
        ([(b"if-modified-since", http_date(WALL - 20))], [], False),
    ],
)
def test_whether_the_client_has_it(asked: list[Field], stored: list[Field], expected: bool) -> None:
    assert is_not_modified(get(*asked), Headers(stored), wall=WALL, received_at=WALL - 10) is expected


def test_a_304_of_our_own_is_small() -> None:
    head = not_modified(ResponseHead(200, Headers(STORED), length=5, has_content=True))
    assert (head.status, head.length, head.has_content) == (304, ABSENT, False)
    assert [name for name, _ in head.headers] == [b"etag", b"date"]


def test_we_ask_with_the_stored_validators_and_for_the_whole() -> None:
    asked = [(b"if-none-match", b'"mine"'), (b"range", b"bytes=0-1"), (b"if-range", b'"mine"'), (b"accept", b"x/y")]
    expected = [(b"accept", b"x/y"), (b"if-none-match", b'"a"'), (b"if-modified-since", MODIFIED)]
    assert revalidation_fields(asked, Headers(STORED)) == expected


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ([], True),
        ([(b"etag", b'W/"a"')], True),
        ([(b"etag", b'"b"')], False),
        ([(b"etag", b'"b"'), (b"last-modified", MODIFIED)], False),
        ([(b"last-modified", MODIFIED)], True),
        ([(b"last-modified", http_date(WALL))], False),
    ],
)
def test_whether_an_update_is_about_what_is_stored(update: list[Field], expected: bool) -> None:
    assert is_about(Headers(update), Headers(STORED)) is expected


def test_an_update_replaces_fields_but_not_what_describes_the_bytes() -> None:
    stored = Headers([(b"a", b"1"), (b"b", b"1"), (b"content-type", b"x/y"), (b"etag", b'"a"')])
    update = Headers([(b"b", b"2"), (b"b", b"3"), (b"c", b"4"), (b"content-type", b"z/z"), (b"content-length", b"9")])
    expected = [(b"a", b"1"), (b"content-type", b"x/y"), (b"etag", b'"a"'), (b"b", b"2"), (b"b", b"3"), (b"c", b"4")]
    assert updated(stored, update).fields == expected


WHOLE = ResponseHead(200, Headers(STORED), length=10, has_content=True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], None),
        ([(b"range", b"bytes=0-1")], Span(0, 2)),
        ([(b"range", b"BYTES=0-1")], Span(0, 2)),
        ([(b"range", b"bytes=3-")], Span(3, 10)),
        ([(b"range", b"bytes=3-99")], Span(3, 10)),
        ([(b"range", b"bytes=-3")], Span(7, 10)),
        ([(b"range", b"bytes=-99")], Span(0, 10)),
        ([(b"range", b"bytes=10-")], UNSATISFIABLE),
        ([(b"range", b"bytes=-0")], UNSATISFIABLE),
        ([(b"range", b"bytes=5-3")], None),
        ([(b"range", b"bytes=-")], None),
        ([(b"range", b"bytes=0-1,3-4")], None),
        ([(b"range", b"bytes=+1-2")], None),
        ([(b"range", b"lines=0-1")], None),
        ([(b"range", b"bytes=0-1"), (b"range", b"bytes=0-1")], None),
        ([(b"range", b"bytes=0-1"), (b"if-range", b'"a"')], Span(0, 2)),
        ([(b"range", b"bytes=0-1"), (b"if-range", b'"b"')], None),
        ([(b"range", b"bytes=0-1"), (b"if-range", b'W/"a"')], None),
        ([(b"range", b"bytes=0-1"), (b"if-range", MODIFIED)], Span(0, 2)),
        ([(b"range", b"bytes=0-1"), (b"if-range", http_date(WALL))], None),
    ],
)
def test_spans(fields: list[Field], expected: Span | None) -> None:
    assert asked_span(get(*fields), WHOLE, 10, wall=WALL) == expected


def test_only_a_get_of_a_200_has_parts() -> None:
    asked = get((b"range", b"bytes=0-1"), method=b"HEAD")
    assert asked_span(asked, WHOLE, 10, wall=WALL) is None
    assert asked_span(get((b"range", b"bytes=0-1")), ResponseHead(404, Headers()), 10, wall=WALL) is None


def test_heads_of_parts() -> None:
    part = partial(WHOLE, Span(2, 5), 10)
    assert (part.status, part.length, part.headers.get(b"content-range")) == (206, 3, b"bytes 2-4/10")
    none = partial(WHOLE, UNSATISFIABLE, 10)
    assert (none.status, none.length, none.headers.get(b"content-range")) == (416, 0, b"bytes */10")


@given(st.integers(0, 40), st.integers(0, 60), st.integers(0, 60), st.sampled_from([b"%d-%d", b"%d-", b"-%d"]))
def test_a_span_lies_within(size: int, first: int, last: int, form: bytes) -> None:
    asked = form % ((first, last) if form.count(b"%d") == 2 else (first,))
    span = asked_span(get((b"range", b"bytes=" + asked)), WHOLE, size, wall=WALL)
    if span is not None and span != UNSATISFIABLE:
        assert 0 <= span.first < span.end <= size
        assert partial(WHOLE, span, size).length == span.end - span.first


@pytest.mark.parametrize(
    ("method", "status", "fields", "urls"),
    [
        (b"GET", 200, [], []),
        (b"OPTIONS", 200, [], []),
        (b"POST", 200, [], [b"http://example.com/d/f"]),
        (b"PUT", 302, [], [b"http://example.com/d/f"]),
        (b"DELETE", 404, [], []),
        (b"POST", 500, [], []),
        (b"X", 200, [], [b"http://example.com/d/f"]),
        (b"POST", 201, [(b"location", b"g")], [b"http://example.com/d/f", b"http://example.com/d/g"]),
        (b"POST", 201, [(b"location", b"//EXAMPLE.com:80/g#x")], [b"http://example.com/d/f", b"http://example.com/g"]),
        (b"POST", 201, [(b"content-location", b"/h?i")], [b"http://example.com/d/f", b"http://example.com/h?i"]),
        (b"POST", 201, [(b"location", b"http://other.example/g")], [b"http://example.com/d/f"]),
        (b"POST", 201, [(b"location", b"https://example.com/g")], [b"http://example.com/d/f"]),
        (b"POST", 201, [(b"location", b"http://example.com?g")], [b"http://example.com/d/f", b"http://example.com/?g"]),
        (b"POST", 201, [(b"location", b"http://[")], [b"http://example.com/d/f"]),
        (b"POST", 201, [(b"location", b"\xff")], [b"http://example.com/d/f"]),
    ],
)
def test_what_an_unsafe_request_makes_void(method: bytes, status: int, fields: list[Field], urls: list[bytes]) -> None:
    assert list(invalidated_urls(get(method=method), ResponseHead(status, Headers(fields)))) == urls


@pytest.mark.parametrize(
    ("purge", "expected"),
    [
        (Purge("url", "http://example.com/a/b?c"), True),
        (Purge("url", "HTTP://Example.com:80/a/b?c"), True),
        (Purge("url", "http://example.com/a/b"), False),
        (Purge("prefix", "http://example.com/a/"), True),
        (Purge("prefix", "http://example.com"), True),
        (Purge("prefix", "http://example.com/b"), False),
        (Purge("host", "EXAMPLE.com"), True),
        (Purge("host", "le.com"), False),
        (Purge("tag", "news"), True),
        (Purge("tag", "new"), False),
    ],
)
def test_purges(purge: Purge, expected: bool) -> None:
    assert is_purged(purge, b"http://example.com/a/b?c", frozenset((b"news", b"sports"))) is expected


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("url", "/a"),
        ("url", "a.test/b"),
        ("url", ""),
        ("prefix", "ftp://a/"),
        ("prefix", "http://"),
        ("host", ""),
        ("host", "a:80"),
        ("host", "http://a"),
        ("tag", " "),
    ],
)
def test_a_purge_of_what_nothing_can_have_is_refused(kind: PurgeKind, what: str) -> None:
    with pytest.raises(CommandRefused):
        Purge(kind, what)


def test_tags_by_whatever_field() -> None:
    headers = Headers([(b"cache-tag", b"a, b"), (b"surrogate-key", b"c d"), (b"cache-groups", b'"e", "f"')])
    assert tags_of(headers) == {b"a", b"b", b"c", b"d", b"e", b"f"}


def test_cache_status() -> None:
    assert hit_status(b"proxycore", 4.7) == b"proxycore; hit; ttl=4"
    assert hit_status(b"proxycore", -2.0) == b"proxycore; hit; ttl=-2"
    expected = b"proxycore; fwd=uri-miss; fwd-status=200; stored"
    assert forwarded_status(b"proxycore", "uri-miss", status=200, stored=True) == expected
    assert forwarded_status(b"proxycore", "method", status=200, stored=False, detail="method").endswith(
        b"detail=method"
    )
    assert collapsed_status(b"proxycore", "uri-miss") == b"proxycore; fwd=uri-miss; collapsed"

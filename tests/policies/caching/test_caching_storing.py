"""What a shared cache may store, by RFC 9111 section 3, and under which name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.config import RouteCache
from proxycore.policies.caching.directives import response_directives
from proxycore.policies.caching.freshness import freshness_of
from proxycore.policies.caching.keys import KEY_MAX, compile_key, url_of, vary_names, vary_of
from proxycore.policies.caching.storing import StoringRules, request_refusal, response_refusal, stored_fields
from proxycore.policies.forwarding import Client
from proxycore.words.messages import UNKNOWN, Field, Headers, RequestHead, ResponseHead

WALL = 784111777.0
FRESH = (b"cache-control", b"max-age=60")
MODIFIED = (b"last-modified", b"Sun, 06 Nov 1994 07:49:37 GMT")


def get(target: bytes = b"/", *fields: Field, host: bytes = b"example.com", method: bytes = b"GET") -> RequestHead:
    return RequestHead(method, target, host, Headers(list(fields)))


def refusal(
    *fields: Field, request: RequestHead | None = None, status: int = 200, cache: RouteCache | None = None
) -> str | None:
    rules = StoringRules(cache or RouteCache(store="main"))
    headers = Headers(list(fields))
    directives = response_directives(headers)
    freshness = freshness_of(status, headers, directives, wall=WALL, valid=rules.valid)
    request = request or get()
    is_authorized = b"authorization" in request.headers
    head = ResponseHead(status, headers)
    return response_refusal(request, head, directives, freshness, rules, is_authorized=is_authorized)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([FRESH], None),
        ([MODIFIED], None),
        ([(b"etag", b'"a"')], None),
        ([(b"cache-control", b"no-cache"), MODIFIED], None),
        ([(b"cache-control", b"no-cache")], "no-lifetime"),
        ([(b"cache-control", b"max-age=0")], "no-lifetime"),
        ([(b"cache-control", b"max-age=0, stale-if-error=60")], None),
        ([], "no-lifetime"),
        ([(b"cache-control", b"max-age=60, no-store")], "no-store"),
        ([(b"cache-control", b"max-age=60, NO-STORE")], "no-store"),
        ([(b"cache-control", b"max-age=60, private")], "private"),
        ([(b"cache-control", b"max-age=60, private, s-maxage=60")], "private"),
        ([(b"cache-control", b'max-age=60, private="x"')], None),
        ([(b"cache-control", b"max-age=60, no-store, must-understand")], None),
        ([(b"cache-control", b"max-age=60, no-store"), (b"cdn-cache-control", b"max-age=60")], None),
        ([(b"cache-control", b"max-age=60"), (b"cdn-cache-control", b"no-store")], "no-store"),
        ([FRESH, (b"vary", b"*")], "vary"),
        ([FRESH, (b"vary", b"accept"), (b"vary", b"x, *")], "vary"),
        ([FRESH, (b"set-cookie", b"a=b")], "set-cookie"),
        ([(b"cache-control", b"max-age=60, public"), (b"set-cookie", b"a=b")], None),
        ([(b"cache-control", b'max-age=60, no-cache="Set-Cookie"'), (b"set-cookie", b"a=b")], None),
        ([(b"cache-control", b'max-age=60, private="x, set-cookie"'), (b"set-cookie", b"a=b")], None),
        ([(b"cdn-cache-control", b"max-age=60"), (b"set-cookie", b"a=b")], "set-cookie"),
    ],
)
def test_what_a_response_says(fields: list[Field], expected: str | None) -> None:
    assert refusal(*fields) == expected


@pytest.mark.parametrize(
    ("directives", "expected"),
    [
        (b"max-age=60", "authorization"),
        (b"max-age=60, public", None),
        (b"s-maxage=60", None),
        (b"max-age=60, must-revalidate", None),
        (b"max-age=60, proxy-revalidate", "authorization"),
    ],
)
def test_a_request_with_authorization(directives: bytes, expected: str | None) -> None:
    request = get(b"/", (b"authorization", b"Basic eA=="))
    for name in (b"cache-control", b"cdn-cache-control"):
        assert refusal((name, directives), request=request) == expected


@pytest.mark.parametrize(("status", "expected"), [(206, "status"), (304, "status"), (599, None), (100, "status")])
def test_the_status(status: int, expected: str | None) -> None:
    assert refusal(FRESH, status=status) == expected


def test_a_status_that_must_be_understood() -> None:
    told = (b"cache-control", b"max-age=60, no-store, must-understand")
    assert refusal(told, status=599) == "must-understand"
    assert refusal(told, status=404) is None


VALID = RouteCache(store="main", valid={200: "10m"})


@pytest.mark.parametrize("credential", [b"authorization", b"cookie"])
@pytest.mark.parametrize("field", [None, MODIFIED])
def test_the_answer_to_one_user_is_not_kept_because_the_origin_said_nothing(
    credential: bytes, field: Field | None
) -> None:
    request = get(b"/", (credential, b"a=b"))
    said = [] if field is None else [field]
    assert refusal(*said, cache=VALID) is None
    assert refusal(*said, request=request, cache=VALID) == credential.decode()
    keyed = RouteCache(store="main", valid={200: "10m"}, key=["path", f"header.{credential.decode()}"])
    assert refusal(*said, request=request, cache=keyed) is None


@pytest.mark.parametrize(
    ("request_head", "expected"),
    [
        (get(), None),
        (get(method=b"HEAD"), None),
        (get(method=b"POST"), "method"),
        (RequestHead(b"GET", b"/", b"a", Headers(), length=3), "content"),
        (RequestHead(b"GET", b"/", b"a", Headers(), length=UNKNOWN), "content"),
        (get(b"/" + b"x" * KEY_MAX), "key-length"),
    ],
)
def test_what_a_request_must_be(request_head: RequestHead, expected: str | None) -> None:
    assert request_refusal(request_head, response_directives(Headers())) == expected


def test_fields_that_are_for_one_client_are_not_kept() -> None:
    headers = Headers(
        [
            (b"cache-control", b'max-age=60, private="A", no-cache="b, c"'),
            (b"a", b"1"),
            (b"b", b"2"),
            (b"c", b"3"),
            (b"d", b"4"),
            (b"proxy-authenticate", b"Basic"),
            (b"age", b"9"),
        ]
    )
    directives = response_directives(headers)
    freshness = freshness_of(200, headers, directives, wall=WALL)
    assert [name for name, _ in stored_fields(headers, directives, freshness)] == [b"cache-control", b"d"]


class Asked:
    """What a key is read from."""

    def __init__(self, request: RequestHead, client: Client | None = None) -> None:
        self.request = request
        self.client = client or Client("192.0.2.1", "1", b"http", chain=b"192.0.2.1")
        self.upstream = "api"

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


DEFAULT = compile_key(RouteCache(store="main").key, "route")


def key(request: RequestHead, client: Client | None = None, make: Callable[[Any], bytes | None] = DEFAULT) -> bytes:
    found = make(Asked(request, client))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (get(b"/a"), get(b"/a"), True),
        (get(b"/a"), get(b"/b"), False),
        (get(b"/a"), get(b"/A"), False),
        (get(b"/a?b"), get(b"/a?c"), False),
        (get(b"/a"), get(b"/a?"), False),
        (get(b"/a"), get(b"/%61"), False),
        (get(host=b"EXAMPLE.com"), get(), True),
        (get(host=b"example.com:80"), get(), True),
        (get(host=b"example.com:81"), get(), False),  # an origin may write it into links
        (get(host=b"example.org"), get(), False),
        (get(b"/a", (b"x-forwarded-host", b"evil.example")), get(b"/a"), True),  # it never reaches the origin
    ],
)
def test_requests_with_one_key(one: RequestHead, other: RequestHead, same: bool) -> None:
    assert (key(one) == key(other)) is same


def test_a_host_that_a_trusted_proxy_told_is_in_the_key() -> None:
    told = Client("192.0.2.1", "1", b"http", chain=b"192.0.2.1", host=b"evil.example")
    assert key(get()) != key(get(), told)


def test_too_long_a_key_is_none() -> None:
    assert DEFAULT(Asked(get(b"/" + b"x" * KEY_MAX))) is None


TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=8).map(str.encode)


@given(st.tuples(TEXT, TEXT), st.tuples(TEXT, TEXT))
def test_no_two_lists_of_values_collide(one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> None:
    make = compile_key(["header.a", "header.b"], "route")
    keys = [key(get(b"/", (b"a", a), (b"b", b)), make=make) for a, b in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)


def test_the_url_that_purges_name() -> None:
    assert url_of(get(b"/a?b", host=b"Example.COM:80")) == b"http://example.com/a?b"


@pytest.mark.parametrize(
    ("name", "one", "other", "same"),
    [
        (b"foo", [b"1"], [b"1"], True),
        (b"foo", [b"1"], [b"2"], False),
        (b"foo", [b"1"], [], False),
        (b"foo", [b""], [], False),
        (b"foo", [b"1, 2"], [b"1", b"2"], True),
        (b"foo", [b"1,2"], [b" 1 , 2 "], True),
        (b"foo", [b"1, 2"], [b"2, 1"], False),
        (b"foo", [b"a"], [b"A"], False),
        (b"foo", [b'"a, b"'], [b'"a,b"'], False),
        (b"accept-language", [b"en, de"], [b"De,en"], True),
        (b"accept-language", [b"en, de;q=0.5"], [b"de; q=0.5,en"], True),
        (b"accept-language", [b"en, de;q=0.5"], [b"de;q=0.6,en"], False),
        (b"accept-encoding", [b"gzip, br"], [b"br, gzip"], True),
    ],
)
def test_values_that_mean_the_same_select_the_same(
    name: bytes, one: list[bytes], other: list[bytes], same: bool
) -> None:
    keys = [vary_of([name], get(b"/", *((name, line) for line in lines))) for lines in (one, other)]
    assert (keys[0] == keys[1]) is same


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([], ()),
        ([b"Foo, bar"], (b"bar", b"foo")),
        ([b"foo", b"foo,,Bar"], (b"bar", b"foo")),
        ([b"*"], None),
        ([b", *"], None),
        ([b"foo", b"*"], None),
        ([b",".join(b"x%d" % n for n in range(20))], None),
    ],
)
def test_what_a_response_varies_by(lines: list[bytes], names: tuple[bytes, ...] | None) -> None:
    assert vary_names(Headers([(b"vary", line) for line in lines])) == names

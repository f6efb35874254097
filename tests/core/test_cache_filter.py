"""A shared cache at work in the proxy: what is asked for, what the origin is asked, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Filter
from proxycore.config import BasicAuth, Cache, Config, ConfigError, Listener, Route, RouteCache, Upstream
from proxycore.mechanisms.codings import Coding
from proxycore.testing import Proxy
from proxycore.testing.proxy import Journey
from proxycore.words.commands import Purge

URL = "http://example.com/a"
MINUTE = {"Cache-Control": "max-age=60"}


def make_proxy(
    *,
    compress: tuple[Coding, ...] = (),
    trusted: tuple[str, ...] = (),
    size: str = "1MiB",
    filters: Sequence[Filter] = (),
    rewrite: dict[str, str] | None = None,
    rewrite_responses: bool = False,
    **cache: Any,
) -> Proxy:
    config = Config(
        listeners=[Listener(name="web", bind="127.0.0.1:0", trusted_proxies=trusted)],
        upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"])},
        caches={"main": Cache(size=size, object_max="64KiB")},
        routes=[
            Route(
                upstream="api",
                compress=compress,
                cache=RouteCache(store="main", **cache),
                rewrite=rewrite,
                rewrite_responses=rewrite_responses,
            )
        ],
    )
    return Proxy(config, filters=filters)


@pytest.fixture
def proxy() -> Proxy:
    return make_proxy()


def fill(proxy: Proxy, fields: Mapping[str, str] = MINUTE, body: bytes = b"one", url: str = URL) -> Journey:
    return proxy.get(url).returns(200, fields, body).is_answered(200, body=body)


def is_hit(journey: Journey) -> bool:
    return journey.outbound is None and journey.status in (200, 206, 304)


def test_what_is_fresh_is_answered_from_the_store(proxy: Proxy) -> None:
    fill(proxy, {**MINUTE, "X-Own": "1"}).gets(cache_status="proxycore; fwd=uri-miss; fwd-status=200; stored", age=None)
    proxy.pass_time(7.5)
    journey = proxy.get(URL).is_answered(200, body=b"one")
    assert is_hit(journey)
    journey.gets(age="7", x_own="1", cache_status="proxycore; hit; ttl=53", content_length="3")


def test_a_head_is_answered_from_a_get(proxy: Proxy) -> None:
    fill(proxy)
    journey = proxy.head(URL).is_answered(200, body=b"").gets(content_length="3")
    assert is_hit(journey)


def test_what_is_stale_is_asked_for_again(proxy: Proxy) -> None:
    fill(proxy)
    proxy.pass_time(60)
    proxy.get(URL).goes_to("api").sends(if_none_match=None).returns(200, MINUTE, b"two").is_answered(200, body=b"two")
    assert is_hit(proxy.get(URL).is_answered(200, body=b"two"))


TAGGED = {**MINUTE, "ETag": '"1"', "X-Own": "1"}


def test_a_304_renews_what_is_stored(proxy: Proxy) -> None:
    fill(proxy, TAGGED)
    proxy.pass_time(61)
    journey = proxy.get(URL, headers={"If-None-Match": '"mine"'}).sends(if_none_match='"1"')
    journey.returns(304, {"ETag": '"1"', "X-Own": "2"}).is_answered(200, body=b"one")
    journey.gets(x_own="2", cache_status="proxycore; fwd=stale; fwd-status=304")
    proxy.pass_time(59)
    assert is_hit(proxy.get(URL).is_answered(200, body=b"one").gets(x_own="2"))


@pytest.mark.parametrize(("told", "shared"), [("max-age=60", False), ("max-age=60, public", True)])
def test_a_cookie_that_a_304_sets_is_for_who_asked(proxy: Proxy, told: str, shared: bool) -> None:
    fields = {"Cache-Control": told, "ETag": '"1"'}
    fill(proxy, fields)
    proxy.pass_time(61)
    renewed = proxy.get(URL).returns(304, {**fields, "Set-Cookie": "user=ann"}).is_answered(200, body=b"one")
    renewed.gets(set_cookie="user=ann")
    assert is_hit(proxy.get(URL).gets(set_cookie="user=ann" if shared else None))


def test_the_connection_that_brought_a_304_is_kept(proxy: Proxy) -> None:
    fill(proxy, TAGGED)
    proxy.pass_time(61)
    journey = proxy.get(URL).returns(304, {"ETag": '"1"'})
    assert journey.servers[-1] not in journey.lost


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ({"If-None-Match": '"1"'}, 304, b""),
        ({"If-None-Match": '"2"'}, 200, b"0123456789"),
        ({"Range": "bytes=2-4"}, 206, b"234"),
        ({"Range": "bytes=20-"}, 416, b""),
        ({"Range": "bytes=2-4", "If-Range": '"2"'}, 200, b"0123456789"),
    ],
)
def test_less_than_the_whole(proxy: Proxy, asked: dict[str, str], status: int, body: bytes) -> None:
    fill(proxy, TAGGED, b"0123456789")
    journey = proxy.get(URL, headers=asked).is_answered(status, body=body)
    assert journey.outbound is None


def test_what_must_not_be_stored_isnt(proxy: Proxy) -> None:
    journey = proxy.get(URL).returns(200, {"Cache-Control": "no-store"}, b"one")
    journey.gets(cache_status="proxycore; fwd=uri-miss; fwd-status=200; detail=no-store")
    proxy.get(URL).goes_to("api")


def test_a_newer_answer_that_must_not_be_stored_takes_the_older_ones_place(proxy: Proxy) -> None:
    fill(proxy, TAGGED)
    proxy.get(URL, headers={"Cache-Control": "no-cache"}).returns(200, {"Cache-Control": "no-store"}, b"two")
    proxy.get(URL).goes_to("api").sends(if_none_match=None)


def test_what_is_cut_isnt_stored(proxy: Proxy) -> None:
    journey = proxy.get(URL)
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nonly"
    proxy._tell("data_received", journey.servers[-1], head)
    proxy._tell("connection_lost", journey.servers[-1], "ECONNRESET")
    journey.lost.add(journey.servers[-1])
    proxy.get(URL).goes_to("api")


def test_what_is_too_large_isnt_stored() -> None:
    proxy = make_proxy()
    fill(proxy, MINUTE, b"x" * 70_000)
    proxy.get(URL).goes_to("api")


def test_responses_that_vary_are_told_apart(proxy: Proxy) -> None:
    vary = {**MINUTE, "Vary": "Accept-Language"}
    proxy.get(URL, headers={"Accept-Language": "de"}).returns(200, vary, b"eins")
    journey = proxy.get(URL, headers={"Accept-Language": "en"}).goes_to("api")
    journey.returns(200, vary, b"one").gets(cache_status="proxycore; fwd=vary-miss; fwd-status=200; stored")
    assert is_hit(proxy.get(URL, headers={"Accept-Language": "DE"}).is_answered(200, body=b"eins"))
    assert is_hit(proxy.get(URL, headers={"Accept-Language": "en"}).is_answered(200, body=b"one"))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_an_unsafe_request_that_succeeds_makes_the_stored_void(proxy: Proxy, method: str) -> None:
    fill(proxy)
    fill(proxy, url="http://example.com/other")
    failing = proxy.request(method, URL, body=b"x").returns(500)
    failing.gets(cache_status="proxycore; fwd=method; fwd-status=500")
    assert is_hit(proxy.get(URL))
    proxy.request(method, URL, body=b"x").returns(201, {"Location": "/other"})
    proxy.get(URL).goes_to("api")
    proxy.get("http://example.com/other").goes_to("api")


def test_no_parameter_ends_before_the_key_says_so() -> None:
    proxy = make_proxy(key=("query.a", "query.b"))
    fill(proxy, url="http://example.com/?a=1%0A2&b=3")
    assert not is_hit(proxy.get("http://example.com/?a=1&b=2%0A3"))
    assert is_hit(proxy.get("http://example.com/?b=3&a=1%0a2"))


def test_only_if_cached(proxy: Proxy) -> None:
    asked = {"Cache-Control": "only-if-cached"}
    proxy.get(URL, headers=asked).is_refused(504, rule="only-if-cached")
    fill(proxy)
    assert is_hit(proxy.get(URL, headers=asked).is_answered(200))


def test_valid_speaks_for_an_origin_that_is_silent_but_never_about_one_user() -> None:
    proxy = make_proxy(valid={200: "10m"})
    proxy.get(URL, headers={"Cookie": "user=ann"}).returns(200, {}, b"ann's").is_answered(200, body=b"ann's")
    proxy.get(URL, headers={"Cookie": "user=bob"}).goes_to("api").returns(200, {}, b"bob's")
    proxy.get(URL).goes_to("api").returns(200, {}, b"everyone's")
    assert is_hit(proxy.get(URL).is_answered(200, body=b"everyone's"))


def test_an_answer_to_a_user_whom_we_know_is_kept_only_if_it_is_for_all() -> None:
    class Gate(Filter):
        def on_request(self, exchange: Exchange) -> None:
            exchange.user = "ann"

    known = make_proxy(filters=[Gate()])
    known.get(URL).returns(200, MINUTE, b"ann's").gets(
        cache_status="proxycore; fwd=uri-miss; fwd-status=200; detail=authorization"
    )
    known.get(URL).goes_to("api").returns(200, {"Cache-Control": "public, max-age=60"}, b"everyone's")
    assert is_hit(known.get(URL))


def test_bypass() -> None:
    proxy = make_proxy(bypass={"header": {"X-No-Cache": "*"}})
    fill(proxy)
    journey = proxy.get(URL, headers={"X-No-Cache": "1"}).goes_to("api").returns(200, MINUTE, b"two")
    journey.gets(cache_status="proxycore; fwd=bypass; fwd-status=200")
    assert is_hit(proxy.get(URL).is_answered(200, body=b"one"))


@pytest.mark.parametrize("failure", ["503", "reset", "refused"])
def test_a_stale_response_covers_for_an_origin_that_fails(failure: str) -> None:
    proxy = make_proxy(stale_if_error="1h")
    fill(proxy)
    proxy.pass_time(100)
    if failure == "refused":
        proxy.refusing.add(("127.0.0.1", 3000))
    journey = proxy.get(URL)
    if failure == "503":
        journey.returns(503)
    elif failure == "reset":
        for _ in ("on the connection that was kept", "on a fresh one", "on the retry"):
            proxy._tell("connection_lost", journey.servers[-1], "ECONNRESET")
    journey.is_answered(200, body=b"one").gets(age="100")


def test_a_stored_failure_covers_for_none() -> None:
    proxy = make_proxy(stale_if_error="1h")
    proxy.get(URL).returns(503, MINUTE, b"first")
    proxy.pass_time(100)
    proxy.get(URL).returns(503, {}, b"second").is_answered(503, body=b"second")


def test_must_revalidate_gives_no_stale_answer() -> None:
    proxy = make_proxy(stale_if_error="1h")
    fill(proxy, {"Cache-Control": "max-age=60, must-revalidate"})
    proxy.pass_time(100)
    proxy.get(URL).returns(503).is_answered(503)


def test_a_fat_get_neither_asks_the_store_nor_fills_it(proxy: Proxy) -> None:
    proxy.get(URL, body=b"x=evil").returns(200, MINUTE, b"evil")
    fill(proxy)
    proxy.get(URL, body=b"x=evil").goes_to("api")
    assert is_hit(proxy.get(URL).is_answered(200, body=b"one"))


@pytest.mark.parametrize(
    "field",
    [
        "X-Forwarded-Host",
        "X-Host",
        "X-Forwarded-Scheme",
        "X-Forwarded-Prefix",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "Forwarded",
    ],
)
@pytest.mark.parametrize("trusted", [(), ("192.0.2.0/24",)])
def test_what_changes_answers_behind_the_keys_back_never_reaches_the_origin(
    field: str, trusted: tuple[str, ...]
) -> None:
    proxy = make_proxy(trusted=trusted)
    evil = proxy.get(URL, headers={field: "evil.example"})
    assert evil.outbound is not None
    reached = any(b"evil.example" in value for _, value in evil.outbound.headers)
    evil.returns(200, MINUTE, b"evil" if reached else b"one")
    plain = proxy.get(URL)
    assert plain.outbound is not None or plain.body == b"one"


def test_the_spelling_of_a_host_reaches_no_origin(proxy: Proxy) -> None:
    proxy.get("http://EXAMPLE.com:80/a").goes_to("api", host="example.com").sends(x_forwarded_host="example.com")


def test_a_port_is_in_the_key(proxy: Proxy) -> None:
    proxy.get("http://example.com:1234/a").goes_to("api", host="example.com:1234").returns(200, MINUTE, b"evil")
    proxy.get(URL).goes_to("api")


GZIP = {"Accept-Encoding": "gzip"}
HTML = {**MINUTE, "Content-Type": "text/html"}
TEXT = b"to be or not to be " * 100


def test_what_is_coded_is_stored_once_for_each_coding() -> None:
    proxy = make_proxy(compress=("gzip",))
    coded = proxy.get(URL, headers={"Accept-Encoding": "gzip, br"}).sends(accept_encoding="gzip")
    coded.returns(200, HTML, TEXT).gets(content_encoding="gzip")
    plain = proxy.get(URL).goes_to("api").sends(accept_encoding="identity").returns(200, HTML, TEXT)
    plain.is_answered(200, body=TEXT)
    again = proxy.get(URL, headers={"Accept-Encoding": "deflate, gzip;q=0.5"})
    assert is_hit(again.gets(content_encoding="gzip", vary="accept-encoding"))
    assert again.body == coded.body
    assert is_hit(proxy.get(URL, headers={"Accept-Encoding": "br"}).is_answered(200, body=TEXT))


def test_purges() -> None:
    proxy = make_proxy()
    fill(proxy, {**MINUTE, "Cache-Tag": "news"})
    fill(proxy, url="http://example.com/b")
    proxy._tell("commanded", Purge("tag", "news"))
    proxy.get(URL).goes_to("api")
    assert is_hit(proxy.get("http://example.com/b"))


def test_what_a_server_says_of_itself_is_told_in_the_clients_words_from_the_store_too() -> None:
    proxy = make_proxy(rewrite={"strip_prefix": "/shop"}, rewrite_responses=True)
    url = "http://example.com/shop/a"
    moved = {**MINUTE, "Location": "http://127.0.0.1:3000/b"}
    proxy.get(url).goes_to("api", path="/a").returns(301, moved).gets(location="http://example.com/shop/b")
    hit = proxy.get(url).gets(location="http://example.com/shop/b")
    assert hit.outbound is None


def test_what_is_stored_outlives_a_reload(proxy: Proxy) -> None:
    fill(proxy)
    proxy._tell("reconfigured", proxy.core.config, None)
    assert is_hit(proxy.get(URL))


EVIL = b"evil.example"
HOSTS = ["example.com", "EXAMPLE.com", "example.com:80", "example.com.", "example.com:8080", "evil.example"]
FIELDS = [
    "Forwarded", "X-Forwarded-Host", "X-Forwarded-Server", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Port",
    "X-Forwarded-Scheme", "X-Forwarded-Prefix", "X-Host", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override",
    "X-HTTP-Method", "X-Method-Override", "X-Original-Host", "X-Real-IP",
]  # fmt: skip


@given(
    method=st.sampled_from(["GET", "HEAD"]),
    host=st.sampled_from(HOSTS),
    fields=st.lists(st.sampled_from(FIELDS), unique=True, max_size=4),
    body=st.none() | st.just(b"evil.example"),
    hop=st.booleans(),
    trusted=st.booleans(),
)
def test_what_changes_an_answer_is_in_the_key_or_never_reaches_the_origin(
    method: str, host: str, fields: list[str], body: bytes | None, hop: bool, trusted: bool
) -> None:
    proxy = make_proxy(trusted=("192.0.2.1/32",) if trusted else ())
    headers = dict.fromkeys(fields, "evil.example")
    if hop:
        headers["Connection"] = "x-forwarded-host, x-forwarded-proto, host"
    journey = proxy.request(method, f"http://{host}/a", headers=headers, body=body)
    reflected = b""
    if journey.outbound is not None:
        # An origin that writes into its answer whatever it is told of host, scheme, path and method.
        told = [value for name, value in journey.outbound.headers if name != b"x-forwarded-for"]
        reflected = b"|".join([journey.outbound.authority, *told, journey.sent.partition(b"\r\n\r\n")[2]])
        journey.returns(200, MINUTE, reflected)
    innocent = proxy.get(URL)
    if innocent.outbound is None:
        assert EVIL not in innocent.body
        assert b"EXAMPLE" not in innocent.body
        assert b":80" not in innocent.body


def counted(proxy: Proxy) -> dict[str, int]:
    """What the cache has done, without what it hasn't."""
    (view,) = proxy.core.overview().caches
    figures = {name: getattr(view, name) for name in view.__slots__}
    assert figures.pop("name") == "main"
    assert figures.pop("used") <= figures.pop("size")
    return {name: count for name, count in figures.items() if count}


def test_each_request_is_counted_once_by_what_became_of_it() -> None:
    proxy = make_proxy(bypass={"header": {"X-No-Cache": "*"}}, stale_if_error="1h")
    fields = {"Cache-Control": "max-age=60", "ETag": '"1"'}
    fill(proxy, fields)
    proxy.get(URL).is_answered(200)
    proxy.get(URL, headers={"Cache-Control": "max-age=50"}).is_answered(200)
    proxy.get(URL, headers={"X-No-Cache": "1"}).returns(200, {}, b"two")
    proxy.post(URL + "/other").returns(204)
    proxy.pass_time(61)
    proxy.get(URL, headers={"Cache-Control": "max-stale"}).is_answered(200)
    proxy.get(URL).returns(503)
    proxy.get(URL).returns(304, fields).is_answered(200)
    proxy.get(URL, headers={"Cache-Control": "no-cache"}).returns(503)
    assert counted(proxy) == {
        "hits": 2, "stale": 3, "revalidated": 1, "misses": 1, "bypassed": 2, "stored": 1, "objects": 1
    }  # fmt: skip


def test_what_leaves_for_want_of_room_is_counted() -> None:
    proxy = make_proxy(size="128KiB")
    for number in range(5):
        fill(proxy, url=f"{URL}{number}", body=bytes(60_000))
    figures = counted(proxy)
    assert figures["stored"] == figures["misses"] == 5
    assert figures["evicted"] == 5 - figures["objects"] > 0


def test_a_reload_sizes_a_cache_anew_and_forgets_one_that_is_gone(proxy: Proxy) -> None:
    fill(proxy)
    more = {**proxy.core.config.caches, "other": Cache(size="2MiB", object_max="1KiB")}
    proxy._tell("reconfigured", replace(proxy.core.config, caches=more), None)
    assert [(view.name, view.size, view.objects) for view in proxy.core.overview().caches] == [
        ("main", 1 << 20, 1),
        ("other", 2 << 20, 0),
    ]
    proxy._tell("reconfigured", replace(proxy.core.config, caches={}, routes=[Route(upstream="api")]), None)
    assert proxy.core.overview().caches == ()


def test_a_configuration_that_cant_be_served_leaves_the_cache_as_it_is(proxy: Proxy) -> None:
    fill(proxy)
    route = proxy.core.config.routes[0]
    unserved = replace(route, name="b", match={"path": "/b"}, basic_auth="staff")
    wrong = replace(
        proxy.core.config,
        caches={"main": Cache(size="2KiB", object_max="1KiB")},
        routes=[route, unserved],
        basic_auth={"staff": BasicAuth(file="users")},
    )
    with pytest.raises(ConfigError):
        proxy.core.reconfigured(wrong, None, proxy.now)
    assert is_hit(proxy.get(URL))

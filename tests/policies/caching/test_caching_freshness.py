"""Lifetimes and ages by RFC 9111 section 4.2, stale serving by RFC 5861, and what a request makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.config.units import StatusRange
from proxycore.policies.caching.directives import parse_directives, request_directives, response_directives
from proxycore.policies.caching.freshness import HEURISTIC_MAX, Freshness, freshness_of, initial_age
from proxycore.policies.caching.reuse import may_serve_on_error, use_of
from proxycore.policies.dates import http_date
from proxycore.words.messages import Field, Headers

WALL = 784111777.0
DAY = 24 * 3600


def freshness(*fields: Field, status: int = 200, **rules: object) -> Freshness:
    headers = Headers(list(fields))
    return freshness_of(status, headers, response_directives(headers), wall=WALL, **rules)  # type: ignore[arg-type]


def date(seconds: float) -> bytes:
    return http_date(WALL + seconds)


@pytest.mark.parametrize(
    ("fields", "lifetime", "explicit"),
    [
        ([(b"cache-control", b"max-age=60")], 60, True),
        ([(b"cache-control", b"max-age=60, s-maxage=5")], 5, True),
        ([(b"cache-control", b"max-age=60, s-maxage=x")], 0, True),
        ([(b"cache-control", b"max-age=60"), (b"expires", date(-5))], 60, True),
        ([(b"cdn-cache-control", b"max-age=7"), (b"cache-control", b"max-age=60, no-store")], 7, True),
        ([(b"cdn-cache-control", b"public"), (b"expires", date(60))], 0, False),
        ([(b"expires", date(60)), (b"date", date(0))], 60, True),
        ([(b"expires", date(60)), (b"date", date(-30))], 90, True),
        ([(b"expires", date(60)), (b"date", b"yesterday")], 60, True),
        ([(b"expires", date(60))], 60, True),
        ([(b"expires", date(-60))], 0, True),
        ([(b"expires", b"0")], 0, True),
        ([(b"expires", date(60)), (b"expires", date(61))], 0, True),
        ([(b"last-modified", date(-100)), (b"date", date(0))], 10, False),
        ([(b"last-modified", date(-1000 * DAY)), (b"date", date(0))], HEURISTIC_MAX, False),
        ([(b"last-modified", date(100))], 0, False),
        ([], 0, False),
    ],
)
def test_lifetimes(fields: list[Field], lifetime: float, explicit: bool) -> None:
    found = freshness(*fields)
    assert (found.lifetime, found.is_explicit) == (lifetime, explicit)


@pytest.mark.parametrize("status", [201, 202, 302, 403, 500, 502, 503, 504, 599])
def test_a_status_that_may_not_be_guessed_about_isnt_unless_it_is_public(status: int) -> None:
    modified = (b"last-modified", date(-1000))
    assert freshness(modified, status=status).lifetime == 0
    assert freshness(modified, (b"cache-control", b"public"), status=status).lifetime == 100


def test_valid_speaks_where_the_response_is_silent() -> None:
    valid = ((StatusRange(200, 299), 600.0), (StatusRange(404, 404), 60.0))
    assert freshness(valid=valid).lifetime == 600
    assert freshness(status=404, valid=valid).lifetime == 60
    assert freshness(status=500, valid=valid).lifetime == 0
    assert freshness((b"cache-control", b"max-age=1"), valid=valid).lifetime == 1


@pytest.mark.parametrize("directive", [b"must-revalidate", b"proxy-revalidate", b"s-maxage=1", b"no-cache"])
def test_who_forbids_stale_answers_gives_none(directive: bytes) -> None:
    found = freshness((b"cache-control", b"max-age=1, " + directive), while_revalidating=60.0, if_error=60.0)
    assert (found.while_revalidating, found.if_error) == (0, 0)
    assert not may_serve_on_error(found, 2, parse_directives([b"stale-if-error=60"]))


def test_the_origins_own_word_on_stale_answers_comes_before_the_routes() -> None:
    told = (b"cache-control", b"max-age=1, stale-while-revalidate=3, stale-if-error=0")
    found = freshness(told, while_revalidating=60.0, if_error=60.0)
    assert (found.while_revalidating, found.if_error) == (3, 0)


@pytest.mark.parametrize(
    ("fields", "delay", "age"),
    [
        ([], 0, 0),
        ([], 3, 3),
        ([(b"age", b"10")], 3, 13),
        ([(b"date", date(-100)), (b"age", b"10")], 3, 100),
        ([(b"date", date(100)), (b"age", b"10")], 0, 10),
        ([(b"age", b"10, 99")], 0, 10),
        ([(b"age", b"-5")], 0, 0),
        ([(b"age", b"7200.0")], 0, 0),
        ([(b"age", b"99999999999")], 0, 2**31),
    ],
)
def test_initial_age(fields: list[Field], delay: float, age: float) -> None:
    assert initial_age(Headers(fields), delay=delay, wall=WALL) == age


@pytest.mark.parametrize(
    ("said", "asked", "age", "use"),
    [
        (b"max-age=60", b"", 59, "serve"),
        (b"max-age=60", b"", 60, "ask"),
        (b"max-age=60, no-cache", b"", 0, "ask"),
        (b'max-age=60, no-cache="x"', b"", 0, "serve"),
        (b"max-age=60", b"no-cache", 0, "ask"),
        (b"max-age=60", b"max-age=0", 1, "ask"),
        (b"max-age=60", b"max-age=30", 30, "serve"),
        (b"max-age=60", b"min-fresh=30", 29, "serve"),
        (b"max-age=60", b"min-fresh=30", 30, "ask"),
        (b"max-age=60", b"max-stale", 1000, "serve"),
        (b"max-age=60", b"max-stale=10", 69, "serve"),
        (b"max-age=60", b"max-stale=10", 70, "ask"),
        (b"max-age=60, must-revalidate", b"max-stale", 61, "ask"),
        (b"s-maxage=60", b"max-stale", 61, "ask"),
        (b"max-age=60, stale-while-revalidate=5", b"", 64, "serve-and-renew"),
        (b"max-age=60, stale-while-revalidate=5", b"", 65, "ask"),
        (b"max-age=60, stale-while-revalidate=5", b"max-age=60", 64, "ask"),
        (b"max-age=60, stale-while-revalidate=5", b"min-fresh=1", 64, "ask"),
        (b"max-age=60, stale-while-revalidate=5, must-revalidate", b"", 64, "ask"),
    ],
)
def test_use(said: bytes, asked: bytes, age: float, use: str) -> None:
    request = request_directives(Headers([(b"cache-control", asked)]))
    assert use_of(freshness((b"cache-control", said)), age, request) == use


@given(
    lifetime=st.integers(0, 100),
    window=st.integers(0, 100),
    age=st.floats(0, 300),
    forbids=st.booleans(),
    asked=st.sampled_from([b"", b"max-age=20", b"min-fresh=10", b"max-stale=5", b"no-cache", b"max-stale"]),
)
def test_no_answer_is_older_than_somebody_allowed(
    lifetime: int, window: int, age: float, forbids: bool, asked: bytes
) -> None:
    said = b"max-age=%d, stale-while-revalidate=%d%s" % (lifetime, window, b", must-revalidate" if forbids else b"")
    use = use_of(freshness((b"cache-control", said)), age, parse_directives([asked]))
    if use == "ask":
        return
    allowed = float("inf") if asked == b"max-stale" else lifetime + (5 if asked.startswith(b"max-stale") else window)
    assert age < (lifetime if forbids else max(lifetime, allowed))
    assert asked != b"no-cache"
    assert not (asked == b"max-age=20" and age > 20)

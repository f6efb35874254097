"""The cookie that keeps a session with its server: what it shows, hides, and believes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.config import Sticky
from proxycore.policies.affinity import GONE, StickyCookie, make_private
from proxycore.words.messages import Headers

SECRET = b"0123456789abcdef0123456789abcdef"
NAMES = ("web1", "web2", "10.0.0.1:80")


def cookie(
    upstream: str = "web", secret: bytes = SECRET, names: tuple[str, ...] = NAMES, **given: object
) -> StickyCookie:
    made = StickyCookie(upstream, Sticky(cookie="SID", secret_file="x", **given), secret)  # type: ignore[arg-type]
    made.know(names)
    return made


def shown(made: StickyCookie, server: str, *, is_secure: bool = False) -> bytes:
    response = Headers()
    made.bind(Headers(), response, server, is_secure=is_secure)
    value = response.get(b"set-cookie")
    assert value is not None
    return value


def value_for(made: StickyCookie, server: str) -> bytes:
    return shown(made, server).partition(b";")[0].partition(b"=")[2]


def sent(value: bytes) -> Headers:
    return Headers([(b"host", b"x"), (b"cookie", b"a=1; SID=" + value + b"; b=2")])


@pytest.mark.parametrize("server", NAMES)
def test_a_client_that_brings_the_cookie_back_is_known_also_by_the_next_process(server: str) -> None:
    assert cookie().server_of(sent(value_for(cookie(), server))) == server


def test_the_value_tells_nothing_of_the_server() -> None:
    values = [value_for(cookie(), name) for name in NAMES]
    assert len(set(values)) == len(NAMES)
    assert {len(value) for value in values} == {32}
    assert not any(name.encode() in value for name in NAMES for value in values)


def test_a_client_that_has_it_is_not_told_again() -> None:
    response = Headers([(b"cache-control", b"public")])
    cookie().bind(sent(value_for(cookie(), "web1")), response, "web1", is_secure=False)
    assert response.fields == [(b"cache-control", b"public")]
    cookie().bind(sent(value_for(cookie(), "web1")), response, "web2", is_secure=False)
    assert b"set-cookie" in response


def test_nobody_is_bound_to_a_server_that_is_gone() -> None:
    response = Headers()
    cookie(names=("web2",)).bind(Headers(), response, "web1", is_secure=False)
    assert not response.fields


@pytest.mark.parametrize("other", [{"upstream": "api"}, {"secret": SECRET[::-1]}])
def test_a_cookie_of_another_upstream_or_secret_is_no_cookie(other: dict[str, object]) -> None:
    assert cookie().server_of(sent(value_for(cookie(**other), "web1"))) is None  # type: ignore[arg-type]


@given(st.data())
def test_nobody_forges_one(data: st.DataObject) -> None:
    made = cookie()
    value = value_for(made, "web1")
    place = data.draw(st.integers(0, len(value) - 1))
    byte = data.draw(st.binary(min_size=1, max_size=1).filter(lambda b: b not in (value[place : place + 1], b";")))
    forged = data.draw(st.sampled_from([value[:place] + byte + value[place + 1 :], value[:place], value + byte, byte]))
    assert made.server_of(sent(forged.strip(b" \t"))) in (None, "web1")
    assert made.server_of(sent(value[:place] + byte + value[place + 1 :])) is None


def test_one_whose_server_is_gone_is_told_from_a_forged_one() -> None:
    assert cookie(names=("web2",)).server_of(sent(value_for(cookie(), "web1"))) == GONE


def test_the_first_that_is_ours_counts() -> None:
    value = value_for(cookie(), "web2")
    request = Headers([(b"cookie", b"SID=nonsense"), (b"cookie", b"XSID=1;SID=" + value)])
    assert cookie().server_of(request) == "web2"
    assert cookie().server_of(Headers([(b"cookie", b"XSID=" + value)])) is None


def test_the_origin_sees_all_cookies_but_ours() -> None:
    request = Headers(
        [(b"cookie", b"a=1; SID=zzz;b=2"), (b"x", b"SID=1"), (b"cookie", b"SID=1"), (b"cookie", b"XSID=3")]
    )
    cookie().hide(request)
    assert request.fields == [(b"cookie", b"a=1; b=2"), (b"x", b"SID=1"), (b"cookie", b"XSID=3")]


def test_the_attributes() -> None:
    plain = shown(cookie(), "web1")
    assert plain.endswith(b"; Path=/; HttpOnly; SameSite=Lax")
    assert b"Max-Age" not in plain
    aged = shown(cookie(max_age="1h"), "web1", is_secure=True)
    assert aged.endswith(b"; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax; Secure")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [b"private"]),
        ([b"no-store"], [b"no-store"]),
        ([b"public, max-age=60"], [b"private, max-age=60"]),
        ([b"max-age=60, s-maxage=600", b"Public"], [b"private, max-age=60"]),
        ([b"private"], [b"private"]),
        ([b'no-cache, Private="x"'], [b"private, no-cache"]),
    ],
)
def test_a_response_with_the_cookie_is_for_no_shared_cache(before: list[bytes], after: list[bytes]) -> None:
    response = Headers([(b"cache-control", value) for value in before])
    make_private(response)
    assert response.get_all(b"cache-control") == after


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes long; at least 16"):
        cookie(secret=b"abc")

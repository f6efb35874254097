"""Cache-Control by RFC 9111 section 5.2, its targeted kin by RFC 9213."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.policies.caching.directives import (
    UNLIMITED_SECONDS,
    parse_directives,
    request_directives,
    response_directives,
)
from proxycore.words.messages import Headers


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        (b"max-age=60", 60),
        (b"MAX-AGE=60", 60),
        (b'max-age="60"', 60),
        (b"public, max-age=060", 60),
        (b"max-age=60, max-age=1", 60),
        (b"max-age", 0),
        (b"max-age=", 0),
        (b"max-age=-1", 0),
        (b"max-age=1.5", 0),
        (b"max-age='60'", 0),
        (b"max-age= 60", 0),
        (b'x="max-age=60", max-age=1', 1),
        (b'x="a\\", max-age=60", max-age=1', 1),
        (b"max-age=2147483649", UNLIMITED_SECONDS),
        (b"max-age=99999999999999999999999", UNLIMITED_SECONDS),
        (b"s-maxage=60", None),
        (b"", None),
    ],
)
def test_seconds(line: bytes, seconds: int | None) -> None:
    assert parse_directives([line]).seconds(b"max-age") == seconds


def test_a_quote_that_is_never_closed_hides_nothing() -> None:
    assert b"no-store" in parse_directives([b'max-age=60, x="y, no-store'])


@pytest.mark.parametrize(
    "line", [b"no-store;x", b"no-cache no-store", b"public no-store", b"no-store max-age=60", b"no-store=1"]
)
def test_a_restriction_counts_wherever_it_can_be_made_out(line: bytes) -> None:
    directives = parse_directives([line])
    assert b"no-store" in directives
    assert directives.seconds(b"max-age") is None
    assert b"public" not in directives


@pytest.mark.parametrize(
    ("lines", "whole", "fields"),
    [
        ([b"private"], True, []),
        ([b'private="a, B"'], False, [b"a", b"b"]),
        ([b'private="a"', b'private="b"'], False, [b"a", b"b"]),
        ([b'private="a", private'], True, []),
        ([b'private, private="a"'], True, []),
        ([b'private=""'], True, []),
        ([b'private="a";x'], True, []),
        ([b"private;x"], True, []),
        ([b"no-store private"], True, []),
        ([b"private max-age=60"], True, []),
        ([b"public"], False, []),
    ],
)
def test_the_forms_of_private(lines: list[bytes], whole: bool, fields: list[bytes]) -> None:
    directives = parse_directives(lines)
    assert directives.is_whole(b"private") is whole
    assert directives.fields(b"private") == fields


def test_pragma_counts_without_cache_control_only() -> None:
    assert b"no-cache" in request_directives(Headers([(b"pragma", b"No-Cache")]))
    assert b"no-cache" not in request_directives(Headers([(b"pragma", b"no-cache"), (b"cache-control", b"max-age=1")]))


@pytest.mark.parametrize(
    ("targeted", "seconds"),
    [
        (b"max-age=60", 60),
        (b"max-age=60;q=1, must-revalidate", 60),
        (b"max-age=1, max-age=60", 60),  # RFC 8941 section 3.2: the last counts
        (b"max-age=60, no-store=?0", 60),
        (b"MAX-AGE=60", 5),  # no Dictionary: ignored, so that Cache-Control decides
        (b"max-age=60,", 5),
        (b"max-age =60", 5),
        (b'max-age="60"', 5),
        (b"max-age=60, &&&", 5),
        (b"", 5),
        (b"no-store=?0", 5),  # nothing is left of it
    ],
)
def test_the_targeted_field_counts_where_it_can_be_read(targeted: bytes, seconds: int) -> None:
    headers = Headers([(b"cache-control", b"max-age=5"), (b"cdn-cache-control", targeted)])
    assert response_directives(headers).seconds(b"max-age") == seconds


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_nothing_that_is_sent_raises(lines: list[bytes]) -> None:
    fields = [(b"cache-control", line) for line in lines] + [(b"cdn-cache-control", line) for line in lines]
    directives = response_directives(Headers(fields))
    assert (directives.seconds(b"max-age") or 0) >= 0


@given(st.lists(st.sampled_from([b"max-age=60", b'x="a,b"', b'x="', b"public", b" ", b'"', b"y=z"])), st.data())
def test_a_no_store_that_stands_outside_quotes_is_seen(members: list[bytes], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(members)))
    quoted = sum(member.count(b'"') for member in members[:place])
    if quoted % 2 == 0:
        assert b"no-store" in parse_directives([b",".join([*members[:place], b"no-store"])])

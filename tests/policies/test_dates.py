from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.policies.dates import http_date, parse_http_date


def test_the_example_of_the_rfc() -> None:
    assert http_date(784111777.9) == b"Sun, 06 Nov 1994 08:49:37 GMT"


@given(st.integers(0, 250_000_000_000))
def test_others_read_the_same(wall: int) -> None:
    assert parsedate_to_datetime(http_date(wall).decode()).timestamp() == wall


NOW = 784111777.0


@pytest.mark.parametrize(
    "text",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"sun, 06 NOV 1994 08:49:37 gmt",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
    ],
)
def test_all_three_forms_are_read(text: bytes) -> None:
    assert parse_http_date(text, NOW) == NOW


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 1994 08:49:37 +0000",
        b"Sun, 06 Nov 94 08:49:37 GMT",
        b"Sun 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06  Nov 1994 08:49:37 GMT",
        b"Sun, 06-Nov-1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08.49.37 GMT",
        b"Sun, 06 Nov 1994 8:49:37 GMT",
        b"Sun, 32 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 25:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
    ],
)
def test_nothing_else_is(text: bytes) -> None:
    assert parse_http_date(text, NOW) is None


def test_two_digits_are_a_year_that_is_at_most_fifty_ahead() -> None:
    assert parse_http_date(b"Sunday, 06-Nov-44 08:49:37 GMT", NOW) == 2362034977
    assert parse_http_date(b"Sunday, 06-Nov-45 08:49:37 GMT", NOW) == -762189023


@given(st.integers(0, 250_000_000_000))
def test_what_is_written_is_read(wall: int) -> None:
    assert parse_http_date(http_date(wall), NOW) == wall

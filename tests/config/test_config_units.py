"""Durations, sizes, rates and status codes: what their texts mean, and back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.config.problems import Invalid
from proxycore.config.units import (
    ANY_STATUS,
    NO_MAXIMUM,
    NO_MINIMUM,
    UNLIMITED,
    Rate,
    StatusRange,
    format_duration,
    format_rate,
    format_roughly,
    format_size,
    format_statuses,
    parse_duration,
    parse_rate,
    parse_size,
    parse_statuses,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("5s", 5.0),
        ("1.5m", 90.0),
        ("10m", 600.0),
        ("1h", 3_600.0),
        ("180d", 15_552_000.0),
        ("0s", 0.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("5", "5s"),
        ("5 s", "5s"),
        ("5sec", "5s"),
        ("3 Minutes", "3m"),
        ("5S", None),
        ("5w", None),
        ("", None),
        ("s", None),
        ("-5s", None),
        ("5s ", None),
        ("1h30m", None),
        ("1e3s", None),
        ("\u0665s", None),
    ],
)
def test_what_is_no_duration(text: str, suggestion: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        parse_duration(text)
    assert caught.value.suggestion == suggestion


@given(st.floats(min_value=0, max_value=1e12, allow_subnormal=False).filter(lambda x: x == 0 or x > 1e-12))
def test_a_duration_comes_back_from_its_text(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(1, 10**9), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_a_written_duration_keeps_its_value_in_its_shortest_text(number: int, unit: str) -> None:
    seconds = parse_duration(f"{number}{unit}")
    text = format_duration(seconds)
    assert parse_duration(text) == seconds
    assert len(text) <= len(f"{number}{unit}") + 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.25, "250ms"), (90.0, "90s"), (3_600.0, "1h"), (86_400.0, "1d"), (1e-5, "0.00001s")],
)
def test_the_text_of_a_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (1.2345e-5, "0.0000123s"), (6.7512, "6.75s"), (60.0, "60s"), (3_599.6, "1h"), (3_599.4, "3599s")],
)
def test_the_text_of_a_duration_that_was_measured(seconds: float, text: str) -> None:
    assert format_roughly(seconds) == text


def test_a_duration_that_is_off() -> None:
    assert format_duration(math.inf) == "off"


@pytest.mark.parametrize(
    ("text", "count"),
    [("0B", 0), ("512B", 512), ("64KiB", 65_536), ("1.5MiB", 1_572_864), ("2GiB", 2**31), ("1TiB", 2**40)],
)
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("64", "64B"),
        ("64KB", "64KiB"),
        ("64k", "64KiB"),
        ("1 MiB", "1MiB"),
        ("0.5B", None),
        ("KiB", None),
        ("1PiB", None),
    ],
)
def test_what_is_no_size(text: str, suggestion: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        parse_size(text)
    assert caught.value.suggestion == suggestion


@given(st.integers(0, 10**15 - 1) | st.integers(0, 2**20).map(lambda n: n * 2**20))
def test_a_size_comes_back_from_its_text(count: int) -> None:
    assert parse_size(format_size(count)) == count


def test_a_size_that_is_off() -> None:
    assert format_size(UNLIMITED) == "off"


@pytest.mark.parametrize(
    ("text", "of_bytes", "rate"),
    [
        ("100/s", False, Rate(100)),
        ("100/10s", False, Rate(100, 10.0)),
        ("5/m", False, Rate(5, 60.0)),
        ("500B/s", True, Rate(500)),
        ("1MiB/10s", True, Rate(2**20, 10.0)),
    ],
)
def test_rates(text: str, of_bytes: bool, rate: Rate) -> None:
    assert parse_rate(text, of_bytes=of_bytes) == rate


@pytest.mark.parametrize(
    ("text", "of_bytes", "suggestion"),
    [
        ("100", False, None),
        ("500/s", True, "500B/s"),
        ("500B/s", False, "500/s"),
        ("5/0s", False, "5/s"),
        ("/s", False, None),
    ],
)
def test_what_is_no_rate(text: str, of_bytes: bool, suggestion: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        parse_rate(text, of_bytes=of_bytes)
    assert caught.value.suggestion == suggestion


def test_a_rate_tells_its_pace() -> None:
    assert Rate(100, 10.0).per_second == 10.0


@given(st.integers(1, 10**12), st.integers(1, 10**6), st.booleans())
def test_a_rate_comes_back_from_its_text(count: int, per: int, of_bytes: bool) -> None:
    rate = Rate(count, float(per))
    assert parse_rate(format_rate(rate, of_bytes=of_bytes), of_bytes=of_bytes) == rate


@pytest.mark.parametrize("rate", [NO_MINIMUM, NO_MAXIMUM])
def test_a_rate_that_is_off(rate: Rate) -> None:
    assert format_rate(rate) == "off"


@pytest.mark.parametrize(
    ("text", "first", "last"), [("200", 200, 200), ("2xx", 200, 299), ("200-204", 200, 204), ("any", 100, 599)]
)
def test_statuses(text: str, first: int, last: int) -> None:
    statuses = parse_statuses(text)
    assert statuses == StatusRange(first, last)
    assert first in statuses
    assert last in statuses
    assert first - 1 not in statuses
    assert last + 1 not in statuses


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [("2XX", "2xx"), ("299-200", "200-299"), ("600", None), ("99", None), ("20x", None), ("xxx", None), ("", None)],
)
def test_what_is_no_status(text: str, suggestion: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        parse_statuses(text)
    assert caught.value.suggestion == suggestion


@given(st.integers(100, 599), st.integers(100, 599))
def test_statuses_come_back_from_their_text(one: int, other: int) -> None:
    statuses = StatusRange(min(one, other), max(one, other))
    assert parse_statuses(format_statuses(statuses)) == statuses
    assert parse_statuses(str(ANY_STATUS)) == ANY_STATUS


@given(st.text())
def test_no_text_is_more_than_invalid(text: str) -> None:
    for parse in (parse_duration, parse_size, parse_rate, parse_statuses):
        try:
            parse(text)
        except Invalid:
            pass

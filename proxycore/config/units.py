"""Durations, sizes, rates and status codes: their text, and what they are once read.

Each `parse_*` raises `Invalid`, with a suggestion where the meaning is plain; each `format_*` gives the
shortest text that parses to the same value. Durations are float seconds, sizes whole bytes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from proxycore.config.problems import Invalid

OFF = "off"

UNLIMITED = 2**63 - 1
"""A size or count that is switched off. It compares and adds like any other integer."""

_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3_600), "d": Decimal(86_400)}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,30})?) ?([A-Za-z]*)", re.ASCII)
_RATE = re.compile(r"([0-9]{1,15})([KMGT]iB|B)?/([0-9]{0,15})(ms|s|m|h|d)", re.ASCII)
_STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", re.ASCII)

_DURATION_SPELLINGS = {
    "msec": "ms", "millis": "ms", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m",
    "minute": "m", "minutes": "m", "hr": "h", "hour": "h", "hours": "h", "day": "d", "days": "d",
}  # fmt: skip
_SIZE_SPELLINGS = {
    "b": "B", "k": "KiB", "kb": "KiB", "kib": "KiB", "m": "MiB", "mb": "MiB", "mib": "MiB", "g": "GiB", "gb": "GiB",
    "gib": "GiB", "t": "TiB", "tb": "TiB", "tib": "TiB",
}  # fmt: skip


def parse_duration(text: str) -> float:
    """Seconds of "250ms", "5s", "1.5m", "1h", "180d"."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise Invalid(f'"{text}" is no duration such as "250ms", "5s", "10m", "1h" or "180d"')
    number, unit = match.groups()
    if unit not in _SECONDS:
        meant = _DURATION_SPELLINGS.get(unit.lower(), "s" if not unit else None)
        wrong = f'"{unit}" is no unit of time (ms, s, m, h, d)' if unit else "a duration needs a unit (ms, s, m, h, d)"
        raise Invalid(wrong, meant and number + meant)
    if " " in text:
        raise Invalid("a duration has no blank before its unit", number + unit)
    return float(Decimal(number) * _SECONDS[unit])


def format_duration(seconds: float) -> str:
    """The text of a duration, in the largest unit that gives a whole number; "off" for infinity."""
    if math.isinf(seconds):
        return OFF
    exact = Decimal(repr(seconds))
    for unit in ("d", "h", "m", "s", "ms"):
        count = exact / _SECONDS[unit]
        if count == count.to_integral_value() and (count or unit == "s"):
            return f"{count:.0f}{unit}"
    return f"{exact:f}s"


def format_roughly(seconds: float) -> str:
    """The text of a duration that was measured, for a person: three digits, or whole seconds of long ones."""
    return f"{Decimal(f'{seconds:.3g}'):f}s" if seconds < 100 else format_duration(round(seconds))


def parse_size(text: str) -> int:
    """Bytes of "512B", "64KiB", "1.5MiB", "2GiB"."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise Invalid(f'"{text}" is no size such as "512B", "64KiB", "1MiB" or "2GiB"')
    number, unit = match.groups()
    if unit not in _BYTES:
        meant = _SIZE_SPELLINGS.get(unit.lower(), "B" if not unit else None)
        wrong = f'"{unit}" is no unit of size' if unit else "a size needs a unit"
        raise Invalid(f"{wrong} (B, KiB, MiB, GiB, TiB)", meant and number + meant)
    if " " in text:
        raise Invalid("a size has no blank before its unit", number + unit)
    count = Decimal(number) * _BYTES[unit]
    if count != count.to_integral_value():
        raise Invalid(f'"{text}" is no whole number of bytes')
    return min(int(count), UNLIMITED)


def format_size(count: int) -> str:
    """The text of a size, in the largest unit that gives a whole number; "off" for UNLIMITED."""
    if count == UNLIMITED:
        return OFF
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit}"
    return f"{count}B"


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` things, or bytes, in every `per` seconds."""

    count: int
    per: float = 1.0

    @property
    def per_second(self) -> float:
        return self.count / self.per


NO_MINIMUM = Rate(0)
"""A least rate that is switched off."""

NO_MAXIMUM = Rate(UNLIMITED)
"""A highest rate that is switched off."""


def parse_rate(text: str, *, of_bytes: bool = False) -> Rate:
    """The rate of "100/s" or "100/10s", and with `of_bytes` of "500B/s" or "1MiB/10s"."""
    example = '"500B/s" or "1MiB/10s"' if of_bytes else '"100/s" or "100/10s"'
    match = _RATE.fullmatch(text)
    if match is None:
        raise Invalid(f'"{text}" is no rate such as {example}')
    number, size, periods, unit = match.groups()
    if of_bytes and size is None:
        raise Invalid("this rate is of bytes and needs their unit", f"{number}B/{periods}{unit}")
    if not of_bytes and size is not None:
        raise Invalid("this rate isn't of bytes", f"{number}/{periods}{unit}")
    count = int(number) * _BYTES[size or "B"]
    per = float(Decimal(periods or 1) * _SECONDS[unit])
    if not per:
        raise Invalid(f'"{text}" is a rate over no time', f"{number}{size or ''}/{unit}")
    return Rate(min(count, UNLIMITED), per)


def format_rate(rate: Rate, *, of_bytes: bool = False) -> str:
    """The text of a rate; "off" for the two that are switched off."""
    if rate in (NO_MINIMUM, NO_MAXIMUM):
        return OFF
    period = format_duration(rate.per)
    period = period[1:] if re.fullmatch("1[a-z]+", period) else period
    return f"{format_size(rate.count) if of_bytes else rate.count}/{period}"


@dataclass(frozen=True, slots=True)
class StatusRange:
    """The status codes from `first` to `last`, both included. `503 in StatusRange(500, 599)`."""

    first: int
    last: int

    def __contains__(self, status: int) -> bool:
        return self.first <= status <= self.last

    def __str__(self) -> str:
        return format_statuses(self)


ANY_STATUS = StatusRange(100, 599)


def parse_statuses(text: str) -> StatusRange:
    """The codes meant by "200", "2xx", "200-299" or "any"."""
    if text == "any":
        return ANY_STATUS
    if len(text) == 3 and text[0] in "12345" and text[1:] == "xx":
        return StatusRange(int(text[0]) * 100, int(text[0]) * 100 + 99)
    match = _STATUS.fullmatch(text)
    if match is None:
        meant = text.lower() if text != text.lower() and text.lower()[1:] == "xx" else None
        raise Invalid(f'"{text}" is no status such as 200, "2xx", "200-299" or "any"', meant)
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise Invalid(f'"{text}" goes downwards', f"{last}-{first}")
    return StatusRange(first, last)


def format_statuses(statuses: StatusRange) -> str:
    """The shortest text of a range of codes."""
    first, last = statuses.first, statuses.last
    if statuses == ANY_STATUS:
        return "any"
    if first == last:
        return str(first)
    return f"{first // 100}xx" if first % 100 == 0 and last == first + 99 else f"{first}-{last}"

"""The dates of HTTP (RFC 9110 section 5.6.7), always in English and in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_MONTH_NUMBERS = {name.lower().encode(): number for number, name in enumerate(_MONTHS, 1)}
_DAY = rb"(?:%b)" % "|".join(_DAYS).lower().encode()
_LONG_DAY = rb"(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
_MONTH = rb"(?P<month>%b)" % "|".join(_MONTHS).lower().encode()
_TIME = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"

# The three forms of RFC 9110 section 5.6.7, nothing else: what a lenient reader makes of a wrong date is a guess.
_FORMS = (
    re.compile(_DAY + rb", (?P<day>[0-9]{2}) " + _MONTH + rb" (?P<year>[0-9]{4}) " + _TIME + rb" gmt"),
    re.compile(_LONG_DAY + rb", (?P<day>[0-9]{2})-" + _MONTH + rb"-(?P<year>[0-9]{2}) " + _TIME + rb" gmt"),
    re.compile(_DAY + rb" " + _MONTH + rb" (?P<day>[0-9]{2}| [0-9]) " + _TIME + rb" (?P<year>[0-9]{4})"),
)


def http_date(wall: float) -> bytes:
    """The IMF-fixdate of `wall`, in seconds since 1970: `Sun, 06 Nov 1994 08:49:37 GMT`."""
    at = datetime.fromtimestamp(int(wall), UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day:02} {month} {at.year:04} {at:%H:%M:%S} GMT".encode()


def parse_http_date(text: bytes, wall: float) -> float | None:
    """Seconds since 1970, or None for what is no date. `wall` is the time of day: two digits of a year need it."""
    lower = text.lower()
    match = next((found for form in _FORMS if (found := form.fullmatch(lower))), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year = _whole_year(year, datetime.fromtimestamp(wall, UTC).year)
    second = min(int(match["second"]), 59)  # a leap second
    try:
        at = datetime(
            year,
            _MONTH_NUMBERS[match["month"]],
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            second,
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return at.timestamp()


def _whole_year(two_digits: int, this_year: int) -> int:
    """The last year with those digits that is at most 50 ahead (RFC 9110 section 5.6.7)."""
    last = this_year + 50
    return last - (last - two_digits) % 100

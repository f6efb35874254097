"""The dates of HTTP (RFC 9110 section 5.6.7), always in English and in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(wall: float) -> bytes:
    """The IMF-fixdate of `wall`, in seconds since 1970: `Sun, 06 Nov 1994 08:49:37 GMT`."""
    at = datetime.fromtimestamp(int(wall), UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day:02} {month} {at.year:04} {at:%H:%M:%S} GMT".encode()

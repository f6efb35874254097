from __future__ import annotations

from email.utils import parsedate_to_datetime

from hypothesis import given
from hypothesis import strategies as st

from proxycore.policies.dates import http_date


def test_the_example_of_the_rfc() -> None:
    assert http_date(784111777.9) == b"Sun, 06 Nov 1994 08:49:37 GMT"


@given(st.integers(0, 250_000_000_000))
def test_others_read_the_same(wall: int) -> None:
    assert parsedate_to_datetime(http_date(wall).decode()).timestamp() == wall

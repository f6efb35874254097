"""Routes as a person would say them: in the dashboard and by `proxycore check`."""

from __future__ import annotations

from typing import Any

import pytest

from proxycore.composition.overview import shown_match
from proxycore.config import from_dict


@pytest.mark.parametrize(
    ("match", "shown"),
    [
        ({}, "everything"),
        ({"host": "a.test", "path": ["/x", "/y/*"]}, "host a.test, path /x or /y/*"),
        ({"header": {"X-Canary": ["1", "2"]}}, "header x-canary = 1 or 2"),
        ({"path": "/x", "not": {"method": "POST"}}, "path /x, not (method POST)"),
        ({"any": [{"path": "/x"}, {"cookie": {"beta": "1"}}]}, "any (path /x) or (cookie beta = 1)"),
    ],
)
def test_a_match_is_told_whole(match: dict[str, Any], shown: str) -> None:
    config = from_dict({"listeners": [{"bind": "127.0.0.1:0"}], "routes": [{"match": match, "respond": {}}]})
    assert shown_match(config.routes[0].match) == shown

"""Contents of the API's operations, held against their schemas."""

from __future__ import annotations

from typing import Any

import pytest

from proxycore.program.admin.operations import Problem, checked

TEXT = {"type": "string", "minLength": 1}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ("# \ud800", TEXT),
        (["a", "\udfff"], {"type": "array", "items": TEXT}),
        ({"toml": "\udc80"}, {"type": "object", "properties": {"toml": TEXT}}),
        ("\ud800", {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}),
    ],
)
def test_text_that_can_not_be_written_is_refused(value: Any, schema: dict[str, Any]) -> None:
    """JSON can escape half of a character; no file, no log and no other process can be given it."""
    with pytest.raises(Problem) as refused:
        checked(value, schema)
    assert (refused.value.status, "half of a character" in refused.value.detail) == (422, True)


def test_characters_beyond_ascii_are_text() -> None:
    assert checked("é \U0001f600", TEXT) == "é \U0001f600"

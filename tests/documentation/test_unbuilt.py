"""README.md says of everything that is refused as not built yet that it isn't there. Goes with `unbuilt`."""

from __future__ import annotations

import re

from tests.examples.started import ROOT


def test_the_readme_tells_what_is_not_there_yet() -> None:
    readme = (ROOT / "README.md").read_text()
    section = re.search(r"^## What is not there yet$(.*?)^## ", readme, re.M | re.S)
    assert section is not None
    told = section[1].lower()
    assert "admin" in told

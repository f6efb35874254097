"""docs/states.md says what the tables say."""

from __future__ import annotations

import re

import pytest

from proxycore.composition.tables import TABLES, diagram
from tests.examples.started import ROOT

PAGE = (ROOT / "docs" / "states.md").read_text()
SECTIONS = dict(zip(re.findall(r"^## (\w+)$", PAGE, re.M), re.split(r"^## \w+$", PAGE, flags=re.M)[1:], strict=True))


@pytest.mark.parametrize("name", TABLES)
def test_the_diagram_is_the_table(name: str) -> None:
    drawn = re.findall(r"^```mermaid\n(.*?)^```$", SECTIONS[name.capitalize()], re.M | re.S)
    assert drawn == [diagram(TABLES[name])], "run: python docs/make_states.py"


@pytest.mark.parametrize("name", TABLES)
def test_every_state_and_move_is_explained(name: str) -> None:
    explained = re.findall(r"^\| `(\w+)` \|", SECTIONS[name.capitalize()], re.M)
    moves = dict.fromkeys(move for state in TABLES[name].values() for move in state)
    assert sorted(explained) == sorted([*TABLES[name], *moves])

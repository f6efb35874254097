"""The written reference is the one that the model gives."""

from __future__ import annotations

from pathlib import Path

from proxycore.config import VARIABLES
from proxycore.config.reference import reference

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_reference_in_docs_is_up_to_date() -> None:
    written = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert written == reference(), "run: python -m proxycore.config.reference > docs/configuration.md"


def test_it_lists_keys_with_type_and_default_and_every_variable() -> None:
    text = reference()
    assert '| `connect` | duration or "off" | `"5s"` |' in text
    assert "| `servers` | list of: table, or url (Server) | **required** |" in text
    assert "## `[upstreams.NAME.health_check]`" in text
    assert all(f"| `{{{name}}}` | {doc} |" in text for name, doc in VARIABLES)


def test_no_cell_breaks_its_row() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert all(row.count("|") in (3, 5) for row in rows)

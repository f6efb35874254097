"""Put the diagrams of `proxycore.composition.tables` into docs/states.md: each where its heading stands.

python docs/make_states.py
"""

from __future__ import annotations

import re
from pathlib import Path

from proxycore.composition.tables import TABLES, diagram

PAGE = Path(__file__).with_name("states.md")


def drawn(page: str) -> str:
    """The page with every diagram as the tables have it now."""
    for name, table in TABLES.items():
        found = re.compile(rf"(^## {name.capitalize()}\n.*?^```mermaid\n).*?(^```$)", re.M | re.S)
        page, count = found.subn(lambda match, table=table: match[1] + diagram(table) + match[2], page, count=1)
        assert count == 1, f"{PAGE.name} has no place for the diagram of {name}"
    return page


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))

"""How words look: colours and columns where a person reads them on a terminal, plain lines where a program does.

`NO_COLOR` (no-color.org) takes the colours from a terminal, `CLICOLOR_FORCE` gives them to a pipe, and a terminal that
calls itself dumb gets none.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Literal, TextIO

Colour = Literal["bold", "dim", "red", "green", "yellow", "cyan"]

_CODES: Mapping[Colour, int] = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}

Cell = tuple[str, Colour | None]


class Paper:
    """A stream that words are printed to. `has_columns` says that a person looks at it."""

    def __init__(self, stream: TextIO, environment: Mapping[str, str] = os.environ) -> None:
        self._stream = stream
        self.has_columns = stream.isatty()
        is_forced = environment.get("CLICOLOR_FORCE", "") not in ("", "0")
        is_able = self.has_columns and environment.get("TERM", "") != "dumb"
        self.has_colours = not environment.get("NO_COLOR") and (is_forced or is_able)

    def paint(self, text: str, colour: Colour | None) -> str:
        """`text` in that colour, if there are any."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.has_colours and colour and text else text

    def print(self, text: str, colour: Colour | None = None) -> None:
        """Print a line."""
        print(self.paint(text, colour), file=self._stream)

    def table(self, rows: Sequence[Sequence[Cell]], indent: str = "  ") -> None:
        """Print rows in columns. What is too long in the last one goes on below itself."""
        if not rows:
            return
        widths = [max(len(row[column][0]) for row in rows) for column in range(len(rows[0]))]
        left = len(indent) + sum(width + 2 for width in widths[:-1])
        room = max(20, shutil.get_terminal_size().columns - left)
        for row in rows:
            *first, (last, colour) = row
            start = "".join(
                self.paint(text, paint) + " " * (width - len(text) + 2)
                for (text, paint), width in zip(first, widths, strict=False)
            )
            lines = _wrapped(last, room)
            self.print(f"{indent}{start}{self.paint(lines[0], colour)}".rstrip())
            for line in lines[1:]:
                self.print(f"{' ' * left}{self.paint(line, colour)}")


def _wrapped(text: str, room: int) -> list[str]:
    """`text` in lines of at most `room`, broken at blanks where there are any: nothing of it is left out."""
    lines = []
    while len(text) > room:
        at = text.rfind(" ", 1, room + 1)
        at = at if at > 0 else room
        lines.append(text[:at].rstrip())
        text = text[at:].lstrip()
    return [*lines, text]

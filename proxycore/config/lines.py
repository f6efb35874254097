"""On which line of a TOML text each key and each element stands.

`tomllib` tells values and no places. This scanner walks a text that `tomllib` has accepted, so it needs
to know only where things begin and end: strings, brackets, commas, keys and headers.
"""

from __future__ import annotations

import re
import tomllib

from proxycore.config.problems import Path

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
# A multi-line string may end with up to two quotes of its own before the three that close it.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:""|")?'
    r"|'''.*?'''(?:''|')?"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\r\n]+")


def lines_of(text: str) -> dict[Path, int]:
    """The line, from 1, of every key path in a TOML text: `{("listeners",): 3, ("listeners", 0, "name"): 4}`."""
    return _Scanner(text).scan()


class _Scanner:
    """One walk over one text. `_position` is where it stands; `_lines` is what it found."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._line = 1
        self._lines: dict[Path, int] = {}
        self._array_lengths: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        self._take(_BLANK)
        while self._position < len(self._text):
            table = self._header() if self._text[self._position] == "[" else table
            self._take(_BLANK)
            if self._position < len(self._text) and self._text[self._position] != "[":
                self._pair(table)
                self._take(_BLANK)
        return self._lines

    def _header(self) -> Path:
        """Pass `[a.b]` or `[[a.b]]`; return the path of the table that it opens."""
        is_array = self._text.startswith("[[", self._position)
        self._position += 2 if is_array else 1
        self._take(_BLANK)
        *parents, last = self._key()
        path: Path = ()
        for name in parents:
            self._note((*path, name))
            path = self._newest((*path, name))
        path = (*path, last)
        self._note(path)
        if is_array:
            self._array_lengths[path] = self._array_lengths.get(path, 0) + 1
            path = self._newest(path)
            self._note(path)
        self._take(_BLANK)
        self._position += 2 if is_array else 1
        return path

    def _newest(self, path: Path) -> Path:
        """A path that names an array of tables means the table that was added to it last."""
        length = self._array_lengths.get(path)
        return path if length is None else (*path, length - 1)

    def _pair(self, table: Path) -> None:
        """Pass `key = value`."""
        path = table
        for name in self._key():
            path = (*path, name)
            self._note(path)
        self._take(_BLANK)
        self._position += 1  # the equals sign
        self._take(_BLANK)
        self._value(path)

    def _key(self) -> list[str]:
        names = [self._name()]
        while self._take(_DOT):
            names.append(self._name())
        return names

    def _name(self) -> str:
        text = self._take(_KEY)
        if text[:1] not in ("'", '"'):
            return text
        name: str = tomllib.loads(f"name = {text}")["name"]
        return name

    def _value(self, path: Path) -> None:
        opening = self._text[self._position]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            self._take(_STRING if opening in "\"'" else _SCALAR)

    def _array(self, path: Path) -> None:
        self._position += 1
        self._take(_BLANK)
        index = 0
        while self._text[self._position] != "]":
            element = (*path, index)
            self._note(element)
            self._value(element)
            self._comma()
            index += 1
        self._position += 1

    def _inline_table(self, path: Path) -> None:
        self._position += 1
        self._take(_BLANK)
        while self._text[self._position] != "}":
            self._pair(path)
            self._comma()
        self._position += 1

    def _comma(self) -> None:
        self._take(_BLANK)
        if self._text[self._position] == ",":
            self._position += 1
            self._take(_BLANK)

    def _note(self, path: Path) -> None:
        self._lines.setdefault(path, self._line)

    def _take(self, pattern: re.Pattern[str]) -> str:
        """Pass what `pattern` matches here, if anything."""
        match = pattern.match(self._text, self._position)
        if match is None:
            return ""
        self._position = match.end()
        self._line += match[0].count("\n")
        return match[0]

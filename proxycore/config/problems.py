"""What is wrong with a configuration, where, and what was probably meant.

Reading never stops at the first slip: a `Place` walks down with the reader and collects, and whoever
started the reading raises one `ConfigError` with all of it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""The keys and indexes that lead to a value: `("upstreams", "api", "servers", 1, "weight")`."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def dotted(path: Path) -> str:
    """A path as a person writes it: `upstreams.api.servers[1].weight`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _BARE_KEY.fullmatch(step) else f'"{step}"')
    return text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `name` was probably meant to be."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[matches[0]] if matches else None


class Invalid(ValueError):
    """One value can't be read. `suggestion` is what could stand in its place."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    `source` is the file, or the class for what was built in Python; `line` is None where there is no
    file. `place` is the dotted place in that source, empty when the whole is meant.
    """

    source: str
    line: int | None
    place: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        hint = f'; did you mean "{self.suggestion}"?' if self.suggestion is not None else ""
        line = ": ".join(part for part in (where, self.place, self.message + hint) if part)
        # A value may hold anything, and must not break the line or the terminal.
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


class ConfigError(ValueError):
    """A configuration that can't be used, with every problem at once; its text has one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem before anyone knows which file and line it is in."""

    path: Path
    message: str
    suggestion: str | None


class Place:
    """Where a value stands while it is being read, and the findings of the whole reading.

    `from_python` says that a program gave the values: there a plain number may stand for seconds or bytes.
    """

    __slots__ = ("findings", "from_python", "path")

    def __init__(self, path: Path = (), findings: list[Finding] | None = None, *, from_python: bool = False) -> None:
        self.path = path
        self.findings: list[Finding] = findings if findings is not None else []
        self.from_python = from_python

    def at(self, *steps: str | int) -> Place:
        """The place of what stands below, collecting into the same findings."""
        return Place(self.path + steps, self.findings, from_python=self.from_python)

    def is_sound(self, *steps: str | int) -> bool:
        """Whether nothing was found wrong with what stands at `steps` below, nor within it."""
        path = self.path + steps
        return not any(finding.path[: len(path)] == path for finding in self.findings)

    def problem(self, message: str, suggestion: str | None = None) -> None:
        """Note that the value here is wrong."""
        self.findings.append(Finding(self.path, message, suggestion))

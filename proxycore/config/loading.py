"""Reading a configuration from TOML text or from plain dicts. Pure: whoever calls has read the files.

The steps: parse each text; join the included ones to the first, remembering which value came from
where; put the environment's variables in; read the whole as a `Config`; and if anything was wrong,
raise one `ConfigError` in which every problem has its file, its line and its place in that file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from proxycore.config.kinds import Substituted, Unset, described
from proxycore.config.lines import lines_of
from proxycore.config.model import Config
from proxycore.config.problems import ConfigError, Finding, Path, Place, Problem, dotted
from proxycore.config.sections import MAX_DEPTH, read_section

Include = Callable[[str], Iterable[tuple[str, str]]]
"""From a pattern such as "routes/*.toml" to the source and the text of each file that it means, in order."""

INCLUDE_DOC = 'Further files, such as "routes/*.toml": their tables and lists are joined to these.'

_NOTHING: Mapping[str, str] = MappingProxyType({})
_VARIABLE = re.compile(r"(\$?)\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LAST_STEP = re.compile(r"""(?:\.?(?:"[^"]*"|[A-Za-z0-9_-]+)|\[\d+\]|.)$""")
_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def load_toml(
    text: str, *, source: str, environment: Mapping[str, str] = _NOTHING, include: Include | None = None
) -> Config:
    """The configuration that a TOML text describes.

    `source` names the text in error messages. `${NAME}` in a string is taken from `environment`
    (`$${NAME}` is a literal `${NAME}`). `include` is asked for the files of each pattern under
    `include`; it may raise OSError. Raises `ConfigError` with every problem at once.
    """
    return read_toml(text, source=source, environment=environment, include=include).config


def read_toml(
    text: str, *, source: str, environment: Mapping[str, str] = _NOTHING, include: Include | None = None
) -> Reading:
    """As `load_toml`, for who may find more that is wrong once the files that the configuration names are read."""
    main = _Document(source, _parse(text, source), text)
    patterns = main.data.pop("include", [])
    documents = _Documents(main)
    place = Place()
    _include(patterns, include, documents, place.at("include"))
    return _read(documents, environment, place)


def from_dict(data: Mapping[str, Any], *, source: str = "dict", environment: Mapping[str, str] = _NOTHING) -> Config:
    """The configuration that plain values describe: what TOML or JSON would parse to. Raises `ConfigError`.

    Values are as strict as in a file: "5s" and not 5.0. For the looser form of Python, call `Config(**data)`.
    """
    return read_dict(data, source=source, environment=environment).config


def read_dict(data: Mapping[str, Any], *, source: str = "dict", environment: Mapping[str, str] = _NOTHING) -> Reading:
    """As `from_dict`, for who may find more that is wrong: see `read_toml`."""
    return _read(_Documents(_Document(source, dict(data))), environment, Place())


class Reading:
    """A configuration, and where each of its values stands."""

    def __init__(self, config: Config, documents: _Documents) -> None:
        self.config = config
        self._documents = documents

    def located(self, problems: Iterable[Problem]) -> list[Problem]:
        """The same problems with the file and the line of their places, in the order in which a reader meets them."""
        return self._documents.relocated(problems)


def _read(documents: _Documents, environment: Mapping[str, str], place: Place) -> Reading:
    data = documents.joined(place)
    if documents.mention_variables:
        data = _substituted(data, environment, place)
    config = read_section(Config, data, place)
    if place.findings:
        raise ConfigError(documents.located(place.findings))
    return Reading(config, documents)


def _include(patterns: object, include: Include | None, documents: _Documents, place: Place) -> None:
    """Add the documents that the patterns mean."""
    for index, pattern in enumerate(patterns if isinstance(patterns, list) else [patterns]):
        below = place.at(index) if isinstance(patterns, list) else place
        if not isinstance(pattern, str) or not pattern:
            below.problem(f"{described(pattern)} is no pattern of files")
        elif include is None:
            below.problem("files can't be included here")
        else:
            _include_pattern(pattern, include, documents, below)


def _include_pattern(pattern: str, include: Include, documents: _Documents, place: Place) -> None:
    try:
        found = list(include(pattern))
    except OSError as error:
        place.problem(f'"{pattern}" can\'t be read: {error.strerror or error}')
        return
    if not found and not any(sign in pattern for sign in "*?["):
        place.problem(f'there is no file "{pattern}"')
    for source, text in found:
        try:
            documents.add(_Document(source, _parse(text, source), text))
        except ConfigError as error:
            documents.broken += error.problems


class _Document:
    """One text, parsed, or the plain values of no text. Lines are looked for only when a problem asks for one."""

    def __init__(self, source: str, data: dict[str, Any], text: str | None = None) -> None:
        self.source = source
        self.data = data
        self._text = text
        self._lines: dict[Path, int] | None = None

    @property
    def lines(self) -> Mapping[Path, int]:
        """The line of every place; of none where there is no text."""
        if self._lines is None:
            self._lines = {} if self._text is None else lines_of(self._text)
        return self._lines

    @property
    def mentions_variables(self) -> bool:
        return self._text is None or "${" in self._text

    def line(self, path: Path) -> int | None:
        """The line of a place, or of the nearest one that encloses it."""
        lines = self.lines
        while path and path not in lines:
            path = path[:-1]
        return lines.get(path)


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError([Problem(source, None, "", "this is nested too deep")]) from None
    except ValueError as error:  # also what int() says of a number with thousands of digits
        message = str(error)
        match = _WHERE.search(message)
        if match is None:
            raise ConfigError([Problem(source, None, "", f"this isn't TOML: {message}")]) from None
        line = int(match[1]) if match[1] else text.count("\n") + 1
        column = f"column {match[2]}" if match[2] else "at the end"
        raise ConfigError([Problem(source, line, column, f"this isn't TOML: {message[: match.start()]}")]) from None


class _Documents:
    """The main document and those that it includes, joined into one."""

    def __init__(self, main: _Document) -> None:
        self._documents = [main]
        self._origins: dict[Path, tuple[_Document, Path]] = {}
        self.broken: list[Problem] = []

    def add(self, document: _Document) -> None:
        self._documents.append(document)

    @property
    def mention_variables(self) -> bool:
        return any(document.mentions_variables for document in self._documents)

    def joined(self, place: Place) -> dict[str, Any]:
        """All of it: lists follow each other, tables are united, and nothing may stand in two documents."""
        if self.broken:
            raise ConfigError(self.broken)
        if len(self._documents) == 1:
            return self._documents[0].data
        whole: dict[str, Any] = {}
        for document in self._documents:
            for key, value in document.data.items():
                if key == "include":  # the main one has been taken out
                    place.at(*self._aside(document, (key,))).problem("only the main file includes others")
                else:
                    self._join(whole, key, value, document, place)
        return whole

    def _join(self, whole: dict[str, Any], key: str, value: object, document: _Document, place: Place) -> None:
        self._origins.setdefault((key,), (document, (key,)))
        if isinstance(value, list) and isinstance(whole.setdefault(key, []), list):
            for index, element in enumerate(value):
                self._origins[key, len(whole[key])] = (document, (key, index))
                whole[key].append(element)
        elif isinstance(value, dict) and isinstance(whole.setdefault(key, {}), dict):
            for name, entry in value.items():
                self._put(whole[key], (key, name), entry, document, place)
        else:
            self._put(whole, (key,), value, document, place)

    def _put(self, table: dict[str, Any], path: Path, value: object, document: _Document, place: Place) -> None:
        name = str(path[-1])
        if name in table:
            first, _ = self._origin(path)
            place.at(*self._aside(document, path)).problem(f"this stands in {first.source} already")
        else:
            table[name] = value
            self._origins[path] = (document, path)

    def _aside(self, document: _Document, path: Path) -> Path:
        """A path to tell of a place in `document` that has no place in the whole."""
        aside = (f"{document.source}:", *path)
        self._origins[aside] = (document, path)
        return aside

    def _origin(self, path: Path) -> tuple[_Document, Path]:
        """The document of a place in the whole, and the place in that document."""
        for length in range(len(path), 0, -1):
            if found := self._origins.get(path[:length]):
                return found[0], found[1] + path[length:]
        return self._documents[0], path

    def located(self, findings: Iterable[Finding]) -> list[Problem]:
        """The problems of the findings, in the order in which a reader of the files meets them."""
        problems = []
        for finding in findings:
            document, path = self._origin(finding.path)
            place = dotted(path)
            problem = Problem(document.source, document.line(path), place, finding.message, finding.suggestion)
            problems.append(problem)
        return self._in_order(problems)

    def relocated(self, problems: Iterable[Problem]) -> list[Problem]:
        """Problems that know only their place in the whole, as a person writes it, and the source of the whole."""
        paths = {dotted(path): path for path in self._paths()}
        relocated = []
        for problem in problems:
            place = problem.place
            while place and place not in paths:
                # What encloses it: the last key or index, which may be a quoted one, is taken off.
                place = _LAST_STEP.sub("", place)
            if place:
                document, path = self._origin(paths[place])
                within = dotted(path) + problem.place[len(place) :]
                problem = replace(problem, source=document.source, line=document.line(path), place=within)
            relocated.append(problem)
        return self._in_order(relocated)

    def _paths(self) -> Iterable[Path]:
        """Every place in the whole."""
        whole = {(document.source, path): place for place, (document, path) in self._origins.items()}
        for document in self._documents:
            for path in document.lines:
                for length in range(len(path), 0, -1):
                    if found := whole.get((document.source, path[:length])):
                        yield found + path[length:]
                        break
                else:
                    yield path

    def _in_order(self, problems: list[Problem]) -> list[Problem]:
        """As a reader of the files meets them."""
        sources = [document.source for document in self._documents]

        def position(problem: Problem) -> tuple[int, int]:
            return sources.index(problem.source) if problem.source in sources else -1, problem.line or 0

        return sorted(problems, key=position)


def _substituted(value: Any, environment: Mapping[str, str], place: Place) -> Any:
    """`value` with the environment's variables in every string of it."""
    if isinstance(value, str):
        return _substituted_text(value, environment, place) if "${" in value else value
    if len(place.path) > MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {key: _substituted(entry, environment, place.at(str(key))) for key, entry in value.items()}
    if isinstance(value, list):
        return [_substituted(entry, environment, place.at(index)) for index, entry in enumerate(value)]
    return value


def _substituted_text(text: str, environment: Mapping[str, str], place: Place) -> str:
    known = len(place.findings)

    def replacement(match: re.Match[str]) -> str:
        escape, name = match.groups()
        if escape:
            return match[0][1:]
        if name.isdecimal():  # a group of a rewrite's pattern
            return match[0]
        if not _VARIABLE_NAME.fullmatch(name):
            place.problem(f'"{name}" is no name of an environment variable ("$${{" stands for a literal "${{")')
        elif name not in environment:
            place.problem(f'the environment has no variable "{name}"')
        return environment.get(name, "")

    result = _VARIABLE.sub(replacement, text)
    if len(place.findings) > known:
        return Unset(text)
    whole = _VARIABLE.fullmatch(text)
    return Substituted(result) if whole and not whole[1] else result

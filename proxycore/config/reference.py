"""The reference of every key, written from the model: `python -m proxycore.config.reference`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from proxycore.config.kinds import ListOf, TableOf
from proxycore.config.loading import INCLUDE_DOC
from proxycore.config.model import Config
from proxycore.config.sections import DERIVED, Option, Section, options_of, section_of
from proxycore.config.tables import Table
from proxycore.config.variables import VARIABLES

_INTRODUCTION = """\
# Configuration reference

Every key, its type, its default and what it does. `docs/proxycore.example.toml` shows all of it in one file;
`proxycore check FILE` tells every mistake at once, with its line and the nearest right name. This page is
written by `python -m proxycore.config.reference` from the classes in `proxycore/config/`, which are the same in Python:
`proxycore.config.Listener` is `[[listeners]]`, with the same names.

- **duration**: `"250ms"`, `"5s"`, `"10m"`, `"1h"`, `"180d"`. In Python also a number of seconds.
- **size**: `"512B"`, `"64KiB"`, `"1MiB"`, `"2GiB"`. In Python also a number of bytes.
- **rate**: `"100/s"`, `"100/10s"`; of bytes `"500B/s"`.
- **status codes**: `200`, `"2xx"`, `"200-299"`, `"any"`.
- **"off"** switches a limit, a timeout or a feature off, where the type allows it.
- **list**: where a list is asked for, a single value is a list of one.
- **file**: a relative name counts from the folder of the configuration file.
- **text with {variables}**: takes the variables at the end of this page; `{{` is a literal brace.
- `${NAME}` in any text is the environment variable NAME, which must be there; `$${NAME}` is that text itself.

Only `[[listeners]]`, `[[routes]]` and the upstreams that they name are required.
"""


@dataclass(frozen=True, slots=True)
class _Chapter:
    """One section as the reference shows it: `[upstreams.NAME.tls]`."""

    title: str
    section: type[Section]


def reference() -> str:
    """The whole reference as Markdown."""
    parts = [
        _INTRODUCTION,
        "## Top level",
        _options_table(Config, extra=f"| `include` | list of: text | `[]` | {INCLUDE_DOC} |"),
    ]
    told: set[type[Section]] = set()
    for chapter in _chapters(Config, ""):
        if chapter.section not in told:
            told.add(chapter.section)
            parts += [f"## `{chapter.title}`", _description(chapter.section), _options_table(chapter.section)]
    parts += ["## Variables", "For headers, redirects, log lines and keys.", _variables_table()]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _chapters(section: type[Section], above: str) -> Iterator[_Chapter]:
    """Every section below one, in order, once for each way that leads there; a section within itself isn't entered."""
    for option in options_of(section):
        inner = section_of(option.kind)
        if inner is None or inner is section:
            continue
        path = f"{above}.{option.key}" if above else option.key
        is_array = isinstance(option.kind, ListOf)
        path = f"{path}.NAME" if isinstance(option.kind, TableOf) else path
        yield _Chapter(f"[[{path}]]" if is_array else f"[{path}]", inner)
        yield from _chapters(inner, path)


def _description(section: type[Section]) -> str:
    """The first paragraph of the docstring, without the name of the section that opens it."""
    paragraph = " ".join((section.__doc__ or "").split("\n\n")[0].split())
    opening, colon, rest = paragraph.partition(": ")
    text = rest if colon and "`" in opening else paragraph
    return text[0].upper() + text[1:]


def _options_table(section: type[Section], extra: str = "") -> str:
    rows = [
        f"| `{option.key}` | {_type(option)} | {_default(option)} | {option.doc} |"
        for option in options_of(section)
        if not option.from_table_key
    ]
    return "\n".join(["| key | type | default | |", "| --- | --- | --- | --- |", *rows, *([extra] if extra else [])])


def _type(option: Option) -> str:
    section = section_of(option.kind)
    return option.kind.name if section is None else f"{option.kind.name} ({section.__name__})"


def _default(option: Option) -> str:
    if option.required:
        return "**required**"
    if option.default is None:
        return "none"
    if option.default is DERIVED:
        return "see there"
    return "its defaults" if isinstance(option.default, Section) else f"`{_toml(option.default)}`"


def _toml(value: object) -> str:
    """A default as it would stand in a file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:_}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Table):
        return "{}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _variables_table() -> str:
    rows = [f"| `{{{name}}}` | {doc} |" for name, doc in VARIABLES]
    return "\n".join(["| variable | |", "| --- | --- |", *rows])


if __name__ == "__main__":
    sys.stdout.write(reference())

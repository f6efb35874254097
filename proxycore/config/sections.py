"""What a section of the configuration is: a frozen class whose settings each state kind, meaning and default once.

`@section` makes a frozen, slotted, keyword-only dataclass. Each of its fields is made by `setting`, and
that one line is all there is to a key: it drives reading from a file and from Python, the checks, the
error messages and the reference. The annotation `Setting[Given, Kept]` tells a type checker that the
constructor takes what a person writes ("5s", one server as a string) and that the attribute holds what
the proxy keeps (5.0, a tuple of Server).

However a section comes to be, by its constructor or from a file, `_settle` reads each setting through
its kind; then `complete` fills in what depends on other settings, and `check` judges them together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast, dataclass_transform, overload

from proxycore.config.kinds import Kind, ListOf, TableOf, Text, described
from proxycore.config.problems import ConfigError, Place, Problem, dotted, nearest

G = TypeVar("G", contravariant=True)
K = TypeVar("K", covariant=True)
S = TypeVar("S", bound="Section")


class Setting(Generic[G, K]):
    """An attribute that is given as G and read as K. Only a type checker ever sees this class."""

    if TYPE_CHECKING:

        def __get__(self, section: object, owner: type | None = None) -> K: ...

        def __set__(self, section: object, value: G) -> None: ...


DERIVED = object()
"""The default of a setting that `complete` works out. Until then it is its kind's blank, which nobody can give."""


@dataclass(frozen=True, slots=True)
class Option:
    """All that is known about one setting.

    `default` is in the form a person writes, or MISSING where it must be given, or DERIVED; `initial` is
    the default once read. `from_table_key` marks the name that an entry takes from its key in a table:
    `[upstreams.api]`.
    """

    attribute: str
    key: str
    kind: Kind[Any]
    doc: str
    default: object
    initial: object
    from_table_key: bool

    @property
    def required(self) -> bool:
        return self.default is MISSING


@overload
def setting(kind: Kind[K], doc: str, *, from_table_key: bool = False) -> Setting[Any, K]: ...
@overload
def setting(kind: Kind[K], doc: str, *, default: None, from_table_key: bool = False) -> Setting[Any, K | None]: ...
@overload
def setting(kind: Kind[K], doc: str, *, default: object, from_table_key: bool = False) -> Setting[Any, K]: ...
def setting(kind: Kind[Any], doc: str, *, default: object = MISSING, from_table_key: bool = False) -> Any:
    """One key of a section. Give `default` as a person would write it; without one the key must be given.

    A trailing underscore of the attribute isn't part of the key: `not_` is `not`.
    """
    return dataclasses.field(default=default, metadata={"kind": kind, "doc": doc, "from_table_key": from_table_key})


class Section:
    """The base of all sections. Two are equal when all their settings are."""

    __slots__ = ()

    _options: ClassVar[tuple[Option, ...]] = ()

    def complete(self) -> dict[str, object]:
        """Attributes, ready to keep, whose value depends on other settings: a name that wasn't given, say."""
        return {}

    def check(self, place: Place) -> None:
        """Note at `place` what is wrong with the settings taken together. Runs once each was read without a problem."""

    def check_names(self, place: Place) -> None:
        """Note at `place` the names that point nowhere. Runs after `check`, and where that doesn't."""

    def __post_init__(self) -> None:
        place = Place(from_python=True)
        _settle(self, {option.key: getattr(self, option.attribute) for option in self._options}, place)
        source = type(self).__name__
        if place.findings:
            raise ConfigError([Problem(source, None, dotted(f.path), f.message, f.suggestion) for f in place.findings])

    def __repr__(self) -> str:
        given = [
            f"{o.attribute}={getattr(self, o.attribute)!r}"
            for o in self._options
            if getattr(self, o.attribute) != o.initial
        ]
        return f"{type(self).__name__}({', '.join(given)})"


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(setting,))
def section(cls: type[S]) -> type[S]:
    """Make a section of a class whose fields are made by `setting`."""
    made = dataclass(frozen=True, slots=True, kw_only=True, repr=False)(cls)
    options = tuple(_option(made, field) for field in dataclasses.fields(cast(Any, made)))
    made._options = options
    return made


def _option(cls: type[Section], field: dataclasses.Field[Any]) -> Option:
    kind: Kind[Any] = field.metadata["kind"]
    initial = field.default
    if initial is DERIVED:
        initial = kind.blank
    elif initial not in (MISSING, None, ()):  # () is "not given" also where an empty list would be wrong
        place = Place(from_python=True)
        initial = kind.read(initial, place)
        assert not place.findings, (cls, field.name, place.findings)
    metadata = field.metadata
    key = field.name.removesuffix("_")
    return Option(field.name, key, kind, metadata["doc"], field.default, initial, metadata["from_table_key"])


def options_of(cls: type[Section]) -> tuple[Option, ...]:
    """The settings of a section, in the order of the reference."""
    return cls._options


def read_section(cls: type[S], given: Mapping[str, object], place: Place, name: str | None = None) -> S:
    """The section that a table of a file describes; `name` is its key in the table that holds it.

    What comes back is fit for use only if nothing was noted at `place` or below.
    """
    instance = object.__new__(cls)
    allowed = [option.key for option in cls._options if not option.from_table_key]
    for key in given:
        if key not in allowed:
            place.at(str(key)).problem("unknown key", nearest(str(key), [k for k in allowed if k not in given]))
    given = dict(given)
    if name is not None:
        given["name"] = name
    _settle(instance, given, place)
    return instance


def _settle(instance: Section, given: Mapping[str, object], place: Place) -> None:
    """Read every setting of `instance` from `given` (by key), then complete and check it."""
    sound = not any(finding.path[:-1] == place.path for finding in place.findings)
    for option in instance._options:
        value = given.get(option.key, option.default)
        if value is option.default and not option.required:
            object.__setattr__(instance, option.attribute, option.initial)
            continue
        known = len(place.findings)
        below = place if option.from_table_key else place.at(option.key)
        object.__setattr__(instance, option.attribute, _read_value(option, value, below))
        # What is wrong within a section that stands here is that section's own affair.
        new = place.findings[known:]
        sound = sound and not any(f.path == below.path or not option.kind.holds_sections for f in new)
    if sound:
        for attribute, value in instance.complete().items():
            object.__setattr__(instance, attribute, value)
        instance.check(place)
    instance.check_names(place)


def _read_value(option: Option, value: object, place: Place) -> object:
    if value is not MISSING:
        return option.kind.read(value, place)
    # A key that was misspelt is one problem, not two.
    if not any(f.suggestion == option.key and f.path[:-1] == place.path[:-1] for f in place.findings):
        place.problem("this key is needed")
    return option.kind.blank


def references(section: Section, place: Place) -> Iterator[tuple[Place, str, str]]:
    """Place, table and name of every entry of the configuration that a section, or one within it, names."""
    for option in section._options:
        value = getattr(section, option.attribute)
        if value is not option.initial:
            yield from option.kind.references(value, place.at(option.key))


class Nested(Kind[S]):
    """A section within a section. It is named by a function, since a section may hold itself."""

    name = "table"
    holds_sections = True

    def __init__(self, cls: Callable[[], type[S]]) -> None:
        self._cls = cls

    @property
    def section(self) -> type[S]:
        return self._cls()

    @property
    def blank(self) -> S:  # type: ignore[override]  # made when it is needed: the class may not exist yet
        return read_section(self.section, {}, Place())

    def read(self, given: object, place: Place) -> S:
        return self.read_named(given, place, None)

    def read_named(self, given: object, place: Place, name: str | None) -> S:
        """As `read`, for an entry of a table: `name` is its key there."""
        cls = self.section
        if isinstance(given, cls):
            return given if name is None else _named(given, name, place)
        if isinstance(given, Mapping) and len(place.path) <= MAX_DEPTH:
            return read_section(cls, given, place, name)
        place.problem("this is nested too deep" if isinstance(given, Mapping) else _no_table(given, cls))
        return read_section(cls, {}, Place(), name)

    def references(self, kept: Any, place: Place) -> Iterator[tuple[Place, str, str]]:
        return references(kept, place)

    def schema(self) -> dict[str, Any]:
        return {"$ref": f"#/$defs/{self.section.__name__}"}


def _no_table(given: object, cls: type[Section]) -> str:
    """What to write instead, where one key alone must be given: people leave the table out."""
    needed = [option.key for option in cls._options if option.required]
    table = f"; write {{ {needed[0]} = {described(given)} }}" if len(needed) == 1 else ""
    return f"{described(given)} is no table{table}"


def section_of(kind: Kind[Any]) -> type[Section] | None:
    """The section that stands where this kind is asked for: alone, in a list or in a table."""
    if isinstance(kind, ListOf):
        return section_of(kind.item)
    if isinstance(kind, TableOf):
        return section_of(kind.value)
    return kind.section if isinstance(kind, Nested) else None


def _named(given: S, name: str, place: Place) -> S:
    own: str = getattr(given, "name")  # noqa: B009  # the sections in such tables have names, sections as such don't
    if own and own != name:
        place.problem(f'this is named "{own}" and stands under another name', own)
    return given if own == name else renamed(given, name)


def renamed(given: S, name: str) -> S:
    """The same section with this name, read already and so not read again."""
    instance = object.__new__(type(given))
    for option in given._options:
        object.__setattr__(instance, option.attribute, getattr(given, option.attribute))
    object.__setattr__(instance, "name", name)
    for attribute, value in instance.complete().items():
        object.__setattr__(instance, attribute, value)
    return instance


MAX_DEPTH = 64
"""Steps from the top of a configuration. Matches may hold matches; nobody needs this many."""

Seconds = Setting[str | float, float]
Bytes = Setting[str | int, int]
Count = Setting[int | str, int]
Fraction = Setting[float, float]
Switch = Setting[bool, bool]
Word = Setting[str, str]
OptionalWord = Setting[str | None, str | None]
Words = Setting[Sequence[str], tuple[str, ...]]


class NamedSections(TableOf[str, S]):
    """A table of sections, each of which knows its own key as `name`."""

    def __init__(self, cls: Callable[[], type[S]]) -> None:
        self._nested = Nested(cls)
        super().__init__(Text("name"), self._nested)

    def read_value(self, key: str, given: object, place: Place) -> S:
        return self._nested.read_named(given, place, key)

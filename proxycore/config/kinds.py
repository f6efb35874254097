"""Kinds of values: how each is read, checked and described.

A kind turns what a person gave (a string of a file, or an object of a program) into what the proxy
keeps: "5s" into 5.0. Reading what was kept gives the same again, so `dataclasses.replace` works. A
kind never raises on a wrong value: it notes the problem at the value's place and returns its `blank`,
so that one reading finds every problem. A blank never reaches a user, because a reading with problems
ends in `ConfigError`.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from proxycore.config import units
from proxycore.config.problems import Invalid, Place, nearest
from proxycore.config.tables import Table
from proxycore.config.units import OFF, UNLIMITED, Rate, StatusRange

K = TypeVar("K", covariant=True)
Key = TypeVar("Key")
Value = TypeVar("Value")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Substituted(str):
    """A string that came whole from an environment variable: there a number has no other form."""

    __slots__ = ()


class Unset(str):
    """A string whose environment variable is missing. That was told, and nothing more is to be said of it."""

    __slots__ = ()


class Kind(Generic[K]):
    """Reads what was given into a K to keep."""

    name: str
    """What the reference calls it."""

    blank: K
    """What stands in for a wrong value while the rest is read."""

    holds_sections: bool = False
    """Whether the values are sections, or lists or tables of them."""

    def read(self, given: object, place: Place) -> K:
        """What to keep of `given`. What is wrong with it is noted at `place`."""
        if isinstance(given, Unset):
            return self.blank
        try:
            return self.parse(given, place)
        except Invalid as error:
            place.problem(error.message, error.suggestion)
            return self.blank

    def parse(self, given: object, place: Place) -> K:
        """What to keep of one plain value. Raises `Invalid`."""
        raise NotImplementedError

    def references(self, kept: Any, place: Place) -> Iterator[tuple[Place, str, str]]:
        """Place, table and name of each entry elsewhere in the configuration that `kept` names."""
        return iter(())

    def schema(self) -> dict[str, Any]:
        """What may stand in a file, as JSON Schema: an editor is told the form, the finer rules are `read`'s."""
        return {"type": "string"}


_FROM_ENVIRONMENT = {"type": "string", "pattern": r"^\$\{.+\}$"}


def _or_text(schema: dict[str, Any], *, off: bool = False) -> dict[str, Any]:
    """A value that isn't text, or a variable of the environment in its place; and "off", where that means something."""
    return {"anyOf": [schema, _FROM_ENVIRONMENT, *([{"const": OFF}] if off else [])]}


def _text_with_unit(units: str, *, off: bool) -> dict[str, Any]:
    forms = [rf"[0-9.]+ ?({units})", r"\$\{.+\}", *([OFF] if off else [])]
    return {"type": "string", "pattern": f"^({'|'.join(forms)})$"}


def described(given: object) -> str:
    """A wrong value in a message, in TOML's words."""
    if isinstance(given, str):
        return f'"{given}"'
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, int | float):
        return str(given) if abs(given) < UNLIMITED else "this number"  # Python refuses to print very long ones
    if isinstance(given, Mapping):
        return "a table"
    return "a list" if isinstance(given, list | tuple) else f"a {type(given).__name__}"


class Flag(Kind[bool]):
    """True or false."""

    name = "true or false"
    blank = False

    def parse(self, given: object, place: Place) -> bool:
        if isinstance(given, bool):
            return given
        if isinstance(given, Substituted) and given in ("true", "false"):
            return given == "true"
        meant = given.lower() if isinstance(given, str) and given.lower() in ("true", "false") else None
        raise Invalid(f"{described(given)} is neither true nor false (without quotes)", meant)

    def schema(self) -> dict[str, Any]:
        return _or_text({"type": "boolean"})


class Integer(Kind[int]):
    """A whole number; with `off`, a count that "off" lifts to UNLIMITED."""

    def __init__(self, least: int = 0, most: int = UNLIMITED - 1, *, off: bool = False) -> None:
        self._least = least
        self._most = most
        self._off = off
        self.blank = 0
        bounded = "whole number" if most >= UNLIMITED - 1 else f"whole number from {least} to {most}"
        self.name = f'{bounded} or "off"' if off else bounded

    def parse(self, given: object, place: Place) -> int:
        if self._off and (given == OFF or (given == UNLIMITED and place.from_python)):
            return UNLIMITED
        if isinstance(given, str) and re.fullmatch("[+-]?[0-9]{1,19}", given, re.ASCII):
            if not isinstance(given, Substituted):
                raise Invalid(f"{described(given)} is text; a number stands without quotes")
            given = int(given)
        if isinstance(given, bool) or not isinstance(given, int):
            raise Invalid(f"{described(given)} is no {self.name}")
        if self._off and given <= 0 and self._least > 0:
            raise Invalid(f"{described(given)} is below {self._least}", OFF)
        if not self._least <= given <= self._most:
            bounds = (
                f"between {self._least} and {self._most}" if self._most < UNLIMITED - 1 else f"{self._least} or more"
            )
            raise Invalid(f"{described(given)} is not {bounds}")
        return given

    def schema(self) -> dict[str, Any]:
        bounds = {"minimum": self._least} | ({"maximum": self._most} if self._most < UNLIMITED - 1 else {})
        return _or_text({"type": "integer", **bounds}, off=self._off)


class Share(Kind[float]):
    """A part of the whole, from 0 to 1."""

    name = "share from 0 to 1"
    blank = 0.0

    def parse(self, given: object, place: Place) -> float:
        if isinstance(given, Substituted) and re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,9})?", given, re.ASCII):
            given = float(given)
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise Invalid(f"{described(given)} is no {self.name}")
        if not 0 <= given <= 1:
            raise Invalid(f"{described(given)} is no {self.name}", f"{given / 100:g}" if 1 < given <= 100 else None)
        return float(given)

    def schema(self) -> dict[str, Any]:
        return _or_text({"type": "number", "minimum": 0, "maximum": 1})


class Duration(Kind[float]):
    """Seconds. `off` is what "off" means: infinity for a clock, 0.0 for a span that isn't there; None: no "off"."""

    def __init__(self, off: float | None = math.inf) -> None:
        self._off = off
        self.blank = 1.0
        self.name = "duration" if off is None else 'duration or "off"'

    def parse(self, given: object, place: Place) -> float:
        if isinstance(given, str):
            return self._parse_text(given)
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise Invalid(f"{described(given)} is no {self.name}")
        if not place.from_python:
            raise Invalid("a duration is text with a unit (ms, s, m, h, d)", f"{described(given)}s")
        if given != self._off and not 0 < given < UNLIMITED:
            raise self._no_duration()
        return float(given)

    def _parse_text(self, text: str) -> float:
        if text == OFF and self._off is not None:
            return self._off
        seconds = units.parse_duration(text)
        if not seconds:
            raise self._no_duration()
        return seconds

    def _no_duration(self) -> Invalid:
        return Invalid("a duration is above zero", None if self._off is None else OFF)

    def schema(self) -> dict[str, Any]:
        return _text_with_unit("ms|s|m|h|d", off=self._off is not None)


class Size(Kind[int]):
    """Bytes; with `off`, "off" lifts the limit to UNLIMITED."""

    def __init__(self, *, least: int = 1, off: bool = True) -> None:
        self._least = least
        self._off = off
        self.blank = least
        self.name = 'size or "off"' if off else "size"

    def parse(self, given: object, place: Place) -> int:
        if given == OFF and self._off:
            return UNLIMITED
        if isinstance(given, str):
            count = units.parse_size(given)
        elif isinstance(given, bool) or not isinstance(given, int):
            raise Invalid(f"{described(given)} is no {self.name}")
        elif not place.from_python:
            raise Invalid("a size is text with a unit (B, KiB, MiB, GiB)", f"{described(given)}B")
        else:
            count = given
        if not self._least <= count <= (UNLIMITED if self._off and place.from_python else UNLIMITED - 1):
            raise Invalid(f"a size here is {units.format_size(self._least)} or more", OFF if self._off else None)
        return count

    def schema(self) -> dict[str, Any]:
        return _text_with_unit("B|[KMGT]iB", off=self._off)


class RateOf(Kind[Rate]):
    """A rate of things or bytes. `off` is what "off" means: NO_MINIMUM or NO_MAXIMUM; None: there is no "off"."""

    blank = Rate(1)

    def __init__(self, *, of_bytes: bool = False, off: Rate | None = None) -> None:
        self._of_bytes = of_bytes
        self._off = off
        self.name = ("rate of bytes" if of_bytes else "rate") + ("" if off is None else ' or "off"')

    def parse(self, given: object, place: Place) -> Rate:
        if given == OFF and self._off is not None:
            return self._off
        if isinstance(given, Rate):
            rate = given
        elif isinstance(given, str):
            rate = units.parse_rate(given, of_bytes=self._of_bytes)
        else:
            meant = f"{described(given)}{'B' if self._of_bytes else ''}/s" if type(given) is int else None
            raise Invalid(f"{described(given)} is no {self.name}", meant)
        if rate != self._off and not (rate.count > 0 and 0 < rate.per < math.inf):
            raise Invalid("a rate is above zero", None if self._off is None else OFF)
        return rate

    def schema(self) -> dict[str, Any]:
        unit = "(B|[KMGT]iB)" if self._of_bytes else ""
        return _text_with_unit(f"{unit}/[0-9]*(ms|s|m|h|d)", off=self._off is not None)


class Statuses(Kind[StatusRange]):
    """One status code, or a range of them."""

    name = "status codes"
    blank = units.ANY_STATUS

    def parse(self, given: object, place: Place) -> StatusRange:
        if isinstance(given, StatusRange):
            return given
        if isinstance(given, bool) or not isinstance(given, int | str):
            raise Invalid(f'{described(given)} is no status such as 200, "2xx", "200-299" or "any"')
        return units.parse_statuses(given if isinstance(given, str) else described(given))

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": 100, "maximum": 599}, {"type": "string"}]}


class Text(Kind[str]):
    """A string that isn't empty, and what else `check` asks of it: it returns what to keep, or raises `Invalid`."""

    blank = ""

    def __init__(self, name: str = "text", check: Callable[[str], str] | None = None, *, empty: bool = False) -> None:
        self.name = name
        self._check = check
        self._empty = empty

    def parse(self, given: object, place: Place) -> str:
        if not isinstance(given, str):
            raise Invalid(f"{described(given)} is no {self.name}")
        if not given and not self._empty:
            raise Invalid("this is empty")
        return self._check(str(given)) if self._check else str(given)


class OneOf(Kind[K]):
    """One of a few words (or whole numbers)."""

    def __init__(self, words: Sequence[Any], *, off: bool = False) -> None:
        self._words: dict[object, K] = {word: word for word in words}
        self.blank = cast(K, words[0])
        self.name = f"one of {', '.join(map(described, words))}"

    def parse(self, given: object, place: Place) -> K:
        if isinstance(given, Substituted) and given.isdecimal() and len(given) < 10 and given not in self._words:
            given = int(given)
        # A bool equals 0 or 1 and so would be found among numbers; a list can't be looked up at all.
        if type(given) in (str, Substituted, int) and given in self._words:
            return self._words[given]
        texts = {str(word): word for word in self._words}
        raise Invalid(
            f"{described(given)} is not {self.name}",
            nearest(str(given) if isinstance(given, str) else described(given), texts),
        )

    def schema(self) -> dict[str, Any]:
        return _or_text({"enum": list(self._words)})


class Optional(Kind[K | None]):
    """What another kind reads, or "off" for None."""

    blank = None

    def __init__(self, kind: Kind[K]) -> None:
        self._kind = kind
        self.name = f'{kind.name} or "off"'

    def parse(self, given: object, place: Place) -> K | None:
        return None if given is None or given == OFF else self._kind.parse(given, place)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self._kind.schema(), {"const": OFF}]}


class Reference(Kind[str]):
    """The name of an entry of a table of the configuration: `upstreams`, `caches`, `listeners` ..."""

    blank = ""

    def __init__(self, table: str) -> None:
        self.table = table
        self.name = f"name of one of [{table}]"

    def parse(self, given: object, place: Place) -> str:
        if not isinstance(given, str) or not given:
            raise Invalid(f"{described(given)} is no {self.name}")
        return str(given)

    def references(self, kept: Any, place: Place) -> Iterator[tuple[Place, str, str]]:
        if kept:
            yield place, self.table, kept


class NetworkOf(Kind[Network]):
    """A network in CIDR form; a single address is a network of its own."""

    name = "network (CIDR) or address"
    blank = ipaddress.IPv4Network("0.0.0.0/32")

    def parse(self, given: object, place: Place) -> Network:
        if isinstance(given, Network):
            return given
        if isinstance(given, IPAddress):
            return ipaddress.ip_network(given)
        if not isinstance(given, str):
            raise Invalid(f"{described(given)} is no {self.name}")
        try:
            network = ipaddress.ip_network(given, strict=False)
        except ValueError:
            raise Invalid(f'{described(given)} is no {self.name} such as "10.0.0.0/8"') from None
        if "/" in given and network != _exact_network(given):
            raise Invalid(f"{described(given)} has bits set behind its prefix", str(network))
        return network


def _exact_network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


class ListOf(Kind[tuple[Value, ...]]):
    """A list, kept as a tuple. A single value is a list of one."""

    blank = ()

    def __init__(self, item: Kind[Value], *, least: int = 0) -> None:
        self.item = item
        self.holds_sections = item.holds_sections
        self._least = least
        self.name = f"list of: {item.name}"

    def read(self, given: object, place: Place) -> tuple[Value, ...]:
        if not isinstance(given, list | tuple):
            return (self.item.read(given, place),)
        if len(given) < self._least:
            place.problem("this list is empty")
        return tuple(self.item.read(value, place.at(index)) for index, value in enumerate(given))

    def references(self, kept: Any, place: Place) -> Iterator[tuple[Place, str, str]]:
        for index, value in enumerate(kept):
            yield from self.item.references(value, place.at(index))

    def schema(self) -> dict[str, Any]:
        item = self.item.schema()
        return {"anyOf": [{"type": "array", "items": item, "minItems": self._least}, item]}


class TableOf(Kind[Table[Key, Value]]):
    """A table whose keys the user chooses."""

    blank: Table[Key, Value] = Table()

    def __init__(self, key: Kind[Key], value: Kind[Value]) -> None:
        self.key = key
        self.value = value
        self.holds_sections = value.holds_sections
        self.name = f"table of: {key.name} = {value.name}"

    def read(self, given: object, place: Place) -> Table[Key, Value]:
        if not isinstance(given, Mapping):
            place.problem(f"{described(given)} is no table")
            return self.blank
        entries: dict[Key, Value] = {}
        for key, value in given.items():
            below = place.at(str(key))
            known = len(place.findings)
            kept_key = self.key.read(key, below)
            if len(place.findings) > known:
                continue
            if kept_key in entries:
                below.problem("this stands here twice, written differently")
            entries[kept_key] = self.read_value(kept_key, value, below)
        return Table(entries)

    def read_value(self, key: Key, given: object, place: Place) -> Value:
        return self.value.read(given, place)

    def references(self, kept: Any, place: Place) -> Iterator[tuple[Place, str, str]]:
        for key, value in kept.items():
            yield from self.value.references(value, place.at(str(key)))

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.value.schema()}

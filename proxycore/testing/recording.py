"""Records what a core is told, so that the same run can be had again anywhere, step by step.

    lines: list[str] = []
    core = Recorder(config, write=lines.append, now=..., wall=..., seed=..., entropy=...)   # drive it like a Core
    for step in replay(lines):
        print(step)

A recording is lines of JSON. The first holds the configuration and all that a core begins with; then comes one for
each fact, each piece of entropy, and each query that changes the core. Bytes are base64. With every fact goes a
digest of the effects that answered it, so a replay that differs says where. Filters aren't in it: give the same again.

A recording holds what clients sent, secrets included: treat it like a packet capture.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

from proxycore.composition.filters import Filter
from proxycore.config import Config, Rate, Table
from proxycore.config.kinds import Kind, ListOf, RateOf, TableOf
from proxycore.config.materials import Materials
from proxycore.config.sections import DERIVED, Option, Section
from proxycore.config.units import format_rate
from proxycore.core import Core
from proxycore.testing.network import FACTS
from proxycore.words.effects import Effect
from proxycore.words.notices import Kind as NoticeKind

FORMAT = 1
"""The version of the format, in the first line."""

_CHANGING_QUERIES = frozenset(("next_conn_id", "take_notices", "ledger"))
_RECORDED = frozenset(FACTS) | _CHANGING_QUERIES


class NotARecording(ValueError):
    """The lines are no recording, or one of another version."""


class Recorder:
    """A `Core` that writes down what it is told. It has every method and attribute of `core`.

    The arguments are those of `Core`; `write` gets one line at a time, without its line end, and must
    not fail. Raises ValueError where the core would speak TLS, which draws chance of its own: a recording
    is taken of plaintext (`Materials.tls_is_outside`).
    """

    def __init__(
        self,
        config: Config,
        materials: Materials | None = None,
        *,
        write: Callable[[str], object],
        now: float,
        wall: float,
        seed: int,
        entropy: Callable[[int], bytes],
        filters: Sequence[Filter] = (),
        watch: Collection[NoticeKind] = (),
    ) -> None:
        materials = materials or Materials()
        if not materials.tls_is_outside and config.speaks_tls:
            raise ValueError("a recording is taken of plaintext: give Materials(tls_is_outside=True)")
        self._write = write
        self._entropy = entropy
        self._line(
            {
                "proxycore": FORMAT,
                "config": plain(config),
                "materials": _encoded(materials),
                "now": now,
                "wall": wall,
                "seed": seed,
                "watch": sorted(watch),
            }
        )
        self.core = Core(
            config, materials, now=now, wall=wall, seed=seed, entropy=self._draw, filters=filters, watch=watch
        )

    def _line(self, values: dict[str, Any]) -> None:
        self._write(json.dumps(values, separators=(",", ":"), allow_nan=False))

    def _draw(self, size: int) -> bytes:
        data = self._entropy(size)
        self._line({"entropy": _encoded(data)})
        return data

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.core, name)
        return partial(self._told, name, attribute) if name in _RECORDED else attribute

    def _told(self, name: str, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        line: dict[str, Any] = {"fact": name, "arguments": _encoded(arguments)}
        if named:
            line["named"] = {key: _encoded(value) for key, value in named.items()}
        result = method(*arguments, **named)
        if name not in _CHANGING_QUERIES:
            line["effects"] = digest(result)
        self._line(line)
        return result


@dataclass(frozen=True, slots=True)
class Step:
    """One fact of a recording, told again. `is_same` says that the same effects came of it as when it was recorded."""

    number: int
    fact: str
    arguments: tuple[Any, ...]
    effects: Sequence[Effect]
    is_same: bool

    @property
    def at(self) -> float:
        """When it happened, by the recording's clock. `drain_requested` names its deadline behind it."""
        return float(self.arguments[-1])

    def __str__(self) -> str:
        told = ", ".join(map(_short, self.arguments[:-1]))
        lines = [f"{self.number}. {self.at:.6f} {self.fact}({told})", *(f"      {_short(e)}" for e in self.effects)]
        if not self.is_same:
            lines.append("      DIFFERS from what was recorded")
        return "\n".join(lines)


def replay(lines: Iterable[str], *, filters: Sequence[Filter] = ()) -> Iterator[Step]:
    """Tell a new core the facts of a recording, one for each step that is taken. Raises NotARecording."""
    entries = [_parsed(line) for line in lines if line.strip()]
    if not entries or entries[0].get("proxycore") != FORMAT:
        raise NotARecording(f"the first line says nothing of a recording of version {FORMAT}")
    entropy = deque(_decoded(entry["entropy"]) for entry in entries if "entropy" in entry)
    core = _core_of(entries[0], entropy, filters)
    number = 0
    for entry in entries[1:]:
        if "fact" not in entry:
            continue
        name, arguments = entry["fact"], _decoded(entry["arguments"])
        if name not in _RECORDED:
            raise NotARecording(f"no fact is called {name!r}")
        result = getattr(core, name)(*arguments, **{k: _decoded(v) for k, v in entry.get("named", {}).items()})
        if name not in _CHANGING_QUERIES:
            number += 1
            yield Step(number, name, arguments, result, digest(result) == entry["effects"])


def digest(effects: Sequence[Effect]) -> str:
    """A short digest of effects: equal ones have equal digests, on every machine."""
    return hashlib.blake2b(repr(list(effects)).encode(), digest_size=8).hexdigest()


def plain(section: Section) -> dict[str, Any]:
    """A section of a configuration as plain values for JSON, what is at its default left out.

    `Config(**plain(config)) == config`.
    """
    return {
        option.key: _plain(option.kind, value)
        for option in section._options
        if not option.from_table_key
        and (value := getattr(section, option.attribute)) != option.initial
        and not (option.default is DERIVED and _derived(section, option) == value)
    }


def _derived(section: Section, option: Option) -> Any:
    """What the section makes of a setting that isn't given."""
    blank = object.__new__(type(section))
    for other in section._options:
        object.__setattr__(blank, other.attribute, getattr(section, other.attribute))
    object.__setattr__(blank, option.attribute, option.initial)
    return blank.complete().get(option.attribute)


def _plain(kind: Kind[Any], value: Any) -> Any:
    if isinstance(value, Section):
        return plain(value)
    if isinstance(value, tuple) and isinstance(kind, ListOf):
        return [_plain(kind.item, one) for one in value]
    if isinstance(value, Table) and isinstance(kind, TableOf):
        return {str(key): _plain(kind.value, one) for key, one in value.items()}
    if isinstance(value, Rate) and isinstance(kind, RateOf):
        return format_rate(value, of_bytes=kind._of_bytes)
    if value == inf and isinstance(value, float):
        return "off"
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _core_of(first: dict[str, Any], entropy: deque[Any], filters: Sequence[Filter]) -> Core:
    def draw(size: int) -> bytes:
        if not entropy or len(entropy[0]) != size:
            raise NotARecording("the core asked for other entropy than was recorded")
        data: bytes = entropy.popleft()
        return data

    return Core(
        Config(**first["config"]),
        _decoded(first["materials"]),
        now=first["now"],
        wall=first["wall"],
        seed=first["seed"],
        entropy=draw,
        filters=filters,
        watch=first["watch"],
    )


def _parsed(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise NotARecording(f"no JSON: {error}") from None
    if not isinstance(entry, dict):
        raise NotARecording(f"a line that is no object: {line[:40]}")
    return entry


def _encoded(value: Any) -> Any:
    """A value of a fact for JSON. Lists are read again as tuples."""
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": b64encode(value).decode()}
    if isinstance(value, Config):
        return {"config": plain(value)}
    if isinstance(value, Materials):
        return {"materials": {str(status): _encoded(page) for status, page in value.error_pages.items()}}
    if isinstance(value, list | tuple):
        return [_encoded(one) for one in value]
    if isinstance(value, dict):
        return {"table": {str(key): _encoded(one) for key, one in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return {"off": True} if value == inf else value
    return {"opaque": repr(value)}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decoded(one) for one in value)
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "base64":
        return b64decode(held)
    if kind == "config":
        return Config(**held)
    if kind == "materials":
        pages = {int(status): _decoded(page) for status, page in held.items()}
        return Materials(error_pages=pages, tls_is_outside=True)
    if kind == "table":
        return {key: _decoded(one) for key, one in held.items()}
    if kind == "off":
        return inf
    raise NotARecording(f"a value that JSON couldn't hold: {held}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:150]} ... {text[-40:]}"


__all__ = ["FORMAT", "NotARecording", "Recorder", "Step", "plain", "replay"]

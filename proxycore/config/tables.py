"""An immutable mapping: the form in which a configuration keeps the tables that it was given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V", covariant=True)


class Table(Mapping[K, V]):
    """A mapping that nobody can change; it keeps its order, and can be hashed, copied and pickled."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Mapping[K, V] | Iterable[tuple[K, V]] = ()) -> None:
        self._entries: dict[K, V] = dict(entries)

    def __getitem__(self, key: K) -> V:
        return self._entries[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        return self._entries == (other._entries if isinstance(other, Table) else other)

    def __hash__(self) -> int:
        # Equal tables are of equal length, and that has to do: tables are compared, hardly ever used as keys.
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Table({self._entries!r})"

"""Which networks may come in."""

from __future__ import annotations

from collections.abc import Sequence

from proxycore.config.materials import Networks


class AccessList:
    """Networks that may come and networks that may not: what is denied stays so even if it is allowed too.

    With `allow` empty, all that isn't denied may come. Several lists count as one.
    """

    __slots__ = ("_allow", "_deny")

    def __init__(self, allow: Sequence[Networks], deny: Sequence[Networks]) -> None:
        self._allow = tuple(allow)
        self._deny = tuple(deny)

    def objection(self, number: int | None) -> str:
        """Why the address of that number may not come in; empty if it may. None is no address: never allowed."""
        if number is None:
            return "it has no address"
        for networks in self._deny:
            if networks.has_number(number):
                return "it is denied"
        if not self._allow:
            return ""
        for networks in self._allow:
            if networks.has_number(number):
                return ""
        return "it is not among those allowed"

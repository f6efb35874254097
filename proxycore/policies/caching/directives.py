"""Cache-Control and its targeted kin, read (RFC 9111 section 5.2, RFC 9213).

Reading errs on the side of not storing: what restricts counts wherever it can be made out, and a lifetime that
can't be read is none.
"""

from __future__ import annotations

import re
from typing import Final

from proxycore.words.messages import Headers

UNLIMITED_SECONDS: Final = 2**31
"""RFC 9111 section 1.2.2: what a larger number of seconds counts as."""

# One member of the list. A quote that is never closed is an ordinary byte: it must not hide a no-store behind it.
_MEMBER = re.compile(rb'(?:[^",]|"(?:[^"\\]|\\.)*+"|")++', re.DOTALL)
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_BETWEEN = re.compile(rb"[ \t;]+")
_FIELDS = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z, \t]*+")
_RESTRICTING = frozenset((b"no-store", b"no-cache", b"private", b"must-revalidate", b"proxy-revalidate"))

# RFC 8941 section 4.2.2, as far as cache directives need it: a key, and a bare item with ignored parameters.
_SF_KEY = rb"([a-z*][a-z0-9_\-.*]*)"
_SF_ITEM = (
    rb'(-?[0-9]{1,15}(?:\.[0-9]{1,3})?|"(?:[ !#-\[\]-~]|\\["\\])*+"|[A-Za-z*][!#$%&\'*+\-.^_`|~0-9A-Za-z:/]*|\?[01])'
)
_SF_MEMBER = re.compile(_SF_KEY + rb"(?:=" + _SF_ITEM + rb")?(?:;[ ]*" + _SF_KEY + rb"(?:=" + _SF_ITEM + rb")?)*")
_NUMBERS = frozenset((b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error"))
_SF_COMMA = re.compile(rb"[ \t]*,[ \t]*")


class Directives:
    """The directives of one message. `is_targeted` says that they came from a field for caches like us alone."""

    __slots__ = ("_values", "is_targeted")

    def __init__(self, values: dict[bytes, bytes | None], *, is_targeted: bool = False) -> None:
        self._values = values
        self.is_targeted = is_targeted

    def __contains__(self, name: bytes) -> bool:
        return name in self._values

    def is_whole(self, name: bytes) -> bool:
        """Whether `no-cache` or `private` stands there for all of the response, and not for fields that it names."""
        return name in self._values and not self._values[name]

    def fields(self, name: bytes) -> list[bytes]:
        """The fields that `no-cache="..."` or `private="..."` names, in lower case."""
        value = self._values.get(name)
        return [part for field in value.split(b",") if (part := field.strip(b" \t").lower())] if value else []

    def seconds(self, name: bytes) -> int | None:
        """A number of seconds. None where it isn't given; 0 where it can't be read (RFC 9111 section 4.2.1)."""
        if name not in self._values:
            return None
        value = self._values[name]
        if value is None or not value.isdigit():
            return 0
        return min(int(value), UNLIMITED_SECONDS) if len(value) <= 10 else UNLIMITED_SECONDS

    def __repr__(self) -> str:
        return f"Directives({self._values!r}{', targeted' if self.is_targeted else ''})"


NO_DIRECTIVES = Directives({})


def request_directives(headers: Headers) -> Directives:
    """What a request asks of caches. `Pragma: no-cache` counts where there is no Cache-Control (section 5.4)."""
    lines = headers.get_all(b"cache-control")
    if lines:
        return parse_directives(lines)
    if any(b"no-cache" in line.lower() for line in headers.get_all(b"pragma")):
        return Directives({b"no-cache": None})
    return NO_DIRECTIVES


def response_directives(headers: Headers) -> Directives:
    """What an origin says to us: CDN-Cache-Control where it can be read (RFC 9213 section 2.2), else Cache-Control."""
    targeted = headers.get_all(b"cdn-cache-control")
    if targeted:
        values = _parse_dictionary(b",".join(targeted))
        if values:
            return Directives(values, is_targeted=True)
    lines = headers.get_all(b"cache-control")
    return parse_directives(lines) if lines else NO_DIRECTIVES


def parse_directives(lines: list[bytes]) -> Directives:
    """The directives of all lines of a Cache-Control. The first of a name counts; no-cache and private add up."""
    values: dict[bytes, bytes | None] = {}
    for member in _MEMBER.findall(b",".join(lines)):
        name, equals, value = member.strip(b" \t").partition(b"=")
        name = name.rstrip(b" \t").lower()
        if _BETWEEN.search(name):  # members without their comma, or a parameter, which no directive has
            values.update(dict.fromkeys(_RESTRICTING.intersection(_BETWEEN.split(name))))
        elif name:
            _add(values, name, _unquoted(value) if equals else None)
    return Directives(values)


def _add(values: dict[bytes, bytes | None], name: bytes, argument: bytes | None) -> None:
    if name not in (b"no-cache", b"private"):
        values.setdefault(name, argument)
        return
    # Without names of fields, or with what can't be read as names, it is about all of the response.
    if argument and not _FIELDS.fullmatch(argument):
        argument = None
    if name in values:
        before = values[name]
        argument = b"%b,%b" % (before, argument) if before and argument else None
    values[name] = argument


def _unquoted(value: bytes) -> bytes:
    quoted = _QUOTED.fullmatch(value)
    return value if quoted is None else _QUOTED_PAIR.sub(rb"\1", quoted[1])


def _parse_dictionary(text: bytes) -> dict[bytes, bytes | None] | None:
    """A Dictionary of Structured Fields (RFC 8941); None where it is invalid, and so to be ignored whole."""
    values: dict[bytes, bytes | None] = {}
    text = text.strip(b" ")
    position = 0
    while position < len(text):
        member = _SF_MEMBER.match(text, position)
        if member is None:
            return None
        name, item = member[1], member[2]
        if name in _NUMBERS and not (item or b"").isdigit():
            return None
        values.pop(name, None)
        if item != b"?0":  # false: as if it weren't there
            values[name] = None if item is None or item == b"?1" else _unquoted(item)
        position = member.end()
        if position < len(text):
            comma = _SF_COMMA.match(text, position)
            if comma is None or comma.end() == len(text):
                return None
            position = comma.end()
    return values

"""The conditions of a match, compiled: what a request must be for a route to take it.

Theory of operation
-------------------
A condition answers YES, NO, or DISPUTED: yes as some origins read the path and no as others do. A path
has up to four readings: as spelt and with its case folded, each for both forms of a path that origins
disagree on (`paths`). A path condition answers for all of them at once. The answers are the three values
of Kleene's logic, ordered NO < DISPUTED < YES: `all` is their minimum, `any` their maximum, `not` turns
the order round. So YES means: this holds whoever reads. `routing` refuses a request as soon as the first
route that isn't NO is DISPUTED, and there is no way round a rule by spelling, whatever `any` and `not`
it is made of.

Two paths of a configuration that differ by case alone (`/aB` and `/ab`) say that case matters there, and
are compared as spelt. In a `path_regex`, `(?-i:...)` says the same.

Python's `re` can't be bounded: a pattern such as `(a+)+b` takes exponential time, and nothing stops it.
All that is done here is to match whole paths only, which `limits.request_target` bounds. Patterns come
from the operator, never from a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import unquote_to_bytes

from proxycore.config.model import Match
from proxycore.policies.addresses import AddressSet, number_of
from proxycore.policies.hosts import HostPatterns, host_of
from proxycore.policies.paths import NormalPath, fold, normalise_pattern, text_of
from proxycore.words.messages import Headers, RequestHead

NO, DISPUTED, YES = 0, 1, 2
"""What a condition answers. Integers, so that `min` and `max` are `all` and `any`."""

ANY_VALUE = "*"
"""The value of a header, query, cookie or subject condition that only asks for its presence."""


class Subject:
    """A request under examination. What is costly to find out is found out when it is first asked for."""

    __slots__ = ("_client", "_host", "_readings", "client_ip", "listener", "path", "request", "tls_subject")

    def __init__(
        self, request: RequestHead, path: NormalPath, listener: str, client_ip: str, tls_subject: str = ""
    ) -> None:
        self.request = request
        self.path = path
        self.listener = listener
        self.client_ip = client_ip
        self.tls_subject = tls_subject
        self._host: bytes | None = None
        self._client: int | None = None
        self._readings: list[tuple[bytes, bytes]] | None = None

    @property
    def host(self) -> bytes:
        """The host that was asked for, as `hosts.host_of` gives it."""
        if self._host is None:
            self._host = host_of(self.request.authority)
        return self._host

    @property
    def client_number(self) -> int:
        """The client's address as `addresses.number_of` gives it; -1 for a Unix socket."""
        if self._client is None:
            number = number_of(self.client_ip)
            self._client = -1 if number is None else number
        return self._client

    @property
    def readings(self) -> list[tuple[bytes, bytes]]:
        """Each form of the path, as spelt and folded."""
        if self._readings is None:
            path, other = self.path.path, self.path.other
            self._readings = [(path, fold(path))] if other is None else [(path, fold(path)), (other, fold(other))]
        return self._readings


class Condition:
    """Something that a request is or isn't."""

    __slots__: tuple[str, ...] = ()

    def answer(self, subject: Subject) -> int:
        """NO, DISPUTED or YES."""
        raise NotImplementedError

    def why_not(self, subject: Subject) -> str:
        """In words, why the answer was not YES."""
        raise NotImplementedError

    def __str__(self) -> str:
        raise NotImplementedError


class All(Condition):
    """Every one of some conditions; of none: YES."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Condition]) -> None:
        self.parts = tuple(parts)

    def answer(self, subject: Subject) -> int:
        lowest = YES
        for part in self.parts:
            answer = part.answer(subject)
            if answer < lowest:
                if answer == NO:
                    return NO
                lowest = answer
        return lowest

    def why_not(self, subject: Subject) -> str:
        lowest = self.answer(subject)
        return next(part.why_not(subject) for part in self.parts if part.answer(subject) == lowest)

    def __str__(self) -> str:
        return " and ".join(map(str, self.parts)) or "anything"


class Any(Condition):
    """At least one of some conditions."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Condition]) -> None:
        self.parts = tuple(parts)

    def answer(self, subject: Subject) -> int:
        highest = NO
        for part in self.parts:
            answer = part.answer(subject)
            if answer > highest:
                if answer == YES:
                    return YES
                highest = answer
        return highest

    def why_not(self, subject: Subject) -> str:
        return "; ".join(part.why_not(subject) for part in self.parts)

    def __str__(self) -> str:
        return f"({' or '.join(map(str, self.parts))})"


class Not(Condition):
    """The contrary of a condition."""

    __slots__ = ("part",)

    def __init__(self, part: Condition) -> None:
        self.part = part

    def answer(self, subject: Subject) -> int:
        return YES - self.part.answer(subject)

    def why_not(self, subject: Subject) -> str:
        if self.part.answer(subject) == DISPUTED:
            return self.part.why_not(subject)
        return f"it is excluded: {self.part}"

    def __str__(self) -> str:
        return f"not {self.part}"


class ListenerIs(Condition):
    """The request came in on one of these listeners."""

    __slots__ = ("names",)

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)

    def answer(self, subject: Subject) -> int:
        return YES if subject.listener in self.names else NO

    def why_not(self, subject: Subject) -> str:
        return f"listener {subject.listener} is not {_either(self.names)}"

    def __str__(self) -> str:
        return f"listener {_either(self.names)}"


class SchemeIs(Condition):
    """The client used one of these schemes."""

    __slots__ = ("schemes",)

    def __init__(self, schemes: Iterable[str]) -> None:
        self.schemes = tuple(scheme.encode() for scheme in schemes)

    def answer(self, subject: Subject) -> int:
        return YES if subject.request.scheme in self.schemes else NO

    def why_not(self, subject: Subject) -> str:
        return f"scheme {_shown(subject.request.scheme)} is not {_either(map(_shown, self.schemes))}"

    def __str__(self) -> str:
        return f"scheme {_either(map(_shown, self.schemes))}"


class MethodIs(Condition):
    """The method is one of these. GET brings HEAD along; a CORS preflight counts as what it asks for.

    A preflight (Fetch standard, section 3.2.2) is OPTIONS with Origin and Access-Control-Request-Method.
    """

    __slots__ = ("accepted", "methods")

    def __init__(self, methods: Iterable[str]) -> None:
        self.methods = tuple(methods)
        self.accepted = frozenset(method.encode() for method in self.methods)
        if b"GET" in self.accepted:
            self.accepted |= {b"HEAD"}

    def answer(self, subject: Subject) -> int:
        request = subject.request
        if request.method in self.accepted:
            return YES
        if request.method == b"OPTIONS" and b"origin" in request.headers:
            return YES if request.headers.get(b"access-control-request-method") in self.accepted else NO
        return NO

    def why_not(self, subject: Subject) -> str:
        return f"method {_shown(subject.request.method)} is not {_either(self.methods)}"

    def __str__(self) -> str:
        return f"method {_either(self.methods)}"


class HostIs(Condition):
    """The host is one of these `HostPatterns`."""

    __slots__ = ("_match", "patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self._match = HostPatterns(self.patterns).match

    def answer(self, subject: Subject) -> int:
        return YES if self._match(subject.host) else NO

    def why_not(self, subject: Subject) -> str:
        host = _shown(subject.host)
        return f"host {host} is not {_either(self.patterns)}" if host else "there is no host"

    def __str__(self) -> str:
        return f"host {_either(self.patterns)}"


class PathPattern:
    """`/x` is that path alone, `/x/*` is /x and all below it.

    `path` is the normal form of /x, `folded` the same without regard to case; both are empty for `/*`.
    `as_spelt` says that another pattern of the table has another case, so that case matters here.
    """

    __slots__ = ("_below", "_folded_below", "as_spelt", "folded", "is_prefix", "path", "text")

    def __init__(self, text: str, case_matters: frozenset[bytes] = frozenset()) -> None:
        self.text = text
        self.is_prefix = text.endswith("/*")
        self.path = b"" if text == "/*" else normalise_pattern(text[:-2] if self.is_prefix else text)
        self.folded = fold(self.path)
        self.as_spelt = self.folded in case_matters
        self._below = self.path + b"/"
        self._folded_below = self.folded + b"/"

    def takes(self, path: bytes, folded: bytes) -> tuple[bool, bool]:
        """Whether this path is meant: as it is spelt, and with its case folded."""
        spelt_alike = path == self.path or (self.is_prefix and path.startswith(self._below))
        if self.as_spelt:
            return spelt_alike, spelt_alike
        return spelt_alike, folded == self.folded or (self.is_prefix and folded.startswith(self._folded_below))


class PathIs(Condition):
    """The path is one of these patterns."""

    __slots__ = ("patterns",)

    def __init__(self, patterns: Iterable[PathPattern]) -> None:
        self.patterns = tuple(patterns)

    def answer(self, subject: Subject) -> int:
        spelt_alike = folded_alike = 0
        for path, folded in subject.readings:
            answers = [pattern.takes(path, folded) for pattern in self.patterns]
            spelt_alike += any(spelt for spelt, _ in answers)
            folded_alike += any(alike for _, alike in answers)
        return _verdict(spelt_alike + folded_alike, 2 * len(subject.readings))

    def why_not(self, subject: Subject) -> str:
        patterns = _either(pattern.text for pattern in self.patterns)
        if self.answer(subject) == DISPUTED:
            return f"path {_shown(subject.path.path)} is {patterns} to some origins and not to others"
        return f"path {_shown(subject.path.path)} is not {patterns}"

    def __str__(self) -> str:
        return f"path {_either(pattern.text for pattern in self.patterns)}"


class PathLike(Condition):
    """The whole path, as text (`paths.text_of`), is matched by a regular expression."""

    __slots__ = ("_as_spelt", "_folded", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._as_spelt = re.compile(source).fullmatch
        self._folded = re.compile(source, re.IGNORECASE).fullmatch

    def answer(self, subject: Subject) -> int:
        alike = 0
        for path, _ in subject.readings:
            text = text_of(path)
            alike += (self._as_spelt(text) is not None) + (self._folded(text) is not None)
        return _verdict(alike, 2 * len(subject.readings))

    def why_not(self, subject: Subject) -> str:
        path = _shown(subject.path.path)
        if self.answer(subject) == DISPUTED:
            return f'path {path} is like "{self.source}" to some origins and not to others'
        return f'path {path} is not like "{self.source}"'

    def __str__(self) -> str:
        return f'path like "{self.source}"'


class HasValue(Condition):
    """A named value of the request (a header field, parameter or cookie) is one of these, or is there at all."""

    __slots__ = ("name", "values", "wanted")

    kind = ""

    def __init__(self, name: str, wanted: Iterable[str]) -> None:
        self.name = name
        self.wanted = tuple(wanted)
        self.values = None if ANY_VALUE in self.wanted else frozenset(value.encode() for value in self.wanted)

    def found(self, request: RequestHead) -> list[bytes]:
        """Every value that the request has under this name."""
        raise NotImplementedError

    def answer(self, subject: Subject) -> int:
        found = self.found(subject.request)
        if self.values is None:
            return YES if found else NO
        return YES if not self.values.isdisjoint(found) else NO

    def why_not(self, subject: Subject) -> str:
        found = self.found(subject.request)
        if not found:
            return f"{self.kind} {self.name} is absent"
        return f"{self.kind} {self.name} is {_either(map(_quoted, found))}, not {_either(map(repr, self.wanted))}"

    def __str__(self) -> str:
        return f"{self.kind} {self.name} " + ("present" if self.values is None else _either(map(repr, self.wanted)))


class HeaderHas(HasValue):
    """A field's value, line by line; values with commas aren't taken apart."""

    __slots__ = ("_field",)

    kind = "header"

    def __init__(self, name: str, wanted: Iterable[str]) -> None:
        super().__init__(name, wanted)
        self._field = name.encode()

    def found(self, request: RequestHead) -> list[bytes]:
        return request.headers.get_all(self._field)


class QueryHas(HasValue):
    """A parameter of the query, decoded."""

    __slots__ = ("_key",)

    kind = "query"

    def __init__(self, name: str, wanted: Iterable[str]) -> None:
        super().__init__(name, wanted)
        self._key = name.encode()

    def found(self, request: RequestHead) -> list[bytes]:
        return parameter_values(request.target.partition(b"?")[2], self._key)


class CookieHas(HasValue):
    """A cookie's value, as sent."""

    __slots__ = ("_key",)

    kind = "cookie"

    def __init__(self, name: str, wanted: Iterable[str]) -> None:
        super().__init__(name, wanted)
        self._key = name.encode()

    def found(self, request: RequestHead) -> list[bytes]:
        return cookie_values(request.headers, self._key)


class ClientIn(Condition):
    """The client's address is in one of these networks."""

    __slots__ = ("_set", "networks")

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self.networks = tuple(networks)
        self._set = AddressSet(self.networks)

    def answer(self, subject: Subject) -> int:
        return YES if self._set.has_number(subject.client_number) else NO

    def why_not(self, subject: Subject) -> str:
        return f"client {subject.client_ip} is not in {_either(map(str, self.networks))}"

    def __str__(self) -> str:
        return f"client in {_either(map(str, self.networks))}"


class SubjectIs(Condition):
    """The client's certificate was verified, and its subject is one of these, or any."""

    __slots__ = ("subjects",)

    def __init__(self, subjects: Iterable[str]) -> None:
        self.subjects = tuple(subjects)

    def answer(self, subject: Subject) -> int:
        shown = subject.tls_subject
        return YES if shown and (shown in self.subjects or ANY_VALUE in self.subjects) else NO

    def why_not(self, subject: Subject) -> str:
        if not subject.tls_subject:
            return "there is no verified client certificate"
        return f"subject {subject.tls_subject!r} is not {_either(map(repr, self.subjects))}"

    def __str__(self) -> str:
        return "subject " + ("present" if ANY_VALUE in self.subjects else _either(map(repr, self.subjects)))


def compile_match(match: Match, case_matters: frozenset[bytes] = frozenset()) -> Condition:
    """The condition that a match is: all of its keys. Cheap and telling ones come first.

    `case_matters` holds the folded paths of which the table has several spellings. Raises `ValueError`
    for a path that no request can have.
    """
    parts: list[Condition] = []
    if match.listener:
        parts.append(ListenerIs(match.listener))
    if match.scheme:
        parts.append(SchemeIs(match.scheme))
    if match.host:
        parts.append(HostIs(match.host))
    if match.path:
        parts.append(PathIs(PathPattern(text, case_matters) for text in match.path))
    if match.method:
        parts.append(MethodIs(match.method))
    parts += [HeaderHas(name, values) for name, values in match.header.items()]
    parts += [QueryHas(name, values) for name, values in match.query.items()]
    parts += [CookieHas(name, values) for name, values in match.cookie.items()]
    if match.client_ip:
        parts.append(ClientIn(match.client_ip))
    if match.tls_subject:
        parts.append(SubjectIs(match.tls_subject))
    if match.path_regex is not None:
        parts.append(PathLike(match.path_regex))
    if match.any:
        parts.append(Any([compile_match(part, case_matters) for part in match.any]))
    if match.not_ is not None:
        parts.append(Not(compile_match(match.not_, case_matters)))
    return parts[0] if len(parts) == 1 else All(parts)


def parameter_values(query: bytes, key: bytes) -> list[bytes]:
    """Every value of one parameter of a query in the form of HTML forms (`a=1&b=%20`, `+` is a blank), decoded."""
    is_plain = b"%" not in query and b"+" not in query
    values = []
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name == key or (name and not is_plain and _decoded(name) == key):
            values.append(_decoded(value))
    return values


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def cookie_values(headers: Headers, key: bytes) -> list[bytes]:
    """Every value of one cookie (RFC 6265 section 4.2.1), over all lines of the field: HTTP/2 may split it."""
    values = []
    for line in headers.get_all(b"cookie"):
        for pair in line.split(b";"):
            name, equals, value = pair.strip(b" \t").partition(b"=")
            if equals and name == key:
                values.append(value)
    return values


def _verdict(alike: int, readings: int) -> int:
    return NO if alike == 0 else YES if alike == readings else DISPUTED


def _shown(value: bytes) -> str:
    return value.decode("ascii", "backslashreplace")


def _quoted(value: bytes) -> str:
    return repr(_shown(value))


def _either(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last

"""Which route takes a request: the first whose match holds.

Theory of operation
-------------------
Asking every route in turn is right but slow for long tables, so routes are filed by what can be looked
up: the host (as it is, or the domain below which it lies), and within that the path (as it is, or one
of the prefixes above it). Routes without such a condition are filed together. A request looks up its
own host and path in each of those, and gets a few short shelves of candidates, each in the table's
order; the first that matches among all of them is the answer. What isn't on those shelves can't match.
How many look-ups there are depends on how deep the table's prefixes and domains go, not on how many
routes it has.

Paths are filed by their folded form, so that a request whose path differs from a rule's by case alone
meets that rule and is judged by it (`conditions`). Where both forms of a path find the same
shelves, being there proves the path conditions of a route (as it does its host conditions), and only the
`remainder` of its match is asked; most routes have none. A path that origins disagree on, or whose case
makes a difference, is judged by whole conditions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from proxycore.config.model import Match, Route
from proxycore.policies.conditions import (
    DISPUTED,
    NO,
    YES,
    All,
    Condition,
    HostIs,
    PathIs,
    PathPattern,
    Subject,
    compile_match,
)
from proxycore.policies.hosts import host_of
from proxycore.policies.paths import NormalPath
from proxycore.policies.trace import Trace
from proxycore.words.errors import Refused
from proxycore.words.messages import RequestHead


class CompiledRoute:
    """A route ready to be asked. `position` is its place in the table, from 0; `route` is what the user wrote.

    `condition` is its whole match, `remainder` what its place in the index doesn't prove: None for nothing.
    """

    __slots__ = ("condition", "name", "position", "remainder", "route")

    def __init__(self, route: Route, position: int, case_matters: frozenset[bytes]) -> None:
        self.route = route
        self.name = route.name
        self.position = position
        self.condition = compile_match(route.match, case_matters)
        self.remainder = _remainder(self.condition)

    def __repr__(self) -> str:
        return f"CompiledRoute({self.name!r}, position={self.position}, {self.condition})"


Shelf = list[CompiledRoute]


class _PathIndex:
    """Routes by path. `below` holds the prefixes ("/api" for `/api/*`), `rest` what has no path, or `/*`.

    `levels` counts to the number of segments of the longest prefix.
    """

    __slots__ = ("below", "exact", "levels", "rest")

    def __init__(self) -> None:
        self.exact: dict[bytes, Shelf] = {}
        self.below: dict[bytes, Shelf] = {}
        self.rest: Shelf = []
        self.levels = range(0)

    def file(self, route: CompiledRoute) -> None:
        """Add a route, which comes after all that were added before."""
        patterns = [PathPattern(text) for text in route.route.match.path]
        if not patterns or any(pattern.folded == b"" for pattern in patterns):
            self.rest.append(route)
            return
        for pattern in patterns:
            shelf = (self.below if pattern.is_prefix else self.exact).setdefault(pattern.folded, [])
            if not shelf or shelf[-1] is not route:
                shelf.append(route)
            if pattern.is_prefix:
                self.levels = range(max(len(self.levels), pattern.folded.count(b"/")))

    def shelves(self, folded: bytes) -> list[Shelf]:
        """Where a route for this path can stand."""
        found = [self.rest] if self.rest else []
        shelf = self.exact.get(folded)
        if shelf is not None:
            found.append(shelf)
        below = self.below
        end = 0
        for _ in self.levels:
            end = folded.find(b"/", end + 1)
            shelf = below.get(folded if end < 0 else folded[:end])
            if shelf is not None:
                found.append(shelf)
            if end < 0:
                break
        return found


class RouteTable:
    """The routes of a configuration, in order, indexed. Immutable: a reload makes another.

    Raises `ValueError`, naming the route, for a path that no request can have (`/a%00`) or that can be
    read in two ways (`/a;b`).
    """

    __slots__ = ("_by_domain", "_by_host", "_domain_labels", "_everywhere", "_has_hosts", "routes")

    def __init__(self, routes: Sequence[Route]) -> None:
        case_matters = _spelt_in_several_ways(routes)
        self.routes = tuple(CompiledRoute(route, position, case_matters) for position, route in enumerate(routes))
        self._everywhere = _PathIndex()
        self._by_host: dict[bytes, _PathIndex] = defaultdict(_PathIndex)
        self._by_domain: dict[bytes, _PathIndex] = defaultdict(_PathIndex)
        for route in self.routes:
            self._file(route)
        self._has_hosts = bool(self._by_host or self._by_domain)
        self._domain_labels = sorted({domain.count(b".") + 1 for domain in self._by_domain})

    def find(
        self,
        request: RequestHead,
        path: NormalPath,
        listener: str,
        client_ip: str,
        trace: Trace | None = None,
        tls_subject: str = "",
    ) -> CompiledRoute | None:
        """The first route that matches, or None: answer 404.

        `path` is `normalise(request.target)`; `request.scheme` is the one that the client used, which a
        trusted proxy may have told (`forwarding`); `tls_subject` is empty without a verified certificate.
        Raises `Refused` (400) where origins disagree on what the path means and the routes would part over it.
        """
        if trace is not None:
            return self._find_aloud(Subject(request, path, listener, client_ip, tls_subject), trace)
        spelt = path.path
        folded = spelt.lower()
        shelves = self._shelves(request.authority, folded) if self._has_hosts else self._everywhere.shelves(folded)
        # OPTIONS * finds what `/*` has been filed with, so there too whole conditions are asked.
        if path.other is not None or spelt == b"*" or (folded != spelt and self._case_counts(request, spelt, shelves)):
            return self._find_among_readings(Subject(request, path, listener, client_ip, tls_subject))
        if not shelves:
            return None
        first = shelves[0][0]
        for shelf in shelves:
            if shelf[0].position < first.position:
                first = shelf[0]
        if first.remainder is None:
            return first
        return self._first(shelves, Subject(request, path, listener, client_ip, tls_subject), proven=True)

    def _case_counts(self, request: RequestHead, spelt: bytes, shelves: list[Shelf]) -> bool:
        """Whether a path with capitals may mean another rule than its folded form, which has found `shelves`."""
        return spelt.find(b"%") >= 0 or self._shelves(request.authority, spelt) != shelves

    def _find_among_readings(self, subject: Subject) -> CompiledRoute | None:
        authority = subject.request.authority
        keys = {folded: None for _, folded in subject.readings}
        return self._first([shelf for key in keys for shelf in self._shelves(authority, key)], subject, proven=False)

    def _first(self, shelves: list[Shelf], subject: Subject, *, proven: bool) -> CompiledRoute | None:
        """The first match over all shelves. Each is searched only as far as it can still win."""
        best: CompiledRoute | None = None
        limit = len(self.routes)
        best_answer = NO
        shelves.sort(key=len)
        for shelf in shelves:
            for route in shelf:
                if route.position >= limit:
                    break
                condition = route.remainder if proven else route.condition
                answer = YES if condition is None else condition.answer(subject)
                if answer != NO:
                    best, limit, best_answer = route, route.position, answer
                    break
        if best_answer == DISPUTED:
            raise _ambiguous()
        return best

    def _find_aloud(self, subject: Subject, trace: Trace) -> CompiledRoute | None:
        """Ask every route in turn and say what each answered: what `find` does, without its short cuts."""
        for route in self.routes:
            answer = route.condition.answer(subject)
            if answer == NO:
                trace.add("route", "passed over", route.name, route.condition.why_not(subject))
            elif answer == DISPUTED:
                trace.add("route", "refused", route.name, route.condition.why_not(subject))
                raise _ambiguous()
            else:
                trace.add("route", "matched", route.name, str(route.condition))
                return route
        trace.add("route", "none matched")
        return None

    def _shelves(self, authority: bytes, folded: bytes) -> list[Shelf]:
        """Where a route for this host and path can stand."""
        shelves = self._everywhere.shelves(folded)
        if self._has_hosts:
            for index in self._of_host(authority):
                shelves += index.shelves(folded)
        return shelves

    def _of_host(self, authority: bytes) -> list[_PathIndex]:
        index = self._by_host.get(authority)
        if index is not None and not self._by_domain:
            return [index]
        host = host_of(authority)
        found = [self._by_host.get(host)]
        for labels in self._domain_labels:
            parts = host.rsplit(b".", labels)
            if len(parts) <= labels:
                break
            found.append(self._by_domain.get(host[len(parts[0]) + 1 :]))
        return [index for index in found if index is not None]

    def _file(self, route: CompiledRoute) -> None:
        patterns = route.route.match.host
        if not patterns:
            self._everywhere.file(route)
        for host in {host_of(pattern.encode()): None for pattern in patterns}:
            if host[:2] == b"*.":
                self._by_domain[host[2:]].file(route)
            else:
                self._by_host[host].file(route)


def _remainder(condition: Condition) -> Condition | None:
    """What is left of a condition where the index has found host and path, and the path has one reading."""
    parts = condition.parts if isinstance(condition, All) else (condition,)
    left = [part for part in parts if not _is_indexed(part)]
    return None if not left else left[0] if len(left) == 1 else All(left)


def _is_indexed(condition: Condition) -> bool:
    # A pattern with capitals is filed by its folded form, which doesn't prove it.
    if isinstance(condition, PathIs):
        return all(pattern.path == pattern.folded for pattern in condition.patterns)
    return isinstance(condition, HostIs)


def _spelt_in_several_ways(routes: Iterable[Route]) -> frozenset[bytes]:
    """The folded paths that the table has in more than one case: there case matters to the user."""
    spellings: dict[bytes, set[bytes]] = defaultdict(set)
    for route in routes:
        try:
            patterns = [PathPattern(text) for text in _path_texts(route.match)]
        except ValueError as error:
            raise ValueError(f'route "{route.name}": {error}') from None
        for pattern in patterns:
            spellings[pattern.folded].add(pattern.path)
    return frozenset(folded for folded, paths in spellings.items() if len(paths) > 1)


def _path_texts(match: Match) -> Iterator[str]:
    yield from match.path
    for part in match.any:
        yield from _path_texts(part)
    if match.not_ is not None:
        yield from _path_texts(match.not_)


def _ambiguous() -> Refused:
    return Refused(
        400, "The path of the request can be read in two ways, and where it goes depends on it.", close=False
    )

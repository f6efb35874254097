"""Under which name a response is kept: what the route says, and what the origin says with Vary.

The first key is a list of variables, encoded so that no two lists collide. Two of them are taken more widely here
than in a header's template, because an origin sees more of them: `host` is the authority with its port and, where
a trusted proxy told another, that one too. What isn't in a key must not reach the origin with a request that
fills the store: `UNKEYED` names the fields that are known to change answers behind the key's back.

The second key are the request's values of the fields that Vary names (RFC 9111 section 4.1), in a form in which
values that mean the same are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from proxycore.config.variables import parse_variable
from proxycore.policies.hosts import host_of
from proxycore.policies.variables import Reader, Scope, reader_of, shown_values
from proxycore.words.messages import Headers, RequestHead

KEY_MAX: Final = 8 * 1024
"""Bytes of a key. A longer one isn't worth its memory."""

VARY_MAX: Final = 16
"""Fields that a Vary may name. A response that varies by more is one for each request."""

DEFAULT_KEY: Final = ("scheme", "host", "path", "query")

UNKEYED: Final = frozenset(
    b"forwarded x-host x-forwarded-server x-forwarded-scheme x-forwarded-ssl x-forwarded-prefix x-forwarded-path "
    b"x-forwarded-port x-original-url x-original-host x-rewrite-url x-http-method x-http-method-override "
    b"x-method-override x-http-host-override x-url-scheme front-end-https".split()
)
"""Fields by which frameworks take another host, scheme, path or method than the request has: all of them have
poisoned caches. A request that may fill the store goes out without them."""

_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}

_LISTS = frozenset((b"accept-encoding", b"accept-language", b"accept-charset", b"accept"))

_ANYTHING_BUT_TOKENS = b'"\\'


def keyed_authority(request: RequestHead) -> bytes:
    """The authority as it stands in keys: lower case, and without the port that the scheme implies."""
    authority = request.authority.lower()
    return authority.removesuffix(_DEFAULT_PORTS.get(request.scheme, b"\n")).removesuffix(b".")


def url_of(request: RequestHead) -> bytes:
    """The URL that was asked for, as purges and invalidation compare it."""
    return b"%b://%b%b" % (request.scheme, keyed_authority(request), request.target)


def _read_host(scope: Scope) -> bytes:
    told = scope.client.host
    authority = keyed_authority(scope.request)
    return authority if told is None else b"%b %b" % (authority, told.lower())


def _read_path(scope: Scope) -> bytes:
    return scope.request.target.partition(b"?")[0]


def _read_query(scope: Scope) -> bytes:
    # `/a` and `/a?` are two targets, and an origin may tell them apart.
    _, mark, query = scope.request.target.partition(b"?")
    return mark + query


_OWN_READERS: dict[str, Reader] = {"host": _read_host, "path": _read_path, "query": _read_query}


def compile_key(names: Sequence[str], route: str) -> Callable[[Scope], bytes | None]:
    """Reads the key of a request: None for one that is too long.

    The route and the upstream are always in it: two routes may ask different origins for one URL, or edit what comes.
    """
    if tuple(names) == DEFAULT_KEY:
        return _DefaultKey(route)
    readers = tuple(_OWN_READERS.get(name) or reader_of(parse_variable(name)) for name in names)
    own = route.encode()

    def read(scope: Scope) -> bytes | None:
        parts = [own, (scope.upstream or "").encode()]
        parts += [reader(scope) for reader in readers]
        # Each with its length: a parameter of a query is decoded, and may hold whatever would stand between them.
        key = b"".join([b"%d:%b" % (len(part), part) for part in parts])
        return key if len(key) <= KEY_MAX else None

    return read


class _DefaultKey:
    """`compile_key` for the key that most routes have: the URL."""

    __slots__ = ("_beginning", "_of", "_route")

    def __init__(self, route: str) -> None:
        self._route = route.encode()
        self._of: tuple[str | None, bytes, bytes, bytes | None] | None = None
        self._beginning = b""

    def __call__(self, scope: Scope) -> bytes | None:
        request = scope.request
        of = scope.upstream, request.scheme, request.authority, scope.client.host
        if of != self._of:
            # Most requests are for the same host as the one before.
            self._beginning = self._begin(scope)
            self._of = of
        key = self._beginning + request.target
        return key if len(key) <= KEY_MAX else None

    def _begin(self, scope: Scope) -> bytes:
        # Nothing of a head holds a line feed.
        upstream = (scope.upstream or "").encode()
        return b"%b\n%b\n%b\n%b\n" % (self._route, upstream, scope.request.scheme, _read_host(scope))


def shown_key(key: bytes) -> str:
    """A key for a person: its parts with blanks between them."""
    return shown_values(key).replace("\n", " ")


Vary = tuple[tuple[bytes, bytes | None], ...]
"""Names of fields, in order, and the value that each had; None for one that wasn't there."""


def vary_names(headers: Headers) -> tuple[bytes, ...] | None:
    """The fields that a response varies by, in order; None for `*`, and for too many."""
    if b"vary" not in headers:
        return ()
    names = sorted({name.lower() for name in headers.get_list(b"vary")})
    return None if b"*" in names or len(names) > VARY_MAX else tuple(names)


def vary_of(names: Sequence[bytes], request: RequestHead) -> Vary:
    """The second key of a request, for a response that varies by `names`."""
    return tuple((name, _varying_value(name, request)) for name in names)


def _varying_value(name: bytes, request: RequestHead) -> bytes | None:
    if name == b"host":
        return request.authority.lower()
    lines = request.headers.get_all(name)
    if not lines:
        return None
    value = lines[0] if len(lines) == 1 else b",".join(lines)
    if value.translate(None, _ANYTHING_BUT_TOKENS) != value:
        return value  # quoted text may hold commas and blanks that mean something
    members = [member.strip(b" \t") for member in value.split(b",")]
    if name in _LISTS:
        # Weights say what is preferred, so the order of the members says nothing (RFC 9110 section 12.4.2).
        members = sorted({member.lower().replace(b" ", b"") for member in members if member})
    return b",".join(members)


def host_of_url(url: bytes) -> bytes:
    """The host of what `url_of` gave, without its port, as `hosts.host_of` has it."""
    return host_of(url.partition(b"://")[2].partition(b"/")[0])

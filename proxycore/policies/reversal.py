"""Responses of servers that speak of themselves, in the client's words: the rewriting of a request, backwards.

A server behind us knows itself by another name, another scheme, another prefix than its clients do. Where it says
them aloud (Location, Content-Location, the path and the domain of a cookie), clients would be sent to a place that
isn't there, or that only we can reach. What names neither the server nor the host that the client asked for is
somebody else's, and stays.
"""

from __future__ import annotations

import re

from proxycore.config import Rewrite
from proxycore.policies.hosts import host_of
from proxycore.words.messages import Headers

_ABSOLUTE = re.compile(rb"(https?):(//[^/?#]*)", re.IGNORECASE)
_LOCATIONS = frozenset((b"location", b"content-location"))


class Reversal:
    """Undoes a route's `rewrite` in what a server answers. A `pattern` can't be undone, so then paths stay."""

    __slots__ = ("_added", "_stripped")

    def __init__(self, rewrite: Rewrite | None) -> None:
        self._stripped = ((rewrite and rewrite.strip_prefix) or "").encode()
        self._added = ((rewrite and rewrite.add_prefix) or "").encode()

    def apply(self, headers: Headers, *, scheme: bytes, authority: bytes, servers: tuple[bytes, ...]) -> None:
        """Change `headers` in place.

        `scheme` and `authority` are what the client used, `servers` the authorities by which the server may know
        itself.
        """
        for position, (name, value) in enumerate(headers.fields):
            if name in _LOCATIONS:
                headers.fields[position] = (name, self._location(value, scheme, authority, servers))
            elif name == b"set-cookie":
                headers.fields[position] = (name, self._cookie(value, authority))

    def _location(self, url: bytes, scheme: bytes, authority: bytes, servers: tuple[bytes, ...]) -> bytes:
        found = _ABSOLUTE.match(url)
        if found is None:
            # A relative reference other than a path is resolved by the client against what it asked for.
            return _reference(self._path(url)) if url[:1] == b"/" and url[:2] != b"//" else url
        host = _plain(found[2][2:], found[1])
        if not authority or host not in {_plain(name, found[1]) for name in (*servers, authority)}:
            return url
        return scheme + b"://" + authority + self._path(url[found.end() :] or b"/")

    def _path(self, path: bytes) -> bytes:
        if self._stripped:
            return self._stripped + (path if path[:1] == b"/" else b"/" + path)
        if self._added and (path == self._added or path[: len(self._added) + 1] == self._added + b"/"):
            return path[len(self._added) :] or b"/"
        return path

    def _cookie(self, cookie: bytes, authority: bytes) -> bytes:
        pair, *attributes = cookie.split(b";")
        kept = [pair]
        # Browsers take such a cookie with the path "/" only (RFC 6265bis section 4.1.3.2).
        is_for_host = pair.lstrip(b" \t")[:7].lower() == b"__host-"
        for attribute in attributes:
            name, mark, value = attribute.partition(b"=")
            match name.strip(b" \t").lower():
                case b"path" if value.strip(b" \t")[:1] == b"/" and not is_for_host:
                    path = self._path(value.strip(b" \t"))
                    # "/api/" would leave "/api" itself out (RFC 6265 section 5.1.4).
                    kept.append(b" Path=" + (path.rstrip(b"/") or b"/" if self._stripped else path))
                case b"domain" if mark and not _is_within(host_of(authority), value):
                    continue  # a browser would drop the whole cookie; without a domain it is the host's own
                case _:
                    kept.append(attribute)
        return b";".join(kept)


def _reference(path: bytes) -> bytes:
    """A path as a reference. Without a prefix it may begin with two slashes, which would name another host (RFC 3986
    section 4.2); browsers take a backslash for a slash, and a tab for nothing.
    """
    return b"/." + path if path[1:].lstrip(b"\t")[:1] in (b"/", b"\\") else path


def _plain(authority: bytes, scheme: bytes) -> bytes:
    """An authority without the port that its scheme has anyway."""
    return authority.lower().removesuffix(b":80" if scheme.lower() == b"http" else b":443")


def _is_within(host: bytes, domain: bytes) -> bool:
    """RFC 6265 section 5.1.3."""
    domain = domain.strip(b" \t").lower().removeprefix(b".")
    return host == domain or host.endswith(b"." + domain)

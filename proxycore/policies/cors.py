"""Cross-origin requests: which scripts may see answers (CORS, Fetch standard section 3.2), and whose may change things.

The two guard against different sites. CORS lifts the browser's ban on reading: without it nothing is lost but the
answer. A request that changes something does its harm unread, so it is `CsrfPolicy` that refuses it.
"""

from __future__ import annotations

from proxycore.config import Cors, Csrf
from proxycore.words.messages import Field, Headers, RequestHead

# What a server says about the same matter goes: two accounts of it would be read by no browser.
_OURS = frozenset(
    (b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-expose-headers")
)
_SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


class _Origins:
    """A list of origins: exact ones, `https://*.example.com` for every host below, or `*` for all."""

    __slots__ = ("_below", "_exact", "are_all")

    def __init__(self, origins: tuple[str, ...]) -> None:
        self.are_all = "*" in origins
        self._exact = frozenset(origin.encode() for origin in origins if "//*." not in origin)
        wild = [origin.encode().split(b"*", 1) for origin in origins if "//*." in origin]
        self._below = tuple((scheme, domain) for scheme, domain in wild)

    def __contains__(self, origin: bytes) -> bool:
        return (
            self.are_all
            or origin in self._exact
            or any(origin.startswith(scheme) and origin.endswith(domain) for scheme, domain in self._below)
        )


class CorsPolicy:
    """A route's `cors`, compiled."""

    __slots__ = ("_any_header", "_credentials", "_expose", "_headers", "_max_age", "_methods", "_origins")

    def __init__(self, cors: Cors) -> None:
        self._origins = _Origins(cors.origins)
        self._methods = ", ".join(cors.methods).encode()
        self._headers = ", ".join(cors.headers).encode()
        # With credentials a "*" is the name of a header (Fetch standard section 3.2.5), so those asked for are told.
        self._any_header = "*" in cors.headers
        self._expose = ", ".join(cors.expose).encode()
        self._credentials = cors.credentials
        self._max_age = b"%d" % cors.max_age

    def allows(self, origin: bytes) -> bool:
        """Whether scripts of that origin may see answers."""
        return origin in self._origins

    def preflight(self, request: RequestHead) -> list[Field]:
        """What the answer to an allowed preflight says beside `apply`."""
        fields = [(b"access-control-allow-methods", self._methods)] if self._methods else []
        asked = request.headers.get(b"access-control-request-headers")
        headers = asked if self._any_header else self._headers
        if headers:
            fields.append((b"access-control-allow-headers", headers))
        fields.append((b"access-control-max-age", self._max_age))
        fields.append((b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"))
        return fields

    def apply(self, origin: bytes | None, headers: Headers) -> None:
        """Tell in a response's headers who may see it. `origin` is the request's."""
        headers.fields[:] = [field for field in headers.fields if field[0] not in _OURS]
        if not self._origins.are_all:
            headers.add(b"vary", b"Origin")  # also without one: a cache must not serve this to who has one
        if origin is None or origin not in self._origins:
            return
        headers.add(b"access-control-allow-origin", b"*" if self._origins.are_all else origin)
        if self._credentials:
            headers.add(b"access-control-allow-credentials", b"true")
        if self._expose:
            headers.add(b"access-control-expose-headers", self._expose)


def is_preflight(request: RequestHead) -> bool:
    """Whether a browser asks if a script may ask."""
    return (
        request.method == b"OPTIONS"
        and b"access-control-request-method" in request.headers
        and b"origin" in request.headers
    )


class CsrfPolicy:
    """A route's `csrf`: refuses requests that another site made a browser send.

    Browsers say in Sec-Fetch-Site (Fetch Metadata) or else in Origin where a request comes from. One that says
    neither comes from no browser, or from one too old to be told apart: there is no cookie-riding to fear from the
    first, and the second is what `SameSite` cookies are for.
    """

    __slots__ = ("_trusted",)

    def __init__(self, csrf: Csrf) -> None:
        self._trusted = _Origins(csrf.origins)

    def objection(self, request: RequestHead, host: bytes) -> str:
        """Why the request is refused; empty if it isn't. `host` is the authority that the client asked for."""
        if request.method in _SAFE and request.upgrade is None:
            return ""
        origin = request.headers.get(b"origin")
        if origin is not None and origin in self._trusted:
            return ""
        site = request.headers.get(b"sec-fetch-site")
        if site is not None:
            return "" if site in (b"same-origin", b"none") else f"it comes from elsewhere ({_text(site)})"
        if origin is None or _authority(origin) == host.lower():
            return ""
        return f"it comes from {_text(origin)}"


def _authority(origin: bytes) -> bytes:
    scheme, _, authority = origin.partition(b"://")
    return authority.removesuffix(_DEFAULT_PORTS.get(scheme, b":"))


def _text(value: bytes) -> str:
    return value.decode("ascii", "backslashreplace")

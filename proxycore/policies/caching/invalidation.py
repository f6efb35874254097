"""What makes stored responses void: unsafe requests that succeeded (RFC 9111 section 4.4), and operators' purges."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from proxycore.policies.caching.keys import host_of_url, url_of
from proxycore.words.commands import Purge
from proxycore.words.messages import Headers, RequestHead, ResponseHead

_SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"QUERY", b"PROPFIND", b"REPORT", b"SEARCH"))
_BEHIND_AUTHORITY = re.compile(rb"[/?]")


def is_purged(purge: Purge, url: bytes, tags: frozenset[bytes]) -> bool:
    """Whether a response that is stored for `url` with these tags goes."""
    what = purge.what.encode("utf-8", "surrogateescape")
    if purge.kind == "tag":
        return what in tags
    if purge.kind == "host":
        return host_of_url(url) == what.lower()
    what = _plain(what)
    return url == what if purge.kind == "url" else url.startswith(what)


def _plain(url: bytes) -> bytes:
    """A URL as `url_of` spells them: scheme and authority in lower case, without the scheme's own port."""
    scheme, separator, rest = url.partition(b"://")
    if not separator:
        return url
    authority = _BEHIND_AUTHORITY.split(rest, maxsplit=1)[0]
    target = rest[len(authority) :]
    target = target if target[:1] == b"/" else b"/" + target
    request = RequestHead(b"GET", target, authority, Headers(), scheme=scheme.lower())
    return url_of(request)


def tags_of(headers: Headers) -> frozenset[bytes]:
    """The tags that an origin gave: Cache-Tag (by commas), Surrogate-Key (by blanks), Cache-Groups (RFC 9875)."""
    tags = headers.get_list(b"cache-tag") + b" ".join(headers.get_all(b"surrogate-key")).split()
    tags += [tag.strip(b'"') for tag in headers.get_list(b"cache-groups")]
    return frozenset(tags)


def invalidated_urls(request: RequestHead, response: ResponseHead) -> tuple[bytes, ...]:
    """The URLs, as `url_of` gives them, of which nothing stored holds after this response.

    None for a safe method or an error. Location and Content-Location count on the same origin only: else any
    origin could empty the store of another.
    """
    if request.method in _SAFE or not 200 <= response.status < 400:
        return ()
    own = url_of(request)
    urls = [own]
    for name in (b"location", b"content-location"):
        reference = response.headers.get(name)
        if reference is not None:
            url = _resolved(own, reference)
            if url is not None and _origin(url) == _origin(own):
                urls.append(url)
    return tuple(dict.fromkeys(urls))


def _resolved(base: bytes, reference: bytes) -> bytes | None:
    try:
        url = urljoin(base.decode("ascii"), reference.decode("ascii").partition("#")[0])
    except (UnicodeDecodeError, ValueError):
        return None
    return _plain(url.encode("ascii"))


def _origin(url: bytes) -> bytes:
    scheme, _, rest = url.partition(b"://")
    return b"%b://%b" % (scheme, rest.partition(b"/")[0])

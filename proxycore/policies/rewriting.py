"""What a route changes: the path that the server sees, headers, and where a redirect points.

All of it is compiled when the configuration is loaded. What comes out is safe to send whatever went in:
a header's value never holds a control character, Location is a URL in visible ASCII that leads to another
site only if the configuration says so, and a path never gains a dot segment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from proxycore.config.model import HeaderEdits, Redirect, Rewrite
from proxycore.policies.hosts import host_of
from proxycore.policies.paths import NormalPath, has_dot_segment, normalise_pattern
from proxycore.policies.trace import Trace
from proxycore.policies.variables import Scope, Template
from proxycore.words.errors import Refused
from proxycore.words.messages import Field, Headers

# What a field's value must not hold (RFC 9110 section 5.5), and a URL (RFC 3986 section 2).
_UNFIT_FOR_FIELD = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_UNFIT_FOR_URL = re.compile(rb'[^!-~]|["<>\\^`{|}]')
_GROUP = re.compile(r"\$([0-9]+)|\$\{([0-9]+)\}", re.ASCII)


class PathRewrite:
    """A route's `rewrite`. Call it with the target and its normal form: the target for the server comes back."""

    __slots__ = ()

    def __call__(self, target: bytes, path: NormalPath, trace: Trace | None = None) -> bytes:
        """The target for the server. Raises `Refused` (400) where it can't be rewritten safely."""
        raw, mark, query = target.partition(b"?")
        if raw[:1] != b"/":  # OPTIONS * is about the server, not about a path
            return target
        rewritten = self._rewrite(raw, path)
        if mark:
            rewritten += (b"&" if b"?" in rewritten else b"?") + query
        if trace is not None:
            changed = "changed" if rewritten != target else "left alone"
            trace.add("rewrite", changed, rewritten.decode("ascii", "backslashreplace"), str(self))
        return rewritten

    def _rewrite(self, raw: bytes, path: NormalPath) -> bytes:
        raise NotImplementedError


class StripPrefix(PathRewrite):
    """Takes leading segments away; a path without them stays as it is."""

    __slots__ = ("_below", "_depth", "_prefix")

    def __init__(self, prefix: str) -> None:
        self._prefix = normalise_pattern(prefix)
        self._below = self._prefix + b"/"
        self._depth = self._prefix.count(b"/")

    def _rewrite(self, raw: bytes, path: NormalPath) -> bytes:
        normal = path.path
        if normal != self._prefix and not normal.startswith(self._below):
            return raw
        if not _has_segments_of(raw, path):
            return normal[len(self._prefix) :] or b"/"
        end = 0
        for _ in range(self._depth):
            end = raw.find(b"/", end + 1)
        return raw[end:] if end >= 0 else b"/"

    def __str__(self) -> str:
        return f"strip_prefix {self._prefix.decode()}"


class AddPrefix(PathRewrite):
    """Puts segments in front."""

    __slots__ = ("_prefix",)

    def __init__(self, prefix: str) -> None:
        self._prefix = normalise_pattern(prefix)

    def _rewrite(self, raw: bytes, path: NormalPath) -> bytes:
        return self._prefix + raw

    def __str__(self) -> str:
        return f"add_prefix {self._prefix.decode()}"


class ReplacePattern(PathRewrite):
    """Replaces the first match of a pattern. `$1` is the match's first group, `$0` the match.

    The pattern is tried on the path as it came, then on its normal form if that differs. A `?` in the
    replacement begins a query, before the request's own.
    """

    __slots__ = ("_pattern", "_source", "_template")

    def __init__(self, pattern: str, replacement: str) -> None:
        self._pattern = re.compile(pattern.encode())
        self._source = f'pattern "{pattern}"'
        self._template: list[bytes | int] = []
        end = 0
        for group in _GROUP.finditer(replacement):
            self._template += [_fit_for_target(replacement[end : group.start()]), int(group[1] or group[2])]
            end = group.end()
        self._template.append(_fit_for_target(replacement[end:]))

    def _rewrite(self, raw: bytes, path: NormalPath) -> bytes:
        for form in (raw, path.path) if _has_segments_of(raw, path) else (path.path,):
            found = self._pattern.search(form)
            if found is not None:
                return _checked(form[: found.start()] + self._expand(found) + form[found.end() :])
        return raw

    def _expand(self, found: re.Match[bytes]) -> bytes:
        return b"".join([part if isinstance(part, bytes) else found[part] or b"" for part in self._template])

    def __str__(self) -> str:
        return self._source


def compile_rewrite(rewrite: Rewrite | None) -> PathRewrite | None:
    """A route's `rewrite`; None where it has none."""
    if rewrite is None:
        return None
    if rewrite.strip_prefix is not None:
        return StripPrefix(rewrite.strip_prefix)
    if rewrite.add_prefix is not None:
        return AddPrefix(rewrite.add_prefix)
    assert rewrite.pattern is not None
    assert rewrite.replacement is not None
    return ReplacePattern(rewrite.pattern, rewrite.replacement)


class HeaderChanges:
    """A route's changes to the headers of a request or a response: what goes, then what comes.

    A value made of variables that are all empty is left out, as nginx does. `gone` are the names that go.
    """

    __slots__ = ("_coming", "_constants", "gone")

    def __init__(self, edits: HeaderEdits) -> None:
        names = [*edits.remove, *edits.set]
        self.gone = frozenset(name.encode() for name in names)
        templates = [
            (name.encode(), Template(text))
            for table in (edits.set, edits.add)
            for name, texts in table.items()
            for text in texts
        ]
        constants = [(name, template.constant) for name, template in templates if template.constant is not None]
        self._coming = templates
        self._constants = constants if len(constants) == len(templates) else None

    def apply(self, headers: Headers, scope: Scope) -> None:
        """Change `headers` in place."""
        self.hide(headers)
        headers.fields += self._rendered(scope) if self._constants is None else self._constants

    def hide(self, headers: Headers) -> None:
        """Only take away what goes, from an interim response: what comes belongs to the final one."""
        gone = self.gone
        if gone:
            headers.fields[:] = [field for field in headers.fields if field[0] not in gone]

    def _rendered(self, scope: Scope) -> Iterable[Field]:
        for name, template in self._coming:
            value = template.constant
            if value is None:
                value = fit_for_field(template.render(scope))
                if not value:
                    continue
            yield name, value


def compile_edits(edits: HeaderEdits) -> HeaderChanges | None:
    """A route's `request_headers` or `response_headers`; None where they change nothing."""
    return HeaderChanges(edits) if edits.set or edits.add or edits.remove else None


class Redirection:
    """A route's `redirect`.

    What isn't given stays as in the request. With neither scheme nor host, Location is a path: that holds
    behind any proxy or port mapping in front of us.
    """

    __slots__ = ("_host", "_path", "_scheme", "_whole", "status")

    def __init__(self, redirect: Redirect) -> None:
        self.status: int = redirect.status
        self._whole = None if redirect.to is None else Template(redirect.to)
        self._scheme = None if redirect.scheme is None else redirect.scheme.encode()
        self._host = None if redirect.host is None else Template(redirect.host)
        self._path = None if redirect.path is None else Template(redirect.path)

    def location(self, scope: Scope) -> bytes:
        """The value of Location. Raises `Refused` (400) where it takes a host and the request names none."""
        if self._whole is not None:
            location = _fit_for_url(self._whole.render(scope))
            return location if self._whole.text.startswith("//") else _one_slash_first(location)
        if self._scheme is None and self._host is None:
            return _one_slash_first(self._target(scope))
        return self._origin(scope) + self._target(scope)

    def _target(self, scope: Scope) -> bytes:
        if self._path is None:
            return _fit_for_url(scope.request.target)
        path = _fit_for_url(self._path.render(scope))
        _, mark, query = scope.request.target.partition(b"?")
        if mark:
            path += (b"&" if b"?" in path else b"?") + _fit_for_url(query)
        return path if path[:1] == b"/" else b"/" + path

    def _origin(self, scope: Scope) -> bytes:
        request = scope.request
        scheme = self._scheme or request.scheme
        if self._host is not None:
            authority = _fit_for_url(self._host.render(scope))
        elif scheme == request.scheme:
            authority = request.authority
        else:
            authority = host_of(request.authority)  # the other scheme has another port
        if not authority:
            raise Refused(400, "The request names no host.", close=False)
        return scheme + b"://" + authority


def fit_for_field(value: bytes) -> bytes:
    """A value that can stand in a header field: control characters escaped as in URLs, no blanks around it."""
    return _UNFIT_FOR_FIELD.sub(_escape, value.strip(b" \t"))


def _fit_for_url(text: bytes) -> bytes:
    return _UNFIT_FOR_URL.sub(_escape, text)


def _fit_for_target(text: str) -> bytes:
    return _fit_for_url(text.encode()).replace(b"#", b"%23")  # RFC 9112 section 3.2: a target has no fragment


def _escape(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


def _one_slash_first(location: bytes) -> bytes:
    """`//other.site` names a host: from a request's path it would lead wherever its sender likes."""
    return b"/" + location.lstrip(b"/") if location[:2] == b"//" else location


def _has_segments_of(raw: bytes, path: NormalPath) -> bool:
    """Whether the segments of a path as it came are those of its normal form, each perhaps spelt otherwise."""
    return raw.count(b"/") == path.path.count(b"/") and (path.other is None or b"/." not in path.other)


def _checked(path: bytes) -> bytes:
    """A path that a pattern made, if it can be sent."""
    path = b"/" + path.lstrip(b"/")
    if has_dot_segment(path.partition(b"?")[0]):
        raise Refused(400, "The path of the request can't be trusted: rewritten, it has a dot segment.", close=False)
    return path

"""What a target's path means, so that no spelling of it gets round a rule.

Theory of operation
-------------------
A rule guards a path, but what comes is bytes, and origins read the same bytes in different ways. Two
questions are kept apart:

- Which spellings mean the same to everyone? They are brought into one form (`NormalPath.path`): escapes
  of plain characters are decoded, others written in one way (`%7e` is `~`, `%c3%a9` is `%C3%A9`, a raw
  `"` is `%22`), and runs of slashes are one slash.
- Which spellings do origins disagree on? For these there is a second reading (`NormalPath.other`). A rule
  that both readings satisfy, or neither, decides as ever; where the readings part, the request is refused
  (`routing`). So what was decided on is what the origin sees, whichever way it reads.

The spellings with a second reading, alone in a path:

    /a/../b     resolved by nginx, Envoy and every file system; left alone by most web frameworks
    /a%2Fb      a slash to nginx, Go, WSGI and CGI; a character to GitLab, RabbitMQ, the npm registry
    /a%5Cb      a backslash is a separator to Windows and .NET, a character elsewhere
    /a;x=1/b    servlet containers cut parameters off each segment (nginx and Tomcat: `/..;/admin`)

Refused outright, with 400, because no honest client sends them:

- an escape that isn't one (`%zz`, `%u002e`), as nginx does;
- a control character, NUL first of all, raw or escaped (nginx and Envoy refuse NUL; CR and LF are for
  splitting headers); raw blanks, `#` and backslashes, which RFC 3986 section 2 has in no path;
- overlong UTF-8 (`%C0%AE` for a dot; RFC 3629 section 3 forbids to decode it), but not other bytes that
  are no UTF-8: old sites have Latin-1 paths, and no reader takes those for ASCII;
- `..` that climbs above the root, as nginx does, and dot segments beside another of the spellings above
  (`/public/..%2Fadmin`, `/..;/admin`): two of them in one path at all;
- an escape escaped again that hides what needs no escape (`%252e`, `%2561`) or a control character. RFC 3986
  section 2.4 forbids to decode twice, yet some do. `%252F` passes, as a character: Jenkins puts it into
  the names of branches, and encoding twice gives it honestly.

What isn't covered: names that only a certain file system takes for others (`admin.` and `ADMIN~1` on
Windows), and look-alikes that an origin folds by NFKC. Case is `routing`'s: see `fold`.

The bytes that are forwarded are not these: they go out as they came unless a rewrite says otherwise.
"""

from __future__ import annotations

import re

from proxycore.words.errors import Refused

# RFC 3986 section 3.3: pchar without escapes, and without `;`, which starts a parameter.
_PCHAR = r"-A-Za-z0-9_~!$&'()*+,=:@"
# Segments that don't start with a dot and aren't empty: there is nothing in them to normalise. Possessive
# (`*+`), so that it costs one pass whatever the bytes.
_is_plain = re.compile(rf"(?:/[{_PCHAR}][{_PCHAR}.]*+)*+/?".encode()).fullmatch

_ILLEGAL = re.compile(rb"[\x00-\x20\x7f#\\]|%(?![0-9A-Fa-f]{2})")
_OVERLONG = re.compile(rb"%C[01]%[89AB]|%E0%[89]|%F0%8|%F8%8[0-7]|%FC%8[0-3]")
# After one decoding: an escaped `%` before the code of an unreserved character (RFC 3986 section 2.3) or of
# a control character.
_ESCAPED_TWICE = re.compile(rb"%(?:25)+(?:2[DEde]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[EFef]|[01][0-9A-Fa-f])")
_SLASHES = re.compile(rb"//+")
_SEPARATOR = rb"(?:/|%(?:25)*(?:2[Ff]|5[Cc]))"
_DOT_SEGMENT = re.compile(_SEPARATOR + rb"\.\.?(?=;|\Z|" + _SEPARATOR + rb")")
_ESCAPED_DOT = re.compile(rb"%2[Ee]")
_TWICE_ESCAPED_SEPARATOR = re.compile(rb"%25(?:25)*(?:2[Ff]|5[Cc])")
_PARAMETERS = re.compile(rb";[^/]*")
_ESCAPE = re.compile(rb"%(..)")
_NON_ASCII = re.compile(rb"(?:%[89A-F][0-9A-F])+")
# Escapes that stay when a path is turned into text, because what they stand for would be read as structure.
_KEPT_ESCAPES = (b"%25", b"%2F", b"%3F", b"%23", b"%5C")

_CONTROLS = frozenset([*range(0x20), 0x7F])


def _spell(code: int) -> bytes:
    """The one spelling of a byte in a path's normal form."""
    byte = bytes([code])
    return byte if re.fullmatch(f"[{_PCHAR}.;]".encode(), byte) else b"%%%02X" % code


def _misspelt() -> re.Pattern[bytes]:
    """What has another spelling in the normal form. Right spellings, of which a path may be full, cost no call."""
    highs_of: dict[str, str] = {}
    for high in range(15, -1, -1):
        spellings = [_spell(high * 16 + low) for low in range(16) if high * 16 + low not in _CONTROLS]
        if lows := "".join(chr(spelling[2]) for spelling in spellings if len(spelling) == 3):
            highs_of[lows] = highs_of.get(lows, "") + f"{high:X}"
    escapes = "|".join(f"[{highs}][{lows}]" for lows, highs in highs_of.items())
    return re.compile(f"%(?!{escapes})..|[^{_PCHAR}./;%]".encode(), re.DOTALL)


_MISSPELT = _misspelt()


class NormalPath:
    """A target as decisions see it.

    `path` is the normal form, `other` the second reading of a path that origins disagree on (else None),
    `query` what stood behind the first `?`, as received. The target `*` of OPTIONS is its own path.
    """

    __slots__ = ("other", "path", "query")

    def __init__(self, path: bytes, query: bytes, other: bytes | None = None) -> None:
        self.path = path
        self.query = query
        self.other = other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NormalPath) and all(getattr(self, n) == getattr(other, n) for n in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        also = f", other={self.other!r}" if self.other is not None else ""
        return f"NormalPath({self.path!r}, {self.query!r}{also})"


def normalise(target: bytes) -> NormalPath:
    """The path and query of a target in origin-form (RFC 9112 section 3.2.1), or of `*`.

    Raises `Refused` (400) for what no honest client sends; see the top of this module. The result is for
    `RouteTable.find`; forward the target itself.
    """
    path, _, query = target.partition(b"?")
    if _is_plain(path) and path:
        return NormalPath(path, query)
    return _normalise_odd(target, path, query)


def _normalise_odd(target: bytes, path: bytes, query: bytes) -> NormalPath:
    if target == b"*":
        return NormalPath(target, b"")
    if path[:1] != b"/":
        raise _refused("it doesn't begin with a slash")
    if _ILLEGAL.search(path):
        raise _refused("it holds a character that no path may hold, or a % that begins no escape")
    path = _MISSPELT.sub(_respell, path)
    if _OVERLONG.search(path):
        raise _refused("it holds overlong UTF-8")
    if _ESCAPED_TWICE.search(path):
        raise _refused("it hides a character by escaping it twice")
    if b"//" in path:
        # `/a//../b` is /b to who merges first (nginx), /a/b to who resolves first (RFC 3986 section 5.2.4).
        if _DOT_SEGMENT.search(path):
            raise _refused("it has dot segments beside empty ones")
        path = _SLASHES.sub(b"/", path)
    path, other = _readings(path)
    return NormalPath(path, query, other)


def _respell(found: re.Match[bytes]) -> bytes:
    text = found[0]
    code = int(text[1:], 16) if len(text) == 3 else text[0]
    if code in _CONTROLS:
        raise _refused("it holds an escaped control character")
    return _spell(code)


def _readings(path: bytes) -> tuple[bytes, bytes | None]:
    """How most read the path, and how others do where they disagree."""
    others = []
    if b"%2F" in path:
        others.append(path.replace(b"%2F", b"/"))
    if b"%5C" in path:
        others.append(path.replace(b"%5C", b"/"))
    if b";" in path:
        others.append(_PARAMETERS.sub(b"", path))
    if _DOT_SEGMENT.search(path):
        # Separators escaped twice are characters (see above), but not beside dots.
        if others or _TWICE_ESCAPED_SEPARATOR.search(path):
            raise _refused("it hides a dot segment")
        return _resolve(path), path
    if len(others) > 1:
        raise _refused("it can be read in too many ways")
    return path, _SLASHES.sub(b"/", others[0]) if others else None


def _resolve(path: bytes) -> bytes:
    """The path without its dot segments (RFC 3986 section 5.2.4), except that climbing above the root is refused."""
    segments: list[bytes] = []
    parts = path.split(b"/")[1:]
    for part in parts:
        if part == b"..":
            if not segments:
                raise _refused("it climbs above the root")
            segments.pop()
        elif part != b".":
            segments.append(part)
    # "/a/." and "/a/b/.." name the folder /a/.
    if parts[-1] in (b".", b"..") and segments:
        segments.append(b"")
    return b"/" + b"/".join(segments)


def has_dot_segment(path: bytes) -> bool:
    """Whether a path, in any spelling, has a segment that some origin takes for `.` or `..`."""
    return _DOT_SEGMENT.search(_ESCAPED_DOT.sub(b".", path)) is not None


def text_of(path: bytes) -> str:
    """A normal path as a person writes it: decoded from UTF-8, for regular expressions.

    `%25`, `%2F`, `%5C`, `%3F` and `%23` stay, as characters that are no structure. Bytes that are no UTF-8
    become surrogates.
    """
    if b"%" not in path:
        return path.decode("ascii")
    return _ESCAPE.sub(_decode_escape, path).decode("utf-8", "surrogateescape")


def _decode_escape(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0] in _KEPT_ESCAPES else bytes([int(found[1], 16)])


def fold(path: bytes) -> bytes:
    """A key that normal paths share when they differ by case alone. A path without capitals is its own key.

    Some origins know files by whatever case (Windows, macOS), so a rule on `/admin` has to notice `/ADMIN`.
    """
    if b"%" not in path:
        return path.lower()
    return _NON_ASCII.sub(_fold_escapes, path).lower()


def _fold_escapes(found: re.Match[bytes]) -> bytes:
    folded = _ESCAPE.sub(_decode_escape, found[0]).decode("utf-8", "surrogateescape").lower()
    return b"".join(
        b"%c" % byte if byte < 0x80 else b"%%%02x" % byte for byte in folded.encode("utf-8", "surrogateescape")
    )


def normalise_pattern(text: str) -> bytes:
    """The normal form of a path that a configuration names: `/café` is `/caf%C3%A9`.

    Raises `ValueError` for a path that no request can have, or that could be read in two ways.
    """
    try:
        normal = normalise(re.sub(r"[^!-~]", lambda found: _escape(found[0]), text).encode("ascii"))
    except Refused as refused:
        raise ValueError(f'no request has the path "{text}": {refused.reason}') from None
    if normal.other is not None:
        raise ValueError(f'"{text}" can be read in two ways, so no rule can name it')
    return normal.path


def _escape(character: str) -> str:
    return "".join(f"%{code:02X}" for code in character.encode("utf-8"))


def _refused(why: str) -> Refused:
    return Refused(400, f"The path of the request can't be trusted: {why}.", close=False)

"""What a value says once nothing of it is hidden: the forms in which rules read it.

Attacks hide from rules in spellings that somebody behind us undoes: percent-encoding (twice, or `%uXXXX`), overlong
UTF-8, HTML entities, the escapes of JavaScript and JSON, full-width letters, comments within SQL, quotes within a
shell's words. All of it is undone here, once for each value, and never sent on. Decoding stops after `_ROUNDS`.
"""

from __future__ import annotations

import html
import re
import unicodedata
from urllib.parse import unquote_to_bytes

_ROUNDS = 3
_UNICODE_ESCAPE = re.compile(rb"%u([0-9A-Fa-f]{4})")
_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]")
_SCRIPT_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\})")
_OPEN_COMMENT = re.compile(r"/\*!\d{0,6}")
_COMMENT = re.compile(r"/\*.{0,200}?\*/|\*/", re.DOTALL)
_BLANKS = re.compile(r"[\s\x00\xa0\x0b]+")
_RUN_OF_BLANKS = re.compile(r"\s{2,}")
_SHELL_NOISE = re.compile(r"''|\"\"|\\(?=\w)|\$@|\$\*|(?<=\w)['\"](?=\w)")
_SHELL_BLANK = re.compile(r"\$\{?ifs\}?(?:\$\d)?|\{ifs\}")
# A server that keeps the low byte of each character reads these as line feed and carriage return.
_LINE_BREAKS = str.maketrans({"\u560a": "\n", "\u560d": "\r"})


class Forms:
    """A value as rules read it: `text` as decoded, `sql` without comments, `shell` without a shell's noise.

    All in lower case. The latter two are made when a rule first asks.
    """

    __slots__ = ("_shell", "_sql", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._sql: str | None = None
        self._shell: str | None = None

    @property
    def sql(self) -> str:
        if self._sql is None:
            text = self.text
            if "/*" in text or "*/" in text:
                text = _COMMENT.sub(" ", _OPEN_COMMENT.sub(" ", text))
            self._sql = _BLANKS.sub(" ", text)
        return self._sql

    @property
    def shell(self) -> str:
        if self._shell is None:
            self._shell = _SHELL_NOISE.sub("", _SHELL_BLANK.sub(" ", self.text))
        return self._shell


def normalise_value(value: bytes, *, plus_is_blank: bool) -> Forms:
    """The forms of a value as it came. `plus_is_blank` as in queries and forms."""
    if plus_is_blank and b"+" in value:
        value = value.replace(b"+", b" ")
    for _ in range(_ROUNDS):
        if b"%" not in value:
            break
        decoded = unquote_to_bytes(_UNICODE_ESCAPE.sub(_encode_unicode, value))
        if decoded == value:
            break
        value = decoded
    if b"\xc0" in value or b"\xc1" in value:
        value = _OVERLONG.sub(_shorten, value)
    return normalise_text(value.decode("utf-8", "replace"))


def normalise_text(text: str) -> Forms:
    """The forms of a text that needs no percent-decoding, such as one of a JSON document."""
    if "&" in text:
        text = html.unescape(text)
    if "\\" in text:
        text = _SCRIPT_ESCAPE.sub(_decode_escape, text)
    if not text.isascii():
        # A letter that becomes up to 18 must not multiply the work of the rules.
        text = unicodedata.normalize("NFKC", text.translate(_LINE_BREAKS))[: 2 * len(text)]
    # A run of blanks says no more than one, and patterns would try each of its parts.
    return Forms(_RUN_OF_BLANKS.sub(_shorten_blanks, text.lower()))


def _encode_unicode(found: re.Match[bytes]) -> bytes:
    return chr(int(found[1], 16)).encode("utf-8", "replace")


def _shorten(found: re.Match[bytes]) -> bytes:
    return bytes([(found[0][0] & 1) << 6 | found[0][1] & 0x3F])


def _shorten_blanks(found: re.Match[str]) -> str:
    return "\n" if "\n" in found[0] or "\r" in found[0] else " "


def _decode_escape(found: re.Match[str]) -> str:
    code = int(found[1] or found[2] or found[3], 16)
    return chr(code) if code < 0x110000 else ""

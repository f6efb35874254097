"""Looking at a request: which values it has, what the rules find in them, and whether that is enough.

Most values of most requests are plain: letters, digits and signs that mean little to anybody, and nothing among them
that any rule begins to look for. Those cost a match of a character class and a search for such beginnings; only the
others are normalised and read by all the rules, which takes some 2 us for each character. So a request has a budget of
characters, a share of the window that is read; one that would need more is as suspicious as an attack.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from proxycore.config import Waf
from proxycore.policies.waf.normalising import Forms, normalise_text, normalise_value
from proxycore.policies.waf.parts import boundary_of, parts_of
from proxycore.policies.waf.rules import RULES, TOO_MUCH, Place, Rule
from proxycore.words.messages import RequestHead

BUDGET_SHARE = 4
"""Characters that rules read of a head, and of content: this part of the window. A plain value counts as one."""

_LONGEST_MATCH = 100
"""Characters of a match that are told in the log."""

_VALUE_MAX = 8_192
"""Bytes of a value that rules read at once. A longer one of a head is read in pieces of so many; of one in content,
where people write long texts, the first is read."""

_OVERLAP = 512
"""Bytes that two such pieces share: an attack as long as that is found whole, wherever the value is cut."""

# What is plain, as far as its signs go. A sum that goes on with a word of logic is where SQL is injected into a number.
_NO_SUM = rb"(?![ +]*-?[0-9]+[ +]*(?i:or|and|xor))"
_is_plain = re.compile(_NO_SUM + rb"[A-Za-z0-9_.,:@~-]*").fullmatch
_is_words = re.compile(_NO_SUM + rb"[A-Za-z0-9 +.,:@_-]*").fullmatch
_is_plain_field = re.compile(_NO_SUM + rb"(?:[A-Za-z0-9 _.,:/+=?@~-]|; ?(?:charset|boundary)=)*").fullmatch
_is_plain_path = re.compile(
    rb"(?:/[A-Za-z0-9_-][A-Za-z0-9_,@~-]*(?:\.(?:html?|js|css|png|jpe?g|svg|json|woff2?|ico))?)*/?"
).fullmatch
# A single word is no attack, except for objects in the coding of Java.
_is_word = re.compile(rb"(?!(?i:ro0ab|aced))[A-Za-z0-9]*").fullmatch
# What rules begin with among plain signs: where none of it is, none of them finds anything. In lower case; each begins
# with a letter of its own, by which the search finds its way in one look at most characters.
_tells = re.compile(
    rb"\.\.|--|__|@@|@import|:/(?<!http:/)(?<!https:/)|://[0-9.]|\?$|/(?:\.|cgi|dev|etc|home|proc|root|server|var)|"
    rb"a(?:ced|ction[ +]*=|ctuator|ll_tables)|b(?:374k|ackdoor|ash|in/|oot\.ini)|"
    rb"c(?:99|atalog|hild_|lassload|md|onfirm|onstructor|url[ +])|d(?:ata:|bms_|elete|ocument|rop|umpfile)|"
    rb"e(?:lmah|tc/)|f(?:alse|ile:|reemarker)|h(?:aving|ref[ +]*=)|i(?:d_|netpub|nsert)|j(?:ava|ndi)|loader|metadata|"
    rb"n(?:c(?:\.exe)?[ +]|ew-object)|o(?:gnl|n[a-z0-9_]{3,20}[ +]*=|rder|utfile)|"
    rb"p(?:hpinfo|hpmyadmin|owershell|roc/|rocedure|rocess)|r(?:57|m[ +]+-|o0ab)|"
    rb"s(?:[ +]?c[ +]?r[ +]?i[ +]?p[ +]?t|chema|elect|hell|p_|qlite_|rcdoc|tyle|ys(?:col|dat|obj))|"
    rb"t(?:his\.|hreaddump|race\.axd|rue)|u(?:nion|pdate|tl_)|var/|"
    rb"w(?:aitfor|eb-inf|eb\.conf|get[ +]|indow|innt|p-config|so)|xp_"
).search
AGENTS_MAX = 1_000
"""User agents that are known to be no scanners. There are few, and each comes with every request."""

# Their form is checked by who owns them, or no application reads them but to write them to a log: so `${` is looked at.
_UNREAD = frozenset(
    b"accept accept-encoding accept-language authorization cache-control cookie date dnt etag expect if-match "
    b"if-modified-since if-none-match if-range if-unmodified-since max-forwards origin pragma priority "
    b"proxy-authorization range save-data sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode "
    b"sec-fetch-site sec-fetch-user sec-websocket-extensions sec-websocket-key sec-websocket-version te traceparent "
    b"upgrade-insecure-requests via".split()
)
_JSON_STRING = re.compile(rb'"((?:[^"\\]|\\.)*+)(?:"|\\?\Z)', re.DOTALL)
# What JSON has between strings, Python's NaN and Infinity included, and a byte order mark.
_is_json = re.compile(rb'[\s"{}\[\]:,0-9.+\-Eaefilnrstuy\xef\xbb\xbfINT]*').fullmatch
_CODINGS = frozenset((b"gzip", b"x-gzip", b"deflate", b"identity"))
_MEMBERS_MAX = 16
_CHARSET = re.compile(rb";\s*charset\s*=\s*[\"']?([^\s;\"']*)", re.IGNORECASE)
_is_like_ascii = re.compile(
    rb"utf-?8|(?:us-)?ascii|iso-?8859-?\d{1,2}|latin-?1|windows-\d{3,4}|koi8-[ru]|shift_jis|euc-(?:jp|kr)|gb(?:2312|k|18030)|big5"
).fullmatch
_TEXTS = (b"text/", b"application/xml", b"application/graphql", b"application/javascript")


class Undecodable(Exception):
    """Content isn't in the coding that its head tells of."""


class Finding(NamedTuple):
    """What a rule found. `where` names the value, `matched` is its part, normalised; neither is for the client."""

    rule: Rule
    where: str
    matched: str


class Verdict(NamedTuple):
    """All that was found in a request, and its anomaly score."""

    findings: list[Finding]
    score: int


class _Reading:
    """What was found so far, and how many characters may still be read."""

    __slots__ = ("findings", "left")

    def __init__(self, budget: int) -> None:
        self.findings: list[Finding] = []
        self.left = budget


class Inspector:
    """A route's `waf`, compiled."""

    __slots__ = (
        "_agents",
        "_budget",
        "_by_place",
        "_is_plain",
        "_is_plain_field",
        "_is_plain_path",
        "_is_words",
        "_too_much",
        "_window",
        "threshold",
    )

    def __init__(self, waf: Waf) -> None:
        excluded = frozenset(waf.exclude)
        rules = [rule for rule in RULES if rule.level <= waf.level and rule.id not in excluded]
        places: tuple[Place, ...] = ("path", "query", "header", "agent", "cookie", "body")
        self._by_place = {place: tuple(rule for rule in rules if place in rule.places) for place in places}
        self._agents: dict[bytes, None] = {}
        # Rules of higher levels suspect signs and words in whatever order.
        trusts = waf.level == 1
        self._is_plain = _is_plain if trusts else _is_word
        self._is_words = _is_words if trusts else _is_word
        self._is_plain_path = _is_plain_path if trusts else _is_word
        self._is_plain_field = _is_plain_field if trusts else _is_word
        self._window = waf.body
        self._budget = waf.body // BUDGET_SHARE
        self._too_much = None if TOO_MUCH.id in excluded else TOO_MUCH
        self.threshold = waf.threshold

    def head(self, request: RequestHead) -> Verdict | None:
        """What is found in a request's target, headers and cookies; None: nothing."""
        reading = _Reading(self._budget)
        path, _, query = request.target.partition(b"?")
        if _asks_for_more(path, self._is_plain_path):
            self._value("path", "path", path, reading)
        if query:
            self._pairs("query", query, reading)
        for name, value in request.headers.fields:
            if name == b"cookie":
                self._cookies(value, reading)
            elif name == b"user-agent":
                if value not in self._agents:
                    self._agent(value, reading)
            elif (name not in _UNREAD or b"${" in value) and _asks_for_more(value, self._is_plain_field):
                self._value("header", f"header {name.decode()}", value, reading)
        return self._judged(reading, "head")

    def body(self, request: RequestHead, content: bytes) -> Verdict | None:
        """What is found in the beginning of a request's content; None: nothing. Raises `Undecodable`."""
        reading = _Reading(self._budget)
        media_type = (request.headers.get(b"content-type") or b"").lower()
        coding = request.headers.get(b"content-encoding")
        if coding is not None:
            content = _inflated(content, coding.lower(), self._window)
        if media_type.startswith(b"application/x-www-form-urlencoded"):
            self._pairs("body", content, reading)
        elif b"json" in media_type:
            self._json(content, reading)
        elif boundary := boundary_of(request.headers.get(b"content-type") or b""):
            self._multipart(content, boundary, reading)
        else:
            self._value("body", "content", content, reading)
        return self._judged(reading, "content")

    def _agent(self, value: bytes, reading: _Reading) -> None:
        known = len(reading.findings)
        self._read("agent", "user-agent", Forms(value[:_VALUE_MAX].decode("latin-1").lower()), reading)
        if _asks_for_more(value, self._is_plain_field):
            self._value("header", "user-agent", value, reading)
        if len(reading.findings) == known and reading.left >= 0 and len(value) <= _VALUE_MAX:
            if len(self._agents) >= AGENTS_MAX:
                self._agents.clear()
            self._agents[value] = None

    def _pairs(self, place: Place, text: bytes, reading: _Reading) -> None:
        for pair in text.split(b"&", max(0, reading.left)):
            name, _, value = pair.partition(b"=")
            reading.left -= 1
            if _asks_for_more(name, self._is_plain):
                self._value(place, f"name in {place}", name, reading, plus_is_blank=True)
            if _asks_for_more(value, self._is_words):
                where = f'{place} "{_shown(name)}"'
                self._value(place, where, value, reading, plus_is_blank=True)

    def _cookies(self, value: bytes, reading: _Reading) -> None:
        for pair in value.split(b";", max(0, reading.left)):
            name, _, text = pair.strip(b" ").partition(b"=")
            reading.left -= 1
            if _asks_for_more(name, self._is_plain):
                self._value("cookie", "name of a cookie", name, reading)
            if _asks_for_more(text, self._is_plain):
                self._value("cookie", f'cookie "{_shown(name)}"', text, reading)

    def _json(self, content: bytes, reading: _Reading) -> None:
        # Strings are found in the text itself, so that a document which is cut, or is no JSON, hides nothing.
        for found in _JSON_STRING.finditer(content):
            text = found[1]
            reading.left -= 1
            if not _asks_for_more(text, self._is_words):
                if reading.left < 0:
                    return
            elif self._may_read(text[:_VALUE_MAX], reading):
                self._read("body", "a string of JSON", normalise_text(_unescaped(text[:_VALUE_MAX])), reading)
            else:
                return
        # Some read comments in JSON, and strings in single quotes: with those, what lies between strings isn't plain.
        between = _JSON_STRING.sub(b'""', content)
        if not _is_json(between):
            self._value("body", "what is no JSON", between, reading)

    def _multipart(self, content: bytes, boundary: bytes, reading: _Reading) -> None:
        for names, value in parts_of(content, boundary, reading.left):
            reading.left -= 1
            for name in names:
                if _asks_for_more(name, self._is_plain):
                    self._value("body", "name of a part", name, reading)
            if _asks_for_more(value, self._is_words):
                self._value("body", f'part "{_shown(names[0]) if names else ""}"', value, reading)

    def _value(self, place: Place, where: str, value: bytes, reading: _Reading, *, plus_is_blank: bool = False) -> None:
        """Normalise a value and read it, if it may still be read."""
        for piece in _pieces(value) if place != "body" else (value[:_VALUE_MAX],):
            if not self._may_read(piece, reading):
                return
            self._read(place, where, normalise_value(piece, plus_is_blank=plus_is_blank), reading)

    def _may_read(self, value: bytes, reading: _Reading) -> bool:
        reading.left -= len(value)
        return reading.left >= 0

    def _judged(self, reading: _Reading, where: str) -> Verdict | None:
        findings = reading.findings
        # A rule counts once, in however many values it finds something.
        score = sum({finding.rule.id: finding.rule.score for finding in findings}.values())
        if reading.left < 0 and self._too_much is not None:
            # What wasn't read may hold anything: whatever the threshold is, it is reached.
            findings.append(Finding(self._too_much, where, ""))
            score = max(score + self._too_much.score, self.threshold)
        return Verdict(findings, score) if findings else None

    def _read(self, place: Place, where: str, forms: Forms, reading: _Reading) -> None:
        text = forms.text
        for rule in self._by_place[place]:
            needs = rule.needs
            if needs:
                for sign in needs:
                    if sign in text:
                        break
                else:
                    continue
            form = rule.form
            subject = text if form == "text" else forms.sql if form == "sql" else forms.shell
            found = rule.pattern.search(subject)
            if found is not None:
                reading.findings.append(Finding(rule, where, found[0][:_LONGEST_MATCH]))


def is_readable(request: RequestHead) -> bool:
    """Whether a request has content that rules can read: a form, JSON, texts, or of no told type."""
    if not request.has_content:
        return False
    media_type = (request.headers.get(b"content-type") or b"").lower()
    return (
        not media_type
        or media_type.startswith((b"application/x-www-form-urlencoded", b"multipart/", *_TEXTS))
        or b"json" in media_type
        or b"xml" in media_type
    )


def _asks_for_more(value: bytes, is_plain: Callable[[bytes], object]) -> bool:
    """Whether a value has to be read by the rules."""
    return not _is_word(value) and (not is_plain(value) or _tells(value.lower()) is not None)


def _pieces(value: bytes) -> Iterable[bytes]:
    """A value in pieces that overlap, each short enough to be normalised and read at once."""
    if len(value) <= _VALUE_MAX:
        return (value,)
    step = _VALUE_MAX - _OVERLAP
    return (value[start : start + _VALUE_MAX] for start in range(0, len(value) - _OVERLAP, step))


def _shown(name: bytes) -> str:
    return name[:40].decode("ascii", "replace")


def _unescaped(text: bytes) -> str:
    if b"\\" in text:
        try:
            return str(json.loads(b'"' + text + b'"', strict=False))
        except ValueError:
            pass
    return text.decode("utf-8", "replace")


def can_be_decoded(request: RequestHead) -> bool:
    """Whether content comes in a coding that is undone here, or in none."""
    codings = request.headers.get_all(b"content-encoding")
    return not codings or (len(codings) == 1 and codings[0].lower() in _CODINGS)


def is_told_plainly(request: RequestHead) -> bool:
    """Whether servers agree on what content is: it has one type, with one boundary, in signs that are ASCII's."""
    types = request.headers.get_all(b"content-type")
    if len(types) != 1:
        return not types
    charset = _CHARSET.search(types[0])
    if charset is not None and not _is_like_ascii(charset[1].lower()):
        return False
    return not types[0].lower().startswith(b"multipart/") or boundary_of(types[0]) is not None


def _inflated(content: bytes, coding: bytes, limit: int) -> bytes:
    """The beginning of content that was coded: no more than is read of any content, however much is packed in it."""
    # Some send what they call deflate without the head that zlib puts before it (RFC 9110 section 8.4.1.2).
    forms = {b"gzip": (31,), b"x-gzip": (31,), b"deflate": (15, -15), b"identity": ()}[coding]
    if not forms:
        return content
    for form in forms:
        try:
            return _members(content, form, limit)
        except zlib.error:
            continue
    raise Undecodable


def _members(content: bytes, form: int, limit: int) -> bytes:
    """Content of gzip may be several files in a row (RFC 1952 section 2.2). Raises `zlib.error`."""
    inflated = b""
    for _ in range(_MEMBERS_MAX):
        stream = zlib.decompressobj(wbits=form)
        inflated += stream.decompress(content, limit - len(inflated))
        content = stream.unused_data
        if not content or len(inflated) >= limit:
            return inflated
    raise zlib.error("too many members")

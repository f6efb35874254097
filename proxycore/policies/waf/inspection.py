"""Looking at a request: which values it has, what the rules find in them, and whether that is enough.

Most values of most requests are plain: letters, digits and signs that mean nothing to anybody. Those cost one match of
a character class; only the others are normalised and read by the rules.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from proxycore.config import Waf
from proxycore.policies.waf.normalising import Forms, normalise_text, normalise_value
from proxycore.policies.waf.rules import RULES, Place, Rule
from proxycore.words.messages import RequestHead

VALUES_MAX = 500
"""Values of one request that are read: a bound on the work that one can cause."""

_LONGEST_MATCH = 100
"""Characters of a match that are told in the log."""

_VALUE_MAX = 8_192
"""Bytes of one value that rules read."""

_is_plain = re.compile(rb"(?!rO0AB|aced)(?:[A-Za-z0-9.,:@~-]|_(?!_))*").fullmatch
_is_plain_path = re.compile(
    rb"(?:/[A-Za-z0-9_-][A-Za-z0-9_,@~-]*(?:\.(?:html?|js|css|png|jpe?g|svg|json|woff2?|ico))?)*/?"
).fullmatch
_is_plain_field = re.compile(rb"[A-Za-z0-9 _.,:;/()+=*?@\"~-]*").fullmatch
# Words with blanks between them, and none that some rule knows: what people search for.
_is_words = re.compile(rb"[A-Za-z0-9+.,:@_-]*").fullmatch
_tells = re.compile(
    rb"select|union|order|having|waitfor|procedure|outfile|dumpfile|schema|sysobj|sqlite_|catalog|all_tables|xp_|sp_|dbms_|utl_|"
    rb"true|false|powershell|cmd|bash|nc\+|process|java|ognl|loader|wp-config|boot\.ini|id_|script|--|__|\.\.|jndi|ro0ab|"
    rb"^-?[0-9]+\+*(?:or|and|xor)",
    re.IGNORECASE,
).search
AGENTS_MAX = 1_000
"""User agents that are known to be no scanners. There are few, and each comes with every request."""

# Their form is checked by who owns them, or no application reads them.
_UNREAD = frozenset(
    b"accept accept-encoding accept-language authorization cache-control cookie date dnt etag expect if-match "
    b"if-modified-since if-none-match if-range if-unmodified-since max-forwards origin pragma priority "
    b"proxy-authorization range save-data sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode "
    b"sec-fetch-site sec-fetch-user sec-websocket-extensions sec-websocket-key sec-websocket-version te traceparent "
    b"upgrade-insecure-requests via".split()
)
_JSON_STRING = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_BOUNDARY = re.compile(rb"boundary=\"?([^\";,]{1,70})", re.IGNORECASE)
_PARAMETER = re.compile(rb"\b(name|filename)\*?=\"?([^\";\r\n]{0,500})", re.IGNORECASE)
_CODINGS = frozenset((b"gzip", b"x-gzip", b"deflate", b"identity"))
_TEXTS = (b"text/", b"application/xml", b"application/graphql", b"application/javascript")


class Finding(NamedTuple):
    """What a rule found. `where` names the value, `matched` is its part, normalised; neither is for the client."""

    rule: Rule
    where: str
    matched: str


class Verdict(NamedTuple):
    """All that was found in a request, and its anomaly score."""

    findings: list[Finding]
    score: int


class Inspector:
    """A route's `waf`, compiled."""

    __slots__ = ("_agents", "_by_place", "_trusts_words", "_window", "threshold")

    def __init__(self, waf: Waf) -> None:
        excluded = frozenset(waf.exclude)
        rules = [rule for rule in RULES if rule.level <= waf.level and rule.id not in excluded]
        places: tuple[Place, ...] = ("path", "query", "header", "agent", "cookie", "body")
        self._by_place = {place: tuple(rule for rule in rules if place in rule.places) for place in places}
        self._agents: dict[bytes, None] = {}
        self._trusts_words = waf.level == 1
        self._window = waf.body
        self.threshold = waf.threshold

    def head(self, request: RequestHead) -> Verdict | None:
        """What is found in a request's target, headers and cookies; None: nothing."""
        findings: list[Finding] = []
        path, _, query = request.target.partition(b"?")
        if not _is_plain_path(path):
            self._read("path", "path", normalise_value(path, plus_is_blank=False), findings)
        if query:
            self._pairs("query", query.split(b"&", VALUES_MAX), findings)
        for name, value in request.headers.fields:
            if name == b"cookie":
                self._cookies(value, findings)
            elif name == b"user-agent":
                if value not in self._agents:
                    self._agent(value[:_VALUE_MAX], findings)
            elif name not in _UNREAD and not _is_plain_field(value):
                forms = normalise_value(value[:_VALUE_MAX], plus_is_blank=False)
                self._read("header", f"header {name.decode()}", forms, findings)
        return _judged(findings)

    def body(self, request: RequestHead, content: bytes) -> Verdict | None:
        """What is found in the beginning of a request's content; None: nothing."""
        findings: list[Finding] = []
        media_type = (request.headers.get(b"content-type") or b"").lower()
        coding = request.headers.get(b"content-encoding")
        if coding is not None:
            content = _inflated(content, coding.lower(), self._window)
        if media_type.startswith(b"application/x-www-form-urlencoded"):
            self._pairs("body", content.split(b"&", VALUES_MAX), findings)
        elif b"json" in media_type:
            self._json(content, findings)
        elif media_type.startswith(b"multipart/"):
            self._multipart(request.headers.get(b"content-type") or b"", content, findings)
        else:
            text = normalise_value(content, plus_is_blank=False)
            self._read("body", "content", text, findings)
        return _judged(findings)

    def _agent(self, value: bytes, findings: list[Finding]) -> None:
        known = len(findings)
        self._read("agent", "user-agent", Forms(value.decode("latin-1").lower()), findings)
        if not _is_plain_field(value):
            self._read("header", "user-agent", normalise_value(value, plus_is_blank=False), findings)
        if len(findings) == known:
            if len(self._agents) >= AGENTS_MAX:
                self._agents.clear()
            self._agents[value] = None

    def _pairs(self, place: Place, pairs: Iterable[bytes], findings: list[Finding]) -> None:
        for pair in pairs:
            name, _, value = pair.partition(b"=")
            if not _is_plain(name):
                self._read(place, f"name in {place}", normalise_value(name[:_VALUE_MAX], plus_is_blank=True), findings)
            if not (_is_plain(value) or (self._trusts_words and _is_words(value) and not _tells(value))):
                where = f'{place} "{name[:40].decode("ascii", "replace")}"'
                self._read(place, where, normalise_value(value[:_VALUE_MAX], plus_is_blank=True), findings)

    def _cookies(self, value: bytes, findings: list[Finding]) -> None:
        for pair in value.split(b";", VALUES_MAX):
            name, _, text = pair.strip(b" ").partition(b"=")
            if not _is_plain(text):
                where = f'cookie "{name[:40].decode("ascii", "replace")}"'
                self._read("cookie", where, normalise_value(text[:_VALUE_MAX], plus_is_blank=False), findings)

    def _json(self, content: bytes, findings: list[Finding]) -> None:
        # Strings are found in the text itself, so that a document which is cut, or is no JSON, hides nothing.
        for count, found in enumerate(_JSON_STRING.finditer(content)):
            if count >= VALUES_MAX:
                return
            text = found[1]
            if not _is_plain(text):
                self._read("body", "a string of JSON", normalise_text(_unescaped(text[:_VALUE_MAX])), findings)

    def _multipart(self, media_type: bytes, content: bytes, findings: list[Finding]) -> None:
        boundary = _BOUNDARY.search(media_type)
        parts = content.split(b"--" + boundary[1], VALUES_MAX) if boundary else [content]
        for part in parts:
            head, _, value = part.partition(b"\r\n\r\n")
            names = {found[1].lower(): found[2] for found in _PARAMETER.finditer(head)}
            for name in names.values():
                if not _is_plain(name):
                    self._read("body", "name of a part", normalise_value(name, plus_is_blank=False), findings)
            if b"filename" not in names and not _is_plain(value.strip(b"\r\n")):
                where = f'part "{names.get(b"name", b"")[:40].decode("ascii", "replace")}"'
                self._read("body", where, normalise_value(value[:_VALUE_MAX], plus_is_blank=False), findings)

    def _read(self, place: Place, where: str, forms: Forms, findings: list[Finding]) -> None:
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
                findings.append(Finding(rule, where, found[0][:_LONGEST_MATCH]))


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


def _judged(findings: list[Finding]) -> Verdict | None:
    if not findings:
        return None
    # A rule counts once, in however many values it holds.
    scores = {finding.rule.id: finding.rule.score for finding in findings}
    return Verdict(findings, sum(scores.values()))


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


def _inflated(content: bytes, coding: bytes, limit: int) -> bytes:
    """The beginning of content that was coded: no more than is read of any content, however much is packed in it."""
    # Some send what they call deflate without the head that zlib puts before it (RFC 9110 section 8.4.1.2).
    forms = {b"gzip": (31,), b"x-gzip": (31,), b"deflate": (15, -15)}.get(coding, ())
    for form in forms:
        try:
            return zlib.decompressobj(wbits=form).decompress(content, limit)
        except zlib.error:
            continue
    return content

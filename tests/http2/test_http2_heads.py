"""Which requests of HTTP/2 are well-formed (RFC 9113 section 8), and the head that they make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.mechanisms.http1 import writer
from proxycore.mechanisms.http2.heads import HeadLimits, StreamFault, read_request, read_trailers
from proxycore.words.errors import Refused
from proxycore.words.messages import ABSENT, UNKNOWN, RequestHead
from tests.http2.wire import GET, POST

LIMITS = HeadLimits(size=4096, fields=20, target=100)


def read(fields: list[tuple[bytes, bytes]], *, is_whole: bool = True) -> RequestHead:
    return read_request(fields, LIMITS, (b"http",), is_whole=is_whole)


def test_a_request_is_the_head_that_http1_makes_too() -> None:
    head = read([*GET, (b"accept", b"*/*"), (b"x-own", b"1"), (b"te", b"trailers")])
    assert (head.method, head.target, head.authority) == (b"GET", b"/a", b"a.test")
    assert (head.scheme, head.version, head.length) == (b"http", b"2", ABSENT)
    assert head.te_trailers
    assert head.headers.fields == [(b"accept", b"*/*"), (b"x-own", b"1")]


def test_content_is_of_the_declared_length_or_ends_by_itself() -> None:
    assert read(POST, is_whole=False).length == UNKNOWN
    assert read([*POST, (b"content-length", b"5")], is_whole=False).length == 5
    assert read([*POST, (b"content-length", b"0")]).length == 0


def test_an_expectation_is_kept_where_content_follows() -> None:
    expecting = [*POST, (b"expect", b"100-continue")]
    assert read(expecting, is_whole=False).expect_continue
    assert not read(expecting).expect_continue


def test_crumbs_of_a_cookie_become_one_field() -> None:
    crumbs = [*GET, (b"cookie", b"a=1"), (b"accept", b"*/*"), (b"cookie", b"b=2"), (b"cookie", b"c=3")]
    assert read(crumbs).headers.fields == [(b"cookie", b"a=1; b=2; c=3"), (b"accept", b"*/*")]


def test_a_name_with_an_underscore_is_dropped() -> None:
    assert read([*GET, (b"x_forwarded_for", b"10.0.0.1")]).headers.fields == []


def test_a_host_stands_in_for_an_authority() -> None:
    assert read([*GET[:2], GET[3], (b"host", b"b.test")]).authority == b"b.test"
    assert read([*GET, (b"host", b"A.test")]).authority == b"a.test"


MALFORMED = {
    "no method": GET[1:],
    "no scheme": [GET[0], *GET[2:]],
    "no path": GET[:3],
    "no authority": [*GET[:2], GET[3]],
    "nothing": [],
    "an empty path": [*GET[:3], (b":path", b"")],
    "a path that is none": [*GET[:3], (b":path", b"a.test/")],
    "a star that isn't of OPTIONS": [*GET[:3], (b":path", b"*")],
    "a fragment": [*GET[:3], (b":path", b"/a#b")],
    "a blank in the path": [*GET[:3], (b":path", b"/a b")],
    "a path beyond ASCII": [*GET[:3], (b":path", b"/\xe4")],
    "an empty method": [(b":method", b""), *GET[1:]],
    "a method that is none": [(b":method", b"G T"), *GET[1:]],
    "two methods": [GET[0], *GET],
    "two paths": [*GET, GET[3]],
    "an unknown pseudo-header": [*GET, (b":x", b"1")],
    "an extended CONNECT": [*GET, (b":protocol", b"websocket")],
    "a pseudo-header of a response": [*GET, (b":status", b"200")],
    "a pseudo-header behind a field": [*GET[:3], (b"accept", b"*/*"), GET[3]],
    "a pseudo-header behind a dropped field": [*GET[:3], (b"x_y", b"*/*"), GET[3]],
    "a pseudo-header behind a te": [*GET[:3], (b"te", b"trailers"), GET[3]],
    "connection": [*GET, (b"connection", b"close")],
    "keep-alive": [*GET, (b"keep-alive", b"5")],
    "proxy-connection": [*GET, (b"proxy-connection", b"close")],
    "transfer-encoding": [*GET, (b"transfer-encoding", b"chunked")],
    "upgrade": [*GET, (b"upgrade", b"websocket")],
    "te": [*GET, (b"te", b"gzip")],
    "te with more": [*GET, (b"te", b"trailers, gzip")],
    "an upper-case name": [*GET, (b"Accept", b"*/*")],
    "an empty name": [*GET, (b"", b"x")],
    "a blank in a name": [*GET, (b"a b", b"x")],
    "a colon in a name": [*GET, (b"a:b", b"x")],
    "a line end in a name": [*GET, (b"a\r\nb", b"x")],
    "NUL in a value": [*GET, (b"accept", b"a\x00")],
    "CR in a value": [*GET, (b"accept", b"a\rb")],
    "LF in a value": [*GET, (b"accept", b"a\nb")],
    "a line in a value": [*GET, (b"accept", b"a\r\nhost: evil")],
    "DEL in a value": [*GET, (b"accept", b"a\x7f")],
    "a blank before a value": [*GET, (b"accept", b" a")],
    "a TAB after a value": [*GET, (b"accept", b"a\t")],
    "only a blank": [*GET, (b"accept", b" ")],
    "two hosts": [*GET, (b"host", b"a.test"), (b"host", b"a.test")],
    "a host that contradicts": [*GET, (b"host", b"b.test")],
    "no host": [*GET[:2], (b":authority", b""), GET[3]],
    "userinfo": [*GET[:2], (b":authority", b"u@a.test"), GET[3]],
    "a path in the authority": [*GET[:2], (b":authority", b"a.test/x"), GET[3]],
    "a length that is none": [*GET, (b"content-length", b"+0")],
    "two lengths": [*GET, (b"content-length", b"0"), (b"content-length", b"0")],
    "a length and no content": [*GET, (b"content-length", b"5")],
    "a CONNECT with a path": [(b":method", b"CONNECT"), *GET[1:]],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_request_is_a_fault_of_its_stream(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(StreamFault):
        read(fields)


REFUSED = {
    405: [(b":method", b"CONNECT"), GET[2]],
    414: [*GET[:3], (b":path", b"/" + b"a" * 100)],
    417: [*GET, (b"expect", b"a miracle")],
    421: [GET[0], (b":scheme", b"https"), *GET[2:]],
    431: [*GET, *((b"x-%d" % number, b"1") for number in range(21))],
}


@pytest.mark.parametrize(("status", "fields"), REFUSED.items())
def test_what_is_well_formed_and_not_served_gets_an_answer(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Refused) as refused:
        read(fields)
    assert refused.value.status == status


def test_a_list_is_measured_with_what_each_field_costs() -> None:
    assert read([*GET, (b"x", b"y" * 3500)]).headers.fields
    with pytest.raises(Refused):
        read([*GET, (b"x", b"y" * 4000)])


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"accept", b"x-a", b"X-B", b"te", b":path", b"host", b"cookie", b"a b", b"x_y", b""]),
            st.one_of(st.sampled_from([b"trailers", b"/", b"a.test", b" x"]), st.binary(max_size=5)),
        ),
        max_size=6,
    )
)
def test_whatever_is_let_in_can_be_written_as_http1(fields: list[tuple[bytes, bytes]]) -> None:
    try:
        head = read([*GET, *fields])
    except (StreamFault, Refused):
        return
    written = writer.request_head(head)
    assert written.count(b"\r\n") == 3 + len(head.headers) + (2 if head.te_trailers else 0)


def test_trailers_pass_but_those_that_only_a_header_may_be() -> None:
    sent = [(b"x-sum", b"9"), (b"authorization", b"x"), (b"x_y", b"1"), (b"cookie", b"a=1")]
    assert read_trailers(sent, LIMITS) == [(b"x-sum", b"9")]
    assert read_trailers([], LIMITS) == []
    for name in (b":path", b"host", b"content-length", b"connection", b"te", b"trailer", b"X-A"):
        with pytest.raises(StreamFault):
            read_trailers([(name, b"1")], LIMITS)
    with pytest.raises(Refused):
        read_trailers([(b"x", b"y" * 5000)], LIMITS)

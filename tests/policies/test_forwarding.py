"""Who the client is, and what a server is told of it."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.policies.addresses import AddressSet, parse_address
from proxycore.policies.forwarding import Client, Peer, chosen_host, outbound, take_hop, told_request_id
from proxycore.policies.trace import Trace
from proxycore.words.ids import Address
from proxycore.words.messages import UNKNOWN, Field, Headers, RequestHead

TRUSTED = AddressSet([ip_network("10.0.0.0/8"), ip_network("127.0.0.1"), ip_network("2001:db8:ffff::/48")])
STRANGER: Address = ("192.0.2.1", 40000)
PROXY: Address = ("10.0.0.1", 40000)


def request_with(*fields: Field, authority: bytes = b"example.com") -> RequestHead:
    return RequestHead(b"GET", b"/x", authority, Headers(list(fields)))


def client_for(address: Address, *fields: Field, scheme: bytes = b"http") -> Client:
    return Peer(address, scheme=scheme, trusted=TRUSTED).client_of(request_with(*fields))


def sent_for(address: Address, *fields: Field, scheme: bytes = b"http") -> dict[bytes, list[bytes]]:
    """The fields that a server gets for a request with these."""
    request = request_with(*fields)
    client = Peer(address, scheme=scheme, trusted=TRUSTED).client_of(request)
    head = outbound(request, client, target=request.target, authority=request.authority)
    return {name: head.headers.get_all(name) for name, _ in head.headers}


CLAIMS = [
    (b"x-forwarded-for", b"203.0.113.9"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-host", b"other.test"),
    (b"x-forwarded-port", b"444"),
    (b"x-forwarded-prefix", b"//evil.test"),
    (b"x-real-ip", b"203.0.113.9"),
    (b"forwarded", b"for=203.0.113.9;proto=https"),
    (b"x-original-url", b"/admin"),
    (b"x-rewrite-url", b"/admin"),
    (b"x-forwarded-ssl", b"on"),
    (b"x-forwarded-scheme", b"https"),
    (b"x-forwarded-protocol", b"ssl"),
    (b"front-end-https", b"on"),
]


def test_what_a_stranger_claims_is_replaced() -> None:
    assert sent_for(STRANGER, (b"accept", b"*/*"), *CLAIMS) == {
        b"accept": [b"*/*"],
        b"x-forwarded-for": [b"192.0.2.1"],
        b"x-forwarded-proto": [b"http"],
        b"x-real-ip": [b"192.0.2.1"],
        b"x-forwarded-host": [b"example.com"],
        b"via": [b"1.1 proxycore"],
    }


def test_what_a_trusted_proxy_tells_is_passed_on() -> None:
    assert sent_for(PROXY, *CLAIMS) == {
        b"x-forwarded-for": [b"203.0.113.9, 10.0.0.1"],
        b"x-forwarded-proto": [b"https"],
        b"x-real-ip": [b"203.0.113.9"],
        b"x-forwarded-host": [b"other.test"],
        b"x-forwarded-port": [b"444"],
        b"x-forwarded-prefix": [b"//evil.test"],
        b"x-original-url": [b"/admin"],
        b"x-rewrite-url": [b"/admin"],
        b"x-forwarded-ssl": [b"on"],
        b"x-forwarded-scheme": [b"https"],
        b"x-forwarded-protocol": [b"ssl"],
        b"front-end-https": [b"on"],
        b"via": [b"1.1 proxycore"],
    }


@given(st.lists(st.sampled_from([*CLAIMS, (b"x-forwarded-for", b"10.0.0.9"), (b"x-forwarded-for", b"junk, ,")])))
def test_a_stranger_has_the_same_identity_whatever_it_claims(claims: list[Field]) -> None:
    assert sent_for(STRANGER, *claims) == sent_for(STRANGER)
    client = client_for(STRANGER, *claims)
    assert (client.ip, client.port, client.scheme, client.is_forwarded) == ("192.0.2.1", "40000", b"http", False)


@pytest.mark.parametrize(
    ("lines", "ip"),
    [
        ([b"203.0.113.9"], "203.0.113.9"),
        ([b"203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ([b"1.2.3.4, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ([b"1.2.3.4", b"203.0.113.9", b"10.0.0.2"], "203.0.113.9"),
        ([b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ([b"203.0.113.9:4711"], "203.0.113.9"),
        ([b"[2001:db8::1]:4711"], "2001:db8::1"),
        ([b"2001:DB8:0::1"], "2001:db8::1"),
        ([b"203.0.113.9, 2001:db8:ffff::7"], "203.0.113.9"),
        ([b"203.0.113.9, ::ffff:10.1.1.1"], "203.0.113.9"),
        ([b"203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
        ([b"203.0.113.9, 010.0.0.2"], "10.0.0.1"),
        ([b"unknown"], "10.0.0.1"),
        ([b"203.0.113.9,, 10.0.0.2,"], "203.0.113.9"),
        ([b"203.0.113.9 10.0.0.2"], "10.0.0.1"),
        ([b""], "10.0.0.1"),
        ([], "10.0.0.1"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_not_trusted(lines: list[bytes], ip: str) -> None:
    client = client_for(PROXY, *[(b"x-forwarded-for", line) for line in lines])
    assert client.ip == ip


CHAINS = st.lists(
    st.sampled_from(["1.2.3.4", "203.0.113.9", "10.0.0.2", "10.9.9.9", "junk", "2001:db8::1"]), max_size=6
)


@given(CHAINS)
def test_what_stands_left_of_the_client_changes_nothing(told: list[str]) -> None:
    client = client_for(PROXY, (b"x-forwarded-for", ", ".join([*told, "203.0.113.7", "10.0.0.2"]).encode()))
    assert client.ip == "203.0.113.7"


@given(CHAINS)
def test_the_client_is_the_peer_or_someone_told_by_the_trusted(told: list[str]) -> None:
    client = client_for(PROXY, (b"x-forwarded-for", ", ".join(told).encode()))
    believed = ["10.0.0.1"]
    for node in reversed(told):
        if believed[-1] not in TRUSTED or parse_address(node) is None:
            break
        believed.append(node)
    assert client.ip == believed[-1]


def test_the_port_is_that_of_the_peer_alone() -> None:
    assert client_for(PROXY).port == "40000"
    assert client_for(PROXY, (b"x-forwarded-for", b"203.0.113.9")).port == ""


def test_a_chain_is_walked_so_far_and_no_further() -> None:
    client = client_for(PROXY, (b"x-forwarded-for", b"203.0.113.9, " + b", ".join([b"10.0.0.2"] * 5000)))
    assert client.ip == "10.0.0.2"


@pytest.mark.parametrize(
    ("value", "ip", "scheme", "chain"),
    [
        (b"for=203.0.113.9;proto=https", "203.0.113.9", b"https", b"203.0.113.9, 10.0.0.1"),
        (
            b'For="[2001:db8::1]:4711";Proto=https, for=10.0.0.2',
            "2001:db8::1",
            b"https",
            b"2001:db8::1, 10.0.0.2, 10.0.0.1",
        ),
        (b"for=1.2.3.4;proto=https, for=203.0.113.9", "203.0.113.9", b"http", b"1.2.3.4, 203.0.113.9, 10.0.0.1"),
        (b"for=_hidden, for=10.0.0.2", "10.0.0.2", b"http", b"unknown, 10.0.0.2, 10.0.0.1"),
        (b'for="203.0.113.9, 6.6.6.6"', "10.0.0.1", b"http", b"unknown, 10.0.0.1"),
        (b"by=10.0.0.3;proto=https", "10.0.0.1", b"http", b"10.0.0.1"),
        (b'for="', "10.0.0.1", b"http", b"unknown, 10.0.0.1"),
    ],
)
def test_forwarded_is_read_where_it_is_all_there_is(value: bytes, ip: str, scheme: bytes, chain: bytes) -> None:
    client = client_for(PROXY, (b"forwarded", value))
    assert (client.ip, client.scheme) == (ip, scheme)
    sent = sent_for(PROXY, (b"forwarded", value))
    assert sent[b"x-forwarded-for"] == [chain]
    assert b"forwarded" not in sent


def test_forwarded_does_not_count_beside_x_forwarded_for() -> None:
    client = client_for(PROXY, (b"forwarded", b"for=6.6.6.6;proto=https"), (b"x-forwarded-for", b"203.0.113.9"))
    assert (client.ip, client.scheme) == ("203.0.113.9", b"http")


@given(st.binary(max_size=60))
def test_no_forwarded_value_breaks_anything(value: bytes) -> None:
    sent = sent_for(PROXY, (b"forwarded", value))
    (chain,) = sent[b"x-forwarded-for"]
    assert all(node == b"unknown" or parse_address(node.decode()) for node in chain.split(b", "))


@pytest.mark.parametrize(
    ("told", "scheme"),
    [
        ([(b"x-forwarded-proto", b"https")], b"https"),
        ([(b"x-forwarded-proto", b"HTTPS")], b"https"),
        ([(b"x-forwarded-proto", b"gopher")], b"http"),
        ([(b"x-forwarded-proto", b"https, http")], b"https"),
        ([(b"x-forwarded-for", b"6.6.6.6, 203.0.113.9"), (b"x-forwarded-proto", b"https, http")], b"http"),
        ([(b"x-forwarded-for", b"203.0.113.9, 10.0.0.2"), (b"x-forwarded-proto", b"https, http")], b"https"),
    ],
)
def test_the_scheme_is_the_one_that_the_client_used(told: list[Field], scheme: bytes) -> None:
    assert client_for(PROXY, *told).scheme == scheme


def test_a_host_that_is_none_is_not_passed_on() -> None:
    assert sent_for(PROXY, (b"x-forwarded-host", b"a b"))[b"x-forwarded-host"] == [b"example.com"]
    assert sent_for(PROXY, (b"x-forwarded-host", b"shop.test:81"))[b"x-forwarded-host"] == [b"shop.test:81"]


@pytest.mark.parametrize(
    ("address", "ip", "trusted"),
    [
        (("::ffff:10.0.0.1", 1), "10.0.0.1", True),
        (("::ffff:192.0.2.1", 1), "192.0.2.1", False),
        (("2001:0db8:ffff::1", 1), "2001:db8:ffff::1", True),
        (("fe80::1%eth0", 1), "fe80::1", False),
        ("/run/proxycore.sock", "unix:", True),
        ("", "unix:", True),
    ],
)
def test_a_peer_has_one_spelling(address: Address, ip: str, trusted: bool) -> None:
    peer = Peer(address, scheme=b"http", trusted=TRUSTED)
    assert (peer.ip, peer.is_trusted) == (ip, trusted)


def test_a_peer_on_a_unix_socket_has_no_address() -> None:
    peer = Peer("", scheme=b"http", trusted=AddressSet())
    client = peer.client_of(request_with((b"x-forwarded-for", b"1.2.3.4")))
    assert (client.ip, client.port) == ("unix:", "")
    assert client.fields == [(b"x-forwarded-for", b"unknown"), (b"x-forwarded-proto", b"http")]


def test_the_outbound_head_is_the_servers_own() -> None:
    request = RequestHead(
        b"PUT",
        b"/a?b",
        b"example.com:8080",
        Headers([(b"accept", b"a"), (b"accept", b"b")]),
        version=b"1.0",
        length=UNKNOWN,
        persistent=False,
        upgrade=b"websocket",
        expect_continue=True,
        te_trailers=True,
    )
    client = Peer(STRANGER, scheme=b"https", trusted=TRUSTED).client_of(request)
    before = request.headers.copy()
    head = outbound(request, client, target=b"/b", authority=b"origin")
    assert (head.method, head.target, head.authority, head.length) == (b"PUT", b"/b", b"origin", UNKNOWN)
    assert (head.version, head.persistent, head.upgrade) == (b"1.1", True, b"websocket")
    assert (head.expect_continue, head.te_trailers) == (True, True)
    assert head.headers.fields[:2] == before.fields
    assert head.headers.get(b"x-forwarded-host") == b"example.com:8080"
    assert head.headers.get(b"x-forwarded-proto") == b"https"
    head.headers.set(b"accept", b"changed")
    assert request.headers == before


@pytest.mark.parametrize(
    ("version", "via"), [(b"1.0", b"1.0 proxycore"), (b"1.1", b"1.1 proxycore"), (b"2", b"2 proxycore")]
)
def test_via_comes_behind_those_before_us(version: bytes, via: bytes) -> None:
    request = RequestHead(b"GET", b"/", b"a", Headers([(b"via", b"1.1 edge")]), version=version)
    client = Peer(STRANGER, scheme=b"http", trusted=TRUSTED).client_of(request)
    assert outbound(request, client, target=b"/", authority=b"a").headers.get_list(b"via") == [b"1.1 edge", via]


def test_a_request_without_host_says_so() -> None:
    request = request_with(authority=b"")
    client = Peer(STRANGER, scheme=b"http", trusted=TRUSTED).client_of(request)
    assert b"x-forwarded-host" not in outbound(request, client, target=b"/", authority=b"server").headers


@pytest.mark.parametrize(
    ("choice", "asked", "host"),
    [
        ("preserve", b"example.com:81", b"example.com:81"),
        ("preserve", b"", b"server:8080"),
        ("upstream", b"example.com", b"server:8080"),
        ("fixed.test", b"example.com", b"fixed.test"),
    ],
)
def test_the_host_that_a_server_is_told(choice: str, asked: bytes, host: bytes) -> None:
    assert chosen_host(choice, asked, b"server:8080") == host


@pytest.mark.parametrize(
    ("address", "told", "request_id"),
    [
        (PROXY, b"abc-123", "abc-123"),
        (PROXY, b"a b", None),
        (PROXY, b"a" * 129, None),
        (PROXY, b"", None),
        (STRANGER, b"abc-123", None),
    ],
)
def test_only_a_trusted_proxy_names_a_request(address: Address, told: bytes, request_id: str | None) -> None:
    peer = Peer(address, scheme=b"http", trusted=TRUSTED)
    assert told_request_id(request_with((b"x-request-id", told)), peer) == request_id
    assert told_request_id(request_with(), peer) is None


def test_the_trace_says_who_was_believed() -> None:
    trace = Trace()
    Peer(STRANGER, scheme=b"http", trusted=TRUSTED).client_of(request_with(), trace)
    Peer(PROXY, scheme=b"http", trusted=TRUSTED).client_of(request_with((b"x-forwarded-for", b"1.2.3.4")), trace)
    assert trace.render() == (
        "client: is the peer 192.0.2.1 (it is no trusted proxy)\n"
        "client: forwarded by 10.0.0.1 (it is 1.2.3.4)\n"
        "client: believed X-Forwarded-For (the last address in 1.2.3.4, 10.0.0.1 that is no trusted proxy's is 1.2.3.4)"
    )


@pytest.mark.parametrize(
    ("told", "stops", "left"), [(b"0", True, b"0"), (b"1", False, b"0"), (b"10", False, b"9"), (b"-1", False, b"-1")]
)
def test_hops_are_counted_down(told: bytes, stops: bool, left: bytes) -> None:
    request = RequestHead(b"OPTIONS", b"*", b"a", Headers([(b"max-forwards", told)]))
    assert take_hop(request) == stops
    assert request.headers.get(b"max-forwards") == left


def test_no_hops_are_counted_where_nobody_asked() -> None:
    assert not take_hop(RequestHead(b"OPTIONS", b"*", b"a", Headers()))

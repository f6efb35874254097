"""Addresses as numbers, sets of networks, and hosts in the form in which they are compared."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.policies.addresses import AddressSet, number_of, parse_address
from proxycore.policies.hosts import host_of

Network = IPv4Network | IPv6Network


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::1.2.3.4", "::102:304"),
    ],
)
def test_an_address_has_one_spelling(text: str, plain: str) -> None:
    parsed = parse_address(text)
    assert parsed is not None
    assert parsed[0] == plain
    assert number_of(plain) == parsed[1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.4 ",
        "+1.2.3.4",
        "1.2.3.٤",
        "1::2::3",
        "g::1",
        "unix:",
        "a",
        "...",
    ],
)
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None
    assert text not in AddressSet([ip_network("0.0.0.0/0"), ip_network("::/0")])


@given(st.text(alphabet="0123456789.:abf", max_size=16))
def test_addresses_are_read_as_the_standard_library_reads_them(text: str) -> None:
    try:
        expected: IPv4Address | IPv6Address | None = ip_address(text)
    except ValueError:
        expected = None
    assert (parse_address(text) is None) == (expected is None)


ADDRESSES = st.one_of(
    st.ip_addresses(v=4), st.ip_addresses(v=6), st.integers(0, 2**33).map(lambda n: IPv6Address(0xFFFE << 32 | n))
)


@st.composite
def networks(draw: st.DrawFn, near: IPv4Address | IPv6Address) -> Network:
    address = draw(st.one_of(st.just(near), ADDRESSES))
    return ip_network((address, draw(st.integers(0, address.max_prefixlen))), strict=False)


@given(st.data(), ADDRESSES)
def test_a_set_holds_what_its_networks_hold(data: st.DataObject, address: IPv4Address | IPv6Address) -> None:
    members = data.draw(st.lists(networks(address), max_size=4))
    plain = getattr(address, "ipv4_mapped", None) or address
    expected = any(plain in network for network in members)
    if plain.version == 4:
        mapped = IPv6Address(0xFFFF << 32 | int(plain))
        expected = expected or any(mapped in n for n in members if n.version == 6 and n.prefixlen >= 96)
    assert (str(address) in AddressSet(members)) is expected


def test_ipv6_networks_hold_no_ipv4() -> None:
    assert "10.0.0.1" not in AddressSet([ip_network("::/0")])
    assert "::ffff:10.0.0.1" not in AddressSet([ip_network("::/0")])
    assert "10.0.0.1" in AddressSet([ip_network("::ffff:10.0.0.0/104")])
    assert "::1" not in AddressSet([ip_network("0.0.0.0/0")])


def test_an_empty_set_is_false() -> None:
    assert not AddressSet()
    assert AddressSet([ip_network("10.0.0.0/8")])


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"Example.COM", b"example.com"),
        (b"example.com:80", b"example.com"),
        (b"example.com.", b"example.com"),
        (b"example.com.:443", b"example.com"),
        (b"[2001:DB8::0:1]:80", b"[2001:db8::1]"),
        (b"[::1]", b"[::1]"),
        (b"[v1.x]:1", b"[v1.x]"),
        (b"", b""),
        (b":80", b""),
    ],
)
def test_a_host_is_compared_in_one_form(authority: bytes, host: bytes) -> None:
    assert host_of(authority) == host
    assert host_of(host) == host

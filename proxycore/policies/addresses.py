"""IP addresses as numbers, and sets of networks that cost the same whether they hold ten or 100,000."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

_IS_V4 = 1 << 128
_LAST_32_BITS = 0xFFFFFFFF


def number_of(address: str) -> int | None:
    """A number for each address, IPv4 above all of IPv6; None for what is no address.

    `10.0.0.1` and `::ffff:10.0.0.1`, as a socket for both families reports it, are one address. A scope
    (`fe80::1%eth0`) is left out: it tells on which link, not who.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return _IS_V4 | int(parsed) if parsed.version == 4 else _as_v4_if_mapped(int(parsed))


def _as_v4_if_mapped(number: int) -> int:
    return _IS_V4 | number & _LAST_32_BITS if number >> 32 == 0xFFFF else number


def plain_form(address: str) -> str | None:
    """The one way in which we write an address: no scope, IPv4 as IPv4; None for what is no address."""
    number = number_of(address)
    if number is None:
        return None
    if number & _IS_V4:
        return f"{number >> 24 & 255}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return str(IPv6Address(number))


class AddressSet:
    """A set of networks. `address in networks` costs one look-up for each prefix length that occurs.

    A network of IPv6 holds no IPv4 address, `::/0` included, unless it lies in `::ffff:0:0/96`.
    """

    __slots__ = ("_by_shift",)

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        by_shift: dict[int, set[int]] = {}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            first = int(network.network_address)
            if network.version == 4:
                first |= _IS_V4
            elif shift <= 32:
                first = _as_v4_if_mapped(first)
            by_shift.setdefault(shift, set()).add(first >> shift)
        self._by_shift = tuple((shift, frozenset(by_shift[shift])) for shift in sorted(by_shift))

    def __contains__(self, address: str) -> bool:
        number = number_of(address)
        return number is not None and self.has_number(number)

    def has_number(self, number: int) -> bool:
        """Whether the address of that number is in the set; see `number_of`."""
        return any(number >> shift in firsts for shift, firsts in self._by_shift)

    def __bool__(self) -> bool:
        return bool(self._by_shift)

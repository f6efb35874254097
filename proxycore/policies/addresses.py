"""IP addresses as numbers, and sets of networks that cost the same whether they hold ten or 100,000."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

_IS_V4 = 1 << 128
_MAPPED_PREFIX = 0xFFFF
_LAST_32_BITS = 0xFFFFFFFF
_OCTETS = {str(octet): octet for octet in range(256)}
_V4_SHIFTS = {"": 0, **{str(prefix): 32 - prefix for prefix in range(33)}}


def parse_address(text: str) -> tuple[str, int] | None:
    """An address as we write it, and its number; None for what is no address.

    Numbers put IPv4 above all of IPv6. `10.0.0.1` and `::ffff:10.0.0.1`, as a socket for both families
    reports it, are one address. A scope (`fe80::1%eth0`) is left out: it tells on which link, not who.
    """
    if ":" not in text:
        number = _parse_v4(text)
        return None if number is None else (text, _IS_V4 | number)
    try:
        number = int(IPv6Address(text))
    except ValueError:
        return None
    if number >> 32 == _MAPPED_PREFIX:
        number &= _LAST_32_BITS
        return str(IPv4Address(number)), _IS_V4 | number
    return str(IPv6Address(number)), number


def _parse_v4(text: str) -> int | None:
    # A tenth of what `ipaddress.IPv4Address` costs, and as strict: an octet has one spelling, without leading zeros.
    octets = [_OCTETS.get(part, -1) for part in text.split(".")]
    if len(octets) != 4 or -1 in octets:
        return None
    return int.from_bytes(octets)


def number_of(address: str) -> int | None:
    """The number of an address (see `parse_address`)."""
    parsed = parse_address(address)
    return None if parsed is None else parsed[1]


class AddressSet:
    """A set of networks. `address in networks` costs one look-up for each prefix length that occurs.

    A network of IPv6 holds no IPv4 address, `::/0` included, unless it lies in `::ffff:0:0/96`.
    """

    __slots__ = ("_by_shift",)

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._file(map(_range_of, networks))

    @classmethod
    def from_lines(cls, text: str) -> AddressSet:
        """The networks of a list: one a line, in CIDR form or a single address; `#` begins a comment.

        Raises `ValueError` that names the line.
        """
        addresses = cls()
        addresses._file(_ranges_of_lines(text))
        return addresses

    def _file(self, ranges: Iterable[tuple[int, int]]) -> None:
        by_shift: dict[int, set[int]] = {}
        for first, shift in ranges:
            by_shift.setdefault(shift, set()).add(first >> shift)
        self._by_shift = tuple((shift, frozenset(by_shift[shift])) for shift in sorted(by_shift))

    def __contains__(self, address: str) -> bool:
        number = number_of(address)
        return number is not None and self.has_number(number)

    def has_number(self, number: int) -> bool:
        """Whether the address of that number is in the set; see `parse_address`."""
        for shift, firsts in self._by_shift:  # noqa: SIM110 - `any` costs twice as much
            if number >> shift in firsts:
                return True
        return False

    def __bool__(self) -> bool:
        return bool(self._by_shift)


def _range_of(network: IPv4Network | IPv6Network) -> tuple[int, int]:
    """The number of a network's first address, and how many bits behind its prefix are free."""
    shift = network.max_prefixlen - network.prefixlen
    first = int(network.network_address)
    if network.version == 4:
        first |= _IS_V4
    elif shift <= 32 and first >> 32 == _MAPPED_PREFIX:
        first = _IS_V4 | first & _LAST_32_BITS
    return first, shift


def _ranges_of_lines(text: str) -> Iterator[tuple[int, int]]:
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        address, _, prefix = entry.partition("/")
        first = _parse_v4(address)
        if first is not None and prefix in _V4_SHIFTS:
            # Lists of addresses run to 100,000 lines, and `ipaddress` takes ten times as long for each.
            shift = _V4_SHIFTS[prefix]
            if first & ((1 << shift) - 1):
                raise ValueError(f"line {number}: {entry} has bits set behind its prefix")
            yield _IS_V4 | first, shift
            continue
        try:
            yield _range_of(ip_network(entry))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None

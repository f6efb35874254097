"""Hosts as decisions see them, and the one that an origin is told."""

from __future__ import annotations

from collections.abc import Iterable

from proxycore.policies.addresses import parse_address


class HostPatterns:
    """Hosts as configurations name them: `*.example.com` is every host below example.com, at any depth, not itself."""

    __slots__ = ("exact", "suffixes")

    def __init__(self, patterns: Iterable[str]) -> None:
        hosts = [host_of(pattern.encode()) for pattern in patterns]
        self.exact = frozenset(host for host in hosts if host[:2] != b"*.")
        self.suffixes = tuple(host[1:] for host in hosts if host[:2] == b"*.")

    def match(self, host: bytes) -> bool:
        """Whether `host`, as `host_of` gives it, is one of these."""
        return host in self.exact or host.endswith(self.suffixes)


def host_of(authority: bytes) -> bytes:
    """The host of an authority in the form in which hosts are compared.

    Lower case (RFC 9110 section 4.2.3), no port, no trailing dot (`example.com.` is the same name), and
    an IPv6 address in its shortest form.
    """
    host = authority.lower()
    if host[:1] == b"[":
        return _shortest(host[: host.rfind(b"]") + 1])
    colon = host.rfind(b":")
    if colon >= 0:
        host = host[:colon]
    return host[:-1] if host[-1:] == b"." else host


def _shortest(literal: bytes) -> bytes:
    parsed = parse_address(literal[1:-1].decode("ascii", "replace"))
    return f"[{parsed[0]}]".encode() if parsed else literal

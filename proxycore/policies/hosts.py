"""Hosts as decisions see them, and the one that an origin is told."""

from __future__ import annotations

from proxycore.policies.addresses import parse_address


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

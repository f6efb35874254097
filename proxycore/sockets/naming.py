"""Addresses and errors of sockets, as plain values that can be recorded and compared."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from proxycore.words.ids import Address

_MAPPED = "::ffff:"


def address_of(name: Any) -> Address:
    """What `getpeername`, `getsockname` or `accept` said, as an `Address`.

    The scope of a link-local address goes, and an IPv4 address mapped into IPv6 (RFC 4291 section
    2.5.5.2) is what it was, so that a rule for 10.0.0.0/8 holds on every listener.
    """
    if isinstance(name, tuple):
        host = name[0]
        if ":" in host:
            host = host.partition("%")[0]
            if host.startswith(_MAPPED) and "." in host:
                host = host[len(_MAPPED) :]
        return host, name[1]
    return os.fsdecode(name)


def family_of(address: Address) -> socket.AddressFamily:
    """The family of sockets that reaches `address`."""
    if isinstance(address, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def error_name(error: OSError | int) -> str:
    """The name of an errno: the same on every platform, and readable in a log."""
    number = error if isinstance(error, int) else error.errno
    return errno.errorcode.get(number or errno.EIO, "EIO")

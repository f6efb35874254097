"""An authority of the tests' own, and contexts with certificates of it: made once, since keys take time."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from functools import cache

import trustme

OURS = "ours"


@cache
def _authority(name: str) -> trustme.CA:
    return trustme.CA(organization_name=name)


def authority(name: str = OURS) -> trustme.CA:
    """The authority that everything here trusts, or another one."""
    return _authority(name)


@cache
def leaf(*hosts: str, by: str = OURS, expired: bool = False) -> trustme.LeafCert:
    """A certificate for `hosts`, which are also the subject's common name."""
    until = datetime(2020, 1, 1, tzinfo=UTC) if expired else None
    return authority(by).issue_cert(
        *hosts, common_name=hosts[0], not_before=datetime(2019, 1, 1, tzinfo=UTC), not_after=until
    )


def server_context(*hosts: str, protocols: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
    """A server's, with a certificate for `hosts`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf(*hosts or ("localhost",)).configure_cert(context)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def client_context(*, protocols: tuple[str, ...] = ("http/1.1",), version: str = "1.3") -> ssl.SSLContext:
    """A client's that trusts our authority and speaks TLS up to `version`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    if version == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if protocols:
        context.set_alpn_protocols(protocols)
    return context

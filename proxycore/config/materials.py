"""What the program read for a configuration, since the core reads no files: contents, not paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ssl import SSLContext


class Networks(Protocol):
    """A list of networks, made ready: `policies.addresses.AddressSet.from_lines` makes one of a file's text."""

    def has_number(self, number: int) -> bool: ...


def _nothing() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Materials:
    """Contents by what names them in the configuration.

    `error_pages` are HTML documents by status; `networks` the lists that `access` names, by file; `sticky_secrets` what
    cookies of `sticky` are signed with, by file. `users` are hashes of passwords by name, `api_keys` names by the
    SHA-256 of the key, `key_sets` lists of JSON Web Keys, all three by file; `policies.auth` parses such files.

    `listener_tls` are the contexts that listeners with TLS shake hands under, `upstream_tls` those for servers by
    https, each by the name of its listener or upstream; `dashboard_tls` is that of `[admin]`. They must be complete:
    certificates, versions, protocols (ALPN), and whom they trust. `tls_is_outside`: whoever drives the core speaks TLS
    itself, or nobody does, and the core is told plaintext; no context is needed then. So do the testing kit and
    recordings.
    """

    error_pages: Mapping[int, bytes] = field(default_factory=_nothing)
    networks: Mapping[str, Networks] = field(default_factory=_nothing)
    sticky_secrets: Mapping[str, bytes] = field(default_factory=_nothing)
    users: Mapping[str, Mapping[str, str]] = field(default_factory=_nothing)
    api_keys: Mapping[str, Mapping[bytes, str]] = field(default_factory=_nothing)
    key_sets: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=_nothing)
    listener_tls: Mapping[str, SSLContext] = field(default_factory=_nothing)
    upstream_tls: Mapping[str, SSLContext] = field(default_factory=_nothing)
    dashboard_tls: SSLContext | None = None
    tls_is_outside: bool = False

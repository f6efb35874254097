"""Addresses as they are written: where a listener binds, and where a server is."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

from proxycore.config.problems import Invalid
from proxycore.words.ids import Address

_NAME_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_ALL_DIGITS = re.compile(r"[0-9.]+", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Where to listen: `tcp` with host and port (0: any free one), `unix` with path, `fd` with an inherited one."""

    kind: Literal["tcp", "unix", "fd"]
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it. What an inherited descriptor is bound to isn't known here."""
        if self.kind == "tcp":
            return self.host == "localhost" or (is_ip(self.host) and ipaddress.ip_address(self.host).is_loopback)
        return self.kind == "unix"


def parse_bind(text: str) -> Bind:
    """Where "127.0.0.1:8080", "[::]:80", "unix:/run/proxycore.sock" or "fd:3" listens. Raises `Invalid`."""
    if text.startswith("unix:"):
        return Bind(kind="unix", path=_unix_path(text))
    if text.startswith("fd:"):
        number = text.removeprefix("fd:")
        if not re.fullmatch("[0-9]{1,6}", number, re.ASCII):
            raise Invalid(f'"{number}" is no file descriptor such as "fd:3"')
        return Bind(kind="fd", fd=int(number))
    if scheme := _SCHEME.match(text):
        raise Invalid("an address to listen on has no scheme", text[scheme.end() :].rstrip("/"))
    if _PORT.fullmatch(text):
        raise Invalid("an address to listen on needs a host", f"127.0.0.1:{text}")
    if text.startswith(":") and not text.startswith("::"):
        raise Invalid("an address to listen on needs a host (0.0.0.0 and [::] are all of them)", f"0.0.0.0{text}")
    host, port = _split_authority(text)
    if port is None:
        raise Invalid("an address to listen on needs a port", f"{text}:80" if text else None)
    if host == "*":
        raise Invalid('"*" is no host (0.0.0.0 and [::] are all of them)', f"0.0.0.0:{port}")
    check_host(host)
    return Bind(kind="tcp", host=host, port=port)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUrl:
    """Where a server is: scheme, and host with port, or the path of its Unix socket."""

    scheme: Literal["http", "https"]
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def address(self) -> Address:
        """`(host, port)`, where the host may be a name still to be looked up, or the path of a Unix socket."""
        return self.path or (self.host, self.port)

    @property
    def authority(self) -> str:
        """Its own Host header: the port only where it isn't the scheme's; `localhost` for a Unix socket."""
        if self.path:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def needs_lookup(self) -> bool:
        """Whether the host is a name."""
        return not self.path and not is_ip(self.host)


def parse_server_url(text: str) -> ServerUrl:
    """Where "http://10.0.0.1:8080", "https://[::1]" or "unix:/run/app.sock" is. Raises `Invalid`."""
    if text.startswith("unix:"):
        return ServerUrl(scheme="http", path=_unix_path(text))
    match = _SCHEME.match(text)
    if match is None:
        raise Invalid(
            f'"{text}" is no url of a server (http://, https:// or unix:)', f"http://{text}" if text else None
        )
    scheme, rest = match[1].lower(), text[match.end() :]
    if scheme not in ("http", "https"):
        meant = {"h2c": "http", "ws": "http", "wss": "https", "h2": "https", "tcp": "http", "htp": "http"}.get(scheme)
        raise Invalid(f'a server is reached by http, https or unix, not by "{scheme}"', meant and f"{meant}://{rest}")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise Invalid("a server's url holds no user or password", f"{scheme}://{authority.rpartition('@')[2]}")
    if authority != rest:
        raise Invalid("a server's url ends with its port (rewrite in a route changes paths)", f"{scheme}://{authority}")
    host, port = _split_authority(authority, f"{scheme}://")
    check_host(host)
    if port == 0:
        raise Invalid("a server has no port 0")
    return ServerUrl(scheme="https" if scheme == "https" else "http", host=host, port=port or _DEFAULT_PORTS[scheme])


def is_ip(host: str) -> bool:
    """Whether a host is an address and no name. One with a scope (fe80::1%eth0) isn't: it means nothing elsewhere."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def check_host(host: str) -> None:
    """Raise `Invalid` unless `host` is an IP address without brackets, or a name that could be looked up."""
    if is_ip(host):
        return
    if not host:
        raise Invalid("the host is missing")
    if not host.isascii():
        raise Invalid(f'"{host}" isn\'t written in ASCII', _ascii_host(host))
    labels = host.removesuffix(".").split(".")
    if _ALL_DIGITS.fullmatch(host) or len(host) > 253 or not all(map(_NAME_LABEL.fullmatch, labels)):
        raise Invalid(f'"{host}" is no host name and no address')


def check_host_in_url(host: str) -> None:
    """As `check_host`, but an IPv6 address stands in brackets, as it does in a URL and in Host."""
    if host.startswith("[") and host.endswith("]") and ":" in host:
        check_host(host[1:-1])
    elif ":" in host and is_ip(host):
        raise Invalid("an IPv6 address stands in brackets", f"[{host}]")
    else:
        check_host(host)


def _ascii_host(host: str) -> str | None:
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return None


def _unix_path(text: str) -> str:
    path = text.removeprefix("unix:")
    if path.startswith("//"):
        raise Invalid(f'"{text}" has too many slashes', f"unix:/{path.lstrip('/')}")
    # A relative path would mean another socket from another directory, and macOS takes no more than 103 bytes.
    if not path.startswith("/") or "\0" in path or len(path) == 1:
        raise Invalid(f'"{text}" is no Unix socket such as "unix:/run/proxycore.sock"')
    if len(path.encode(errors="surrogatepass")) > 103:
        raise Invalid("the path of a Unix socket has at most 103 bytes")
    return path


def _split_authority(authority: str, prefix: str = "") -> tuple[str, int | None]:
    """Host without brackets, and port or None. `prefix` is what stood before it, for the suggestion."""
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        if not bracket or ":" not in host or not is_ip(host) or (rest and not rest.startswith(":")):
            raise Invalid(f'"{authority}" is no IPv6 address in brackets')
        return host, _parse_port(rest[1:]) if rest else None
    host, colon, port = authority.rpartition(":")
    if not colon:
        return authority, None
    if ":" in host:
        meant = f"[{host}]:{port}" if is_ip(host) else f"[{authority}]" if is_ip(authority) else None
        raise Invalid("an IPv6 address stands in brackets", meant and prefix + meant)
    return host, _parse_port(port)


def _parse_port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65_535:
        raise Invalid(f'"{text}" is no port: those are numbers up to 65535')
    return int(text)

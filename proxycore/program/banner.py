"""What the program says on standard error when it has started."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from proxycore import __version__
from proxycore.config import Config, Listener, Upstream
from proxycore.words.ids import Address

SERVERS_SHOWN = 4


def banner(source: str, config: Config, addresses: Mapping[str, Sequence[Address]], runtime: str) -> str:
    """What is served, where, and how to stop it."""
    lines = [f"proxycore {__version__} serves {source} on {runtime}, process {os.getpid()}"]
    width = max(len(name) for name in (*addresses, *config.upstreams))
    for listener in config.listeners:
        urls = "  ".join(url_of(address, listener) for address in addresses.get(listener.name, ()))
        lines.append(f"  listener {listener.name:{width}}  {urls}")
    lines += [f"  upstream {upstream.name:{width}}  {_servers(upstream)}" for upstream in config.upstreams.values()]
    lines.append("Ctrl-C or SIGTERM stops it, SIGHUP reloads it, SIGUSR1 opens its log files anew")
    return "\n".join(lines)


def url_of(address: Address, listener: Listener) -> str:
    """Where a client goes."""
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"{'http' if listener.tls is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"


def _servers(upstream: Upstream) -> str:
    urls = [server.url for server in upstream.servers[:SERVERS_SHOWN]]
    more = len(upstream.servers) - len(urls)
    return "  ".join(urls) + (f"  and {more} more" if more else "")

"""What the program says on standard error when it has started."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from proxycore import __version__
from proxycore.config import Config, Upstream
from proxycore.words.ids import Address

SERVERS_SHOWN = 4


def banner(
    source: str,
    config: Config,
    addresses: Mapping[str, Sequence[Address]],
    runtime: str,
    dashboard: Address | None = None,
) -> str:
    """What is served, where, and how to stop it."""
    lines = [f"proxycore {__version__} serves {source} on {runtime}, process {os.getpid()}"]
    width = max(len(name) for name in (*addresses, *config.upstreams))
    for listener in config.listeners:
        urls = "  ".join(
            url_of(address, is_secure=listener.tls is not None) for address in addresses.get(listener.name, ())
        )
        lines.append(f"  listener {listener.name:{width}}  {urls}")
    lines += [f"  upstream {upstream.name:{width}}  {_servers(upstream)}" for upstream in config.upstreams.values()]
    if dashboard is not None:
        is_secure = config.admin is not None and config.admin.tls is not None
        lines.append(f"  dashboard{' ' * width}  {url_of(dashboard, is_secure=is_secure)}")
    lines.append("Ctrl-C or SIGTERM stops it, SIGHUP reloads it, SIGUSR1 opens its log files anew")
    return "\n".join(lines)


def url_of(address: Address, *, is_secure: bool) -> str:
    """Where a client goes."""
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"{'https' if is_secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _servers(upstream: Upstream) -> str:
    urls = [server.url for server in upstream.servers[:SERVERS_SHOWN]]
    more = len(upstream.servers) - len(urls)
    return "  ".join(urls) + (f"  and {more} more" if more else "")

"""What the configuration can say and this version can't do yet: refused loudly, never ignored.

A key that guards something (`jwt`, `waf`) and is read but not enforced would be a hole. So a
configuration that loads may still be refused here, with every such key named at once. Whoever builds
a feature deletes its lines; the last one deletes the module.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxycore.config import Config, ConfigError, Listener, Problem, Route, Upstream

_ROUTE_KEYS = (
    "forward_auth",
    "waf",
)


def check_built(config: Config) -> None:
    """Raise ConfigError if `config` asks for what can't be served yet."""
    places = [
        *_process(config),
        *(place for listener in config.listeners for place in _listener(listener)),
        *(place for upstream in config.upstreams.values() for place in _upstream(upstream)),
        *(place for route in config.routes for place in _route(route)),
    ]
    if places:
        message = "this version of proxycore can't do that yet; take the key out to serve without it"
        raise ConfigError([Problem("configuration", None, place, message) for place in places])


def _process(config: Config) -> Iterator[str]:
    if config.admin is not None:
        if config.workers != 1:
            yield "admin: with several workers"
        if config.admin.tls is not None:
            yield "admin.tls"


def _listener(listener: Listener) -> Iterator[str]:
    if listener.tls is not None:
        yield f'listeners "{listener.name}".tls'


def _upstream(upstream: Upstream) -> Iterator[str]:
    place = f"upstreams.{upstream.name}"
    for server in upstream.servers:
        if server.scheme == "https":
            yield f'{place}.servers "{server.name}": https'


def _route(route: Route) -> Iterator[str]:
    for key in _ROUTE_KEYS:
        if getattr(route, key):
            yield f'routes "{route.name}".{key}'

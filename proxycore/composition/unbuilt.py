"""What the configuration can say and this version can't do yet: refused loudly, never ignored.

A key that guards something (`jwt`, `waf`) and is read but not enforced would be a hole. So a
configuration that loads may still be refused here, with every such key named at once. Whoever builds
a feature deletes its lines; the last one deletes the module.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxycore.config import Config, ConfigError, Problem


def check_built(config: Config) -> None:
    """Raise ConfigError if `config` asks for what can't be served yet."""
    places = list(_process(config))
    if places:
        message = "this version of proxycore can't do that yet; take the key out to serve without it"
        raise ConfigError([Problem("configuration", None, place, message) for place in places])


def _process(config: Config) -> Iterator[str]:
    if config.admin is not None and config.workers != 1:
        yield "admin: with several workers"

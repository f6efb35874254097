"""What an operator tells a running core (`Core.commanded`): plain values, laid over the configuration.

Those about servers last as long as the process and outlive a reload: a server that was drained stays so until it is
enabled, or gone from the configuration. What they do to an upstream's servers is one pure function,
`policies.operating.obey`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final, Literal


class CommandRefused(ValueError):
    """A command can't be obeyed, and nothing was changed. Its text is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """A command for one server, named as in the configuration, of an upstream."""

    upstream: str
    server: str


@dataclass(frozen=True, slots=True)
class AddServer(ServerCommand):
    """Add a server, with `settings` as in the configuration: at least its `url`."""

    settings: Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class RemoveServer(ServerCommand):
    """Take a server out, also one that the configuration has: it finishes what it has."""


@dataclass(frozen=True, slots=True)
class DrainServer(ServerCommand):
    """A server finishes what it has and takes nothing new but its sticky sessions, if `sticky.while_draining`."""


@dataclass(frozen=True, slots=True)
class DisableServer(ServerCommand):
    """A server finishes what it has and takes nothing new."""


@dataclass(frozen=True, slots=True)
class EnableServer(ServerCommand):
    """A server takes its share again: the end of `DrainServer` and `DisableServer`."""


@dataclass(frozen=True, slots=True)
class WeighServer(ServerCommand):
    """A server takes another share from now on; 0 takes nothing new."""

    weight: int


PurgeKind = Literal["url", "prefix", "host", "tag"]

_WHOLE_URL = re.compile(r"https?://[^/\s]+(?:/\S*)?\Z", re.IGNORECASE)
_HOST = re.compile(r"(?:[^/:\s]+|\[[^/\s]+\])\Z")


@dataclass(frozen=True, slots=True)
class Purge:
    """Remove stored responses from all caches. `what` is one URL, the beginning of URLs, a host without port, or a tag.

    URLs are whole, `https://example.com/path?query`, with the scheme that clients use. Raises CommandRefused for what
    no stored response can have.
    """

    kind: PurgeKind
    what: str

    def __post_init__(self) -> None:
        if self.kind in ("url", "prefix"):
            if not _WHOLE_URL.match(self.what):
                raise CommandRefused(f'"{self.what}" is no whole URL, such as https://example.com/path')
        elif self.kind == "host":
            if not _HOST.match(self.what):
                raise CommandRefused(f'"{self.what}" is no host without port, such as example.com')
        elif not self.what.strip():
            raise CommandRefused("a tag can't be empty")


Command = ServerCommand | Purge
"""All that `Core.commanded` obeys."""

_BY_NAME: Final[Mapping[str, type[ServerCommand]]] = MappingProxyType(
    {kind.__name__: kind for kind in (AddServer, RemoveServer, DrainServer, DisableServer, EnableServer, WeighServer)}
)


def command_as_dict(command: ServerCommand) -> dict[str, Any]:
    """Plain values, to send to another process: `command_from_dict` reads them."""
    return {"command": type(command).__name__, **asdict(command)}


def command_from_dict(values: Mapping[str, Any]) -> ServerCommand:
    """The command that `command_as_dict` wrote."""
    arguments = dict(values)
    return _BY_NAME[arguments.pop("command")](**arguments)

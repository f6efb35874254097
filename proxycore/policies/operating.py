"""What an operator ordered of an upstream's servers at run time, laid over its configuration.

`obey` takes a command into the orders, `standing` says which servers there are under them. Both are pure: a reload
changes the configuration below, and an order lives as long as its server does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from proxycore.config import ConfigError, Server
from proxycore.config.sections import options_of
from proxycore.words.commands import (
    AddServer,
    CommandRefused,
    DisableServer,
    DrainServer,
    EnableServer,
    RemoveServer,
    ServerCommand,
    WeighServer,
)

Mode = Literal["enabled", "drained", "disabled"]

_MODES: Final[Mapping[type[ServerCommand], Mode]] = MappingProxyType(
    {EnableServer: "enabled", DrainServer: "drained", DisableServer: "disabled"}
)
_COMMANDS: Final[Mapping[Mode, type[ServerCommand]]] = MappingProxyType({mode: kind for kind, mode in _MODES.items()})


@dataclass(frozen=True, slots=True)
class Order:
    """All that was ordered of one server. `added` is the server itself, where the configuration has it otherwise."""

    added: Server | None = None
    is_removed: bool = False
    mode: Mode = "enabled"
    weight: int | None = None


Orders = Mapping[str, Order]
"""By the server's name."""

NOTHING: Final[Orders] = MappingProxyType({})


class Standing(NamedTuple):
    """A server as it stands: `server` has the weight that was ordered."""

    server: Server
    mode: Mode


def standing(configured: Sequence[Server], orders: Orders) -> list[Standing]:
    """The servers that there are: the configuration's in their order, then those that were added."""
    names = {server.name for server in configured}
    servers = [*configured, *(o.added for name, o in orders.items() if o.added is not None and name not in names)]
    return [
        _under(server, orders.get(server.name, _NO_ORDER))
        for server in servers
        if not orders.get(server.name, _NO_ORDER).is_removed
    ]


_NO_ORDER: Final = Order()


def _under(server: Server, order: Order) -> Standing:
    server = order.added or server
    return Standing(server if order.weight is None else replace(server, weight=order.weight), order.mode)


def obey(orders: Orders, configured: Sequence[Server], command: ServerCommand) -> Orders:
    """The orders once `command` is among them. Raises CommandRefused."""
    name = command.server
    there = {stand.server.name for stand in standing(configured, orders)}
    if isinstance(command, AddServer):
        if name in there:
            raise CommandRefused(f'there is a server "{name}" already')
        return _with(orders, name, Order(added=_server_of(command)))
    if name not in there:
        raise CommandRefused(f'there is no server "{name}"; there are: {", ".join(sorted(there)) or "none"}')
    order = orders.get(name, _NO_ORDER)
    if isinstance(command, RemoveServer):
        is_configured = any(server.name == name for server in configured)
        return _with(orders, name, Order(is_removed=True) if is_configured else _NO_ORDER)
    if isinstance(command, WeighServer):
        try:
            Server(url="http://any", weight=command.weight)
        except ConfigError as error:
            raise CommandRefused(error.problems[0].message) from None
        return _with(orders, name, replace(order, weight=command.weight))
    return _with(orders, name, replace(order, mode=_MODES[type(command)]))


def _server_of(command: AddServer) -> Server:
    try:
        return Server(**{**command.settings, "name": command.server})  # type: ignore[arg-type]
    except (ConfigError, TypeError) as error:
        reason = "; ".join(map(str, error.problems)) if isinstance(error, ConfigError) else str(error)
        raise CommandRefused(f'"{command.server}" is no server: {reason}') from None


def _with(orders: Orders, name: str, order: Order) -> Orders:
    others = {other: ordered for other, ordered in orders.items() if other != name}
    return MappingProxyType(others if order == _NO_ORDER else {**others, name: order})


def commands(upstream: str, orders: Orders, configured: Sequence[Server]) -> Iterator[ServerCommand]:
    """What brings an upstream of the same configuration, and no orders yet, to these."""
    names = {server.name for server in configured}
    for name, order in orders.items():
        if order.is_removed or (order.added is not None and name in names):
            yield RemoveServer(upstream, name)
        if order.added is not None:
            yield AddServer(upstream, name, _settings_of(order.added))
        if order.weight is not None:
            yield WeighServer(upstream, name, order.weight)
        if order.mode != "enabled":
            yield _COMMANDS[order.mode](upstream, name)


def _settings_of(server: Server) -> dict[str, str | int | bool]:
    """The settings that `_server_of` makes the same server of."""
    plain = Server(url="http://any")
    values = {option.attribute: getattr(server, option.attribute) for option in options_of(Server)}
    return {key: value for key, value in values.items() if key == "url" or value != getattr(plain, key)}


def kept(orders: Orders, configured: Sequence[Server], before: Sequence[Server]) -> Orders:
    """The orders that survive a reload: all but those of servers that it took out."""
    gone = {server.name for server in before} - {server.name for server in configured}
    return MappingProxyType({n: o for n, o in orders.items() if n not in gone or o.added is not None})

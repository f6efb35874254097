"""From the name of a server to addresses that can be dialled, looked up again without a gap.

A name is looked up once for all servers that share it. While a refresh is under way, and when it
fails, the addresses known before stay in use; only who comes before the first answer waits.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from proxycore.config import Server
from proxycore.mechanisms.timers import Timer
from proxycore.words.effects import Cancel, Resolve
from proxycore.words.ids import Address, LookupId

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine

RETRY_SECONDS = 1.0
"""After a failed look-up of a name that has no addresses yet."""


class Name:
    """One host and port, and what it stands for. A literal address or a Unix socket needs no look-up."""

    __slots__ = (
        "_clock",
        "_engine",
        "_followers",
        "_lookup",
        "_turn",
        "_waiting",
        "addresses",
        "error",
        "host",
        "port",
    )

    def __init__(self, engine: Engine, host: str, port: int, addresses: tuple[Address, ...] = ()) -> None:
        self._engine = engine
        self.host = host
        self.port = port
        self.addresses = addresses
        self.error = ""
        self._turn = 0
        self._lookup: LookupId | None = None
        self._waiting: dict[int, Callable[[], None]] = {}
        self._followers: dict[Callable[[], None], None] = {}
        self._clock: Timer | None = None
        if not addresses:
            # Looked up as soon as the core's clock runs, so that the first request need not wait.
            self._clock = Timer(engine.timers, self._look_up)
            self._clock.set(engine.now)

    @property
    def is_armed(self) -> bool:
        return self._clock is not None and self._clock.at != inf

    def rotation(self) -> list[Address]:
        """The addresses in the order to try them: each call begins with the next one, so all get their share."""
        if len(self.addresses) < 2:
            return list(self.addresses)
        self._turn = (self._turn + 1) % len(self.addresses)
        return [*self.addresses[self._turn :], *self.addresses[: self._turn]]

    def wait(self, who: int, told: Callable[[], None]) -> None:
        """Call `told` once there are addresses, or an `error`. `leave` takes it back."""
        self._waiting[who] = told
        self._look_up()

    def leave(self, who: int) -> None:
        self._waiting.pop(who, None)

    def follow(self, told: Callable[[], None]) -> None:
        """Call `told` whenever the addresses have become others, as long as this name is in use."""
        self._followers[told] = None

    def _look_up(self) -> None:
        if self._lookup is None:
            self._lookup = LookupId(self._engine.mint())
            self._engine.lookups[self._lookup] = self
            self._engine.effects.append(Resolve(self._lookup, self.host, self.port))

    def completed(self, result: object) -> None:
        self._lookup = None
        assert isinstance(result, tuple)
        if not result:
            return self.failed("the name has no address")
        found = tuple((address, self.port) for address in dict.fromkeys(result))
        is_changed = set(found) != set(self.addresses)
        if is_changed:
            # Those that stay keep their places: resolvers turn the order with each answer.
            staying = tuple(address for address in self.addresses if address in found)
            self.addresses = (*staying, *(address for address in found if address not in staying))
        self.error = ""
        self._rearm(self._engine.plan.config.dns.refresh)
        self._tell()
        if is_changed:
            for told in list(self._followers):
                told()

    def failed(self, error: str) -> None:
        """Whoever waits is told of it; addresses that were known stay in use."""
        self._lookup = None
        self.error = error
        self._rearm(self._engine.plan.config.dns.refresh if self.addresses else RETRY_SECONDS)
        self._tell()

    def close(self) -> None:
        """No server uses this name any more, but exchanges that are under way may still wait for it."""
        if self._clock is not None:
            self._clock.drop()
            self._clock = None
        if self._lookup is not None and not self._waiting:
            self._engine.effects.append(Cancel(self._lookup))

    def _rearm(self, seconds: float) -> None:
        if self._clock is not None:
            self._clock.set(self._engine.now + seconds)

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for told in waiting.values():
            told()

    def __repr__(self) -> str:
        return f"Name({self.host}:{self.port}, {self.addresses!r}, error={self.error!r}, waiting={len(self._waiting)})"


class Names:
    """All names in use, shared between upstreams."""

    __slots__ = ("_engine", "_names")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._names: dict[tuple[str, int], Name] = {}

    def place(self, server: Server) -> Name:
        """Where `server` is."""
        url = server.parsed_url
        key = (server.url, 0) if url.path else (url.host, url.port)
        name = self._names.get(key)
        if name is None:
            known = () if url.needs_lookup else (url.address,)
            name = self._names[key] = Name(self._engine, url.host, url.port, known)
        return name

    def literal(self, address: Address) -> Name:
        """The place of one address of a name."""
        assert isinstance(address, tuple)
        return Name(self._engine, *address, (address,))

    @property
    def armed_clocks(self) -> int:
        """Names that will be looked up again by themselves."""
        return sum(name.is_armed for name in self._names.values())

    def keep_only(self, used: set[int]) -> None:
        """Forget the names that no server uses, given the `id` of those that one does."""
        for key, name in list(self._names.items()):
            if id(name) not in used:
                name.close()
                del self._names[key]

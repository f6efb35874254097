"""What a server shows to be picked, and what all policies share: ranks, and a list of the servers that aren't full."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from random import Random
from typing import ClassVar, Final, Protocol

from proxycore.policies.trace import Trace

ATTEMPTS: Final = 16
"""Servers that a policy looks at before it settles for any that isn't full: 1 us, and enough while half can be used."""


class Candidate(Protocol):
    """What a server shows to be picked. All are read; the owner changes them and tells the balancer.

    `index` is unique among all servers that the upstream ever had, and `name` among those it has: keys are hashed
    onto names, so that all workers, and the next process, agree. `weight` is relative; a server of weight 0 isn't
    picked. It is below `full_weight` while the server starts slowly. `active` counts its exchanges in flight. `reason`
    says why it isn't available. `is_full` changes only with `active` or a `rebuild`.
    """

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def full_weight(self) -> float: ...
    @property
    def active(self) -> int: ...
    @property
    def backup(self) -> bool: ...
    @property
    def available(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def is_full(self) -> bool: ...


class Balancer(Protocol):
    """Picks servers of one upstream. One for each upstream: it keeps turns and loads."""

    def rebuild(self, servers: Sequence[Candidate]) -> None:
        """Take the servers, in their order. Call it when one came, went, or changed weight, limit or availability."""

    def pick(self, key: bytes | None, tried: Container[Candidate] = (), trace: Trace | None = None) -> Candidate | None:
        """The server for an exchange: available, not full, not in `tried`; None only if there is none such.

        `key` is what hash policies go by (a client's address, a URI, a header's value); others don't look at it. Call
        `started` with the answer once the exchange goes there.
        """

    @property
    def follows_load(self) -> bool:
        """Whether `started` and `ended` must be told each time; else only when the server's `is_full` changed."""

    def started(self, server: Candidate) -> None:
        """An exchange went to `server`, by this balancer's choice or not; its `active` has risen by one already."""

    def ended(self, server: Candidate, first_byte_seconds: float | None) -> None:
        """It is over; `active` has fallen by one already. None if no response began."""


class Tier:
    """Servers of one rank, and one way to pick among them.

    A policy overrides `pick` and `_arrange`, and where load matters `started` and `ended`.
    """

    reason: ClassVar[str]
    """Why a server is chosen, for the trace."""

    follows_load: ClassVar[bool] = True

    def __init__(self, random: Random) -> None:
        self._random = random
        self._usable: list[Candidate] = []

    def rebuild(self, servers: Sequence[Candidate]) -> None:
        """Take the servers of this rank, available or not."""
        self._usable = [server for server in servers if server.available and server.weight > 0]
        self._arrange(servers)

    def _arrange(self, servers: Sequence[Candidate]) -> None:
        """Prepare what `pick` goes by: from `servers`, or from those of them that are usable."""
        raise NotImplementedError

    def pick(self, key: bytes | None, tried: Container[Candidate]) -> Candidate | None:
        raise NotImplementedError

    def started(self, server: Candidate) -> None:
        raise NotImplementedError

    def ended(self, server: Candidate, first_byte_seconds: float | None) -> None:
        raise NotImplementedError

    def score(self, server: Candidate) -> str:
        """What the policy weighs of a server that can be picked, for the trace."""
        total = sum(usable.weight for usable in self._usable)
        return f"weight {server.weight:g} of {total:g}, {server.active} in flight"


class OpenTier(Tier):
    """A tier that knows its servers that aren't full, for when those that the policy prefers are."""

    follows_load = False

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._members: dict[int, Candidate] = {}
        self._open: list[Candidate] = []
        self._place: dict[int, int] = {}
        self._next_open = 0

    def rebuild(self, servers: Sequence[Candidate]) -> None:
        super().rebuild(servers)
        self._members = {server.index: server for server in self._usable}
        self._open = [server for server in self._usable if not server.is_full]
        self._place = {server.index: place for place, server in enumerate(self._open)}

    def started(self, server: Candidate) -> None:
        if not server.is_full or server.index not in self._place:
            return
        place = self._place.pop(server.index)
        last = self._open.pop()
        if last is not server:
            self._open[place] = last
            self._place[last.index] = place

    def ended(self, server: Candidate, first_byte_seconds: float | None) -> None:
        index = server.index
        if index not in self._place and index in self._members and not server.is_full:
            self._place[index] = len(self._open)
            self._open.append(server)

    def _any_open(self, tried: Container[Candidate]) -> Candidate | None:
        """Any server that can take an exchange, in turn: what is left when a policy's own choices can't."""
        count = len(self._open)
        for step in range(self._next_open, self._next_open + count):
            server = self._open[step % count]
            if server not in tried and not server.is_full:
                self._next_open = (step + 1) % count
                return server
        return None


class Tiered:
    """A `Balancer` that picks among the primaries, and among the backups when no primary can take the exchange."""

    def __init__(self, policy: Callable[[Random], Tier], random: Random) -> None:
        self._servers: list[Candidate] = []
        self._primaries = policy(random)
        self._backups = policy(random)
        self.follows_load = self._primaries.follows_load

    def rebuild(self, servers: Sequence[Candidate]) -> None:
        self._servers = list(servers)
        self._primaries.rebuild([server for server in servers if not server.backup])
        self._backups.rebuild([server for server in servers if server.backup])

    def pick(self, key: bytes | None, tried: Container[Candidate] = (), trace: Trace | None = None) -> Candidate | None:
        server = self._primaries.pick(key, tried)
        if server is None:
            server = self._backups.pick(key, tried)
        if trace is not None:
            self._explain(server, tried, trace)
        return server

    def started(self, server: Candidate) -> None:
        if server.backup:
            self._backups.started(server)
        else:
            self._primaries.started(server)

    def ended(self, server: Candidate, first_byte_seconds: float | None) -> None:
        if server.backup:
            self._backups.ended(server, first_byte_seconds)
        else:
            self._primaries.ended(server, first_byte_seconds)

    def _explain(self, chosen: Candidate | None, tried: Container[Candidate], trace: Trace) -> None:
        for server in self._servers:
            tier = self._backups if server.backup else self._primaries
            why_not = _why_not(server, tried)
            if why_not:
                trace.add("balance", "passed over", server.name, why_not)
            elif server.backup and chosen is not None and not chosen.backup:
                trace.add("balance", "passed over", server.name, "a backup, and a primary can take it")
            else:
                trace.add("balance", "candidate", server.name, tier.score(server))
        if chosen is None:
            trace.add("balance", "found none", "", "no server can take the exchange")
        elif chosen.backup:
            trace.add("balance", "chosen", chosen.name, f"no primary can take it; {self._backups.reason}")
        else:
            trace.add("balance", "chosen", chosen.name, self._primaries.reason)


def _why_not(server: Candidate, tried: Container[Candidate]) -> str:
    if not server.available:
        return server.reason or "not available"
    if server.weight <= 0:
        return "its weight is 0"
    if server in tried:
        return "tried already"
    return "at max_connections" if server.is_full else ""

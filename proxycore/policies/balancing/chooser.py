"""A policy of the user's own, in Python."""

from __future__ import annotations

from collections.abc import Container, Sequence
from random import Random
from typing import Protocol

from proxycore.policies.balancing.tiers import Candidate, Tier


class Chooser(Protocol):
    """A policy of the user's own: one method over who there is, given as `balance` in Python.

    What it sees of each server is a `Candidate`: `name`, `weight`, `active` ... It keeps what it likes between calls.
    """

    def choose(self, servers: Sequence[Candidate], key: bytes | None) -> Candidate | None:
        """One of `servers` (each can take the exchange; never empty), or None for none of them."""


class Own(Tier):
    """What a `Chooser` says. It gets a list made for each pick: its cost grows with the number of servers."""

    reason = "the answer of a policy of the user's own"

    def __init__(self, chooser: Chooser, random: Random) -> None:
        super().__init__(random)
        self._chooser = chooser

    def _arrange(self, servers: Sequence[Candidate]) -> None:
        """Nothing is known before."""

    def pick(self, key: bytes | None, tried: Container[Candidate]) -> Candidate | None:
        able = [server for server in self._usable if not server.is_full and server not in tried]
        server = self._chooser.choose(able, key) if able else None
        return server if server in able else None

    def started(self, server: Candidate) -> None:
        """It reads the load from the servers."""

    def ended(self, server: Candidate, first_byte_seconds: float | None) -> None:
        """It reads the load from the servers."""

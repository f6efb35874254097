"""What must hold for the servers of upstreams, whatever befalls them: who is asked, who is out, how often is retried.

Like those in `checkers` they are told each fact with its effects; they look at the core's own servers, and count for
themselves what goes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from proxycore.composition.upstream import UpstreamConnection
from proxycore.composition.upstreams import ServerState, UpstreamState
from proxycore.core import Core
from proxycore.policies.retrying import RetryBudget
from proxycore.testing.checkers import Checker
from proxycore.words.effects import Connect, Effect, Send

LATE = 0.5
"""Seconds by which a timer may ring too late."""


class Servers(Checker):
    """Nobody is sent to a server that is out while another is well; who refused is out; and nobody is out for ever."""

    name = "servers"

    def __init__(self, core: Core) -> None:
        self._core = core

    def fact(self, now: float, name: str, arguments: tuple[Any, ...], effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Connect):
                endpoint = self._core.engine.endpoints.get(effect.conn)
                if isinstance(endpoint, UpstreamConnection):
                    self._look_at_dial(endpoint.server)
        if name in ("timer_expired", "connect_failed"):
            for upstream in self._core._upstreams.values():
                self._look_at(upstream, now)

    def _look_at_dial(self, server: ServerState) -> None:
        upstream = server.upstream
        if server.state == "up" or upstream.affinity is not None:
            return
        well = [other for other in upstream.servers if other.state == "up" and other.full_weight and not other.is_full]
        # A try goes on to the next address of a name, though the first has just had the server ejected.
        if len(well) > 1 and server.health.state != "ejected":
            self.violate(f"{server!r} is dialled, which is {server.reason}; {well[0]!r} is well")

    def _look_at(self, upstream: UpstreamState, now: float) -> None:
        out = [server for server in upstream.servers if server.health.state == "ejected"]
        if len(out) != upstream.ejected:
            self.violate(f"{upstream.ejected} servers are counted as ejected, {len(out)} are: {upstream!r}")
        if upstream.is_closing:
            return
        for server in out:
            if server.health.until + LATE < now:
                self.violate(f"{server!r} is ejected, and should be back since {server.health.until:g}")
            if server.health.until - now > upstream.config.outliers.eject_max + LATE:
                self.violate(f"{server!r} is ejected until {server.health.until:g}, far too long")
        for server in upstream.servers:
            if server.checks is None:
                if upstream.config.health_check is not None:
                    self.violate(f"{server!r} is never checked")
            elif not server.checks.armed_clocks:
                self.violate(f"{server!r} is checked no more")


class Ejections(Checker):
    """Who refuses a connect is ejected in that very fact, and never more servers than the share allows."""

    name = "ejections"

    def __init__(self, core: Core) -> None:
        self._core = core
        self._dials: dict[int, UpstreamConnection] = {}

    def fact(self, now: float, name: str, arguments: tuple[Any, ...], effects: Sequence[Effect]) -> None:
        if name == "connect_failed":
            connection = self._dials.pop(arguments[0], None)
            if connection is not None and arguments[1] == "ECONNREFUSED" and connection.state == "lost":
                self._look_at_refusal(connection.server)
        for effect in effects:
            if isinstance(effect, Connect):
                endpoint = self._core.engine.endpoints.get(effect.conn)
                if isinstance(endpoint, UpstreamConnection):
                    self._dials[effect.conn] = endpoint

    def _look_at_refusal(self, server: ServerState) -> None:
        upstream = server.upstream
        outliers, count = upstream.config.outliers, len(upstream.servers)
        out = sum(other.health.state == "ejected" for other in upstream.servers)
        if server.health.state == "up" and not server.is_removed and out + 1 <= outliers.eject_share_max * count:
            self.violate(f"{server!r} refused a connect, and is in")
        if out > max(1.0, outliers.eject_share_max * count):
            self.violate(f"{out} of {count} servers are ejected: {upstream!r}")


class Storms(Checker):
    """Requests are sent to servers as often as they came, and a share more: no retry storm.

    Looked at where no connection is kept, so that nothing but retries repeats a request.
    """

    name = "storms"

    def __init__(self, core: Core) -> None:
        self._core = core
        self._began = inf
        self._requests: dict[bytes, int] = {}
        self._repeats = 0

    def fact(self, now: float, name: str, arguments: tuple[Any, ...], effects: Sequence[Effect]) -> None:
        self._began = min(self._began, now)
        for effect in effects:
            if isinstance(effect, Send):
                endpoint = self._core.engine.endpoints.get(effect.conn)
                if isinstance(endpoint, UpstreamConnection):
                    self._count(bytes(effect.data[:2_000]))
        if name == "timer_expired":
            self._judge(now)

    def _count(self, data: bytes) -> None:
        line, _, _ = data.partition(b" HTTP/1.1\r\n")
        _, mark, nonce = line.rpartition(b"?n=")
        if mark:
            self._repeats += nonce in self._requests
            self._requests[nonce] = self._requests.get(nonce, 0) + 1

    def _judge(self, now: float) -> None:
        upstreams = [upstream.config for upstream in self._core._upstreams.values()]
        if any(upstream.idle_connections for upstream in upstreams):
            return
        share = max(upstream.retries.budget for upstream in upstreams)
        spare = len(upstreams) * (RetryBudget.RESERVE + now - self._began)
        if self._repeats > share * len(self._requests) + spare:
            self.violate(f"{len(self._requests)} requests were repeated {self._repeats} times")

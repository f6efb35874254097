"""What is held at this moment, counted from the tables that hold it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.upstreams import UpstreamState


@dataclass(frozen=True, slots=True)
class Ledger:
    """Counts of what belongs to connections and exchanges. All zero when all of them have ended.

    `streams` are those of HTTP/2. `buffered` is bytes kept in the core: read and not yet taken, or kept for
    another try. Bytes that wait in the driver are not the core's.
    """

    downstreams: int = 0
    streams: int = 0
    upstreams: int = 0
    exchanges: int = 0
    leases: int = 0
    queued: int = 0
    gates: int = 0
    buffered: int = 0
    lookups: int = 0
    calls: int = 0
    timers: int = 0

    @property
    def is_empty(self) -> bool:
        return not any(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        held = [f"{getattr(self, f.name)} {f.name}" for f in fields(self) if getattr(self, f.name)]
        return ", ".join(held) or "nothing"


def count(engine: Engine, upstreams: Iterable[UpstreamState], *, own_timers: int) -> Ledger:
    """Walk the tables: slow, and true. `own_timers` are those that belong to the core itself."""
    endpoints = engine.endpoints.values()
    downstreams = engine.clients.values()
    groups = list(upstreams)
    exchanges = engine.exchanges.values()
    return Ledger(
        downstreams=len(downstreams),
        streams=sum(d.open_streams for d in downstreams),
        upstreams=len(endpoints) - len(downstreams),
        exchanges=len(exchanges),
        leases=sum(server.active for upstream in groups for server in upstream.servers),
        queued=sum(len(upstream.queue) for upstream in groups),
        gates=sum(endpoint.wire.is_gated for endpoint in endpoints),
        buffered=sum(d.held_bytes for d in downstreams) + sum(exchange.held_bytes for exchange in exchanges),
        lookups=len(engine.lookups),
        calls=len(engine.calls),
        timers=len(engine.timers) - own_timers,
    )

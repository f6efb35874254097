"""`access`: which clients may come in, by their address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxycore.composition.filters import Filter, Reject, Verdict
from proxycore.policies.access import AccessList

if TYPE_CHECKING:
    from proxycore.composition.exchange import Exchange

_REFUSED = Reject(403, "You may not come in from there.", rule="access")


class AccessFilter(Filter):
    """Refuses clients that a route's lists don't let in."""

    def __init__(self, access: AccessList) -> None:
        self._access = access

    def on_route(self, exchange: Exchange) -> Verdict | None:
        objection = self._access.objection(exchange.client.number)
        if exchange.trace is not None:
            exchange.trace.add("access", "refused" if objection else "let in", exchange.client.ip, objection)
        return _REFUSED if objection else None

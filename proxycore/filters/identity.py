"""Fields by which servers learn who the client is: from us alone, whatever a client sends under their names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from proxycore.composition.filters import Filter, Verdict
from proxycore.config import Config
from proxycore.words.messages import Field, RequestHead

if TYPE_CHECKING:
    from proxycore.composition.exchange import Exchange


def identity_fields(config: Config) -> frozenset[bytes]:
    """The names of all fields that tell an identity, anywhere in the configuration.

    They are taken away from every request on every route: a route that asks for no identity may lead to the same
    server, which would believe them.
    """
    return frozenset(name.encode() for name in _names(config))


def _names(config: Config) -> Iterable[str]:
    for jwt in config.jwt.values():
        yield from jwt.claims_to_headers.values()
    certificates = [route.client_certificate for route in config.routes if route.client_certificate is not None]
    headers = [
        *(basic.user_header for basic in config.basic_auth.values()),
        *(keys.user_header for keys in config.api_keys.values()),
        *(certificate.user_header for certificate in certificates),
    ]
    for route in config.routes:
        if route.forward_auth is not None:
            yield from route.forward_auth.copy_headers
    yield from (header for header in headers if header is not None)


class IdentityFilter(Filter):
    """Takes away what clients say of their identity, and tells the server what was proved."""

    def __init__(self, names: frozenset[bytes]) -> None:
        self.hidden_fields = names

    def on_route(self, exchange: Exchange) -> Verdict | None:
        names = self.hidden_fields
        fields = exchange.request.headers.fields
        for field in fields:
            if field[0] in names:
                fields[:] = [field for field in fields if field[0] not in names]
                if exchange.trace is not None:
                    exchange.trace.add("identity", "removed", "", "what the client said of itself")
                break
        return None

    def tell(self, exchange: Exchange, fields: list[Field]) -> None:
        """Have the server get these."""
        exchange.local(self).setdefault("fields", []).extend(fields)

    def on_upstream_request(self, exchange: Exchange, outbound: RequestHead) -> None:
        fields = exchange.local(self).get("fields")
        if fields:
            names = {name for name, _ in fields}
            outbound.headers.fields[:] = [field for field in outbound.headers.fields if field[0] not in names]
            outbound.headers.fields += fields

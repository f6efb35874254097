"""h11, reading one head at a time: the reference, always there.

A connection object of h11 is a whole conversation, so each head gets a new one.
"""

from __future__ import annotations

import h11

from proxycore.mechanisms.http1.codec import Codec

_PROPOSAL = h11.Request(
    method="GET",
    target="/",
    headers=[("Host", "upstream"), ("Connection", "Upgrade"), ("Upgrade", "any")],
)
"""Without a request h11 takes no interim response, and without having offered one no 101; whether we did is the
reader's question."""


class H11Codec(Codec):
    """See `codec.Codec`."""

    name = "h11"

    def reads_request(self, head: bytes, method: bytes, target: bytes) -> bool:
        """See `codec.Codec`."""
        event = _read(h11.Connection(h11.SERVER), head)
        return isinstance(event, h11.Request) and event.method == method and event.target == target

    def reads_response(self, head: bytes, status: int) -> bool:
        """See `codec.Codec`."""
        connection = h11.Connection(h11.CLIENT)
        if status < 200:
            connection.send(_PROPOSAL)
        event = _read(connection, head)
        return isinstance(event, (h11.Response, h11.InformationalResponse)) and event.status_code == status


def _read(connection: h11.Connection, head: bytes) -> object:
    connection.receive_data(head)
    try:
        return connection.next_event()
    except h11.RemoteProtocolError:
        return None

"""h11, reading one head at a time: the reference, always there.

A connection object of h11 is a whole conversation, so each head gets a new one.
"""

from __future__ import annotations

import h11

from proxycore.mechanisms.http1.codec import CodecError
from proxycore.words.messages import Field

_PROPOSAL = h11.Request(
    method="GET",
    target="/",
    headers=[("Host", "upstream"), ("Connection", "Upgrade"), ("Upgrade", "any")],
)
"""Without having offered one, h11 takes no 101; whether we did is the reader's question."""


class H11Codec:
    """See `codec.Codec`."""

    name = "h11"

    def __init__(self) -> None:
        self.disagreements = 0

    def request(self, head: bytes) -> tuple[bytes, bytes, list[Field]]:
        event = _read(h11.Connection(h11.SERVER), head)
        if not isinstance(event, h11.Request):
            raise CodecError("not a whole request head")
        return event.method, event.target, event.headers.raw_items()

    def response(self, head: bytes) -> tuple[int, list[Field]]:
        connection = h11.Connection(h11.CLIENT)
        if head.startswith((b"HTTP/1.1 101", b"HTTP/1.0 101")):
            connection.send(_PROPOSAL)
        event = _read(connection, head)
        if not isinstance(event, (h11.Response, h11.InformationalResponse)):
            raise CodecError("not a whole response head")
        return event.status_code, event.headers.raw_items()


def _read(connection: h11.Connection, head: bytes) -> object:
    connection.receive_data(head)
    try:
        return connection.next_event()
    except h11.RemoteProtocolError as error:
        raise CodecError(str(error)) from None

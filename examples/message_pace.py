"""Reading the messages of WebSockets: whoever sends faster than one person types is shown the door.

    python examples/message_pace.py 127.0.0.1:8080 http://127.0.0.1:3000 5     # at most 5 messages a second

Most routes need no filter: a WebSocket passes as it comes. One with `on_message` has its messages read, so here the
limits of `websocket` hold too: no longer than 4 KiB, and a client that is silent for 20 seconds is pinged.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from proxycore import CloseWebSocket, Config, Exchange, Filter, Listener, Outcome, Route, Upstream
from proxycore_asyncio import serve


class Pace(Filter):
    """A bucket for each WebSocket: it holds `rate` messages, and as many more each second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def on_message(self, exchange: Exchange, message: str | bytes, from_client: bool) -> CloseWebSocket | None:
        """Only the client's are counted. The server hears the same code, and may forget who it was."""
        if not from_client:
            return None
        bucket = exchange.local(self)
        now = exchange.elapsed
        left = min(self._rate, bucket.get("left", self._rate) + (now - bucket.get("at", now)) * self._rate)
        bucket["left"], bucket["at"] = left - 1, now
        return CloseWebSocket(1008, "too fast") if left < 1 else None

    def on_finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """How many messages there were, once it is over."""
        if exchange.websocket is not None and exchange.websocket.messages is not None:
            received, sent = exchange.websocket.messages
            print(f"{exchange.client.ip}: {received} messages in, {sent} out, {outcome.cause}", flush=True)


async def main(listen: str, origin: str, rate: str) -> None:
    """Serve until Ctrl-C."""
    config = Config(
        listeners=[Listener(bind=listen)],
        upstreams={"chat": Upstream(servers=origin)},
        routes=[Route(upstream="chat", websocket={"max_message": "4KiB", "ping_interval": "20s"})],
    )
    async with serve(config, [Pace(float(rate))]) as server:
        print("listening on http://{}:{}".format(*server.address), flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))

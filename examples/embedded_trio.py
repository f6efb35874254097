"""A proxy in a trio program, beside other tasks: it counts answers, and SIGTERM or Ctrl-C drains it.

    python examples/origins.py                      # red, green and blue, on ports 9001 to 9003
    python examples/embedded_trio.py

    curl http://127.0.0.1:8080/
    curl http://127.0.0.1:8080/_counts              # answered by a filter, from the program's own state

Whatever else the program does goes into the same nursery, or around it: the proxy needs one task of its own.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Sequence

import trio

from proxycore import Config, Exchange, Filter, Headers, Respond, ResponseHead, notices
from proxycore_trio import serve


class Counts(Filter):
    """Answers `/_counts` with how the exchanges so far ended."""

    def __init__(self) -> None:
        self.by_ending: Counter[str] = Counter()

    def observe(self, happened: Sequence[notices.Notice]) -> None:
        """Count what has ended. It is called after each wake-up of the proxy, and never waits."""
        for notice in happened:
            if isinstance(notice, notices.ExchangeEnded):
                self.by_ending[f"{notice.status} {notice.outcome.cause}"] += 1

    def on_request(self, exchange: Exchange) -> Respond | None:
        """Answer one path ourselves; let all others pass."""
        if exchange.request.target != b"/_counts":
            return None
        body = json.dumps(self.by_ending).encode() + b"\n"
        return Respond(ResponseHead(200, Headers([(b"content-type", b"application/json")])), body)


async def main(listen: str = "127.0.0.1:8080", *origins: str) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight."""
    config = Config.reverse_proxy(listen, to=origins or [f"http://127.0.0.1:{port}" for port in (9001, 9002, 9003)])
    counts = Counts()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with serve(config, [counts], observer=counts.observe, watch=["exchanges"]) as server:
            print("listening on http://{}:{}".format(*server.address), flush=True)
            async for _ in signals:
                break
            await server.drain(timeout=10)
    print("served:", dict(counts.by_ending))


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])

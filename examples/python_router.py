"""A router in Python: a filter sends each request to the server of its user.

    python examples/origins.py                      # red, green and blue, on ports 9001 to 9003
    python examples/python_router.py

    curl -H 'X-User: ann' http://127.0.0.1:8080/    # red
    curl -H 'X-User: bob' http://127.0.0.1:8080/    # green
    curl -H 'X-User: eve' http://127.0.0.1:8080/    # 403
    curl http://127.0.0.1:8080/                     # where the route says: blue

The table is a plain dict. A program that embeds the proxy changes it when it likes, with no reload.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping

from proxycore import Config, Exchange, Filter, Listener, Reject, RequestHead, Route, Upstream
from proxycore_asyncio import serve


class ByUser(Filter):
    """Sends a request to the upstream of the user that it names; one that names none goes where its route says."""

    def __init__(self, upstream_of: Mapping[str, str]) -> None:
        self.upstream_of = upstream_of

    def on_route(self, exchange: Exchange) -> Reject | None:
        """Set the upstream, or refuse."""
        named = exchange.request.headers.get(b"x-user")
        if named is None:
            return None
        user = named.decode("latin-1")
        if user not in self.upstream_of:
            return Reject(403, "There is nothing here for this user.", rule="user")
        exchange.user = user  # for the access log
        exchange.upstream = self.upstream_of[user]
        return None

    def on_upstream_request(self, exchange: Exchange, outbound: RequestHead) -> None:
        """Tell the origin who it is for in a field of our own, and no more in the client's."""
        outbound.headers.remove(b"x-user")
        if exchange.user:
            outbound.headers.set(b"x-authenticated-user", exchange.user.encode("latin-1"))


async def main(listen: str = "127.0.0.1:8080", *origins: str) -> None:
    """Serve until Ctrl-C."""
    red, green, blue = origins or [f"http://127.0.0.1:{port}" for port in (9001, 9002, 9003)]
    config = Config(
        listeners=[Listener(bind=listen)],
        upstreams={"red": Upstream(servers=red), "green": Upstream(servers=green), "blue": Upstream(servers=blue)},
        routes=[Route(upstream="blue")],
    )
    async with serve(config, [ByUser({"ann": "red", "bob": "green"})]) as server:
        print("listening on http://{}:{}".format(*server.address), flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))

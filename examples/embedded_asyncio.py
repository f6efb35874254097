"""A proxy in an asyncio program that changes its own routes while it serves, as JupyterHub's proxy does.

    python examples/origins.py                      # red, green and blue, on ports 9001 to 9003
    python examples/embedded_asyncio.py

    curl -X PUT -d http://127.0.0.1:9001 http://127.0.0.1:8081/ann      # /ann/* goes to red from now on
    curl http://127.0.0.1:8080/ann/notebook
    curl -X DELETE http://127.0.0.1:8081/ann                            # and nowhere again

Two listeners: the public one, and one on loopback that takes orders. An order is read by a filter, which can't
reload the proxy that it is part of; so it asks for a coroutine that does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from functools import partial

from proxycore import (
    Ask,
    Config,
    ConfigError,
    Exchange,
    Filter,
    Headers,
    Listener,
    NeedBody,
    Reject,
    Respond,
    ResponseHead,
    Route,
    Upstream,
    Verdict,
)
from proxycore_asyncio import Server, serve

LONGEST_URL = 2_000


class Workspaces:
    """Servers that come and go, each under a path of its own."""

    def __init__(self, public: str, control: str) -> None:
        self.listeners = [Listener(name="public", bind=public), Listener(name="control", bind=control)]
        self.urls: dict[str, str] = {}
        self.server: Server | None = None

    def config(self, urls: dict[str, str]) -> Config:
        """The configuration for these workspaces. Raises ConfigError for a name or url that can't be."""
        routes = [
            Route(
                name=name,
                match={"listener": "public", "path": f"/{name}/*"},
                upstream=name,
                rewrite={"strip_prefix": f"/{name}"},
            )
            for name in urls
        ]
        nothing = Route(name="nothing", respond={"status": 404, "body": "no such workspace\n"})
        return Config(
            listeners=self.listeners,
            upstreams={name: Upstream(servers=url) for name, url in urls.items()},
            routes=[*routes, nothing],
        )

    async def change(self, name: str, url: str | None) -> str:
        """Open a workspace, or close it (None): what went wrong, or nothing. No connection is lost."""
        assert self.server is not None
        urls = {other: kept for other, kept in self.urls.items() if other != name}
        if url is not None:
            urls[name] = url
        try:
            self.server.reload(self.config(urls))
        except ConfigError as error:
            return str(error)
        self.urls = urls
        return ""


class Control(Filter):
    """Takes orders on the listener "control", and lets all that comes elsewhere pass."""

    def on_request(self, exchange: Exchange) -> Verdict | None:
        """Read what is ordered."""
        if exchange.downstream.listener != "control":
            return None
        name = exchange.request.target.decode("latin-1").strip("/")
        if exchange.request.method == b"DELETE":
            return self._change(name, None)
        if exchange.request.method == b"PUT":
            return NeedBody(LONGEST_URL, partial(self._read_url, name))
        return Reject(405, "PUT a url, or DELETE.", rule="control", headers=Headers([(b"allow", b"PUT, DELETE")]))

    def _read_url(self, name: str, exchange: Exchange, content: bytes, complete: bool) -> Verdict:
        if not complete:
            return Reject(413, "No url is that long.", rule="control")
        return self._change(name, content.decode("latin-1").strip())

    def _change(self, name: str, url: str | None) -> Verdict:
        return Ask("change", {"name": name, "url": url}, self._answer)

    def _answer(self, exchange: Exchange, problem: str) -> Verdict:
        if problem:
            return Reject(400, problem, rule="control")
        return Respond(ResponseHead(204, Headers()))


async def main(public: str = "127.0.0.1:8080", control: str = "127.0.0.1:8081") -> None:
    """Serve until Ctrl-C."""
    workspaces = Workspaces(public, control)
    async with serve(workspaces.config({}), [Control()], calls={"change": workspaces.change}) as server:
        workspaces.server = server
        for name, addresses in server.addresses.items():
            print("{} on http://{}:{}".format(name, *addresses[0]), flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))

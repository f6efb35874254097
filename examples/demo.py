"""Three small origins and the proxy in front of them, in one process: what `make run` starts.

It embeds the proxy as any program can: a `Config` built in Python, `serve`, and an access log of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket

import origins
from proxycore.config import Config, Listener, Logging, Redirect, Respond, Rewrite, Route, Upstream
from proxycore.program.access_log import AccessLog
from proxycore_asyncio import serve

ORIGINS = ("red", "green", "blue")
PORT = 8080

TO_TRY = """\
try
  curl {proxy}/                            # red, green and blue in turn
  curl {proxy}/red/anything                # red alone, and what reached it
  curl {proxy}/healthz                     # the proxy answers
  curl -L {proxy}/old/page                 # redirected
  curl -d 'some text' {proxy}/echo         # streamed up and back
  curl -N '{proxy}/stream?count=3&every=1' # server-sent events, as they come
  curl '{proxy}/slow?seconds=2'            # and Ctrl-C meanwhile: it is finished first

Ctrl-C stops all of it. The log of what passes:
"""


def make_config(listen: str, servers: dict[str, str]) -> Config:
    """The proxy of the demo. `servers` has the url of each origin by its name."""
    return Config(
        listeners=[Listener(name="web", bind=listen)],
        upstreams={
            "any": Upstream(servers=[{"name": name, "url": url} for name, url in servers.items()]),
            "red": Upstream(servers=[{"name": "red", "url": servers["red"]}]),
        },
        routes=[
            Route(name="health", match={"path": "/healthz"}, respond=Respond(body="ok\n")),
            Route(name="moved", match={"path": "/old/*"}, redirect=Redirect(path="/", status=302)),
            Route(name="red", match={"path": "/red/*"}, upstream="red", rewrite=Rewrite(strip_prefix="/red")),
            Route(name="any", upstream="any"),
        ],
        logging=Logging(access='{time} {client_ip} "{method} {target}" {status} {route} {server} {duration}s'),
    )


async def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    async with contextlib.AsyncExitStack() as running:
        servers = {}
        for name in ORIGINS:
            origin = await running.enter_async_context(await origins.start(name))
            servers[name] = f"http://127.0.0.1:{origin.sockets[0].getsockname()[1]}"
        config = make_config(f"127.0.0.1:{free_port()}", servers)
        log = AccessLog(config.logging)
        running.callback(log.close)
        async with serve(config, observer=log.observe, watch=["exchanges", "faults"]) as server:
            port = server.address[1]
            for name, url in servers.items():
                print(f"origin {name:5}  {url}")
            print(f"the proxy     http://127.0.0.1:{port}\n")
            print(TO_TRY.format(proxy=f"http://127.0.0.1:{port}"), flush=True)
            await stop_signal()
            await server.drain(timeout=5)
        await origins_notice()


async def stop_signal() -> None:
    """Wait for SIGINT or SIGTERM."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


async def origins_notice() -> None:
    """Let the origins see that the proxy has left, so that none of their tasks is cut off."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        await asyncio.wait(tasks, timeout=1)


def free_port() -> int:
    """PORT, or 0 for any when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return 0
    return PORT


if __name__ == "__main__":
    asyncio.run(main())

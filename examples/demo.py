"""Three small origins and the proxy in front of them, in one process: what `make run` starts, http and https.

It embeds the proxy as any program can: a `Config` built in Python, `serve`, and an access log of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import tempfile

import origins
from proxycore.config import Config, Listener, ListenerTls, Logging, Redirect, Respond, Rewrite, Route, Upstream
from proxycore.program.access_log import AccessLog
from proxycore.program.commands import cert
from proxycore_asyncio import serve

ORIGINS = ("red", "green", "blue")
PORT, TLS_PORT = 8080, 8443

TO_TRY = """\
try
  curl {proxy}/                            # red, green and blue in turn
  curl {proxy}/red/anything                # red alone, and what reached it
  curl {proxy}/healthz                     # the proxy answers
  curl -L {proxy}/old/page                 # redirected
  curl -d 'some text' {proxy}/echo         # streamed up and back
  curl -N '{proxy}/stream?count=3&every=1' # server-sent events, as they come
  curl '{proxy}/slow?seconds=2'            # and Ctrl-C meanwhile: it is finished first
  curl --cacert {authority} {secure}/healthz  # by https, with a certificate made for this run

Ctrl-C stops all of it. The log of what passes:
"""


def make_config(servers: dict[str, str], certificate: str, key: str) -> Config:
    """The proxy of the demo. `servers` has the url of each origin by its name."""
    tls = ListenerTls(certificates={"certificate": certificate, "key": key})
    return Config(
        listeners=[
            Listener(name="web", bind=f"127.0.0.1:{free_port(PORT)}"),
            Listener(name="web-tls", bind=f"127.0.0.1:{free_port(TLS_PORT)}", tls=tls),
        ],
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
        folder = running.enter_context(tempfile.TemporaryDirectory(prefix="proxycore-"))
        authority, certificate, key = cert.make(["localhost", "127.0.0.1"], folder)
        config = make_config(servers, certificate, key)
        log = AccessLog(config.logging)
        running.callback(log.close)
        async with serve(config, observer=log.observe, watch=["exchanges", "faults"]) as server:
            port, tls_port = (addresses[0][1] for addresses in server.addresses.values())
            secure = f"https://localhost:{tls_port}"
            for name, url in servers.items():
                print(f"origin {name:5}  {url}")
            print(f"the proxy     http://127.0.0.1:{port}  {secure}\n")
            print(TO_TRY.format(proxy=f"http://127.0.0.1:{port}", secure=secure, authority=authority), flush=True)
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


def free_port(wanted: int) -> int:
    """The port that is wanted, or 0 for any when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return 0
    return wanted


if __name__ == "__main__":
    asyncio.run(main())

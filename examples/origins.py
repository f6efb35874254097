"""Small web servers to put a proxy in front of, each of which says who it is.

python examples/origins.py red=9001 green=9002 blue=9003

/                         as JSON: which origin answered, and the request as it arrived there
/health                   200 ok
/slow?seconds=2           answers after a while
/stream?count=5&every=1   server-sent events
/echo                     sends the request's body back while it arrives
/ws                       a WebSocket that echoes each message
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import h11
import wsproto
from wsproto import events as ws

READ_SIZE = 64 * 1024


class Client:
    """One connection from a client (the proxy): its requests, one after another."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.name = name
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.SERVER)
        self.only_head = False

    async def serve(self) -> None:
        try:
            while await self.serve_request():
                self.http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            if self.http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await self.answer(error.error_status_hint, f"{error}\n".encode())
        except ConnectionError:
            pass  # the client left
        finally:
            self.writer.close()

    async def serve_request(self) -> bool:
        """Answer the next request; false when this connection is done."""
        request = await self.next_event()
        if not isinstance(request, h11.Request):
            return False
        self.only_head = request.method == b"HEAD"
        url = urlsplit(request.target.decode("latin-1"))
        query = parse_qs(url.query)
        match url.path:
            case "/health":
                await self.answer(200, b"ok\n")
            case "/slow":
                await asyncio.sleep(number(query, "seconds", default=2.0, most=60.0))
                await self.answer(200, f"{self.name} was slow\n".encode())
            case "/stream":
                await self.answer_stream("text/event-stream", self.ticks(query))
            case "/echo":
                await self.invite_content()
                await self.answer_stream("application/octet-stream", self.body())
            case "/ws" if (b"upgrade", b"websocket") in request.headers:
                await self.serve_websocket(request)
                return False
            case _:
                await self.answer(200, self.describe(request), "application/json")
        async for _ in self.body():
            pass  # what the answer did not need
        return self.http.our_state is h11.DONE and self.http.their_state is h11.DONE

    def describe(self, request: h11.Request) -> bytes:
        seen = {
            "origin": self.name,
            "method": request.method.decode("latin-1"),
            "target": request.target.decode("latin-1"),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers],
        }
        return json.dumps(seen, indent=2).encode() + b"\n"

    async def ticks(self, query: dict[str, list[str]]) -> AsyncIterator[bytes]:
        for tick in range(int(number(query, "count", default=5.0, most=1_000.0))):
            if tick:
                await asyncio.sleep(number(query, "every", default=1.0, most=60.0))
            yield f"id: {tick}\ndata: tick {tick} from {self.name}\n\n".encode()

    async def body(self) -> AsyncIterator[bytes]:
        """The content of the request under way, as it comes."""
        while self.http.their_state is h11.SEND_BODY:
            event = await self.next_event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)

    async def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            await self.invite_content()
            self.http.receive_data(await self.reader.read(READ_SIZE))
        return event

    async def invite_content(self) -> None:
        if self.http.they_are_waiting_for_100_continue:
            await self.send(h11.InformationalResponse(status_code=100, headers=[]))

    async def answer(self, status: int, body: bytes, content_type: str = "text/plain") -> None:
        headers = [("content-type", content_type), ("content-length", str(len(body))), ("server", self.name)]
        await self.send(h11.Response(status_code=status, headers=headers))
        if not self.only_head:
            await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())

    async def answer_stream(self, content_type: str, pieces: AsyncIterator[bytes]) -> None:
        await self.send(h11.Response(status_code=200, headers=[("content-type", content_type), ("server", self.name)]))
        if not self.only_head:
            async for piece in pieces:
                await self.send(h11.Data(data=piece))
        await self.send(h11.EndOfMessage())

    async def send(self, event: h11.Event) -> None:
        data = self.http.send(event)
        if data:
            self.writer.write(data)
            await self.writer.drain()

    async def serve_websocket(self, request: h11.Request) -> None:
        socket = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        socket.initiate_upgrade_connection(list(request.headers), request.target.decode("latin-1"))
        while True:
            for event in socket.events():
                reply: ws.Event | None = None
                if isinstance(event, ws.Request):
                    reply = ws.AcceptConnection()
                elif isinstance(event, ws.TextMessage):
                    reply = ws.TextMessage(event.data, message_finished=event.message_finished)
                elif isinstance(event, ws.BytesMessage):
                    reply = ws.BytesMessage(event.data, message_finished=event.message_finished)
                elif isinstance(event, ws.Ping | ws.CloseConnection):
                    reply = event.response()
                if reply is not None:
                    self.writer.write(socket.send(reply))
            await self.writer.drain()
            if socket.state is wsproto.connection.ConnectionState.CLOSED:
                return
            data = await self.reader.read(READ_SIZE)
            if not data:
                return
            socket.receive_data(data)


def number(query: dict[str, list[str]], name: str, *, default: float, most: float) -> float:
    """A parameter of the query, between 0 and `most`; what isn't a number counts as not given."""
    try:
        return max(0.0, min(most, float(query[name][-1])))
    except (KeyError, ValueError):
        return default


async def start(name: str, port: int = 0, host: str = "127.0.0.1") -> asyncio.Server:
    """An origin that listens; `port` 0 takes a free one (see `server.sockets`)."""
    return await asyncio.start_server(lambda reader, writer: Client(name, reader, writer).serve(), host, port)


async def serve(ports: dict[str, int]) -> None:
    """Serve origins by name and port until cancelled."""
    async with contextlib.AsyncExitStack() as running:
        for name, port in ports.items():
            server = await running.enter_async_context(await start(name, port))
            print(f"{name} listens on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    named = (argument.partition("=") for argument in sys.argv[1:] or ["red=9001", "green=9002", "blue=9003"])
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve({name: int(port) for name, _, port in named}))

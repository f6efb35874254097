"""The reverse proxy people hand-roll on aiohttp. Usage: aiohttp_proxy.py PORT UPSTREAM_PORT [CERT KEY]"""

import asyncio
import ssl
import sys

import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, WSMsgType, web

HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
port, upstream = int(sys.argv[1]), int(sys.argv[2])


def end_to_end(headers):
    return [(name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP]


async def relay_websocket(request, session):
    client = web.WebSocketResponse()
    await client.prepare(request)
    async with session.ws_connect(f"ws://127.0.0.1:{upstream}{request.raw_path}") as server:

        async def pump(source, sink):
            async for message in source:
                if message.type == WSMsgType.BINARY:
                    await sink.send_bytes(message.data)
                elif message.type == WSMsgType.TEXT:
                    await sink.send_str(message.data)
            await sink.close()

        await asyncio.gather(pump(client, server), pump(server, client))
    return client


async def proxy(request):
    session = request.app["session"]
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await relay_websocket(request, session)
    headers = end_to_end(request.headers)
    headers += [("X-Forwarded-For", request.remote), ("X-Forwarded-Proto", request.scheme)]
    body = request.content if request.body_exists else None
    async with session.request(
        request.method,
        f"http://127.0.0.1:{upstream}{request.raw_path}",
        headers=headers,
        data=body,
        allow_redirects=False,
    ) as answer:
        response = web.StreamResponse(status=answer.status, headers=end_to_end(answer.headers))
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


async def main():
    app = web.Application(client_max_size=0)
    app["session"] = ClientSession(
        auto_decompress=False, timeout=ClientTimeout(total=None), connector=TCPConnector(limit=0)
    )
    app.router.add_route("*", "/{path:.*}", proxy)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75)
    await runner.setup()
    context = None
    if len(sys.argv) > 3:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context, backlog=4096).start()
    await asyncio.Event().wait()


uvloop.install()
asyncio.run(main())

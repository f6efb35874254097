"""Forwards bytes unparsed, one upstream connection per client: the ceiling of asyncio's I/O.

Usage: blind_relay.py PORT UPSTREAM_PORT [uvloop]
"""

import asyncio
import sys


class Upstream(asyncio.Protocol):
    def __init__(self, client):
        self.client = client

    def connection_made(self, transport):
        self.transport, self.write = transport, self.client.transport.write
        self.client.upstream_ready(transport)

    def data_received(self, data):
        self.write(data)

    def connection_lost(self, error):
        self.client.transport.close()

    def pause_writing(self):
        self.client.transport.pause_reading()

    def resume_writing(self):
        self.client.transport.resume_reading()


class Client(asyncio.Protocol):
    upstream = None

    def connection_made(self, transport):
        self.transport, self.early = transport, []
        self.write = self.early.append  # until the upstream connection is there
        loop = asyncio.get_running_loop()
        self.dial = loop.create_task(loop.create_connection(lambda: Upstream(self), "127.0.0.1", upstream_port))

    def upstream_ready(self, transport):
        self.upstream = transport
        for data in self.early:
            transport.write(data)
        self.write = transport.write

    def data_received(self, data):
        self.write(data)

    def connection_lost(self, error):
        if self.upstream:
            self.upstream.close()

    def pause_writing(self):
        if self.upstream:
            self.upstream.pause_reading()

    def resume_writing(self):
        if self.upstream:
            self.upstream.resume_reading()


async def main():
    server = await asyncio.get_running_loop().create_server(Client, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


port, upstream_port = int(sys.argv[1]), int(sys.argv[2])
if "uvloop" in sys.argv[3:]:
    import uvloop

    uvloop.install()
asyncio.run(main())

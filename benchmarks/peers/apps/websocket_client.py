"""WebSocket load: one message in flight on each connection. Usage: websocket_client.py PORT CONNECTIONS SIZE SECONDS"""

import asyncio
import json
import sys
from time import perf_counter

import picows
import uvloop


class Load:
    """What all clients share: when to stop, and what they counted."""

    def __init__(self, size):
        self.payload = b"m" * size
        self.stop_at = float("inf")
        self.latencies = []
        self.errors = 0

    def percentile_ms(self, percent):
        ordered = sorted(self.latencies)
        return ordered[int(len(ordered) * percent / 100)] * 1000 if ordered else 0.0


class Client(picows.WSListener):
    def __init__(self, load):
        super().__init__()
        self.load = load

    def on_ws_connected(self, transport):
        self.transport = transport

    def ping(self):
        self.sent_at = perf_counter()
        self.transport.send(picows.WSMsgType.BINARY, self.load.payload)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type != picows.WSMsgType.BINARY or frame.payload_size != len(self.load.payload):
            self.load.errors += 1
            return
        now = perf_counter()
        self.load.latencies.append(now - self.sent_at)
        if now < self.load.stop_at:
            self.ping()


async def main(port, connections, size, seconds):
    load = Load(size)
    clients = []
    for _ in range(connections):
        _, client = await picows.ws_connect(lambda: Client(load), f"ws://127.0.0.1:{port}/ws")
        clients.append(client)
    started = perf_counter()
    load.stop_at = started + seconds
    for client in clients:
        client.ping()
    await asyncio.sleep(seconds)
    elapsed, count = perf_counter() - started, len(load.latencies)
    await asyncio.sleep(0.05)
    for client in clients:
        client.transport.disconnect()
    burst = {"requests": count, "seconds": elapsed, "bytes": count * size, "errors": load.errors}
    print(json.dumps({**burst, "p50_ms": load.percentile_ms(50), "p99_ms": load.percentile_ms(99)}))


uvloop.install()
asyncio.run(main(*map(int, sys.argv[1:5])))

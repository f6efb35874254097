"""An origin in a process of its own, with nothing of proxycore in it: `origin_program.py [PORT]`.

It prints its port. What it answers depends on the path:

/bytes/N        N bytes of `content`, as fast as they are taken
/chunks/N       the same, in chunks
/sink/MS        reads the content, not before MS milliseconds have passed; its digest
/late/MS        "late", after MS milliseconds, without having read content
/early          413 at the head, and reads nothing more
/tunnel         101, then an echo of every byte
all else        the path, and the number of bytes of content; X-Origin has our port
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from tests.endurance.content import Digest, pieces

READ_SIZE = 64 << 10


async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await serve_request(reader, writer):
            pass
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    path = head.split(b" ", 2)[1].decode()
    kind, _, argument = path[1:].partition("/")
    if kind in ("bytes", "chunks"):
        await send_content(writer, int(argument), in_chunks=kind == "chunks")
    elif kind == "sink":
        await asyncio.sleep(int(argument) / 1000)
        received = Digest()
        async for data in content_of(head, reader):
            received.update(data)
        writer.write(answer(received.text.encode()))
    elif kind == "late":
        await asyncio.sleep(int(argument) / 1000)
        writer.write(answer(b"late"))
    elif kind == "early":
        writer.write(answer(b"too much", b"413 Content Too Large"))
        await asyncio.sleep(3600)
    elif kind == "tunnel":
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        while data := await reader.read(READ_SIZE):
            writer.write(data)
            await writer.drain()
        return False
    else:
        size = 0
        async for data in content_of(head, reader):
            size += len(data)
        writer.write(answer(b"%b %d" % (path.encode(), size), b"200 OK\r\nX-Origin: %d" % port_of(writer)))
    await writer.drain()
    return True


async def send_content(writer: asyncio.StreamWriter, size: int, *, in_chunks: bool) -> None:
    framing = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: %d" % size
    writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
    for piece in pieces(size):
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if in_chunks else piece)
        await writer.drain()
    if in_chunks:
        writer.write(b"0\r\n\r\n")


async def content_of(head: bytes, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        return
    left = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
    while left:
        data = await reader.read(min(left, READ_SIZE))
        if not data:
            raise ConnectionError
        left -= len(data)
        yield data


def port_of(writer: asyncio.StreamWriter) -> int:
    port: int = writer.get_extra_info("sockname")[1]
    return port


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


async def main(port: int) -> None:
    server = await asyncio.start_server(serve_connection, "127.0.0.1", port, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))

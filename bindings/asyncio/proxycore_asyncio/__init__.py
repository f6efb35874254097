"""proxycore on asyncio, with any event loop: its own or uvloop's.

A proxy in a program of yours:

    import asyncio
    from proxycore import Config
    from proxycore_asyncio import serve

    async def main() -> None:
        config = Config.reverse_proxy("127.0.0.1:8080", to="http://127.0.0.1:3000")
        async with serve(config) as server:
            print("listening on", server.address)
            try:
                await server.wait_closed()
            except asyncio.CancelledError:
                await server.drain(timeout=10)
                raise

    asyncio.run(main())

Leaving the block closes at once what is left. Nothing global is installed: no policy, no signal handler.
"""

from proxycore.program.listening import ListenError
from proxycore_asyncio.server import Server, serve

__all__ = ["ListenError", "Server", "serve"]

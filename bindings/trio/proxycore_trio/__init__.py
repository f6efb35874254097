"""proxycore on trio.

A proxy in a program of yours:

    import signal

    import trio
    from proxycore import Config
    from proxycore_trio import serve

    async def main() -> None:
        config = Config.reverse_proxy("127.0.0.1:8080", to="http://127.0.0.1:3000")
        async with serve(config) as server:
            print("listening on", server.address)
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for _ in signals:
                    await server.drain(timeout=10)
                    return

    trio.run(main)

Leaving the block closes at once what is left. Nothing global is installed: no signal handler, no system task.
"""

from proxycore.program.listening import ListenError
from proxycore_trio.server import Server, serve

__all__ = ["ListenError", "Server", "serve"]

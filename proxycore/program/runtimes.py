"""Serving on each runtime: how it starts, how it hears signals, how it waits for the end. Nothing else differs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack

from proxycore.program.exits import NotStarted
from proxycore.program.running import SIGNALS, Serving

BINDINGS = ("asyncio", "trio", "gevent")


def serve_on(binding: str, process: Serving) -> None:
    """Serve until the service has closed. Raises ConfigError, ListenError or NotStarted, with nothing left running."""
    try:
        _SERVERS[binding](process)
    except ModuleNotFoundError as error:
        if error.name != binding:
            raise
        raise NotStarted(f"{binding} is not installed: pip install 'proxycore[{binding}]'") from None


def describe(binding: str) -> str:
    """The runtime as the start tells it."""
    return "asyncio on uvloop" if binding == "asyncio" and _uvloop() is not None else binding


def _serve_on_asyncio(process: Serving) -> None:
    with asyncio.Runner(loop_factory=_uvloop()) as runner:
        runner.run(_serve_in_asyncio(process))


async def _serve_in_asyncio(process: Serving) -> None:
    from proxycore_asyncio import serve

    loop = asyncio.get_running_loop()
    async with process.serve(serve) as server:
        for number in SIGNALS:
            loop.add_signal_handler(number, process.signalled, number)
        process.started(server)
        await server.wait_closed()


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


def _serve_on_trio(process: Serving) -> None:
    import trio

    from proxycore_trio import serve

    async def serve_in_trio() -> None:
        with trio.open_signal_receiver(*SIGNALS) as signals:
            async with process.serve(serve) as server:
                process.started(server)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(pass_signals, signals)
                    await server.wait_closed()
                    nursery.cancel_scope.cancel()

    async def pass_signals(signals: AsyncIterator[int]) -> None:
        async for number in signals:
            process.signalled(number)

    trio.run(serve_in_trio)


def _serve_on_gevent(process: Serving) -> None:
    import gevent

    from proxycore_gevent import serve

    with (
        process.serve(serve) as server,
        ExitStack() as stack,
    ):
        for number in SIGNALS:
            stack.callback(gevent.signal_handler(number, process.signalled, number).cancel)
        process.started(server)
        server.wait_closed()


_SERVERS: dict[str, Callable[[Serving], None]] = {
    "asyncio": _serve_on_asyncio,
    "trio": _serve_on_trio,
    "gevent": _serve_on_gevent,
}

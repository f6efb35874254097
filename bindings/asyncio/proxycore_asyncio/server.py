"""The binding to asyncio: how it waits, how it looks names up, how it runs and cancels a function."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from socket import SOCK_STREAM
from typing import Any

from proxycore import Config, Filter, Materials
from proxycore.program.service import CANCELLED, Fact, Function, Handle, Observer, Service, reason
from proxycore.words.notices import ALL_KINDS, Kind


@asynccontextmanager
async def serve(
    config: Config,
    filters: Sequence[Filter] = (),
    *,
    calls: Mapping[str, Function] | None = None,
    observer: Observer | None = None,
    watch: Collection[Kind] = ALL_KINDS,
    materials: Materials | None = None,
) -> AsyncIterator[Server]:
    """Serve `config` in the running loop for as long as the block runs. Raises ConfigError or ListenError.

    `filters` see every exchange, after those that the configuration asks for. `calls` are what filters may
    `Ask` for, by name: coroutine functions, or plain ones, which run in a thread. `observer` is given the
    notices of the kinds in `watch`, a sequence after each wake-up; it must not wait.
    """
    server = Server(config, filters=filters, calls=calls or {}, observer=observer, watch=watch, materials=materials)
    try:
        async with server.beside(serve) as server.dashboard:
            yield server
    finally:
        await server.close()


class Server(Service):
    """A proxy at work in an asyncio loop. `serve` makes one and closes it."""

    def __init__(self, config: Config, **options: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[Handle, asyncio.Future[Any]] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        super().__init__(config, closed=self._ended, **options)
        self._loop.add_reader(self._driver.fileno(), self._ready)
        self._after()

    async def drain(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 (the core keeps it)
        """Accept no more, finish what is in flight for up to `timeout` seconds (else `timeouts.drain`), then cut it."""
        self.request_drain(timeout)
        await self._ended.wait()

    async def wait_closed(self) -> None:
        """Wait until the server has drained or was closed."""
        await self._ended.wait()

    async def close(self) -> None:
        """Cut every connection and cancel what goes on for them. `serve` calls it."""
        self._loop.remove_reader(self._driver.fileno())
        if self._alarm is not None:
            self._alarm.cancel()
        self._close()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _arm(self, delay: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_later(delay, self._timer)

    def _run(self, handle: Handle, work: Callable[[], Any], completed: Fact, failed: Fact) -> None:
        task = asyncio.ensure_future(work())
        self._tasks[handle] = task
        task.add_done_callback(partial(self._conclude, handle, completed, failed))

    def _conclude(self, handle: Handle, completed: Fact, failed: Fact, task: asyncio.Future[Any]) -> None:
        del self._tasks[handle]
        if task.cancelled():
            self._tell(failed, handle, CANCELLED)
        elif (error := task.exception()) is not None:
            self._tell(failed, handle, reason(error))
        else:
            self._tell(completed, handle, task.result())

    def _cancel(self, handle: Handle) -> None:
        if handle in self._tasks:
            self._tasks[handle].cancel()

    def _work(self, function: Function, arguments: Mapping[str, Any]) -> Callable[[], Any]:
        if inspect.iscoroutinefunction(function):
            return partial(function, **arguments)
        return partial(asyncio.to_thread, function, **arguments)

    async def _getaddrinfo(self, host: str) -> Any:
        return await self._loop.getaddrinfo(host, None, type=SOCK_STREAM)

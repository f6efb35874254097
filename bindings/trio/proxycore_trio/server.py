"""The binding to trio: how it waits, how it looks names up, how it runs and cancels a function."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

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
    """Serve `config` for as long as the block runs. Raises ConfigError or ListenError.

    `filters` see every exchange, after those that the configuration asks for. `calls` are what filters may
    `Ask` for, by name: async functions, or plain ones, which run in a thread. `observer` is given the
    notices of the kinds in `watch`, a sequence after each wake-up; it must not wait.

    The block's own exceptions come out as they are, not in a group: the nursery in here is nobody's business.
    """
    try:
        async with trio.open_nursery() as nursery:
            server = Server(
                config,
                nursery=nursery,
                filters=filters,
                calls=calls or {},
                observer=observer,
                watch=watch,
                materials=materials,
            )
            try:
                nursery.start_soon(server._serve)
                async with server.beside(serve) as server.dashboard:
                    yield server
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None


class Server(Service):
    """A proxy at work in a trio nursery. `serve` makes one and closes it."""

    def __init__(self, config: Config, *, nursery: trio.Nursery, **options: Any) -> None:
        self._nursery = nursery
        self._scopes: dict[Handle, trio.CancelScope] = {}
        self._until_alarm = trio.CancelScope()
        self._ended = trio.Event()
        super().__init__(config, closed=self._ended, **options)
        self._after()

    async def drain(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 (the core keeps it)
        """Accept no more, finish what is in flight for up to `timeout` seconds (else `timeouts.drain`), then cut it."""
        self.request_drain(timeout)
        await self._ended.wait()

    async def wait_closed(self) -> None:
        """Wait until the server has drained or was closed."""
        await self._ended.wait()

    async def _serve(self) -> None:
        """The one task that waits, for the descriptor until the alarm, and then again; cancelled, it closes."""
        descriptor = self._driver.fileno()
        try:
            while True:
                with self._until_alarm:
                    while True:
                        await trio.lowlevel.wait_readable(descriptor)
                        self._ready()
                self._until_alarm = trio.CancelScope()
                self._timer()
        finally:
            self._close()

    def _arm(self, delay: float) -> None:
        self._until_alarm.deadline = trio.current_time() + delay

    def _run(self, handle: Handle, work: Callable[[], Any], completed: Fact, failed: Fact) -> None:
        self._scopes[handle] = scope = trio.CancelScope()
        self._nursery.start_soon(self._step, handle, scope, work, completed, failed)

    async def _step(
        self, handle: Handle, scope: trio.CancelScope, work: Callable[[], Any], completed: Fact, failed: Fact
    ) -> None:
        fact, outcome = failed, CANCELLED
        with scope:
            try:
                fact, outcome = completed, await work()
            except Exception as error:
                fact, outcome = failed, reason(error)
        del self._scopes[handle]
        self._tell(fact, handle, outcome)

    def _cancel(self, handle: Handle) -> None:
        if handle in self._scopes:
            self._scopes[handle].cancel()

    def _work(self, function: Function, arguments: Mapping[str, Any]) -> Callable[[], Any]:
        if inspect.iscoroutinefunction(function):
            return partial(function, **arguments)
        return partial(trio.to_thread.run_sync, partial(function, **arguments), abandon_on_cancel=True)

    async def _getaddrinfo(self, host: str) -> Any:
        return await trio.socket.getaddrinfo(host, None, type=trio.socket.SOCK_STREAM)

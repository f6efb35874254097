"""The binding to gevent: how it waits, how it looks names up, how it runs and cancels a function."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event

from proxycore import Config, Filter, Materials
from proxycore.program.service import CANCELLED, Fact, Function, Handle, Observer, Service, is_blocking, reason
from proxycore.words.notices import ALL_KINDS, Kind

_READ = 1  # libev's and libuv's flag


@contextmanager
def serve(
    config: Config,
    filters: Sequence[Filter] = (),
    *,
    calls: Mapping[str, Function] | None = None,
    observer: Observer | None = None,
    watch: Collection[Kind] = ALL_KINDS,
    materials: Materials | None = None,
) -> Iterator[Server]:
    """Serve `config` in this thread's hub for as long as the block runs. Raises ConfigError or ListenError.

    `filters` see every exchange, after those that the configuration asks for. `calls` are what filters may
    `Ask` for, by name: plain functions, each run in a greenlet, or in the hub's thread pool where
    `blocking` marks it. `observer` is given the notices of the kinds in `watch`, a
    sequence after each wake-up; it must not wait.
    """
    server = Server(config, filters=filters, calls=calls or {}, observer=observer, watch=watch, materials=materials)
    try:
        with server.beside(serve) as server.dashboard:
            yield server
    finally:
        server.close()


class Server(Service):
    """A proxy at work in a gevent hub. `serve` makes one and closes it."""

    def __init__(self, config: Config, **options: Any) -> None:
        self._hub = gevent.get_hub()
        self._greenlets: dict[Handle, gevent.Greenlet[..., Any]] = {}
        self._alarm = self._hub.loop.timer(0)
        self._ended = Event()
        super().__init__(config, closed=self._ended, **options)
        self._watcher = self._hub.loop.io(self._driver.fileno(), _READ)
        self._watcher.start(self._ready)
        self._after()

    def drain(self, timeout: float | None = None) -> None:
        """Accept no more, finish what is in flight for up to `timeout` seconds (else `timeouts.drain`), then cut it."""
        self.request_drain(timeout)
        self._ended.wait()

    def wait_closed(self) -> None:
        """Wait until the server has drained or was closed."""
        self._ended.wait()

    def close(self) -> None:
        """Cut every connection and cancel what goes on for them. `serve` calls it."""
        self._watcher.close()
        self._alarm.close()
        self._close()
        gevent.killall(list(self._greenlets.values()))

    def _arm(self, delay: float) -> None:
        self._alarm.close()
        self._alarm = self._hub.loop.timer(delay)
        self._alarm.start(self._timer)

    def _run(self, handle: Handle, work: Callable[[], Any], completed: Fact, failed: Fact) -> None:
        self._greenlets[handle] = greenlet = gevent.spawn(self._step, work, completed, failed)
        greenlet.link(partial(self._conclude, handle, failed))

    def _step(self, work: Callable[[], Any], completed: Fact, failed: Fact) -> tuple[Fact, Any]:
        try:
            return completed, work()
        except Exception as error:
            return failed, reason(error)

    def _conclude(self, handle: Handle, failed: Fact, greenlet: gevent.Greenlet[..., Any]) -> None:
        del self._greenlets[handle]
        ending = greenlet.value
        fact, outcome = ending if isinstance(ending, tuple) else (failed, CANCELLED)  # else a GreenletExit
        self._tell(fact, handle, outcome)

    def _cancel(self, handle: Handle) -> None:
        if handle in self._greenlets:
            self._greenlets[handle].kill(block=False)

    def _work(self, function: Function, arguments: Mapping[str, Any]) -> Callable[[], Any]:
        if is_blocking(function):
            return partial(self._hub.threadpool.apply, function, kwds=dict(arguments))
        return partial(function, **arguments)

    def _getaddrinfo(self, host: str) -> Any:
        return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)

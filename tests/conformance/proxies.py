"""A proxy at work in a thread, on any binding: `running(binding, config)` gives a `Handle` that a test may call.

The test itself is plain blocking code with sockets, so that one suite serves all bindings.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import gevent
import gevent.event
import trio
import uvloop

import proxycore_asyncio
import proxycore_gevent
import proxycore_trio
from proxycore.composition.filters import Filter
from proxycore.composition.ledger import Ledger
from proxycore.config import Config
from proxycore.config.materials import Materials
from proxycore.words.notices import ExchangeEnded, Fault, Notice

LIMIT = 10.0
"""Seconds after which a test gives up on the proxy's thread."""


class Handle:
    """A running proxy, seen from another thread."""

    def __init__(self, server: Any, call: Callable[[Callable[[], Any]], object], leave: Callable[[], object]) -> None:
        self._server = server
        self._call = call
        self.leave = leave
        self.notices: list[Notice] = []
        self.port: int = server.address[1]
        self.addresses: dict[str, list[Any]] = server.addresses

    def do(self, work: Callable[[Any], Any]) -> Any:
        """Run `work(server)` in the proxy's thread; its result or exception comes back."""
        results: queue.Queue[tuple[bool, Any]] = queue.Queue()

        def step() -> None:
            try:
                results.put((True, work(self._server)))
            except BaseException as error:
                results.put((False, error))

        self._call(step)
        good, result = results.get(timeout=LIMIT)
        if not good:
            raise result
        return result

    def ledger(self) -> Ledger:
        ledger = self.do(lambda server: server.core.ledger())
        assert isinstance(ledger, Ledger)
        return ledger

    def reload(self, config: Config) -> None:
        self.do(lambda server: server.reload(config))

    def request_drain(self, timeout: float) -> None:
        """Begin to drain; don't wait for the end."""
        self.do(lambda server: server.request_drain(timeout))

    @property
    def ended(self) -> list[ExchangeEnded]:
        """The exchanges that have ended so far."""
        return [notice for notice in self.notices if isinstance(notice, ExchangeEnded)]

    @property
    def faults(self) -> list[Fault]:
        return [notice for notice in self.notices if isinstance(notice, Fault)]


Start = Callable[[Config, dict[str, Any], Callable[[Handle], None]], None]
"""Serves until the handle's `leave` is called; tells the handle once it serves."""


def _asyncio(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> Start:
    def start(config: Config, options: dict[str, Any], tell: Callable[[Handle], None]) -> None:
        async def serve() -> None:
            loop = asyncio.get_running_loop()
            over = asyncio.Event()
            async with proxycore_asyncio.serve(config, **options) as server:
                tell(Handle(server, loop.call_soon_threadsafe, partial(loop.call_soon_threadsafe, over.set)))
                await over.wait()

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(serve())

    return start


def _trio(config: Config, options: dict[str, Any], tell: Callable[[Handle], None]) -> None:
    async def serve() -> None:
        token = trio.lowlevel.current_trio_token()
        over = trio.Event()
        async with proxycore_trio.serve(config, **options) as server:
            tell(Handle(server, token.run_sync_soon, lambda: token.run_sync_soon(over.set)))
            await over.wait()

    trio.run(serve)


def _gevent(config: Config, options: dict[str, Any], tell: Callable[[Handle], None]) -> None:
    hub = gevent.get_hub()
    steps: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
    over = gevent.event.Event()

    def run_steps() -> None:
        while not steps.empty():
            steps.get()()

    waker = hub.loop.async_()
    waker.start(run_steps)

    def call(step: Callable[[], Any]) -> None:
        steps.put(step)
        waker.send()

    with proxycore_gevent.serve(config, **options) as server:
        tell(Handle(server, call, lambda: call(over.set)))
        over.wait()
    waker.close()
    hub.destroy(destroy_loop=True)


BINDINGS: Mapping[str, Start] = {
    "asyncio": _asyncio(asyncio.new_event_loop),
    "uvloop": _asyncio(uvloop.new_event_loop),
    "trio": _trio,
    "gevent": _gevent,
}


@contextlib.contextmanager
def running(
    binding: str,
    config: Config,
    filters: Sequence[Filter] = (),
    calls: Mapping[str, Callable[..., Any]] | None = None,
    materials: Materials | None = None,
) -> Iterator[Handle]:
    """Serve `config` on `binding` while the block runs."""
    started: queue.Queue[Handle | BaseException] = queue.Queue()
    notices: list[Notice] = []

    def run() -> None:
        try:
            options = {"filters": filters, "calls": calls, "observer": notices.extend, "materials": materials}
            BINDINGS[binding](config, options, started.put)
        except BaseException as error:
            started.put(error)

    thread = threading.Thread(target=run, name=f"proxy on {binding}", daemon=True)
    thread.start()
    handle = started.get(timeout=LIMIT)
    if isinstance(handle, BaseException):
        raise handle
    handle.notices = notices
    try:
        yield handle
    finally:
        handle.leave()
        thread.join(LIMIT)
        assert not thread.is_alive(), f"the proxy on {binding} did not stop"
    assert started.empty(), started.get()
    assert not handle.faults, handle.faults


def soon(condition: Callable[[], bool], seconds: float = 3.0) -> bool:
    """Whether `condition` holds within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return condition()


def outcome_of_first(proxy: Handle) -> tuple[str, str]:
    assert soon(lambda: bool(proxy.ended))
    outcome = proxy.ended[0].outcome
    return outcome.cause, outcome.detail

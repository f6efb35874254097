"""A proxy served by a binding in a thread of its own, so that one test in plain blocking code fits all of them."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import gevent
import trio
import uvloop

import proxycore_asyncio
import proxycore_gevent
import proxycore_trio
from proxycore.config import Config
from proxycore.program.service import Service

LIMIT = 10.0
_T = TypeVar("_T")


class Served:
    """What a test sees of it: `server`, and a way into its thread."""

    server: Service

    def __init__(self) -> None:
        self.started = threading.Event()
        self.error: BaseException | None = None
        self.post: Callable[[Callable[[], Any]], Any]
        self.stop: Callable[[], Any]

    def begin(self, server: Service, post: Callable[[Callable[[], Any]], Any], stop: Callable[[], Any]) -> None:
        self.server, self.post, self.stop = server, post, stop
        self.started.set()

    def inside(self, function: Callable[[], _T]) -> _T:
        """Run a function in the thread of the server, and give what it returns or raise what it raises."""
        answers: queue.Queue[Callable[[], _T]] = queue.Queue()

        def run() -> None:
            try:
                result = function()
            except BaseException as error:
                answers.put(lambda error=error: _raise(error))  # type: ignore[misc]
            else:
                answers.put(lambda: result)

        self.post(run)
        return answers.get(timeout=LIMIT)()


def _raise(error: BaseException) -> Any:
    raise error


async def _in_asyncio(served: Served, config: Config, options: dict[str, Any]) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    async with proxycore_asyncio.serve(config, **options) as server:
        served.begin(server, loop.call_soon_threadsafe, stopped.set)
        await stopped.wait()


async def _in_trio(served: Served, config: Config, options: dict[str, Any]) -> None:
    token, stopped = trio.lowlevel.current_trio_token(), trio.Event()
    async with proxycore_trio.serve(config, **options) as server:
        served.begin(server, token.run_sync_soon, stopped.set)
        await stopped.wait()


def _in_gevent(served: Served, config: Config, options: dict[str, Any]) -> None:
    hub, stopped = gevent.get_hub(), gevent.event.Event()
    with proxycore_gevent.serve(config, **options) as server:
        served.begin(server, hub.loop.run_callback_threadsafe, stopped.set)
        stopped.wait()
    hub.destroy(destroy_loop=True)


def _with_loop(factory: Callable[[], asyncio.AbstractEventLoop]) -> Callable[[Coroutine[Any, Any, None]], None]:
    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main)

    return run


def _run(binding: str, served: Served, config: Config, options: dict[str, Any]) -> None:
    try:
        if binding == "asyncio":
            _with_loop(asyncio.new_event_loop)(_in_asyncio(served, config, options))
        elif binding == "uvloop":
            _with_loop(uvloop.new_event_loop)(_in_asyncio(served, config, options))
        elif binding == "trio":
            trio.run(_in_trio, served, config, options)
        else:
            _in_gevent(served, config, options)
    except BaseException as error:
        served.error = error
        served.started.set()


BINDINGS = ("asyncio", "uvloop", "trio", "gevent")


@contextmanager
def serving(binding: str, config: Config, **options: Any) -> Iterator[Served]:
    """Serve by that binding while the block runs; raise what starting or ending it raised."""
    served = Served()
    thread = threading.Thread(target=_run, args=(binding, served, config, options))
    thread.start()
    assert served.started.wait(LIMIT)
    try:
        if served.error is None:
            yield served
    finally:
        if served.error is None:
            served.post(served.stop)
        thread.join(LIMIT)
    assert not thread.is_alive()
    if served.error is not None:
        raise served.error

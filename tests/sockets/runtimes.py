"""Ways to wait for a driver, one for each runtime, behind one method."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import gevent
import gevent.event
import trio
import uvloop

from proxycore.sockets.driver import Driver

LIMIT = 5.0
"""Seconds after which a test gives up."""


class Runtime(Protocol):
    def run(self, driver: Driver, until: Callable[[], bool], limit: float) -> int:
        """Call `ready` at each wake-up until `until()` holds or `limit` seconds are over; how many there were."""
        ...

    def close(self) -> None: ...


class Asyncio:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def run(self, driver: Driver, until: Callable[[], bool], limit: float) -> int:
        wakeups = 0
        done = asyncio.Event()

        def ready() -> None:
            nonlocal wakeups
            wakeups += 1
            driver.ready()
            if until():
                done.set()

        async def wait() -> None:
            self.loop.add_reader(driver.fileno(), ready)
            try:
                async with asyncio.timeout(limit):
                    await done.wait()
            except TimeoutError:
                pass
            finally:
                self.loop.remove_reader(driver.fileno())

        self.loop.run_until_complete(wait())
        return wakeups

    def close(self) -> None:
        self.loop.close()


class Trio:
    def run(self, driver: Driver, until: Callable[[], bool], limit: float) -> int:
        async def wait() -> int:
            wakeups = 0
            with trio.move_on_after(limit):
                while not until():
                    await trio.lowlevel.wait_readable(driver.fileno())
                    wakeups += 1
                    driver.ready()
            return wakeups

        return trio.run(wait)

    def close(self) -> None:
        pass


class Gevent:
    def run(self, driver: Driver, until: Callable[[], bool], limit: float) -> int:
        wakeups = 0
        done = gevent.event.Event()

        def ready() -> None:
            nonlocal wakeups
            wakeups += 1
            driver.ready()
            if until():
                done.set()

        watcher = gevent.get_hub().loop.io(driver.fileno(), 1)
        watcher.start(ready)
        try:
            done.wait(limit)
        finally:
            watcher.close()
        return wakeups

    def close(self) -> None:
        pass


RUNTIMES: dict[str, Callable[[], Runtime]] = {
    "asyncio": lambda: Asyncio(asyncio.new_event_loop()),
    "uvloop": lambda: Asyncio(uvloop.new_event_loop()),
    "trio": Trio,
    "gevent": Gevent,
}

"""A proxy at work, but for the waiting: what every binding shares.

`Service` holds a core, its driver and its listening sockets. A binding adds what truly is its
runtime's: it waits for the driver's descriptor and calls `_ready`, keeps one timer and calls `_timer`,
and runs look-ups and the user's functions.
"""

from __future__ import annotations

import abc
import logging
import math
import os
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from proxycore.composition.filters import Filter
from proxycore.config import Config, ConfigError
from proxycore.config.materials import Materials
from proxycore.core import Core
from proxycore.policies.auth.passwords import VERIFY_PASSWORD, verify_password
from proxycore.policies.statistics import COUNTED_KINDS, Statistics
from proxycore.program.files import Loaded, materials_of
from proxycore.program.following import Following
from proxycore.program.listening import ListeningSockets, by_listener, with_addresses
from proxycore.sockets.driver import Driver
from proxycore.sockets.naming import address_of, error_name
from proxycore.words.commands import Command
from proxycore.words.effects import Effect
from proxycore.words.ids import Address, CallId, LookupId
from proxycore.words.notices import ALL_KINDS, Kind, Notice

Fact = Callable[..., Sequence[Effect]]
Function = Callable[..., Any] | Callable[..., Awaitable[Any]]
Observer = Callable[[Sequence[Notice]], None]
_F = TypeVar("_F", bound=Callable[..., Any])
_C = TypeVar("_C")

CANCELLED = "ECANCELED"
"""The error of a look-up or call that was cancelled."""

TICK = 0.001
"""Seconds added to each timer: runtimes round to milliseconds, and one that pops early pops twice."""

DRIFT = 1.0
"""Seconds by which wall time may differ from what the core derives before it is told."""

Handle = LookupId | CallId

_log = logging.getLogger("proxycore")
_LOOKUP_ERRORS = {getattr(socket, name): name for name in dir(socket) if name.startswith("EAI_")}


class Written(NamedTuple):
    """The file that the configuration in force came from, and what it said."""

    file: str
    text: str


class Event(Protocol):
    """The runtime's own event."""

    def set(self) -> Any: ...


def blocking(function: _F) -> _F:
    """Mark a plain function given in `calls` as one that blocks its thread.

    gevent runs it in its thread pool, and others in a greenlet. asyncio and trio run every plain function in
    a thread, and need no mark.
    """
    function.proxycore_blocking = True  # type: ignore[attr-defined]
    return function


def is_blocking(function: Function) -> bool:
    """Whether `blocking` marked it."""
    return getattr(function, "proxycore_blocking", False)


def reason(error: BaseException) -> str:
    """Why a look-up or call failed, as the core is told: names of errors, since texts differ from system to system."""
    if isinstance(error, socket.gaierror):
        return _LOOKUP_ERRORS.get(error.errno, "EAI_FAIL")
    if isinstance(error, OSError) and error.errno is not None:
        return error_name(error)
    return f"{type(error).__name__}: {error}"


class Service(abc.ABC):
    """Serves `config` from the moment it is made. Raises ConfigError or ListenError, with nothing left open.

    Without `materials` the files that `config` names are read here, and those of users, API keys and key sets again
    when they change; relative names count from the working directory.
    `filters` serve every exchange after those that the configuration asks for. `calls` are the
    functions that a filter may `Ask` for, by name. `observer` gets a sequence of the notices of the kinds
    in `watch` after each wake-up, and must not wait. `closed` is set once no connection is left after a
    drain, or when the service is closed. `written` is what a program that read a file
    tells of it, `dashboard` the service of `[admin]`. `adopt` changes to a file's new text that the API was given, and
    raises as `reload` does; a program that logs puts a function of its own there, so that its logs follow.
    """

    def __init__(
        self,
        config: Config,
        *,
        materials: Materials | None,
        filters: Sequence[Filter],
        calls: Mapping[str, Function],
        observer: Observer | None,
        watch: Collection[Kind] = ALL_KINDS,
        closed: Event,
    ) -> None:
        self._config = config
        self._calls: dict[str, Function] = {VERIFY_PASSWORD: blocking(verify_password), **calls}
        self._closed = closed
        self._draining = False
        self._armed = math.inf
        self._clock = time.monotonic
        self._statistics = Statistics() if config.admin is not None else None
        self._observer = observer
        self.materials = materials_of(config) if materials is None else materials
        self._following: Following | None = None
        self._source: str | None = None
        self.written: Written | None = None
        self.adopt: Callable[[Loaded], None] = self._adopt
        self.dashboard: Service | None = None
        now, wall = self._clock(), time.time()
        self._wall_offset = wall - now
        self._each_second: list[Callable[[], None]] = []
        self._second_at = math.inf
        self._sockets = ListeningSockets(config.listeners)
        try:
            self._core = Core(
                with_addresses(config, self._sockets.by_listener),
                self.materials,
                now=now,
                wall=wall,
                seed=int.from_bytes(os.urandom(8)),
                entropy=os.urandom,
                filters=filters,
                watch=self._kinds(watch if observer is not None else ()),
            )
        except BaseException:
            self._sockets.close()
            raise
        self._driver = Driver(
            self._core,
            self._sockets.by_listener,
            clock=self._clock,
            resolve=self._resolve,
            call=self._call,
            cancel=self._cancel,
            on_notices=observer if self._statistics is None else self._observe,
        )
        if materials is None:
            self.follow("")

    # ---- for whoever embeds it ------------------------------------------------------------------------------

    @property
    def core(self) -> Core:
        """The core, for its queries (`ledger()`); facts reach it through the service alone."""
        return self._core

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    def watch(self, kinds: Collection[Kind]) -> None:
        """Give the observer notices of these kinds from now on, and no others."""
        self._core.watch(self._kinds(kinds))

    def beside(self, serve: Callable[..., _C]) -> _C | nullcontext[None]:
        """The service of `[admin]`, made by the same binding's `serve`; a block that does nothing without `[admin]`."""
        if self._statistics is None:
            return nullcontext()
        # Here, so that whoever has no dashboard doesn't load it.
        from proxycore.program.admin.local import beside

        return serve(**beside(self, self._statistics, self.materials))

    def call_each_second(self, function: Callable[[], None]) -> None:
        """Call `function` once a second from now on, when nothing else goes on."""
        self._each_second.append(function)
        if self._second_at == math.inf:
            self._second_at = self._clock() + 1.0
            self._after()

    def follow(self, source: str) -> None:
        """From now on, reloads included, read files of users, API keys and key sets again when they change.

        `source` is the configuration's file: relative names count from its folder, or from the working directory
        where it is empty. Who gives no `materials` has it so from the beginning.
        """
        self._source = source
        self._follow()

    def _follow(self) -> None:
        if self._source is None:
            return
        following = Following(self._config, self._source)
        if following.watch and self.look_at_files not in self._each_second:
            self.call_each_second(self.look_at_files)
        self._following = following
        self.look_at_files()  # since they were read they may have changed already

    def look_at_files(self) -> None:
        """Take what has changed in the files that are followed; see `program.following`. It is done each second."""
        if self._following is None:
            return
        for path in self._following.watch.changed():
            try:
                materials = self._following.reread(path, self.materials)
                if materials != self.materials:
                    self._driver.tell(self._core.reconfigured, self._core.config, materials)
                    self.materials = materials
                    _log.info("%s has changed, and is in force", path)
            except ConfigError as error:
                _log.error("%s has changed and is refused, what it held goes on:\n%s", path, error)

    @property
    def addresses(self) -> dict[str, list[Address]]:
        """Where each listener listens, with the ports that the kernel chose."""
        return self._sockets.addresses

    @property
    def address(self) -> Address:
        """The first address of the first listener."""
        return next(iter(self.addresses.values()))[0]

    def reload(self, config: Config, materials: Materials | None = None) -> None:
        """Change to `config`: what is in flight ends under the old one, and no connection is lost.

        Raises ConfigError or ListenError, with nothing changed.
        """
        if materials is None:
            materials = materials_of(config)
        prepared = self._sockets.prepare(config.listeners)
        self._driver.accept_waiting()
        try:
            self._driver.tell(self._core.reconfigured, with_addresses(config, by_listener(prepared)), materials)
        except BaseException:
            self._sockets.discard(prepared)
            raise
        self._config = config
        self.materials = materials
        self._driver.listen(by_listener(prepared))  # first: a socket leaves the readiness set before it is closed
        self._sockets.commit(prepared)
        self._follow()
        self._after()

    @property
    def is_draining(self) -> bool:
        return self._draining

    def request_drain(self, timeout: float | None = None) -> None:
        """Begin to drain, and don't wait: the binding's `drain` does both, and its `wait_closed` tells the end.

        Nothing new is taken, what is going on ends; after `timeout` seconds (None: `timeouts.drain`) the
        rest is cut. Called again, it sets another deadline.
        """
        self._draining = True
        timeout = self._config.timeouts.drain if timeout is None else timeout
        self._driver.accept_waiting()
        self._tell(partial(self._core.drain_requested, deadline=self._clock() + timeout))

    def nudge(self) -> None:
        """Something outside of the service woke what waits in its core: have it go on."""
        self._after()

    def _adopt(self, loaded: Loaded) -> None:
        self.reload(loaded.config, loaded.materials)
        self.written = Written(loaded.file, loaded.text)

    def _kinds(self, wanted: Collection[Kind]) -> Collection[Kind]:
        """The kinds to build: what is wanted, and what the dashboard counts."""
        return wanted if self._statistics is None else {*wanted, *COUNTED_KINDS}

    def _observe(self, notices: Sequence[Notice]) -> None:
        assert self._statistics is not None
        self._statistics.take(notices)
        if self._observer is not None:
            self._observer(notices)

    def command(self, command: Command) -> None:
        """Do what an operator orders. Raises CommandRefused, with nothing changed."""
        self._driver.tell(self._core.commanded, command)
        self._after()

    # ---- for a binding --------------------------------------------------------------------------------------

    def _ready(self) -> None:
        """Call it when the driver's descriptor is readable."""
        self._guard(self._driver.ready)

    def _timer(self) -> None:
        """Call it when the timer set by `_arm` has run down."""
        self._armed = math.inf
        now = self._clock()
        drift = time.time() - now - self._wall_offset
        if abs(drift) > DRIFT:
            self._wall_offset += drift
            self._tell(self._core.clock_adjusted, now + self._wall_offset)
        if now >= self._second_at:
            self._second_at = max(self._second_at + 1.0, now)
            for function in self._each_second:
                self._guard(function)
        deadline = self._driver.next_deadline()
        if deadline is not None and deadline <= now:
            self._guard(self._driver.timer_expired)
        else:
            self._after()  # it was set for a deadline that has moved since

    def _tell(self, fact: Fact, *arguments: Any) -> None:
        self._guard(self._driver.tell, fact, *arguments)

    def _close(self) -> None:
        """Cut what is left and release everything. What is still told, by work that is cancelled, changes nothing."""
        self._armed = -math.inf
        self._driver.close()
        self._sockets.close()
        self._closed.set()

    # ---- what a binding gives -------------------------------------------------------------------------------

    @abc.abstractmethod
    def _arm(self, delay: float) -> None:
        """Set the timer to run down in `delay` seconds, instead of when it was to."""

    @abc.abstractmethod
    def _run(self, handle: Handle, work: Callable[[], Any], completed: Fact, failed: Fact) -> None:
        """Begin `work`; when it ends, `_tell(completed, handle, result)` or `_tell(failed, handle, reason(error))`."""

    @abc.abstractmethod
    def _cancel(self, handle: Handle) -> None:
        """Stop what `_run` began, if it still goes on; it ends with `_tell(failed, handle, CANCELLED)`."""

    @abc.abstractmethod
    def _work(self, function: Function, arguments: Mapping[str, Any]) -> Callable[[], Any]:
        """What `_run` needs to run a function of the user's."""

    @abc.abstractmethod
    def _getaddrinfo(self, host: str) -> Any:
        """Work for `_run` that gives what `socket.getaddrinfo` does, for stream sockets."""

    # ---- shared ---------------------------------------------------------------------------------------------

    def _resolve(self, lookup: LookupId, host: str, port: int) -> None:
        self._run(lookup, partial(self._getaddrinfo, host), self._looked_up, self._core.resolve_failed)

    def _looked_up(self, lookup: LookupId, found: Sequence[Any], now: float) -> Sequence[Effect]:
        hosts = dict.fromkeys(address_of(entry[4])[0] for entry in found)
        return self._core.resolved(lookup, list(hosts), now)

    def _call(self, call: CallId, name: str, arguments: Mapping[str, Any]) -> None:
        function = self._calls.get(name)
        if function is None:
            self._driver.tell(self._core.call_failed, call, f"no function is registered as {name!r}")
        else:
            self._run(call, self._work(function, arguments), self._core.call_completed, self._core.call_failed)

    def _guard(self, step: Callable[..., None], *arguments: Any) -> None:
        """An exception here is a bug of ours. The driver has cut the connection that met it; the others go on."""
        try:
            step(*arguments)
        except Exception:
            _log.exception("a bug in proxycore, please report it")
        self._after()

    def _after(self) -> None:
        """Set the timer earlier if need be; one that is set too early costs less than setting it each time."""
        deadline = self._driver.next_deadline()
        if deadline is None or deadline > self._second_at:
            deadline = self._second_at
        if deadline < self._armed:
            self._armed = deadline
            self._arm(max(deadline - self._clock(), 0.0) + TICK)
        if self._draining and self._core.is_drained:
            self._closed.set()

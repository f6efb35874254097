"""One process that serves: from the start over reloads to the end of its drain, whatever runtime waits for it."""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable, Collection
from functools import partial
from typing import Protocol, TypeVar

from proxycore.config import Config, ConfigError
from proxycore.config.units import format_duration
from proxycore.program import exits
from proxycore.program.access_log import AccessLog, kinds_wanted
from proxycore.program.collecting import spare_what_stays
from proxycore.program.files import Loaded
from proxycore.program.listening import ListenError
from proxycore.program.notifying import Manager
from proxycore.program.program_log import set_level
from proxycore.program.reloading import Reloading, check_dashboard_stays
from proxycore.program.service import Service, Written

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)

_S = TypeVar("_S")
_log = logging.getLogger("proxycore")


class Serving(Protocol):
    """What a runtime needs of a process: it calls `serve`, then `started`, and passes `SIGNALS` to `signalled`."""

    def serve(self, serve: Callable[..., _S]) -> _S: ...
    def started(self, service: Service) -> None: ...
    def signalled(self, number: int) -> None: ...


class Process:
    """What happens around a `Service` in this process.

    A runtime begins it by `serve`, calls `started`, passes `SIGNALS` to `signalled`, and ends when the service
    has closed. `on_started` is called once, when everything is bound: it says so to whoever waits, and gives up
    privileges. While the process drains, the signals `cut_by` end it at once.
    """

    def __init__(
        self,
        loaded: Loaded,
        access_log: AccessLog,
        reloading: Reloading,
        on_started: Callable[[Service], None],
        *,
        cut_by: Collection[int] = (signal.SIGTERM, signal.SIGINT),
        manager: Manager | None = None,
    ) -> None:
        self._loaded = loaded
        self._access_log = access_log
        self._reloading = reloading
        self._on_started = on_started
        self._may_cut = cut_by
        self._manager = manager or Manager({})
        self._service: Service | None = None
        self._draining = False
        self._was_cut_by: int | None = None

    def serve(self, serve: Callable[..., _S]) -> _S:
        """Call a binding's `serve` for what this process is to serve."""
        return serve(
            self._loaded.config,
            materials=self._loaded.materials,
            observer=self._access_log.observe,
            watch=kinds_wanted(self._loaded.config.logging),
        )

    @property
    def exit_code(self) -> int:
        return exits.OK if self._was_cut_by is None else exits.INTERRUPTED + self._was_cut_by

    def started(self, service: Service) -> None:
        """The service listens. Raises NotStarted where it may not go on."""
        self._service = service
        _note_file(service, self._loaded)
        service.adopt = partial(self._change_to, service)
        self._on_started(service)
        spare_what_stays()
        self._manager.ready()
        if self._manager.beat < math.inf:
            service.call_each_second(self._manager.alive)

    def signalled(self, number: int) -> None:
        """Do what a signal asks for. Called in the runtime's own turn, never from a signal handler, and never waits."""
        service = self._service
        assert service is not None
        if number == signal.SIGUSR1:
            self._access_log.reopen()
        elif number == signal.SIGHUP:
            if not self._draining:
                self._reload(service)
        elif not self._draining:
            self._drain(service)
        elif number in self._may_cut:
            _log.warning("ending at once")
            self._was_cut_by = number
            service.request_drain(0.0)

    def _drain(self, service: Service) -> None:
        self._draining = True
        self._manager.stopping()
        limit = format_duration(service.config.timeouts.drain)
        _log.info("draining (timeouts.drain = %s): what is in flight ends, nothing new is taken", limit)
        service.request_drain(None)
        self._reloading.ended()

    def _reload(self, service: Service) -> None:
        try:
            loaded = self._reloading.take()
            if loaded is None:
                self._manager.reloading()
                return
            self._change_to(service, loaded)
        except (ConfigError, ListenError) as error:
            _log.error("the new configuration is refused, the old one goes on:\n%s", error)
            self._reloading.concluded(str(error))
        except Exception:
            _log.exception("a bug in proxycore, please report it; the new configuration may be in force in part")
            self._reloading.concluded("a bug")
        else:
            self._reloading.concluded("")
        self._manager.ready()

    def _change_to(self, service: Service, loaded: Loaded) -> None:
        before = service.config
        check_dashboard_stays(before, loaded.config, loaded.file)
        log = self._access_log.prepare(loaded.config.logging)
        try:
            service.reload(loaded.config, loaded.materials)
        except (ConfigError, ListenError):
            self._access_log.discard(log)
            raise
        self._access_log.commit(log)
        _note_file(service, loaded)
        service.watch(kinds_wanted(loaded.config.logging))
        set_level(loaded.config.logging.level)
        self._warn_of_restart(before, loaded.config)
        spare_what_stays()
        _log.info("the new configuration is in force")

    def _warn_of_restart(self, before: Config, after: Config) -> None:
        """Some settings are of the process and not of what it serves."""
        for key in ("workers", "user"):
            if getattr(before, key) != getattr(after, key):
                _log.warning("%s was changed: that takes a restart", key)


def _note_file(service: Service, loaded: Loaded) -> None:
    service.written = Written(loaded.file, loaded.text) if loaded.file else None

"""The process that serves `[admin]` for several workers: it shows them as one, and has no traffic of its own."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from proxycore import __version__
from proxycore.config import Config, Timeouts
from proxycore.program import exits, sharing
from proxycore.program.admin.local import admin_config
from proxycore.program.admin.pages import PERFORM, Pages, perform
from proxycore.program.admin.workers import Supervise, Workers
from proxycore.program.files import Loaded
from proxycore.program.privileges import become
from proxycore.program.program_log import set_level
from proxycore.program.reloading import Reloading
from proxycore.program.service import Service, blocking

ACTION_LIMIT = 90.0
"""Seconds that an action may take: all workers change to a configuration, or each in turn answers to an order."""

_S = TypeVar("_S")


class Apart:
    """What happens around the dashboard's `Service` in a process of its own; see `running.Process`, its like."""

    exit_code = exits.OK

    def __init__(
        self,
        loaded: Loaded,
        assignment: sharing.Assignment,
        reloading: Reloading,
        supervise: Supervise,
        on_started: Callable[[Service], None],
        binding: str,
    ) -> None:
        assert loaded.config.admin is not None
        self._loaded = loaded
        self._admin = loaded.config.admin
        self._binds = [f"fd:{fd}" for fds in assignment.sockets.values() for fd in fds]
        self._reloading = reloading
        self._workers = Workers(assignment.followed, loaded, binding, supervise)
        self._on_started = on_started
        self._service: Service | None = None

    def serve(self, serve: Callable[..., _S]) -> _S:
        """Call a binding's `serve` for the dashboard."""
        admin = self._admin
        materials = self._loaded.materials
        context = materials.dashboard_tls
        return serve(
            self._config(),
            materials=replace(materials, listener_tls={} if context is None else {"admin": context}),
            filters=[
                Pages(
                    self._workers,
                    version=__version__,
                    hosts=() if admin.bind.startswith("unix:") else admin.hosts,
                    wait_in_threads=True,
                )
            ],
            calls={PERFORM: blocking(perform)},
        )

    def _config(self) -> Config:
        config = admin_config(self._admin)
        (listener,) = config.listeners
        listening = replace(listener, bind=self._binds, mode=None)
        return replace(config, listeners=[listening], timeouts=Timeouts(call=ACTION_LIMIT))

    def started(self, service: Service) -> None:
        """The dashboard listens: it looks at the workers before anybody is told that it does."""
        self._service = service
        become(self._loaded.config.user)
        self._workers.follow()
        self._workers.look()
        service.call_each_second(self._workers.look)
        self._on_started(service)

    def signalled(self, number: int) -> None:
        """SIGHUP brings another configuration to show. SIGTERM and SIGINT end it at once: what it showed has ended."""
        assert self._service is not None
        if number == signal.SIGHUP:
            loaded = self._reloading.take()
            if loaded is not None:
                self._workers.served = loaded
                set_level(loaded.config.logging.level)
                self._reloading.concluded("")
        elif number != signal.SIGUSR1:
            self._service.request_drain(0.0)


class Questions:
    """Asks the supervisor, one question after the other, from whatever thread. Raises OSError when it is gone."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._lock = threading.Lock()

    def __call__(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        with self._lock:
            sharing.tell(self._end, question)
            heard = sharing.hear(self._end)
        if heard is None:
            raise BrokenPipeError("the supervisor is gone")
        return heard[0]

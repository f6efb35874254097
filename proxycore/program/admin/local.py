"""One process that shows itself: the service of `[admin]` beside the one that serves, in the same runtime."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

from proxycore import __version__
from proxycore.config import BasicAuth, Config, ConfigError, Limits, Match, Respond, Route
from proxycore.config.listeners import dashboard_listener
from proxycore.config.materials import Materials
from proxycore.config.process import Admin
from proxycore.policies.statistics import Statistics
from proxycore.policies.trace import Step
from proxycore.program.admin.api import Asked
from proxycore.program.admin.events import Events
from proxycore.program.admin.operations import Problem
from proxycore.program.admin.pages import CONTENT_MAX, PROBES, Pages
from proxycore.program.admin.reports import Board, Report, report
from proxycore.program.files import Disk, Edited, Loaded, Source
from proxycore.program.listening import ListenError
from proxycore.program.program_log import set_level
from proxycore.program.service import Service, Written
from proxycore.testing.explaining import explain
from proxycore.testing.proxy import NoListener
from proxycore.words.commands import Purge, ServerCommand


def beside(service: Service, statistics: Statistics, materials: Materials) -> dict[str, Any]:
    """What a binding's `serve` needs to make a second service, which shows `service`."""
    admin = service.config.admin
    assert admin is not None
    local = Local(service, statistics)
    service.call_each_second(local.look)
    hosts = () if admin.bind.startswith("unix:") else admin.hosts
    context = None if admin.tls is None else materials.dashboard_tls
    return {
        "config": admin_config(admin),
        "materials": replace(materials, listener_tls={} if context is None else {"admin": context}),
        "filters": [Pages(local, version=__version__, hosts=hosts)],
    }


def admin_config(admin: Admin) -> Config:
    """A configuration whose every request the filter `Pages` answers."""
    password = admin.password_file
    return Config(
        listeners=[dashboard_listener(admin)],
        basic_auth={} if password is None else {"admin": BasicAuth(file=password, realm="proxycore")},
        routes=[
            Route(name="probes", match=Match(path=PROBES), respond=Respond(status=404)),
            Route(name="admin", respond=Respond(status=404), basic_auth=None if password is None else "admin"),
        ],
        limits=Limits(buffer=CONTENT_MAX, request_body=CONTENT_MAX),
    )


class Local:
    """`api.Source` of one service."""

    def __init__(self, service: Service, statistics: Statistics) -> None:
        binding = type(service).__module__.partition(".")[0].removeprefix("proxycore_")
        self.board = Board(version=__version__, binding=binding, started=time.time())
        self.events = Events(self.board)
        self._service = service
        self._statistics = statistics
        self._process = {"pid": os.getpid(), "began": time.time()}
        self.look()

    def look(self) -> None:
        """Take this second's report."""
        self.board.take(self.reports(), time.time())
        self.events.tell()
        if self._service.dashboard is not None:
            self._service.dashboard.nudge()

    def renew(self) -> None:
        self.board.renew(self.reports())

    def reports(self) -> list[Report]:
        return [report(self._service.core, self._statistics, self._process)]

    def command(self, command: ServerCommand) -> None:
        self._service.command(command)

    def purge(self, purge: Purge) -> int:
        before = self._purged
        self._service.command(purge)
        return self._purged - before

    @property
    def _purged(self) -> int:
        return sum(cache.purged for cache in self._service.core.overview().caches)

    def set_log_level(self, level: str) -> None:
        set_level(level)

    @property
    def file(self) -> str:
        return self._written().file

    def configuration(self) -> str:
        return self._written().text

    def check(self, text: str) -> list[str]:
        try:
            self._load(text)
        except ConfigError as error:
            return [str(problem) for problem in error.problems]
        return []

    def configure(self, text: str) -> None:
        if self._service.is_draining:
            raise Problem(503, "the program is ending")
        try:
            loaded = self._load(text)
            self._service.adopt(loaded)
        except ConfigError as error:
            raise Problem(422, str(error)) from None
        except ListenError as error:
            raise Problem(409, str(error)) from None

    def explain(self, asked: Asked) -> dict[str, Any]:
        service = self._service
        # They may count, or ask who knows whom: what was never sent must not come to that.
        own = [
            Step("filter", "not asked", type(f).__name__, "it is the application's own") for f in service.core.filters
        ]
        try:
            explanation = explain(
                service.core.config,
                asked.request,
                asked.headers,
                materials=service.materials,
                client_ip=asked.client_ip,
                tls_subject=asked.tls_subject,
                listener=asked.listener,
                like=service.core,
                now=time.monotonic(),
                known=own,
            )
        except NoListener as error:
            raise ValueError(str(error)) from None
        return explanation.as_dict()

    def _load(self, text: str) -> Loaded:
        file = self._written().file
        return Source(file).load(Edited(Disk(), file, text))

    def _written(self) -> Written:
        if self._service.written is None:
            raise Problem(404, "what is served was not read from a file")
        return self._service.written

"""Several workers shown and steered as one: the source of `[admin]` where `workers` is more than 1.

Theory of operation
-------------------
Each worker serves the pages of `[admin]` too, on a Unix socket that only we can reach. A thread asks every one for
its report once a second; the runtime's own turn takes what came (`look`), adds it up and tells who looks on.

What a worker had counted when it died stays: its last report is among what they `left_behind`, and only what it
counted after that is missing. So counters go on growing while workers come and go.

An order goes to every worker that lives. One that starts later is given what stands by the supervisor, who is told of
every change; and one that missed an order all the same, since it was starting at that moment, is given it by the
next round. Orders wait for answers, so `Pages` has them done in threads.
"""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from proxycore import __version__
from proxycore.program.admin.api import ACTION_HEADER, MODES, Asked
from proxycore.program.admin.events import Events
from proxycore.program.admin.operations import Problem
from proxycore.program.admin.reports import NOTHING_ENDED, Board, Report, left_behind
from proxycore.program.files import Loaded
from proxycore.words.commands import (
    AddServer,
    CommandRefused,
    Purge,
    RemoveServer,
    ServerCommand,
    WeighServer,
    command_from_dict,
)

PERIOD = 1.0
"""Seconds between two rounds of questions."""

REPORT_LIMIT, ORDER_LIMIT = 1.0, 5.0
"""Seconds that a worker may take to answer. One that takes longer is busy or stuck, and keeps the figures it had."""

_log = logging.getLogger("proxycore")

Orders = list[dict[str, Any]]
Supervise = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Asks the supervisor, and gives its answer. Raises OSError when it is gone."""


class Gone(Exception):
    """The worker doesn't run."""


class Late(Exception):
    """The worker runs and did not answer in time."""


class Refused(Exception):
    """The worker answered, and won't."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


class Workers:
    """`api.Source` of the workers that answer at `paths`, named in that order."""

    def __init__(self, paths: Mapping[str, str], served: Loaded, binding: str, supervise: Supervise) -> None:
        self.board = Board(version=__version__, binding=binding, started=time.time())
        self.events = Events(self.board)
        self.served = served
        self._paths = paths
        self._supervise = supervise
        self._lock = threading.Lock()
        self._reports: dict[str, Report] = {}
        self._ended = NOTHING_ENDED
        self._orders: Orders = []
        self._news = False

    # ---- what they report

    def follow(self) -> None:
        """Ask all workers now, and from now on every second in a thread."""
        self._ask_all()
        threading.Thread(target=self._follow, name="proxycore workers", daemon=True).start()

    def look(self) -> None:
        """In the runtime's own turn: show what came since the last time."""
        if self._news:
            self._news = False
            self.board.take(self.reports(), time.time(), self._ended)
            if self.board.has_reports:
                self.events.tell()

    def renew(self) -> None:
        if self._reports:  # else no worker runs any more, and the board goes on showing the last ones
            self.board.renew(self.reports(), self._ended)

    def _follow(self) -> None:
        while True:
            time.sleep(PERIOD)
            try:
                self._ask_all()
            except OSError:
                return  # the supervisor is gone, and so are we in a moment
            except Exception:
                _log.exception("a bug in proxycore, please report it")

    def _ask_all(self) -> None:
        """Take every worker's report, and have those with other orders follow the others."""
        with self._lock:
            reports = dict(self._reports)
            for name, path in self._paths.items():
                before = reports.get(name)
                try:
                    (now,) = _ask(path, "GET", "/api/v1/reports", limit=REPORT_LIMIT)
                except Late:
                    continue
                except (Gone, Refused):
                    now = None
                if before is not None and (now is None or now["process"] != before["process"]):
                    self._ended = left_behind(self._ended, before)
                if now is None:
                    reports.pop(name, None)
                else:
                    reports[name] = now
            self._reports = reports
            self._news = True
            self._agree()

    def _agree(self) -> None:
        """The orders and the log level of the worker that runs longest are everybody's, also of those to come."""
        if not self._reports:
            return
        eldest = min(self._reports.values(), key=lambda report: float(report["process"]["began"]))
        orders: Orders = eldest["orders"]
        if orders != self._orders:
            self._orders = orders
            self._supervise({"orders": orders})
        for name, report in self._reports.items():
            for order in orders:
                if order not in report["orders"]:
                    _follow(self._paths[name], _request_for(command_from_dict(order)))
            if report["log_level"] != eldest["log_level"]:
                _follow(self._paths[name], _request_to_log(eldest["log_level"]))

    def reports(self) -> list[Report]:
        return list(self._reports.values())

    # ---- what they are told

    def command(self, command: ServerCommand) -> None:
        if isinstance(command, AddServer) and "max_connections" in command.settings:
            part = -(-int(command.settings["max_connections"]) // len(self._paths))
            command = AddServer(command.upstream, command.server, {**command.settings, "max_connections": part})
        try:
            self._have_all(_request_for(command))
        except Refused as refusal:
            if refusal.status == 409:
                raise CommandRefused(refusal.detail) from None
            raise Problem(refusal.status, refusal.detail) from None
        self._ask_all()

    def purge(self, purge: Purge) -> int:
        try:
            answers = self._have_all(("POST", "/api/v1/purge", {"kind": purge.kind, "what": purge.what}))
        except Refused as refusal:
            raise Problem(refusal.status, refusal.detail) from None
        self._ask_all()
        return sum(int(answer["purged"]) for answer in answers)

    def set_log_level(self, level: str) -> None:
        self._have_all(_request_to_log(level))
        self._ask_all()

    def _have_all(self, request: tuple[str, str, Any]) -> list[Any]:
        """Have every worker do it: their answers. Raises Refused if none would, Problem if only some did."""
        done: dict[str, Any] = {}
        failed: dict[str, str] = {}
        refusal: Refused | None = None
        for name, path in self._paths.items():
            try:
                answer = _ask(path, *request, limit=ORDER_LIMIT)
            except Gone:
                continue  # it starts again with all that was ordered
            except Late:
                failed[name] = f"no answer in {ORDER_LIMIT:g} s"
            except Refused as error:
                failed[name] = error.detail
                refusal = error
            else:
                done[name] = answer
        if refusal is not None and not done and set(failed.values()) == {refusal.detail}:
            raise refusal
        if failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            raise Problem(502, f"done by {', '.join(done) or 'no worker'}, not by all ({reasons}); ask again")
        if not done:
            raise Problem(503, "no worker runs at this moment; ask again")
        return list(done.values())

    # ---- the configuration

    @property
    def file(self) -> str:
        if not self.served.file:
            raise Problem(404, "what is served was not read from a file")
        return self.served.file

    def configuration(self) -> str:
        return self.served.text if self.file else ""

    def check(self, text: str) -> list[str]:
        problems: list[str] = self._asked_above({"check": text})["problems"]
        return problems

    def configure(self, text: str) -> None:
        self._asked_above({"configure": text})
        self._ask_all()

    def _asked_above(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """The supervisor's answer. Raises Problem where it refuses."""
        answer = self._supervise(question)
        if answer.get("status"):
            raise Problem(answer["status"], answer["detail"])
        return answer

    def explain(self, asked: Asked) -> dict[str, Any]:
        content: dict[str, Any] = {
            "request": asked.request,
            "headers": dict(asked.headers),
            "client_ip": asked.client_ip,
        }
        if asked.listener is not None:
            content["listener"] = asked.listener
        if asked.tls_subject:
            content["tls_subject"] = asked.tls_subject
        for path in self._paths.values():
            try:
                explanation: dict[str, Any] = _ask(path, "POST", "/api/v1/explain", content, limit=ORDER_LIMIT)
            except (Gone, Late):
                continue
            except Refused as refusal:
                raise Problem(refusal.status, refusal.detail) from None
            return explanation
        raise Problem(503, "no worker runs at this moment; ask again")


# ---- speaking with a worker


def _request_for(command: ServerCommand) -> tuple[str, str, Any]:
    """Method, path and content of the API's operation."""
    servers = f"/api/v1/upstreams/{quote(command.upstream, safe='')}/servers"
    if isinstance(command, AddServer):
        return "POST", servers, {"name": command.server, **command.settings}
    server = f"{servers}/{quote(command.server, safe='')}"
    if isinstance(command, RemoveServer):
        return "DELETE", server, None
    if isinstance(command, WeighServer):
        return "PATCH", server, {"weight": command.weight}
    return "PATCH", server, {"mode": next(mode for mode, kind in MODES.items() if type(command) is kind)}


def _request_to_log(level: str) -> tuple[str, str, Any]:
    return "PUT", "/api/v1/log-level", {"level": level}


def _follow(path: str, request: tuple[str, str, Any]) -> None:
    """Have one worker do what the others did."""
    try:
        _ask(path, *request, limit=ORDER_LIMIT)
    except (Gone, Late, Refused) as error:
        _log.debug("a worker did not follow the others: %r", error)


def _ask(path: str, method: str, target: str, content: Any = None, *, limit: float) -> Any:
    """One request to one worker: what its answer holds. Raises Gone, Late or Refused."""
    connection = _UnixConnection(path, limit)
    try:
        body = None if content is None else json.dumps(content)
        connection.request(method, target, body, {ACTION_HEADER: "1"})
        response = connection.getresponse()
        data = response.read()
    except TimeoutError:
        raise Late from None
    except (OSError, http.client.HTTPException):
        raise Gone from None
    finally:
        connection.close()
    if response.status >= 300:
        raise Refused(response.status, _detail_of(data))
    return json.loads(data) if data else None


def _detail_of(data: bytes) -> str:
    try:
        return str(json.loads(data)["detail"])
    except (ValueError, KeyError, TypeError):
        return data.decode("utf-8", "replace")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket. The worker itself answers every Host there."""

    def __init__(self, path: str, limit: float) -> None:
        super().__init__("localhost", timeout=limit)
        self._path = path
        self._limit = limit

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._limit)
        self.sock.connect(self._path)

"""What can be asked and ordered, as operations on a `Source`: one process that serves, or all workers together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, get_args

from proxycore.config.upstreams import WEIGHT_MAX
from proxycore.policies.addresses import parse_address
from proxycore.policies.trace import Step
from proxycore.program.admin.events import Events
from proxycore.program.admin.operations import Call, Operation, Operations, Problem, Schema
from proxycore.program.admin.reports import Board, Report
from proxycore.program.replacing import replacing
from proxycore.words.commands import (
    AddServer,
    CommandRefused,
    DisableServer,
    DrainServer,
    EnableServer,
    Purge,
    PurgeKind,
    RemoveServer,
    ServerCommand,
    WeighServer,
)

ACTION_HEADER = "X-Proxycore-Action"
"""A form or a plain link of another site can't send it, and a script there may not (CORS isn't answered)."""

MODES: dict[str, type[ServerCommand]] = {"enabled": EnableServer, "drained": DrainServer, "disabled": DisableServer}
LEVELS = ["debug", "info", "warning", "error"]

_TEXT: Schema = {"type": "string", "minLength": 1}
_ANY: Schema = {"type": "object"}
_LIST: Schema = {"type": "array", "items": _ANY}
_WEIGHT: Schema = {"type": "integer", "minimum": 0, "maximum": WEIGHT_MAX}
_CHANGE: Schema = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {"mode": {"enum": list(MODES)}, "weight": _WEIGHT},
}
_SERVER: Schema = {
    "type": "object",
    "required": ["name", "url"],
    "additionalProperties": False,
    "properties": {
        "name": _TEXT,
        "url": _TEXT,
        "weight": _WEIGHT,
        "max_connections": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
        "backup": {"type": "boolean"},
    },
}
_CONFIGURATION: Schema = {
    "type": "object",
    "required": ["toml"],
    "additionalProperties": False,
    "properties": {
        "toml": {"type": "string", "description": "The whole configuration, as it would stand in its file."}
    },
}
_REPLACEMENT: Schema = {
    **_CONFIGURATION,
    "properties": {
        **_CONFIGURATION["properties"],
        "persist": {
            "type": "boolean",
            "description": "Write it to the file too. Else it is served until the next reload or restart.",
        },
    },
}
_PROBLEMS: Schema = {
    "type": "object",
    "required": ["problems"],
    "properties": {"problems": {"type": "array", "items": {"type": "string"}}},
}
_FIELD: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_ASKED: Schema = {
    "type": "object",
    "required": ["request"],
    "additionalProperties": False,
    "properties": {
        "request": {**_TEXT, "description": 'A method and a URL, such as "GET https://example.com/".'},
        "headers": {"type": "object", "additionalProperties": _FIELD},
        "client_ip": {**_TEXT, "description": "Who asks."},
        "tls_subject": {**_TEXT, "description": "Subject of the certificate that the client shows."},
        "listener": {**_TEXT, "description": "Where it arrives; else the first listener that fits the URL."},
    },
}
_EXPLANATION: Schema = {
    "type": "object",
    "required": ["request", "listener", "route", "steps", "result"],
    "properties": {
        "steps": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["stage", "verdict", "name", "reason"],
                "additionalProperties": {"type": "string"},
            },
        },
    },
    "additionalProperties": True,
}
_PURGED: Schema = {
    "type": "object",
    "required": ["purged"],
    "properties": {"purged": {"type": "integer", "minimum": 0, "description": "Responses that were stored and went."}},
}
_PURGE: Schema = {
    "type": "object",
    "required": ["kind", "what"],
    "additionalProperties": False,
    "properties": {"kind": {"enum": list(get_args(PurgeKind))}, "what": _TEXT},
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to explain: a method and a URL."""

    request: str
    headers: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    client_ip: str = "192.0.2.1"
    tls_subject: str = ""
    listener: str | None = None


class Source(Protocol):
    """Whoever serves, as the API needs it."""

    board: Board
    events: Events

    def reports(self) -> list[Report]:
        """What each process knows, as `Board` adds it up."""

    def renew(self) -> None:
        """Have the board show what an order has just changed. Called in the runtime's own turn."""

    def command(self, command: ServerCommand) -> None:
        """Obey in every process. Raises CommandRefused, or Problem where only some could."""

    def purge(self, purge: Purge) -> int:
        """Purge in every process; how many stored responses went. Raises Problem where only some could."""

    def set_log_level(self, level: str) -> None: ...

    @property
    def file(self) -> str:
        """The file that the configuration came from. Raises Problem where it came from none."""

    def configuration(self) -> str:
        """The text of the configuration in force."""

    def check(self, text: str) -> list[str]:
        """What is wrong with a configuration."""

    def configure(self, text: str) -> None:
        """Serve `text` from now on, in every process. Raises Problem, with nothing changed."""

    def explain(self, asked: Asked) -> dict[str, Any]:
        """What would become of a request, and why: `Explanation.as_dict`. Raises ValueError."""


def operations(source: Source, openapi: Callable[[], Any]) -> Operations:
    """All operations on `source`; `openapi` gives the document that describes them."""
    api = _Api(source)
    server = "/api/v1/upstreams/{upstream}/servers/{server}"
    return Operations(
        [
            Operation("GET", "/api/openapi.json", "This document.", lambda call: openapi(), gives=_ANY),
            Operation("GET", "/api/v1/status", "Everything at once.", api.status, gives=_ANY),
            Operation(
                "GET", "/api/v1/seconds", "Rates and percentiles of each of the last seconds.", api.seconds, gives=_LIST
            ),
            Operation("GET", "/api/v1/listeners", "Where we listen.", api.part("listeners"), gives=_LIST),
            Operation("GET", "/api/v1/routes", "Which request goes where.", api.part("routes"), gives=_LIST),
            Operation("GET", "/api/v1/upstreams", "Where we send.", api.part("upstreams"), gives=_LIST),
            Operation("GET", "/api/v1/limits", "What limits refused and delayed.", api.part("limits"), gives=_LIST),
            Operation("GET", "/api/v1/rules", "What rules of the WAF found.", api.part("rules"), gives=_LIST),
            Operation("GET", "/api/v1/caches", "What caches hold, and have done.", api.part("caches"), gives=_LIST),
            Operation(
                "GET", "/api/v1/failures", "The last exchanges that failed, and why.", api.part("failures"), gives=_LIST
            ),
            Operation(
                "GET", "/api/v1/changes", "The last changes of servers, and why.", api.part("changes"), gives=_LIST
            ),
            Operation("GET", "/api/v1/reports", "What each process knows, not added up.", api.reports, gives=_LIST),
            Operation("GET", "/api/v1/upstreams/{upstream}", "One upstream.", api.upstream, gives=_ANY),
            Operation("GET", server, "One server.", api.server, gives=_ANY),
            Operation("POST", "/api/v1/upstreams/{upstream}/servers", "Add a server.", api.add, _SERVER),
            Operation("PATCH", server, "Drain, disable, enable or weigh a server.", api.change, _CHANGE),
            Operation("DELETE", server, "Take a server out; it finishes what it has.", api.remove),
            Operation(
                "GET", "/api/v1/configuration", "The configuration in force.", api.configuration, gives=_CONFIGURATION
            ),
            Operation(
                "POST",
                "/api/v1/configuration/check",
                "Check a configuration.",
                api.check,
                _CONFIGURATION,
                _PROBLEMS,
                is_question=True,
            ),
            Operation(
                "PUT",
                "/api/v1/configuration",
                "Serve another configuration.",
                api.configure,
                _REPLACEMENT,
                untold=("toml",),
            ),
            Operation(
                "POST",
                "/api/v1/purge",
                "Remove stored responses from all caches.",
                api.purge,
                _PURGE,
                gives=_PURGED,
            ),
            Operation(
                "PUT",
                "/api/v1/log-level",
                "Say more or less in the program's log.",
                api.log_level,
                {"type": "object", "required": ["level"], "properties": {"level": {"enum": LEVELS}}},
            ),
            Operation(
                "POST",
                "/api/v1/explain",
                "Say what would become of a request, and why.",
                api.explain,
                _ASKED,
                gives=_EXPLANATION,
                is_question=True,
            ),
            Operation(
                "GET",
                "/api/v1/failures/{request_id}/explanation",
                "Explain one of the last exchanges that failed, as far as it is remembered.",
                api.explain_failure,
                gives=_EXPLANATION,
                asks_workers=True,
            ),
        ]
    )


class _Api:
    """What each operation does."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def status(self, call: Call) -> Any:
        return self._source.board.status()

    def seconds(self, call: Call) -> Any:
        return self._source.board.seconds()

    def part(self, key: str) -> Callable[[Call], Any]:
        return lambda call: self._source.board.status()[key]

    def reports(self, call: Call) -> Any:
        return self._source.reports()

    def upstream(self, call: Call) -> Any:
        return _named(self._source.board.status()["upstreams"], call.names["upstream"], "upstream")

    def server(self, call: Call) -> Any:
        return _named(self.upstream(call)["servers"], call.names["server"], "server")

    def add(self, call: Call) -> None:
        settings = dict(call.content)
        self._command(AddServer(call.names["upstream"], settings.pop("name"), settings))

    def change(self, call: Call) -> None:
        """Both or none: a weight within its bounds is refused only for a server that isn't there, as a mode is."""
        names = (call.names["upstream"], call.names["server"])
        if "weight" in call.content:
            self._command(WeighServer(*names, call.content["weight"]))
        if "mode" in call.content:
            self._command(MODES[call.content["mode"]](*names))

    def remove(self, call: Call) -> None:
        self._command(RemoveServer(call.names["upstream"], call.names["server"]))

    def configuration(self, call: Call) -> Any:
        return {"toml": self._source.configuration()}

    def check(self, call: Call) -> Any:
        return {"problems": self._source.check(call.content["toml"])}

    def configure(self, call: Call) -> None:
        text = call.content["toml"]
        try:
            with replacing(self._source.file, text) if call.content.get("persist") else nullcontext():
                self._source.configure(text)
        except OSError as error:
            raise Problem(
                409, f"{self._source.file} can't be written: {(error.strerror or str(error)).lower()}"
            ) from None

    def purge(self, call: Call) -> Any:
        try:
            purge = Purge(call.content["kind"], call.content["what"])
        except CommandRefused as error:
            raise Problem(422, str(error)) from None
        return {"purged": self._source.purge(purge)}

    def log_level(self, call: Call) -> None:
        self._source.set_log_level(call.content["level"])

    def explain(self, call: Call) -> Any:
        return self._explained(Asked(**call.content))

    def explain_failure(self, call: Call) -> Any:
        request_id = call.names["request_id"]
        for failed in self._source.board.status()["failures"]:
            if failed["request_id"] == request_id:
                return self._explained_again(failed)
        raise Problem(404, "no failed exchange of that id is remembered; GET /api/v1/failures lists those that are")

    def _explained_again(self, failed: Mapping[str, Any]) -> Any:
        """As it would end now, or only how it ended."""
        ended = _ended(failed)
        try:
            return self._explained(_asked_again(failed), [ended, _ASKED_AGAIN])
        except Problem as problem:
            if problem.status != 422:
                raise
            return {
                "request": f"{failed['method']} {failed['scheme']}://{failed['authority']}{failed['target']}",
                "listener": failed["listener"],
                "route": failed["route"],
                "steps": [step._asdict() for step in (ended, Step("failure", "not asked again", "", problem.detail))],
                "result": f"was answered {failed['status']}",
            }

    def _explained(self, asked: Asked, known: Sequence[Step] = ()) -> Any:
        try:
            explanation = self._source.explain(asked)
        except ValueError as error:
            raise Problem(422, str(error)) from None
        return {**explanation, "steps": [*(step._asdict() for step in known), *explanation["steps"]]}

    def _command(self, command: ServerCommand) -> None:
        upstream = _named(self._source.board.status()["upstreams"], command.upstream, "upstream")
        try:
            self._source.command(command)
        except CommandRefused as error:
            # The board is a second old: only what the servers themselves refuse is looked up there.
            if not isinstance(command, AddServer):
                _named(upstream["servers"], command.server, "server")
            raise Problem(409, str(error)) from None


def _asked_again(failed: Mapping[str, Any]) -> Asked:
    """What a failed exchange asked for, as far as it is remembered. Raises Problem (422) if that is too little."""
    if not (failed["method"] and failed["authority"] and failed["target"].startswith("/")):
        raise Problem(422, "its head could not be read, or names no host or path")
    return Asked(
        f"{failed['method']} {failed['scheme']}://{failed['authority']}{failed['target']}",
        client_ip=failed["client"] if parse_address(failed["client"]) is not None else "127.0.0.1",
        tls_subject=failed["tls_subject"],
        listener=failed["listener"],
    )


def _ended(failed: Mapping[str, Any]) -> Step:
    how = ": ".join(filter(None, (failed["cause"], failed["detail"])))
    server = f" by {failed['server']} of {failed['upstream']}" if failed["server"] else ""
    return Step("failure", "ended", failed["request_id"], f"status {failed['status']}{server}, {how}")


# They may be secrets.
_ASKED_AGAIN = Step(
    "failure", "asked again", "", "as things stand now, without its headers and content: they aren't kept"
)


def _named(entries: list[dict[str, Any]], name: str, noun: str) -> dict[str, Any]:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise Problem(404, f'there is no {noun} "{name}"; there are: {", ".join(e["name"] for e in entries) or "none"}')

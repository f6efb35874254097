"""The operations of the API: one table from which requests are dispatched and the OpenAPI document is written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

Schema = Mapping[str, Any]

_HALF_OF_A_CHARACTER = re.compile("[\ud800-\udfff]")
"""A lone surrogate: JSON can escape one, and no UTF-8 holds it."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request for an operation: the names in its path, and its content once that has been read as JSON."""

    names: Mapping[str, str]
    content: Any = None


class Problem(Exception):
    """An operation can't be done; `detail` is a sentence for whoever asked (RFC 9457)."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `handle` gives plain values for JSON, or None for 204; it may raise Problem.

    `content` is the schema of what must be sent, `gives` of what comes back. Whatever isn't GET is an
    action: it needs the header that no other site's form can send, and is logged.
    """

    method: str
    path: str
    summary: str
    handle: Callable[[Call], Any]
    content: Schema | None = None
    gives: Schema = field(default_factory=dict)
    media_type: str = "application/json"
    asks_workers: bool = False
    """What can't be answered from reports; actions can't either."""
    untold: Collection[str] = ()
    """Keys of the content that the log leaves out."""
    is_question: bool = False
    """It changes nothing, though it isn't GET."""

    @property
    def is_action(self) -> bool:
        return self.method != "GET"

    @property
    def changes(self) -> bool:
        """Whether something may be other than it was."""
        return self.is_action and not self.is_question

    def told_of(self, call: Call) -> str:
        """What was ordered, for the log. What changes nothing may hold a person's request, and is nobody's business."""
        told = {key: value for key, value in (call.content or {}).items() if key not in self.untold}
        return json.dumps(told) if told and self.changes else ""


class Operations:
    """Finds the operation that a request asks for."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations)

    def find(self, method: str, path: str) -> tuple[Operation, Mapping[str, str]]:
        """The operation, and the names that stand in the path. Raises Problem (404, 405)."""
        allowed = []
        for operation in self._operations:
            names = _match(operation.path, path)
            if names is None:
                continue
            if operation.method == method or (operation.method, method) == ("GET", "HEAD"):
                return operation, names
            allowed.append(operation.method)
        if allowed:
            raise NotAllowed(allowed)
        raise Problem(404, f"there is nothing at {path}; GET /api/openapi.json lists what there is")


class NotAllowed(Problem):
    """There is such a path, and it has other methods."""

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(405, f"this takes {' and '.join(allowed)}")
        self.allowed = allowed


def _match(template: str, path: str) -> dict[str, str] | None:
    wanted, given = template.split("/"), path.split("/")
    if len(wanted) != len(given):
        return None
    names = {}
    for segment, value in zip(wanted, given, strict=True):
        if segment.startswith("{"):
            if not value:
                return None
            names[segment[1:-1]] = unquote_to_bytes(value).decode("utf-8", "replace")
        elif segment != value:
            return None
    return names


def checked(value: Any, schema: Schema, place: str = "the content") -> Any:
    """`value` if it is as `schema` says, in the words of JSON Schema that operations use. Raises Problem (422)."""
    kind = schema.get("type")
    if "enum" in schema:
        if value not in schema["enum"] or isinstance(value, bool):
            raise Problem(422, f"{place} is none of {', '.join(map(str, schema['enum']))}")
    elif kind == "object":
        _check_object(value, schema, place)
    elif kind == "integer":
        if not isinstance(value, int) or isinstance(value, bool):
            raise Problem(422, f"{place} is no whole number")
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            raise Problem(422, f"{place} is not from {schema.get('minimum')} to {schema.get('maximum')}")
    elif kind == "string":
        _check_text(value, schema, place)
    elif kind == "array":
        if not isinstance(value, list):
            raise Problem(422, f"{place} is no list")
        for entry in value:
            checked(entry, schema["items"], place)
    elif "anyOf" in schema:
        _check_any(value, schema["anyOf"], place)
    elif kind == "boolean" and not isinstance(value, bool):
        raise Problem(422, f"{place} is neither true nor false")
    return value


def _check_text(value: Any, schema: Schema, place: str) -> None:
    if not isinstance(value, str) or len(value) < schema.get("minLength", 0):
        raise Problem(422, f"{place} is no text")
    if _HALF_OF_A_CHARACTER.search(value):
        raise Problem(422, f"{place} holds half of a character (a lone surrogate)")


def _check_any(value: Any, schemas: Sequence[Schema], place: str) -> None:
    problems = []
    for schema in schemas:
        try:
            checked(value, schema, place)
            return
        except Problem as problem:
            problems.append(problem.detail)
    raise Problem(422, " and ".join(problems))


def _check_object(value: Any, schema: Schema, place: str) -> None:
    if not isinstance(value, dict):
        raise Problem(422, f"{place} is no object")
    properties = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in value:
            raise Problem(422, f'{place} needs "{key}"')
    if len(value) < schema.get("minProperties", 0):
        raise Problem(422, f"{place} is empty; it may have: {', '.join(properties)}")
    for key, entry in value.items():
        others = schema.get("additionalProperties", True)
        if key in properties:
            checked(entry, properties[key], key)
        elif others and others is not True:
            checked(entry, others, key)
        elif not others:
            raise Problem(422, f'{place} has no "{key}"; it may have: {", ".join(properties)}')


def openapi(operations: Operations, version: str, action_header: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these operations."""
    paths: dict[str, dict[str, Any]] = {path: {"get": described} for path, described in _APART.items()}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, action_header)
    return {
        "openapi": "3.1.0",
        "info": {"title": "proxycore", "version": version, "description": "What the dashboard shows and does."},
        "servers": [{"url": "/"}],
        "paths": paths,
        # Neither is needed where [admin] has no password.
        "security": [{}, {"password": []}],
        "components": {
            "schemas": {"Problem": PROBLEM},
            "securitySchemes": {"password": {"type": "http", "scheme": "basic"}},
        },
    }


PROBLEM: Schema = {
    "type": "object",
    "required": ["title", "status", "detail"],
    "properties": {"title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"}},
}
# Plain text is for what comes to no operation: a path with control characters.
_PROBLEM_CONTENT = {
    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
    "text/plain; charset=utf-8": {"schema": {"type": "string"}},
}


def _text(summary: str, media_type: str, *, is_open: bool = False) -> dict[str, Any]:
    """What gives text and is no `Operation`; `is_open`: also to who has no password."""
    return {
        "summary": summary,
        "responses": {
            "200": {"description": "Done.", "content": {media_type: {"schema": {"type": "string"}}}},
            "default": {
                "description": "Not done, and why.",
                "content": {**_PROBLEM_CONTENT, "text/plain": {"schema": {"type": "string"}}},
            },
        },
        **({"security": []} if is_open else {}),
    }


_APART: Mapping[str, dict[str, Any]] = {
    "/livez": _text("Whether it runs.", "text/plain", is_open=True),
    "/readyz": _text(
        "Whether requests should come here: something serves, and doesn't drain.", "text/plain", is_open=True
    ),
    "/metrics": _text("All counts, for Prometheus.", "text/plain; version=1.0.0; charset=utf-8"),
    "/api/v1/events": _text(
        "Server-sent events without end: the last seconds, and then each second, with the status.", "text/event-stream"
    ),
}


def _described(operation: Operation, action_header: str) -> dict[str, Any]:
    names = [segment[1:-1] for segment in operation.path.split("/") if segment.startswith("{")]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in names
    ]
    if operation.is_action:
        parameters.append(
            {"name": action_header, "in": "header", "required": True, "schema": {"type": "string", "minLength": 1}}
        )
    words = operation.path.replace("{", "").replace("}", "").split("/")
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": "_".join([operation.method.lower(), *filter(None, words)]),
        "parameters": parameters,
        "responses": {
            "200" if operation.gives else "204": (
                {"description": "Done.", "content": {operation.media_type: {"schema": operation.gives}}}
                if operation.gives
                else {"description": "Done."}
            ),
            "default": {"description": "Not done, and why.", "content": _PROBLEM_CONTENT},
        },
    }
    if operation.content is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": operation.content}},
        }
    return described

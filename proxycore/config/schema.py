"""The configuration's form as a JSON Schema, for editors: written from the model, as the reference is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxycore.config.loading import INCLUDE_DOC
from proxycore.config.model import Config
from proxycore.config.sections import Option, Section, options_of, section_of


def schema() -> dict[str, Any]:
    """A schema (draft 2020-12) that every good file fits. What it lets pass, `proxycore check` may still refuse."""
    include = {"type": ["string", "array"], "items": {"type": "string"}, "description": INCLUDE_DOC}
    whole = _section_schema(Config)
    whole["properties"]["include"] = include
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "proxycore",
        **whole,
        # What is required may stand in an included file.
        "required": [],
        "$defs": {cls.__name__: _section_schema(cls) for cls in _sections_below(Config, {Config})},
    }


def _section_schema(cls: type[Section]) -> dict[str, Any]:
    options = [option for option in options_of(cls) if not option.from_table_key]
    return {
        "type": "object",
        "properties": {option.key: _option_schema(option) for option in options},
        "required": [option.key for option in options if option.required],
        "additionalProperties": False,
    }


def _option_schema(option: Option) -> dict[str, Any]:
    described: dict[str, Any] = {"description": option.doc}
    if isinstance(option.default, str | int | float):
        described["default"] = option.default
    return option.kind.schema() | described


def _sections_below(cls: type[Section], known: set[type[Section]]) -> Iterator[type[Section]]:
    """Every section that `cls` holds, once."""
    for option in options_of(cls):
        inner = section_of(option.kind)
        if inner is not None and inner not in known:
            known.add(inner)
            yield inner
            yield from _sections_below(inner, known)

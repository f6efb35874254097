"""The schema for editors fits every good file, and finds the slips that a form can find."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from proxycore.config.schema import schema

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = schema()

GOOD = """
workers = "auto"
[limits]
connections = "off"
[[listeners]]
bind = "127.0.0.1:0"
[upstreams.api]
servers = ["http://a", { url = "http://b", weight = 2 }]
[[routes]]
upstream = "api"
"""


def wrong(text: str) -> list[str]:
    validator: Any = Draft202012Validator(SCHEMA)
    return [error.json_path for error in validator.iter_errors(tomllib.loads(text))]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "file", [*ROOT.glob("docs/*.toml"), *ROOT.glob("examples/**/*.toml")], ids=lambda file: file.name
)
def test_every_good_file_fits(file: Path) -> None:
    assert wrong(file.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("bind =", "bnd =", "$.listeners"),
        ('"auto"', '"many"', "$.workers"),
        ("weight = 2", 'weight = "2"', "$.upstreams.api.servers"),
        ('connections = "off"', "connections = 0", "$.limits.connections"),
        ("[limits]", "[timeouts]\nidle = 75\n[limits]", "$.timeouts.idle"),
        ("[limits]", '[timeouts]\nidle = "75 minutes"\n[limits]', "$.timeouts.idle"),
    ],
)
def test_it_finds_slips(old: str, new: str, place: str) -> None:
    assert wrong(GOOD) == []
    assert old in GOOD
    assert wrong(GOOD.replace(old, new)) == [place]


def test_a_variable_of_the_environment_may_stand_for_a_number() -> None:
    assert wrong(GOOD.replace("weight = 2", 'weight = "${WEIGHT}"')) == []

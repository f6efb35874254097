"""The example file: it loads, each of its values lands in the model, and each slip in it is told where it is."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from proxycore.config import (
    Config,
    ConfigError,
    Limits,
    Rate,
    StatusRange,
    Table,
    Timeouts,
    load_toml,
)
from proxycore.config.kinds import Kind, ListOf, TableOf
from proxycore.config.lines import lines_of
from proxycore.config.problems import Place, dotted, nearest
from proxycore.config.sections import Nested, Option, Section, options_of

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "proxycore.example.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
DATA = tomllib.loads(TEXT)


def the_section(kind: Kind[object]) -> type[Section] | None:
    while isinstance(kind, ListOf | TableOf):
        kind = kind.item if isinstance(kind, ListOf) else kind.value
    return kind.section if isinstance(kind, Nested) else None


def keys_of_the_model(path: tuple[str | int, ...]) -> list[str] | None:
    """All keys that may stand where a path's last key stands; None where the user chooses the key."""
    section: type[Section] | None = Config
    own_name = False
    for step in path[:-1]:
        if isinstance(step, int):
            continue
        if own_name:
            own_name = False
            continue
        if section is None:
            return None
        kind = next(option.kind for option in options_of(section) if option.key == step)
        own_name = isinstance(kind, TableOf)
        section = the_section(kind)
    if own_name or section is None:
        return None
    return [option.key for option in options_of(section) if not option.from_table_key]


def given_keys() -> Iterator[tuple[tuple[str | int, ...], int, int]]:
    """Path, line and offset in the text of every `key = value` of the example whose key is the model's."""
    lines = TEXT.splitlines(keepends=True)
    starts = [sum(map(len, lines[:n])) for n in range(len(lines))]
    seen: dict[tuple[int, str], int] = {}
    for path, line in lines_of(TEXT).items():
        key = path[-1]
        if not isinstance(key, str):
            continue
        number = seen.setdefault((line, key), 0)
        places = [m.start() for m in re.finditer(rf'(?<![\w"-]){re.escape(key)}(?=\s*=[^=])', lines[line - 1])]
        if lines[line - 1].startswith("[") or number >= len(places):
            continue
        seen[line, key] += 1
        if keys_of_the_model(path) is not None:
            yield path, line, starts[line - 1] + places[number]


def typos(key: str, known: list[str]) -> list[str]:
    """What fingers make of a key: a letter lost, doubled, swapped, wrong, or another case."""
    middle = len(key) // 2
    slips = [key[:middle] + key[middle + 1 :], key[:middle] + key[middle] + key[middle:]]
    if len(key) > 2:
        slips.append(key[: middle - 1] + key[middle] + key[middle - 1] + key[middle + 1 :])
        slips.append(key[:-1] + ("x" if key[-1] != "x" else "y"))
        slips.append(key.replace("_", "-") if "_" in key else key.capitalize())
    return [slip for slip in slips if slip not in known]


GIVEN = list(given_keys())


def test_every_key_of_the_example_is_tried() -> None:
    assert len(GIVEN) > 150
    assert {path[0] for path, _, _ in GIVEN} >= set(DATA) - {"error_pages"}


@pytest.mark.parametrize("number", range(len(GIVEN)), ids=[dotted(path) for path, _, _ in GIVEN])
def test_a_misspelt_key_is_one_problem_with_its_line_and_the_right_name(number: int) -> None:
    path, line, offset = GIVEN[number]
    key = path[-1]
    known = keys_of_the_model(path)
    assert isinstance(key, str)
    assert known is not None
    slips = typos(key, known)
    typo = slips[number % len(slips)]
    with pytest.raises(ConfigError) as caught:
        load_toml(TEXT[:offset] + typo + TEXT[offset + len(key) :], source="proxy.toml")
    (problem,) = caught.value.problems
    assert (problem.line, problem.place) == (line, dotted((*path[:-1], typo)))
    assert str(problem).endswith(f'unknown key; did you mean "{key}"?')


def all_sections(section: type[Section], found: list[type[Section]]) -> list[type[Section]]:
    if section not in found:
        found.append(section)
        for option in options_of(section):
            if inner := the_section(option.kind):
                all_sections(inner, found)
    return found


@pytest.mark.parametrize("section", all_sections(Config, []))
def test_every_slip_in_every_key_of_the_model_finds_that_key(section: type[Section]) -> None:
    known = [option.key for option in options_of(section)]
    for key in known:
        for typo in typos(key, known):
            assert nearest(typo, known) == key, typo


SECTION_TYPOS = {"limits": "limts", "timeouts": "timeout", "dns": "dsn", "logging": "loging", "admin": "admim"}


@pytest.mark.parametrize("name", SECTION_TYPOS)
def test_a_misspelt_section_is_one_problem(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_toml(TEXT.replace(f"\n[{name}]", f"\n[{SECTION_TYPOS[name]}]"), source="proxy.toml")
    (problem,) = caught.value.problems
    assert problem.suggestion == name
    assert problem.line == next(n for n, line in enumerate(TEXT.splitlines(), 1) if line.startswith(f"[{name}]"))


# ---- what lands where -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config() -> Config:
    return load_toml(TEXT, source="proxy.toml")


def given_form(kept: object) -> object:
    """What was kept, in a form that compares with what was given."""
    if isinstance(kept, Mapping):
        return {str(key): given_form(value) for key, value in kept.items()}
    if isinstance(kept, tuple):
        return [given_form(value) for value in kept]
    return kept


def assert_landed(option: Option, given: object, kept: object, path: str) -> None:
    """`given`, read by its kind alone, is what is kept; sections are compared key by key, so none is overlooked."""
    kind = option.kind
    section = the_section(kind)
    if section is None:
        place = Place()
        assert kept == kind.read(given, place), path
        assert not place.findings
    elif isinstance(kind, TableOf):
        assert isinstance(kept, Table)
        assert isinstance(given, Mapping)
        assert list(given) == list(kept)
        for name in given:
            assert kept[name].name == name
            assert_all_landed(section, given[name], kept[name], f"{path}.{name}")
    else:
        all_given = given if isinstance(given, list) else [given]
        all_kept = kept if isinstance(kept, tuple) else [kept]
        for one_given, one_kept in zip(all_given, all_kept, strict=True):
            assert_all_landed(section, one_given, one_kept, path)


def assert_all_landed(section: type[Section], given: Mapping[str, object], kept: object, path: str) -> None:
    assert isinstance(kept, section)
    for option in options_of(section):
        if option.key in given:
            assert_landed(option, given[option.key], getattr(kept, option.attribute), f"{path}.{option.key}")


def test_every_value_of_the_example_lands_in_the_model(config: Config) -> None:
    assert_all_landed(Config, DATA, config, "")


def test_some_values_by_hand(config: Config) -> None:
    web, tls = config.listeners
    assert web.bind == ("0.0.0.0:80", "[::]:80")
    assert [str(network) for network in web.trusted_proxies] == ["127.0.0.0/8", "10.0.0.0/8"]
    assert tls.tls is not None
    assert tls.tls.hsts == 180 * 86_400
    assert tls.bind == ("0.0.0.0:443",)
    api = config.upstreams["api"]
    assert [server.weight for server in api.servers] == [3, 2, 1]
    assert [server.name for server in api.servers] == ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]
    assert api.health_check is not None
    assert api.health_check.expect == (StatusRange(200, 299),)
    assert api.wait_until_up == 0.0
    assert config.upstreams["static"].servers[1].address == "/run/static.sock"
    assert config.rate_limits["per_client"].rate == Rate(100, 1.0)
    assert config.user is None
    assert config.error_pages == {502: "pages/502.html"}
    routes = {route.name: route for route in config.routes}
    cache = routes["api"].cache
    assert cache is not None
    assert cache.valid == {StatusRange(200, 200): 600.0, StatusRange(404, 404): 60.0}
    assert cache.bypass is not None
    assert cache.bypass.header == {"x-no-cache": ("*",)}
    assert routes["to-https"].match.not_ is not None
    assert routes["to-https"].match.not_.path == ("/.well-known/*",)
    assert [dict(match.header) for match in routes["canary"].match.any] == [{"x-canary": ("1",)}, {}, {}]
    assert routes["api"].request_headers.set == {"x-request-id": ("{request_id}",)}
    assert routes["api"].timeouts.response_head == 60.0
    assert config.timeouts.overridden(routes["api"].timeouts).response_head == 60.0
    assert config.timeouts.overridden(routes["rest"].timeouts) is config.timeouts


def test_limits_and_timeouts_of_the_example_are_the_defaults(config: Config) -> None:
    assert set(DATA["limits"]) == {option.key for option in options_of(Limits)}
    assert set(DATA["timeouts"]) == {option.key for option in options_of(Timeouts)}
    assert config.limits == Limits()
    assert config.timeouts == Timeouts()
    assert config.timeouts.exchange == math.inf

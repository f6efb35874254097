"""These tests run the program in a process of its own and look at it from outside: its memory, files, words, answers.

Each is bounded, and all of them together take less than a minute; `pytest tests/endurance --long` takes the
sizes that the goals are stated in (1 GiB, 2,000 connections) and every attack on every binding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.endurance.programs import OriginProgram

BINDINGS = ("asyncio", "trio", "gevent")

Tell = Callable[[object], None]
"""Says what was measured; `--long` lists it at the end."""

_TOLD = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", default=False, help="endurance: full sizes, each binding")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    told = config.stash.get(_TOLD, [])
    if told and config.getoption("--long", False):
        terminalreporter.section("measured")
        for line in told:
            terminalreporter.write_line(line)


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    told = request.config.stash.setdefault(_TOLD, [])
    return lambda measured: told.append(f"{request.node.name}: {measured}")


@pytest.fixture(scope="session")
def is_long(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--long", False))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`binding` is each; `main_binding` one, and each with `--long`: for what the core and the driver decide."""
    if "binding" in metafunc.fixturenames:
        metafunc.parametrize("binding", BINDINGS)
    if "main_binding" in metafunc.fixturenames:
        metafunc.parametrize("main_binding", BINDINGS if metafunc.config.getoption("--long", False) else BINDINGS[:1])


@pytest.fixture(scope="session")
def origin() -> Iterator[OriginProgram]:
    with OriginProgram() as program:
        yield program


@pytest.fixture(scope="session")
def calm_origin() -> Iterator[OriginProgram]:
    """Another one, that nobody attacks."""
    with OriginProgram() as program:
        yield program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path

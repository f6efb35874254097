"""`import proxycore` gives what the documentation names, quickly, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from types import ModuleType

import pytest

import proxycore
from tests.examples.started import ENVIRONMENT, ROOT

BINDINGS = ("asyncio", "trio", "gevent")


def test_the_door_has_what_it_names_and_nothing_else() -> None:
    rooms = {name for name, value in vars(proxycore).items() if isinstance(value, ModuleType)}
    public = {name for name in vars(proxycore) if not name.startswith("_")} - (rooms - {"effects", "notices"})
    assert public == set(proxycore.__all__) - {"__version__"}


def test_each_public_name_says_what_it_is() -> None:
    values = {name: getattr(proxycore, name) for name in proxycore.__all__}
    documented = {n: v for n, v in values.items() if isinstance(v, type | ModuleType) or callable(v)}
    assert [name for name, value in documented.items() if not value.__doc__] == []


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert proxycore.__version__ == project["version"]


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after it."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_it_loads_no_runtime_no_codec_and_no_driver() -> None:
    heavy = {"asyncio", "trio", "gevent", "uvloop", "h11", "httptools", "ssl", "logging", "proxycore.sockets"}
    assert loaded_by("import proxycore") & heavy == set()


@pytest.mark.parametrize("binding", BINDINGS)
def test_importing_a_binding_loads_its_own_runtime_only(binding: str) -> None:
    others = {"trio", "gevent", "uvloop"} - {binding}
    assert loaded_by(f"import proxycore_{binding}") & others == set()

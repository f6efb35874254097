"""The direction of imports and the purity of the core, read from the source (DESIGN section 3).

A contract is a function from a file's source to its offences. Each is shown to find something in
snippets first, so that a clean tree means something.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LAYERS = ("words", "config", "mechanisms", "policies", "composition", "filters", "core")
DOOR = "proxycore"
"""`proxycore/__init__.py`: the public names."""

MAY_IMPORT: dict[str, frozenset[str]] = {
    **{layer: frozenset(LAYERS[: rank + 1]) for rank, layer in enumerate(LAYERS)},
    DOOR: frozenset(LAYERS),
    "testing": frozenset({*LAYERS, DOOR, "testing"}),
    "sockets": frozenset({"words", "config", "core", DOOR, "sockets"}),
    "program": frozenset({*LAYERS, DOOR, "testing", "sockets", "program"}),
    "__main__": frozenset({"program"}),
    "binding": frozenset({"words", "config", "core", DOOR, "sockets", "program"}),
}
"""The rooms of ours that each room may name in an import, the lazy and the type-checking ones included."""

PURE = frozenset({*LAYERS, DOOR, "testing"})

IMPURE_MODULES = frozenset(
    "socket socketserver select selectors asyncio trio gevent greenlet uvloop eventlet threading _thread "
    "multiprocessing concurrent time sched os posix subprocess signal fcntl mmap shutil tempfile glob pathlib logging "
    "secrets uuid importlib atexit resource urllib.request http.client http.server".split()
)
IMPURE_CALLS = frozenset({"open", "print", "input", "breakpoint", "eval", "exec", "__import__", "hash"})
CLOCKS = frozenset({"now", "utcnow", "today"})
RUNTIMES = frozenset({"asyncio", "trio", "gevent"})
MAY_LOAD_SSL = frozenset({"mechanisms/tls.py", "program/tls_contexts.py"})
"""It takes longer to load than all of ours, and whoever speaks no TLS has no use for it."""


def room_of(module: str) -> str:
    """The room that a dotted name of ours lies in: its second part, or the door."""
    _, _, below = module.partition(".")
    return below.partition(".")[0] or DOOR


def imported_names(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Each import as a dotted name: `from a import b` is `a.b`, since `b` may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node, f"{'.' * node.level}{node.module or ''}.{alias.name}") for alias in node.names)


def layering_offences(source: str, room: str) -> list[str]:
    """Imports of rooms of ours that `room` may not know; relative ones, since they hide where they point."""
    offences = []
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lazy = {id(node) for function in functions for node in ast.walk(function)}
    for node, name in imported_names(tree):
        top = name.partition(".")[0]
        if name.startswith("."):
            offences.append(f"{node.lineno}: a relative import, {name}")
        elif top == "proxycore":
            target = room_of(name)
            if target not in MAY_IMPORT:  # `from proxycore import Core`: a name of the door
                target = DOOR
            if target not in MAY_IMPORT[room]:
                offences.append(f"{node.lineno}: {room} may not import {target} ({name})")
        elif top.startswith("proxycore_") and room not in {"binding"} and not (room == "program" and id(node) in lazy):
            offences.append(f"{node.lineno}: {room} may not import a binding ({name})")
        elif top in RUNTIMES and room == "sockets":
            offences.append(f"{node.lineno}: the socket driver knows no runtime ({name})")
    return offences


class Purity(ast.NodeVisitor):
    """Collects what a pure room may not do: I/O, clocks, chance, coroutines, order that differs between runs."""

    def __init__(self, random_names: set[str]) -> None:
        self.offences: list[str] = []
        self.functions: list[str] = []
        self.random_names = random_names
        """What the module `random` is called here; elsewhere that name is an instance that was given."""

    def offend(self, node: ast.stmt | ast.expr, what: str) -> None:
        self.offences.append(f"{node.lineno}: {what}")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.functions.append(node.name)
        self.generic_visit(node)
        self.functions.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.offend(node, f"async def {node.name}")

    def visit_Global(self, node: ast.Global) -> None:
        self.offend(node, f"global {', '.join(node.names)}")

    def visit_For(self, node: ast.For) -> None:
        self.check_iterated(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self.check_iterated(node.iter)
        self.generic_visit(node)

    def check_iterated(self, iterated: ast.expr) -> None:
        called = iterated.func.id if isinstance(iterated, ast.Call) and isinstance(iterated.func, ast.Name) else ""
        if isinstance(iterated, ast.Set | ast.SetComp) or called in {"set", "frozenset"}:
            self.offend(iterated, "iteration over a set")

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS and "__hash__" not in self.functions:
            self.offend(node, f"{node.func.id}()")
        if isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
            owner = ast.unparse(node.func.value)
            if owner.rpartition(".")[2] in {"datetime", "date"}:
                self.offend(node, f"{owner}.{node.func.attr}()")
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name) and node.value.id in self.random_names and node.attr != "Random":
            self.offend(node, f"random.{node.attr}")
        self.generic_visit(node)


def purity_offences(source: str) -> list[str]:
    tree = ast.parse(source)
    imports = [alias for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    visitor = Purity({alias.asname or alias.name for alias in imports if alias.name == "random"})
    visitor.visit(tree)
    for node, name in imported_names(tree):
        parts = name.split(".")
        if any(".".join(parts[:length]) in IMPURE_MODULES for length in range(1, len(parts) + 1)):
            visitor.offend(node, f"import of {name}")
        elif parts[0] == "random" and parts[1:] not in ([], ["Random"]):
            visitor.offend(node, f"import of {name}")
    return visitor.offences


def files() -> Iterator[tuple[Path, str]]:
    """Each source file of ours with its room."""
    for path in sorted((ROOT / "proxycore").rglob("*.py")):
        below = path.relative_to(ROOT / "proxycore").with_suffix("").parts
        yield path, DOOR if below == ("__init__",) else below[0]
    for path in sorted((ROOT / "bindings").rglob("*.py")):
        yield path, "binding"


FILES = [pytest.param(path, room, id=str(path.relative_to(ROOT))) for path, room in files()]


@pytest.mark.parametrize(("path", "room"), FILES)
def test_imports_run_one_way(path: Path, room: str) -> None:
    assert room in MAY_IMPORT, f"a room that DESIGN section 3 does not name: {room}"
    assert layering_offences(path.read_text(), room) == []


@pytest.mark.parametrize(("path", "room"), [file for file in FILES if file.values[1] in PURE])
def test_the_core_is_pure(path: Path, room: str) -> None:
    assert purity_offences(path.read_text()) == []


@pytest.mark.parametrize(("path", "room"), [file for file in FILES if file.values[1] != "binding"])
def test_ssl_is_loaded_in_two_places(path: Path, room: str) -> None:
    tree = ast.parse(path.read_text())
    guarded = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    for_types = {id(node) for block in guarded for node in ast.walk(block)}
    loads = any(name.partition(".")[0] == "ssl" for node, name in imported_names(tree) if id(node) not in for_types)
    assert not loads or str(path.relative_to(ROOT / "proxycore")) in MAY_LOAD_SSL


@pytest.mark.parametrize("runtime", sorted(RUNTIMES))
def test_a_binding_knows_one_runtime(runtime: str) -> None:
    for path in sorted((ROOT / "bindings" / runtime).rglob("*.py")):
        others = {name.partition(".")[0] for _, name in imported_names(ast.parse(path.read_text()))} & RUNTIMES - {
            runtime
        }
        assert not others, f"{path.relative_to(ROOT)} imports {others}"


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("words", "from proxycore.config.model import Config"),
        ("config", "import proxycore.mechanisms.timers"),
        ("mechanisms", "from proxycore.policies import routing"),
        ("policies", "from proxycore.composition.exchange import Exchange"),
        ("composition", "from proxycore.core import Core"),
        ("composition", "from proxycore import core"),
        ("composition", "from proxycore import Core"),
        ("composition", "from .exchange import Exchange"),
        ("core", "from proxycore.testing import playbook"),
        ("core", "from proxycore.sockets.driver import Driver"),
        ("core", "if TYPE_CHECKING:\n    from proxycore.program import cli"),
        ("core", "def late():\n    import proxycore_trio"),
        ("testing", "from proxycore.sockets.driver import Driver"),
        ("sockets", "from proxycore.composition.wire import Wire"),
        ("sockets", "import asyncio"),
        ("program", "import proxycore_asyncio"),
        ("binding", "from proxycore.mechanisms.http1 import strict"),
    ],
)
def test_an_import_against_the_direction_is_found(room: str, source: str) -> None:
    assert len(layering_offences(source, room)) == 1


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("composition", "from proxycore.words.ids import ConnId\nfrom proxycore.policies import routing"),
        ("core", "from proxycore.composition.exchange import Exchange"),
        ("sockets", "from proxycore.words import effects\nimport socket"),
        ("testing", "from proxycore import Core\nfrom proxycore.core import Core"),
        ("program", "def start():\n    from proxycore_trio import serve"),
        ("program", "async def start():\n    from proxycore_asyncio import serve"),
        ("binding", "import asyncio\nfrom proxycore.sockets.driver import Driver"),
    ],
)
def test_an_import_along_the_direction_is_not(room: str, source: str) -> None:
    assert layering_offences(source, room) == []


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "import os.path",
        "from time import monotonic",
        "def late():\n    import asyncio",
        "from concurrent.futures import Future",
        "import http.client",
        "from http import client",
        "from random import choice",
        "import random\nx = random.random()",
        "import random\nrandom.seed(1)",
        "import random as chance\nchance.choice([1])",
        "x = open('file')",
        "print('x')",
        "key = hash('x')",
        "from datetime import datetime\nx = datetime.now()",
        "import datetime\nx = datetime.datetime.now(tz)",
        "async def f(): pass",
        "def f():\n    global x\n    x = 1",
        "for x in {1, 2}: pass",
        "y = [x for x in set(z)]",
    ],
)
def test_what_is_impure_is_found(source: str) -> None:
    assert len(purity_offences(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from random import Random\nchance = Random(7)",
        "import random\nchance = random.Random(7)",
        "from random import Random\ndef pause(random: Random): return random.random()",
        "import ssl, re, heapq\nfrom http import HTTPStatus",
        "class A:\n    def __hash__(self):\n        return hash(self.key)",
        "def f(self): return self.open()",
        "x = 3 in {1, 2}\nfor y in sorted({1, 2}): pass",
        "def f(now): return now + self.clock.now()",
    ],
)
def test_what_is_pure_is_not(source: str) -> None:
    assert purity_offences(source) == []

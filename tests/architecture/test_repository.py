"""What may stand in the repository: small bindings, honest names, nothing of the machine it was written on."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BINDING_LINES = 150
BINDINGS = ("asyncio", "trio", "gevent")

NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "manager", "managers", "misc", "common", "base"}
LOCK_FILES = {"uv.lock", "poetry.lock", "package-lock.json", "Pipfile.lock"}

# Written in pieces, so that this file isn't its own offence.
MACHINE_MARKS = re.compile(
    "|".join(
        (
            r"(?<![\w.$}/-])/" + r"(?:work|root|home/\w+)/",  # a work tree, somebody's home
            r"--(?:extra-)?" + "index-url",
            r"(?:pypi|npmjs|pythonhosted)\." + r"(?:org|com)/simple|registry\." + r"npmjs|files\." + "pythonhosted",
        )
    )
)


def code_lines(source: str) -> int:
    """Lines that hold code: no blank ones, no comments, no docstrings."""
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git work tree")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def machine_marks(text: str) -> list[str]:
    return [
        f"{number}: {line.strip()}" for number, line in enumerate(text.splitlines(), 1) if MACHINE_MARKS.search(line)
    ]


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_binding_stays_small(binding: str) -> None:
    sources = {path: path.read_text() for path in (ROOT / "bindings" / binding).rglob("*.py")}
    total = sum(code_lines(source) for source in sources.values())
    assert total <= BINDING_LINES, (
        f"bindings/{binding} holds {total} lines: what in it is policy, or the same in its sisters?"
    )


def test_no_file_names_a_place_on_one_machine() -> None:
    found = {}
    for path in tracked_files():
        try:
            marks = machine_marks(path.read_text())
        except UnicodeDecodeError:
            continue  # a picture
        if marks:
            found[str(path.relative_to(ROOT))] = marks
    assert found == {}


def test_names_of_files_say_what_is_in_them() -> None:
    paths = [path.relative_to(ROOT) for path in tracked_files()]
    assert [str(path) for path in paths if path.name in LOCK_FILES] == []
    ours = [path for path in paths if path.parts[0] in {"proxycore", "bindings"}]
    assert [str(path) for path in ours if VAGUE_NAMES & {path.stem, *path.parts}] == []


def test_lines_of_code_are_counted_without_words_about_them() -> None:
    source = (
        '"""Two\nlines."""\n\nimport os  # why\n# why\n\ndef f(\n    x,\n):\n    """What."""\n    return """a\nb"""\n'
    )
    assert code_lines(source) == len(["import", "def f(", "x,", "):", "return", 'b"""'])


@pytest.mark.parametrize(
    "line",
    [
        "cd /" + "work/main",
        "PYTHON = '/" + "root/.pyenv/bin/python'",
        "/" + "home/someone/proxy",
        "pip install --" + "index-url x",
        "https://pypi." + "org/simple",
        '"resolved": "https://registry.' + 'npmjs.org/x"',
    ],
)
def test_a_place_on_one_machine_is_found(line: str) -> None:
    assert machine_marks(line) == [f"1: {line}"]


@pytest.mark.parametrize(
    "line", ["docs/" + "work/flow.md", "https://example.com/" + "home/x", "~/.cache", "the work/life"]
)
def test_what_only_looks_like_one_is_not(line: str) -> None:
    assert machine_marks(line) == []

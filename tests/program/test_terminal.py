"""Colours and columns where a person looks, plain lines where a program reads."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from proxycore.config import Problem
from proxycore.program.commands.check import print_problems
from proxycore.program.commands.explain import print_table
from proxycore.program.files import Disk, Source
from proxycore.program.terminal import Paper
from proxycore.testing.explaining import explain
from tests.program.programs import call


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "has_colours"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
        (io.StringIO(), {"CLICOLOR_FORCE": "1"}, True),
        (io.StringIO(), {"CLICOLOR_FORCE": "0"}, False),
        (io.StringIO(), {"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_who_gets_colours(stream: io.StringIO, environment: dict[str, str], has_colours: bool) -> None:
    paper = Paper(stream, environment)
    assert paper.has_colours is has_colours
    assert paper.has_columns is isinstance(stream, Terminal)
    assert paper.paint("a", "red") == ("\x1b[31ma\x1b[0m" if has_colours else "a")


def test_a_table_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "32")
    stream = Terminal()
    paper = Paper(stream, {"TERM": "dumb"})
    paper.table([[("ab", "red"), ("one two three four five six", None)], [("abcd", None), ("x" * 30, None)]])
    paper.table([])
    assert stream.getvalue() == (
        "  ab    one two three four five\n        six\n  abcd  " + "x" * 24 + "\n        " + "x" * 6 + "\n"
    )


def test_the_place_of_a_problem_stands_out() -> None:
    stream = Terminal()
    problems = [Problem("a.toml", 3, "routes[0]", "wrong", "right"), Problem("a.toml", None, "", "gone")]
    print_problems(problems, Paper(stream, {"TERM": "xterm"}), "red")
    assert stream.getvalue() == 'a.toml:3: \x1b[31mroutes[0]: \x1b[0mwrong; did you mean "right"?\na.toml: gone\n'


def test_a_terminal_gets_columns(tmp_path: Path) -> None:
    file = str(tmp_path / "proxy.toml")
    call("init", file)
    plain = call("explain", file, "http://localhost/healthz")
    assert "  route: matched alive (path /healthz)\n" in plain.output

    stream = Terminal()
    loaded = Source(file=file).load(Disk())
    print_table(explain(loaded.config, "http://localhost/healthz"), Paper(stream, {"TERM": "dumb"}))
    assert "  route     matched      alive (path /healthz)\n" in stream.getvalue()
    assert "it was answered 200 (completed)\n" in stream.getvalue()

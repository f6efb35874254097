"""A page of the documentation as a reader would follow it: its code blocks, run from the top to the bottom.

What is done with a block is said by its language:

- `python`: a program that serves (it prints "listening") runs in a process of its own, is asked for something and
  stopped with Ctrl-C; all else is executed, with the names of the blocks before it;
- `pycon`: a session at the prompt, compared with what comes;
- `console`: after `$`, commands, and what they print; `...` stands for anything. Those that serve go on until another
  one does, or the page ends;
- `toml`: a configuration, or a part of one: it must load, and the core must take it;
- `text`, `mermaid` and none: nothing is done.

`title="name"` makes the block a file as well. Ports of this machine are exchanged for others that are free, or for
those of real origins. A page can't break what is outside of its own folder.
"""

from __future__ import annotations

import doctest
import random
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, chdir, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxycore import Core, load_toml
from proxycore.program.cli import make_parser
from proxycore.program.files import Disk, read_materials
from tests.examples.started import ENVIRONMENT, PATIENCE, ROOT, Started, ask

ORIGIN_PORTS = (3000, 3001, 3002, 9001, 9002, 9003)
"""Ports at which the pages have their origins: red, green and blue of the examples."""

LANGUAGES = frozenset(("python", "pycon", "console", "toml", "text", "mermaid", ""))

_FENCE = re.compile(r"^```(?P<language>\w*)(?: +title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.M | re.S)
_ADDRESS = re.compile(r"(?:(?<=127\.0\.0\.1:)|(?<=127\.0\.0\.1', )|(?<=localhost:))[1-9]\d*")
_LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

_REST = {
    "listeners": '[[listeners]]\nbind = "127.0.0.1:0"\n',
    "upstreams": "".join(
        f'[upstreams.{name}]\nservers = ["http://127.0.0.1:1"]\n' for name in ("api", "app", "web", "static")
    ),
    "routes": '[[routes]]\nupstream = "web"\n',
}
"""What completes a part of a configuration, by the table that it lacks."""


@dataclass(frozen=True)
class Block:
    """A block of code. `line` is that of its fence."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The page's blocks of code."""
    text = page.read_text()
    blocks = [
        Block(page, text.count("\n", 0, match.start()) + 1, match["language"], match["title"], match["text"])
        for match in _FENCE.finditer(text)
    ]
    assert text.count("\n```") + text.startswith("```") == 2 * len(blocks), f"a fence of {page} can't be read"
    return blocks


@dataclass(frozen=True)
class Command:
    """A line that a reader types, and what it prints."""

    line: str
    output: str


def commands_of(text: str) -> Iterator[Command]:
    """The commands of a `console` block."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        typed, _, output = part.replace("\\\n", "").partition("\n")
        yield Command(typed.strip(), output)


class Reader:
    """Someone who follows one page, in `folder`."""

    def __init__(self, folder: Path, origins: Mapping[int, int]) -> None:
        self._folder = folder
        self._ports = dict(origins)
        self._names: dict[str, Any] = {"__name__": "page"}
        self._serving = ExitStack()
        (folder / "examples").symlink_to(ROOT / "examples")
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        programs = {
            "python": [sys.executable],
            "proxycore": [sys.executable, "-m", "proxycore"],
            "curl": [shutil.which("curl") or "false", "--silent", "--show-error"],  # as where it writes to a terminal
        }
        for name, words in programs.items():
            (bin_folder / name).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            (bin_folder / name).chmod(0o755)
        self._environment = {**ENVIRONMENT, "PATH": f"{bin_folder}:{ENVIRONMENT['PATH']}"}

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._serving.close()

    def follow(self, page: Path) -> None:
        """Do what a page says, from the top to the bottom. Raises where it isn't true."""
        for block in blocks_of(page):
            try:
                self.try_block(block)
            except Exception as error:
                error.add_note(f"in the block at {block}")
                raise

    def try_block(self, block: Block) -> None:
        """Do what a block says. Raises where it isn't true."""
        assert block.language in LANGUAGES, f"{block}: nobody knows how to try {block.language!r}"
        text = _ADDRESS.sub(lambda match: str(self.port(int(match[0]))), block.text)
        if block.title is not None:
            (self._folder / block.title).write_text(text)
        if block.language == "python":
            self._run_python(block, text)
        elif block.language == "pycon":
            self._run_session(block, text)
        elif block.language == "toml":
            start(text, str(block), self._folder)
        elif block.language == "console":
            for command in commands_of(text):
                self._type(command, block)

    def port(self, shown: int) -> int:
        """The port to use for one that the page shows."""
        if shown not in self._ports:
            self._ports[shown] = free_port()
        return self._ports[shown]

    # ---- programs

    def _run_python(self, block: Block, text: str) -> None:
        code = compile("\n" * block.line + text, str(block.page), "exec")
        if '"listening' not in text:
            with chdir(self._folder):
                exec(code, self._names)
        elif block.title is None:
            started = self._serve([sys.executable, "-c", text])
            started.wait_for("listening")
            assert ask(f"http://127.0.0.1:{self.port(8080)}/")[0] < 500
            self._serving.close()

    def _run_session(self, block: Block, text: str) -> None:
        test = doctest.DocTestParser().get_doctest(text, self._names, str(block), str(block.page), block.line)
        failures: list[str] = []
        with chdir(self._folder):
            doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=failures.append, clear_globs=False)
        self._names.update(test.globs)
        assert not failures, "".join(failures)

    def _serve(self, command: list[str]) -> Started:
        """Run a program that serves, instead of the one before it."""
        self._serving.close()
        started = self._serving.enter_context(Started(command, cwd=self._folder, environment=self._environment))
        self._serving.callback(stop, started)
        return started

    # ---- commands

    def _type(self, command: Command, block: Block) -> None:
        words = shlex.split(command.line, comments=True)
        match words:
            case ["pip", "install", *packages]:
                check_packages(packages)
            case ["make", target]:
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), f"{block}: make {target}"
                if target == "run":
                    demo = f"import asyncio, demo; demo.PORT = {self.port(8080)}; asyncio.run(demo.main())"
                    said = self._serve([sys.executable, "-c", f"import sys; sys.path.insert(0, 'examples'); {demo}"])
                    self._compare_growing(said, command, block)
            case ["git" | "cd", *_] | ["python", "examples/origins.py", *_]:
                pass  # it is so already
            case ["curl", *_] if shutil.which("curl") is None:
                pass  # nothing to try it with
            case ["proxycore", "serve", *arguments]:
                make_parser().parse_args(["serve", *arguments])
                self._compare_growing(self._serve(["proxycore", "serve", *arguments]), command, block)
            case ["python", script, *arguments] if script != "-m":
                self._compare_growing(self._serve(["python", script, *arguments]), command, block)
            case _:
                self._compare(self._output_of(command.line), command, block)

    def _output_of(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self._folder,
            env={**self._environment, "COLUMNS": "100"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        return done.stdout.decode().replace("\r\n", "\n")

    def _compare(self, got: str, command: Command, block: Block) -> None:
        if command.output and not agrees(command.output, got):
            raise AssertionError(f"{block}: $ {command.line}\nis said to print\n{command.output}\nand prints\n{got}")

    def _compare_growing(self, started: Started, command: Command, block: Block) -> None:
        """A program that goes on: what it has printed when it serves."""
        assert command.output, f"{block}: show what `{command.line}` prints when it serves"
        started.wait_for(re.escape(command.output.strip().splitlines()[-1].strip().removesuffix("...")))
        self._compare(started.said, command, block)


def stop(started: Started) -> None:
    """Ctrl-C: it ends well, or as Python programs do that don't catch it."""
    if started.process.poll() is None:
        try:
            started.stop()
        except AssertionError:
            assert started.said.rstrip().endswith("KeyboardInterrupt"), started.said


def agrees(shown: str, got: str) -> bool:
    """Whether `got` is what a page shows, but for blanks; `...` stands for anything."""
    return doctest.OutputChecker().check_output(shown, got, _LOOSE)


def check_packages(packages: list[str]) -> None:
    """Each is ours, and so are its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for package in packages:
        name, _, extras = package.partition("[")
        assert name in (".", project["name"]), package
        for extra in filter(None, extras.rstrip("]").split(",")):
            assert extra in project["optional-dependencies"], package


def start(text: str, source: str, folder: Path) -> None:
    """Load a configuration, or a part of one, and have the core take it, with those of its files that are there."""
    given = tomllib.loads(text)
    rest = "".join(part for table, part in _REST.items() if table not in given)
    config = load_toml(f"{text}\n{rest}", source=source)
    materials = read_materials(config, Disk(), str(folder / "proxy.toml"), [])
    Core(config, materials, now=0.0, wall=0.0, seed=1, entropy=bytes)


def real_ports(started: Started) -> dict[int, int]:
    """The ports of the origins, by those that the pages show."""
    ports = [int(started.url(name).rpartition(":")[2]) for name in ("red", "green", "blue")]
    return dict(zip(ORIGIN_PORTS, ports * 2, strict=True))


def free_port() -> int:
    """A free port below those that the system hands out, so that no other test is given it before it is used."""
    for port in random.sample(range(10_000, 32_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("a hundred ports of 127.0.0.1 are in use")

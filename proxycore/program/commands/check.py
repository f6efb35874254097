"""`proxycore check`: say everything that is wrong with a configuration, and serve nothing."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Sequence
from typing import Any

from proxycore.composition.overview import shown_action, shown_match
from proxycore.config import Problem
from proxycore.config.lint import lint, secrets
from proxycore.config.problems import dotted
from proxycore.program import exits
from proxycore.program.files import Disk, Loaded, Source
from proxycore.program.terminal import Cell, Colour, Paper

EXAMPLES = """\
examples:
  proxycore check proxy.toml
  proxycore check proxy.toml && systemctl reload proxycore
  proxycore check --lint proxy.toml
"""


def add_parser(commands: Any) -> None:
    """Describe the command to argparse."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "check",
        help="say everything that is wrong with a configuration",
        description="Read a configuration file, what it includes and the files that it names, and list every "
        "problem with its place and what was probably meant.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the configuration, in TOML")
    parser.add_argument(
        "--lint",
        action="store_true",
        help="also tell what is allowed and hardly meant, with the reason and the mend; exit code 5 if there is any",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it, and return the exit code."""
    loaded = Source(file=arguments.file).load(Disk())
    config = loaded.config
    counts = [(len(config.listeners), "listener"), (len(config.routes), "route"), (len(config.upstreams), "upstream")]
    summary = ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
    paper = Paper(sys.stdout)
    paper.print(f"{arguments.file}: {paper.paint('good', 'green')}: {summary}")
    if paper.has_columns:
        rows: list[list[Cell]] = [
            [(route.name, "bold"), (shown_action(route), "cyan"), (shown_match(route.match), None)]
            for route in config.routes
        ]
        paper.table(rows)
    advice = _advice(loaded, arguments.file) if arguments.lint else []
    print_problems(advice, paper, "yellow")
    return exits.ADVISED if advice else exits.OK


def print_problems(problems: Sequence[Problem], paper: Paper, colour: Colour) -> None:
    """Print problems, one a line: where each is stands out."""
    for problem in problems:
        text = str(problem)
        where, mark, what = text.partition(f"{problem.place}: ") if problem.place else ("", "", text)
        paper.print(f"{where}{paper.paint(mark, colour)}{what}")


def _advice(loaded: Loaded, file: str) -> list[Problem]:
    """What `lint` finds, and secrets that others than their owner and its group may read."""
    found = [Problem(file, None, dotted(finding.path), finding.message) for finding in lint(loaded.config)]
    for path, name in secrets(loaded.config):
        mode = os.stat(os.path.join(os.path.dirname(file), name)).st_mode
        if mode & stat.S_IROTH:
            message = f'everybody on this machine may read "{name}"; chmod o-r {name}'
            found.append(Problem(file, None, dotted(path), message))
    return loaded.located(found)

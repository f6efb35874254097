"""`proxycore check`: say everything that is wrong with a configuration, and serve nothing."""

from __future__ import annotations

import argparse
from typing import Any

from proxycore.program import exits
from proxycore.program.files import Disk, Source

EXAMPLES = """\
examples:
  proxycore check proxy.toml
  proxycore check proxy.toml && systemctl reload proxycore
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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it, and return the exit code."""
    config = Source(file=arguments.file).load(Disk()).config
    counts = [(len(config.listeners), "listener"), (len(config.routes), "route"), (len(config.upstreams), "upstream")]
    summary = ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
    print(f"{arguments.file}: good: {summary}")
    return exits.OK

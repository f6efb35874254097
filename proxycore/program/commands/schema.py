"""`proxycore schema`: the form of a configuration file, for editors."""

from __future__ import annotations

import argparse
import json
from typing import Any

from proxycore.config.schema import schema
from proxycore.program import exits

EXAMPLES = """\
examples:
  proxycore schema > proxycore.schema.json
  echo '#:schema ./proxycore.schema.json' | cat - proxy.toml    (the first line that editors look for)
"""


def add_parser(commands: Any) -> None:
    """Describe the command to argparse."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "schema",
        help="print a JSON Schema of configuration files",
        description="Print the JSON Schema that every good configuration file fits: editors complete and check by it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it, and return the exit code."""
    print(json.dumps(schema(), indent=2))
    return exits.OK

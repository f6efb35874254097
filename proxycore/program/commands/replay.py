"""`proxycore replay`: show a recorded run step by step, as it happens again."""

from __future__ import annotations

import argparse
from typing import Any

from proxycore.program import exits
from proxycore.program.exits import NotStarted

EXAMPLES = """\
examples:
  proxycore replay trace.jsonl
  proxycore replay trace.jsonl --from 100 --to 120
"""


def add_parser(commands: Any) -> None:
    """Describe the command to argparse."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "replay",
        help="show a recorded run step by step",
        description="Tell a core the facts of a recording again, and print each with the effects that come of it. The "
        "exit code is 4 if they are others than were recorded.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("trace", metavar="TRACE", help="a recording, in lines of JSON")
    parser.add_argument("--from", dest="first", metavar="STEP", type=int, default=1, help="the first step to print")
    parser.add_argument("--to", dest="last", metavar="STEP", type=int, default=None, help="the last step to print")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it, and return the exit code."""
    # Here, so that a server that starts doesn't load what it never uses.
    from proxycore.testing.recording import NotARecording, replay

    steps = different = 0
    try:
        with open(arguments.trace, encoding="utf-8") as lines:
            for step in replay(lines):
                steps += 1
                different += not step.is_same
                if step.number >= arguments.first and (arguments.last is None or step.number <= arguments.last):
                    print(step)
    except OSError as error:
        raise NotStarted(f"{arguments.trace}: {error.strerror}") from None
    except NotARecording as error:
        raise NotStarted(f"{arguments.trace}: {error}") from None
    print(f"{steps} steps, {different or 'none'} of them other than recorded")
    return exits.DIFFERENT if different else exits.OK

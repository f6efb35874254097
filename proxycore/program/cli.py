"""The command line: finds the command, runs it, and says in one place what went wrong."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Iterable, Sequence

from proxycore import __version__
from proxycore.config import ConfigError
from proxycore.config.problems import nearest
from proxycore.program import exits
from proxycore.program.commands import (
    cert,
    check,
    completion,
    explain,
    hash_password,
    init,
    replay,
    schema,
    serve,
    work,
)
from proxycore.program.commands.check import print_problems
from proxycore.program.exits import Misused, NotStarted
from proxycore.program.listening import ListenError
from proxycore.program.terminal import Paper

EXAMPLES = """\
examples:
  proxycore init
  proxycore serve --listen 127.0.0.1:8080 --to http://127.0.0.1:3000
  proxycore check proxy.toml
  proxycore explain proxy.toml https://api.example.com/api/x
  proxycore serve proxy.toml --workers auto
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (by default the process's own) ask for, and return the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    parser, commands = _make_parsers()
    _check_command(parser, commands, words)
    parsed = parser.parse_args(words)
    try:
        code: int = parsed.run(parsed)
        sys.stdout.flush()  # while it can still be told that nobody reads
        return code
    except ConfigError as error:
        print_problems(error.problems, Paper(sys.stderr), "red")
        return exits.BAD_CONFIGURATION
    except (NotStarted, ListenError, Misused) as error:
        return _told(str(error), exits.USAGE if isinstance(error, Misused) else exits.NOT_STARTED)
    except BrokenPipeError:
        # Whoever read has seen enough, as `head` has.
        _forget_output()
        return exits.INTERRUPTED + signal.SIGPIPE
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO) or error.filename is not None:
            raise
        _forget_output()
        return _told(f"the output can't be written: {os.strerror(error.errno).lower()}", exits.NOT_STARTED)
    except KeyboardInterrupt:
        return exits.INTERRUPTED + signal.SIGINT


def _told(problem: str, code: int) -> int:
    paper = Paper(sys.stderr)
    paper.print(f"{paper.paint('proxycore:', 'red')} {problem}")
    return code


def _forget_output() -> None:
    """What is still buffered must not fail again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    return _make_parsers()[0]


def _check_command(parser: argparse.ArgumentParser, commands: Iterable[str], words: Sequence[str]) -> None:
    """Answer a misspelt command with the one that was probably meant, where argparse would list all."""
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in commands:
        meant = nearest(command, commands)
        if meant is not None:
            parser.error(f'"{command}" is no command; did you mean "{meant}"?')


def _make_parsers() -> tuple[argparse.ArgumentParser, Iterable[str]]:
    """The parser of all, and the names of the commands."""
    parser = argparse.ArgumentParser(
        prog="proxycore",
        description="A reverse proxy: HTTP from clients goes on to upstream servers.",
        epilog=f"{EXAMPLES}\n{exits.MEANINGS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"proxycore {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (init, serve, check, explain, cert, replay, hash_password, schema, completion, work):
        command.add_parser(commands)
    return parser, commands.choices

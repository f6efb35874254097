"""`proxycore explain`: say what a configuration does with a request, and why, without serving."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from proxycore.program import exits
from proxycore.program.exits import Misused
from proxycore.program.files import Disk, Source
from proxycore.program.terminal import Cell, Colour, Paper

if TYPE_CHECKING:
    from proxycore.testing.explaining import Explanation

EXAMPLES = """\
examples:
  proxycore explain proxy.toml https://api.example.com/api/x
  proxycore explain proxy.toml 'POST http://example.com/login' -H 'Cookie: canary=1'
  proxycore explain proxy.toml http://example.com/ --client 10.1.2.3 --json
"""


def add_parser(commands: Any) -> None:
    """Describe the command to argparse."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain",
        help="say what happens to a request, and why",
        description="Put a request through the code that serves, and print each decision with its reason: the "
        "listener, who the client is taken for, each route that was tried, timeouts, what each filter said, rewrites, "
        "limits, the cache, each server that could be chosen, and what it would be sent. Nothing is dialled.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the configuration, in TOML")
    parser.add_argument("request", metavar="[METHOD ]URL", help='the request, such as "GET https://example.com/a?b=c"')
    parser.add_argument(
        "-H", "--header", metavar="NAME: VALUE", action="append", default=[], help="a header field; may be repeated"
    )
    parser.add_argument(
        "--client",
        "--client-ip",
        dest="client_ip",
        metavar="ADDRESS",
        default="192.0.2.1",
        help="who asks (default: %(default)s)",
    )
    parser.add_argument(
        "--tls-subject",
        metavar="SUBJECT",
        default="",
        help='the subject of the certificate that the client shows, such as "CN=ann,O=example"',
    )
    parser.add_argument(
        "--listener", metavar="NAME", help="where it arrives; else the first listener that fits the URL"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it, and return the exit code."""
    # Here, so that a server that starts doesn't load what it never uses.
    from proxycore.testing.explaining import explain
    from proxycore.testing.proxy import NoListener

    loaded = Source(file=arguments.file).load(Disk())
    try:
        explanation = explain(
            loaded.config,
            arguments.request,
            headers_of(arguments.header),
            materials=loaded.materials,
            client_ip=arguments.client_ip,
            tls_subject=arguments.tls_subject,
            listener=arguments.listener,
        )
    except (NoListener, ValueError) as error:
        raise Misused(str(error)) from None
    paper = Paper(sys.stdout)
    if arguments.json:
        print(json.dumps(explanation.as_dict(), indent=2))
    elif paper.has_columns:
        print_table(explanation, paper)
    else:
        print(explanation.text, end="")
    return exits.OK


def print_table(explanation: Explanation, paper: Paper) -> None:
    """The same as `Explanation.text`, in columns."""
    paper.print(explanation.request, "bold")
    rows: list[list[Cell]] = []
    before = ""
    for step in explanation.steps:
        stage, before = "" if step.stage == before else step.stage, step.stage
        what = f"{step.name} ({step.reason})" if step.name and step.reason else step.name or step.reason
        rows.append([(stage, "cyan"), (step.verdict, _COLOURS.get(step.verdict)), (what, None)])
    paper.table(rows)
    result, *fields = explanation.outcome_lines
    paper.print(result, "bold")
    for field in fields:
        paper.print(field)


_BY_COLOUR: Mapping[Colour, tuple[str, ...]] = {
    "green": ("matched", "chosen", "let in", "let pass", "hit", "took"),
    "red": ("refused", "none matched", "found none", "failed"),
    "dim": ("passed over", "candidate", "not asked"),
}
_COLOURS = {verdict: colour for colour, verdicts in _BY_COLOUR.items() for verdict in verdicts}


def headers_of(lines: list[str]) -> dict[str, list[str]]:
    """Fields as curl takes them: `Name: value`. Raises Misused."""
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name:
            raise Misused(f'-H {line!r}: a header is given as "Name: value"')
        headers.setdefault(name, []).append(value.strip())
    return headers

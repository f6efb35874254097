"""`proxycore explain`: say what a configuration does with a request, and why, without serving."""

from __future__ import annotations

import argparse
import json
from typing import Any

from proxycore.program import exits
from proxycore.program.exits import NotStarted
from proxycore.program.files import Disk, Source

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
            listener=arguments.listener,
        )
    except (NoListener, ValueError) as error:
        raise NotStarted(str(error)) from None
    if arguments.json:
        print(json.dumps(explanation.as_dict(), indent=2))
    else:
        print(explanation.text, end="")
    return exits.OK


def headers_of(lines: list[str]) -> dict[str, list[str]]:
    """Fields as curl takes them: `Name: value`. Raises NotStarted."""
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name:
            raise NotStarted(f'-H {line!r}: a header is given as "Name: value"')
        headers.setdefault(name, []).append(value.strip())
    return headers

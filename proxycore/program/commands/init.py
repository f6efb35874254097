"""`proxycore init`: a commented configuration to begin with."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from typing import Any

from proxycore.config import load_toml
from proxycore.program import exits
from proxycore.program.exits import NotStarted

EXAMPLES = """\
examples:
  proxycore init
  proxycore init site.toml --listen 0.0.0.0:80 --to http://127.0.0.1:3000 --to http://127.0.0.1:3001
"""

TEMPLATE = """\
# A reverse proxy. What each key does, and every other one: docs/configuration.md.
#   proxycore check {name}       tells what is wrong with this file
#   proxycore serve {name}       serves it; SIGHUP reads it again
#   proxycore explain {name} 'GET http://localhost/'     tells what would happen to a request

[[listeners]]
name = "web"
bind = {listen}
# trusted_proxies = ["10.0.0.0/8"]     # whose X-Forwarded-For is believed; from others it is replaced

[upstreams.app]
servers = {servers}
# balance = "least_connections"        # instead of round_robin

# [upstreams.app.retries]
# max = 1                              # a GET that failed goes to another server once

# The first route that matches has the request.
[[routes]]
name = "alive"
match = {{ path = "/healthz" }}
respond = {{ status = 200, body = "ok\\n", headers = {{ Content-Type = "text/plain" }} }}

[[routes]]
name = "everything-else"
upstream = "app"

# [timeouts]
# response_head = "30s"                # a server that hasn't begun its answer by then: 504

# [logging]
# access = "combined"                  # instead of json; "off" for none
"""


def add_parser(commands: Any) -> None:
    """Describe the command to argparse."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "init",
        help="write a configuration to begin with",
        description="Write a short, commented configuration file. A file that is there already is left alone.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", nargs="?", default="proxy.toml", help="default: %(default)s")
    parser.add_argument("--listen", metavar="ADDRESS", action="append", help="where to listen (127.0.0.1:8080)")
    parser.add_argument("--to", metavar="URL", action="append", help="a server (http://127.0.0.1:3000)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it, and return the exit code."""
    text = TEMPLATE.format(
        name=shlex.quote(os.path.basename(arguments.file)),
        listen=json.dumps(arguments.listen or ["127.0.0.1:8080"]),
        servers=json.dumps(arguments.to or ["http://127.0.0.1:3000"]),
    )
    load_toml(text, source=arguments.file)  # what was given may be wrong: told as `check` would
    try:
        with open(arguments.file, "x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise NotStarted(f"{arguments.file} is there already; give another name, or remove it") from None
    except OSError as error:
        raise NotStarted(f"{arguments.file} can't be written: {(error.strerror or str(error)).lower()}") from None
    file = shlex.quote(arguments.file)
    print(f"wrote {arguments.file}; next: proxycore check {file} && proxycore serve {file}")
    return exits.OK

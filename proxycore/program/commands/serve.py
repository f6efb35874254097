"""`proxycore serve`: serve a configuration file, or just pass what comes to one address on to some servers."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Literal

from proxycore.config import Config
from proxycore.program import runtimes
from proxycore.program.access_log import AccessLog
from proxycore.program.banner import banner
from proxycore.program.files import Disk, Loaded, Source
from proxycore.program.listening import ListeningSockets
from proxycore.program.notifying import Manager
from proxycore.program.open_files import allow_many
from proxycore.program.privileges import become, check_user
from proxycore.program.program_log import logging_to_stderr
from proxycore.program.reloading import FromDisk
from proxycore.program.running import Process
from proxycore.program.service import Service
from proxycore.program.supervisor import Supervisor, worker_count

EXAMPLES = """\
examples:
  proxycore serve proxy.toml
  proxycore serve proxy.toml --binding trio --workers 4
  proxycore serve --listen 127.0.0.1:8080 --to http://127.0.0.1:3000
  proxycore serve --listen 0.0.0.0:80 --to http://10.0.0.1:8080 --to http://10.0.0.2:8080

signals:
  SIGTERM, SIGINT   finish what is in flight, then end; a second one ends at once
  SIGHUP            read the configuration again; one that is wrong is refused, and the old one goes on
  SIGUSR1           open the log files anew
"""


def add_parser(commands: Any) -> None:
    """Describe the command to argparse."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "serve",
        help="serve a configuration, or pass one address on to some servers",
        description="Serve a configuration file; or, without one, pass all that comes to --listen on to --to.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", nargs="?", default="", help="the configuration, in TOML")
    parser.add_argument(
        "--listen", metavar="ADDRESS", action="append", help="without FILE: where to listen (127.0.0.1:8080)"
    )
    parser.add_argument("--to", metavar="URL", action="append", help="without FILE: a server; several share the load")
    parser.add_argument("--binding", choices=runtimes.BINDINGS, default="asyncio", help="the runtime (asyncio)")
    parser.add_argument("--workers", metavar="N", type=_workers, help='processes, or "auto"; stands above the file')
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it, and return the exit code."""
    source = _source(arguments)
    disk = Disk()
    loaded = source.load(disk)
    check_user(loaded.config.user)
    count = worker_count(loaded.config)
    allow_many()
    manager = Manager(os.environ)
    with logging_to_stderr(loaded.config.logging.level):
        if count == 1:
            return serve(source, loaded, arguments.binding, manager)
        return supervise(source, disk, loaded.config, arguments.binding, count, manager)


def serve(source: Source, loaded: Loaded, binding: str, manager: Manager) -> int:
    """Serve in this process until the end."""

    def started(service: Service) -> None:
        service.follow(source.file)
        become(loaded.config.user)
        dashboard = None if service.dashboard is None else service.dashboard.address
        runtime = runtimes.describe(binding)
        print(banner(source.name, loaded.config, service.addresses, runtime, dashboard), file=sys.stderr)

    access_log = AccessLog(loaded.config.logging, source=source.name, owner=loaded.config.user)
    try:
        process = Process(loaded, access_log, FromDisk(source), started, manager=manager)
        runtimes.serve_on(binding, process)
        return process.exit_code
    finally:
        access_log.close()


def supervise(source: Source, disk: Disk, config: Config, binding: str, count: int, manager: Manager) -> int:
    """Serve in several processes until the end."""

    def started(sockets: ListeningSockets, of_dashboard: ListeningSockets) -> None:
        runtime = f"{runtimes.describe(binding)} in {count} workers"
        dashboard = next((address for group in of_dashboard.addresses.values() for address in group), None)
        print(banner(source.name, config, sockets.addresses, runtime, dashboard), file=sys.stderr)

    return Supervisor(source, disk, config, binding, count, started, manager).run()


def _source(arguments: argparse.Namespace) -> Source:
    parser: argparse.ArgumentParser = arguments.parser
    if arguments.file:
        if arguments.listen or arguments.to:
            parser.error("--listen and --to are for serving without FILE")
        return Source(file=arguments.file, workers=arguments.workers)
    if not arguments.to:
        parser.error("give a FILE, or --to URL (see --help)")
    return Source(listen=arguments.listen or ["127.0.0.1:8080"], to=arguments.to, workers=arguments.workers)


def _workers(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not text.isdecimal() or not 1 <= int(text) <= 1_024:
        raise argparse.ArgumentTypeError(f'"{text}" is not "auto" or a number from 1 to 1024')
    return int(text)

#!/usr/bin/env python3
"""Measure reverse proxies side by side on this machine, proxycore among them. See README.md."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

from harness import processes
from harness.measuring import Laboratory, Measured, Settings
from harness.origin import Certificate, Origin
from harness.report import report, summary
from harness.scenarios import SCENARIOS, Bench, Scenario
from peer.candidate import candidate
from peer.every import PEERS
from peer.peer import Peer
from peer.proxycore import peers_of

KINDS = ("proxycore", "native", "python", "node", "reference")
INSTALLS = Path(os.environ.get("PEERS_HOME", os.path.join(tempfile.gettempdir(), "peers")))
CHECKOUT_HELP = "measure proxycore from this work tree too, as proxycore-BINDING@DIR; repeatable"
CANDIDATE_HELP = "measure this command too; {port} {upstream_port} {mode} {cert} {key} {dir} {config} are filled in"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("scenarios", nargs="*", default=["small"], help=f"any of: {', '.join(SCENARIOS)}, or all")
    add("--peers", default="all", help=f"names, or kinds ({', '.join(KINDS)}), separated by commas, or all; see --list")
    add("--without", default="", help="names to leave out")
    add("--checkout", action="append", default=[], type=Path, metavar="DIR", help=CHECKOUT_HELP)
    add("--candidate", action="append", default=[], metavar="NAME=COMMAND", help=CANDIDATE_HELP)
    add("--candidate-config", type=Path, help="template of its configuration, filled in the same way as {config}")
    add("--candidate-features", default="http", help="of http,tls,h2,ws,cache")
    add("--rounds", type=int, default=3)
    add("--seconds", type=int, default=5, help="length of a measured round")
    add("--warm-up", type=int, default=1, help="seconds before each round; twice that before the first")
    add("--max-foreign", type=float, default=0.08, help="share of a core that others may take; above it, once more")
    add("--retries", type=int, default=3, help="how often a disturbed round is measured again; the calmest try counts")
    add("--proxy-core", type=int, default=0)
    add("--load-core", type=int, default=1, help="the load generator and the origin share it")
    add("--installs", type=Path, default=INSTALLS, help="where install.sh put the peers")
    add("--out", type=Path, help="write everything measured to this JSON file, after each scenario")
    add("--add-to-out", action="store_true", help="keep the rounds that are in it and take medians over all of them")
    add("--check", action="store_true", help="only start the proxies and print what they do with a request")
    add("--keep-logs", action="store_true", help="leave the scratch folder with configurations and logs")
    add("--show", type=Path, metavar="FILE", help="print the tables of an earlier --out file and leave")
    add("--summary", action="store_true", help="with --show: all scenarios in one table, as in the project's README")
    add("--list", action="store_true", help="list peers with versions and leave")
    return parser.parse_args()


def chosen_scenarios(options: argparse.Namespace) -> list[Scenario]:
    unknown = [name for name in options.scenarios if name not in {*SCENARIOS, "all"}]
    if unknown:
        sys.exit(f"no scenario {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}")
    return list(SCENARIOS.values()) if "all" in options.scenarios else [SCENARIOS[name] for name in options.scenarios]


def chosen_peers(options: argparse.Namespace) -> list[Peer]:
    wanted, left_out = (set(names.split(",")) - {""} for names in (options.peers, options.without))
    unknown = (wanted | left_out) - {*PEERS, *KINDS, "all"}
    if unknown:
        sys.exit(f"no peer {', '.join(sorted(unknown))}; there are: {', '.join(PEERS)}")
    peers = [
        peer
        for peer in PEERS.values()
        if {"all", peer.name, peer.kind} & wanted and not {peer.name, peer.kind} & left_out
    ]
    for checkout in options.checkout:
        peers += peers_of(checkout.resolve(), f"@{checkout.resolve().name}")
    for text in options.candidate:
        name, equals, command_line = text.partition("=")
        if not equals:
            sys.exit(f"--candidate {text}: give it a name, as in NAME=COMMAND")
        features = frozenset(options.candidate_features.split(","))
        peers.append(candidate(name, command_line, features, options.candidate_config))
    return peers


def list_peers(peers: Sequence[Peer], installs: Path) -> None:
    for peer in peers:
        state = peer.missing(installs) or peer.version(installs)
        print(f"{peer.name:18} {peer.kind:10} {','.join(sorted(peer.features)):20} {state}")


def saved_results(path: Path | None) -> dict[str, Measured]:
    """By scenario, what an earlier run wrote; empty where there is none."""
    if path is None or not path.exists():
        return {}
    scenarios = json.loads(path.read_text())["scenarios"]
    return {name: Measured.from_json(measured) for name, measured in scenarios.items()}


def about_this_run(options: argparse.Namespace, peers: Sequence[Peer]) -> dict[str, object]:
    return {
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "kernel": platform.release()},
        "began": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": sys.argv,
        "versions": {peer.name: peer.version(options.installs) for peer in peers if not peer.missing(options.installs)},
    }


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def measure(laboratory: Laboratory, options: argparse.Namespace) -> None:
    peers = chosen_peers(options)
    results = saved_results(options.out) if options.add_to_out else {}
    about = {} if options.check else about_this_run(options, peers)
    for scenario in chosen_scenarios(options):
        if scenario.generator == "websocket" and not laboratory.bench.echo_python:
            print(f"{scenario.name}: left out, no Python of install.sh in {options.installs}", file=sys.stderr)
            continue
        if options.check:
            print_check(scenario, laboratory.check(scenario, peers))
            continue
        measured = results.setdefault(scenario.name, Measured())
        measured.failures.clear()
        laboratory.measure(scenario, peers, measured)
        print(report(scenario, measured), flush=True)
        if options.out:
            saved = {name: one.to_json() for name, one in results.items()}
            options.out.write_text(json.dumps({**about, "scenarios": saved}, indent=1))


def show(results: Mapping[str, Measured], *, in_one_table: bool) -> None:
    if in_one_table:
        print(summary(results))
    else:
        for name, measured in results.items():
            print(report(SCENARIOS[name], measured))


def print_check(scenario: Scenario, measured: Measured) -> None:
    for name, habits in measured.behaviour.items():
        print(f"{scenario.name:10} {name:18} {json.dumps(habits)}", flush=True)
    for name, reason in measured.failures.items():
        print(f"{scenario.name:10} {name:18} FAILED {reason}", flush=True)


def take_turn() -> IO[str]:
    """Wait until no other bench runs on this machine: two at once would measure each other."""
    lock = (Path(tempfile.gettempdir()) / "peers.lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("waiting for another bench on this machine", file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def stop_on_sigterm(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


def main() -> None:
    options = parse_arguments()
    if options.show:
        show(saved_results(options.show), in_one_table=options.summary)
        return
    if options.list:
        list_peers(chosen_peers(options), options.installs)
        return
    signal.signal(signal.SIGTERM, stop_on_sigterm)
    processes.raise_file_limit()
    with take_turn():
        run(options)


def run(options: argparse.Namespace) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="peers-"))
    echo_python = options.installs / "py/bin/python"
    bench = Bench(scratch, options.load_core, echo_python if echo_python.exists() else None)
    settings = Settings(
        options.rounds,
        options.seconds,
        options.warm_up,
        options.max_foreign,
        options.retries,
        options.proxy_core,
        options.installs,
    )
    origin = Origin(scratch, options.load_core, bench.echo_python)
    try:
        origin.start()
        measure(Laboratory(settings, bench, origin, Certificate.make(scratch)), options)
    finally:
        origin.stop()
        if options.keep_logs:
            print("scratch folder:", scratch, file=sys.stderr)
        else:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()

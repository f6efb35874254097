"""Runs the public HTTP cache tests (github.com/http-tests/cache-tests) against proxycore, over sockets.

    python tests/cache_suite/run.py CHECKOUT [--failures] [--test ID]

CHECKOUT is a clone in which `npm install` was run; node must be on the PATH. Prints how many tests of each category
pass, and with --failures which don't and why. None of the suite is in this repository.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), *(str(path) for path in (ROOT / "bindings").iterdir() if path.is_dir())]

from proxycore import Config, Listener, Route, Upstream  # noqa: E402
from proxycore.config import Cache, RouteCache  # noqa: E402
from tests.conformance.proxies import running  # noqa: E402

KINDS = ("required", "optimal", "check")

# What the suite itself makes of its results; a test of which another fails that it depends on counts as "depends".
JUDGE = """
import { readFileSync } from 'node:fs'
const [,, checkout, results] = process.argv
const tests = (await import(checkout + '/tests/index.mjs')).default
const { determineTestResult, resultTypes } = await import(checkout + '/test-engine/lib/results.mjs')
const found = JSON.parse(readFileSync(results))
const names = new Map(Object.entries(resultTypes).map(([name, type]) => [type, name]))
console.log(JSON.stringify(tests.flatMap(suite => suite.tests.map(test => ({
  suite: suite.name, id: test.id, kind: test.kind ?? 'required', browser: test.browser_only === true,
  result: names.get(determineTestResult(tests, test.id, found)), detail: found[test.id]?.[1] ?? ''
})))))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@contextmanager
def suite_server(checkout: Path, node: str, port: int) -> Iterator[None]:
    """The suite's own origin."""
    environment = {**os.environ, "npm_config_port": str(port), "npm_config_protocol": "http"}
    environment["npm_config_pidfile"] = os.devnull
    command = [node, "test-engine/server/server.mjs"]
    server = subprocess.Popen(command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait()


def proxy_config(origin: int) -> Config:
    """A cache as it comes, but that it also covers for an origin that fails: many tests need to see that."""
    return Config(
        listeners=[Listener(bind="127.0.0.1:0")],
        upstreams={"suite": Upstream(servers=[f"http://127.0.0.1:{origin}"])},
        caches={"main": Cache()},
        routes=[
            Route(match={"path": "/test/*"}, upstream="suite", cache=RouteCache(store="main", stale_if_error="1m")),
            Route(upstream="suite"),
        ],
    )


def run_suite(checkout: Path, node: str, test: str | None) -> str:
    """What the suite's client prints: JSON, or with one test its story."""
    origin = free_port()
    with suite_server(checkout, node, origin), running("asyncio", proxy_config(origin), [], None) as handle:
        base = f"http://127.0.0.1:{handle.port}"
        environment = {**os.environ, "npm_config_base": base, "npm_package_config_id": test or ""}
        command = [node, "--no-warnings", "test-engine/cli.mjs"]
        done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout


def judged(checkout: Path, node: str, results: str) -> list[dict[str, Any]]:
    """Each test with its category, its kind, and what came of it."""
    script, found = checkout / ".judge.mjs", checkout / ".results.json"
    try:
        script.write_text(JUDGE, encoding="utf-8")
        found.write_text(results, encoding="utf-8")
        command = [node, str(script), str(checkout), str(found)]
        tests: list[dict[str, Any]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return tests
    finally:
        script.unlink(missing_ok=True)
        found.unlink(missing_ok=True)


def report(tests: list[dict[str, Any]], *, failures: bool) -> None:
    tests = [test for test in tests if not test["browser"]]
    suites = list(dict.fromkeys(test["suite"] for test in tests))
    print(f"{'':45}" + "".join(f"{kind:>14}" for kind in KINDS))
    for suite in [*suites, "all"]:
        of_suite = [test for test in tests if suite in (test["suite"], "all")]
        cells = ""
        for kind in KINDS:
            of_kind = [test for test in of_suite if test["kind"] == kind]
            passed = sum(test["result"] in ("pass", "yes") for test in of_kind)
            cells += f"{f'{passed} of {len(of_kind)}' if of_kind else '':>14}"
        print(f"{suite:45}{cells}")
    if failures:
        for test in tests:
            if test["kind"] != "check" and test["result"] != "pass":
                print(f"{test['kind']:9} {test['id']:50} {test['result']}: {test['detail']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--failures", action="store_true", help="name each test that fails, with the suite's words")
    parser.add_argument("--test", help="tell the story of this one only")
    options = parser.parse_args()
    node = shutil.which("node")
    if node is None:
        parser.error("node isn't on the PATH")
    checkout = options.checkout.resolve()
    results = run_suite(checkout, node, options.test)
    if options.test:
        print(results)
    else:
        report(judged(checkout, node, results), failures=options.failures)


if __name__ == "__main__":
    main()

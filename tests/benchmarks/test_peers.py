"""The peers harness, where it can be wrong without anyone noticing: what it configures, adds up and prints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.load import Burst, percentile
from harness.measuring import Idle, Measured, Round
from harness.origin import Certificate
from harness.processes import descendants
from harness.report import report, summary
from harness.scenarios import SCENARIOS, Mode
from peer.candidate import candidate
from peer.every import PEERS
from peer.peer import Run
from peer.proxycore import NOT_WATCHED, WATCHED, configuration
from proxycore.config import load_toml


def run_in(directory: Path, mode: Mode = "plain") -> Run:
    files = Certificate(Path("cert.pem"), Path("key.pem"), Path("both.pem"))
    return Run(mode, 8080, 9000, directory, Path("installs"), files)


def round_of(*, requests: int, cpu_seconds: float) -> Round:
    burst = Burst(requests, seconds=2.0, bytes=0, errors=0, p50_ms=1.0, p99_ms=2.0)
    return Round(burst, cpu_seconds, proxy_core=1.0, load_core=0.5, foreign=0.0, rss_mib=10.0)


@pytest.mark.parametrize("watch", [NOT_WATCHED, *WATCHED.values()])
@pytest.mark.parametrize("codec", ["auto", "h11"])
def test_our_own_configuration_is_one_that_we_accept(tmp_path: Path, codec: str, watch: str) -> None:
    config = load_toml(configuration(run_in(tmp_path), codec, watch), source="proxycore.toml")
    assert config.http1 == codec
    assert [listener.bind for listener in config.listeners] == [("127.0.0.1:8080",)]
    assert config.limits.connections_per_client >= SCENARIOS["idle"].connections
    assert config.limits.requests_per_connection > 10**9, "a kept connection would be ended in mid-load"


@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if peer.command])
def test_each_peer_is_told_both_of_its_ports(tmp_path: Path, name: str) -> None:
    run = run_in(tmp_path)
    command = PEERS[name].command
    assert command
    told = " ".join(command(run)) + "".join(path.read_text() for path in tmp_path.iterdir())
    assert "8080" in told
    assert "9000" in told or name in {"starlette-httpx", "proxy.py"}, "these read it from their environment"
    assert run.environment["BENCH_UPSTREAM_PORT"] == "9000"


def test_a_candidate_gets_its_words_filled_in_where_it_has_other_braces_too(tmp_path: Path) -> None:
    template = tmp_path / "mine.conf"
    template.write_text("listen {port}; { to {upstream_port} }")
    mine = candidate("mine", "mine {config} {mode}", frozenset({"http"}), template)
    assert mine.command
    assert mine.command(run_in(tmp_path)) == ["sh", "-c", f"exec mine {tmp_path}/config.conf plain"]
    assert (tmp_path / "config.conf").read_text() == "listen 8080; { to 9000 }"
    assert mine.version(tmp_path) == "mine {config} {mode}"


def test_the_table_tells_the_median_cpu_for_each_request_in_nginxs() -> None:
    measured = Measured()
    measured.rounds["ours"] = [round_of(requests=1000, cpu_seconds=us / 1000) for us in (90, 20, 30)]
    measured.rounds["nginx"] = [round_of(requests=1000, cpu_seconds=0.012)]
    measured.failures["absent"] = "is not installed"
    lines = report(SCENARIOS["small"], measured).splitlines()
    header, nginx, ours = ([cell.strip() for cell in lines[row].split("|")[1:5]] for row in (2, 4, 5))
    assert header == ["proxy", "CPU us", "x nginx", "req/s"]
    assert nginx == ["nginx", "12.0", "1.00", "500"]
    assert ours == ["ours", "30.0", "2.50", "500"]
    assert "- absent: not measured: is not installed" in lines


def test_a_table_without_nginx_has_no_ratio() -> None:
    measured = Measured(rounds={"ours": [round_of(requests=10, cpu_seconds=0.1)]})
    assert "|       - |" in report(SCENARIOS["small"], measured)


def test_one_table_tells_all_scenarios_and_marks_what_others_disturbed() -> None:
    calm = Measured(rounds={"nginx": [round_of(requests=1000, cpu_seconds=0.012)]})
    calm.rounds["ours"] = [replace(round_of(requests=1000, cpu_seconds=0.12), foreign=0.5)]
    idle = Measured(idle={"ours": Idle(10, 10, 1.0, 2.0, 1.0, 2.0, 0.5)})
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in summary({"small": calm, "idle": idle}).splitlines()
    ]
    assert rows[0] == ["", "nginx", "ours"]
    assert rows[2:] == [["small", "12.0", "120 ~"], ["idle", "", "102.4 KiB"]]


def test_what_was_measured_survives_its_file() -> None:
    idle = Idle(10, 10, 1.0, 2.0, 1.0, 2.0, 0.5)
    measured = Measured({"a": [round_of(requests=1, cpu_seconds=1.0)]}, {"b": idle}, {"a": {"host": "x"}}, {"c": "why"})
    assert Measured.from_json(json.loads(json.dumps(measured.to_json()))) == measured
    assert idle.kib_per_connection == 102.4


@pytest.mark.parametrize(("percent", "expected"), [(0, 1.0), (50, 3.0), (99, 4.0), (100, 4.0)])
def test_a_percentile_stays_in_the_list(percent: float, expected: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], percent) == expected
    assert percentile([], percent) == 0.0


def test_a_process_that_is_gone_has_no_tree() -> None:
    assert descendants(2**22 + 1) == []

"""`proxycore explain` and `proxycore replay`, as a person meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxycore.program import exits
from proxycore.program.cli import main
from proxycore.testing import Simulation
from proxycore.testing.recording import Recorder

TOML = """
[[listeners]]
bind = "0.0.0.0:80"

[upstreams.api]
servers = ["http://10.0.0.1:8080"]

[[routes]]
name = "canary"
match = { header = { X-Canary = "1" } }
respond = { status = 204 }

[[routes]]
name = "api"
upstream = "api"
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "proxy.toml"
    path.write_text(TOML)
    return str(path)


def test_explain(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", file, "POST http://a.test/x"]) == exits.OK
    output = capsys.readouterr().out
    assert "route: passed over canary" in output
    assert "it went to api, server 10.0.0.1:8080, for /x" in output
    assert "  POST /x\n  host: a.test\n" in output


def test_explain_with_headers_as_json(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", file, "http://a.test/x", "-H", "X-Canary: 1", "--json"]) == exits.OK
    assert json.loads(capsys.readouterr().out)["answer"]["status"] == 204


@pytest.mark.parametrize(
    "arguments",
    [
        ["ftp://a/"],
        ["http://a/", "-H", "nonsense"],
        ["http://a/", "--listener", "b"],
        ["http://a/", "--client", "10.0.0.256"],
    ],
)
def test_explain_says_what_it_cannot_do(file: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", file, *arguments]) == exits.USAGE
    assert capsys.readouterr().err.startswith("proxycore: ")


def test_explain_what_reaches_no_listener(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", file, "https://a/"]) == exits.OK
    output = capsys.readouterr().out
    assert "listener: found none (no listener takes https: give one tls, or name who speaks it" in output
    assert output.endswith("it reaches nobody\n")
    assert main(["explain", file, "https://a/", "--json"]) == exits.OK
    assert json.loads(capsys.readouterr().out)["result"] == "reaches nobody"


def test_explain_a_bad_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("nonsense = 1\n")
    assert main(["explain", str(path), "http://a/"]) == exits.BAD_CONFIGURATION
    assert "nonsense" in capsys.readouterr().err


@pytest.fixture(scope="module")
def recording() -> list[str]:
    lines: list[str] = []
    Simulation(2, core=lambda *arguments, **named: Recorder(*arguments, write=lines.append, **named)).run()
    return lines


def test_replay(recording: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(recording))
    assert main(["replay", str(path), "--from", "2", "--to", "4"]) == exits.OK
    output = capsys.readouterr().out
    assert [line.split(".")[0] for line in output.splitlines() if line[0].isdigit()][:3] == ["2", "3", "4"]
    assert output.endswith("steps, none of them other than recorded\n")


def test_replay_that_differs(recording: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(recording).replace('"effects":"', '"effects":"0', 1))
    assert main(["replay", str(path)]) == exits.DIFFERENT
    assert "DIFFERS" in capsys.readouterr().out


def test_replay_of_something_else(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", file]) == exits.NOT_STARTED
    assert main(["replay", file + "x"]) == exits.NOT_STARTED
    assert "no JSON" in capsys.readouterr().err

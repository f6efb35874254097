"""The program as a person meets it: its commands, their output and their exit codes."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program.programs import ENVIRONMENT, Origin, Program, Request, call, children, get, proxycore

CONFIG = """
[logging]
access = "json"
access_file = "access.log"

[[listeners]]
name = "web"
bind = "127.0.0.1:0"

[upstreams.api]
servers = ["{origin}"]

[[routes]]
match = {{ path = "/state" }}
respond = {{ body = "{state}" }}

[[routes]]
upstream = "api"
"""


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture(params=["asyncio", "trio", "gevent"])
def binding(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    pytest.importorskip(name)
    return name


def test_version() -> None:
    result = proxycore("--version")
    assert result.code == 0
    assert result.output.startswith("proxycore ")


def test_help_has_examples_and_exit_codes() -> None:
    for command in ([], ["serve"], ["check"]):
        result = call(*command, "--help")
        assert result.code == 0
        assert "examples:" in result.output
    assert "exit codes:" in call("--help").output


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["serve"],
        ["serve", "proxy.toml", "--to", "http://127.0.0.1:1"],
        ["serve", "--to", "http://127.0.0.1:1", "--workers", "0"],
        ["serve", "--to", "http://127.0.0.1:1", "--binding", "twisted"],
        ["check"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.code == 2
    assert "usage: proxycore" in result.errors


def test_check_lists_every_problem_with_its_place_and_what_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(
        '[[listeners]]\nbnd = "127.0.0.1:80"\n\n[upstreams.api]\nservers = ["10.0.0.1:80"]\n\n'
        '[[routes]]\nupstream = "apy"\n\n[timeouts]\nconnect = "5 seconds"\n'
    )
    result = call("check", str(file))
    assert result.code == 1
    assert result.output == ""
    lines = result.errors.splitlines()
    for place, meant in [(":2: ", "bind"), (":5: ", "http://10.0.0.1:80"), (":11: ", "5s")]:
        assert any(f"{file}{place}" in line and f'"{meant}"' in line for line in lines), result.errors


def test_check_reads_includes_the_environment_and_the_files_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "routes").mkdir()
    (tmp_path / "routes" / "b.toml").write_text('[[routes]]\nname = "b"\nrespond = { status = 204 }\n')
    (tmp_path / "routes" / "a.toml").write_text('[[routes]]\nname = "a"\nupstream = "api"\n')
    (tmp_path / "502.html").write_text("<h1>Sorry</h1>")
    file = tmp_path / "proxy.toml"
    text = (
        'include = ["routes/*.toml"]\n[error_pages]\n"502" = "502.html"\n[[listeners]]\nbind = "127.0.0.1:0"\n'
        '[upstreams.api]\nservers = ["${PROXYCORE_TEST_ORIGIN}"]\n'
    )
    file.write_text(text)
    monkeypatch.setenv("PROXYCORE_TEST_ORIGIN", "http://10.0.0.1")
    result = call("check", str(file))
    assert (result.code, result.errors) == (0, "")
    assert result.output == f"{file}: good: 1 listener, 2 routes, 1 upstream\n"

    monkeypatch.delenv("PROXYCORE_TEST_ORIGIN")
    (tmp_path / "routes" / "b.toml").write_text('[[routes]]\nname = "b"\nrespons = { status = 204 }\n')
    result = call("check", str(file))
    assert result.code == 1
    assert f'{tmp_path}/routes/b.toml:3: routes[0].respons: unknown key; did you mean "respond"?' in result.errors
    assert 'the environment has no variable "PROXYCORE_TEST_ORIGIN"' in result.errors


def test_check_names_the_file_of_what_cant_be_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httptools", None)
    monkeypatch.delitem(sys.modules, "proxycore.mechanisms.http1.codec_httptools", raising=False)
    file = tmp_path / "proxy.toml"
    file.write_text('http1 = "httptools"\n[[listeners]]\nbind = "127.0.0.1:0"\n[[routes]]\nrespond = {}\n')
    result = call("check", str(file))
    assert result.code == 1
    assert result.errors.startswith(f'{file}:1: http1: http1 = "httptools" needs the package httptools')


def test_check_tells_of_files_that_cant_be_read(tmp_path: Path) -> None:
    missing = call("check", str(tmp_path / "none.toml"))
    assert missing.code == 1
    assert missing.errors == f"{tmp_path}/none.toml: it can't be read: no such file or directory\n"
    file = tmp_path / "proxy.toml"
    file.write_text(
        '[error_pages]\n"502" = "none.html"\n[[listeners]]\nbind = "127.0.0.1:0"\n'
        "[[routes]]\nrespond = { status = 204 }\n"
    )
    result = call("check", str(file))
    assert result.code == 1
    assert result.errors == f'{file}:2: error_pages.502: "none.html" can\'t be read: no such file or directory\n'


def test_check_gives_the_line_in_an_included_file(tmp_path: Path) -> None:
    (tmp_path / "pages.toml").write_text('[error_pages]\n\n"502" = "none.html"\n')
    file = tmp_path / "proxy.toml"
    file.write_text('include = "pages.toml"\n[[listeners]]\nbind = "127.0.0.1:0"\n[[routes]]\nrespond = {}\n')
    expected = f'{tmp_path}/pages.toml:3: error_pages.502: "none.html" can\'t be read: no such file or directory\n'
    assert call("check", str(file)).errors == expected


def test_an_address_that_is_taken_is_exit_code_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = proxycore("serve", "--listen", address, "--to", "http://127.0.0.1:1")
    assert result.code == 3
    assert address in result.errors
    assert "Traceback" not in result.errors


def test_a_missing_extra_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "trio.py").write_text("raise ModuleNotFoundError('no trio here', name='trio')\n")
    result = proxycore(
        "serve", "--listen", "127.0.0.1:0", "--to", "http://127.0.0.1:1", "--binding", "trio",
        PYTHONPATH=os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]]),
    )  # fmt: skip
    assert result.code == 3
    assert result.errors == "proxycore: trio is not installed: pip install 'proxycore[trio]'\n"


def test_only_root_becomes_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)  # tests may run as root
    file = tmp_path / "proxy.toml"
    file.write_text('user = "root"\n' + CONFIG.format(origin="http://127.0.0.1:1", state="x"))
    result = call("serve", str(file))
    assert result.code == 3
    assert "only root can become another user" in result.errors


def test_an_unknown_user_is_told_before_anything_is_bound(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('user = "nobody-of-that-name"\n' + CONFIG.format(origin="http://127.0.0.1:1", state="x"))
    result = call("serve", str(file))
    assert result.code == 3
    assert "there is no such user" in result.errors


def test_serving_without_a_file(origin: Origin, binding: str) -> None:
    with Program("--listen", "127.0.0.1:0", "--to", origin.url, "--binding", binding) as program:
        address = program.address()
        assert binding in program.said
        assert origin.url in program.said
        assert get(f"{address}/hello") == (200, "/hello")
        program.signal(signal.SIGINT)
        code, output = program.end()
    assert code == 0
    lines = [json.loads(line) for line in output.splitlines()]
    assert [(line["target"], line["status"], line["outcome"]) for line in lines] == [("/hello", 200, "completed")]


def test_a_life_of_signals(origin: Origin, binding: str, tmp_path: Path) -> None:
    """Reloads, good and bad; log rotation; a drain that waits for what is in flight."""
    file, log = tmp_path / "proxy.toml", tmp_path / "access.log"
    file.write_text(CONFIG.format(origin=origin.url, state="first").replace('"json"', '"off"'))
    with Program(str(file), "--binding", binding) as program:
        address = program.address()
        assert get(f"{address}/state") == (200, "first")
        assert not log.exists()

        file.write_text(CONFIG.format(origin=origin.url, state="second"))
        program.signal(signal.SIGHUP)
        program.wait_for("the new configuration is in force")
        assert get(f"{address}/state") == (200, "second")

        file.write_text(CONFIG.format(origin=origin.url, state="third").replace("servers", "servrs"))
        program.signal(signal.SIGHUP)
        program.wait_for('refused(.|\n)*did you mean "servers"')
        assert get(f"{address}/state") == (200, "second")

        log.rename(tmp_path / "access.log.1")
        program.signal(signal.SIGUSR1)
        while not log.exists():
            assert program.process.poll() is None

        held = Request(f"{address}/held")
        assert origin.arrived.wait(30)
        program.signal(signal.SIGTERM)
        program.wait_for("draining")
        with pytest.raises(ConnectionError):
            get(f"{address}/state")
        origin.release.set()
        assert held.answer() == (200, "/held")
        code, output = program.end()
    assert (code, output) == (0, "")
    assert [json.loads(line)["target"] for line in (tmp_path / "access.log.1").read_text().splitlines()] == [
        "/state",
        "/state",
    ]
    assert [json.loads(line)["target"] for line in log.read_text().splitlines()] == ["/held"]


def test_a_second_signal_ends_at_once(origin: Origin, binding: str) -> None:
    with Program("--listen", "127.0.0.1:0", "--to", origin.url, "--binding", binding) as program:
        held = Request(f"{program.address()}/held")
        assert origin.arrived.wait(30)
        program.signal(signal.SIGTERM)
        program.wait_for("draining")
        program.signal(signal.SIGTERM)
        code, output = program.end()
        assert code == 143
        answer = held.answer()
        assert not isinstance(answer, tuple), "a cut exchange was taken for a whole one"
    line = json.loads(output)
    assert (line["target"], line["outcome"]) == ("/held", "drained")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up root")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_root_is_given_up_once_everything_is_bound(origin: Origin, tmp_path: Path, workers: str) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    user = pwd.getpwnam("nobody")
    file = tmp_path / "proxy.toml"
    file.write_text('user = "nobody"\n' + CONFIG.format(origin=origin.url, state="x"))
    with Program(str(file), "--workers", workers) as program:
        address = program.address()
        assert get(f"{address}/hello") == (200, "/hello")
        for pid in children(program.process.pid) or [program.process.pid]:
            status = Path(f"/proc/{pid}/status").read_text()
            assert re.search(rf"^Uid:\t{user.pw_uid}\t{user.pw_uid}\t{user.pw_uid}\t", status, re.MULTILINE)
            assert re.search(rf"^Gid:\t{user.pw_gid}\t{user.pw_gid}\t{user.pw_gid}\t", status, re.MULTILINE)
            groups = re.search(r"^Groups:\t(.*)$", status, re.MULTILINE)
            assert groups is not None
            assert set(groups[1].split()) == {str(group) for group in os.getgrouplist("nobody", user.pw_gid)}
        program.signal(signal.SIGTERM)
        assert program.end()[0] == 0

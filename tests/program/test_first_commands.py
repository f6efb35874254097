"""What a person types before anything is served: init, schema, completion."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.program.programs import ENVIRONMENT, PATIENCE, call

COMMANDS = ["init", "serve", "check", "explain", "cert", "replay", "hash-password", "schema", "completion"]


def test_a_misspelt_command_is_answered_with_what_was_meant() -> None:
    result = call("chekc", "proxy.toml")
    assert result.code == 2
    assert result.errors.endswith('"chekc" is no command; did you mean "check"?\n')
    assert "invalid choice: 'zzz'" in call("zzz").errors


def test_init_writes_a_file_that_check_accepts(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    result = call("init", str(file), "--listen", "127.0.0.1:0", "--to", "http://127.0.0.1:1", "--to", "http://b:2")
    assert (result.code, result.errors) == (0, "")
    assert f"proxycore check {file}" in result.output
    assert call("check", str(file)).output == f"{file}: good: 1 listener, 2 routes, 1 upstream\n"
    commented_in = file.read_text().replace("# trusted", "trusted").replace("# balance", "balance")
    file.write_text(commented_in.replace("# [", "[").replace("# max", "max").replace("# response", "response"))
    assert call("check", str(file)).errors == ""


def test_init_names_a_file_with_a_blank_as_a_shell_takes_it(tmp_path: Path) -> None:
    file = tmp_path / "my proxy.toml"
    assert f"proxycore check '{file}' && proxycore serve '{file}'" in call("init", str(file)).output
    assert "proxycore check 'my proxy.toml' " in file.read_text()


@pytest.mark.parametrize("command", ["schema", "completion zsh"])
def test_a_reader_that_leaves_is_no_error(command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        words = [sys.executable, "-m", "proxycore", *command.split()]
        done = subprocess.run(
            words, env=ENVIRONMENT, stdout=writer, stderr=subprocess.PIPE, timeout=PATIENCE, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_told_in_a_sentence() -> None:
    with open("/dev/full", "wb") as full:
        words = [sys.executable, "-m", "proxycore", "schema"]
        done = subprocess.run(
            words, env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE, check=False
        )
    assert (done.returncode, done.stderr) == (3, b"proxycore: the output can't be written: no space left on device\n")


def test_init_leaves_what_is_there_alone(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text("mine")
    result = call("init", str(file))
    assert result.code == 3
    assert "is there already" in result.errors
    assert file.read_text() == "mine"


def test_init_tells_what_is_wrong_with_an_address(tmp_path: Path) -> None:
    result = call("init", str(tmp_path / "proxy.toml"), "--to", "ftp://a")
    assert result.code == 1
    assert "upstreams.app.servers[0].url: a server is reached by http" in result.errors
    assert not (tmp_path / "proxy.toml").exists()


def test_lint_tells_line_reason_and_mend(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    good = '[[listeners]]\nbind = "127.0.0.1:0"\n[[routes]]\nname = "a"\nrespond = {}\n'
    file.write_text(good + '[[routes]]\nname = "b"\nrespond = {}\n')
    assert call("check", str(file)).code == 0
    result = call("check", "--lint", str(file))
    assert result.code == 5
    assert f'{file}:6: routes[1].match: never reached: route "a"' in result.output
    file.write_text(good)
    assert call("check", "--lint", str(file)).code == 0


def test_schema_prints_json() -> None:
    assert json.loads(call("schema").output)["title"] == "proxycore"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("proxycore c", ["cert", "check", "completion"]),
        ("proxycore serve --b", ["--binding"]),
        ("proxycore serve --binding t", ["trio"]),
        ("proxycore serve --to ", []),
        ("proxycore completion ", ["--help", "-h", "bash", "fish", "zsh"]),
    ],
)
def test_bash_completes(words: str, expected: list[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    given = words.split(" ")
    script = (
        f"{call('completion', 'bash').output}\n"
        f"COMP_WORDS=({' '.join(given[:-1])} '{given[-1]}') COMP_CWORD={len(given) - 1}\n"
        f"_proxycore proxycore '{given[-1]}' '{given[-2]}'\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    result = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert sorted(result.stdout.split()) == expected


def test_fish_completes(tmp_path: Path) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("there is no fish")
    script = tmp_path / "proxycore.fish"
    script.write_text(call("completion", "fish").output)

    def completed(words: str) -> list[str]:
        command = [fish, "--no-config", "-c", f"source {script}; complete -C '{words}'"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
        return sorted(line.partition("\t")[0] for line in said.splitlines())

    assert completed("proxycore c") == ["cert", "check", "completion"]
    assert completed("proxycore serve --b") == ["--binding"]
    assert completed("proxycore serve --binding t") == ["trio"]
    assert completed("proxycore completion ") == ["bash", "fish", "zsh"]


def test_zsh_completes(tmp_path: Path) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("there is no zsh")
    (tmp_path / "_proxycore").write_text(call("completion", "zsh").output)
    begin = (
        f"fpath=({tmp_path} $fpath); autoload -U compinit; compinit -u -D; "
        "proxycore() { echo \"<$*>\" }; echo rea''dy\n"
    )
    leader, follower = pty.openpty()
    shell = subprocess.Popen([zsh, "-f", "-i"], stdin=follower, stdout=follower, stderr=follower, close_fds=True)
    try:
        said = ""
        # As a person types: what comes in a rush is taken for something pasted, and isn't completed.
        for typed, mark in (
            (begin, "ready\r\n"),
            ("proxycore serve --b\t", "--binding"),
            ("t\t", "trio"),
            ("\n", "<serve --binding trio>"),
        ):
            os.write(leader, typed.encode())
            end = time.monotonic() + 10
            while mark not in said and time.monotonic() < end and select.select([leader], [], [], 10)[0]:
                said += os.read(leader, 1 << 16).decode()
            assert mark in said, said
    finally:
        shell.kill()
        shell.wait()
        os.close(leader)
        os.close(follower)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_tells_how_it_is_used(command: str) -> None:
    said = call(*filter(None, [command]), "--help")
    assert said.code == 0
    assert f"examples:\n  proxycore {command}".rstrip() in said.output
    if not command:
        assert all(f"\n  {code} " in said.output for code in (0, 1, 2, 3, 4, 5, 130, 141, 143))


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_every_command(shell: str) -> None:
    script = call("completion", shell).output
    assert all(command in script for command in ("init", "serve", "check", "explain", "replay", "schema"))
    assert "work" not in script.split()

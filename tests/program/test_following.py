"""Files of users, API keys and key sets are read again when they change, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from proxycore.config import Config, Listener, Route
from proxycore.program.files import materials_of
from proxycore.program.following import FileWatch, Following
from tests.program.programs import PATIENCE, Program, get

CONFIG = """
workers = {workers}

[[listeners]]
bind = "127.0.0.1:0"

[api_keys.partners]
file = "keys"
header = "X-API-Key"

[[routes]]
match = {{ path = "/state" }}
respond = {{ body = "{state}" }}

[[routes]]
respond = {{}}
api_key = "partners"
"""


def key_line(key: str, name: str = "partner") -> str:
    return f"{name}:$sha256${hashlib.sha256(key.encode()).hexdigest()}\n"


def status_of(url: str, key: str) -> int:
    request = urllib.request.Request(url, headers={"X-API-Key": key})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_file_is_told_once_it_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("one")
    watch = FileWatch([str(path)])
    assert watch.changed() == [str(path)]
    assert watch.changed() == []
    path.write_text("half")
    assert watch.changed() == []  # it may go on being written
    path.write_text("half, and whole")
    assert watch.changed() == []
    assert watch.changed() == [str(path)]
    assert watch.changed() == []


def test_a_file_that_goes_is_told_and_one_that_comes_back_too(tmp_path: Path) -> None:
    path, other = tmp_path / "keys", tmp_path / "new"
    path.write_text("one")
    watch = FileWatch([str(path)])
    watch.changed()
    path.unlink()
    assert [watch.changed() for _ in range(3)] == [[], [str(path)], []]
    other.write_text("one")
    other.rename(path)
    assert [watch.changed() for _ in range(3)] == [[], [str(path)], []]


def test_two_names_of_one_file_and_two_kinds_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("keys").write_text(key_line("a"))
    Path("jwks").write_text('{"keys": []}')
    sections = {"keys_file": "jwks", "algorithms": ["HS256"], "issuer": "i", "audience": "a"}
    config = Config(
        listeners=[Listener(bind="127.0.0.1:0")],
        api_keys={"one": {"file": "keys", "header": "X-A"}, "two": {"file": "keys", "header": "X-B"}},
        jwt={"service": sections},
        routes=[Route(respond={})],
    )
    materials = materials_of(config)
    following = Following(config, "")
    assert sorted(following.watch.changed()) == ["jwks", "keys"]
    Path("keys").write_text(key_line("b", "other"))
    Path("jwks").write_text('{"keys": [{"kid": "x"}]}')
    for path in ("keys", "jwks"):
        materials = following.reread(path, materials)
    assert list(materials.api_keys["keys"].values()) == ["other"]
    assert materials.key_sets["jwks"] == [{"kid": "x"}]


def test_a_changed_file_holds_at_once(tmp_path: Path) -> None:
    file, keys = tmp_path / "proxy.toml", tmp_path / "keys"
    file.write_text(CONFIG.format(workers=1, state="first"))
    keys.write_text(key_line("old"))
    with Program(str(file)) as program:
        address = program.address()
        assert status_of(address, "old") == 200
        keys.write_text(key_line("new"))
        program.wait_for("keys has changed, and is in force")
        assert (status_of(address, "new"), status_of(address, "old")) == (200, 401)


def test_all_workers_take_a_changed_file_and_none_a_bad_one(tmp_path: Path) -> None:
    file, keys = tmp_path / "proxy.toml", tmp_path / "keys"
    file.write_text(CONFIG.format(workers=2, state="first"))
    keys.write_text(key_line("old"))
    with Program(str(file)) as program:
        address = program.address()
        assert status_of(address, "old") == 200
        # Only what is followed is read again: the configuration waits for SIGHUP.
        file.write_text(CONFIG.format(workers=2, state="second"))
        replacement = tmp_path / "keys.new"
        replacement.write_text(key_line("new"))
        os.replace(replacement, keys)
        for worker in (1, 2):
            program.wait_for(f"worker {worker}: the new configuration is in force")
        assert {status_of(address, "new") for _ in range(4)} == {200}
        assert status_of(address, "old") == 401
        assert get(f"{address}/state") == (200, "first")

        keys.write_text(key_line("new")[:40])
        program.wait_for(r"keys has changed and is refused(.|\n)*line 1: this is no hash of an API key")
        assert {status_of(address, "new") for _ in range(4)} == {200}

"""`proxycore cert`: what it makes is served as it says, and what is there stays."""

from __future__ import annotations

import builtins
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest

from proxycore.mechanisms.tls import certificate_of
from proxycore.program.commands import cert
from proxycore.program.exits import NotStarted
from tests.program.programs import call


def test_a_certificate_to_develop_with(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    result = call("cert", "--host", "localhost", "--host", "*.dev.example", "--out", str(folder))
    assert (result.code, result.errors) == (0, "")
    assert stat.S_IMODE((folder / "dev.key").stat().st_mode) == 0o600
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "dev.crt", folder / "dev.key")
    assert certificate_of(context).names == ("localhost", "*.dev.example")
    table = result.output.partition("[listeners.tls]")[2].partition("\n\n")[0]
    config = tmp_path / "proxy.toml"
    config.write_text(f'[[listeners]]\nbind = "127.0.0.1:0"\n[listeners.tls]{table}\n[[routes]]\nrespond = {{}}\n')
    assert call("check", str(config)).errors == ""


def test_what_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "dev.key").write_text("mine")
    result = call("cert", "--out", str(tmp_path))
    assert result.code == 3
    there = f"{tmp_path / 'dev.key'} is there already, and is kept: remove it, or give another folder with --out DIR"
    assert there in result.errors
    assert "Errno" not in result.errors
    assert (tmp_path / "dev.key").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [tmp_path / "dev.key"]


def test_without_the_extra_it_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "trustme":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(NotStarted, match=r"pip install 'proxycore\[tls-dev\]'"):
        cert.make(["localhost"], str(tmp_path))

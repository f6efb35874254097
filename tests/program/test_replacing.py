"""A file is replaced whole, or stays as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxycore.program.replacing import replacing


def test_it_is_replaced_when_the_block_has_ended(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("old")
    file.chmod(0o604)
    with replacing(str(file), "new\r\n"):
        assert file.read_text() == "old"
    assert file.read_bytes() == b"new\r\n"
    assert file.stat().st_mode & 0o777 == 0o604
    assert os.listdir(tmp_path) == ["a"]


def test_it_stays_when_the_block_raises(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("old")
    with pytest.raises(ValueError, match="no"), replacing(str(file), "new"):
        raise ValueError("no")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    file, link = tmp_path / "there" / "a", tmp_path / "link"
    file.write_text("old")
    link.symlink_to(file)
    with replacing(str(link), "new"):
        pass
    assert link.is_symlink()
    assert file.read_text() == "new"


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(str(tmp_path / "a"), "new"):
        pass
    assert os.listdir(tmp_path) == []

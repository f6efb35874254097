"""Files that a configuration names, and that are none: nobody waits for them, or takes all that they give."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxycore.config import ConfigError
from proxycore.program.files import FILE_MAX, Disk, Edited, Source

CONFIG = """
[[listeners]]
bind = "127.0.0.1:0"
[basic_auth.staff]
file = "{file}"
[[routes]]
basic_auth = "staff"
respond = {{}}
"""


def problem_of(text: str, tmp_path: Path) -> str:
    file = str(tmp_path / "proxy.toml")
    with pytest.raises(ConfigError) as refused:
        Source(file).load(Edited(Disk(), file, text))
    return str(refused.value)


def test_a_pipe_that_somebody_names_in_the_api_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "it is a pipe, which may never end" in problem_of(CONFIG.format(file="pipe"), tmp_path)


def test_a_device_without_end_is_refused(tmp_path: Path) -> None:
    said = problem_of(CONFIG.format(file="/dev/zero"), tmp_path)
    assert f"it holds more than {FILE_MAX} bytes" in said
    assert "basic_auth.staff.file" in said

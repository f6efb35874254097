"""Root binds, and another user serves: in one process, in workers, and where the dashboard asks them."""

from __future__ import annotations

import os
import pwd
import signal
import tempfile
from pathlib import Path

import pytest

from tests.program.programs import Program, children, get, until
from tests.program.test_admin import Client

CONFIG = """
user = "nobody"
workers = {workers}
[admin]
bind = "127.0.0.1:0"
[[listeners]]
bind = "127.0.0.1:0"
[logging]
access_file = "access.log"
[[routes]]
respond = {{ body = "served" }}
"""


def users(pid: int) -> set[int]:
    """The real, effective, saved and file system user ids of a process."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:")]
    return {int(uid) for uid in line.split()[1:]}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_root_is_given_up_once_everything_is_bound(workers: int, tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(CONFIG.format(workers=workers))
    # The folder of `Program` is root's own.
    with Program(str(file), environment={"TMPDIR": tempfile.gettempdir()}) as program:
        url = program.address()
        dashboard = Client(program.wait_for(r"dashboard\s+(http://127\.0\.0\.1:\d+)")[1])
        assert get(url) == (200, "served")
        until(lambda: dashboard.status()["totals"]["requests"] == 1)
        serving = children(program.process.pid) if workers > 1 else [program.process.pid]
        assert len(serving) == (3 if workers > 1 else 1)
        assert [users(pid) for pid in serving] == [{pwd.getpwnam("nobody").pw_uid}] * len(serving)
        assert (tmp_path / "access.log").owner() == "nobody"  # who may open it again at a reload
        program.signal(signal.SIGTERM)
        assert program.end()[0] == 0

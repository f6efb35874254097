"""The limit of open files that the program begins with, and the one that it serves with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.program.programs import Program, children

_WITH_A_LOW_LIMIT = """\
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
os.execv(sys.executable, [sys.executable, "-m", "proxycore", *sys.argv[1:]])
"""


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="no /proc")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_serves_with_as_many_as_it_may(workers: str) -> None:
    arguments = ("serve", "--listen", "127.0.0.1:0", "--to", "http://127.0.0.1:9", "--workers", workers)
    with Program(*arguments, script=("-c", _WITH_A_LOW_LIMIT)) as program:
        program.address()
        pids = [program.process.pid, *children(program.process.pid)]
        for pid in pids:
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert limits.partition("Max open files")[2].split()[:2] == ["300", "300"]

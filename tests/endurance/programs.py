"""The processes of these tests: the proxy as it is served, and an origin behind it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.program.programs import ENVIRONMENT, PATIENCE, Program

__all__ = ["ENVIRONMENT", "OriginProgram", "ProxyProgram", "write_config"]

_ORIGIN = Path(__file__).with_name("origin_program.py")

_CONFIG = """\
[logging]
access = "{access}"
access_file = "access.log"
[limits]
{limits}
[timeouts]
{timeouts}
[[listeners]]
bind = "127.0.0.1:0"
{listener}
[upstreams.api]
servers = [{servers}]
{upstream}
{routes}
[[routes]]
name = "all"
upstream = "api"
"""


def write_config(
    folder: Path,
    *servers: str,
    limits: Mapping[str, str | int] | None = None,
    timeouts: Mapping[str, str] | None = None,
    listener: str = "",
    upstream: str = "",
    routes: str = "",
    access: str = "json",
) -> str:
    """Write a configuration that sends everything to `servers`; the file's path."""
    file = folder / "proxy.toml"
    text = _CONFIG.format(
        access=access,
        limits="\n".join(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"
                         for key, value in (limits or {}).items()),
        timeouts="\n".join(f'{key} = "{value}"' for key, value in (timeouts or {}).items()),
        listener=listener,
        servers=", ".join(f'"{url}"' for url in servers),
        upstream=upstream,
        routes=routes,
    )  # fmt: skip
    # As an editor does it: a reload must never read half a file.
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)
    return str(file)


class ProxyProgram(Program):
    """`proxycore serve FILE --binding NAME` until the block ends, and what the system knows of it.

    Leaving the block, it must have said nothing of a bug and no traceback.
    """

    def __init__(self, file: str, binding: str, *, files: int | None = None) -> None:
        script = ("-m", "proxycore", "serve")
        if files is not None:
            script = ("-c", _WITH_FEW_FILES.format(files=files), "serve")
        super().__init__(file, "--binding", binding, script=script)

    def __enter__(self) -> ProxyProgram:
        super().__enter__()
        self.port = int(self.address().rpartition(":")[2])
        return self

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        if exc[0] is None:
            assert not re.search("Traceback|a bug", self.said), self.said

    @property
    def pid(self) -> int:
        return self.process.pid

    def reload(self, times: int) -> None:
        """Ask for a reload, and wait until this one, the nth in all, is in force."""
        self.signal(signal.SIGHUP)
        self.wait_for("the new configuration is in force", times)

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self) -> int:
        """KiB that are its own: shared pages count by their share (PSS)."""
        return _kibibytes(f"/proc/{self.pid}/smaps_rollup", "Pss")

    def peak(self) -> int:
        """The most KiB that were resident since `forget_peak`."""
        return _kibibytes(f"/proc/{self.pid}/status", "VmHWM")

    def forget_peak(self) -> int:
        """Let the peak begin anew; KiB that are resident now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.peak()

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


_WITH_FEW_FILES = """\
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))
from proxycore.program.cli import main
sys.exit(main(sys.argv[1:]))
"""


def _kibibytes(file: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(file).read_text(), re.MULTILINE)
    assert found
    return int(found[1])


class OriginProgram:
    """`origin_program.py` until the block ends. It can be killed, and started again on its port."""

    def __init__(self) -> None:
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_ORIGIN), str(self.port)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> OriginProgram:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

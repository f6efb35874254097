"""Start, watch and stop processes. Everything is addressed by pid, never by name."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def pinned(argv: Sequence[str], core: int) -> list[str]:
    """The command, held to one core and ended with us, whatever ends us."""
    return ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", str(core), *argv]


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raise_file_limit() -> None:
    """Lift the soft open-file limit to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat after the program's name, which may hold blanks; empty once the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def descendants(root: int) -> list[int]:
    """`root` and every live process below it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := stat_fields(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    tree = [root] if stat_fields(root) else []
    for pid in tree:  # grows while it is walked
        tree += children.get(pid, [])
    return tree


def cpu_seconds(root: int) -> float:
    """CPU used by the tree under `root`, children that ended included."""
    ticks = sum(
        int(value) for pid in descendants(root) for value in stat_fields(pid)[11:15]
    )  # utime stime cutime cstime
    return ticks / TICKS_PER_SECOND


def memory_kib(root: int) -> tuple[int, int]:
    """Resident and proportional set size (rss, pss) of the tree under `root`."""
    sizes = {"Rss:": 0, "Pss:": 0}
    for pid in descendants(root):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, *rest = line.split()
                if name in sizes:
                    sizes[name] += int(rest[0])
    return sizes["Rss:"], sizes["Pss:"]


def reaped_cpu_seconds() -> float:
    """CPU used by children of this process that have ended, such as load generators."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def core_busy_seconds(core: int) -> float:
    """CPU seconds that a core has spent doing anything at all."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND
    return 0.0


class Process:
    """A child pinned to one core, with its output in a log file."""

    def __init__(self, argv: Sequence[str], core: int, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("wb") as output:
            self.child = subprocess.Popen(
                pinned(argv, core),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.pid = self.child.pid

    def wait_until_listening(self, port: int, *, tls: bool = False, patience: float = 25.0) -> None:
        """Return once `port` accepts (and shakes hands); raise with the log's end if it never does."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise RuntimeError(f"ended with {self.child.returncode}: {self.log_tail()}")
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as connection:
                    if tls:
                        insecure_client_context().wrap_socket(connection).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"did not listen on {port} in {patience:.0f} s: {self.log_tail()}")

    def log_tail(self, characters: int = 600) -> str:
        return self.log.read_text(errors="replace")[-characters:].strip()

    def stop(self, grace: float = 4.0) -> None:
        """Ask it to end, then kill what is left of its tree."""
        tree = descendants(self.pid)
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(grace)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        for pid in tree[1:]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def insecure_client_context() -> ssl.SSLContext:
    """A TLS client that accepts the bench's self-signed certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

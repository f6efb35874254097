"""Whatever an operator does to several workers, and they die in turn: clients under steady load lose nothing."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conformance.origins import Line, connect
from tests.conformance.proxies import soon
from tests.endurance.conftest import BINDINGS, Tell
from tests.endurance.programs import OriginProgram
from tests.endurance.test_faults import Load
from tests.program.programs import PATIENCE, Program
from tests.program.test_admin import ACTION, Client

CONFIG = """\
workers = 2
[admin]
bind = "127.0.0.1:0"
[logging]
access = "off"
[timeouts]
drain = "10s"
[[listeners]]
bind = "fd:{fd}"
[upstreams.api]
servers = [{{ name = "s0", url = "{first}" }}, {{ name = "s1", url = "{second}" }}]
[[routes]]
name = "number{number}"
upstream = "api"
"""


class PatientLoad(Load):
    """As `Load`, with GET alone, and asks again as clients may (RFC 9110, section 9.2.2; RFC 9112, section 9.3.1): when
    a connection ended before the answer began. `lost_at_once` counts connections that had carried nothing before.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port, with_posts=False)
        self.asked_again = 0

    def _ask_once(self, line: Line, number: int) -> None:
        line.socket.settimeout(PATIENCE)  # programs start slowly where much else does
        try:
            super()._ask_once(line, number)
        except (EOFError, ConnectionError):
            if line.buffer:
                raise
            self.asked_again += 1
            line.socket.close()
            line.socket = connect(self._port).socket
            line.socket.settimeout(PATIENCE)
            super()._ask_once(line, number)


@pytest.fixture
def origins() -> Iterator[list[OriginProgram]]:
    with ExitStack() as stack:
        yield [stack.enter_context(OriginProgram()) for _ in range(2)]


class Activated:
    """The program on a listening socket that outlives it, as a service manager holds it."""

    def __init__(self, folder: Path, origins: list[OriginProgram], binding: str, listening: socket.socket) -> None:
        self._file = folder / "proxy.toml"
        self._origins = origins
        self._binding = binding
        self._fd = listening.fileno()
        self.write(0)

    def write(self, number: int) -> None:
        text = CONFIG.format(fd=self._fd, first=self._origins[0].url, second=self._origins[1].url, number=number)
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self._file)

    @contextmanager
    def started(self) -> Iterator[Program]:
        with Program(str(self._file), "--binding", self._binding, pass_fds=[self._fd]) as program:
            program.address()
            yield program
            assert "a bug" not in program.said
            assert "Traceback" not in program.said

    def reload(self, program: Program, number: int) -> None:
        self.write(number)
        program.signal(signal.SIGHUP)
        program.wait_for("the new configuration is in force", 2 * number)


def test_nothing_is_lost(folder: Path, origins: list[OriginProgram], is_long: bool, tell: Tell) -> None:
    """Reloads, a server drained and enabled again, workers killed, a stop and a start; on all bindings at once."""
    with ThreadPoolExecutor() as threads:
        lives = [threads.submit(live, folder / binding, origins, binding, is_long) for binding in BINDINGS]
    for binding, life in zip(BINDINGS, lives, strict=True):
        load = life.result()
        tell(f"{binding}: {load}, {load.asked_again} asked again")
        assert load.wrong == [], binding


def live(folder: Path, origins: list[OriginProgram], binding: str, is_long: bool) -> PatientLoad:
    """All of that on one binding, and what became of the load."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listening, ExitStack() as programs:
        proxy = Activated(folder, origins, binding, listening)
        program = programs.enter_context(proxy.started())
        with PatientLoad(listening.getsockname()[1]) as load:
            for number in range(1, 21 if is_long else 4):
                proxy.reload(program, number)
            drain_a_server(program, load)
            assert load.asked_again == 0

            kill_the_workers(program)
            assert soon(lambda: load.asked_again >= 1, PATIENCE)
            time.sleep(5 if is_long else 0.3)
            assert load.asked_again <= 2 * 4  # of each client what that worker had

            before = load.asked_again
            for _ in range(5 if is_long else 1):
                program.signal(signal.SIGTERM)
                assert program.end()[0] == 0
                program = programs.enter_context(proxy.started())
                time.sleep(0.2)
            asked = len(load.waits)
            assert soon(lambda: len(load.waits) >= asked + 20, PATIENCE)
            assert load.asked_again == before
        return load


def kill_the_workers(program: Program) -> None:
    """One after the other: so whatever worker a client is connected to, that connection ends."""
    admin = Client(dashboard_of(program))

    def pids() -> set[int]:
        return {report["process"]["pid"] for report in admin.ask("GET", "/api/v1/reports")[1]}

    for times, pid in enumerate(sorted(pids()), 1):
        os.kill(pid, signal.SIGKILL)
        program.wait_for(r"worker \d died \(SIGKILL\)", times)
        assert soon(lambda gone=pid: len(pids() - {gone}) == 2, PATIENCE)  # type: ignore[misc]  # a lambda with a default


def drain_a_server(program: Program, load: Load) -> None:
    """No request goes there, and then it takes its share again."""
    admin = Client(dashboard_of(program))
    server = "/api/v1/upstreams/api/servers/s0"
    assert admin.ask("PATCH", server, {"mode": "drained"}, **ACTION)[0] == 204
    time.sleep(0.1)
    load.servers.clear()
    assert soon(lambda: load.servers.total() >= 20, 5)
    assert len(load.servers) == 1
    assert admin.ask("PATCH", server, {"mode": "enabled"}, **ACTION)[0] == 204
    assert soon(lambda: len(load.servers) == 2, 5)


def dashboard_of(program: Program) -> str:
    return program.wait_for(r"dashboard\s+(http://127\.0\.0\.1:\d+)")[1]

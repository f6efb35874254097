"""The dashboard of several workers: they are shown as one and steered as one, while they die and start again."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.program.programs import Origin, Program, children, until
from tests.program.test_admin import ACTION, Client

SERVERS = "/api/v1/upstreams/api/servers"

CONFIG = """
workers = {workers}
{process}
[admin]
bind = "127.0.0.1:0"

[[listeners]]
name = "web"
bind = "127.0.0.1:0"

[upstreams.api]
servers = [{{ name = "s0", url = "{first}" }}, {{ name = "s1", url = "{second}" }}]

[[routes]]
name = "bad"
match = {{ path = "/bad" }}
respond = {{ status = 500 }}

[[routes]]
name = "rest"
upstream = "api"
"""


@pytest.fixture
def origins() -> Iterator[list[Origin]]:
    with Origin() as first, Origin() as second:
        yield [first, second]


class Served:
    """The program with its dashboard, and how to ask both."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.traffic = Client(program.address())
        self.admin = Client(program.wait_for(r"dashboard\s+(http://127\.0\.0\.1:\d+)")[1])

    def send(self, count: int, path: str = "/x") -> None:
        for _ in range(count):
            assert self.traffic.ask("GET", path)[0] in (200, 500)

    def requests(self) -> int:
        """How many were counted, by the API; by the metrics as many or, later, more."""
        counted = int(self.admin.status()["totals"]["requests"])
        families = {f.name: f for f in text_string_to_metric_families(self.admin.ask("GET", "/metrics")[1])}
        assert sum(sample.value for sample in families["proxycore_requests"].samples) >= counted
        return counted

    def pids(self) -> list[int]:
        return [int(report["process"]["pid"]) for report in self.admin.ask("GET", "/api/v1/reports")[1]]

    def log_levels(self) -> list[str]:
        return [str(report["log_level"]) for report in self.admin.ask("GET", "/api/v1/reports")[1]]

    def states(self, pid: int) -> list[str]:
        """The servers' states as one worker has them; none if it isn't there."""
        for report in self.admin.ask("GET", "/api/v1/reports")[1]:
            if report["process"]["pid"] == pid:
                return [server["state"] for server in report["overview"]["upstreams"][0]["servers"]]
        return []


def write(folder: Path, origins: list[Origin], *, workers: int = 2, process: str = "") -> str:
    file = folder / "proxy.toml"
    file.write_text(
        CONFIG.format(workers=workers, process=process, first=origins[0].url, second=origins[1].url), "utf-8"
    )
    return str(file)


def test_workers_are_shown_and_steered_as_one(origins: list[Origin], tmp_path: Path) -> None:
    """On every binding, all of them at once."""
    file = write(tmp_path, origins)
    with ThreadPoolExecutor() as threads:
        lives = [threads.submit(show_and_steer, file, binding) for binding in ("asyncio", "trio", "gevent")]
    for life in lives:
        life.result()


def show_and_steer(file: str, binding: str) -> None:
    with Program(file, "--binding", binding) as program:
        served = Served(program)
        admin = served.admin
        assert admin.ask("GET", "/readyz") == (200, "ready\n")
        served.send(8)
        served.send(2, "/bad")
        until(lambda: served.requests() == 10)
        status = admin.status()
        assert (status["workers"], status["binding"], status["totals"]["failed"]) == (2, binding, 2)
        assert sum(server["requests"] for server in status["upstreams"][0]["servers"]) == 8

        assert admin.ask("PATCH", f"{SERVERS}/s0", {"mode": "drained"}, **ACTION)[0] == 204
        first = served.pids()
        assert [served.states(pid) for pid in first] == [["drained", "up"]] * 2
        assert admin.ask("PATCH", f"{SERVERS}/s9", {"mode": "drained"}, **ACTION)[0] == 404
        assert admin.ask("POST", SERVERS, {"name": "s1", "url": "http://10.0.0.1"}, **ACTION)[0] == 409
        assert admin.ask("PUT", "/api/v1/log-level", {"level": "debug"}, **ACTION)[0] == 204
        assert admin.ask("POST", "/api/v1/purge", {"kind": "host", "what": "a"}, **ACTION) == (200, {"purged": 0})
        assert admin.ask("POST", "/api/v1/purge", {"kind": "url", "what": "/a"}, **ACTION)[0] == 422
        explained = admin.ask("POST", "/api/v1/explain", {"request": "GET http://x/bad"}, **ACTION)[1]
        assert explained["route"] == "bad"
        assert explained["steps"][0]["reason"].startswith(status["listeners"][0]["bind"][0] + ";")
        assert status["listeners"][0]["bind"][0].startswith("127.0.0.1:")

        program.signal(signal.SIGTERM)
        code, _ = program.end()
        assert code == 0
        program.wait_for("PATCH", times=2)
        assert program.said.count("PATCH") == 2  # the workers don't tell it again
        assert "a bug" not in program.said


def test_a_worker_that_dies_leaves_its_counts_and_the_next_one_its_orders(
    origins: list[Origin], tmp_path: Path
) -> None:
    with Program(write(tmp_path, origins)) as program:
        served = Served(program)
        assert served.admin.ask("PATCH", f"{SERVERS}/s0", {"mode": "drained"}, **ACTION)[0] == 204
        assert served.admin.ask("PUT", "/api/v1/log-level", {"level": "debug"}, **ACTION)[0] == 204
        served.send(10)
        until(lambda: served.requests() == 10)
        first = served.pids()
        os.kill(first[0], signal.SIGKILL)
        until(lambda: len(served.pids()) == 2 and first[0] not in served.pids())
        assert [served.states(pid) for pid in served.pids()] == [["drained", "up"]] * 2
        until(lambda: served.log_levels() == ["debug", "debug"])
        assert served.requests() == 10
        served.send(4)
        until(lambda: served.requests() == 14)
        assert "a bug" not in program.said


def test_a_configuration_is_served_by_all_workers_or_by_none(origins: list[Origin], tmp_path: Path) -> None:
    file = write(tmp_path, origins)
    text = Path(file).read_text()
    with Program(file) as program:
        served = Served(program)
        ask = served.admin.ask
        assert ask("GET", "/api/v1/configuration") == (200, {"toml": text})

        wrong = {"toml": text.replace("status = 500", "staus = 500")}
        assert "staus: unknown key" in ask("POST", "/api/v1/configuration/check", wrong, **ACTION)[1]["problems"][0]
        status, problem = ask("PUT", "/api/v1/configuration", wrong, **ACTION)
        assert (status, "staus: unknown key" in problem["detail"]) == (422, True)

        moved = {"toml": text.replace("127.0.0.1:0", "127.0.0.1:1", 1)}
        status, problem = ask("PUT", "/api/v1/configuration", moved, **ACTION)
        assert (status, "admin: to change it takes a restart" in problem["detail"]) == (422, True)

        half = {"toml": text + "# \ud800"}
        assert ask("POST", "/api/v1/configuration/check", half, **ACTION)[0] == 422
        assert ask("PUT", "/api/v1/configuration", half, **ACTION)[0] == 422

        # It is good, but no worker can open that file.
        unfit = {"toml": text + '[logging]\naccess_file = "none/access.log"\n'}
        status, problem = ask("PUT", "/api/v1/configuration", unfit, **ACTION)
        assert (status, "could not change to it" in problem["detail"]) == (409, True)
        assert {served.traffic.ask("GET", "/bad")[0] for _ in range(6)} == {500}

        new = {"toml": text.replace("status = 500", "status = 418")}
        assert ask("PUT", "/api/v1/configuration", new, **ACTION) == (204, "")
        assert {served.traffic.ask("GET", "/bad")[0] for _ in range(6)} == {418}
        assert ask("GET", "/api/v1/configuration") == (200, new)
        # A worker that starts later serves it too.
        first = served.pids()
        os.kill(first[0], signal.SIGKILL)
        until(lambda: len(served.pids()) == 2 and first[0] not in served.pids())
        assert {served.traffic.ask("GET", "/bad")[0] for _ in range(6)} == {418}


def test_a_dashboard_that_dies_comes_back_and_nobody_else_does(origins: list[Origin], tmp_path: Path) -> None:
    """Nobody else reaches the workers where it asks them, and nothing is left of that place in the end."""
    folders = tmp_path / "run"
    folders.mkdir()
    with Program(write(tmp_path, origins), environment={"TMPDIR": str(folders)}) as program:
        served = Served(program)
        (folder,) = folders.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

        workers = served.pids()
        with socket.create_connection((served.admin.host, served.admin.port)) as sock, sock.makefile("rb") as events:
            sock.sendall(b"GET /api/v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n")
            until(lambda: events.readline().startswith(b"data: "))
            (dashboard,) = [pid for pid in children(program.process.pid) if pid not in workers]
            os.kill(dashboard, signal.SIGKILL)
        program.wait_for(r"dashboard died \(SIGKILL\) and starts again")
        until(lambda: answers(served.admin))
        assert sorted(served.pids()) == sorted(workers)

        program.signal(signal.SIGTERM)
        program.end()
    assert list(folders.iterdir()) == []


def answers(admin: Client) -> bool:
    try:
        return admin.ask("GET", "/readyz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False

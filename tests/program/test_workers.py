"""Several processes that serve together: one may die, all reload, all drain, and no client is the worse for it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxycore.config import UNLIMITED, Config, Limits, Listener, RateLimit, Route, Upstream
from proxycore.program import sharing
from proxycore.program.files import Disk, Source
from tests.conformance.proxies import soon
from tests.program.programs import Origin, Program, Request, children, get

CONFIG = """
workers = 2

[[listeners]]
name = "web"
bind = "127.0.0.1:0"
{more}

[upstreams.api]
servers = ["{origin}"]

[[routes]]
match = {{ path = "/state" }}
respond = {{ body = "{state}" }}

[[routes]]
upstream = "api"
"""


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


def test_a_message_brings_files_and_sockets(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(CONFIG.format(origin="http://10.0.0.1", state="x", more=""))
    source, disk = Source(file=str(file)), Disk()
    source.load(disk)
    file.unlink()  # the worker needs no file, only what was read
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as listening:
        sharing.send(ours, source, disk, {"web": [listening]}, count=2)
        assignment = sharing.receive(theirs)
        assert assignment is not None
        config = assignment.load().config
        (fd,) = assignment.sockets["web"]
        assert config.listeners[0].bind == (f"fd:{fd}",)
        with socket.socket(fileno=os.dup(fd)) as received:
            assert received.getsockname() == listening.getsockname()
        assignment.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        ours.close()
        assert sharing.receive(theirs) is None


def test_limits_are_shared_out() -> None:
    config = Config(
        listeners=[Listener(name="web", bind=["127.0.0.1:80", "127.0.0.1:81"])],
        limits=Limits(connections=10),
        upstreams={"api": Upstream(servers=[{"url": "http://10.0.0.1", "max_connections": 5}, "http://10.0.0.2"])},
        rate_limits={"slow": RateLimit(rate="100/10s", burst=7)},
        routes=[Route(upstream="api", rate_limits=["slow"])],
    )
    part = sharing.share(config, 4, {"web": [7, 8]})
    assert part.listeners[0].bind == ("fd:7", "fd:8")
    assert part.limits.connections == 3
    assert [server.max_connections for server in part.upstreams["api"].servers] == [2, UNLIMITED]
    assert (part.rate_limits["slow"].rate.count, part.rate_limits["slow"].rate.per) == (25, 10.0)
    assert part.rate_limits["slow"].burst == 2
    assert part.routes == config.routes
    assert part.timeouts == config.timeouts


def test_workers_live_die_reload_and_drain(origin: Origin, tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(CONFIG.format(origin=origin.url, state="first", more=""))
    with Program(str(file)) as program:
        address = program.address()
        assert "in 2 workers" in program.said
        assert get(f"{address}/state") == (200, "first")
        first = _workers(program)
        assert len(first) == 2

        os.kill(first[0], signal.SIGKILL)
        program.wait_for(r"worker \d died \(SIGKILL\) and starts again")
        for _ in range(5):
            assert get(f"{address}/state") == (200, "first")

        file.write_text(CONFIG.format(origin=origin.url, state="second", more='bnd = "x"'))
        program.signal(signal.SIGHUP)
        program.wait_for(r"refused(.|\n)*bnd: unknown key")
        assert get(f"{address}/state") == (200, "first")

        file.write_text(CONFIG.format(origin=origin.url, state="second", more=""))
        program.signal(signal.SIGHUP)
        program.wait_for("worker 1: the new configuration is in force")
        program.wait_for("worker 2: the new configuration is in force")
        for _ in range(5):
            assert get(f"{address}/state") == (200, "second")

        second = _workers(program)
        assert first[1] in second
        assert len(second) == 2

        held = Request(f"{address}/held")
        assert origin.arrived.wait(30)
        program.signal(signal.SIGTERM)
        program.wait_for("draining", times=2)
        assert soon(lambda: _refuses(address), 10)
        origin.release.set()
        assert held.answer() == (200, "/held")
        code, _ = program.end()
        assert code == 0
        assert not any(map(_runs, second))


def _refuses(address: str) -> bool:
    """Whether nobody listens there any more; who did and takes nobody lets clients wait for nothing."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=30).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_second_signal_ends_the_workers_at_once(origin: Origin) -> None:
    arguments = ["--listen", "127.0.0.1:0", "--to", origin.url, "--workers", "2"]
    with Program(*arguments) as program:
        held = Request(f"{program.address()}/held")
        assert origin.arrived.wait(30)
        workers = _workers(program)
        program.signal(signal.SIGINT)
        program.wait_for("draining", times=2)
        program.signal(signal.SIGINT)
        code, _ = program.end()
        assert code == 130
        assert not isinstance(held.answer(), tuple)
        assert not any(map(_runs, workers))


def test_workers_drain_when_their_supervisor_is_killed(origin: Origin) -> None:
    arguments = ["--listen", "127.0.0.1:0", "--to", origin.url, "--workers", "2"]
    with Program(*arguments) as program:
        program.address()
        program.signal(signal.SIGKILL)
        program.wait_for("draining", times=2)
        program.end()  # its output ends with the last of those that write to it


def test_workers_that_cant_start_end_the_whole(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(
        CONFIG.format(origin="http://10.0.0.1", state="x", more="") + '[logging]\naccess_file = "none/access.log"\n'
    )
    with Program(str(file)) as program:
        code, _ = program.end()
        assert code == 1
        program.wait_for("none/access.log\" can't be opened")


def _workers(program: Program) -> list[int]:
    """The process ids of the workers."""
    if not Path("/proc/self/task").exists():
        pytest.skip("needs /proc")
    return children(program.process.pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

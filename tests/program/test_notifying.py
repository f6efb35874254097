"""What a service manager hears: when all serve, while they change to another configuration, and when they drain."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from signal import SIGHUP, SIGTERM

import pytest

from tests.program.programs import PATIENCE, Program

CONFIG = '[[listeners]]\nbind = "127.0.0.1:0"\n[[routes]]\nrespond = {}\n'


class Heard:
    """The datagrams of one NOTIFY_SOCKET, but for the beats."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.beats = 0

    def next(self) -> list[str]:
        while True:
            lines = self._socket.recv(1000).decode().split("\n")
            if lines != ["WATCHDOG=1"]:
                return lines
            self.beats += 1


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind(str(tmp_path / "notify"))
        yield Heard(sock)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_manager_follows_a_life(workers: str, heard: Heard, tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(CONFIG)
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
    with Program(str(file), "--workers", workers, environment=environment) as program:
        assert heard.next() == ["READY=1"]
        for text in (CONFIG, "wrong"):  # also one that is refused ends the reload
            file.write_text(text)
            program.signal(SIGHUP)
            first, clock = heard.next()
            assert first == "RELOADING=1"
            assert int(clock.removeprefix("MONOTONIC_USEC=")) > 0
            assert heard.next() == ["READY=1"]
        while not heard.beats:
            heard.beats += heard._socket.recv(1000) == b"WATCHDOG=1"
        program.signal(SIGTERM)
        assert heard.next() == ["STOPPING=1"]
        assert program.end()[0] == 0


def test_a_service_manager_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(CONFIG)
    with Program(str(file), environment={"NOTIFY_SOCKET": str(tmp_path / "none")}) as program:
        program.address()
        program.wait_for("can't be told READY=1")

"""Writing logs: whole lines, in order, never making the proxy wait, with what was lost told in the log."""

from __future__ import annotations

import errno
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.program import log_writer
from proxycore.program.log_writer import CAPACITY, File, LogWriter, Stream, Syslog, _whole_lines, open_destination
from tests.program.programs import until


class Held:
    """A destination that is written only while `open` is set, and fails while `error` is."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.error: OSError | None = None
        self.written = b""
        self.reopened = 0

    def write(self, data: bytes) -> None:
        self.entered.set()
        assert self.open.wait(30)
        if self.error is not None:
            raise self.error
        self.written += data

    def reopen(self) -> None:
        self.reopened += 1

    def close(self) -> None:
        pass


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.open.set()


def drops(count: int) -> str:
    return f"dropped {count}\n"


def test_lines_are_written_in_order(held: Held) -> None:
    held.open.set()
    writer = LogWriter(held, "log", drops)
    for number in range(100):
        writer.write(f"{number}\n".encode())
    writer.close()
    assert held.written == b"".join(f"{number}\n".encode() for number in range(100))


def test_a_log_that_stalls_costs_lines_and_no_time(held: Held) -> None:
    writer = LogWriter(held, "log", drops)
    line = b"x" * 1_023 + b"\n"
    began = time.monotonic()
    for _ in range(CAPACITY // 1_024 + 10):
        writer.write(line)
    assert time.monotonic() - began < 5
    assert held.entered.wait(30)
    assert writer.dropped >= 10
    held.open.set()
    writer.close()
    dropped = int(re.search(rb"dropped (\d+)\n", held.written)[1])  # type: ignore[index]  # None fails the test as well
    assert dropped == writer.dropped
    assert held.written.count(line) + dropped == CAPACITY // 1_024 + 10


def test_a_log_that_fails_tells_of_it_once_and_goes_on_when_it_can(
    held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    held.error = OSError(errno.ENOSPC, "No space left on device")
    held.open.set()
    writer = LogWriter(held, "access log", drops)
    writer.write(b"lost\nlost too\n")
    until(lambda: writer.dropped == 2)
    writer.write(b"lost as well\n")
    until(lambda: writer.dropped == 3)
    held.error = None
    writer.write(b"kept\n")
    writer.close()
    assert held.written == b"kept\ndropped 3\n"
    assert [record.message for record in caplog.records] == [
        "the access log can't be written, lines are dropped: [Errno 28] No space left on device"
    ]


def test_reopening_leaves_what_came_before_in_the_old_file(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    writer = LogWriter(File(str(path)), "log", drops)
    writer.write(b"before\n")
    path.rename(old)
    writer.reopen()
    until(path.exists)
    writer.write(b"after\n")
    writer.close()
    assert (old.read_bytes(), path.read_bytes()) == (b"before\n", b"after\n")


def test_a_file_that_cant_be_reopened_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    writer = LogWriter(File(str(folder / "log")), "access log", drops)
    folder.rename(tmp_path / "old")
    writer.reopen()
    until(lambda: bool(caplog.records))
    writer.write(b"line\n")
    writer.close()
    assert "can't be reopened" in caplog.text
    assert (tmp_path / "old" / "log").read_bytes() == b"line\n"


def test_a_named_pipe_without_a_reader_is_an_error_and_no_wait(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device or address") as caught:
        open_destination("pipe", folder=str(tmp_path))
    assert caught.value.filename == str(path)


def test_a_standard_output_that_was_given_non_blocking_is_written_whole() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        data = b"line\n" * 200_000
        reader_got = bytearray()

        def read() -> None:
            while len(reader_got) < len(data):
                reader_got.extend(ours.recv(65_536))

        reader = threading.Thread(target=read)
        reader.start()
        Stream(theirs.fileno()).write(data)
        reader.join(30)
        assert reader_got == data


@given(st.lists(st.integers(0, 12)), st.integers(1, 20))
def test_pieces_hold_whole_lines(lengths: list[int], size: int) -> None:
    """So that two processes never tear each other's lines in a pipe."""
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    pieces = list(_whole_lines(data, size))
    assert b"".join(pieces) == data
    for piece in pieces:
        assert piece.endswith(b"\n")
        assert len(piece) <= size or piece.count(b"\n") == 1


def test_syslog_gets_a_datagram_for_each_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "log")
    monkeypatch.setattr(log_writer, "_SYSLOG_PATHS", (path,))
    with pytest.raises(FileNotFoundError) as caught:
        open_destination("syslog")
    assert caught.value.filename == path
    with _daemon(path) as daemon:
        destination = Syslog()
        destination.write(b"one\ntwo\n")
        form = rf"<134>[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d proxycore\[{os.getpid()}\]: "
        for word in ("one", "two"):
            assert re.fullmatch(form + word, daemon.recv(1_000).decode())
    os.unlink(path)
    with _daemon(path) as daemon:  # it was restarted
        destination.write(b"three\n")
        assert daemon.recv(1_000).endswith(b": three")
    destination.close()


def _daemon(path: str) -> socket.socket:
    daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    daemon.bind(path)
    daemon.settimeout(30)
    return daemon

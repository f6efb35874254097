"""Reading a new configuration in a thread: the newest counts, and SIGHUP says that it is there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from proxycore.config import ConfigError
from proxycore.program.files import Disk, Files, Loaded, Source
from proxycore.program.reloading import FromDisk
from tests.program.programs import until

CONFIG = '[[listeners]]\nbind = "127.0.0.1:0"\n[[routes]]\nrespond = {{ body = "{body}" }}\n'


class Counter:
    """Counts the signals that this process got."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


@pytest.fixture
def hangups() -> Iterator[Counter]:
    counter = Counter()
    before = signal.signal(signal.SIGHUP, counter)
    yield counter
    signal.signal(signal.SIGHUP, before)


class HeldSource(Source):
    """A source that is read only while `open` is set."""

    open = threading.Event()
    begun = threading.Event()

    def load(self, files: Files) -> Loaded:
        loaded = Source.load(self, files)
        self.begun.set()
        assert self.open.wait(30)
        return loaded


def body_of(loaded: Loaded | None) -> str:
    assert loaded is not None
    respond = loaded.config.routes[0].respond
    assert respond is not None
    return respond.body


def test_the_configuration_comes_with_a_second_signal(tmp_path: Path, hangups: Counter) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(CONFIG.format(body="new"))
    reloading = FromDisk(Source(file=str(file)))
    assert reloading.take() is None
    until(lambda: hangups.count == 1)
    assert body_of(reloading.take()) == "new"


def test_a_wrong_one_is_raised_where_it_is_taken(tmp_path: Path, hangups: Counter) -> None:
    reloading = FromDisk(Source(file=str(tmp_path / "none.toml")))
    assert reloading.take() is None
    until(lambda: hangups.count == 1)
    with pytest.raises(ConfigError, match="no such file"):
        reloading.take()


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, hangups: Counter) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(CONFIG.format(body="first"))
    HeldSource.open.clear()
    reloading = FromDisk(HeldSource(file=str(file)))
    assert reloading.take() is None
    assert HeldSource.begun.wait(30)
    file.write_text(CONFIG.format(body="second"))
    assert reloading.take() is None
    HeldSource.open.set()
    until(lambda: len(reloading._results) == 2)
    assert body_of(reloading.take()) == "second"


def test_what_was_read_can_be_read_again_elsewhere(tmp_path: Path) -> None:
    from proxycore.program.files import Copy

    (tmp_path / "more.toml").write_text('[error_pages]\n"502" = "page.html"\n')
    (tmp_path / "page.html").write_text("<p>")
    file = tmp_path / "proxy.toml"
    file.write_text('include = ["more.*"]\n' + CONFIG.format(body="x"))
    source, disk = Source(file=str(file)), Disk()
    there = source.load(disk)
    for path in tmp_path.iterdir():
        path.unlink()
    here = source.load(Copy(disk.contents, disk.found))
    assert here == there
    assert here.materials.error_pages == {502: b"<p>"}
    with pytest.raises(ConfigError, match="it was not read"):
        Source(file=str(tmp_path / "other.toml")).load(Copy(disk.contents, disk.found))

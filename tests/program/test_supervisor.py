"""The supervisor alone, without children: whatever it is asked for, it goes on."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxycore.program import sharing
from proxycore.program.changing import Change, Wish
from proxycore.program.child import Child
from proxycore.program.files import Disk, Source
from proxycore.program.notifying import Manager
from proxycore.program.supervisor import Supervisor

CONFIG = """
[[listeners]]
bind = "127.0.0.1:0"
[[routes]]
respond = { status = 204 }
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    file = tmp_path / "proxy.toml"
    file.write_text(CONFIG)
    source, disk = Source(file=str(file)), Disk()
    supervisor = Supervisor(source, disk, source.load(disk).config, "asyncio", 1, lambda *_: None, Manager({}))
    yield supervisor
    supervisor._sockets.close()


@pytest.fixture
def bug() -> Iterator[pytest.MonkeyPatch]:
    """Nothing can be loaded; until it is undone."""

    def load(*_: object) -> None:
        raise RuntimeError("nobody thought of this")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Source, "load", load)
        yield patch


def test_a_change_that_meets_a_bug_is_refused(
    supervisor: Supervisor, bug: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[tuple[int, str]] = []
    supervisor._wish(Wish(lambda *answer: answers.append(answer)))
    assert [status for status, _ in answers] == [500]
    assert "nobody thought of this" in caplog.text
    bug.undo()
    supervisor._wish(Wish(lambda *answer: answers.append(answer)))
    assert answers[1:] == [(0, "")]


def test_a_storm_of_reloads_is_one_that_waits(supervisor: Supervisor) -> None:
    """But one that comes after another order reads the files after that."""
    answers: list[int] = []
    text = CONFIG.replace("204", "205")
    under_way = Change(supervisor._config, supervisor._disk, supervisor._sockets.prepare(()), lambda *answer: None)
    supervisor._change = under_way
    for number in (signal.SIGHUP, signal.SIGHUP, None, signal.SIGHUP, signal.SIGHUP):
        if number is None:
            supervisor._wish(Wish(lambda status, _: answers.append(status), text=text))
        else:
            supervisor._signalled(number)
    assert [wish.text for wish in supervisor._wishes] == [None, text, None]
    supervisor._change = None
    supervisor._begin_change()
    assert answers == [0]
    assert not supervisor._wishes
    assert "204" in supervisor._disk.contents[supervisor._source.file].decode()


@pytest.mark.parametrize("question", [{"check": CONFIG}, {"configure": CONFIG}, {"what": "nonsense"}])
def test_a_question_that_meets_a_bug_is_answered(
    supervisor: Supervisor, bug: pytest.MonkeyPatch, question: dict[str, str]
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        dashboard = Child("dashboard", "asyncio", asks=True)
        dashboard.questions = theirs
        sharing.tell(ours, question)
        supervisor._asked(dashboard)
        heard = sharing.hear(ours)
    assert heard is not None
    assert heard[0]["status"] == 500
    for fd in heard[1]:
        os.close(fd)

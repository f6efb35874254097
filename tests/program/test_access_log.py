"""The observer: what goes to the access log, what to the program's own, and how a reload changes it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from proxycore.config import ConfigError, Logging
from proxycore.program.access_log import AccessLog, kinds_wanted
from proxycore.program.program_log import ProgramLog
from proxycore.words.notices import ConnectionEnded, Fault, ServerChanged
from tests.program.programs import until
from tests.program.test_log_lines import exchange

EMPTY = ConnectionEnded(1_764_000_000.0, "web", "192.0.2.9", 1.5, "closed")


def settings(path: Path, access: str = "{target}", *, empty_connections: bool = False) -> Logging:
    return Logging(access=access, access_file=str(path), empty_connections=empty_connections)


@pytest.mark.parametrize(
    ("access", "empty", "kinds"),
    [
        ("json", True, {"servers", "attacks", "faults", "exchanges", "connections"}),
        ("combined", False, {"servers", "attacks", "faults", "exchanges"}),
        ("off", True, {"servers", "attacks", "faults"}),
    ],
)
def test_notices_that_no_log_holds_are_not_asked_for(access: str, empty: bool, kinds: set[str]) -> None:
    assert kinds_wanted(Logging(access=access, empty_connections=empty)) == kinds


def test_exchanges_have_lines_and_the_rest_goes_to_the_programs_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    log = AccessLog(settings(path))
    log.observe(
        [
            exchange(target=b"/a"),
            EMPTY,
            ServerChanged(1.0, "api", "one", "down", "connection refused"),
            ServerChanged(1.0, "api", "two", "added", ""),
            Fault(1.0, "a filter", "Traceback ...\nKeyError: 1\n"),
            exchange(target=b"/b"),
        ]
    )
    log.close()
    assert path.read_text() == "/a\n/b\n"
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "upstream api: server one: down: connection refused"),
        ("WARNING", "upstream api: server two: added"),
        ("ERROR", "a bug, please report it: a filter\nTraceback ...\nKeyError: 1"),
    ]


def test_empty_connections_have_lines_where_they_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(settings(path, "json", empty_connections=True))
    log.observe([EMPTY])
    log.close()
    line = json.loads(path.read_text())
    assert (line["client"], line["method"], line["at"]) == ("192.0.2.9", None, "closed")


def test_off_writes_nothing_and_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AccessLog(settings(path, "off"))
    log.observe([exchange()])
    log.reopen()
    log.close()
    assert not path.exists()
    assert log.dropped == 0


def test_a_relative_file_counts_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    AccessLog(Logging(access_file="log"), source=str(tmp_path / "proxy.toml")).close()
    assert (tmp_path / "log").exists()


def test_a_reload_changes_format_and_file_and_loses_no_line(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    log = AccessLog(settings(first))
    log.observe([exchange(target=b"/a")])
    log.commit(log.prepare(settings(first)))
    log.observe([exchange(target=b"/b")])
    log.commit(log.prepare(settings(second, "{status} {target}")))
    log.observe([exchange(target=b"/c")])
    log.discard(log.prepare(settings(first, "combined")))
    log.observe([exchange(target=b"/d")])
    log.commit(log.prepare(settings(second, "off")))
    log.observe([exchange(target=b"/e")])
    log.close()
    until(lambda: second.read_text() == "200 /c\n200 /d\n")
    assert first.read_text() == "/a\n/b\n"


def test_a_log_that_cant_be_changes_nothing(tmp_path: Path) -> None:
    wrong = Logging(access_file="none/log")
    source = str(tmp_path / "proxy.toml")
    with pytest.raises(ConfigError) as caught:
        AccessLog(wrong, source=source)
    assert [(problem.source, problem.place) for problem in caught.value.problems] == [(source, "logging.access_file")]
    log = AccessLog(settings(tmp_path / "log"), source=source)
    with pytest.raises(ConfigError):
        log.prepare(wrong)
    log.observe([exchange(target=b"/a")])
    log.close()
    assert (tmp_path / "log").read_text() == "/a\n"


def test_nothing_that_is_logged_acts_on_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    log = ProgramLog("worker 1: ")
    log.handle(logging.LogRecord("proxycore", logging.ERROR, "", 1, "server %s\x1b[31m\x9b", ("a\rb",), None))
    log.close()
    _, said = capfd.readouterr()
    assert said.endswith("Z ERROR worker 1: server a\\x0db\\x1b[31m\\x9b\n")

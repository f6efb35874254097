"""The program's own log goes to standard error while the program runs, and no longer."""

from __future__ import annotations

import logging

import pytest

from proxycore.program.program_log import logging_to_stderr


def test_a_log_goes_where_it_went_before_once_the_program_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("proxycore")
    with logging_to_stderr("error"):
        logger.warning("not grave enough")
    logger.warning("after it")
    assert [record.message for record in caplog.records] == ["after it"]
    assert logger.handlers == []

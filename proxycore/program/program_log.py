"""The program's own log: plain lines on standard error, written without making the proxy wait."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from proxycore.program.log_writer import LogWriter, Stream

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_UNFIT = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}


class ProgramLog(logging.Handler):
    """Writes records of this package to standard error, from a thread of its own. `label` names the process."""

    def __init__(self, label: str = "") -> None:
        super().__init__()
        self._writer = LogWriter(Stream(2), "program's log", lambda count: f"{count} lines were dropped here\n")
        formatter = logging.Formatter(f"%(asctime)s %(levelname)s {label}%(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # A traceback has lines of its own; nothing else that a record holds may act on a terminal.
            self._writer.write(self.format(record).translate(_UNFIT).encode(errors="backslashreplace") + b"\n")
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._writer.close()
        super().close()


def set_level(level: str) -> None:
    """Log what is at least as grave as `level`: debug, info, warning or error."""
    logging.getLogger("proxycore").setLevel(_LEVELS[level])


def current_level() -> str:
    """The last one that was set."""
    return logging.getLevelName(logging.getLogger("proxycore").level).lower()


@contextmanager
def logging_to_stderr(level: str, label: str = "") -> Iterator[None]:
    """Have this package's log written to standard error for as long as the block runs; then it goes where it went."""
    logger = logging.getLogger("proxycore")
    before = logger.level, logger.propagate
    handler = ProgramLog(label)
    set_level(level)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.setLevel(before[0])
        logger.propagate = before[1]
        logger.removeHandler(handler)
        handler.close()

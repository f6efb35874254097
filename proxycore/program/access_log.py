"""The observer of a served proxy: exchanges go to the access log, what else happens to the program's own."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import partial

from proxycore.config import ConfigError, Logging, Problem
from proxycore.program.log_lines import LineFormat, drops_line, empty_exchange, line_format
from proxycore.program.log_writer import LogWriter, open_destination
from proxycore.words.notices import AttackFound, ConnectionEnded, ExchangeEnded, Fault, Kind, Notice, ServerChanged

_log = logging.getLogger("proxycore")


def kinds_wanted(settings: Logging) -> frozenset[Kind]:
    """The kinds of notices to watch: those that no log holds are never built."""
    kinds: set[Kind] = {"servers", "attacks", "faults"}
    if settings.access != "off":
        kinds.add("exchanges")
        if settings.empty_connections:
            kinds.add("connections")
    return frozenset(kinds)


class AccessLog:
    """One line for each exchange, and for each connection that carried none where that is wanted.

    Give `observe` to a binding's `serve` as its observer. A relative `access_file` counts from the folder of
    `source`, the configuration file; `shared` says that other processes write there too. A file of root's is given to
    the user `owner`, who must be able to open it again once root was given up. Raises ConfigError where the log can't
    be opened.
    """

    def __init__(
        self, settings: Logging, *, source: str = "configuration", shared: bool = False, owner: str | None = None
    ) -> None:
        self._source = source
        self._owner = owner
        self._shared = shared
        self._settings = settings
        self._line, self._writer = self._open(settings)

    @property
    def dropped(self) -> int:
        """Lines lost since the log was opened, because it could not be written, or not as fast as they came."""
        return self._writer.dropped if self._writer is not None else 0

    def observe(self, notices: Sequence[Notice]) -> None:
        """Take what happened since the last time. Never waits."""
        line = self._line
        lines: list[str] = []
        for notice in notices:
            if notice.__class__ is ExchangeEnded:
                if line is not None:
                    lines.append(line(notice))
            elif isinstance(notice, ConnectionEnded):
                if line is not None and self._settings.empty_connections:
                    lines.append(line(empty_exchange(notice)))
            else:
                _tell_program_log(notice)
        if lines and self._writer is not None:
            self._writer.write("".join(lines).encode())

    def prepare(self, settings: Logging) -> PreparedLog:
        """Open what `settings` ask for and isn't open yet. Raises ConfigError, with nothing changed."""
        if _what_opens(settings) == _what_opens(self._settings):
            return settings, self._line, self._writer
        return settings, *self._open(settings)

    def commit(self, prepared: PreparedLog) -> None:
        """Log by what was prepared from now on."""
        before = self._writer
        self._settings, self._line, self._writer = prepared
        if before is not None and before is not self._writer:
            before.close(0.0)

    def discard(self, prepared: PreparedLog) -> None:
        """Close what was opened for settings that aren't to be."""
        _, _, writer = prepared
        if writer is not None and writer is not self._writer:
            writer.close(0.0)

    def reopen(self) -> None:
        """Have the file opened anew: the old one was moved away by log rotation."""
        if self._writer is not None:
            self._writer.reopen()

    def close(self) -> None:
        """Write what waits, and end."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, settings: Logging) -> tuple[LineFormat | None, LogWriter | None]:
        if settings.access == "off":
            return None, None
        folder = os.path.dirname(self._source)
        try:
            destination = open_destination(settings.access_file, folder=folder, shared=self._shared, owner=self._owner)
        except OSError as error:
            message = f'"{error.filename or settings.access_file}" can\'t be opened: {error.strerror}'
            raise ConfigError([Problem(self._source, None, "logging.access_file", message)]) from None
        line = line_format(settings.access, is_traced=settings.trace_context)
        return line, LogWriter(destination, "access log", partial(drops_line, settings.access))


PreparedLog = tuple[Logging, LineFormat | None, LogWriter | None]


def _what_opens(settings: Logging) -> tuple[object, ...]:
    """The settings that an open log depends on."""
    return settings.access, settings.access_file, settings.trace_context


def _tell_program_log(notice: Notice) -> None:
    if isinstance(notice, ServerChanged):
        why = f": {notice.reason}" if notice.reason else ""
        _log.warning("upstream %s: server %s: %s%s", notice.upstream, notice.server, notice.state, why)
    elif isinstance(notice, AttackFound):
        _log.warning("%s", _told_attack(notice))
    elif isinstance(notice, Fault):
        _log.error("a bug, please report it: %s\n%s", notice.where, notice.traceback.rstrip())


def _told_attack(attack: AttackFound) -> str:
    found = "; ".join(
        f"rule {rule} ({name}) in {where}: {matched!a}" for rule, name, where, matched in attack.findings[:3]
    )
    more = f" and {len(attack.findings) - 3} more" if len(attack.findings) > 3 else ""
    what = "blocked" if attack.blocked else "found"
    whose = f"request {attack.request_id} of {attack.client}, route {attack.route}"
    return f"attack {what}, score {attack.score}: {found}{more}; {whose}"

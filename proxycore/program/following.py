"""Files that others rewrite while we serve: users, API keys and key sets, which are read again when they change.

Theory of operation. Somebody looks each second, and a look is one `stat` for each file. A file counts as changed when
it differs from what was last told of it and is the same as a look ago, so one that is just being written isn't read;
one that was written in part all the same doesn't parse, or is read again when the rest has come. What can't be read
or used changes nothing, and is said once, until the file changes again. Certificates, lists of networks and the
configuration itself are read by SIGHUP alone: there an operator says when.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from proxycore.config import Config
from proxycore.config.materials import Materials
from proxycore.program.files import credential_files, reread

LOOK = 1.0
"""Seconds from one look to the next."""

_Mark = tuple[int, int, int] | None
"""What tells two contents of a file apart: inode, size, nanoseconds of the last change. None: there is no file."""


class FileWatch:
    """Tells which of some files have changed. The first look tells all of them."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._seen = {path: _mark(path) for path in paths}
        self._told: dict[str, _Mark] = {}

    def __bool__(self) -> bool:
        return bool(self._seen)

    def changed(self) -> list[str]:
        """The files that have changed since they were told of, but not since the last look."""
        changed = []
        for path, before in self._seen.items():
            mark = self._seen[path] = _mark(path)
            if mark == before and not (path in self._told and mark == self._told[path]):
                self._told[path] = mark
                changed.append(path)
        return changed


def _mark(path: str) -> _Mark:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


class Following:
    """The files of users, API keys and key sets that `config`, read from `source`, names."""

    def __init__(self, config: Config, source: str) -> None:
        self._source = source
        self._files = credential_files(config, source)
        self.watch = FileWatch(self._files)

    def reread(self, path: str, materials: Materials) -> Materials:
        """`materials` with what one of the files holds now. Raises ConfigError where that makes no sense."""
        for file in self._files[path]:
            materials = reread(file, materials, self._source)
        return materials

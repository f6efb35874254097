"""A change of the configuration that several processes make together: that it is wanted, and what is ready for it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from proxycore.config import Config, ConfigError
from proxycore.program.child import Child
from proxycore.program.files import Copy, Disk, Edited, Source
from proxycore.program.listening import Sockets

_log = logging.getLogger("proxycore")

Reply = Callable[[int, str], None]
"""Tells whoever wanted a change how it went: a status as in HTTP, 0 where it is in force; and why not."""


@dataclass(slots=True)
class Wish:
    """A change that is wanted: to the files as they are; to `text` instead of the configuration's; or to what was
    read before, but for the file at `path`.
    """

    reply: Reply
    text: str | None = None
    path: str = ""

    @property
    def reads_all(self) -> bool:
        """Whether it finds what has changed until then, whatever that is."""
        return self.text is None and not self.path

    def load(self, source: Source, before: Disk) -> tuple[Config, Disk]:
        """Read and check: the configuration, and all that was read for it. Raises ConfigError or OSError."""
        disk = Disk()
        if self.path:
            disk = Disk(dict(before.contents), dict(before.found))
            disk.read(self.path)
            return source.load(Copy(disk.contents, disk.found)).config, disk
        if self.text is None:
            return source.load(disk).config, disk
        config = source.load(Edited(disk, source.file, self.text)).config
        disk.contents[source.file] = self.text.encode()
        return config, disk

    def refuse(self, error: Exception) -> None:
        """Tell whoever wanted it, and those who read the log, why it isn't to be."""
        if self.path:
            _log.error("%s has changed and is refused, what it held goes on:\n%s", self.path, error)
        else:
            _log.error("the new configuration is refused, the old one goes on:\n%s", error)
        self.reply(422 if isinstance(error, ConfigError) else 409, str(error))


@dataclass(slots=True)
class Change:
    """A configuration that is good and bound, while the children change to it."""

    config: Config
    disk: Disk
    prepared: Sockets
    reply: Reply
    waiting: list[Child] = field(default_factory=list)
    followers: list[Child] = field(default_factory=list)
    refused_by: list[str] = field(default_factory=list)
    deadline: float = math.inf

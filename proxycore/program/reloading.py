"""Where a new configuration comes from after SIGHUP.

Reading and checking one takes a while, so a thread does it and traffic goes on. When it is done it sends this
process a SIGHUP: signals are the one way into the runtime's own turn that all runtimes share.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Callable

from proxycore.config import Config, ConfigError, Problem
from proxycore.program.files import Disk, Loaded, Source

_log = logging.getLogger("proxycore")


def check_dashboard_stays(before: Config, after: Config, source: str) -> None:
    """Raise ConfigError where `after`, which was read from `source`, has another `[admin]`: it is bound once."""
    if before.admin != after.admin:
        raise ConfigError([Problem(source, None, "admin", "to change it takes a restart")])


class Reloading:
    """What was loaded and isn't in force yet."""

    def __init__(self) -> None:
        self._results: deque[Loaded | ConfigError] = deque()

    def take(self) -> Loaded | None:
        """The newest of what was loaded; or begin to load, and return None. Raises ConfigError."""
        result: Loaded | ConfigError | None = None
        while self._results:
            result = self._results.popleft()
        if result is None:
            self._begin()
        elif isinstance(result, ConfigError):
            raise result
        return result

    def concluded(self, problem: str) -> None:
        """What was taken is in force; or, if there is a problem, it was refused."""

    def ended(self) -> None:
        """The process drains, and takes no other configuration."""

    def _begin(self) -> None:
        """SIGHUP came from outside."""

    def _deliver(self, load: Callable[[], Loaded]) -> None:
        """Load, in a thread, and call for this process's attention."""
        try:
            self._results.append(load())
        except ConfigError as error:
            self._results.append(error)
        except Exception:
            _log.exception("a bug in proxycore, please report it")
            return
        os.kill(os.getpid(), signal.SIGHUP)


class FromDisk(Reloading):
    """The configuration as its files are when SIGHUP comes."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._lock = threading.Lock()
        self._wanted = 0

    def _begin(self) -> None:
        with self._lock:
            self._wanted += 1
            if self._wanted > 1:
                return  # the thread at work reads once more: the files may have changed since it read them
        threading.Thread(target=self._read, name="proxycore reload", daemon=True).start()

    def _read(self) -> None:
        while True:
            with self._lock:
                seen = self._wanted
            self._deliver(lambda: self._source.load(Disk()))
            with self._lock:
                if self._wanted == seen:
                    self._wanted = 0
                    return

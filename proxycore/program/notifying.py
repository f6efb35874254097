"""Telling a service manager how we fare: systemd's protocol, one datagram to NOTIFY_SOCKET for each change."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import MutableMapping

_log = logging.getLogger("proxycore")


class Manager:
    """The service manager, if there is one. `environment` loses what is meant for us alone and not for our children.

    Call `ready` when everything serves, and when a reload that began with `reloading` has ended, well or not;
    `stopping` when the drain begins; and `alive` at least every `beat` seconds.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        limit = environment.pop("WATCHDOG_USEC", "")
        is_ours = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.beat = int(limit) / 2e6 if limit.isdecimal() and is_ours and self._address else math.inf
        """Seconds between two calls of `alive`; infinity where nobody wants them."""

    def ready(self) -> None:
        self._tell("READY=1")

    def reloading(self) -> None:
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def alive(self) -> None:
        self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the zero byte of Linux's abstract addresses.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.connect(address)
                sock.sendall(state.encode())
        except OSError as error:
            _log.warning("the service manager at NOTIFY_SOCKET can't be told %s: %s", state, error.strerror)

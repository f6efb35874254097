"""A process that the supervisor started, and what it knows of it: a worker, or the one that serves the dashboard."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

LIVED = 10.0
"""Seconds after which a child that dies has served for a while, and starts again at once."""

FIRST_DELAY, LONGEST_DELAY = 0.1, 30.0
"""Seconds before a child that died early starts again, doubled each time."""


class Child:
    """Starts `proxycore work` and keeps its sockets: `control` for configurations and answers to them, `questions` for
    what the dashboard asks, which workers don't. `process` is None while it doesn't run.
    """

    def __init__(self, name: str, binding: str, *, asks: bool = False) -> None:
        self.name = name
        self._binding = binding
        self._asks = asks
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.questions: socket.socket | None = None
        self.restart_at = 0.0
        self.has_served = False
        self.awaits_answer = False
        self.is_behind = False
        self._begun = 0.0
        self._delay = 0.0

    def start(self) -> None:
        """Start a fresh interpreter, which then waits for what it is to serve."""
        self.control, theirs = socket.socketpair()
        passed = {"--control": theirs}
        if self._asks:
            self.questions, passed["--questions"] = socket.socketpair()
        arguments = [f"{option}={end.fileno()}" for option, end in passed.items()]
        # In a session of its own, Ctrl-C reaches the supervisor alone, who passes it on.
        self.process = subprocess.Popen(
            [*_own_command(), "work", f"--name={self.name}", f"--binding={self._binding}", *arguments],
            pass_fds=[end.fileno() for end in passed.values()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in passed.values():
            end.close()
        self._begun = time.monotonic()

    def signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def forget(self) -> None:
        """The process is gone: release what was held for it."""
        for end in (self.control, self.questions):
            if end is not None:
                end.close()
        self.process = self.control = self.questions = None
        self.awaits_answer = self.is_behind = False

    def postpone(self) -> float:
        """It died: say when it starts again, and return in how many seconds."""
        now = time.monotonic()
        has_lived = now - self._begun >= LIVED
        self._delay = 0.0 if has_lived else min(max(self._delay * 2, FIRST_DELAY), LONGEST_DELAY)
        self.restart_at = now + self._delay
        return self._delay

    def __repr__(self) -> str:
        pid = self.process.pid if self.process is not None else None
        return f"<Child {self.name} pid={pid} awaits_answer={self.awaits_answer} is_behind={self.is_behind}>"


def how_it_ended(code: int) -> str:
    """The name of the signal that killed a process, or its exit code."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _own_command() -> Sequence[str]:
    """How this program was started, without its arguments: the same interpreter, with the same options."""
    before_arguments = len(sys.orig_argv) - len(sys.argv) + 1
    return [sys.executable, *sys.orig_argv[1:before_arguments]]

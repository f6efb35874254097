"""Several processes that serve together, and the one that watches over them.

Theory of operation
-------------------
The supervisor serves nothing. It reads and checks the configuration, binds, and starts each worker as a fresh
interpreter that gets all of it over a Unix socket (`sharing`). Since the supervisor holds the listening sockets
too, clients who connect while a worker is being replaced wait in the kernel's queue and are lost to nobody.

It sleeps until a signal, a worker's answer or the hour of a restart wakes it; a signal handler only writes a byte
to a socket pair. A worker that dies starts again, at once if it had lived for a while, else after a delay that
doubles. One that can't even start for the first time ends the whole: its own message says why.

A reload is checked and bound here first, so a wrong one is refused before any worker hears of it. Each worker
gets the next configuration only after it has answered to the last. So it is with files of users and keys that have
changed: nothing else is read again then, and the workers get what was read before with what is new in it.
"""

from __future__ import annotations

import logging
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from proxycore.config import Config, ConfigError
from proxycore.program import exits, sharing
from proxycore.program.files import Copy, Disk, Source, credential_files
from proxycore.program.following import LOOK, FileWatch
from proxycore.program.listening import ListenError, ListeningSockets

LIVED = 10.0
"""Seconds after which a worker that dies has served for a while, and starts again at once."""

FIRST_DELAY, LONGEST_DELAY = 0.1, 30.0
"""Seconds before a worker that died early starts again, doubled each time."""

GRACE = 5.0
"""Seconds beyond `timeouts.drain` after which a worker that still runs is killed."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)

_log = logging.getLogger("proxycore")


class Worker:
    """One worker process and what we know of it. `begun` is when it was started; None while it is not."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.begun = 0.0
        self.restart_at = 0.0
        self.delay = 0.0
        self.has_served = False
        self.awaits_answer = False
        self.is_behind = False

    def __repr__(self) -> str:
        pid = self.process.pid if self.process is not None else None
        return f"<Worker {self.number} pid={pid} awaits_answer={self.awaits_answer} is_behind={self.is_behind}>"


class Supervisor:
    """Runs `count` workers of `source` on a binding until it is told to stop.

    `on_started` is called once all of them serve.
    """

    def __init__(
        self,
        source: Source,
        disk: Disk,
        config: Config,
        binding: str,
        count: int,
        on_started: Callable[[ListeningSockets], None],
    ) -> None:
        """`disk` is where `config` was read. Raises ListenError, with nothing left open."""
        self._source = source
        self._disk = disk
        self._config = config
        self._binding = binding
        self._on_started = on_started
        self._sockets = ListeningSockets(config.listeners)
        self._workers = [Worker(number) for number in range(1, count + 1)]
        self._watch = FileWatch(credential_files(config, source.file))
        self._look_at = time.monotonic() if self._watch else math.inf
        self._selector = selectors.DefaultSelector()
        self._has_started = False
        self._exit_code: int | None = None
        self._kill_at = math.inf

    def run(self) -> int:
        """Serve until the end, and return the exit code."""
        wake, waker = socket.socketpair()
        for end in (wake, waker):
            end.setblocking(False)
        handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        before = signal.set_wakeup_fd(waker.fileno())
        self._selector.register(wake, selectors.EVENT_READ)
        try:
            self._supervise(wake)
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._kill_all()
            self._selector.close()
            self._sockets.close()
            wake.close()
            waker.close()
        assert self._exit_code is not None
        return self._exit_code

    # ---- what wakes it ------------------------------------------------------------------------------------------

    def _supervise(self, wake: socket.socket) -> None:
        while self._exit_code is None or self._running:
            self._start_due()
            for key, _ in self._selector.select(self._seconds_to_wait()):
                if key.fileobj is wake:
                    for number in wake.recv(4096):
                        self._signalled(number)
                else:
                    self._answered(key.data)
            self._reap()
            if time.monotonic() >= self._look_at:
                self._look_at_files()
            if time.monotonic() >= self._kill_at:
                _log.error("workers did not end in time and are killed")
                self._kill_all()

    @property
    def _running(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.process is not None]

    def _seconds_to_wait(self) -> float | None:
        waiting = [worker.restart_at for worker in self._workers if worker.process is None]
        deadline = min([self._kill_at, self._look_at, *(waiting if self._exit_code is None else [])])
        return None if deadline == math.inf else max(deadline - time.monotonic(), 0.0)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGUSR1:
            self._pass_on(signal.SIGUSR1)
        elif number == signal.SIGHUP:
            if self._exit_code is None:
                self._reload()
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._stop(number)

    # ---- stopping -----------------------------------------------------------------------------------------------

    def _stop(self, number: int) -> None:
        """The first time the workers drain, the second time they end at once."""
        if self._exit_code is None:
            self._exit_code = exits.OK
            self._kill_at = time.monotonic() + self._config.timeouts.drain + GRACE
            self._pass_on(signal.SIGTERM)
        else:
            self._exit_code = exits.INTERRUPTED + number
            self._kill_at = time.monotonic() + GRACE
            self._pass_on(signal.SIGINT)

    def _pass_on(self, number: int) -> None:
        for worker in self._running:
            assert worker.process is not None
            worker.process.send_signal(number)

    def _kill_all(self) -> None:
        self._pass_on(signal.SIGKILL)
        for worker in self._running:
            assert worker.process is not None
            worker.process.wait()
            self._forget(worker)

    # ---- starting -----------------------------------------------------------------------------------------------

    def _start_due(self) -> None:
        if self._exit_code is None:
            now = time.monotonic()
            for worker in self._workers:
                if worker.process is None and worker.restart_at <= now:
                    self._start(worker)

    def _start(self, worker: Worker) -> None:
        ours, theirs = socket.socketpair()
        command = [
            *_own_command(), "work",
            f"--control={theirs.fileno()}", f"--number={worker.number}", f"--binding={self._binding}",
        ]  # fmt: skip
        with theirs:
            # In a session of its own, Ctrl-C reaches the supervisor alone, who passes it on.
            worker.process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        worker.begun = time.monotonic()
        worker.control = ours
        self._selector.register(ours, selectors.EVENT_READ, worker)
        self._send(worker)

    def _answered(self, worker: Worker) -> None:
        assert worker.control is not None
        try:
            answers = worker.control.recv(64)
        except ConnectionError:
            answers = b""
        if not answers:  # it is about to die
            self._selector.unregister(worker.control)
            return
        worker.awaits_answer = False
        worker.has_served = True
        if sharing.REFUSED in answers:
            _log.error("worker %d refused the new configuration and serves the old one", worker.number)
        if worker.is_behind:
            self._send(worker)
        if not self._has_started and all(worker.has_served for worker in self._workers):
            self._has_started = True
            self._on_started(self._sockets)

    # ---- reloading ----------------------------------------------------------------------------------------------

    def _reload(self) -> None:
        disk = Disk()
        try:
            config = self._source.load(disk).config
            self._sockets.commit(self._sockets.prepare(config.listeners))
        except (ConfigError, ListenError) as error:
            _log.error("the new configuration is refused, the old one goes on:\n%s", error)
            return
        self._disk, self._config = disk, config
        self._watch = FileWatch(credential_files(config, self._source.file))
        self._look_at = time.monotonic() if self._watch else math.inf
        self._send_to_all()

    def _look_at_files(self) -> None:
        """Give the workers what has changed in files of users, API keys and key sets."""
        self._look_at = time.monotonic() + LOOK
        for path in self._watch.changed():
            disk = Disk(dict(self._disk.contents), dict(self._disk.found))
            try:
                if disk.read(path) == self._disk.contents[path]:
                    continue
                self._source.load(Copy(disk.contents, disk.found))
            except (OSError, ConfigError) as error:
                _log.error("%s has changed and is refused, what it held goes on:\n%s", path, error)
            else:
                _log.info("%s has changed", path)
                self._disk = disk
                self._send_to_all()

    def _send_to_all(self) -> None:
        for worker in self._running:
            if worker.awaits_answer:
                worker.is_behind = True
            else:
                self._send(worker)

    def _send(self, worker: Worker) -> None:
        assert worker.control is not None
        worker.awaits_answer = True
        worker.is_behind = False
        try:
            sharing.send(worker.control, self._source, self._disk, self._sockets.by_listener, len(self._workers))
        except ConnectionError:
            pass  # it died, and will get all of it when it starts again

    # ---- workers that end ---------------------------------------------------------------------------------------

    def _reap(self) -> None:
        for worker in self._running:
            assert worker.process is not None
            code = worker.process.poll()
            if code is not None:
                self._forget(worker)
                if self._exit_code is None:
                    self._died(worker, code)

    def _forget(self, worker: Worker) -> None:
        """The process is gone: release what we held for it."""
        assert worker.control is not None
        if worker.control in self._selector.get_map():
            self._selector.unregister(worker.control)
        worker.control.close()
        worker.process = worker.control = None

    def _died(self, worker: Worker, code: int) -> None:
        if not self._has_started and not worker.has_served and code > 0:
            self._exit_code = code
            self._pass_on(signal.SIGINT)
            self._kill_at = time.monotonic() + GRACE
            return
        now = time.monotonic()
        lived = now - worker.begun
        worker.delay = 0.0 if lived >= LIVED else min(max(worker.delay * 2, FIRST_DELAY), LONGEST_DELAY)
        worker.restart_at = now + worker.delay
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        _log.error("worker %d died (%s) and starts again in %.1f s", worker.number, how, worker.delay)


def _own_command() -> Sequence[str]:
    """How this program was started, without its arguments: the same interpreter, with the same options."""
    before_arguments = len(sys.orig_argv) - len(sys.argv) + 1
    return [sys.executable, *sys.orig_argv[1:before_arguments]]


def worker_count(config: Config) -> int:
    """How many processes `workers` means on this machine."""
    if config.workers != "auto":
        return config.workers
    available = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return len(available)

"""Several processes that serve together, and the one that watches over them.

Theory of operation
-------------------
The supervisor serves nothing. It reads and checks the configuration, binds, and starts each worker as a fresh
interpreter that gets all of it over a Unix socket (`sharing`). Since the supervisor holds the listening sockets
too, clients who connect while a worker is being replaced wait in the kernel's queue and are lost to nobody. With
`[admin]` one more process serves the dashboard for all workers (`admin.apart`).

It sleeps until a signal, a child's answer or the hour of a restart wakes it; a signal handler only writes a byte
to a socket pair. A child that dies starts again, at once if it had lived for a while, else after a delay that
doubles. One that can't even start for the first time ends the whole: its own message says why.

A change of the configuration (`Change`) is checked and bound here first, so a wrong one is refused before any child
hears of it. Each child gets the next configuration only after it has answered to the last. What was served before
stays open until all have answered: where one refuses, all go back to it. Changes wait for each other, and children that
died meanwhile start when it is settled. So it is with files of users and keys that have changed: nothing else is read
again then, and the workers get what was read before with what is new in it.
"""

from __future__ import annotations

import logging
import math
import os
import selectors
import shutil
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from proxycore.config import Config, ConfigError
from proxycore.config.listeners import Listener, dashboard_listener
from proxycore.program import exits, sharing
from proxycore.program.changing import Change, Wish
from proxycore.program.child import Child, how_it_ended
from proxycore.program.files import Disk, Edited, Source, credential_files
from proxycore.program.following import LOOK, FileWatch
from proxycore.program.listening import ListenError, ListeningSockets, by_listener
from proxycore.program.notifying import Manager
from proxycore.program.private_files import private_folder
from proxycore.program.reloading import check_dashboard_stays

GRACE = 5.0
"""Seconds beyond `timeouts.drain` after which a child that still runs is killed."""

ANSWER_LIMIT = 60.0
"""Seconds that a child may take to change to another configuration before it is killed."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)

_BUG = "a bug in proxycore, please report it: the program's log says more"

_log = logging.getLogger("proxycore")


class Supervisor:
    """Runs `count` workers of `source` on a binding until it is told to stop.

    `on_started` is called once all of them serve, with the sockets of the listeners and those of the dashboard.
    """

    def __init__(
        self,
        source: Source,
        disk: Disk,
        config: Config,
        binding: str,
        count: int,
        on_started: Callable[[ListeningSockets, ListeningSockets], None],
        manager: Manager,
    ) -> None:
        """`disk` is where `config` was read. Raises ListenError, with nothing left open."""
        self._source = source
        self._disk = disk
        self._config = config
        self._on_started = on_started
        self._manager = manager
        self._beat_at = time.monotonic() + manager.beat
        self._sockets = ListeningSockets(config.listeners)
        self._workers = [Child(f"worker {number}", binding) for number in range(1, count + 1)]
        self._dashboard: Child | None = None
        self._dashboard_sockets = ListeningSockets(())
        self._folder = ""
        if config.admin is not None:
            self._dashboard_sockets = self._bound_beside(dashboard_listener(config.admin))
            self._dashboard = Child("dashboard", binding, asks=True)
            self._folder = private_folder(config.user)
        self._orders: Sequence[Mapping[str, Any]] = ()
        self._change: Change | None = None
        self._wishes: deque[Wish] = deque()
        self._watch_files()
        self._selector = selectors.DefaultSelector()
        self._has_started = False
        self._exit_code: int | None = None
        self._kill_at = math.inf

    def _bound_beside(self, listener: Listener) -> ListeningSockets:
        try:
            return ListeningSockets([listener])
        except ListenError:
            self._sockets.close()
            raise

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
            self._dashboard_sockets.close()
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)
            wake.close()
            waker.close()
        assert self._exit_code is not None
        return self._exit_code

    # ---- what wakes it ------------------------------------------------------------------------------------------

    def _supervise(self, wake: socket.socket) -> None:
        while self._exit_code is None or any(self._running):
            self._start_due()
            for key, _ in self._selector.select(self._seconds_to_wait()):
                if key.fileobj is wake:
                    for number in wake.recv(4096):
                        self._signalled(number)
                elif key.fileobj is key.data.questions:
                    self._asked(key.data)
                elif key.fileobj is key.data.control:
                    self._answered(key.data)
            self._reap()
            self._time_passed()

    def _time_passed(self) -> None:
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + self._manager.beat
            self._manager.alive()
        if now >= self._look_at:
            self._look_at_files()
        if self._change is not None and now >= self._change.deadline:
            for child in self._change.waiting:
                _log.error("%s does not answer to the new configuration and is killed", child.name)
                child.signal(signal.SIGKILL)
            self._change.deadline = math.inf
        if now >= self._kill_at:
            _log.error("workers did not end in time and are killed")
            self._kill_all()

    @property
    def _children(self) -> Iterator[Child]:
        yield from self._workers
        if self._dashboard is not None:
            yield self._dashboard

    @property
    def _running(self) -> Iterator[Child]:
        return (child for child in self._children if child.process is not None)

    @property
    def _due(self) -> Iterator[Child]:
        """Those that are to start, now or later. The dashboard has nothing to show before all workers serve."""
        if self._exit_code is None and self._change is None:
            for child in self._children:
                is_early = child is self._dashboard and not all(worker.has_served for worker in self._workers)
                if child.process is None and not is_early:
                    yield child

    def _seconds_to_wait(self) -> float | None:
        change_ends = math.inf if self._change is None else self._change.deadline
        deadline = min(
            [self._kill_at, self._look_at, self._beat_at, change_ends, *(child.restart_at for child in self._due)]
        )
        return None if deadline == math.inf else max(deadline - time.monotonic(), 0.0)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGUSR1:
            self._pass_on(signal.SIGUSR1)
        elif number == signal.SIGHUP:
            self._reload()
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._stop(number)

    def _reload(self) -> None:
        self._manager.reloading()
        if not (self._wishes and self._wishes[-1].reads_all):  # else the one that waits reads what is there by then
            self._wish(Wish(self._reloaded))

    def _reloaded(self, status: int, detail: str) -> None:
        """What SIGHUP asked for has ended, well or not."""
        if self._exit_code is None:
            self._manager.ready()

    # ---- stopping -----------------------------------------------------------------------------------------------

    def _stop(self, number: int) -> None:
        """The first time the workers drain, the second time they end at once."""
        if self._exit_code is None:
            self._exit_code = exits.OK
            self._manager.stopping()
            self._kill_at = time.monotonic() + self._config.timeouts.drain + GRACE
            self._give_up_changes()
            # The workers still take who has connected; who comes now must not wait for nobody.
            self._sockets.close()
            for worker in self._workers:
                worker.signal(signal.SIGTERM)
            self._end_dashboard()
        else:
            self._exit_code = exits.INTERRUPTED + number
            self._kill_at = time.monotonic() + GRACE
            self._pass_on(signal.SIGINT)

    def _give_up_changes(self) -> None:
        if self._change is not None:
            self._sockets.discard(self._change.prepared)
            self._wishes.appendleft(Wish(self._change.reply))
            self._change = None
        while self._wishes:
            self._wishes.popleft().reply(503, "the program is ending")

    def _end_dashboard(self) -> None:
        """Once nothing is left to show: until then it tells of the drain."""
        if self._dashboard is not None and not any(worker.process for worker in self._workers):
            self._dashboard.signal(signal.SIGTERM)

    def _pass_on(self, number: int) -> None:
        for child in self._running:
            child.signal(number)

    def _kill_all(self) -> None:
        for child in list(self._running):
            assert child.process is not None
            child.signal(signal.SIGKILL)
            child.process.wait()
            self._forget(child)

    # ---- starting -----------------------------------------------------------------------------------------------

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in list(self._due):
            if child.restart_at <= now:
                self._start(child)

    def _start(self, child: Child) -> None:
        child.start()
        for end in (child.control, child.questions):
            if end is not None:
                self._selector.register(end, selectors.EVENT_READ, child)
        self._send(child)

    def _answered(self, child: Child) -> None:
        assert child.control is not None
        try:
            answer = child.control.recv(64)
        except ConnectionError:
            answer = b""
        if not answer:  # it is about to die
            self._selector.unregister(child.control)
            return
        child.awaits_answer = False
        child.has_served = True
        if child.is_behind:
            self._send(child)
        elif self._change is not None and child in self._change.waiting:
            self._take_answer(self._change, child, is_refused=sharing.REFUSED in answer)
        if not self._has_started and all(child.has_served for child in self._children):
            self._has_started = True
            self._on_started(self._sockets, self._dashboard_sockets)
            self._manager.ready()

    # ---- changing to another configuration ----------------------------------------------------------------------

    def _wish(self, wish: Wish) -> None:
        """Change as soon as may be."""
        if self._exit_code is not None:
            wish.reply(503, "the program is ending")
            return
        self._wishes.append(wish)
        if self._change is None:
            self._begin_change()

    def _begin_change(self) -> None:
        while self._wishes and self._change is None:
            wish = self._wishes.popleft()
            try:
                self._change = self._change_to(wish)
            except (ConfigError, ListenError, OSError) as error:
                wish.refuse(error)
            except Exception:
                # The workers serve well what they have: that must not end with a change.
                _log.exception("a bug in proxycore, please report it; the old configuration goes on")
                wish.reply(500, _BUG)
        if self._change is None:
            return
        self._change.waiting = list(self._running)
        for child in self._change.waiting:
            if child.awaits_answer:
                child.is_behind = True
            else:
                self._send(child)
        self._conclude()

    def _change_to(self, wish: Wish) -> Change:
        """Read, check and bind. Raises ConfigError, ListenError or OSError, with nothing changed."""
        config, disk = wish.load(self._source, self._disk)
        check_dashboard_stays(self._config, config, self._source.name)
        prepared = self._sockets.prepare(config.listeners)
        return Change(config, disk, prepared, wish.reply, deadline=time.monotonic() + ANSWER_LIMIT)

    def _take_answer(self, change: Change, child: Child, *, is_refused: bool) -> None:
        change.waiting.remove(child)
        if is_refused:
            change.refused_by.append(child.name)
        else:
            change.followers.append(child)
        self._conclude()

    def _conclude(self) -> None:
        """When all have answered: the change stands, or all go back."""
        change = self._change
        if change is None or change.waiting:
            return
        self._change = None
        if change.refused_by:
            self._sockets.discard(change.prepared)
            problem = f"{', '.join(change.refused_by)} could not change to it; the program's log says why"
            _log.error("the new configuration is refused, the old one goes on everywhere: %s", problem)
            for child in change.followers:
                if child.process is not None:
                    self._send(child)
            change.reply(409, problem)
        else:
            self._sockets.commit(change.prepared)
            self._disk, self._config = change.disk, change.config
            self._watch_files()
            change.reply(0, "")
        self._begin_change()

    def _send(self, child: Child) -> None:
        """Give a child what it is to serve: the next configuration while there is one."""
        assert child.control is not None
        child.awaits_answer = True
        child.is_behind = False
        change = self._change
        disk = self._disk if change is None else change.disk
        sockets = self._sockets.by_listener if change is None else by_listener(change.prepared)
        if child is self._dashboard:
            sockets = self._dashboard_sockets.by_listener
        try:
            sharing.send(
                child.control,
                self._source,
                disk,
                sockets,
                len(self._workers),
                reports_at=self._reports_at(child) if self._folder and child is not self._dashboard else "",
                orders=self._orders,
                followed={worker.name: self._reports_at(worker) for worker in self._workers}
                if child is self._dashboard
                else None,
            )
        except ConnectionError:
            pass  # it died, and will get all of it when it starts again

    def _reports_at(self, worker: Child) -> str:
        return os.path.join(self._folder, worker.name.replace(" ", "-"))

    # ---- files that change, and what the dashboard asks ---------------------------------------------------------

    def _watch_files(self) -> None:
        self._watch = FileWatch(credential_files(self._config, self._source.file))
        self._look_at = time.monotonic() if self._watch else math.inf

    def _look_at_files(self) -> None:
        """Give the workers what has changed in files of users, API keys and key sets."""
        self._look_at = time.monotonic() + LOOK
        for path in self._watch.changed():
            wish = Wish(_nobody, path=path)
            try:
                if Disk().read(path) == self._disk.contents[path]:
                    continue
            except OSError as error:
                wish.refuse(error)
            else:
                _log.info("%s has changed", path)
                self._wish(wish)

    def _asked(self, dashboard: Child) -> None:
        """Answer a question, whatever it is: the workers must not end with it."""
        assert dashboard.questions is not None
        answer = _Answer(dashboard.questions)
        try:
            heard = sharing.hear(dashboard.questions)
            if heard is None:  # it is about to die
                self._selector.unregister(dashboard.questions)
            else:
                self._answer(heard[0], answer)
        except Exception:
            _log.exception("a bug in proxycore, please report it")
            answer(500, _BUG)

    def _answer(self, question: Mapping[str, Any], answer: _Answer) -> None:
        """What was ordered, to be given to workers that start; or a configuration to check or to change to."""
        if "orders" in question:
            self._orders = question["orders"]
            answer(0, "")
        elif "check" in question:
            answer.problems(self._problems_of(question["check"]))
        else:
            self._wish(Wish(answer, text=question["configure"]))

    def _problems_of(self, text: str) -> list[str]:
        try:
            self._source.load(Edited(Disk(), self._source.file, text))
        except ConfigError as error:
            return [str(problem) for problem in error.problems]
        return []

    # ---- children that end --------------------------------------------------------------------------------------

    def _reap(self) -> None:
        for child in list(self._running):
            assert child.process is not None
            code = child.process.poll()
            if code is not None:
                self._forget(child)
                if self._exit_code is None:
                    self._died(child, code)
                else:
                    self._end_dashboard()

    def _forget(self, child: Child) -> None:
        for end in (child.control, child.questions):
            if end is not None and end in self._selector.get_map():
                self._selector.unregister(end)
        child.forget()
        if self._change is not None and child in self._change.waiting:
            self._change.waiting.remove(child)
            self._conclude()

    def _died(self, child: Child, code: int) -> None:
        if not self._has_started and not child.has_served and code > 0:
            self._exit_code = code
            self._pass_on(signal.SIGINT)
            self._kill_at = time.monotonic() + GRACE
            return
        delay = child.postpone()
        _log.error("%s died (%s) and starts again in %.1f s", child.name, how_it_ended(code), delay)


def _nobody(status: int, detail: str) -> None:
    """Nobody waits for an answer but those who read the log."""


class _Answer:
    """The answer to one question of the dashboard's process, who may be gone by then."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def __call__(self, status: int, detail: str) -> None:
        self._tell({"status": status, "detail": detail})

    def problems(self, problems: list[str]) -> None:
        self._tell({"problems": problems})

    def _tell(self, answer: Mapping[str, Any]) -> None:
        try:
            sharing.tell(self._end, answer)
        except OSError:
            _log.debug("nobody waits for the answer any more")


def worker_count(config: Config) -> int:
    """How many processes `workers` means on this machine."""
    if config.workers != "auto":
        return config.workers
    available = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return len(available)

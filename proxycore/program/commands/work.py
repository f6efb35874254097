"""`proxycore work`: one of several processes that serve together. Its supervisor starts it; people don't."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import threading
from typing import Any

from proxycore.program import exits, runtimes
from proxycore.program.access_log import AccessLog
from proxycore.program.files import Loaded
from proxycore.program.privileges import become
from proxycore.program.program_log import logging_to_stderr
from proxycore.program.reloading import Reloading
from proxycore.program.running import Process
from proxycore.program.service import Service
from proxycore.program.sharing import REFUSED, STANDS, Assignment, receive
from proxycore.words.commands import CommandRefused, command_from_dict


def add_parser(commands: Any) -> None:
    """Describe the command to argparse."""
    parser: argparse.ArgumentParser = commands.add_parser("work")
    parser.add_argument("--control", type=int, required=True, help="the descriptor of the supervisor's socket")
    parser.add_argument("--name", required=True, help="which of the processes this is")
    parser.add_argument("--questions", type=int, help="for the dashboard: the descriptor on which it asks")
    parser.add_argument("--binding", choices=runtimes.BINDINGS, required=True)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it, and return the exit code."""
    supervisor = FromSupervisor(socket.socket(fileno=arguments.control))
    assignment = supervisor.first()
    if assignment is None:
        return exits.OK
    loaded = assignment.load()
    with logging_to_stderr(loaded.config.logging.level, f"{arguments.name}: "):
        if arguments.questions is None:
            return work(loaded, assignment, supervisor, arguments.binding)
        return show(loaded, assignment, supervisor, arguments.binding, socket.socket(fileno=arguments.questions))


def work(loaded: Loaded, assignment: Assignment, supervisor: FromSupervisor, binding: str) -> int:
    """Serve in this process until the end."""

    def started(service: Service) -> None:
        become(loaded.config.user)
        for order in assignment.orders:
            with contextlib.suppress(CommandRefused):  # the configuration has changed since it was given
                service.command(command_from_dict(order))
        supervisor.listen()

    # Who does what on the dashboard is told by its own process.
    logging.getLogger("proxycore.admin").setLevel(logging.WARNING)
    access_log = AccessLog(loaded.config.logging, source=assignment.source.name, shared=True, owner=loaded.config.user)
    try:
        # The supervisor may send SIGTERM and, to the whole group, so may others: only its SIGINT cuts.
        process = Process(loaded, access_log, supervisor, started, cut_by=(signal.SIGINT,))
        runtimes.serve_on(binding, process)
        return process.exit_code
    finally:
        access_log.close()


def show(
    loaded: Loaded, assignment: Assignment, supervisor: FromSupervisor, binding: str, questions: socket.socket
) -> int:
    """Serve the dashboard of all workers in this process until the end."""
    from proxycore.program.admin.apart import Apart, Questions

    process = Apart(loaded, assignment, supervisor, Questions(questions), lambda service: supervisor.listen(), binding)
    runtimes.serve_on(binding, process)
    return process.exit_code


class FromSupervisor(Reloading):
    """The configuration as the supervisor sends it, the next one after an answer to the last.

    A thread listens. When the supervisor is gone, this process drains.
    """

    def __init__(self, control: socket.socket) -> None:
        super().__init__()
        self._control = control
        self._current: Assignment | None = None
        self._next: Assignment | None = None

    def first(self) -> Assignment | None:
        """What to begin with; None if the supervisor is gone already."""
        self._current = receive(self._control)
        return self._current

    def listen(self) -> None:
        """This process serves: say so, and take what comes."""
        self._answer(STANDS)
        threading.Thread(target=self._receive, name="proxycore control", daemon=True).start()

    def concluded(self, problem: str) -> None:
        """Answer the supervisor, and close the descriptors that are of no use any more.

        Those of the configuration in force stay open though nobody reads them: their numbers are the names
        of its listening sockets, and must not be given to others while they are.
        """
        done, kept = (self._next, self._current) if problem else (self._current, self._next)
        self._current, self._next = kept, None
        if done is not None:
            done.close()
        self._answer(REFUSED if problem else STANDS)

    def ended(self) -> None:
        """Close the descriptors of what is served, too: who connects now must be refused, and not wait for nobody."""
        if self._current is not None:
            self._current.close()
            self._current = None

    def _answer(self, answer: bytes) -> None:
        with contextlib.suppress(OSError):  # a supervisor that is gone is noticed by the thread
            self._control.send(answer)

    def _receive(self) -> None:
        while (assignment := receive(self._control)) is not None:
            self._next = assignment
            self._deliver(assignment.load)
        os.kill(os.getpid(), signal.SIGTERM)

"""How many clients are let in, and what a reload makes of that."""

from __future__ import annotations

from proxycore.config import Listener
from proxycore.testing.playbook import (
    Handle,
    Playbook,
    accepted,
    nothing,
    pause_accepting,
    reloaded,
    resume_accepting,
    stop_accepting,
)
from tests.playbooks.scripts import Limits, config

TWO_ONLY = config(limits=Limits(connections=2))
ELSEWHERE = config(limits=Limits(connections=2), listeners=[Listener(name="other", bind="192.0.2.10:81")])


def full(*clients: Handle) -> Playbook:
    first, second = clients or (Handle("first"), Handle("second"))
    return Playbook(TWO_ONLY).run(accepted(first) >> nothing, accepted(second) >> pause_accepting())


def test_a_higher_limit_lets_clients_in_at_once() -> None:
    full().run(reloaded(config(limits=Limits(connections=3))) >> resume_accepting())


def test_a_lower_limit_holds_at_once() -> None:
    book = Playbook(config()).run(accepted(Handle("first")) >> nothing, accepted(Handle("second")) >> nothing)
    book.run(reloaded(TWO_ONLY) >> pause_accepting())


def test_the_limit_holds_for_sockets_that_a_reload_opens() -> None:
    first, second = Handle("first"), Handle("second")
    full(first, second).run(
        reloaded(ELSEWHERE) >> (stop_accepting(), pause_accepting("other")),
        reloaded(TWO_ONLY) >> (stop_accepting("other"), pause_accepting()),
    )

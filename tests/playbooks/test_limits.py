"""As many connections as there may be, and what a reload does to that."""

from __future__ import annotations

from proxycore.testing.playbook import (
    Handle,
    Playbook,
    abort,
    accept_failed,
    accepted,
    lost,
    nothing,
    pause_accepting,
    reloaded,
    resume_accepting,
    tick,
)
from tests.playbooks.scripts import Limits, config

FEW, MORE = config(limits=Limits(connections=2)), config(limits=Limits(connections=3))


def test_accepting_pauses_at_the_limit_and_goes_on_below_it() -> None:
    one, two = Handle("one"), Handle("two")
    Playbook(FEW).run(
        accepted(one) >> nothing,
        accepted(two) >> pause_accepting(),
        lost(one) >> resume_accepting(),
        lost(two) >> nothing,
    )


def test_a_reload_that_allows_more_connections_lets_them_in() -> None:
    one, two, three = Handle("one"), Handle("two"), Handle("three")
    Playbook(FEW).run(
        accepted(one) >> nothing,
        accepted(two) >> pause_accepting(),
        reloaded(FEW) >> pause_accepting(),  # its socket may be a new one
        reloaded(MORE) >> resume_accepting(),
        accepted(three) >> pause_accepting(),
    )


def test_a_reload_ends_no_pause_for_want_of_files() -> None:
    Playbook(FEW).run(
        accept_failed() >> pause_accepting(),
        reloaded(MORE) >> nothing,
        tick(1.0) >> resume_accepting(),
    )


def test_a_client_has_its_share() -> None:
    one, two, other = Handle("one"), Handle("two"), Handle("other")
    Playbook(config(limits=Limits(connections_per_client=1))).run(
        accepted(one) >> nothing,
        accepted(two) >> abort(two),
        lost(two) >> nothing,
        accepted(other, peer=("192.0.2.2", 1)) >> nothing,
        lost(one) >> nothing,
        accepted(Handle("again")) >> nothing,
    )

"""A server that nobody listens on any more, while another serves."""

from __future__ import annotations

from proxycore.config import Outliers
from proxycore.testing.playbook import (
    Handle,
    Playbook,
    accepted,
    close,
    connect,
    connect_failed,
    connected,
    exchange_ended,
    lost,
    nothing,
    received,
    send,
    tick,
)
from tests.playbooks.scripts import GET, GET_OUT, OK, OK_OUT, ONE, TWO, two_servers


def test_every_request_that_meets_a_dead_server_goes_to_the_next() -> None:
    """Where none may be ejected each request meets it, its turn coming again: far more than any budget of retries."""
    playbook = Playbook(two_servers(idle_connections=0, outliers=Outliers(eject_share_max=0)))
    for number in range(50):
        client, dead, living = Handle(f"client {number}"), Handle("dead"), Handle("living")
        playbook.run(
            accepted(client) >> nothing,
            received(client, GET) >> connect(dead, ONE),
            connect_failed(dead) >> connect(living, TWO),
            connected(living) >> send(living, GET_OUT),
            received(living, OK) >> (send(client, OK_OUT), close(living), exchange_ended("completed")),
            lost(living) >> nothing,
            lost(client) >> nothing,
        )
    assert playbook.is_empty()


def test_a_refused_connect_ejects_at_once_and_for_a_while() -> None:
    playbook = Playbook(two_servers(idle_connections=0, outliers=Outliers(eject=2)))
    first, second, third = Handle("first"), Handle("second"), Handle("third")
    dead, living, other, back = Handle("dead"), Handle("living"), Handle("other"), Handle("back")
    playbook.run(
        accepted(first) >> nothing,
        received(first, GET) >> connect(dead, ONE),
        connect_failed(dead) >> connect(living, TWO),
        accepted(second) >> nothing,
        received(second, GET) >> connect(other, TWO),
        tick(2) >> nothing,
        accepted(third) >> nothing,
        received(third, GET) >> connect(back, ONE),
    )

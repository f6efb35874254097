"""A server that nobody listens on any more, while another serves."""

from __future__ import annotations

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
)
from tests.playbooks.scripts import GET, GET_OUT, OK, OK_OUT, ONE, TWO, two_servers


def test_every_request_that_meets_a_dead_server_goes_to_the_next() -> None:
    """Each one does, its turn coming again and again: far more than any budget of retries."""
    playbook = Playbook(two_servers(idle_connections=0))
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

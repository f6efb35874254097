"""Readers that stop reading: what waits for them is bounded, whatever was read for them last."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from proxycore.sockets.driver import Driver
from proxycore.sockets.records import CROWD, LARGE, SMALL
from proxycore.words.effects import Abort, Send
from proxycore.words.ids import ConnId
from tests.sockets.machines import Recorder

PIECE = b"x" * LARGE


def _nothing(*of: object) -> None:
    """No look-ups and no calls here."""


class Crowd:
    """A driver, and clients that have been accepted, in one thread: `settle` has the driver do all there is to do."""

    def __init__(self) -> None:
        self.machine = Recorder()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.clients: list[socket.socket] = []

        self.driver = Driver(self.machine, {"web": [self.listening]}, resolve=_nothing, call=_nothing, cancel=_nothing)

    def join(self) -> ConnId:
        client = socket.create_connection(self.listening.getsockname())
        self.clients.append(client)
        accepted = self.machine.of("accepted")
        while len(self.machine.of("accepted")) == len(accepted):
            self.driver.ready()
        conn: ConnId = self.machine.of("accepted")[-1][1]
        return conn

    def fill(self, conn: ConnId) -> None:
        """Send until some of it waits."""
        while ("writing_paused", conn) not in self.machine.facts:
            self.driver.tell(self.machine.performed, [Send(conn, PIECE)])

    def largest_read(self, client: socket.socket, conn: ConnId) -> int:
        """What is asked for at once of a client that sends a megabyte."""
        self.machine.facts.clear()
        client.setblocking(False)
        left = 1 << 20
        while left or self.read(conn) < 1 << 20:
            if left:
                try:
                    left -= client.send(bytes(left))
                except BlockingIOError:
                    pass
            if not left:
                self.driver.ready()
        return max(len(fact[2]) for fact in self.machine.of("data_received"))

    def read(self, conn: ConnId) -> int:
        return sum(len(fact[2]) for fact in self.machine.of("data_received") if fact[1] == conn)

    def close(self) -> None:
        self.driver.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.close()


def test_no_read_is_large_while_a_crowd_waits(crowd: Crowd) -> None:
    slow = [crowd.join() for _ in range(CROWD)]
    conn = crowd.join()
    client = crowd.clients[-1]
    for reader in slow[1:]:
        crowd.fill(reader)
    assert crowd.largest_read(client, conn) > SMALL
    crowd.fill(slow[0])
    crowd.largest_read(client, conn)
    assert crowd.largest_read(client, conn) <= SMALL


@pytest.mark.parametrize("how", ["reads", "leaves", "is aborted"])
def test_the_crowd_is_over_when_one_of_it(crowd: Crowd, how: str) -> None:
    slow = [crowd.join() for _ in range(CROWD)]
    conn = crowd.join()
    client = crowd.clients[-1]
    for reader in slow:
        crowd.fill(reader)
    if how == "reads":
        while ("writing_resumed", slow[0]) not in crowd.machine.facts:
            crowd.clients[0].recv(1 << 20)
            crowd.driver.ready()
    elif how == "leaves":
        crowd.clients[0].close()
        while not crowd.machine.of("connection_lost"):
            crowd.driver.ready()
    else:
        crowd.driver.tell(crowd.machine.performed, [Abort(slow[0])])
    crowd.largest_read(client, conn)
    assert crowd.largest_read(client, conn) > SMALL

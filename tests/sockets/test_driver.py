"""The driver over real sockets, waited for by every runtime: one suite, four ways to wait."""

from __future__ import annotations

import errno
import gc
import os
import resource
import select
import socket
import struct
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxycore.sockets.driver import BATCH, Driver
from proxycore.sockets.records import SMALL, Connection
from proxycore.words.effects import (
    Abort,
    Call,
    Cancel,
    Close,
    Connect,
    Effect,
    PauseAccepting,
    PauseReading,
    Resolve,
    ResumeAccepting,
    ResumeReading,
    Send,
    SendEof,
    StopAccepting,
)
from proxycore.words.ids import CallId, ConnId, LookupId
from tests.sockets.machines import Echo, Recorder, Relay
from tests.sockets.runtimes import LIMIT, RUNTIMES, Runtime

MIB = 1 << 20
QUIET = 0.02
"""Seconds in which a driver with nothing to do must not wake up."""


class World:
    """A driver with a machine, a runtime that waits for it, and clients in the same thread."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.sockets: list[socket.socket] = []
        self.asked: list[tuple[Any, ...]] = []
        self.wakeups = 0

    def start(self, machine: Recorder, *listening: socket.socket) -> None:
        self.machine = machine
        self.listening = listening or (listen(),)
        self.driver = Driver(
            machine,
            {"web": self.listening},
            resolve=lambda *of: self.asked.append(("resolve", *of)),
            call=lambda *of: self.asked.append(("call", *of)),
            cancel=lambda *of: self.asked.append(("cancel", *of)),
        )

    def connect(self, **options: Any) -> socket.socket:
        """A client, connected but perhaps not yet accepted."""
        listening = self.listening[0]
        client = socket.socket(listening.family)
        for name, value in options.items():
            client.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        client.settimeout(LIMIT)
        client.connect(listening.getsockname())
        self.sockets.append(client)
        return client

    def join(self, **options: Any) -> tuple[socket.socket, ConnId]:
        """A client that was accepted, and its handle."""
        before = len(self.machine.of("accepted"))
        client = self.connect(**options)
        self.until(lambda: len(self.machine.of("accepted")) > before)
        return client, self.machine.of("accepted")[-1][1]

    def until(self, condition: Callable[[], bool]) -> None:
        if not condition():
            self.wakeups += self.runtime.run(self.driver, condition, LIMIT)
        assert condition(), self.machine.facts

    def told(self, *fact: Any) -> None:
        """Run until this fact was told."""
        self.until(lambda: fact in self.machine.facts)

    def quiet(self) -> int:
        """Let the driver run for a moment; how often it woke up."""
        return self.runtime.run(self.driver, lambda: False, QUIET)

    def do(self, *effects: Effect) -> None:
        self.driver.tell(self.machine.performed, effects)

    def close(self) -> None:
        if hasattr(self, "driver"):
            self.driver.close()
        for sock in self.sockets:
            sock.close()
        self.runtime.close()


def listen(backlog: int = 1000) -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(backlog)
    return sock


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def receive(client: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += client.recv(size - len(received))
    return received


def receive_all(client: socket.socket) -> bytes:
    pieces = []
    while data := client.recv(MIB):
        pieces.append(data)
    return b"".join(pieces)


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


def undelayed(world: World, conn: ConnId) -> bool:
    return bool(world.driver._connections[conn].socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def wake_up(driver: Driver) -> None:
    """Wake up until something is ready: what a client sent takes a moment to arrive."""
    readable, _, _ = select.select([driver], [], [], LIMIT)
    assert readable
    driver.ready()


@pytest.fixture(params=RUNTIMES)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(RUNTIMES[request.param]())
    yield world
    world.close()


# ---- accepting ----------------------------------------------------------------------------------------------


def test_accepted_tells_both_addresses(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join()
    assert world.machine.of("accepted") == [("accepted", conn, "web", client.getsockname(), client.getpeername())]


def test_accepted_on_a_wildcard_tells_the_address_that_was_dialled(world: World) -> None:
    wildcard = socket.socket()
    wildcard.bind(("0.0.0.0", 0))
    wildcard.listen()
    world.start(Recorder(), wildcard)
    client = socket.create_connection(("127.0.0.1", wildcard.getsockname()[1]))
    world.sockets.append(client)
    world.until(lambda: bool(world.machine.of("accepted")))
    assert world.machine.of("accepted")[0][4] == client.getpeername()


def test_an_ipv4_client_of_a_dual_listener_has_an_ipv4_address(world: World) -> None:
    dual = socket.socket(socket.AF_INET6)
    try:
        dual.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        dual.bind(("::", 0))
    except OSError:
        dual.close()
        pytest.skip("no IPv6 here")
    dual.listen()
    world.start(Recorder(), dual)
    client = socket.create_connection(("127.0.0.1", dual.getsockname()[1]))
    world.sockets.append(client)
    world.until(lambda: bool(world.machine.of("accepted")))
    assert world.machine.of("accepted")[0][3:] == (client.getsockname(), client.getpeername())


def test_many_at_once_are_all_accepted(world: World) -> None:
    world.start(Recorder())
    clients = [world.connect() for _ in range(90)]
    world.until(lambda: len(world.machine.of("accepted")) == len(clients))
    peers = [fact[3] for fact in world.machine.of("accepted")]
    assert sorted(peers) == sorted(client.getsockname() for client in clients)
    assert world.wakeups < 20


def test_a_paused_listener_accepts_when_it_is_resumed(world: World) -> None:
    world.start(Recorder())
    world.do(PauseAccepting("web"), PauseAccepting("web"))
    world.connect()
    assert world.quiet() == 0
    assert world.machine.facts == []
    world.do(ResumeAccepting("web"), ResumeAccepting("web"))
    world.until(lambda: bool(world.machine.of("accepted")))


def test_pausing_in_the_midst_leaves_the_rest_in_the_queue(world: World) -> None:
    world.start(Recorder())
    world.machine.answer = lambda name, *rest: (
        [PauseAccepting("web")] if len(world.machine.of("accepted")) % 3 == 0 else []
    )
    for _ in range(7):
        world.connect()
    world.until(lambda: len(world.machine.of("accepted")) == 3)
    world.quiet()
    assert len(world.machine.of("accepted")) == 3
    world.do(ResumeAccepting("web"))
    world.until(lambda: len(world.machine.of("accepted")) == 6)


def test_a_stopped_listener_refuses_and_its_connections_go_on(world: World) -> None:
    world.start(Echo())
    client, _ = world.join()
    address = client.getpeername()
    world.do(StopAccepting("web"), StopAccepting("web"), ResumeAccepting("web"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    client.sendall(b"still here")
    world.until(lambda: bool(world.machine.of("data_received")))
    assert client.recv(100) == b"still here"


def test_listen_closes_what_is_missing_renames_and_adds(world: World) -> None:
    kept, dropped, added = listen(), listen(), listen()
    addresses = [sock.getsockname() for sock in (kept, dropped, added)]
    world.start(Recorder(), kept, dropped)
    world.driver.listen({"renamed": [kept], "added": [added]})
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(addresses[1])
    for address in addresses[0], addresses[2]:
        world.sockets.append(socket.create_connection(address))
    world.until(lambda: len(world.machine.of("accepted")) == 2)
    assert sorted(fact[2] for fact in world.machine.of("accepted")) == ["added", "renamed"]


@contextmanager
def no_descriptors_left(world: World) -> Iterator[None]:
    world.runtime.run(world.driver, lambda: False, 0.01)  # the runtime opens what it needs
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1 + max(int(fd) for fd in os.listdir("/dev/fd")), hard))
    fill = []
    try:
        try:
            while True:
                fill.append(os.dup(0))
        except OSError:
            pass
        yield
    finally:
        for fd in fill:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_accepting_stops_and_the_reserve_serves_a_dial(world: World) -> None:
    target = listen()
    world.start(Recorder())
    clients = [socket.socket() for _ in range(3)]
    world.sockets += [target, *clients]
    with no_descriptors_left(world):
        for client in clients:
            client.connect(world.listening[0].getsockname())
        world.driver.ready()
        assert world.machine.facts == [("accept_failed", "web", "EMFILE")]
        world.driver.ready()
        assert len(world.machine.facts) == 1  # and says it once, not for ever
        world.do(Connect(ConnId(7), target.getsockname()))
        world.driver.ready()
        assert world.machine.names(7) == ["connected"]
    world.do(ResumeAccepting("web"))
    world.until(lambda: len(world.machine.of("accepted")) == 3)


def test_a_dial_that_finds_no_descriptor_takes_one_of_the_reserve(world: World) -> None:
    """Accepting stops before it can take them all."""
    target = listen()
    world.start(Recorder())
    client = socket.socket()
    world.sockets += [target, client]
    with no_descriptors_left(world):
        world.do(Connect(ConnId(7), target.getsockname()))
        world.driver.ready()
        assert world.machine.facts[0] == ("accept_failed", "web", "EMFILE")
        assert world.machine.names(7) == ["connected"]
        client.connect(world.listening[0].getsockname())
        world.driver.ready()
        assert not world.machine.of("accepted")
        for number in range(8, 30):
            world.do(Connect(ConnId(number), target.getsockname()))
        assert ("connect_failed", ConnId(29), "EMFILE") in world.machine.facts
    world.do(ResumeAccepting("web"))
    world.until(lambda: len(world.machine.of("accepted")) == 1)


# ---- bytes --------------------------------------------------------------------------------------------------


def test_echo(world: World) -> None:
    world.start(Echo())
    client, conn = world.join()
    sent = b""
    for size in (1, 100, 5_000, 70_000, 3):
        piece = os.urandom(size)
        sent += piece
        client.sendall(piece)
        world.until(partial(lambda whole: world.machine.bytes_of(conn) == whole, sent))
        assert receive(client, size) == piece


def test_pieces_sent_one_by_one_arrive_in_order_and_undelayed(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join()
    assert undelayed(world, conn)
    world.do(*[Send(conn, bytes([number])) for number in range(200)], Close(conn))
    assert receive_all(client) == bytes(range(200))


def test_a_slow_reader_gets_all_and_the_machine_hears_of_it(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join(SO_RCVBUF=8192)
    sent = os.urandom(8 * MIB)
    world.do(*[Send(conn, sent[start : start + 100_000]) for start in range(0, len(sent), 100_000)])
    assert world.machine.names(conn)[1:] == ["writing_paused"]
    assert world.quiet() == 0
    received = bytearray()
    while len(received) < len(sent):
        received += client.recv(256 << 10)
        world.driver.ready()
    assert received == sent
    told = world.machine.names(conn)[1:]
    assert told[-1] == "writing_resumed"
    assert set(told[:-1]) == {"writing_paused"}
    assert len(told) > 3  # told again at each step forward
    assert world.quiet() == 0


def send_a_mebibyte(world: World, origin: socket.socket, conn: ConnId) -> list[int]:
    """Send it through; the sizes that it was read in."""
    before, total = len(world.machine.of("data_received")), len(world.machine.bytes_of(conn)) + MIB
    origin.settimeout(0)
    left = memoryview(bytes(MIB))
    while left:
        try:
            left = left[origin.send(left) :]
        except BlockingIOError:
            world.driver.ready()
    world.until(lambda: len(world.machine.bytes_of(conn)) == total)
    return [len(fact[2]) for fact in world.machine.of("data_received")[before:]]


def test_a_mebibyte_takes_few_reads(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join(SO_SNDBUF=4 * MIB)
    assert len(send_a_mebibyte(world, client, conn)) < 30


def test_an_answer_is_read_from_a_small_beginning(world: World) -> None:
    """So that a head at its start isn't cut out of a large piece; the answer before it was large."""
    world.start(Recorder())
    origin, conn = world.join(SO_SNDBUF=4 * MIB)
    for _ in range(2):
        world.do(Send(conn, b"GET / HTTP/1.1"))
        sizes = send_a_mebibyte(world, origin, conn)
        assert sizes[0] <= SMALL < max(sizes)


# ---- the end of a connection --------------------------------------------------------------------------------


def test_the_peer_ends_and_we_go_on_writing(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join()
    client.sendall(b"request")
    client.shutdown(socket.SHUT_WR)
    world.told("eof_received", conn)
    assert world.machine.facts[1:] == [("data_received", conn, b"request"), ("eof_received", conn)]
    assert world.quiet() == 0
    world.do(Send(conn, b"answer"), Close(conn))
    assert receive_all(client) == b"answer"
    assert world.machine.facts[-1] == ("connection_lost", conn, None)


def test_we_end_and_the_peer_goes_on_writing(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join()
    world.do(Send(conn, b"all"), SendEof(conn), SendEof(conn), Send(conn, b"too late"))
    assert receive_all(client) == b"all"
    client.sendall(b"more")
    world.told("data_received", conn, b"more")
    client.shutdown(socket.SHUT_WR)
    wake_up(world.driver)  # both have ended: nothing is left
    assert world.machine.facts[-2:] == [("eof_received", conn), ("connection_lost", conn, None)]


def test_a_connection_that_both_have_ended_is_closed(world: World) -> None:
    world.start(Echo())
    client, conn = world.join()
    client.shutdown(socket.SHUT_WR)
    wake_up(world.driver)
    assert world.machine.facts[-2:] == [("eof_received", conn), ("connection_lost", conn, None)]
    assert receive_all(client) == b""


def test_end_of_file_is_sent_after_what_waits(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join(SO_RCVBUF=8192)
    sent = os.urandom(6 * MIB)
    world.do(Send(conn, sent), SendEof(conn))
    received = bytearray()
    while data := client.recv(256 << 10):
        received += data
        world.driver.ready()
    assert received == sent
    assert "connection_lost" not in world.machine.names(conn)


def test_close_waits_for_what_waits(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join(SO_RCVBUF=8192)
    sent = os.urandom(6 * MIB)
    world.do(Send(conn, sent), Close(conn), Send(conn, b"too late"))
    assert world.quiet() == 0
    received = bytearray()
    while len(received) < len(sent):
        received += client.recv(256 << 10)
        world.driver.ready()
    assert received == sent
    world.told("connection_lost", conn, None)


def test_closing_reads_no_more(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join(SO_RCVBUF=8192)
    world.do(Send(conn, bytes(6 * MIB)), Close(conn))
    client.sendall(b"unheard")
    client.shutdown(socket.SHUT_WR)
    assert world.quiet() == 0
    client.close()
    world.until(lambda: "connection_lost" in world.machine.names(conn))
    assert world.machine.names(conn) == ["accepted", "writing_paused", "connection_lost"]


def test_a_peer_that_resets_while_we_close_is_told(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join(SO_RCVBUF=8192)
    world.do(Send(conn, bytes(6 * MIB)), Close(conn))
    reset(client)
    world.told("connection_lost", conn, "ECONNRESET")


def test_abort_resets_at_once_and_drops_what_waits(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join(SO_RCVBUF=8192)
    world.do(Send(conn, bytes(6 * MIB)), Abort(conn), Abort(conn), Close(conn))
    assert world.machine.facts[-1] == ("connection_lost", conn, None)
    with pytest.raises(ConnectionResetError):
        receive_all(client)
    assert world.machine.names(conn).count("connection_lost") == 1


def test_a_reset_is_told_by_its_name(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join()
    reset(client)
    world.told("connection_lost", conn, "ECONNRESET")
    assert "eof_received" not in world.machine.names(conn)


def test_bytes_before_a_reset_are_told_first(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join()
    client.sendall(b"last words")
    reset(client)
    world.told("connection_lost", conn, "ECONNRESET")
    assert world.machine.names(conn)[1:] in (["data_received", "connection_lost"], ["connection_lost"])


def test_an_answer_before_the_reset_is_heard_although_sending_failed(world: World) -> None:
    """An origin that answers 413 in mid-upload and closes: its reset meets our sending before we have read."""
    world.start(Recorder())
    origin, conn = world.join()
    origin.sendall(b"HTTP/1.1 413 ")
    world.told("data_received", conn, b"HTTP/1.1 413 ")
    origin.sendall(b"Content Too Large")
    origin.shutdown(socket.SHUT_RDWR)
    origin.close()
    world.do(Send(conn, b"x" * 1000))  # answered by a reset
    world.do(Send(conn, b"x" * 1000))  # fails
    assert "connection_lost" not in world.machine.names(conn)
    world.until(lambda: "connection_lost" in world.machine.names(conn))
    assert world.machine.bytes_of(conn) == b"HTTP/1.1 413 Content Too Large"
    assert world.machine.names(conn)[-2:] == ["data_received", "connection_lost"]  # and no end of file
    assert world.machine.facts[-1][2] in ("EPIPE", "ECONNRESET")


def test_an_answer_before_the_reset_is_heard_although_it_is_paused_meanwhile(world: World) -> None:
    world.start(Recorder())
    origin, conn = world.join()
    origin.sendall(b"413")
    origin.close()
    world.do(Send(conn, b"x" * 1000))  # answered by a reset
    world.do(Send(conn, b"x" * 1000), PauseReading(conn))  # fails
    world.quiet()
    assert world.quiet() == 0
    world.do(ResumeReading(conn))
    world.until(lambda: "connection_lost" in world.machine.names(conn))
    assert world.machine.bytes_of(conn) == b"413"


# ---- pausing ------------------------------------------------------------------------------------------------


def test_paused_reads_nothing_and_resumed_reads_all(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join()
    world.do(PauseReading(conn), PauseReading(conn))
    client.sendall(b"wait")
    assert world.quiet() == 0
    world.do(ResumeReading(conn), ResumeReading(conn))
    world.told("data_received", conn, b"wait")


def test_a_pause_lets_through_what_was_read_in_the_same_wakeup_and_no_more(world: World) -> None:
    world.start(Recorder())
    first, one = world.join()
    second, two = world.join()
    world.machine.answer = lambda name, *rest: [PauseReading(one), PauseReading(two)] if name == "data_received" else []
    first.sendall(b"1")
    second.sendall(b"2")
    world.driver.ready()
    world.quiet()
    assert len(world.machine.of("data_received")) == 2
    first.sendall(b"3")
    second.sendall(b"4")
    world.quiet()
    assert len(world.machine.of("data_received")) == 2


def test_an_end_of_file_behind_what_closes_the_connection_is_not_told(world: World) -> None:
    """As when a server's answer and its client's end come in one wake-up."""

    def answer(*fact: Any) -> Sequence[Effect]:
        return [Close(theirs)] if fact[0] == "data_received" else ()

    world.start(Recorder())
    (one, _), (other, theirs) = world.join(), world.join()
    world.machine.answer = answer
    one.sendall(b"x")
    other.shutdown(socket.SHUT_WR)
    world.driver.ready()
    assert world.machine.names(theirs) == ["accepted", "connection_lost"]


def test_a_reset_while_paused_is_told_at_once(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join()
    world.do(PauseReading(conn))
    client.sendall(b"unread")
    reset(client)
    world.told("connection_lost", conn, "ECONNRESET")


def test_the_peers_end_while_paused_is_told_at_once_when_nothing_is_unread(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join()
    world.do(PauseReading(conn))
    client.shutdown(socket.SHUT_WR)
    world.told("eof_received", conn)
    assert world.quiet() == 0
    world.do(ResumeReading(conn))
    assert world.quiet() == 0
    assert world.machine.names(conn).count("eof_received") == 1


def test_the_peers_end_while_paused_stays_behind_unread_bytes(world: World) -> None:
    """Told before them, it would make a message that ends by close look complete."""
    world.start(Recorder())
    client, conn = world.join()
    world.do(PauseReading(conn))
    client.sendall(b"unread")
    client.shutdown(socket.SHUT_WR)
    assert world.quiet() <= 1
    assert world.quiet() == 0
    assert world.machine.names(conn) == ["accepted", "peer_ended"]
    world.do(ResumeReading(conn))
    world.told("eof_received", conn)
    assert world.machine.names(conn) == ["accepted", "peer_ended", "data_received", "eof_received"]


def test_the_peers_end_is_told_in_a_later_pause_once_nothing_stands_before_it(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join()
    world.do(PauseReading(conn))
    client.sendall(b"unread")
    client.shutdown(socket.SHUT_WR)
    world.quiet()
    world.machine.answer = lambda name, *rest: [PauseReading(conn)] if name == "data_received" else []
    world.do(ResumeReading(conn))
    world.told("eof_received", conn)


def test_a_reset_after_the_peers_end_while_paused_is_told(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join()
    world.do(PauseReading(conn))
    client.sendall(b"unread")
    client.shutdown(socket.SHUT_WR)
    world.quiet()
    reset(client)
    world.until(lambda: "connection_lost" in world.machine.names(conn))


def test_a_connection_that_ended_hears_of_the_reset(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join()
    client.shutdown(socket.SHUT_WR)
    world.told("eof_received", conn)
    client.close()
    world.do(Send(conn, b"who's there"))
    world.until(lambda: "connection_lost" in world.machine.names(conn))
    assert world.machine.facts[-1][2] in ("EPIPE", "ECONNRESET")


# ---- dialling -----------------------------------------------------------------------------------------------


def test_dialling(world: World) -> None:
    target = listen()
    world.start(Recorder())
    world.do(Connect(ConnId(5), target.getsockname()))
    world.until(lambda: bool(world.machine.facts))
    origin, address = target.accept()
    world.sockets += [target, origin]
    assert world.machine.facts == [("connected", 5, address, target.getsockname())]
    assert undelayed(world, ConnId(5))
    world.do(Send(ConnId(5), b"hello"))
    assert origin.recv(10) == b"hello"
    origin.sendall(b"hi")
    world.told("data_received", 5, b"hi")
    origin.close()
    world.told("eof_received", 5)


def test_a_refused_dial(world: World) -> None:
    target = listen()
    address = target.getsockname()
    target.close()
    world.start(Recorder())
    world.do(Connect(ConnId(5), address))
    world.told("connect_failed", 5, "ECONNREFUSED")
    assert world.quiet() == 0


def test_a_dial_that_fails_at_once_is_told_after_the_effects_beside_it(world: World) -> None:
    world.start(Recorder())
    client, conn = world.join()

    def answer(name: str, *arguments: Any) -> Sequence[Effect]:
        if name == "connect_failed":
            assert client.recv(10) == b"beside"
        return []

    world.machine.answer = answer
    world.do(Connect(ConnId(50), "/nonexistent/socket"), Send(conn, b"beside"))
    assert world.machine.facts[-1] == ("connect_failed", 50, "ENOENT")


def test_a_port_that_would_connect_to_itself_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP allows it where a dialled port of the ephemeral range is taken for the dial's own end."""

    class Narcissus(socket.socket):
        def connect(self, address: Any, /) -> None:
            self.bind(address)
            super().connect(address)

    target = listen()
    address = target.getsockname()
    target.close()
    world.start(Recorder())
    monkeypatch.setattr("proxycore.sockets.driver.socket.socket", Narcissus)
    world.do(Connect(ConnId(5), address))
    monkeypatch.undo()
    world.told("connect_failed", 5, "ECONNREFUSED")


def test_a_unix_listener_with_a_full_queue_fails_the_dial(world: World, tmp_path: Path) -> None:
    target = socket.socket(socket.AF_UNIX)
    target.bind(str(tmp_path / "socket"))
    target.listen(0)
    fillers = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(target.getsockname())
    world.sockets += [target, *fillers]
    world.start(Recorder())
    world.do(Connect(ConnId(5), target.getsockname()))
    assert world.machine.facts == [("connect_failed", 5, "EAGAIN")]


def test_an_aborted_dial(world: World) -> None:
    """A target that never answers: its queue is full."""
    target = listen(0)
    world.start(Recorder())
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(target.getsockname())
    world.sockets += [target, *fillers]
    world.do(Connect(ConnId(5), target.getsockname()), Connect(ConnId(6), target.getsockname()))
    assert world.quiet() == 0
    assert world.machine.facts == []
    world.do(Abort(ConnId(5)), Close(ConnId(6)))
    assert world.machine.facts == [("connect_failed", 5, "ECANCELED"), ("connect_failed", 6, "ECANCELED")]
    assert world.quiet() == 0


def test_unix_sockets_both_ways(world: World, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    world.start(Echo(), listening)
    client, conn = world.join()
    assert world.machine.of("accepted")[0][2:] == ("web", "", path)
    client.sendall(b"over unix")
    world.told("data_received", conn, b"over unix")
    assert client.recv(100) == b"over unix"
    world.do(Connect(ConnId(70), path))
    world.until(lambda: "connected" in world.machine.names(70))
    client.close()
    world.until(lambda: "connection_lost" in world.machine.names(conn))


def test_a_unix_peer_that_closed_while_paused(world: World, tmp_path: Path) -> None:
    """The set reports its hang-up whatever is asked of it, so it must be left out of the set."""
    path = str(tmp_path / "socket")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    world.start(Recorder(), listening)
    client, conn = world.join()
    world.do(PauseReading(conn))
    client.sendall(b"unread")
    client.close()
    assert world.quiet() <= 1
    assert world.quiet() == 0
    world.do(ResumeReading(conn))
    world.told("connection_lost", conn, None)
    assert world.machine.names(conn) == [
        "accepted",
        "peer_ended",
        "data_received",
        "eof_received",
        "connection_lost",
    ]


def test_a_relay_through_the_driver(world: World) -> None:
    origin = listen()
    world.sockets.append(origin)
    world.start(Relay(origin.getsockname()))
    client = world.connect()
    client.sendall(b"ping")
    world.runtime.run(world.driver, lambda: False, QUIET)
    served, _ = origin.accept()
    world.sockets.append(served)
    world.runtime.run(world.driver, lambda: False, QUIET)
    assert served.recv(100) == b"ping"
    served.sendall(b"pong")
    served.close()
    world.runtime.run(world.driver, lambda: False, QUIET)
    assert receive_all(client) == b"pong"


# ---- the loop -----------------------------------------------------------------------------------------------


def test_effects_on_handles_that_are_gone_are_skipped(world: World) -> None:
    world.start(Recorder())
    gone = ConnId(99)
    world.do(
        Send(gone, b"x"), SendEof(gone), Close(gone), Abort(gone), PauseReading(gone), ResumeReading(gone),
        PauseAccepting("none"), ResumeAccepting("none"), StopAccepting("none"),
    )  # fmt: skip
    assert world.machine.facts == []


def test_facts_that_arise_wait_until_all_effects_are_performed(world: World) -> None:
    world.start(Recorder())
    first, one = world.join()
    second, two = world.join()

    def answer(name: str, *arguments: Any) -> Sequence[Effect]:
        if name == "data_received":
            return [Abort(one), Send(two, b"after")]
        if name == "connection_lost":
            second.settimeout(1)
            assert second.recv(10) == b"after"  # performed before this was told
        return []

    world.machine.answer = answer
    first.sendall(b"go")
    world.told("connection_lost", one, None)


def test_a_fact_told_while_the_driver_works_waits_its_turn(world: World) -> None:
    """A look-up that is answered before `resolve` has returned."""
    world.start(Recorder())
    client, _ = world.join()

    def answer(name: str, *arguments: Any) -> Sequence[Effect]:
        if name == "data_received":
            world.driver.tell(world.machine.resolved, LookupId(3), ["127.0.0.1"])
            return [Connect(ConnId(50), "/nonexistent/socket")]
        return []

    world.machine.answer = answer
    client.sendall(b"go")
    world.told("connect_failed", 50, "ENOENT")
    assert world.machine.names()[-3:] == ["data_received", "resolved", "connect_failed"]


def test_entering_the_driver_from_inside_is_a_bug(world: World) -> None:
    world.start(Recorder())
    client, _ = world.join()

    def answer(name: str, *arguments: Any) -> Sequence[Effect]:
        world.driver.ready()
        return []

    world.machine.answer = answer
    client.sendall(b"go")
    with pytest.raises(AssertionError, match="entered"):
        wake_up(world.driver)


def test_a_machine_that_raises_costs_one_connection(world: World) -> None:
    world.start(Echo())
    bad, one = world.join()
    good, two = world.join()

    def answer(name: str, *arguments: Any) -> Sequence[Effect]:
        if name == "data_received" and arguments[0] == one:
            raise RuntimeError("a bug")
        return [Send(arguments[0], arguments[1])] if name == "data_received" else []

    world.machine.answer = answer
    bad.sendall(b"go")
    with pytest.raises(RuntimeError, match="a bug"):
        wake_up(world.driver)
    assert world.machine.facts[-1] == ("connection_lost", one, None)
    good.sendall(b"fine")
    world.told("data_received", two, b"fine")
    assert good.recv(10) == b"fine"


def test_a_machine_that_raises_over_some_bytes_hears_all_others(world: World) -> None:
    """Bytes that came in the same wake-up and weren't told would be missing from the midst of a message."""
    world.start(Recorder())
    clients = [world.join() for _ in range(3)]
    unlucky = clients[0][1]

    def answer(name: str, *arguments: Any) -> Sequence[Effect]:
        if (name, arguments[0]) == ("data_received", unlucky):
            raise RuntimeError("a bug")
        return ()

    world.machine.answer = answer
    for client, _ in clients:
        client.sendall(b"x")
    select.select([], [], [], 0.02)
    with pytest.raises(RuntimeError, match="a bug"):
        world.driver.ready()
    assert world.machine.names(unlucky)[-1] == "connection_lost"
    for _, conn in clients[1:]:
        assert world.machine.bytes_of(conn) == b"x"


def test_no_more_is_read_before_it_is_sent_than_a_batch(world: World) -> None:
    """Many that talk much at once: what was read of all of them in one wake-up isn't in memory at once."""
    world.start(Recorder())
    clients = [world.join() for _ in range(20)]
    held: list[int] = []

    def echo(name: str, *arguments: Any) -> Sequence[Effect]:
        if name != "data_received":
            return ()
        held.append(sum(len(send.data) for send in world.driver._sends))
        return [Send(arguments[0], arguments[1])]

    world.machine.answer = echo
    for _ in range(5):
        for client, _ in clients:
            client.sendall(bytes(100_000))
    world.until(lambda: sum(len(fact[2]) for fact in world.machine.of("data_received")) == 20 * 500_000)
    assert max(held) < 2 * BATCH


def test_a_send_that_fails_in_an_unheard_of_way_costs_one_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.start(Recorder())
    (_, one), (fast, two) = world.join(SO_RCVBUF=4096), world.join()

    def watch(connection: Connection) -> None:
        monkeypatch.undo()
        raise OSError(errno.ENOSPC, "no more watches")

    monkeypatch.setattr(world.driver, "_watch", watch)
    with pytest.raises(OSError, match="no more watches"):
        world.do(Send(one, bytes(64 * MIB)), Send(two, b"x"))
    world.until(lambda: ("connection_lost", one, None) in world.machine.facts)
    assert fast.recv(10) == b"x"


def test_a_machine_that_raises_over_an_accept_costs_one_connection(world: World) -> None:
    world.start(Recorder())

    def answer(name: str, *arguments: Any) -> Sequence[Effect]:
        if name == "accepted" and arguments[0] == 1:
            raise RuntimeError("a bug")
        return []

    world.machine.answer = answer
    world.connect()
    with pytest.raises(RuntimeError, match="a bug"):
        wake_up(world.driver)
    world.told("connection_lost", 1, None)
    world.join()


def test_events_of_a_descriptor_that_was_used_again_are_skipped(world: World) -> None:
    """Two connections are ready in one wake-up; handling the first replaces the other by a dial that stays open."""
    target = listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(target.getsockname())
    world.sockets += [target, *fillers]
    world.start(Recorder())
    first, one = world.join()
    second, two = world.join()
    dials = [Connect(ConnId(number), target.getsockname()) for number in (60, 61)]
    world.machine.answer = lambda name, *rest: [Abort(one), Abort(two), *dials] if name == "data_received" else []
    first.sendall(b"go")
    second.sendall(b"go")
    world.until(lambda: bool(world.machine.of("data_received")))
    world.quiet()
    assert world.machine.names(60) == world.machine.names(61) == []


def test_lookups_and_calls_are_handed_on(world: World) -> None:
    world.start(Recorder())
    lookup, call = LookupId(3), CallId(4)
    world.do(Resolve(lookup, "localhost", 80), Call(call, "name", {"a": 1}), Cancel(lookup), Cancel(call))
    assert world.asked == [("resolve", 3, "localhost", 80), ("call", 4, "name", {"a": 1}), ("cancel", 3), ("cancel", 4)]


def test_the_timer(world: World) -> None:
    world.start(Recorder())
    assert world.driver.next_deadline() is None
    world.machine.deadline = 12.5
    assert world.driver.next_deadline() == 12.5
    world.driver.timer_expired()
    assert world.machine.facts == [("timer_expired",)]


def test_notices_are_passed_on_after_each_wakeup() -> None:
    machine = Recorder()
    seen: list[Sequence[Any]] = []
    driver = Driver(machine, {}, resolve=print, call=print, cancel=print, on_notices=seen.append)
    try:
        driver.timer_expired()
        assert seen == []
        machine.notices.append("one")
        driver.timer_expired()
        machine.notices.append("two")
        driver.ready()
        assert seen == [["one"], ["two"]]
    finally:
        driver.close()


# ---- nothing leaks ------------------------------------------------------------------------------------------


def make_states(world: World) -> None:
    """A connection in every state there is."""
    blocked = listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(blocked.getsockname())
    world.sockets += [blocked, *fillers]
    world.join()
    paused, waiting, closing, ended, finished, finishing = (world.join(SO_RCVBUF=8192) for _ in range(6))
    world.do(
        Connect(ConnId(900), blocked.getsockname()),
        PauseReading(paused[1]),
        Send(waiting[1], bytes(6 * MIB)),
        Send(closing[1], bytes(6 * MIB)),
        Close(closing[1]),
        SendEof(finished[1]),
        Send(finishing[1], bytes(6 * MIB)),
        SendEof(finishing[1]),
    )
    ended[0].shutdown(socket.SHUT_WR)
    world.told("eof_received", ended[1])


def test_close_in_every_state_leaks_nothing(world: World) -> None:
    world.start(Recorder(), listen())
    world.quiet()  # the runtime opens what it needs
    world.driver.close()
    before = open_files()
    world.start(Recorder(), listen())
    make_states(world)
    world.driver.close()
    for sock in world.sockets:
        sock.close()
    assert open_files() == before


@pytest.mark.parametrize("effect", [Abort, Close])
def test_every_state_ends_with_one_last_fact(world: World, effect: type[Abort] | type[Close]) -> None:
    world.start(Recorder())
    make_states(world)
    conns = [fact[1] for fact in world.machine.of("accepted")] + [ConnId(900)]
    world.do(*[effect(conn) for conn in conns])
    if effect is Close:
        for sock in world.sockets:
            sock.close()
    last = ("connection_lost", "connect_failed")
    world.until(lambda: all(world.machine.names(conn)[-1:] and world.machine.names(conn)[-1] in last for conn in conns))
    assert all(sum(name in last for name in world.machine.names(conn)) == 1 for conn in conns)
    assert world.quiet() == 0


def test_a_thousand_connections_come_and_go(world: World) -> None:
    world.start(Echo())
    world.join()
    gc.collect()  # descriptors that failures of earlier tests hold would be missing in the end
    before = open_files()
    for _ in range(25):
        clients = [world.connect() for _ in range(40)]
        for client in clients:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
        for client in clients:
            world.sockets.remove(client)
        lost = len(world.machine.of("connection_lost")) + len(clients)
        world.until(lambda: len(world.machine.of("connection_lost")) == lost)  # noqa: B023
        for client in clients:
            assert receive_all(client) == b"hello"
            client.close()
    assert open_files() == before


def test_after_close_nothing_is_told(world: World) -> None:
    world.start(Recorder())
    world.driver.close()
    world.driver.tell(world.machine.timer_expired)
    world.do(Connect(ConnId(1), ("127.0.0.1", 1)))
    assert world.machine.facts == []


def test_an_idle_connection_is_small() -> None:
    world = World(RUNTIMES["asyncio"]())
    try:
        world.start(Recorder())
        world.machine.tell = lambda *fact: ()  # type: ignore[method-assign]
        count = 200
        clients = [world.connect() for _ in range(count)]
        assert clients
        tracemalloc.start()
        try:
            for _ in range(20):
                world.driver.ready()
            held = tracemalloc.get_traced_memory()[0] / count
        finally:
            tracemalloc.stop()
        assert held < 1024, held
    finally:
        world.close()

"""One request to the origin for many that wait, served as its answer comes; and what becomes of them when it fails."""

from __future__ import annotations

import gc
import gzip
from collections.abc import Iterator, Sequence

import pytest

from proxycore.composition.exchange import Exchange
from proxycore.config import Cache, Config, Limits, Listener, Route, RouteCache, Timeouts, Upstream
from proxycore.core import Core
from proxycore.filters.filling import SharedCache
from proxycore.mechanisms.codings import Coding
from proxycore.words.commands import Purge
from proxycore.words.effects import Abort, Close, Connect, Effect, Send, SendEof
from proxycore.words.ids import ConnId

HERE = ("127.0.0.1", 80)
FRESH = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"


class World:
    """A core with clients and origin connections; `got` is what each client was sent."""

    def __init__(self, compress: Sequence[Coding] = (), **cache: object) -> None:
        config = Config(
            listeners=[Listener(name="web", bind="127.0.0.1:0")],
            limits=Limits(buffer=1024),
            timeouts=Timeouts(response_head=100, response_body=100, send=10),
            upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"])},
            caches={"main": Cache(size="64KiB", object_max="4KiB")},
            routes=[Route(upstream="api", compress=compress, cache=RouteCache(store="main", **cache))],  # type: ignore[arg-type]
        )
        self.core = Core(config, now=0.0, wall=1e9, seed=1, entropy=bytes, watch=["faults"])
        self.now = 1.0
        self.got: dict[ConnId, bytes] = {}
        self.ended: set[ConnId] = set()
        self.servers: list[ConnId] = []

    @property
    def shared(self) -> SharedCache:
        return self.core._own_filters._caches["main"]

    def ask(self, *fields: bytes, target: bytes = b"/", method: bytes = b"GET") -> ConnId:
        client = self.core.next_conn_id()
        self.got[client] = b""
        self._do(self.core.accepted(client, "web", ("192.0.2.1", 1), HERE, self.now))
        lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: a", *fields]
        self._do(self.core.data_received(client, b"\r\n".join(lines) + b"\r\n\r\n", self.now))
        return client

    def send(self, data: bytes, server: int = -1) -> None:
        self._do(self.core.data_received(self.servers[server], data, self.now))
        self.wait(0.0)

    def stall(self, conn: ConnId) -> None:
        """The client takes no bytes, until the core has enough of it."""
        self._do(self.core.writing_paused(conn, self.now))
        self.wait(11)
        assert conn in self.ended
        self.lose(conn)

    def lose(self, conn: ConnId) -> None:
        self._do(self.core.connection_lost(conn, "ECONNRESET", self.now))
        self.wait(0.0)

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.core.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self._do(self.core.timer_expired(self.now))
        self.now = end

    def content(self, client: ConnId) -> bytes:
        return self.got[client].partition(b"\r\n\r\n")[2]

    def _do(self, effects: object) -> None:
        todo: list[Effect] = list(effects)  # type: ignore[call-overload]
        while todo:
            effect = todo.pop(0)
            if isinstance(effect, Connect):
                self.servers.append(effect.conn)
                todo += self.core.connected(effect.conn, HERE, ("127.0.0.1", 3000), self.now)
            elif isinstance(effect, Send) and effect.conn in self.got:
                self.got[effect.conn] += effect.data
            elif isinstance(effect, Close | Abort | SendEof):
                self.ended.add(effect.conn)
        assert not self.core.take_notices(self.now)


def unchunked(content: bytes) -> bytes:
    data = b""
    while content:
        size, _, content = content.partition(b"\r\n")
        data, content = data + content[: int(size, 16)], content[int(size, 16) + 2 :]
    return data


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    assert world.shared.store.reserved == 0
    assert not world.shared.flights


def test_those_who_waited_are_freed_at_once(world: World) -> None:
    for _ in range(3):
        world.ask()
    engine = world.core.engine
    gc.collect()
    gc.disable()
    try:
        world.send(FRESH + b"0123456789")
        assert not [thing for thing in gc.get_objects() if isinstance(thing, Exchange) and thing._engine is engine]
    finally:
        gc.enable()


def test_those_who_wait_get_the_answer_as_it_comes(world: World) -> None:
    clients = [world.ask() for _ in range(4)]
    assert len(world.servers) == 1
    world.send(FRESH + b"01234")
    assert [world.content(client) for client in clients] == [b"01234"] * 4
    assert b"cache-status: proxycore; fwd=uri-miss; collapsed" in world.got[clients[1]]
    assert b"content-length: 10\r\n" in world.got[clients[1]]
    late = world.ask()
    assert world.content(late) == b"01234"
    world.send(b"56789")
    assert [world.content(client) for client in [*clients, late]] == [b"0123456789"] * 5
    assert world.content(world.ask()) == b"0123456789"
    assert len(world.servers) == 1


def test_an_answer_of_unknown_length_ends_for_all(world: World) -> None:
    first, second = world.ask(), world.ask()
    world.send(CHUNKED + b"3\r\nabc\r\n")
    world.send(b"3\r\ndef\r\n0\r\n\r\n")
    assert world.content(first) == b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
    assert world.content(second) == b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"


def test_after_an_answer_for_one_alone_each_asks_for_itself_and_nobody_waits_again(world: World) -> None:
    clients = [world.ask() for _ in range(3)]
    world.send(b"HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 1\r\n\r\n1")
    # The connection of the first is kept, and serves one of the others.
    assert len(world.servers) in (2, 3)
    world.ask()
    assert len(world.servers) >= 3
    assert world.content(clients[0]) == b"1"
    assert world.content(clients[1]) == b""


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (b'If-None-Match: "1"', b'HTTP/1.1 304 X\r\nETag: "1"\r\n\r\n'),
        (b"Range: bytes=0-1", b"HTTP/1.1 206 X\r\nContent-Range: bytes 0-1/2\r\nContent-Length: 2\r\n\r\n01"),
    ],
)
def test_who_asks_for_less_than_the_whole_keeps_nobody_from_sharing_it(
    world: World, asked: bytes, answer: bytes
) -> None:
    world.ask(asked)
    world.send(answer)
    first, second = world.ask(), world.ask()
    assert len(world.servers) == 1
    world.send(FRESH + b"0123456789")
    assert world.content(first) == world.content(second) == b"0123456789"


def test_when_the_first_one_leaves_the_next_asks(world: World) -> None:
    first, second, third = world.ask(), world.ask(), world.ask()
    world.lose(first)
    assert len(world.servers) == 2
    world.send(FRESH + b"0123456789")
    assert world.content(second) == world.content(third) == b"0123456789"


def test_nobody_waits_for_the_answer_to_an_offer_of_another_protocol(world: World) -> None:
    offer = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13")
    world.ask(*offer, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    world.ask()
    assert len(world.servers) == 2
    world.send(FRESH + b"0123456789")


def test_who_waited_long_enough_asks_for_itself(world: World) -> None:
    world.ask()
    second = world.ask()
    world.wait(4.9)
    assert len(world.servers) == 1
    world.wait(0.2)
    assert len(world.servers) == 2
    world.send(FRESH + b"0123456789")
    assert world.content(second) == b"0123456789"
    world.send(FRESH + b"0123456789", server=0)


def test_without_the_lock_each_asks() -> None:
    world = World(lock=False)
    world.ask()
    world.ask()
    assert len(world.servers) == 2


def test_a_client_that_waits_may_leave(world: World) -> None:
    first, second = world.ask(), world.ask()
    world.lose(second)
    world.send(FRESH + b"01234")
    third = world.ask()
    world.lose(third)
    world.send(b"56789")
    assert world.content(first) == b"0123456789"


@pytest.mark.parametrize("how", ["left", "takes nothing"])
def test_when_the_first_one_leaves_in_the_middle_the_others_get_the_whole(world: World, how: str) -> None:
    first, second = world.ask(), world.ask()
    world.send(FRESH + b"01234")
    if how == "left":
        world.lose(first)
    else:
        world.stall(first)
    late = world.ask()
    world.send(b"56789")
    assert [world.content(client) for client in (second, late)] == [b"0123456789"] * 2
    assert world.content(world.ask()) == b"0123456789"
    assert len(world.servers) == 1


def test_what_was_coded_for_the_first_one_goes_on_for_the_others() -> None:
    world = World(compress=("gzip",))
    first, second = (world.ask(b"Accept-Encoding: gzip") for _ in range(2))
    text = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain\r\n\r\n")
    world.send(text + b"5\r\n01234\r\n")
    world.lose(first)
    world.send(b"5\r\n56789\r\n0\r\n\r\n")
    assert gzip.decompress(unchunked(world.content(second))) == b"0123456789"
    (stored,) = world.shared.store
    assert gzip.decompress(stored.content) == b"0123456789"


def test_when_all_have_left_in_the_middle_the_rest_is_not_wanted(world: World) -> None:
    clients = [world.ask() for _ in range(3)]
    world.send(FRESH + b"01234")
    for client in clients:
        assert world.servers[0] not in world.ended
        world.lose(client)
    assert world.servers[0] in world.ended
    assert world.content(world.ask()) == b""
    assert len(world.servers) == 2
    world.send(FRESH + b"0123456789")


def test_one_who_leaves_alone_ends_its_request(world: World) -> None:
    first = world.ask()
    world.send(FRESH + b"01234")
    world.lose(first)
    assert world.servers[0] in world.ended


def test_when_the_first_one_left_others_wait_for_as_long_as_the_server_may_take(world: World) -> None:
    first, second = world.ask(), world.ask()
    world.send(FRESH + b"01234")
    world.lose(first)
    world.wait(99)
    assert second not in world.ended
    world.wait(2)
    assert second in world.ended
    assert len(world.shared.store) == 0


def test_who_has_a_part_is_cut_off_where_the_rest_does_not_come(world: World) -> None:
    first, second = world.ask(), world.ask()
    world.send(FRESH + b"01234")
    world.lose(world.servers[0])
    assert world.content(second) == b"01234"
    assert {first, second} <= world.ended
    assert len(world.shared.store) == 0


def test_what_turns_out_to_be_too_large_still_goes_to_those_who_took_it(world: World) -> None:
    first, second = world.ask(), world.ask()
    world.send(CHUNKED)
    for _ in range(10):
        world.send(b"3e8\r\n%b\r\n" % (b"x" * 1000))
    world.send(b"0\r\n\r\n")
    assert world.content(first).count(b"x") == world.content(second).count(b"x") == 10_000
    assert len(world.shared.store) == 0


def test_a_reader_that_falls_too_far_behind_is_cut_off(world: World) -> None:
    world.ask()
    slow = world.ask()
    world.send(CHUNKED + b"3e8\r\n%b\r\n" % (b"x" * 1000))
    world._do(world.core.writing_paused(slow, world.now))
    for _ in range(10):
        world.send(b"3e8\r\n%b\r\n" % (b"x" * 1000))
    held = sum(map(len, next(iter(world.shared._fills.values()))._pieces))
    assert held <= 4096
    world._do(world.core.writing_resumed(slow, world.now))
    world.wait(0.0)
    assert slow in world.ended
    world.send(b"0\r\n\r\n")


def test_another_variant_is_asked_for(world: World) -> None:
    world.ask(b"Accept-Language: de")
    other = world.ask(b"Accept-Language: en")
    vary = FRESH.replace(b"\r\n\r\n", b"\r\nVary: Accept-Language\r\n\r\n")
    world.send(vary + b"01234")
    assert len(world.servers) == 2
    world.send(vary + b"xxxxxxxxxx")
    assert world.content(other) == b"xxxxxxxxxx"
    world.send(b"56789", server=0)


def test_one_who_has_it_already_hears_so_at_once(world: World) -> None:
    world.ask()
    has_it = world.ask(b'If-None-Match: "1"')
    world.send(FRESH.replace(b"\r\n\r\n", b'\r\nETag: "1"\r\n\r\n') + b"01234")
    assert world.got[has_it].startswith(b"HTTP/1.1 304 ")
    world.send(b"56789")


def test_a_purge_reaches_what_is_on_its_way(world: World) -> None:
    first = world.ask()
    world.send(FRESH + b"01234")
    world.core._own_filters.purge(Purge("url", "http://a/"))
    world.send(b"56789")
    assert world.content(first) == b"0123456789"
    assert len(world.shared.store) == 0


def test_a_purge_reaches_what_was_asked_for_before_it(world: World) -> None:
    for target, purge in ((b"/1", Purge("host", "a")), (b"/2", Purge("url", "http://b/"))):
        world.ask(target=target)
        world._do(world.core.commanded(purge, world.now))
        world.send(FRESH + b"0123456789")
    world.ask(target=b"/1")
    assert len(world.shared.store) == 1
    world.send(FRESH + b"0123456789")
    assert len(world.shared.store) == 2


@pytest.mark.parametrize("answered", ["before its head", "in the middle"])
def test_what_an_unsafe_request_overtakes_is_not_stored(world: World, answered: str) -> None:
    reader = world.ask()
    if answered == "in the middle":
        world.send(FRESH + b"01234", server=0)
    world.ask(b"Content-Length: 0", method=b"POST")
    world.send(b"HTTP/1.1 204 No Content\r\n\r\n", server=1)
    world.send(b"56789" if answered == "in the middle" else FRESH + b"0123456789", server=0)
    assert world.content(reader) == b"0123456789"
    assert len(world.shared.store) == 0


def test_a_purge_reaches_what_is_being_renewed(world: World) -> None:
    world.ask()
    world.send(b'HTTP/1.1 200 OK\r\nCache-Control: max-age=1\r\nETag: "1"\r\nContent-Length: 1\r\n\r\n1')
    world.wait(2)
    asks = world.ask()
    world._do(world.core.commanded(Purge("host", "a"), world.now))
    world.send(b'HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nETag: "1"\r\n\r\n')
    assert world.content(asks) == b"1"
    assert len(world.shared.store) == 0


def test_many_who_find_it_stale_ask_once(world: World) -> None:
    tagged = FRESH.replace(b"\r\n\r\n", b'\r\nETag: "1"\r\n\r\n')
    world.ask()
    world.send(tagged + b"0123456789")
    world.wait(61)
    servers = len(world.servers)
    clients = [world.ask() for _ in range(4)]
    assert len(world.servers) <= servers + 1
    world.send(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nCache-Control: max-age=60\r\n\r\n')
    assert [world.content(client) for client in clients] == [b"0123456789"] * 4


SWR = FRESH.replace(b"max-age=60", b'max-age=60, stale-while-revalidate=30\r\nETag: "1"')


def test_a_stale_response_serves_while_it_is_renewed_once(world: World) -> None:
    world.ask()
    world.send(SWR + b"0123456789")
    world.wait(61)
    clients = [world.ask() for _ in range(3)]
    assert [world.content(client) for client in clients] == [b"0123456789"] * 3
    assert b"age: 61\r\n" in world.got[clients[0]]
    assert len(world.shared.flights) == 1
    world.send(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nCache-Control: max-age=60\r\n\r\n')
    assert b"age: 0\r\n" in world.got[world.ask()]


def test_nothing_is_renewed_behind_a_client_with_its_credentials(world: World) -> None:
    world.ask()
    world.send(SWR + b"0123456789")
    world.wait(61)
    known = world.ask(b"Authorization: Basic eDp5")
    assert world.got[known] == b""
    world.send(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nCache-Control: max-age=60\r\n\r\n')
    assert world.content(known) == b"0123456789"


def test_what_renews_a_response_may_be_a_new_one(world: World) -> None:
    world.ask()
    world.send(SWR + b"0123456789")
    world.wait(61)
    world.ask()
    world.send(SWR + b"abcde")
    assert world.content(world.ask()) == b"0123456789"
    world.send(b"fghij")
    assert world.content(world.ask()) == b"abcdefghij"


@pytest.mark.parametrize("how", ["lost", "not stored"])
def test_a_renewal_that_fails_leaves_what_is_stored_until_its_time_is_over(world: World, how: str) -> None:
    world.ask()
    world.send(SWR + b"0123456789")
    world.wait(61)
    assert world.content(world.ask()) == b"0123456789"
    if how == "lost":
        while world.shared.flights:
            world.lose(world.servers[-1])
            world.wait(1)
        assert world.content(world.ask()) == b"0123456789"
        while world.shared.flights:
            world.lose(world.servers[-1])
            world.wait(1)
    else:
        world.send(b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 100000\r\n\r\nx")
        assert world.servers[-1] in world.ended
        assert len(world.shared.store) == 0
    world.wait(40)
    asking = world.ask()
    assert world.content(asking) == b""
    world.lose(asking)

"""Connections that drain, each until its time: what that costs for many, and that every time is kept."""

from __future__ import annotations

import time
from types import SimpleNamespace

from proxycore.composition.draining import Draining
from proxycore.composition.engine import Engine
from proxycore.words.ids import ConnId

MANY = 10_000


def make_engine() -> Engine:
    return Engine(now=0.0, wall=1e9, seed=1, entropy=bytes, watch=[])


def expire(engine: Engine, now: float) -> None:
    engine.now = now
    engine.timers.expire(now)


def client(engine: Engine, number: int, ended: list[int]) -> ConnId:
    conn = ConnId(number)

    def end_now() -> None:
        ended.append(number)
        del engine.clients[conn]

    engine.clients[conn] = SimpleNamespace(end_now=end_now)
    return conn


def test_a_drain_of_many_costs_as_much_for_each_as_one_of_few() -> None:
    engine = make_engine()
    draining = Draining(engine)
    for number in range(MANY):
        client(engine, number, [])
    began = time.process_time()
    for conn in engine.clients:
        draining.begin(conn, 30.0)
    draining.begin_all(20.0)
    # Looking through all of them for each took over two seconds.
    assert time.process_time() - began < 1.0


def test_each_connection_ends_at_its_own_time() -> None:
    engine = make_engine()
    draining = Draining(engine)
    ended: list[int] = []
    draining.begin(client(engine, 1, ended), 5.0)
    draining.begin(client(engine, 2, ended), 3.0)
    draining.begin(ConnId(1), 9.0)
    expire(engine, 3.0)
    assert ended == [2]
    draining.begin_all(4.0)
    expire(engine, 4.0)
    assert ended == [2, 1]


def test_a_connection_that_left_takes_no_time_from_the_others() -> None:
    engine = make_engine()
    draining = Draining(engine)
    ended: list[int] = []
    draining.begin(client(engine, 1, ended), 3.0)
    draining.begin(client(engine, 2, ended), 5.0)
    draining.leave(ConnId(1))
    del engine.clients[ConnId(1)]
    expire(engine, 3.0)
    assert ended == []
    expire(engine, 5.0)
    assert ended == [2]


def test_requests_of_our_own_end_at_the_deadline_also_when_a_reload_gave_connections_a_sooner_one() -> None:
    engine = make_engine()
    draining = Draining(engine)
    ended: list[int] = []
    own = SimpleNamespace(is_own=True, outcome=None, drained=lambda: ended.append(100))
    engine.exchanges[100] = own  # type: ignore[assignment]
    draining.begin(client(engine, 1, ended), 3.0)
    draining.begin_all(8.0)
    expire(engine, 3.0)
    assert ended == [1]
    expire(engine, 8.0)
    assert ended == [1, 100]

"""Active checks through the whole core: what is asked, what is believed, and what it takes to be trusted again."""

from __future__ import annotations

from typing import Any

import pytest

from proxycore.config import Config, HealthCheck, Outliers, Retries, Server
from proxycore.words.commands import DrainServer, RemoveServer
from tests.core.worlds import World, config, numbered

ONE, TWO, THREE = (("10.0.0.1", 80), ("10.0.0.2", 80), ("10.0.0.3", 80))
CHECK = HealthCheck(path="/health", interval=1, timeout=0.5, rise=1, fall=1)


def checks_of(world: World, server: str = "10.0.0.1") -> list[bytes]:
    return [head for name, head in world.heads if name == server and b"/health" in head]


def test_each_server_is_asked_about_once_in_an_interval() -> None:
    world = World(numbered(3, health_check=CHECK))
    world.pass_time(60)
    counts = [len(checks_of(world, f"10.0.0.{number}")) for number in (1, 2, 3)]
    assert all(55 <= count <= 90 for count in counts)
    assert len({tuple(head.split(b"\r\n")) for _, head in world.heads}) == 3
    assert not world.open
    world.drain()


def test_the_request_is_as_configured() -> None:
    check = HealthCheck(method="HEAD", path="/up?x=1", host="health.test", headers={"X-Key": "k"}, interval=1)
    world = World(config("http://10.0.0.1:80", health_check=check))
    world.pass_time(1)
    assert world.heads[0] == (
        "10.0.0.1",
        b"HEAD /up?x=1 HTTP/1.1\r\nhost: health.test\r\nconnection: close\r\nx-key: k\r\n"
        b"user-agent: proxycore-health-check\r\n\r\n",
    )


@pytest.mark.parametrize("mode", ["refused", "lost", "silent", "reset", 500])
def test_a_server_that_fails_its_check_is_down_and_up_again_when_it_passes(mode: str | int) -> None:
    world = World(numbered(2, health_check=CHECK))
    world.pass_time(2)
    world.modes[ONE] = mode
    world.pass_time(2)
    assert world.changes == [("10.0.0.1:80", "down")]
    assert set(world.shares(10)) == {"10.0.0.2"}
    del world.modes[ONE]
    world.pass_time(2)
    assert world.changes == [("10.0.0.1:80", "up")]
    assert set(world.shares(10)) == {"10.0.0.1", "10.0.0.2"}
    world.drain()


def test_the_reason_is_told() -> None:
    world = World(numbered(1, health_check=CHECK))
    world.modes[ONE] = 500
    world.pass_time(2)
    (server,) = world.core._upstreams["api"].servers
    assert server.reason == "down: check failed: status 500"
    assert world.ask().status == 503


def test_rise_and_fall_are_counted() -> None:
    world = World(numbered(1, health_check=HealthCheck(interval=4, rise=2, fall=3)))
    world.pass_time(60)
    world.modes[ONE] = 500
    world.heads.clear()
    began = world.now
    while not (changes := world.changes):
        world.pass_time(0.1)
    assert changes == [("10.0.0.1:80", "down")]
    assert len(world.heads) == 3
    assert world.now - began <= 4.4 + 2 * 1.1 + 0.1  # faster while it may be changing


@pytest.mark.parametrize(
    ("wanted", "answer", "state"),
    [
        ("ok", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nall ok", "up"),
        ("ok", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", "up"),
        ("ok", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", "down"),
        ("ok", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "down"),
        ("ok", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 70_000, "down"),
        ("ok", b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nok", "down"),
        (None, b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", "up"),
        (None, b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n", "down"),
        (None, b"SSH-2.0\r\n\r\n", "down"),
    ],
)
def test_what_is_believed(wanted: str | None, answer: bytes, state: str) -> None:
    world = World(numbered(1, health_check=HealthCheck(interval=10, timeout=1, expect_body=wanted)))
    world.modes[ONE] = "silent"
    world.pass_time(0.99)
    (conn,) = world.open
    for position in range(0, len(answer), 1_000):
        if conn in world.open:
            world.tell("data_received", conn, answer[position : position + 1_000])
    (server,) = world.core._upstreams["api"].servers
    assert server.state == state
    assert not world.open


def test_a_connect_is_enough_where_that_is_all_that_is_asked() -> None:
    world = World(numbered(2, health_check=HealthCheck(type="tcp", interval=1, rise=1, fall=1)))
    world.modes = {ONE: "silent", TWO: "refused"}
    world.pass_time(3)
    assert world.changes == [("10.0.0.2:80", "down")]
    assert not world.heads


def test_a_name_is_looked_up_for_a_check() -> None:
    world = World(config(Server(url="http://api.internal:80"), health_check=CHECK))
    world.pass_time(2)
    assert world.changes == [("api.internal:80", "down")]
    world.names["api.internal"] = ["10.0.0.1"]
    world.pass_time(3)
    assert world.changes == [("api.internal:80", "up")]
    world.drain()


def test_a_full_server_is_checked_all_the_same() -> None:
    world = World(config(Server(url="http://10.0.0.1:80", max_connections=1), health_check=CHECK))
    world.modes[ONE] = "silent"
    world.begin()
    world.modes[ONE] = 500
    world.pass_time(2)
    assert world.changes == [("10.0.0.1:80", "down")]


def steady(world: World, seconds: int) -> list[tuple[int, str]]:
    """Twenty requests a second."""
    answers = []
    for turn in range(seconds * 20):
        conn = world.begin(f"/{turn}")
        world.pass_time(0.05)
        answer = world.end(conn)
        answers.append((answer.status, answer.server))
    return answers


def test_a_server_that_was_killed_costs_no_get_its_answer_and_comes_back() -> None:
    """The story that this is all for: probes each second, rise 1, fall 1, and one of three dies of OOM."""
    world = World(numbered(3, health_check=CHECK))
    steady(world, 3)
    dials = world.dials["10.0.0.1"]
    world.kill(ONE)
    during = steady(world, 5)
    assert {status for status, _ in during} == {200}
    assert world.changes == [("10.0.0.1:80", "ejected"), ("10.0.0.1:80", "down")]
    # One request met it, and the rest were checks: it was ejected at once.
    assert world.dials["10.0.0.1"] - dials <= 1 + 5 * 4 * 1.2
    del world.modes[ONE]
    back = steady(world, 3)
    assert {status for status, _ in back} == {200}
    assert 0.25 <= sum(server == "10.0.0.1" for _, server in back[-30:]) / 30 <= 0.4
    assert next(turn for turn, (_, server) in enumerate(back) if server == "10.0.0.1") <= 0.4 * 20
    world.drain()


def test_it_comes_back_slowly_where_that_is_asked_for() -> None:
    world = World(numbered(3, health_check=CHECK, slow_start=10))
    world.kill(ONE)
    steady(world, 2)
    del world.modes[ONE]
    back = steady(world, 13)
    shares = [sum(server == "10.0.0.1" for _, server in back[at : at + 60]) for at in range(20, 260, 60)]
    assert shares == sorted(shares)
    assert shares[0] <= 10
    assert shares[-1] >= 18


def reloaded(check: HealthCheck | None, **settings: Any) -> Config:
    return numbered(2, health_check=check, retries=Retries(max=0), **settings)


def test_a_reload_keeps_verdicts_and_takes_other_checks_over() -> None:
    world = World(reloaded(CHECK))
    world.modes[ONE] = 500
    world.pass_time(2)
    world.tell("reconfigured", reloaded(CHECK, outliers=Outliers(failures=9)), None)
    assert set(world.shares(4)) == {"10.0.0.2"}
    world.heads.clear()
    world.tell("reconfigured", reloaded(HealthCheck(path="/other", interval=1)), None)
    world.pass_time(2)
    assert not checks_of(world)
    assert set(world.shares(4)) == {"10.0.0.2"}
    world.tell("reconfigured", reloaded(None), None)
    assert world.changes[-1] == ("10.0.0.1:80", "up")
    world.heads.clear()
    world.pass_time(5)
    assert not world.heads
    world.drain()


def test_a_server_that_is_removed_is_checked_no_more_and_a_drained_one_is() -> None:
    world = World(numbered(2, health_check=CHECK))
    world.modes[ONE] = "silent"
    world.pass_time(1)
    world.tell("commanded", RemoveServer("api", "10.0.0.1:80"))
    world.tell("commanded", DrainServer("api", "10.0.0.2:80"))
    assert ONE not in world.open.values()
    world.heads.clear()
    world.pass_time(5)
    assert {name for name, _ in world.heads} == {"10.0.0.2"}
    world.drain()


def test_a_drain_in_the_middle_of_checks_leaves_nothing() -> None:
    world = World(numbered(3, health_check=CHECK))
    world.modes = {ONE: "silent", TWO: "lost"}
    world.pass_time(1.0)
    assert world.open
    world.drain()

"""An upstream while it serves: who is taken out, comes back, is added, drained, weighed, and what a reload keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from proxycore.config import ConfigError, Outliers, Retries, Server
from proxycore.policies.balancing.tiers import Candidate
from proxycore.words.commands import (
    AddServer,
    CommandRefused,
    DisableServer,
    DrainServer,
    EnableServer,
    RemoveServer,
    ServerCommand,
    WeighServer,
)
from tests.core.worlds import World, config, numbered

ONE, TWO, THREE = (("10.0.0.1", 80), ("10.0.0.2", 80), ("10.0.0.3", 80))


def command(world: World, *commands: ServerCommand) -> None:
    for ordered in commands:
        world.tell("commanded", ordered)


# ---- outliers


def test_a_server_that_is_killed_is_out_at_once_and_comes_back() -> None:
    world = World(numbered(3, outliers=Outliers(eject=10)))
    assert world.shares(30) == {"10.0.0.1": 10, "10.0.0.2": 10, "10.0.0.3": 10}
    world.kill(ONE)
    dials = world.dials["10.0.0.1"]
    assert set(world.shares(40)) == {"10.0.0.2", "10.0.0.3"}
    assert world.dials["10.0.0.1"] == dials + 1
    assert world.changes == [("10.0.0.1:80", "ejected")]
    world.modes.clear()
    world.pass_time(10)
    assert world.changes == [("10.0.0.1:80", "up")]
    assert world.shares(30)["10.0.0.1"] == 10
    world.drain()


@pytest.mark.parametrize(
    ("mode", "settings"),
    [("reset", {}), (503, {"statuses": [503]}), ("silent", {})],
)
def test_failures_in_a_row_eject(mode: str | int, settings: dict[str, Any]) -> None:
    world = World(
        numbered(2, outliers=Outliers(failures=3, eject=100, **settings), idle_connections=0, retries=Retries(max=0))
    )
    world.modes[ONE] = mode
    for _ in range(6):
        world.begin()
    world.pass_time(31)
    assert ("10.0.0.1:80", "ejected") in world.changes
    assert set(world.shares(10)) == {"10.0.0.2"}


def test_a_success_between_failures_forgives_them() -> None:
    world = World(numbered(2, outliers=Outliers(failures=2, statuses=[500])))
    for _ in range(4):
        world.modes[ONE] = 500
        world.shares(2)
        del world.modes[ONE]
        world.shares(2)
    assert world.changes == []


@pytest.mark.parametrize("end", [("connection_lost", "ECONNRESET"), ("eof_received",)])
def test_the_end_of_a_kept_connection_is_no_failure(end: tuple[str, ...]) -> None:
    world = World(numbered(2, outliers=Outliers(failures=1)))
    world.shares(2)
    world.modes[ONE] = "silent"
    conns = [world.begin(), world.begin()]
    world.modes.clear()
    (kept,) = [conn for conn, address in world.open.items() if address == ONE]
    fact, *error = end
    world.tell(fact, kept, *error)
    assert [world.end(conn).status for conn in conns] == [200, 200]
    assert world.changes == []


def test_no_more_than_the_share_is_ejected_and_with_all_gone_all_are_tried() -> None:
    world = World(numbered(4, outliers=Outliers(eject_share_max=0.5), retries=Retries(max=3)))
    for server in (ONE, TWO, THREE):
        world.modes[server] = "refused"
    assert set(world.shares(20)) == {"10.0.0.4"}
    assert [state for _, state in world.changes] == ["ejected", "ejected"]
    world = World(numbered(2, outliers=Outliers(eject_share_max=1.0)))
    world.modes = {ONE: "refused", TWO: "refused"}
    conn = world.begin()
    world.pass_time(0.1)
    assert world.end(conn).status == 502
    assert [state for _, state in world.changes] == ["ejected", "ejected"]
    world.modes.clear()
    assert set(world.shares(4)) == {"10.0.0.1", "10.0.0.2"}


def test_our_own_want_of_files_is_no_fault_of_a_server() -> None:
    world = World(numbered(2, outliers=Outliers(failures=1)))
    world.modes[ONE] = "lost"
    world.begin()
    (conn,) = world.open
    del world.open[conn]
    world.tell("connect_failed", conn, "EMFILE")
    assert world.changes == []


def test_a_server_that_fails_during_a_drain_leaves_no_clock() -> None:
    world = World(numbered(3, outliers=Outliers(failures=1), retries=Retries(max=0)))
    world.modes[ONE] = "silent"
    for _ in range(3):
        world.begin()
    world.tell("drain_requested", deadline=world.now + 10)
    world.kill(ONE)
    world.pass_time(11)
    assert world.core.ledger().is_empty, str(world.core.ledger())
    assert world.core.is_drained


def test_a_server_that_comes_back_starts_slowly() -> None:
    world = World(numbered(2, outliers=Outliers(eject=10), slow_start=100))
    world.modes[ONE] = "refused"
    world.shares(2)
    world.modes.clear()
    world.pass_time(10)
    shares = []
    for _ in range(11):
        shares.append(world.shares(110)["10.0.0.1"])
        world.pass_time(10)
    assert shares[0] == 10
    assert shares == sorted(shares)
    assert shares[-1] == 55
    world.drain()


# ---- an operator's commands


def test_a_drained_server_finishes_what_it_has_and_takes_nothing_new() -> None:
    world = World(numbered(2))
    world.shares(4)
    world.modes[ONE] = "silent"
    conns = [world.begin(), world.begin()]
    waiting = next(conn for conn in conns if not world.is_answered(conn))
    command(world, DrainServer("api", "10.0.0.1:80"))
    assert list(world.open.values()).count(ONE) == 1  # idle ones have gone
    assert set(world.shares(10)) == {"10.0.0.2"}
    (busy,) = [conn for conn, address in world.open.items() if address == ONE]
    world.tell("data_received", busy, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert world.end(waiting).status == 200
    assert ONE not in world.open.values()
    command(world, EnableServer("api", "10.0.0.1:80"))
    world.modes.clear()
    assert world.shares(10)["10.0.0.1"] == 5
    assert world.changes == [("10.0.0.1:80", "drained"), ("10.0.0.1:80", "up")]


def test_servers_are_added_weighed_and_removed() -> None:
    world = World(numbered(2))
    world.shares(2)
    command(world, AddServer("api", "new", {"url": "http://10.0.0.3:80", "weight": 2}))
    assert world.shares(8)["10.0.0.3"] == 4
    command(world, WeighServer("api", "new", 0), DisableServer("api", "10.0.0.2:80"))
    assert set(world.shares(8)) == {"10.0.0.1"}
    command(world, RemoveServer("api", "10.0.0.1:80"), WeighServer("api", "new", 1))
    assert set(world.shares(8)) == {"10.0.0.3"}
    assert ONE not in world.open.values()
    assert world.changes == [
        ("new", "added"),
        ("10.0.0.2:80", "disabled"),
        ("10.0.0.1:80", "removed"),
    ]


def test_a_command_that_makes_no_sense_changes_nothing() -> None:
    world = World(numbered(2))
    for wrong in (RemoveServer("api", "x"), RemoveServer("x", "x"), WeighServer("api", "10.0.0.1:80", -1)):
        with pytest.raises(CommandRefused):
            command(world, wrong)
        world._facts.clear()
    assert world.shares(4) == {"10.0.0.1": 2, "10.0.0.2": 2}


def test_a_reload_keeps_health_connections_and_commands() -> None:
    world = World(numbered(3, outliers=Outliers(eject=100)))
    world.shares(3)
    world.kill(ONE)
    world.shares(3)
    command(world, DrainServer("api", "10.0.0.2:80"))
    dials = world.dials.copy()
    world.tell("reconfigured", numbered(4, outliers=Outliers(eject=100)), None)
    assert set(world.shares(8)) == {"10.0.0.3", "10.0.0.4"}
    assert world.dials == dials + world.dials.__class__({"10.0.0.4": 1})
    world.pass_time(100)
    world.modes.clear()
    assert "10.0.0.1" in world.shares(8)
    world.drain()


# ---- names


def named(resolve: str = "all") -> World:
    world = World(config(Server(url="http://api.internal:80", resolve=resolve)))  # type: ignore[arg-type]
    world.names["api.internal"] = ["10.0.0.1", "10.0.0.2"]
    world.pass_time(2)
    return world


def test_each_address_of_a_name_is_a_server_and_they_are_followed() -> None:
    world = named()
    assert world.shares(10) == {"10.0.0.1": 5, "10.0.0.2": 5}
    world.names["api.internal"] = ["10.0.0.3", "10.0.0.2"]
    world.pass_time(31)
    assert world.shares(10) == {"10.0.0.2": 5, "10.0.0.3": 5}
    assert ONE not in world.open.values()
    assert world.changes[-2:] == [("api.internal:80@10.0.0.3", "added"), ("api.internal:80@10.0.0.1", "removed")]
    world.names.clear()
    world.pass_time(100)
    assert world.shares(10) == {"10.0.0.2": 5, "10.0.0.3": 5}
    world.drain()


def test_one_address_of_a_name_may_be_out() -> None:
    world = named()
    world.kill(ONE)
    assert set(world.shares(10)) == {"10.0.0.2"}
    assert ("api.internal:80@10.0.0.1", "ejected") in world.changes


def test_commands_for_a_name_are_for_all_its_addresses() -> None:
    world = named()
    command(world, AddServer("api", "other", {"url": "http://10.0.0.9:80"}), DrainServer("api", "api.internal:80"))
    assert set(world.shares(10)) == {"10.0.0.9"}
    command(world, RemoveServer("api", "api.internal:80"))
    lookups = len(world.core._names._names)
    world.pass_time(100)
    assert lookups == 1
    world.drain()


def test_who_comes_before_the_first_answer_waits_for_it() -> None:
    world = World(config(Server(url="http://api.internal:80", resolve="all")))
    world.names["api.internal"] = ["10.0.0.1"]
    assert world.ask().server == "10.0.0.1"


# ---- retries


def test_two_of_three_dead_cost_no_request_its_answer() -> None:
    world = World(numbered(3, outliers=Outliers(eject_share_max=0)), seed=3)
    world.modes = {ONE: "refused", TWO: "refused"}
    assert world.shares(200) == {"10.0.0.3": 200}


def test_refusals_are_followed_by_others_whatever_the_number_but_not_without_end() -> None:
    world = World(numbered(40, outliers=Outliers(eject_share_max=0)))
    world.modes = {(f"10.0.0.{number}", 80): "refused" for number in range(1, 41)}
    conn = world.begin()
    world.pass_time(1)
    assert world.end(conn).status == 502
    assert 16 <= world.dials.total() <= 18


def test_a_retry_of_a_tried_server_comes_after_a_pause() -> None:
    world = World(numbered(1, retries=Retries(max=3)))
    world.modes[ONE] = "reset"
    conn = world.begin()
    assert len(world.heads) == 1
    world.modes.clear()
    world.pass_time(0.025)
    assert world.end(conn).status == 200
    assert len(world.heads) == 2


def test_a_post_is_never_sent_twice() -> None:
    world = World(numbered(3, retries=Retries(max=3, on=["connect", "reset", "timeout"], statuses=["any"])))
    for mode in ("reset", 503, "silent"):
        world.heads.clear()
        world.modes = dict.fromkeys((ONE, TWO, THREE), mode)
        conn = world.begin(method="POST")
        world.pass_time(100)
        assert world.end(conn).status in (502, 503, 504)
        assert len(world.heads) == 1
    world = World(numbered(2, retries=Retries(non_idempotent=True)))
    world.modes[ONE] = "reset"
    assert world.ask(method="POST").status == 200


@pytest.mark.parametrize("mode", ["reset", 503])
def test_when_all_servers_fail_retries_multiply_nothing(mode: str | int) -> None:
    retries = Retries(max=5, statuses=[503], budget=0.2)
    world = World(numbered(3, retries=retries, idle_connections=0, outliers=Outliers(eject_share_max=0)))
    world.modes = dict.fromkeys((ONE, TWO, THREE), mode)
    conns = []
    for _ in range(500):
        conns.append(world.begin())
        world.pass_time(0.01)
    world.pass_time(10)
    for conn in conns:
        assert world.end(conn).status in (502, 503)
    assert 500 < len(world.heads) <= 500 * 1.2 + 10 + 15


def test_a_request_waits_for_a_server_that_is_not_up_yet() -> None:
    world = World(numbered(1, wait_until_up=30))
    world.modes[ONE] = "refused"
    conn = world.begin(method="POST")
    world.pass_time(20)
    assert not world.is_answered(conn)
    world.modes.clear()
    world.pass_time(0.2)
    assert world.end(conn).status == 200
    world.kill(ONE)
    conn = world.begin()
    world.pass_time(29)
    assert not world.is_answered(conn)
    world.pass_time(2)
    assert world.end(conn).status == 502
    leaver = world.begin()
    world.tell("connection_lost", leaver, None)
    world.drain()


class LastByName:
    """A policy of a user's own."""

    def choose(self, servers: Sequence[Candidate], key: bytes | None) -> Candidate | None:
        return max(servers, key=lambda server: server.name)


def test_a_policy_of_the_users_own() -> None:
    world = World(numbered(3, balance=LastByName()))
    assert world.shares(3) == {"10.0.0.3": 3}
    world.kill(THREE)
    assert world.shares(3) == {"10.0.0.2": 3}
    with pytest.raises(ConfigError, match="balance"):
        numbered(1, balance=object())

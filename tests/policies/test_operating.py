"""An operator's orders over a configuration, and over the next one."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.config import Server
from proxycore.policies.operating import NOTHING, Orders, kept, obey, standing
from proxycore.policies.operating import commands as commands_of
from proxycore.words.commands import (
    AddServer,
    CommandRefused,
    DisableServer,
    DrainServer,
    EnableServer,
    RemoveServer,
    ServerCommand,
    WeighServer,
    command_as_dict,
    command_from_dict,
)

CONFIGURED = (Server(name="a", url="http://10.0.0.1:80", weight=3), Server(name="b", url="http://10.0.0.2:80"))


def after(*commands: ServerCommand, configured: Sequence[Server] = CONFIGURED) -> Orders:
    orders = NOTHING
    for command in commands:
        orders = obey(orders, configured, command)
    return orders


def stands(orders: Orders, configured: Sequence[Server] = CONFIGURED) -> list[tuple[str, int, str]]:
    return [(server.name, server.weight, mode) for server, mode in standing(configured, orders)]


def add(name: str, **settings: str | int | bool) -> AddServer:
    return AddServer("api", name, {"url": "http://10.0.0.9:80", **settings})


def test_without_orders_all_is_as_configured() -> None:
    assert stands(NOTHING) == [("a", 3, "enabled"), ("b", 1, "enabled")]


def test_each_command_does_what_it_says() -> None:
    assert stands(after(add("c", weight=2))) == [("a", 3, "enabled"), ("b", 1, "enabled"), ("c", 2, "enabled")]
    assert stands(after(RemoveServer("api", "a"))) == [("b", 1, "enabled")]
    assert stands(after(DrainServer("api", "b")))[1] == ("b", 1, "drained")
    assert stands(after(DisableServer("api", "b")))[1] == ("b", 1, "disabled")
    assert stands(after(WeighServer("api", "a", 0)))[0] == ("a", 0, "enabled")


def test_what_is_taken_back_leaves_nothing() -> None:
    assert after(DrainServer("api", "a"), EnableServer("api", "a")) == NOTHING
    assert after(add("c"), WeighServer("api", "c", 5), RemoveServer("api", "c")) == NOTHING


def test_a_server_that_was_removed_may_be_added_again_elsewhere() -> None:
    orders = after(RemoveServer("api", "a"), add("a"))
    (first, _), _ = standing(CONFIGURED, orders)
    assert (first.name, first.url, first.weight) == ("a", "http://10.0.0.9:80", 1)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (add("a"), 'there is a server "a" already'),
        (add("c", url="ftp://x"), '"c" is no server: .*url'),
        (add("c", colour="red"), '"c" is no server: .*colour'),
        (RemoveServer("api", "c"), 'there is no server "c"; there are: a, b'),
        (DrainServer("api", ""), "there is no server"),
        (WeighServer("api", "a", -1), "0"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_with_a_sentence(command: ServerCommand, reason: str) -> None:
    with pytest.raises(CommandRefused, match=reason):
        after(command)


names = st.sampled_from(["a", "b", "c", "d"])
commands = st.one_of(
    st.builds(add, names, weight=st.integers(0, 9)),
    st.builds(RemoveServer, st.just("api"), names),
    st.builds(DrainServer, st.just("api"), names),
    st.builds(DisableServer, st.just("api"), names),
    st.builds(EnableServer, st.just("api"), names),
    st.builds(WeighServer, st.just("api"), names, st.integers(0, 9)),
)


@given(st.lists(commands, max_size=12))
def test_whatever_is_ordered_names_stay_unique_and_others_are_left_alone(given: list[ServerCommand]) -> None:
    orders = NOTHING
    for command in given:
        before = {server.name: (server, mode) for server, mode in standing(CONFIGURED, orders)}
        try:
            orders = obey(orders, CONFIGURED, command)
        except CommandRefused:
            continue
        now = [server.name for server, _ in standing(CONFIGURED, orders)]
        assert len(now) == len(set(now))
        after = {server.name: (server, mode) for server, mode in standing(CONFIGURED, orders)}
        assert {n: s for n, s in before.items() if n != command.server} == {
            n: s for n, s in after.items() if n != command.server
        }
        assert (command.server in now) is not isinstance(command, RemoveServer)
    again = NOTHING
    for command in commands_of("api", orders, CONFIGURED):
        again = obey(again, CONFIGURED, command_from_dict(json.loads(json.dumps(command_as_dict(command)))))
    assert standing(CONFIGURED, again) == standing(CONFIGURED, orders)


def test_orders_survive_a_reload_while_their_server_does() -> None:
    orders = after(DrainServer("api", "a"), WeighServer("api", "b", 7), add("c"), RemoveServer("api", "b"), add("b"))
    reloaded = (CONFIGURED[0], Server(name="new", url="http://10.0.0.4:80"))
    orders = kept(orders, reloaded, CONFIGURED)
    assert stands(orders, reloaded) == [
        ("a", 3, "drained"),
        ("new", 1, "enabled"),
        ("c", 1, "enabled"),
        ("b", 1, "enabled"),
    ]
    orders = kept(orders, CONFIGURED[1:], reloaded)
    assert stands(orders, CONFIGURED)[0] == ("a", 3, "enabled")

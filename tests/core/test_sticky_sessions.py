"""Sessions that stay with their server, through the whole core."""

from __future__ import annotations

from typing import Any

import pytest

from proxycore.config import Config, ConfigError, Sticky
from proxycore.config.materials import Materials
from proxycore.core import Core
from proxycore.words.commands import DisableServer, DrainServer, RemoveServer
from tests.core.worlds import Answer, World, config, numbered

SECRET = Materials(sticky_secrets={"secret": b"0123456789abcdef"})
ONE = ("10.0.0.1", 80)


def sticky(servers: int = 3, **settings: Any) -> Config:
    return numbered(servers, sticky=Sticky(cookie="SID", secret_file="secret", **settings))


def world(servers: int = 3, **settings: Any) -> World:
    return World(sticky(servers, **settings), SECRET)


def cookie_of(answer: Answer) -> dict[str, str]:
    return {"Cookie": "other=1; " + answer.get("set-cookie").partition(";")[0]}


def test_a_client_stays_where_its_cookie_says_and_the_origin_never_sees_it() -> None:
    here = world()
    first = here.ask(headers={"Cookie": "other=1"})
    assert first.get("cache-control") == "private"
    for _ in range(7):
        answer = here.ask(headers=cookie_of(first))
        assert answer.server == first.server
        assert answer.get("set-cookie") == answer.get("cache-control") == ""
    assert not any(b"SID" in head for _, head in here.heads)
    assert all(b"cookie: other=1\r\n" in head.lower() for _, head in here.heads)
    assert here.ask().server != first.server


def test_it_survives_a_reload_and_a_restart() -> None:
    here = world()
    first = here.ask()
    here.tell("reconfigured", sticky(4), SECRET)
    assert {here.ask(headers=cookie_of(first)).server for _ in range(4)} == {first.server}
    assert {world().ask(headers=cookie_of(first)).server for _ in range(4)} == {first.server}


def test_when_its_server_is_out_it_gets_another_and_keeps_that() -> None:
    here = world()
    first = here.ask()
    here.kill((first.server, 80))
    second = here.ask(headers=cookie_of(first))
    assert second.status == 200
    assert second.server != first.server
    assert {here.ask(headers=cookie_of(second)).server for _ in range(4)} == {second.server}


@pytest.mark.parametrize("how", ["killed", "removed", "disabled"])
def test_or_it_is_refused_where_that_is_asked_for(how: str) -> None:
    here = world(on_failure="error")
    first = here.ask()
    name = f"{first.server}:80"
    if how == "killed":
        here.kill((first.server, 80))
    else:
        here.tell("commanded", {"removed": RemoveServer, "disabled": DisableServer}[how]("api", name))
    assert [here.ask(headers=cookie_of(first)).status for _ in range(3)] in ([503] * 3, [502, 503, 503])
    assert {here.ask().status for _ in range(3)} == {200}


@pytest.mark.parametrize("while_draining", [True, False])
def test_a_drained_server_serves_its_sessions_if_it_shall(while_draining: bool) -> None:
    here = world(while_draining=while_draining)
    first = here.ask()
    here.tell("commanded", DrainServer("api", f"{first.server}:80"))
    assert (here.ask(headers=cookie_of(first)).server == first.server) is while_draining
    assert first.server not in here.shares(6)
    assert (first.server, 80) not in here.open.values()


def test_a_session_waits_for_its_server() -> None:
    servers: Any = [{"url": f"http://10.0.0.{n}:80", "max_connections": 1} for n in (1, 2)]
    config = Config(
        listeners=[{"name": "web", "bind": "192.0.2.10:80"}],
        upstreams={"api": {"servers": servers, "sticky": {"cookie": "SID", "secret_file": "secret"}}},
        routes=[{"upstream": "api"}],
    )
    here = World(config, SECRET)
    first = here.ask()
    address = (first.server, 80)
    here.modes[address] = "silent"
    busy = here.begin(headers=cookie_of(first))
    waits = here.begin(headers=cookie_of(first))
    here.modes.clear()
    (conn,) = [conn for conn, where in here.open.items() if where == address]
    here.tell("data_received", conn, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert here.end(busy).status == 200
    assert here.end(waits).server == first.server


def test_who_waits_for_a_server_that_goes_is_refused_in_time() -> None:
    servers: Any = [{"url": f"http://10.0.0.{n}:80", "max_connections": 1} for n in (1, 2)]
    sticky = Sticky(cookie="SID", secret_file="secret", on_failure="error")
    here = World(config(*servers, sticky=sticky, wait_until_up=2), SECRET)
    first = here.ask()
    here.modes[(first.server, 80)] = "silent"
    busy, waits = here.begin(headers=cookie_of(first)), here.begin(headers=cookie_of(first))
    assert here.core.ledger().queued == 1
    here.tell("commanded", DisableServer("api", f"{first.server}:80"))
    assert here.core.ledger().queued == 0
    here.pass_time(2.5)
    assert here.end(waits).status == 503
    here.tell("connection_lost", busy, None)
    here.drain()


@pytest.mark.parametrize("forged", ["x", "x" * 32, "\xff" * 32, "", "=" * 32, "x" * 8000])
def test_what_was_forged_counts_for_nothing(forged: str) -> None:
    here = world()
    first = here.ask()
    genuine = cookie_of(first)["Cookie"]
    assert here.ask(headers={"Cookie": f"SID={forged}; {genuine}"}).server == first.server
    assert here.ask(headers={"Cookie": f"SID={forged}"}).get("set-cookie").startswith("SID=")
    assert not any(b"SID" in head for _, head in here.heads)


def test_a_secret_that_is_missing_or_short_is_an_error_with_its_place() -> None:
    for materials in (None, Materials(sticky_secrets={"secret": b"short"})):
        with pytest.raises(ConfigError, match=r"upstreams\.api\.sticky\.secret_file: the secret is \d bytes long"):
            Core(sticky(), materials, now=0.0, wall=0.0, seed=0, entropy=bytes)

"""What is made of the reports of several processes."""

from __future__ import annotations

from proxycore.policies.statistics import Statistics
from proxycore.program.admin.reports import NOTHING_ENDED, Board, left_behind, report
from proxycore.testing import Proxy
from proxycore.words.notices import ServerChanged

CACHED = """
[[listeners]]
bind = "127.0.0.1:8080"
[upstreams.api]
servers = ["http://127.0.0.1:3000"]
[caches.main]
size = "1MiB"
object_max = "64KiB"
[[routes]]
upstream = "api"
cache = { store = "main" }
"""


def test_the_caches_of_all_workers_are_shown_as_one() -> None:
    workers = [Proxy.from_toml(CACHED) for _ in range(2)]
    for proxy in workers:
        for _ in range(3):
            journey = proxy.get("http://example.com/a")
            if journey.outbound is not None:
                journey.returns(200, {"Cache-Control": "max-age=60"}, b"one")
    board = Board(version="1", binding="asyncio", started=0.0)
    board.take([report(proxy.core, Statistics(), {"began": 0.0}) for proxy in workers], 1.0)
    (cache,) = board.status()["caches"]
    assert cache["name"] == "main"
    assert (cache["size"], cache["objects"], cache["stored"]) == (2 << 20, 2, 2)
    assert (cache["hits"], cache["misses"], cache["evicted"]) == (4, 2, 0)


GUARDED = """
[[listeners]]
bind = "127.0.0.1:8080"
[upstreams.api]
servers = [{ name = "one", url = "http://127.0.0.1:3000" }]
[rate_limits.few]
key = "client_ip"
rate = "1/h"
[[routes]]
match = { path = "/few" }
rate_limits = "few"
respond = {}
[[routes]]
waf = { mode = "block" }
upstream = "api"
"""


def test_limits_rules_and_turns_of_all_workers_are_added_up() -> None:
    reports = []
    for requests in (2, 3):
        proxy = Proxy.from_toml(GUARDED)
        for _ in range(requests):
            proxy.get("http://a/few")
            proxy.get("http://a/?q=<script>alert(1)</script>").is_refused(403)
        statistics = Statistics()
        statistics.take([ServerChanged(10.0 * requests, "api", "one", "ejected", "a refused connect")] * requests)
        reports.append(report(proxy.core, statistics, {"began": 0.0}))
    board = Board(version="1", binding="asyncio", started=0.0)
    board.take(reports, 1.0)
    status = board.status()
    (limit,) = status["limits"]
    assert (limit["name"], limit["refused"], limit["keys"]) == ("few", 3, 2)
    assert {rule["blocked"] for rule in status["rules"]} == {5}
    assert len({rule["id"] for rule in status["rules"]}) == len(status["rules"])
    assert status["upstreams"][0]["servers"][0]["turns"] == {"ejected": 5}
    assert [change["reason"] for change in status["changes"]] == ["a refused connect"] * 5
    board.take(reports, 2.0)
    (second,) = board.seconds()
    assert (second["requests"], second["connections"], second["exchanges"]) == (0.0, status["connections"], 0)


SAME_NAME = """
[[listeners]]
bind = "127.0.0.1:8080"
[rate_limits.few]
key = "client_ip"
rate = "1/h"
capacity = 16
[concurrency_limits.few]
key = "client_ip"
max_exchanges = 1
[[routes]]
rate_limits = "few"
concurrency_limits = "few"
respond = {}
"""


def test_limits_of_two_kinds_may_have_one_name() -> None:
    proxies = [Proxy.from_toml(SAME_NAME) for _ in range(2)]
    for proxy in proxies:
        for _ in range(3):
            proxy.get("http://a/")
    board = Board(version="1", binding="asyncio", started=0.0)
    board.take([report(proxy.core, Statistics(), {"began": 0.0}) for proxy in proxies], 1.0)
    limits = {limit["kind"]: limit for limit in board.status()["limits"]}
    assert (limits["rate"]["refused"], limits["rate"]["keys"], limits["rate"]["capacity"]) == (4, 2, 32)
    assert (limits["concurrency"]["refused"], limits["concurrency"]["capacity"]) == (0, None)


def test_what_a_process_counted_stays_when_it_ends_and_what_it_held_goes() -> None:
    """Prometheus takes a counter that falls for one that began again at zero, and counts all of it once more."""
    reports = []
    for toml in (GUARDED, CACHED, GUARDED, CACHED):
        proxy = Proxy.from_toml(toml)
        for _ in range(2):
            proxy.get("http://a/few")
            journey = proxy.get("http://a/?q=<script>alert(1)</script>")
            if journey.outbound is not None:
                journey.returns(200, {"Cache-Control": "max-age=60"}, b"one")
        reports.append(report(proxy.core, Statistics(), {"began": 0.0}))
    guarded, cached, *running = reports
    board = Board(version="1", binding="asyncio", started=0.0)
    board.take(reports, 1.0)
    before = board.status()
    board.take(running, 2.0, left_behind(left_behind(NOTHING_ENDED, guarded), cached))
    status = board.status()
    assert status["rules"] == before["rules"]
    (limit,), (cache,) = status["limits"], status["caches"]
    assert (limit["refused"], limit["keys"]) == (2, 1)
    assert (cache["stored"], cache["objects"], cache["size"]) == (2, 1, 1 << 20)
    # A limit that a reload took out isn't shown any more.
    board.take([running[1]], 3.0, left_behind(NOTHING_ENDED, guarded))
    assert board.status()["limits"] == []


def test_an_order_that_reached_every_process_is_one_change() -> None:
    """And what one process met twice stays two, as does what another met later."""
    reports = []
    for walls in ((1.0, 1.5, 9.0), (2.0, 12.0)):
        statistics = Statistics()
        statistics.take([ServerChanged(wall, "api", "one", "drained", "by an operator") for wall in walls])
        reports.append(report(Proxy.from_toml(GUARDED).core, statistics, {"began": 0.0}))
    board = Board(version="1", binding="asyncio", started=0.0)
    board.take(reports, 20.0)
    assert [change["wall"] for change in board.status()["changes"]] == [12.0, 9.0, 2.0]

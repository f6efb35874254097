"""Simulated worlds with filters that wait for all that can be waited for, and answers that are made as they are taken.

Whatever happens meanwhile (clients leave, servers die, a reload, a drain), each wait ends once, each exchange is told
that it finished once, and no source, signal or request of our own outlives the exchange that wanted it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import pytest

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Ask, Fetch, Fetched, Filter, NeedBody, Respond, Signal, Verdict, Wait
from proxycore.config import Upstream
from proxycore.core import Core
from proxycore.testing import Simulation
from proxycore.testing.checkers import Checker
from proxycore.testing.network import Host, Peer
from proxycore.testing.simulator import default_config
from proxycore.words.effects import Effect
from proxycore.words.errors import Outcome
from proxycore.words.messages import UNKNOWN, Headers, RequestHead, ResponseHead

ASKED = ("10.0.9.1", 8080)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
AT_ONCE = 5


class Answering(Peer):
    """A server that answers every request in the same way."""

    def received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            self.link.send(ANSWER)


class Source:
    """`size` bytes in pieces. Every third pull it has nothing yet, and calls at once."""

    def __init__(self, books: Hesitant, size: int) -> None:
        self._books = books
        self._left = size
        self._piece = max(size // 15, 700)
        self._pulls = 0
        self._wake: Callable[[], None] | None = None

    def begin(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._books.open_sources += 1

    def pull(self) -> bytes | None:
        assert self._wake is not None
        self._pulls += 1
        if self._pulls % 3 == 0:
            self._wake()
            return None
        piece = b"s" * min(self._left, self._piece)
        self._left -= len(piece)
        return piece

    def close(self) -> None:
        self._books.open_sources -= 1
        self._wake = None


class Hesitant(Filter):
    """Waits for this or that, by the request's number, and lets everything pass in the end."""

    def __init__(self) -> None:
        self.waiting: dict[int, int] = {}
        self.fetching: set[int] = set()
        self.finished: set[int] = set()
        self.wrong: list[str] = []
        self.open_sources = 0
        self.baton = Signal()
        self.decisions: dict[str, int] = {}

    def on_request(self, exchange: Exchange) -> Verdict | None:
        number = int((exchange.request.headers.get(b"x-nonce") or b"n0")[1:])
        if exchange.request.target.startswith(b"/hello"):
            size = 100_000 if number % 7 == 0 else number * 997 % 5_000
            length = size if number % 2 else UNKNOWN
            return Respond(ResponseHead(200, Headers(), length=length), Source(self, size))
        waits = (self.pass_on, self.ask, self.wait, self.need, self.fetch)
        # Two waits, one after the other, of which one may be for nothing.
        return waits[number % 5](exchange, waits[number // 5 % 5])

    def _begin(self, exchange: Exchange) -> None:
        self.waiting[exchange.id] = self.waiting.get(exchange.id, 0) + 1

    def _go_on(self, kind: str, then: Any, exchange: Exchange, *answer: Any) -> Verdict | None:
        if self.waiting.get(exchange.id, 0) != 1 or exchange.id in self.finished:
            self.wrong.append(f"{exchange!r} went on without a wait")
        self.waiting.pop(exchange.id, None)
        self.fetching.discard(exchange.id)
        self.decisions[kind] = self.decisions.get(kind, 0) + 1
        verdict: Verdict | None = then(exchange, self.pass_on)
        return verdict

    def pass_on(self, exchange: Exchange, then: Any) -> Verdict | None:
        return None

    def ask(self, exchange: Exchange, then: Any) -> Verdict:
        self._begin(exchange)
        go_on: Any = partial(self._go_on, "ask", then)
        return Ask("think", {"number": exchange.id}, go_on, go_on)

    def wait(self, exchange: Exchange, then: Any) -> Verdict:
        self._begin(exchange)
        return Wait(self.baton, 1.0, partial(self._go_on, "wait", then))

    def need(self, exchange: Exchange, then: Any) -> Verdict:
        self._begin(exchange)
        return NeedBody(700, partial(self._go_on, "need", then))

    def fetch(self, exchange: Exchange, then: Any) -> Verdict:
        self._begin(exchange)
        self.fetching.add(exchange.id)
        request = RequestHead(b"GET", b"/asked", b"", Headers())
        return Fetch(
            "asked", request, partial(self._fetched, then), limit=5, otherwise=partial(self._go_on, "not", then)
        )

    def _fetched(self, then: Any, exchange: Exchange, fetched: Fetched) -> Verdict | None:
        if (fetched.content, fetched.is_whole) != (b"hello", True):
            self.wrong.append(f"{exchange!r} was told {fetched!r}")
        return self._go_on("fetched", then, exchange)

    def on_finished(self, exchange: Exchange, outcome: Outcome) -> None:
        if exchange.id in self.finished:
            self.wrong.append(f"{exchange!r} finished twice")
        self.finished.add(exchange.id)
        self.waiting.pop(exchange.id, None)
        self.fetching.discard(exchange.id)
        baton, self.baton = self.baton, Signal()
        if exchange.id % 3:
            baton.fire()
        else:
            baton.abandon()


class Waits(Checker):
    """What the filter saw was right, and nothing is left of it."""

    name = "waits"

    def __init__(self, filter: Hesitant, core: Core) -> None:
        self._filter = filter
        self._core = core

    def fact(self, now: float, name: str, arguments: tuple[Any, ...], effects: Sequence[Effect]) -> None:
        if name in ("connection_lost", "eof_received"):
            exchanges = self._core._engine.exchanges.values()
            under_way = sum(exchange.is_own and exchange.outcome is None for exchange in exchanges)
            wanted = sum(exchange.id in self._filter.fetching and exchange.outcome is None for exchange in exchanges)
            if under_way != wanted:
                self.violate(f"{under_way} requests of our own are under way for {wanted} exchanges")

    def finished(self) -> None:
        if self._filter.wrong:
            self.violate("; ".join(self._filter.wrong))
        if self._filter.waiting or self._filter.open_sources:
            self.violate(f"{self._filter.waiting} still wait, {self._filter.open_sources} sources are open")


def think(arguments: Mapping[str, Any]) -> int:
    number: int = arguments["number"]
    if number % 4 == 0:
        raise ValueError("no idea")
    return number


def run(seed: int) -> Hesitant:
    hesitant = Hesitant()
    config = default_config(Random(seed))
    config = replace(config, upstreams={**config.upstreams, "asked": Upstream(servers=["http://10.0.9.1:8080"])})
    simulation = Simulation(seed, config=config, filters=[hesitant], watch=lambda core: [Waits(hesitant, core)])
    simulation.network.hosts[ASKED] = Host(Answering)
    simulation.network.calls["think"] = think
    # Most calls are answered in time; those of some worlds are not.
    simulation.network.call_delay = (0.0, 0.5, 3.0)[seed % 3]
    simulation.run()
    return hesitant


@pytest.mark.parametrize("seeds", [range(start, start + AT_ONCE) for start in range(0, 40, AT_ONCE)], ids=str)
def test_nothing_false_happens_where_filters_wait(seeds: Sequence[int]) -> None:
    for seed in seeds:
        run(seed)


def test_every_kind_of_wait_has_come_to_its_end() -> None:
    decisions = run(1).decisions
    assert set(decisions) >= {"ask", "wait", "need", "fetched"}

"""Limits in a drawn world: clients that ask too often, in bursts and from many addresses, and what may never pass.

    report = simulate_limits(seed=7)

A filter behind the gate sees what was let through, and when. Checked are, for each key that a client can have: within
every span of time no more than burst + rate x span have passed; of a limit that delays, no two closer than the rate
allows; never more exchanges at once than the limit; nobody is refused for exchanges that are over; and who comes again
when Retry-After said so gets in. Meanwhile clients leave, addresses are pushed out of a small table, the configuration
is reloaded, the timer rings late. A violation raises `SimulationFailed`, by the same seed again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from random import Random

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Filter, Verdict
from proxycore.config import ConcurrencyLimit, Config, Listener, RateLimit, Route, Upstream
from proxycore.core import Core
from proxycore.testing.checkers import Checker, Violation, all_checkers
from proxycore.testing.far_reader import FarReader, Head
from proxycore.testing.network import Host, Network, Peer, Weather
from proxycore.testing.simulator import SimulationFailed
from proxycore.words.errors import Outcome
from proxycore.words.notices import Fault, Notice

START, WALL = 1_000.0, 1_800_000_000.0
SECONDS = 40.0
ADDRESS = ("10.0.0.1", 8080)
MOST = 2
"""Exchanges at once for each client."""

NEAR = 1e-6
"""Seconds, and shares of a request, that are lost in floats."""


@dataclass(frozen=True, slots=True)
class LimitsReport:
    """What a run was: requests that limits let through, refused and delayed, and keys that were pushed out."""

    seed: int
    passed: int
    refused: int
    delayed: int
    pushed_out: int


def network_of(client: str) -> str:
    """Whom a limit by address takes a client for: itself, or the /64 of an IPv6 address."""
    address = ip_address(client)
    return str(IPv6Address(int(address) >> 64 << 64)) if isinstance(address, IPv6Address) else client


class Behind(Filter):
    """Stands behind the limits, and checks what comes through."""

    def __init__(self, config: Config, late: float) -> None:
        self._late = late
        self._limits = dict(config.rate_limits)
        self._passed: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self._under_way: defaultdict[str, set[int]] = defaultdict(set)
        self.count = 0
        self.wrong: list[str] = []

    def on_route(self, exchange: Exchange) -> Verdict | None:
        self.count += 1
        client = network_of(exchange.client.ip)
        for name in exchange.route.name.split(":"):
            if name == "few":
                self._enter(client, exchange.id)
            else:
                self._pass(self._limits[name], client, exchange.now)
        return None

    def _pass(self, limit: RateLimit, client: str, now: float) -> None:
        times = self._passed[limit.name, client]
        per_second = limit.rate.per_second
        if limit.excess == "delay" and times and now - times[-1] < 1 / per_second - self._late - NEAR:
            self.wrong.append(f"{limit.name} let {client} through twice in {now - times[-1]:.3f} s")
        times.append(now)
        for count, first in enumerate(reversed(times), 1):
            if count > limit.burst + per_second * (now - first + self._late) + NEAR:
                self.wrong.append(f"{limit.name} let {client} through {count} times in {now - first:.3f} s")
                return

    def _enter(self, client: str, exchange: int) -> None:
        self._under_way[client].add(exchange)
        if len(self._under_way[client]) > MOST:
            self.wrong.append(f"{client} has {len(self._under_way[client])} exchanges at once")

    def on_finished(self, exchange: Exchange, outcome: Outcome) -> None:
        client = network_of(exchange.client.ip)
        under_way = self._under_way[client]
        under_way.discard(exchange.id)
        if outcome.detail == "concurrency_limits.few" and not under_way:
            self.wrong.append(f"{client} was refused and has nothing going on")


class Books(Checker):
    """What the filter saw was right, and nothing is counted in the end."""

    name = "limits"

    def __init__(self, core: Core, behind: Behind) -> None:
        self._core = core
        self._behind = behind

    def check(self) -> None:
        if self._behind.wrong:
            self.violate(self._behind.wrong[0])

    def finished(self) -> None:
        self.check()
        for view in self._core.overview().limits:
            if view.kind == "concurrency" and view.keys:
                self.violate(f"{view.keys} keys of {view.name} are counted, and nothing goes on")
            if view.capacity is not None and view.keys > view.capacity:
                self.violate(f"{view.name} remembers {view.keys} keys of {view.capacity}")


class OriginConnection(Peer):
    """Answers each request, at once or after a while."""

    def __init__(self, network: Network, random: Random) -> None:
        self._network = network
        self._random = random
        self._reader = FarReader("request")

    def received(self, data: bytes) -> None:
        for event in self._reader.feed(data):
            if isinstance(event, Head):
                self._network.after(self._random.choice((0.0, 0.05, 0.6)), self._answer)

    def _answer(self) -> None:
        if not self.link.is_lost:
            self.link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def ended(self) -> None:
        self.link.close()


class Client(Peer):
    """Asks for one path some times, each time when `gap` has passed since the last answer; may leave in between."""

    def __init__(self, network: Network, path: bytes, times: int, gap: float, leaves_after: float | None) -> None:
        self._network = network
        self._request = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path
        self._left = times
        self._gap = gap
        self._leaves_after = leaves_after
        self._reader = FarReader("response")

    def opened(self) -> None:
        self.ask()
        if self._leaves_after is not None:
            self._network.after(self._leaves_after, self._leave)

    def ask(self) -> None:
        if self.link.is_lost:
            return
        if not self._left:
            return self.link.close()
        self._left -= 1
        self._reader.methods.append(b"GET")
        self.link.send(self._request)

    def _leave(self) -> None:
        if not self.link.is_lost:
            self.link.reset()

    def received(self, data: bytes) -> None:
        for event in self._reader.feed(data):
            if isinstance(event, Head):
                self.answered(event)

    def answered(self, head: Head) -> None:
        self._network.after(self._gap, self.ask)

    def ended(self) -> None:
        self.link.close()


class Patient(Client):
    """Alone at its address, asks until it is refused, and again when it was told to: then it must get in."""

    def __init__(self, network: Network, path: bytes, times: int) -> None:
        super().__init__(network, path, times, 0.0, None)
        self._was_told = False

    def answered(self, head: Head) -> None:
        _, status, _ = head.start
        if status == b"429" and self._was_told:
            raise Violation("limits", f"{self.link!r} came when Retry-After said, and was refused")
        self._was_told = status == b"429"
        self._network.after(float(head.get(b"retry-after") or b"0"), self.ask)


def _configuration(random: Random) -> Config:
    capacity = random.choice((16, 100_000))

    def limit(name: str) -> RateLimit:
        rate = random.choice(("2/s", "7/s", "30/m", "1/s"))
        return RateLimit(name=name, rate=rate, burst=random.randint(2, 6), capacity=capacity)

    return Config(
        listeners=[Listener(name="web", bind="192.0.2.10:80")],
        upstreams={"api": Upstream(servers=["http://10.0.0.1:8080"])},
        rate_limits={"strict": limit("strict"), "paced": replace(limit("paced"), excess="delay")},
        concurrency_limits={"few": ConcurrencyLimit(name="few", max_exchanges=MOST)},
        routes=[
            Route(name="strict", match={"path": "/strict"}, upstream="api", rate_limits=["strict"]),
            Route(name="paced", match={"path": "/paced"}, upstream="api", rate_limits=["paced"]),
            Route(name="paced:strict", match={"path": "/both"}, upstream="api", rate_limits=["paced", "strict"]),
            Route(name="few", upstream="api", concurrency_limits=["few"]),
        ],
    )


class LimitsSimulation:
    """One run; `simulate_limits` is the usual way to have it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random = Random(seed)
        self.config = _configuration(random)
        late = random.choice((0.0, 0.0, 0.02))
        self.behind = Behind(self.config, late)
        self.core = Core(
            self.config,
            now=START,
            wall=WALL,
            seed=1,
            entropy=Random(seed).randbytes,
            filters=[self.behind],
            watch=("faults", "exchanges"),
        )
        self._books = Books(self.core, self.behind)
        self.checkers = [*all_checkers(self.core), self._books]
        latency = random.choice(((0.0, 0.0), (0.001, 0.05)))
        self.network = Network(
            self.core,
            random=random,
            weather=Weather(latency=latency, cut=random.choice(("whole", "some")), late=late),
            now=START,
            observers=[checker for checker in self.checkers if type(checker).fact is not Checker.fact],
            on_notices=self._noticed,
        )
        self.network.hosts[ADDRESS] = Host(lambda: OriginConnection(self.network, random))
        self.network.listen(["web"])

    def _noticed(self, notices: Sequence[Notice]) -> None:
        self._books.check()
        for checker in self.checkers:
            noticed = getattr(checker, "noticed", None)
            if noticed is not None:
                noticed(notices)
        for notice in notices:
            if isinstance(notice, Fault):
                raise Violation("faults", notice.traceback)

    def run(self) -> LimitsReport:
        """Raises SimulationFailed."""
        network = self.network
        try:
            self._plan()
            network.run(START + SECONDS)
            network.tell("drain_requested", network.now + 30.0)
            network.run(network.now + 200.0)
            for checker in self.checkers:
                checker.finished()
        except Violation as violation:
            raise SimulationFailed(self.seed, violation, "(proxycore.testing.limits_simulation)") from violation
        views = self.core.overview().limits
        refused, delayed = sum(view.refused for view in views), sum(view.delayed for view in views)
        return LimitsReport(self.seed, self.behind.count, refused, delayed, sum(view.pushed_out for view in views))

    def _plan(self) -> None:
        random, network = self.random, self.network
        for _ in range(80):
            network.after(random.uniform(0.0, SECONDS), self._connect)
        for _ in range(3):
            network.after(random.uniform(0.0, SECONDS), network.reload, self.config)
            network.after(random.uniform(0.0, SECONDS), self._flood)
        if self.config.rate_limits["strict"].capacity > 16:
            for number in range(3):
                patient = Patient(network, b"/strict", 30)
                network.connect("web", patient, (f"198.51.100.{number}", 50_000))

    def _flood(self) -> None:
        """One who has used up what there was for it comes again when many strangers have come after it."""
        path = self.random.choice((b"/strict", b"/paced"))
        for moment in (0.0, 0.4):
            for port in range(8):
                self._come(moment, "192.0.2.9", 40_000 + port, path)
        for number in range(60):
            self._come(0.2, f"203.0.113.{number}", 40_000, path)

    def _come(self, after: float, address: str, port: int, path: bytes) -> None:
        def connect() -> None:
            self.network.connect("web", Client(self.network, path, 1, 0.0, None), (address, port))

        self.network.after(after, connect)

    def _connect(self) -> None:
        """Several connections of one client, at once."""
        random, network = self.random, self.network
        address = self._draw_address()
        path = random.choice((b"/strict", b"/paced", b"/both", b"/few"))
        for port in range(random.choice((1, 3, 8))):
            leaves_after = random.uniform(0.0, 2.0) if random.random() < 0.3 else None
            client = Client(network, path, random.choice((1, 5)), random.choice((0.0, 0.1)), leaves_after)
            network.connect("web", client, (address, 40_000 + port))

    def _draw_address(self) -> str:
        """One of a few that come often, of many that come once, or of a customer with all of a /64."""
        random = self.random
        draw = random.random()
        if draw < 0.5:
            return f"192.0.2.{random.randint(1, 3)}"
        if draw < 0.75:
            return f"2001:db8:0:{random.randint(1, 2)}::{random.getrandbits(16):x}"
        return f"203.0.113.{random.randint(1, 200)}"


def simulate_limits(seed: int) -> LimitsReport:
    """One run by a seed. Raises SimulationFailed."""
    return LimitsSimulation(seed).run()

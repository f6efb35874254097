"""The whole core under a drawn world: clients, origins, weather, faults, an operator, all from one seed.

A run has three phases. In the *safety* phase whatever the seed's features allow goes wrong, while
connections come and go: nothing false may happen. In the *liveness* phase the world is whole again: every
request must be answered, by its origin. Then the proxy is drained while requests are in flight: those
are answered, and at the end nothing is left.

    report = simulate(seed=7)
    report = simulate(seed=7, config=my_config, exchanges=1_000)

A violation raises `SimulationFailed`, which says how to have the same run again.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from random import Random
from typing import Any

from proxycore.composition.filters import Filter
from proxycore.config import (
    Config,
    HealthCheck,
    Limits,
    Listener,
    Outliers,
    Retries,
    Route,
    Server,
    Timeouts,
    Upstream,
)
from proxycore.config.sections import options_of
from proxycore.core import Core
from proxycore.testing.checkers import Checker, Endings, Faults, Violation, all_checkers
from proxycore.testing.network import Network, Weather
from proxycore.testing.players import Client, OriginHost, Stage
from proxycore.testing.server_checkers import Ejections, Servers, Storms
from proxycore.testing.traffic import FEATURES, Playwright, Scene, Target
from proxycore.testing.verdicts import Verdicts
from proxycore.words.commands import CommandRefused, DisableServer, DrainServer, EnableServer, WeighServer
from proxycore.words.effects import Effect
from proxycore.words.ids import Address
from proxycore.words.notices import ALL_KINDS, Notice

TAIL = 40
"""Facts that a failure shows at most."""

PATIENCE = 600.0
"""Virtual seconds, beside all the clocks of the configuration, in which every client must have come to its end."""

BEFORE, AFTER = ("10.9.0.1", "10.9.0.2"), ("10.9.1.1", "10.9.1.2")
"""What every name stands for, until the world has healed, and from then on."""

TROUBLED = 20.0
"""Seconds over which connections come, and trouble does."""

REFRESHED = 40.0
"""Seconds after which nothing is left of trouble: no dead connection in a pool, no address that a name has no more."""

START = 1_000.0
WALL = 1_800_000_000.0


class SimulationFailed(AssertionError):
    """A rule was broken. `seed` has the run again, `checker` names who noticed."""

    def __init__(self, seed: int, violation: Violation, story: str, options: str = "") -> None:
        super().__init__(
            f"seed {seed}: {violation}\n\n{story}\n\nHave it again: "
            f'python -c "from proxycore.testing import simulate; simulate({seed}{options})"'
        )
        self.seed = seed
        self.checker = violation.checker


@dataclass(frozen=True, slots=True)
class Report:
    """What a run was. `digest` is over every fact and effect: equal runs have equal ones."""

    seed: int
    features: tuple[str, ...]
    exchanges: int
    facts: int
    seconds: float
    statuses: dict[int, int]
    causes: dict[str, int]
    digest: str


class Script:
    """Writes each fact with its effects down; `digest` is over all of them."""

    def __init__(self, *, with_digest: bool) -> None:
        self.lines: list[tuple[float, str, tuple[Any, ...], Sequence[Effect]]] = []
        self._hash = hashlib.blake2b(digest_size=16) if with_digest else None

    def fact(self, now: float, name: str, arguments: tuple[Any, ...], effects: Sequence[Effect]) -> None:
        self.lines.append((now, name, arguments, effects))
        if self._hash is not None:
            self._hash.update(repr((now, name, arguments, list(effects))).encode())

    @property
    def digest(self) -> str:
        return "" if self._hash is None else self._hash.hexdigest()

    def about(self, mark: str) -> str:
        """The last facts of the connections on which `mark` was seen; without any, the last facts of all."""
        conns = {conn for line in self.lines if mark and f"n={mark} " in repr(line) for conn in _conns_of(line)}
        chosen = [line for line in self.lines if not conns or conns & set(_conns_of(line))]
        return "\n".join(map(_line, chosen[-TAIL:]))


def _conns_of(line: tuple[float, str, tuple[Any, ...], Sequence[Effect]]) -> list[int]:
    """The connections that a line speaks of."""
    _, _, arguments, effects = line
    told = [arguments[0]] if arguments and isinstance(arguments[0], int) else []
    return [*told, *(effect.conn for effect in effects if hasattr(effect, "conn"))]


def _line(line: tuple[float, str, tuple[Any, ...], Sequence[Effect]]) -> str:
    now, name, arguments, effects = line
    return f"{now:.6f} {name}({', '.join(map(_short, arguments))}) -> [{', '.join(map(_short, effects))}]"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:120]} ... {text[-40:]}"


def default_config(random: Random) -> Config:
    """A configuration with small limits and short timeouts: what is rare at work happens often here."""
    timeouts = Timeouts(
        connect=2, request_head=3, request_body=5, response_head=5, response_body=5, send=5, idle=10, tunnel=20,
        linger=1, call=2, drain=15,
    )  # fmt: skip
    limits = Limits(request_body=250_000, buffer=random.choice((1_024, 4_096, 65_536)), connections=60)
    retries = Retries(max=random.choice((0, 1, 2)), replay_body=random.choice((0, 4_096, 65_536)))
    balance: Any = random.choice(("round_robin", "least_connections", "random_two"))
    return Config(
        http1=random.choice(("auto", "h11")) if random.random() < 0.1 else "auto",
        timeouts=timeouts,
        limits=limits,
        listeners=[
            Listener(name="web", bind="192.0.2.10:80"),
            Listener(name="patient", bind="192.0.2.10:81", half_close="finish"),
            Listener(name="passing", bind="192.0.2.10:82"),
        ],
        upstreams={
            "api": Upstream(
                balance=balance,
                servers=["http://10.0.0.1:8080", "http://10.0.0.2:8080", Server(url="http://10.0.0.3:8080", weight=2)],
                idle_connections=random.choice((0, 1, 8)),
                idle_timeout=random.choice((1, 8)),
                retries=retries,
            ),
            "narrow": Upstream(
                servers=[Server(url="http://10.0.1.1:8080", max_connections=random.choice((1, 2)))],
                queue_timeout=random.choice((1, 600)),
                queue=100,
            ),
            "named": Upstream(servers=["http://origin.internal:9000"], retries=retries),
        },
        routes=[
            Route(match={"path": "/hello"}, respond={"status": 200, "body": "hello\n"}),
            Route(match={"path": "/moved"}, redirect={"path": "/api/x"}),
            Route(match={"path": "/narrow/*"}, upstream="narrow"),
            Route(match={"path": "/named/*"}, upstream="named", websocket={}),
            Route(match={"path": "/api/*"}, upstream="api"),
        ],
    )


SERVER_TROUBLE = ("flapping", "half_out", "all_out", "kills", "operator")
"""Features that are never drawn: trouble of servers, for a configuration that can tell which are well."""


def servers_config(random: Random) -> Config:
    """A configuration whose servers are checked, ejected, started slowly and retried, with any policy."""
    retries = Retries(max=random.choice((1, 2)), statuses=random.choice(((), (503,))), budget=0.3)
    balance: Any = random.choice(
        ("round_robin", "least_connections", "random", "random_two", "least_time", "client_ip_hash", "uri_hash")
    )
    by_http = HealthCheck(path="/health", interval=1, timeout=3, rise=1, fall=1)
    return replace(
        default_config(random),
        upstreams={
            "api": Upstream(
                balance=balance,
                servers=[*(f"http://10.0.0.{number}:8080" for number in range(1, 5)),
                         Server(url="http://10.0.0.9:8080", backup=True)],
                idle_connections=random.choice((0, 0, 8)),
                idle_timeout=random.choice((1, 8)),
                retries=retries,
                health_check=random.choice((None, HealthCheck(type="tcp"), by_http)),
                outliers=Outliers(
                    failures=random.choice((1, 3)), eject=1, eject_max=4, eject_share_max=random.choice((0.5, 1.0))
                ),
                slow_start=random.choice((0.0, 5.0)),
            ),
            "named": Upstream(
                servers=[Server(url="http://origin.internal:9000", resolve="all")],
                idle_connections=0,
                retries=retries,
                outliers=Outliers(eject=1, eject_max=4),
            ),
        },
        routes=[
            Route(match={"path": "/named/*"}, upstream="named"),
            Route(match={"path": "/api/*"}, upstream="api"),
        ],
    )  # fmt: skip


def troubled_servers(seed: int) -> dict[str, Any]:
    """Options for a run in which servers have all kinds of trouble: `simulate(7, **troubled_servers(7))`."""
    random = Random(seed)
    others = ("content", "cut", "deaths", "silence", "idle_closes", "resets", "outages", "reload", "pipelining", "dns")
    features = [feature for feature in (*others, *SERVER_TROUBLE) if random.random() < 0.5]
    return {"config": servers_config(random), "features": features}


def _answers_to_checks(config: Config) -> dict[bytes, bytes]:
    """What a server that is well answers to its health checks, by path."""
    answers = {}
    for upstream in config.upstreams.values():
        check = upstream.health_check
        if check is not None:
            body = (check.expect_body or "").encode()
            head = f"HTTP/1.1 {check.expect[0].first} Checked\r\nContent-Length: {len(body)}\r\n\r\n"
            answers[check.path.encode()] = head.encode() + body
    return answers


def targets_of(config: Config) -> list[Target]:
    """A target for each listener and route: the host and path that the route's match gives first."""
    found = []
    for listener in config.listeners:
        for route in config.routes:
            match = route.match
            if match.listener and listener.name not in match.listener:
                continue
            host = match.host[0].replace("*", "a") if match.host else "example.test"
            path = match.path[0].replace("/*", "/thing") if match.path else "/thing"
            found.append(Target(listener.name, host.encode(), path.encode(), route.upstream is None))
    return found


class Simulation:
    """One run. `simulate` is the usual way to have it; a test may also take it in steps.

    `config` is drawn where none is given, and so are the `features` (of `traffic.FEATURES`) and the
    `targets` of requests, by the routes. `exchanges` is about how many there are. With `http2` most clients
    speak it, and listeners that don't are made to (that needs the extra `h2`). `watch` gives checkers of
    your own; `core` makes what is driven, such as a `Recorder`.
    """

    def __init__(
        self,
        seed: int,
        *,
        config: Config | None = None,
        targets: Sequence[Target] | None = None,
        features: Iterable[str] | None = None,
        filters: Sequence[Filter] = (),
        exchanges: int = 150,
        http2: bool = False,
        with_digest: bool = False,
        watch: Callable[[Core], Sequence[Checker]] = lambda core: (),
        core: Callable[..., Any] = Core,
    ) -> None:
        self.seed = seed
        random = Random(seed)
        chosen = tuple(features) if features is not None else tuple(f for f in FEATURES if random.random() < 0.5)
        self.features = frozenset(chosen)
        self._chosen = chosen
        self.random = random
        self.config = config or default_config(random)
        self._client = Client
        self._options = ", http2=True" if http2 else ""
        if http2:
            from proxycore.testing.stream_client import StreamClient

            self._client = StreamClient
            both = [replace(listener, protocols=("http/1.1", "h2c")) for listener in self.config.listeners]
            self.config = replace(self.config, listeners=both)
        self.exchanges = exchanges
        self.core: Core = core(
            self.config,
            now=START,
            wall=WALL,
            seed=random.getrandbits(32),
            entropy=Random(seed ^ 0x5EED).randbytes,
            filters=filters,
            watch=ALL_KINDS,
        )
        self.script = Script(with_digest=with_digest)
        self.endings = Endings(self.core)
        self.checkers = [c for c in all_checkers(self.core) if not isinstance(c, Endings)]
        self.checkers += [Servers(self.core), Ejections(self.core), Storms(self.core), self.endings, *watch(self.core)]
        self.network = Network(
            self.core,
            random=random,
            weather=self._draw_weather(),
            now=START,
            observers=[self.script, *(c for c in self.checkers if type(c).fact is not Checker.fact)],
            on_notices=self._noticed,
        )
        self.stage = Stage(self.network, random, self.config.timeouts.idle)
        self.verdicts = Verdicts(self.stage, self.config, self.endings)
        self.checkers.append(self.verdicts)
        self.playwright = Playwright(
            random, self.features, targets or targets_of(self.config), self.config.limits.request_body
        )
        clocks = (getattr(self.config.timeouts, option.attribute) for option in options_of(type(self.config.timeouts)))
        self._patience = PATIENCE + sum(clock for clock in clocks if clock != inf)
        self._faults = [c for c in self.checkers if isinstance(c, Faults)]
        self.stage.checks = _answers_to_checks(self.config)
        self._build_origins()
        self.network.listen([listener.name for listener in self.config.listeners])

    def _draw_weather(self) -> Weather:
        random = self.random
        latency = random.choice(((0.0, 0.0), (0.001, 0.02), (0.05, 0.3)))
        return Weather(
            latency=latency,
            bandwidth=random.choice((inf, inf, 1_000_000.0)),
            room=random.choice(((262_144, 262_144), (4_096, 20_000), (1_000, 3_000))),
            cut=random.choice(("whole", "whole", "some", "mixed")),
            late=random.choice((0.0, 0.001, 0.05)),
        )

    def _build_origins(self) -> None:
        network, random = self.network, self.random
        idle = random.choice((0.3, 1.0, 5.0)) if "idle_closes" in self.features else 0.0
        for upstream in self.config.upstreams.values():
            for server in upstream.servers:
                address: Address = server.address
                if server.parsed_url.needs_lookup:
                    for ip in (*BEFORE, *AFTER):
                        network.hosts[ip, server.port] = OriginHost(self.stage, server.name, idle=idle)
                    network.names[server.host] = BEFORE
                else:
                    network.hosts[address] = OriginHost(self.stage, server.name, idle=idle)

    def _noticed(self, notices: Sequence[Notice]) -> None:
        for checker in self._faults:
            checker.noticed(notices)
        self.endings.noticed(notices)
        self.verdicts.noticed(notices)

    # ---- the run

    def run(self) -> Report:
        """All phases. Raises SimulationFailed."""
        try:
            self.safety()
            self.liveness()
            self.drain()
        except Violation as violation:
            raise SimulationFailed(self.seed, violation, self.story(violation), self._options) from violation
        except Exception as error:
            fault = Violation("exceptions", f"{type(error).__name__}: {error}")
            raise SimulationFailed(self.seed, fault, self.story(fault), self._options) from error
        ended = self.endings.ended.values()
        return Report(
            self.seed,
            self._chosen,
            len(self.endings.ended),
            len(self.script.lines),
            self.network.now - START,
            dict(sorted(Counter(notice.status for notice in ended).items())),
            dict(sorted(Counter(notice.outcome.cause for notice in ended).items())),
            self.script.digest,
        )

    def safety(self) -> None:
        """Connections come and go, and things go wrong."""
        self._arrive(self.exchanges * 2 // 3, calm=False, spread=TROUBLED)
        self._plan_trouble()
        self._until_over()

    def liveness(self) -> None:
        """The world is whole: every request is answered by its origin."""
        self._heal()
        self.network.run(self.network.now + REFRESHED)
        self._move_names()
        self._arrive(self.exchanges // 3, calm=True, spread=self.random.choice((1.0, TROUBLED)))
        self._until_over()

    def drain(self) -> None:
        """Requests are in flight when the proxy is told to end: they are answered, and nothing is left."""
        network = self.network
        self._arrive(6, calm=True, spread=0.5)
        if "upgrade" in self.features:
            for _ in range(4):
                self._connect_websocket()
        network.run(network.now + self.random.uniform(0.2, 1.0))
        self.verdicts.draining()
        network.tell("drain_requested", network.now + self.config.timeouts.drain)
        self._until_over()
        network.run(network.now + self._patience)
        for checker in self.checkers:
            checker.finished()

    # ---- clients

    def _arrive(self, exchanges: int, *, calm: bool, spread: float) -> None:
        """Plan connections until that many requests are on their way."""
        random, planned = self.random, 0
        while planned < exchanges:
            length = random.choice((1, 1, 2, 5, 12))
            planned += length
            self.network.after(random.uniform(0.0, spread), self._connect, length, calm)

    def _connect(self, length: int, calm: bool) -> None:
        random, playwright = self.random, self.playwright
        listener, scenes = playwright.play(length, calm=calm)
        depth = random.randint(2, 6) if playwright.has("pipelining", 0.5) else 1
        patience = random.choice((0.0, 0.5, 60.0))
        if self._client is not Client and random.random() < 0.8:
            client = self._client(self.stage, scenes, depth=random.choice((2, 5, 50)), patience=patience)
        else:
            client = Client(self.stage, scenes, depth=depth, patience=patience)
        link = self.network.connect(listener, client)
        if playwright.has("slow_readers", 0.2):
            link.read_rate = (
                random.choice((20_000.0, 100_000.0)) if calm else random.choice((1_000.0, 5_000.0, 50_000.0))
            )
        self.verdicts.connected(client, listener)
        if playwright.has("leaving", 0.2, calm):
            self.network.after(random.choice((0.01, 0.3, 2.0)) * random.random(), client.leave, _how(random))
        if playwright.has("deaf_clients", 0.15, calm):
            self.network.after(random.random(), client.go_deaf)
        if playwright.has("half_close", 0.15, calm):
            self.network.after(random.random(), client.leave, "eof")

    def _connect_websocket(self) -> None:
        listener, scenes = self.playwright.websocket()
        client = Client(self.stage, scenes, depth=1, patience=0.0)
        self.network.connect(listener, client)
        self.verdicts.connected(client, listener)

    def _until_over(self) -> None:
        clients, network = self.stage.clients, self.network
        end = network.now + self._patience
        network.run(network.now + 20.0)
        network.run(end, stop=lambda: all(client.is_done for client in clients))
        hanging = [client for client in clients if not client.is_done]
        if hanging:
            scenes = "\n".join(str(scene) for client in hanging[:3] for scene in client.scenes)
            raise Violation("liveness", f"{len(hanging)} clients wait for ever, such as {hanging[0].link!r}:\n{scenes}")
        self.verdicts.judge()

    # ---- trouble

    def _plan_trouble(self) -> None:
        network, random = self.network, self.random
        for feature, trouble, times in (
            ("resets", self._reset_something, 6),
            ("outages", self._take_out, 4),
            ("dns", self._lose_name, 2),
            ("files", self._run_out_of_files, 2),
            ("reload", self._reload, 3),
            ("flapping", self._flap, 2),
            ("half_out", partial(self._take_many_out, 0.5), 2),
            ("all_out", partial(self._take_many_out, 1.0), 1),
            ("kills", self._kill, 3),
            ("operator", self._order, 6),
        ):
            if feature in self.features:
                for _ in range(times):
                    network.after(random.uniform(0.0, TROUBLED), trouble)

    def _heal(self) -> None:
        self.network.out_of_files = False
        for host in self.network.hosts.values():
            host.mode = "up"
        for origin in self.stage.origins:
            origin.idle = 0.0
        for name in self.network.names:
            self.network.names[name] = AFTER
        self.verdicts.healed()

    def _move_names(self) -> None:
        """The addresses that names had before are dead now; a proxy that looked again doesn't mind."""
        for address, host in self.network.hosts.items():
            if address[0] in BEFORE:
                host.mode = "refused"

    def _reset_something(self) -> None:
        random = self.random
        if random.random() < 0.5 and self.stage.connections:
            random.choice(list(self.stage.connections.values())).disturb()
            # A request may be on its way to it.
            self.verdicts.trouble(self.network.now - 1.0, self.network.now, aftermath=1.0)
            return
        clients = [client for client in self.stage.clients if not client.is_over]
        if clients:
            random.choice(clients).leave("reset")

    def _take_out(self) -> None:
        host = self.random.choice(list(self.network.hosts.values()))
        host.mode = self.random.choice(("refused", "silent", "unreachable"))
        self._trouble_for(self.random.choice((0.5, 3.0, 10.0)), lambda: setattr(host, "mode", "up"))

    def _flap(self) -> None:
        """A server goes and comes, again and again."""
        host = self.random.choice(list(self.network.hosts.values()))
        for turn in range(6):
            mode = self.random.choice(("refused", "silent")) if turn % 2 == 0 else "up"
            self.network.after(turn * self.random.uniform(0.1, 1.5), setattr, host, "mode", mode)
        self._trouble_for(9.0, lambda: setattr(host, "mode", "up"))

    def _take_many_out(self, share: float) -> None:
        hosts = list(self.network.hosts.values())
        out = self.random.sample(hosts, max(1, int(share * len(hosts))))
        for host in out:
            host.mode = self.random.choice(("refused", "silent", "unreachable"))

        def end() -> None:
            for host in out:
                host.mode = "up"

        self._trouble_for(self.random.choice((1.0, 5.0)), end)

    def _kill(self) -> None:
        """A server's process is killed, and started again a while later: its connections end, and nobody listens."""
        host = self.random.choice(self.stage.origins)
        host.mode = "refused"
        for connection in [one for one in self.stage.connections.values() if one.host is host]:
            connection.disturb()
        self._trouble_for(self.random.choice((0.5, 3.0)), lambda: setattr(host, "mode", "up"))

    def _order(self) -> None:
        """An operator's command: whatever is done to one server, others are left to serve."""
        random = self.random
        upstream = random.choice([u for u in self.config.upstreams.values() if len(u.servers) > 1])
        name = upstream.servers[0].name
        drain, disable, weigh = DrainServer(upstream.name, name), DisableServer(upstream.name, name), WeighServer
        command = random.choice((drain, disable, weigh(upstream.name, name, random.choice((0, 5)))))
        with suppress(CommandRefused):
            # A reload may have taken it out.
            self.network.tell("commanded", command)
            self.network.after(2.0, self._take_back, upstream.name, name)

    def _take_back(self, upstream: str, name: str) -> None:
        with suppress(CommandRefused):
            self.network.tell("commanded", EnableServer(upstream, name))

    def _lose_name(self) -> None:
        for name in self.network.names:
            self.network.names[name] = self.random.choice(("EAI_NONAME", "EAI_AGAIN", None))
        self._trouble_for(5.0, self._find_name)

    def _find_name(self) -> None:
        for name in self.network.names:
            if self.network.names[name] != AFTER:
                self.network.names[name] = BEFORE

    def _run_out_of_files(self) -> None:
        self.network.out_of_files = True
        self._trouble_for(0.5, lambda: setattr(self.network, "out_of_files", False))

    def _trouble_for(self, seconds: float, end: Callable[[], None]) -> None:
        self.verdicts.trouble(self.network.now, self.network.now + seconds)
        self.network.after(seconds, end)

    def _reload(self) -> None:
        """Another configuration: a listener and a server come or go."""
        random, config = self.random, self.config
        listeners, upstreams = list(config.listeners), dict(config.upstreams)
        if random.random() < 0.5 and len(listeners) > 1:
            listeners.pop()
        name, upstream = random.choice(list(upstreams.items()))
        if random.random() < 0.5 and len(upstream.servers) > 1:
            upstreams[name] = replace(upstream, servers=upstream.servers[1:])
        self.verdicts.reloaded({listener.name for listener in listeners})
        self.network.reload(replace(config, listeners=listeners, upstreams=upstreams))

    def story(self, violation: Violation) -> str:
        """What led to where the run stands: the facts about the scene that the violation names, if it names one."""
        nonce = re.search(r"\bn[0-9]+\b", violation.text)
        lines = self.script.about(nonce[0] if nonce else "")
        return f"features: {', '.join(self._chosen)}\nthe facts that led there:\n{lines}"


def _how(random: Random) -> str:
    return random.choice(("close", "reset"))


def simulate(seed: int, **options: Any) -> Report:
    """Run one simulation; `options` are those of `Simulation`. Raises SimulationFailed."""
    return Simulation(seed, **options).run()


__all__ = ["Report", "Scene", "Simulation", "SimulationFailed", "default_config", "simulate", "targets_of"]

"""Starts proxies for one scenario and measures them in turns, A B C A B C, so that a slow minute hurts all alike.

What is kept of a round is the CPU that the proxy used, beside what the load generator counted. On a
shared machine other programs take CPU too: what neither the proxy nor the load used of either core
is `foreign`, and a round with too much of it is measured again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness import load, probe, processes
from harness.origin import Certificate, Origin
from harness.scenarios import Bench, Scenario
from peer.peer import Peer, Run


@dataclass(frozen=True)
class Round:
    """One measured burst: the load's numbers, and what both cores did meanwhile (shares of one core)."""

    burst: load.Burst
    proxy_cpu_seconds: float
    proxy_core: float
    load_core: float
    foreign: float
    rss_mib: float

    @property
    def per_second(self) -> float:
        return self.burst.requests / self.burst.seconds

    @property
    def cpu_us(self) -> float:
        """The proxy's CPU for each request: user, system, children."""
        return self.proxy_cpu_seconds / max(self.burst.requests, 1) * 1e6


@dataclass(frozen=True)
class Idle:
    """Memory before and after `asked` connections were opened and used once; `alive` of them stayed."""

    asked: int
    alive: int
    rss_before_mib: float
    rss_after_mib: float
    pss_before_mib: float
    pss_after_mib: float
    open_seconds: float

    @property
    def kib_per_connection(self) -> float:
        return (self.pss_after_mib - self.pss_before_mib) * 1024 / max(self.alive, 1)


@dataclass
class Measured:
    """What came of one scenario, by proxy."""

    rounds: dict[str, list[Round]] = field(default_factory=dict)
    idle: dict[str, Idle] = field(default_factory=dict)
    behaviour: dict[str, probe.Findings] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_json(cls, saved: dict[str, dict[str, object]]) -> Measured:
        def round_of(values: dict[str, object]) -> Round:
            return Round(**{**values, "burst": load.Burst(**values["burst"])})  # type: ignore[arg-type]

        return cls(
            {name: [round_of(one) for one in rounds] for name, rounds in saved["rounds"].items()},  # type: ignore[attr-defined]
            {name: Idle(**values) for name, values in saved["idle"].items()},  # type: ignore[arg-type]
            saved["behaviour"],  # type: ignore[arg-type]
            saved["failures"],  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class Settings:
    """How a run measures; the rest of the command line is about what."""

    rounds: int
    seconds: int
    warm_up: int
    max_foreign: float
    retries: int
    proxy_core: int
    installs: Path


class Target:
    """One proxy, started for one scenario."""

    def __init__(self, peer: Peer, scenario: Scenario, laboratory: Laboratory) -> None:
        self.peer = peer
        self.scenario = scenario
        self.laboratory = laboratory
        self.process: processes.Process | None = None
        origin = laboratory.origin
        upstream_port = origin.websocket_port if scenario.generator == "websocket" else origin.port
        self.run = Run(
            mode=scenario.mode,
            port=processes.free_port() if peer.command else upstream_port,
            upstream_port=upstream_port,
            directory=laboratory.bench.scratch / f"{scenario.name}-{peer.name}",
            installs=laboratory.settings.installs,
            certificate=laboratory.certificate,
        )

    def start(self) -> probe.Findings:
        """Start it and see that it forwards; its habits are the findings."""
        if not self.peer.command:
            return {}
        self.run.directory.mkdir()
        core = self.laboratory.settings.proxy_core
        environment = {**self.run.environment, **self.peer.environment}
        self.process = processes.Process(self.peer.command(self.run), core, self.run.directory / "log", environment)
        self.process.wait_until_listening(self.run.port, tls=self.run.tls)
        if self.scenario.generator == "websocket":
            return {}
        expected = self.laboratory.origin.expected[self.scenario.path]
        probe.check_body(self.run.port, self.scenario.path, expected, tls=self.run.tls)
        if self.scenario.mode == "cache" or not self.peer.client_keepalive:
            return {}
        return probe.behaviour(self.run.port, tls=self.run.tls)

    def stop(self) -> None:
        if self.process:
            self.process.stop()

    def clocks(self) -> list[float]:
        """Wall clock, and CPU seconds: the proxy, the load and origin, and everything on either core."""
        return [
            time.monotonic(),
            processes.cpu_seconds(self.process.pid) if self.process else 0.0,
            self.laboratory.origin.cpu_seconds() + processes.reaped_cpu_seconds(),
            processes.core_busy_seconds(self.laboratory.settings.proxy_core),
            processes.core_busy_seconds(self.laboratory.bench.load_core),
        ]

    def measure(self, warm_up: int, seconds: int) -> Round:
        self.scenario.burst(self.run.port, warm_up, self.laboratory.bench)
        before = self.clocks()
        burst = self.scenario.burst(self.run.port, seconds, self.laboratory.bench)
        wall, cpu, load_cpu, proxy_core, load_core = (
            now - then for now, then in zip(self.clocks(), before, strict=True)
        )
        return Round(
            burst,
            proxy_cpu_seconds=cpu,
            proxy_core=cpu / wall,
            load_core=load_core / wall,
            foreign=max(proxy_core - cpu, load_core - load_cpu, 0.0) / wall,
            rss_mib=processes.memory_kib(self.process.pid)[0] / 1024 if self.process else 0.0,
        )

    def measure_undisturbed(self, *, first: bool) -> Round:
        """Measure again while other programs took too much of either core; keep the calmest try."""
        settings = self.laboratory.settings
        tries: list[Round] = []
        while len(tries) <= settings.retries:
            tries.append(self.measure(settings.warm_up * (2 if first else 1), settings.seconds))
            if tries[-1].foreign <= settings.max_foreign:
                break
        return min(tries, key=lambda tried: tried.foreign)

    def measure_idle(self) -> Idle:
        """Open the scenario's connections, use each once, and see what they cost while nothing happens."""
        assert self.process, "the origin alone has no memory to measure"
        load.wrk(f"http://127.0.0.1:{self.run.port}/small", self.laboratory.bench.load_core, 1, 4)
        time.sleep(0.5)
        rss_before, pss_before = processes.memory_kib(self.process.pid)
        began = time.monotonic()
        connections = load.IdleConnections(self.run.port, self.scenario.connections)
        try:
            opened = time.monotonic() - began
            time.sleep(1)
            alive = connections.alive()
            rss, pss = processes.memory_kib(self.process.pid)
        finally:
            connections.close()
        return Idle(
            self.scenario.connections, alive, rss_before / 1024, rss / 1024, pss_before / 1024, pss / 1024, opened
        )


class Laboratory:
    """The origin and the settings that all measurements of a run share."""

    def __init__(self, settings: Settings, bench: Bench, origin: Origin, certificate: Certificate) -> None:
        self.settings = settings
        self.bench = bench
        self.origin = origin
        self.certificate = certificate

    def measure(self, scenario: Scenario, peers: Sequence[Peer], measured: Measured) -> None:
        """Add this scenario's rounds to `measured`."""
        if scenario.generator == "idle":
            for peer in peers:
                for target in self._start([peer] if peer.command else [], scenario, measured):
                    self._measure_idle(target, measured)
            return
        targets = self._start(peers, scenario, measured)
        try:
            for number in range(self.settings.rounds):
                for target in list(targets):
                    if not self._measure_round(target, number, measured):
                        targets.remove(target)
        finally:
            for target in targets:
                target.stop()

    def check(self, scenario: Scenario, peers: Sequence[Peer]) -> Measured:
        """Start each proxy, ask what it does, and measure nothing."""
        measured = Measured()
        for target in self._start(peers, scenario, measured):
            target.stop()
        return measured

    def _start(self, peers: Sequence[Peer], scenario: Scenario, measured: Measured) -> list[Target]:
        """The proxies that can do this scenario, started; the reason of each that did not is noted."""
        targets: list[Target] = []
        for peer in peers:
            if not peer.can_do(scenario):
                continue
            if reason := peer.missing(self.settings.installs):
                measured.failures[peer.name] = reason
                continue
            target = Target(peer, scenario, self)
            targets.append(target)
            try:
                measured.behaviour[peer.name] = target.start()
            except Exception as error:
                targets.remove(target)
                target.stop()
                self._note_failure(peer, error, measured)
            except BaseException:  # interrupted: leave nothing running
                for started in targets:
                    started.stop()
                raise
        return targets

    def _measure_round(self, target: Target, number: int, measured: Measured) -> bool:
        name = target.peer.name
        try:
            best = target.measure_undisturbed(first=number == 0)
        except Exception as error:
            self._note_failure(target.peer, error, measured)
            target.stop()
            return False
        measured.rounds.setdefault(name, []).append(best)
        tell(
            f"{target.scenario.name} {number + 1}/{self.settings.rounds} {name}: {best.per_second:,.0f}/s, "
            f"{best.cpu_us:.1f} us, others took {best.foreign:.0%}"
        )
        return True

    def _measure_idle(self, target: Target, measured: Measured) -> None:
        name = target.peer.name
        try:
            measured.idle[name] = target.measure_idle()
            tell(f"idle {name}: {measured.idle[name].kib_per_connection:.1f} KiB")
        except Exception as error:
            self._note_failure(target.peer, error, measured)
        finally:
            target.stop()

    def _note_failure(self, peer: Peer, error: Exception, measured: Measured) -> None:
        measured.failures[peer.name] = f"{type(error).__name__}: {error}"
        tell(f"{peer.name}: {measured.failures[peer.name]}")


def tell(progress: str) -> None:
    print(f"  {progress}", file=sys.stderr, flush=True)

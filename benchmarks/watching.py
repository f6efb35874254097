"""What it costs to watch an exchange: microseconds of CPU on top of one that nobody watches, without sockets.

    python benchmarks/watching.py

Each kind of watching serves the same exchanges in turn, many short rounds of each, and the fastest round of each
counts: so what else the machine does shows as little as can be.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from os import urandom

from proxycore.config import Config, Limits, Listener, Logging, Route, Upstream
from proxycore.core import Core
from proxycore.policies.statistics import COUNTED_KINDS, Statistics
from proxycore.program.access_log import AccessLog
from proxycore.program.admin.reports import Board, report
from proxycore.words.effects import Connect
from proxycore.words.ids import ConnId
from proxycore.words.notices import Kind, Notice

ROUNDS, EXCHANGES, WAKE_UP = 60, 1_280, 64
"""How often each is measured, over how many exchanges; as many of them as clients end in one wake-up of the driver."""

REQUEST = b"GET /small HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: wrk\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 128\r\n\r\n" + b"x" * 128
CLIENT, LOCAL, SERVER = ("192.0.2.1", 50_000), ("127.0.0.1", 8080), ("127.0.0.1", 3000)

Observer = Callable[[Sequence[Notice]], None]


class Watched:
    """A core with one client and one server, and whoever is told of what they do."""

    def __init__(self, watch: Collection[Kind] = (), observe: Observer | None = None, **logging: object) -> None:
        config = Config(
            limits=Limits(requests_per_connection="off"),
            listeners=[Listener(name="web", bind="127.0.0.1:0")],
            upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"])},
            routes=[Route(name="all", upstream="api")],
            logging=Logging(**logging),  # type: ignore[arg-type]
        )
        self.core = Core(config, now=1.0, wall=1e9, seed=1, entropy=urandom, watch=watch)
        self.fastest = float("inf")
        self._observe = observe
        self._client = self.core.next_conn_id()
        self.core.accepted(self._client, "web", CLIENT, LOCAL, 1.0)
        self._server = self._dial()

    def _dial(self) -> ConnId:
        (dial,) = self.core.data_received(self._client, REQUEST, 1.0)
        assert isinstance(dial, Connect)
        self.core.connected(dial.conn, LOCAL, SERVER, 1.0)
        self.core.data_received(dial.conn, RESPONSE, 1.0)
        return dial.conn

    def measure(self) -> None:
        """One round."""
        core, client, server = self.core, self._client, self._server
        begun = time.process_time()
        for _ in range(EXCHANGES // WAKE_UP):
            for _ in range(WAKE_UP):
                core.data_received(client, REQUEST, 1.001)
                core.data_received(server, RESPONSE, 1.002)
            notices = core.take_notices(1.003)
            if notices and self._observe is not None:
                self._observe(notices)
        self.fastest = min(self.fastest, (time.process_time() - begun) / EXCHANGES * 1e6)


def main() -> None:
    statistics = Statistics()
    with tempfile.TemporaryDirectory(prefix="proxycore-") as folder:
        log = AccessLog(Logging(access_file=f"{folder}/access.log"))
        kinds = {
            "nothing": Watched(),
            "dashboard and metrics": Watched(COUNTED_KINDS, statistics.take),
            "JSON access log": Watched(["exchanges"], log.observe),
            "trace context": Watched(trace_context=True),
        }
        for _ in range(ROUNDS):
            for watched in kinds.values():
                watched.measure()
        log.close()
    plain = kinds.pop("nothing").fastest
    print(f"an exchange that nobody watches: {plain:.1f} us")
    for name, watched in kinds.items():
        print(f"{name}: {watched.fastest - plain:+.1f} us")
    print(f"the dashboard's report of a second: {_report(kinds['dashboard and metrics'].core, statistics):.0f} us")


def _report(core: Core, statistics: Statistics) -> float:
    board = Board(version="1", binding="asyncio", started=0.0)
    fastest = float("inf")
    for second in range(100):
        begun = time.process_time()
        board.take([report(core, statistics, {"began": 0.0})], float(second))
        board.status()
        fastest = min(fastest, time.process_time() - begun)
    return fastest * 1e6


if __name__ == "__main__":
    main()

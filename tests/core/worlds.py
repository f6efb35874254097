"""A core among servers that answer as a test says, at once and in memory. Time passes when the test lets it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from random import Random
from typing import Any

from proxycore.config import Config, Listener, Route, Server, Upstream
from proxycore.config.materials import Materials
from proxycore.core import Core
from proxycore.words.effects import Abort, Cancel, Close, Connect, Effect, Resolve, Send
from proxycore.words.ids import Address, ConnId
from proxycore.words.notices import Fault, Notice, ServerChanged

HERE = ("192.0.2.10", 80)


def config(*servers: Server | str, **settings: Any) -> Config:
    """One listener, one route, one upstream `api` with these servers and `settings`."""
    return Config(
        listeners=[Listener(name="web", bind="192.0.2.10:80")],
        upstreams={"api": Upstream(servers=servers, **settings)},
        routes=[Route(upstream="api")],
    )


def numbered(count: int, **settings: Any) -> Config:
    """Servers `10.0.0.1:80` to `10.0.0.count:80`."""
    return config(*(f"http://10.0.0.{number}:80" for number in range(1, count + 1)), **settings)


class Answer:
    """What a client got: `server` is the address that answered, empty where the proxy did."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(start.split(" ")[1])
        self.fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        self.server = self.get("x-server")

    def get(self, name: str) -> str:
        return next((value for field, value in self.fields if field == name), "")


class World:
    """Servers by address: `modes` says how one that isn't simply well behaves.

    `refused`, `silent` (accepts, never answers), `lost` (nothing comes back), `reset` (on the request), or a status.
    `heads` are the requests that each got. Names resolve to `names`. No notice may be of a fault.
    """

    def __init__(self, config: Config, materials: Materials | None = None, *, seed: int = 1) -> None:
        self.now = 0.0
        self.modes: dict[Address, str | int] = {}
        self.names: dict[str, list[str]] = {}
        self.heads: list[tuple[str, bytes]] = []
        self.dials: Counter[str] = Counter()
        self.open: dict[ConnId, Address] = {}
        self.notices: list[Notice] = []
        self._received: dict[ConnId, bytes] = {}
        self._facts: deque[tuple[Any, ...]] = deque()
        entropy = Random(seed).randbytes
        self.core = Core(
            config, materials, now=0.0, wall=1.8e9, seed=seed, entropy=entropy, watch=("servers", "exchanges", "faults")
        )
        self.pass_time(0.0)

    # ---- what a test does

    def ask(self, target: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request on a connection of its own, and have the answer, which must come at once."""
        conn = self.begin(target, method, headers)
        return self.end(conn)

    def begin(self, target: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None) -> ConnId:
        """Send a request, and don't look at the answer yet."""
        conn = self.core.next_conn_id()
        self._received[conn] = b""
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self.tell("accepted", conn, "web", ("192.0.2.1", 50_000), HERE)
        self.tell("data_received", conn, f"{method} {target} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n".encode())
        return conn

    def end(self, conn: ConnId) -> Answer:
        """The answer on a connection, which is closed then."""
        answer = Answer(self._received.pop(conn))
        self.tell("connection_lost", conn, None)
        return answer

    def is_answered(self, conn: ConnId) -> bool:
        return bool(self._received[conn])

    def shares(self, requests: int) -> Counter[str]:
        """Which server answered how many of so many requests."""
        return Counter(self.ask(f"/{number}").server for number in range(requests))

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.core.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.tell("timer_expired")
        self.now = end

    @property
    def changes(self) -> list[tuple[str, str]]:
        """What was told of servers, since the last look."""
        told = [(n.server, n.state) for n in self.notices if isinstance(n, ServerChanged)]
        self.notices.clear()
        return told

    def drain(self) -> None:
        """Nothing may be left of anything."""
        self.tell("drain_requested", deadline=self.now + 1.0)
        self.pass_time(1.0)
        assert self.core.ledger().is_empty, str(self.core.ledger())
        assert self.core.next_deadline() is None

    def tell(self, fact: str, *arguments: Any, **options: Any) -> None:
        """Tell a fact, and those that arise from its effects."""
        self._facts.append((fact, arguments, options))
        while self._facts:
            fact, arguments, options = self._facts.popleft()
            for effect in getattr(self.core, fact)(*arguments, now=self.now, **options):
                self._perform(effect)
        self.notices += self.core.take_notices(self.now)
        faults = [notice for notice in self.notices if isinstance(notice, Fault)]
        assert not faults, faults[0].traceback

    # ---- what the world does

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Connect):
            self._dialled(effect)
        elif isinstance(effect, Send):
            self._sent(effect)
        elif isinstance(effect, Resolve):
            found = self.names.get(effect.host)
            if found is None:
                self._facts.append(("resolve_failed", (effect.lookup, "EAI_NONAME"), {}))
            else:
                self._facts.append(("resolved", (effect.lookup, found), {}))
        elif isinstance(effect, Cancel):
            raise AssertionError(effect)
        elif isinstance(effect, Close | Abort):
            address = self.open.pop(effect.conn, None)
            if address is not None and self.modes.get(address) == "lost" and isinstance(effect, Abort):
                self._facts.append(("connect_failed", (effect.conn, "ECANCELED"), {}))
            else:
                self._facts.append(("connection_lost", (effect.conn, None), {}))

    def _dialled(self, dial: Connect) -> None:
        self.dials[_name(dial.address)] += 1
        mode = self.modes.get(dial.address)
        if mode == "refused":
            self._facts.append(("connect_failed", (dial.conn, "ECONNREFUSED"), {}))
            return
        self.open[dial.conn] = dial.address
        if mode != "lost":
            self._facts.append(("connected", (dial.conn, HERE, dial.address), {}))

    def _sent(self, send: Send) -> None:
        if send.conn in self._received:
            self._received[send.conn] += bytes(send.data)
            return
        address = self.open.get(send.conn)
        if address is None or b" HTTP/1.1\r\n" not in send.data:
            return
        self.heads.append((_name(address), bytes(send.data)))
        mode = self.modes.get(address, 200)
        if mode == "reset":
            del self.open[send.conn]
            self._facts.append(("connection_lost", (send.conn, "ECONNRESET"), {}))
        elif isinstance(mode, int):
            answer = f"HTTP/1.1 {mode} X\r\nX-Server: {_name(address)}\r\nContent-Length: 2\r\n\r\nok"
            self._facts.append(("data_received", (send.conn, answer.encode()), {}))

    def kill(self, address: Address) -> None:
        """The server's process is killed: its connections end, and nobody listens."""
        self.modes[address] = "refused"
        for conn in [conn for conn, where in self.open.items() if where == address]:
            del self.open[conn]
            self.tell("connection_lost", conn, "ECONNRESET")


def _name(address: Address) -> str:
    return address if isinstance(address, str) else address[0]

"""Deliberate bugs, each a small named patch of the source, and a way to run the simulator with one of them.

A mutant is loaded as a fresh copy of the package beside the real one: `Mutated` makes the imports of a
`with` block find the patched source, and puts everything back behind it. Layers below the patched module
are shared, since nothing in them imports what is above.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

PACKAGE = Path(__file__).resolve().parents[2] / "proxycore"
LAYERS = ("words", "config", "mechanisms", "policies", "composition", "filters", "core", "testing")


@dataclass(frozen=True)
class Mutant:
    """A bug: in `module`, `old` (which stands there exactly once) reads `new`.

    `caught_by` are the checkers that may notice it first; `seed` is one that shows it, tried before the others.
    `servers` has servers with all kinds of trouble (`troubled_servers`).
    """

    name: str
    module: str
    old: str
    new: str
    caught_by: tuple[str, ...]
    seed: int = 0
    servers: bool = False

    @property
    def path(self) -> Path:
        return PACKAGE / f"{self.module.replace('.', '/')}.py"

    def patched(self) -> str:
        """The source with the bug in it. Raises ValueError if it doesn't fit the source any more."""
        source = self.path.read_text()
        if source.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.old!r} stands {source.count(self.old)} times in {self.path.name}")
        return source.replace(self.old, self.new)


class Mutated(MetaPathFinder):
    """Within the `with` block, `proxycore` is a copy with the mutant in it; the block's value is its `testing`."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._target = f"proxycore.{mutant.module}"
        self._hidden: dict[str, ModuleType] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._target:
            return None
        return spec_from_file_location(fullname, self._mutant.path, loader=_Loader(fullname, self._mutant))

    def __enter__(self) -> ModuleType:
        self._hidden = self._take_out()
        sys.meta_path.insert(0, self)
        try:
            return importlib.import_module("proxycore.testing.simulator")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *exception: object) -> None:
        sys.meta_path.remove(self)
        self._take_out()
        sys.modules.update(self._hidden)

    def _take_out(self) -> dict[str, ModuleType]:
        """Take every module of ours that may know of the mutant out of the interpreter's table."""
        first = LAYERS.index(self._mutant.module.partition(".")[0])
        below = {f"proxycore.{layer}" for layer in LAYERS[:first]}
        ours = [name for name in sys.modules if name.partition(".")[0] == "proxycore"]
        return {name: sys.modules.pop(name) for name in ours if ".".join(name.split(".")[:2]) not in below}


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, mutant: Mutant) -> None:
        super().__init__(fullname, str(mutant.path))
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._mutant.patched(), str(self._mutant.path), "exec")


def first_catch(mutant: Mutant, seeds: Sequence[int], **options: bool) -> tuple[int, str, str] | None:
    """The first of these seeds that catches it, the checker that did, and what it said; None if none does."""
    with Mutated(mutant) as simulator:
        for seed in seeds:
            try:
                troubles = simulator.troubled_servers(seed) if mutant.servers else {}
                simulator.simulate(seed, **troubles, **options)
            except simulator.SimulationFailed as failure:
                return seed, failure.checker, str(failure).partition("\n\n")[0]
    return None


MUTANTS = (
    Mutant(
        "a client that leaves doesn't end the work upstream",
        "composition.attempts",
        "        if lease is not None:\n            lease.cancel()",
        "        pass",
        ("books",),
        seed=1,
    ),
    Mutant(
        "a lease is not given back when the exchange is cancelled",
        "composition.upstream",
        '        """The exchange is over before the response was: nobody can use what would still come."""\n'
        "        self._end_lease()",
        '        """."""\n        self.exchange = None',
        ("books",),
        seed=1,
    ),
    Mutant(
        "a cancelled connection goes back to the idle ones",
        "composition.upstream",
        "        self._end_lease()\n        self._abort()\n        self.server.upstream.serve_queue()",
        "        self._end_lease()\n        self._keep()\n        self.server.upstream.serve_queue()",
        ("conversation", "faults", "verdicts", "books"),
        seed=1,
    ),
    Mutant(
        "a response that was cut by an end of file passes for whole",
        "mechanisms.http1.reader",
        '        raise Malformed("the response was cut short", "http_response_incomplete")',
        "        return self._end_content(End())",
        ("conversation", "verdicts", "faults", "liveness"),
    ),
    Mutant(
        "content until the close is whole when the connection is reset",
        "composition.upstream",
        '        self.wire.connection_lost(error)\n        if self.state == "idle":\n',
        "        self.wire.connection_lost(error)\n"
        '        if self.state == "leased":\n'
        "            self.eof_received()\n"
        '        if self.state == "idle":\n',
        ("conversation", "handles", "faults", "verdicts"),
        seed=1,
    ),
    Mutant(
        "a POST is sent again",
        "policies.retrying",
        '        return "it was sent and its method isn\'t idempotent"',
        '        return ""',
        ("verdicts", "faults"),
        seed=7,
    ),
    Mutant(
        "a connection with a byte too many is used again",
        "composition.upstream",
        "if has_left and self._persistent and not self._reader.unread else 0.0",
        "if has_left and self._persistent else 0.0",
        ("verdicts", "conversation", "faults"),
        seed=39,
    ),
    Mutant(
        "the idle clock of a kept connection runs on while it is used",
        "composition.upstream",
        "        self._clock.clear()\n        self.exchange = exchange",
        "        self.exchange = exchange",
        ("verdicts",),
        seed=50,
    ),
    Mutant(
        "a client whose request filled the buffer is read no more",
        "composition.downstream",
        "        self._pace = None\n        self.wire.open(BUFFER | HELD)",
        "        self._pace = None\n        self.wire.open(BUFFER)",
        ("verdicts", "gates"),
        seed=7,
    ),
    Mutant(
        "a kept connection stays shut for the sake of a slow client that has gone",
        "composition.upstream",
        "            self.wire.open(PEER_SLOW)\n        has_left",
        "            pass\n        has_left",
        ("verdicts", "gates"),
        seed=106,
    ),
    Mutant(
        "a slow client doesn't stop its server",
        "composition.exchange",
        "            lease.pause_response()\n\n    def downstream_unblocked",
        "            pass\n\n    def downstream_unblocked",
        ("backlogs",),
        seed=7,
    ),
    Mutant(
        "a slow server doesn't stop its client",
        "composition.exchange",
        "    def upstream_blocked(self) -> None:\n        self.downstream.hold_request()",
        "    def upstream_blocked(self) -> None:\n        pass",
        ("backlogs",),
        seed=4,
    ),
    Mutant(
        "a gate opens though another reason holds",
        "mechanisms.gates",
        "        return not after",
        "        return True",
        ("gates", "backlogs"),
        seed=16,
    ),
    Mutant(
        "a gate that is shut for one reason is shut again for another",
        "mechanisms.gates",
        "        return not before",
        "        return True",
        ("gates",),
        seed=55,
    ),
    Mutant(
        "an exchange is over before its last bytes have left",
        "composition.exchange",
        "        if outlet.is_waiting and not outlet.lost:",
        "        if False:",
        ("verdicts",),
    ),
    Mutant(
        "what is written comes behind the close",
        "composition.engine",
        "            sends += effects",
        "            sends = effects + sends",
        ("handles", "verdicts"),
    ),
    Mutant(
        "the size of a chunk is written in decimal",
        "mechanisms.http1.writer",
        '    return (b"%x\\r\\n" % len(data), data, _CRLF)',
        '    return (b"%d\\r\\n" % len(data), data, _CRLF)',
        ("conversation",),
    ),
    Mutant(
        "trailers are dropped",
        "composition.exchange",
        "        self.downstream.send_end(trailers)",
        "        self.downstream.send_end([])",
        ("conversation",),
    ),
    Mutant(
        "content is expected after the head of a response to HEAD",
        "mechanisms.http1.strict",
        '    elif status == 304 or method == b"HEAD":',
        "    elif status == 304:",
        ("verdicts", "conversation", "liveness"),
    ),
    Mutant(
        "nobody is told that there is room",
        "composition.upstreams",
        "        while self.queue:",
        "        while False:",
        ("verdicts",),
        seed=1,
    ),
    Mutant(
        "who leaves the queue stays in it",
        "composition.upstreams",
        "    def leave_queue(self, exchange: Exchange) -> None:\n        self.queue.pop(exchange.id, None)",
        "    def leave_queue(self, exchange: Exchange) -> None:\n        pass",
        ("faults", "books", "ledger"),
        seed=7,
    ),
    Mutant(
        "a server takes more than it may",
        "composition.upstreams",
        "        if server.active >= server.max_connections:\n            server.is_full = True",
        "        if server.active > server.max_connections:\n            server.is_full = True",
        ("books",),
        seed=1,
    ),
    Mutant(
        "an idle connection that the server closed is leased again",
        "composition.upstream",
        '        elif self.state == "idle":\n            self.retire()\n\n    def peer_ended',
        "\n    def peer_ended",
        ("verdicts",),
        seed=3,
    ),
    Mutant(
        "an idle connection that was lost is leased again",
        "composition.upstream",
        '        if self.state == "idle":\n            self.server.forget(self)',
        "",
        ("handles", "faults", "books"),
        seed=1,
    ),
    Mutant(
        "a request that met a dead kept connection is not sent again",
        "composition.attempts",
        "        if lease is not None and lease.is_reused and self._is_stale(exchange, failure):",
        "        if False:",
        ("verdicts",),
        seed=3,
    ),
    Mutant(
        "a request is sent again without the content that was sent before",
        "composition.exchange",
        "            self.content.rewind()",
        "            pass",
        ("conversation", "verdicts", "faults"),
        seed=39,
    ),
    Mutant(
        "a 101 that nobody asked for is believed",
        "mechanisms.http1.reader",
        "            if self._upgrade is None or response.upgrade != self._upgrade:",
        "            if False:",
        ("conversation",),
        seed=2,
    ),
    Mutant(
        "a tunnel is over when one side has ended",
        "composition.tunnel",
        "        if self._ended_sides == 2:",
        "        if self._ended_sides == 1:",
        ("verdicts", "handles"),
        seed=1,
    ),
    Mutant(
        "bytes that came with the 101 are lost",
        "composition.exchange",
        "        if rest and self.tunnel is not None:\n            self.tunnel.from_upstream(rest)",
        "",
        ("conversation", "verdicts"),
        seed=3,
    ),
    Mutant(
        "a refusal is closed before its sender could read it",
        "composition.downstream",
        '        """The answer went out while the request is still coming (RFC 9112 section 9.6)."""\n'
        "        if self._half_closed:",
        '        """."""\n        if True:',
        ("verdicts",),
        seed=8,
    ),
    Mutant(
        "a client that takes nothing is waited for",
        "composition.wire",
        "        self._clock.set(self._engine.now + self._engine.plan.timeouts.send)",
        "        pass",
        ("liveness", "gates"),
    ),
    Mutant(
        "a server that says nothing is waited for",
        "composition.upstream",
        "        self._clock.set(self._engine.now + self.exchange.timeouts.response_head)",
        "        pass",
        ("liveness",),
    ),
    Mutant(
        "a head that drips in is waited for",
        "composition.downstream",
        '        if state == "head":\n            self._begin_unread().request_timed_out("request_head")',
        '        if state == "head":\n            self._clock.set(self._engine.now)',
        ("deadlines", "liveness"),
        seed=9,
    ),
    Mutant(
        "a timer that is moved forward rings at its old time only",
        "mechanisms.timers",
        "        if at < self._wake:\n            self._timers._push(self)",
        "        if self._wake == inf:\n            self._timers._push(self)",
        ("liveness", "verdicts", "gates", "deadlines"),
    ),
    Mutant(
        "a name that wasn't found is never looked up again",
        "composition.dialer",
        "        if self._clock is not None:\n            self._clock.set(self._engine.now + seconds)",
        "        pass",
        ("verdicts", "liveness", "conversation"),
    ),
    Mutant(
        "accepting stays paused",
        "composition.admission",
        "                self._engine.effects.append(ResumeAccepting(name))",
        "                pass",
        ("liveness", "verdicts"),
        seed=4,
    ),
    Mutant(
        "idle connections survive a drain",
        "composition.downstream",
        "                self._clock.set(min(self._clock.at, self._engine.now + GRACE))",
        "                pass",
        ("verdicts", "handles", "books"),
    ),
    Mutant(
        "an idle client is kept for ever",
        "composition.downstream",
        "        self._clock.set(self._engine.now + (GRACE if self.is_draining else self._engine.plan.timeouts.idle))",
        "        self._clock.clear()",
        ("books",),
    ),
    Mutant(
        "an exchange is concluded twice",
        "composition.exchange",
        "        self._engine.ended.append(self)",
        "        self._engine.ended += [self, self]",
        ("faults", "endings", "exceptions"),
    ),
    Mutant(
        "a number is given to two handles",
        "composition.engine",
        "        self._minted += 1\n        return self._minted",
        "        self._minted += self._minted % 7 != 6 or self.exchange_count % 2\n        return self._minted",
        ("handles", "faults"),
    ),
    Mutant(
        "the wrong cause: a failed server counts as a client that left",
        "composition.answers",
        '    return Outcome("upstream_failed", failure.stage, failure)',
        '    return Outcome("client_left", failure.stage, failure)',
        ("verdicts",),
    ),
    Mutant(
        "fields that Connection names are passed on",
        "mechanisms.http1.strict",
        "        if not options <= _KNOWN_OPTIONS:",
        "        if False:",
        ("conversation",),
    ),
    Mutant(
        "anybody's X-Forwarded-For is believed",
        "policies.forwarding",
        "        self.is_trusted = number is not None and trusted.has_number(number)",
        "        self.is_trusted = True",
        ("conversation",),
    ),
    Mutant(
        "a WebSocket's 101 is believed whatever key it answers",
        "composition.exchange",
        "            self.websocket.accept(head)",
        "            pass",
        ("conversation",),
        seed=4,
    ),
    Mutant(
        "the goodbye to a WebSocket stands within a frame",
        "composition.websocket",
        "        elif self._from_server.is_between_frames:",
        "        else:",
        ("conversation",),
        seed=4,
    ),
    Mutant(
        "what the server says behind the goodbye is passed on",
        "composition.websocket",
        '        if data and self._goodbye != "said":',
        "        if data:",
        ("conversation",),
        seed=1,
    ),
    Mutant(
        "the rest of the frame before the goodbye is lost",
        "composition.websocket",
        "            super().from_upstream(data[:end])",
        "            super().from_upstream(data[: end - 1])",
        ("conversation",),
        seed=4,
    ),
    Mutant(
        "frames go to a server unmasked",
        "composition.messages",
        "mask=partial(engine.entropy, 4)",
        "mask=None",
        ("conversation",),
        seed=1,
    ),
    Mutant(
        "a frame's mask is not laid over its bytes",
        "mechanisms.websocket.frames",
        "    pad = mask * (length // 4 + 1)",
        "    pad = bytes(length + 4)",
        ("conversation",),
        seed=4,
    ),
    Mutant(
        "a message ends with its first frame",
        "mechanisms.websocket.messages",
        "        bits = FIN if piece.last else 0",
        "        bits = FIN",
        ("conversation",),
        seed=4,
    ),
    Mutant(
        "a Close has another code on the other side",
        "composition.messages",
        "            self._close(target, event.code, event.reason)",
        "            self._close(target, None)",
        ("conversation",),
        seed=1,
    ),
    Mutant(
        "a Close is not passed on",
        "composition.messages",
        "            self._close(target, event.code, event.reason)",
        "            self._close(source, event.code, event.reason)",
        ("verdicts", "liveness"),
        seed=17,
    ),
    Mutant(
        "a server that refuses a connect stays in",
        "policies.health",
        "not (refused or self.failures",
        "not (False or self.failures",
        ("ejections",),
        servers=True,
    ),
    Mutant(
        "more servers are ejected than may be",
        "policies.health",
        "    return ejected + 1 <= outliers.eject_share_max * servers",
        "    return True",
        ("ejections",),
        servers=True,
    ),
    Mutant(
        "a server that was ejected never comes back",
        "composition.upstreams",
        "            self._judged(self.health.expired(now), was_ejected=True)",
        "            pass",
        ("servers", "deadlines"),
        servers=True,
    ),
    Mutant(
        "an ejection is counted for ever",
        "composition.upstreams",
        '(self.health.state == "ejected") - was_ejected',
        '(self.health.state == "ejected")',
        ("servers",),
        servers=True,
    ),
    Mutant(
        "a server that is down is asked",
        "composition.upstreams",
        'server.available = server.state == "up" and',
        "server.available = True and",
        ("servers",),
        servers=True,
    ),
    Mutant(
        "a server is checked once",
        "composition.checks",
        "        self._clock.set(max(self._engine.now, self._next_after(began)))",
        "        pass",
        ("servers",),
        servers=True,
    ),
    Mutant(
        "who waits to be tried again waits for ever",
        "composition.attempts",
        "        self._pause_clock.set(engine.now + self.pause)",
        "        pass",
        ("liveness",),
        servers=True,
    ),
    Mutant(
        "a slow start makes its next step now, for ever",
        "policies.health",
        "    return at if at > now else",
        "    return at if True else",
        ("deadlines",),
        servers=True,
        seed=29,
    ),
)

"""Scenarios as scripts: each line is a fact, and the effects that must answer it.

    client, server = Handle("client"), Handle("server")
    Playbook(config).run(
        accepted(client) >> nothing,
        received(client, b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n") >> connect(server, ("10.0.0.1", 8080)),
        connected(server) >> send(server, starting(b"GET / HTTP/1.1")),
        lost(client) >> (abort(server), exchange_ended("client_left", "response_head")),
    )

Effects are expected in their order, and no others. The end of an exchange is expected like an effect, behind
those of its fact. Nothing is performed: a line that aborts a connection is followed by the `lost` that a
driver would tell. A mismatch raises `ScriptMismatch`, which shows both scripts side by side.

A `Handle` gets its number when it is first met, in `accepted` or in an effect that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from math import inf
from random import Random
from typing import Any

from proxycore.composition.filters import Filter
from proxycore.config import Config
from proxycore.config.materials import Materials
from proxycore.core import Core
from proxycore.testing.checkers import Backlogs, Books, Checker, Deadlines, Faults, Gates, Handles
from proxycore.words.effects import (
    Abort,
    Call,
    Cancel,
    Close,
    Connect,
    Effect,
    PauseAccepting,
    PauseReading,
    Resolve,
    ResumeAccepting,
    ResumeReading,
    Send,
    SendEof,
    StopAccepting,
)
from proxycore.words.errors import Cause, Outcome
from proxycore.words.ids import Address
from proxycore.words.notices import ExchangeEnded

CLIENT: Address = ("192.0.2.1", 50_000)
LOCAL: Address = ("192.0.2.10", 80)
WALL = 1_800_000_000.0

_WIDTH = 78


class Handle:
    """A connection, look-up or call whose number the core gives."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number: int | None = None

    def __repr__(self) -> str:
        return self.name


class Pattern:
    """Bytes of which not all are fixed. Made by `starting`, `containing` and `anything`."""

    def __init__(self, text: str, matches: Callable[[bytes], bool]) -> None:
        self._text = text
        self.matches = matches

    def __repr__(self) -> str:
        return self._text


def starting(prefix: bytes) -> Pattern:
    """Bytes that begin so."""
    return Pattern(f"starting({prefix!r})", lambda data: data.startswith(prefix))


def ending(suffix: bytes) -> Pattern:
    """Bytes that end so."""
    return Pattern(f"ending({suffix!r})", lambda data: data.endswith(suffix))


def containing(*parts: bytes) -> Pattern:
    """Bytes that hold each of these parts, in any order."""
    return Pattern(f"containing({', '.join(map(repr, parts))})", lambda data: all(part in data for part in parts))


anything = Pattern("anything", lambda data: True)
"""Any bytes."""


class Expected:
    """An effect that must come, or the end of an exchange. Its arguments may be handles and patterns."""

    def __init__(self, kind: type[Effect] | type[Outcome], *arguments: Any) -> None:
        self.kind = kind
        self.arguments = arguments

    def matches(self, actual: Effect | Outcome) -> bool:
        """Whether it is this one. Handles that were free are bound by it."""
        if actual.__class__ is not self.kind:
            return False
        values = _arguments_of(actual)
        return len(values) == len(self.arguments) and all(map(_fits, self.arguments, values))

    def __repr__(self) -> str:
        return f"{self.kind.__name__}({', '.join(map(repr, self.arguments))})"


nothing: tuple[Expected, ...] = ()
"""No effect at all."""


class Fact:
    """Something that happens. `fact >> effects` makes a line of a script."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self.name = name
        self.arguments = arguments

    def __rshift__(self, expected: Expected | Sequence[Expected]) -> Line:
        return Line(self, (expected,) if isinstance(expected, Expected) else tuple(expected))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(_shown, self.arguments))})"


class Line:
    """A fact with what must come of it."""

    def __init__(self, fact: Fact, expected: tuple[Expected, ...]) -> None:
        self.fact = fact
        self.expected = expected


class ScriptMismatch(AssertionError):
    """The core did something else than the script says. Its text shows both."""


class Playbook:
    """A core, and the scripts that are played on it, at a time that starts at 0 and moves by `tick` alone.

    `run` may be called again, to go on where the last script ended. All along, the checkers that need no
    traffic watch too. `core` is there for whatever else a test wants to look at.
    """

    def __init__(
        self,
        config: Config,
        *,
        materials: Materials | None = None,
        filters: Sequence[Filter] = (),
        seed: int = 1,
        core: Core | None = None,
    ) -> None:
        self.core = core or Core(
            config,
            materials,
            now=0.0,
            wall=WALL,
            seed=seed,
            entropy=Random(seed).randbytes,
            filters=filters,
            watch=("exchanges", "faults"),
        )
        self.now = 0.0
        self.outcomes: list[Outcome] = []
        self.notices: list[ExchangeEnded] = []
        self._played: list[tuple[Line, list[Effect | Outcome]]] = []
        self._faults = Faults()
        self._checkers: list[Checker] = [
            Handles(),
            Gates(patience=inf),
            Deadlines(self.core),
            Books(self.core),
            Backlogs(self.core, config.limits.buffer, slack=256 * 1024, kept=1 << 30),
        ]

    def run(self, *lines: Line) -> Playbook:
        """Play a script. Raises ScriptMismatch, or the Violation of a checker."""
        for line in lines:
            actual = self._tell(line.fact)
            self._played.append((line, actual))
            if len(actual) != len(line.expected) or not all(
                expected.matches(happened) for expected, happened in zip(line.expected, actual, strict=True)
            ):
                raise ScriptMismatch(self._side_by_side())
        return self

    def is_empty(self) -> bool:
        """Whether the core holds nothing (any more)."""
        return self.core.ledger().is_empty

    def _tell(self, fact: Fact) -> list[Effect | Outcome]:
        if fact.name == "tick":
            return self._let_time_pass(*fact.arguments)
        first = fact.arguments[0] if fact.arguments else None
        if isinstance(first, Handle) and first.number is None:
            if fact.name != "accepted":
                raise ScriptMismatch(f"{fact!r}: nothing has given {first!r} a number yet")
            first.number = self.core.next_conn_id()
        return self._enter(fact.name, *(a.number if isinstance(a, Handle) else a for a in fact.arguments))

    def _enter(self, name: str, *arguments: Any) -> list[Effect | Outcome]:
        if name == "drain_requested":
            effects = self.core.drain_requested(self.now, deadline=self.now + arguments[0])
        else:
            effects = getattr(self.core, name)(*arguments, self.now)
        for checker in self._checkers:
            checker.fact(self.now, name, arguments, effects)
        notices = self.core.take_notices(self.now)
        self._faults.noticed(notices)
        ended = [notice for notice in notices if isinstance(notice, ExchangeEnded)]
        self.notices += ended
        self.outcomes += [notice.outcome for notice in ended]
        return [*effects, *(notice.outcome for notice in ended)]

    def _let_time_pass(self, seconds: float) -> list[Effect | Outcome]:
        """Tell of each deadline at its time, until `seconds` have passed."""
        end = self.now + seconds
        happened: list[Effect | Outcome] = []
        while (deadline := self.core.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            happened += self._enter("timer_expired")
        self.now = end
        return happened

    def _side_by_side(self) -> str:
        rows = [("the script".ljust(_WIDTH), "what happened")]
        for number, (line, actual) in enumerate(self._played, 1):
            rows.append((f"{number}. {line.fact!r}", ""))
            for expected, happened in zip_longest(line.expected, actual):
                is_right = expected is not None and happened is not None and expected.matches(happened)
                mark = "   " if is_right else "!! "
                left = "" if expected is None else repr(expected)
                rows.append((f"    {mark}{left}", f"{mark}{_shown(happened)}" if happened is not None else mark))
        return "the core did something else:\n\n" + "\n".join(
            f"{_cut(left)} | {right}" if right else left for left, right in rows
        )


def _cut(text: str) -> str:
    return text.ljust(_WIDTH) if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:300]} ... {text[-80:]}"


def _arguments_of(actual: Effect | Outcome) -> list[Any]:
    if isinstance(actual, Outcome):
        return [actual.cause, actual.detail]
    return [getattr(actual, name) for name in actual.__match_args__]


def _fits(expected: Any, value: Any) -> bool:
    if isinstance(expected, Handle):
        if expected.number is None:
            expected.number = value
        return bool(expected.number == value)
    if isinstance(expected, Pattern):
        return expected.matches(value)
    return bool(expected == value)


# ---- facts

Data = bytes | Pattern


def accepted(conn: Handle, listener: str = "web", peer: Address = CLIENT) -> Fact:
    """A client connects."""
    return Fact("accepted", conn, listener, peer, LOCAL)


def accept_failed(listener: str = "web", error: str = "EMFILE") -> Fact:
    """The system could not accept."""
    return Fact("accept_failed", listener, error)


def received(conn: Handle, data: bytes) -> Fact:
    """Bytes arrive."""
    return Fact("data_received", conn, data)


def eof(conn: Handle) -> Fact:
    """The peer half-closed."""
    return Fact("eof_received", conn)


def peer_ended(conn: Handle) -> Fact:
    """The peer half-closed while we don't read, behind bytes that are unread."""
    return Fact("peer_ended", conn)


def paused(conn: Handle) -> Fact:
    """The kernel refused bytes."""
    return Fact("writing_paused", conn)


def resumed(conn: Handle) -> Fact:
    """No bytes wait any more."""
    return Fact("writing_resumed", conn)


def connected(conn: Handle) -> Fact:
    """A dial succeeds."""
    return Fact("connected", conn, LOCAL, ("10.0.0.1", 8080))


def connect_failed(conn: Handle, error: str = "ECONNREFUSED") -> Fact:
    """A dial fails, or was aborted: its last fact."""
    return Fact("connect_failed", conn, error)


def lost(conn: Handle, error: str | None = None) -> Fact:
    """The last fact of a connection."""
    return Fact("connection_lost", conn, error)


def resolved(lookup: Handle, *addresses: str) -> Fact:
    """A look-up gives addresses."""
    return Fact("resolved", lookup, addresses)


def resolve_failed(lookup: Handle, error: str = "EAI_NONAME") -> Fact:
    """A look-up fails, or was cancelled."""
    return Fact("resolve_failed", lookup, error)


def call_completed(handle: Handle, result: object) -> Fact:
    """A registered function returns."""
    return Fact("call_completed", handle, result)


def call_failed(handle: Handle, error: str) -> Fact:
    """A registered function raises, or was cancelled."""
    return Fact("call_failed", handle, error)


def tick(seconds: float) -> Fact:
    """Time passes, and deadlines come."""
    return Fact("tick", seconds)


def reloaded(config: Config) -> Fact:
    """Another configuration."""
    return Fact("reconfigured", config, None)


def drain(seconds: float) -> Fact:
    """Drain, and cut what is left after `seconds`."""
    return Fact("drain_requested", seconds)


# ---- effects


def send(conn: Handle, data: Data = anything) -> Expected:
    """`Send`, with these bytes."""
    return Expected(Send, conn, data)


def send_eof(conn: Handle) -> Expected:
    """`SendEof`."""
    return Expected(SendEof, conn)


def close(conn: Handle) -> Expected:
    """`Close`."""
    return Expected(Close, conn)


def abort(conn: Handle) -> Expected:
    """`Abort`."""
    return Expected(Abort, conn)


def pause(conn: Handle) -> Expected:
    """`PauseReading`."""
    return Expected(PauseReading, conn)


def resume(conn: Handle) -> Expected:
    """`ResumeReading`."""
    return Expected(ResumeReading, conn)


def connect(conn: Handle, address: Address) -> Expected:
    """`Connect`."""
    return Expected(Connect, conn, address)


def resolve(lookup: Handle, host: str, port: int) -> Expected:
    """`Resolve`."""
    return Expected(Resolve, lookup, host, port)


def call(handle: Handle, name: str, arguments: Mapping[str, Any]) -> Expected:
    """`Call`."""
    return Expected(Call, handle, name, arguments)


def cancel(handle: Handle) -> Expected:
    """`Cancel`."""
    return Expected(Cancel, handle)


def pause_accepting(listener: str = "web") -> Expected:
    """`PauseAccepting`."""
    return Expected(PauseAccepting, listener)


def resume_accepting(listener: str = "web") -> Expected:
    """`ResumeAccepting`."""
    return Expected(ResumeAccepting, listener)


def stop_accepting(listener: str = "web") -> Expected:
    """`StopAccepting`."""
    return Expected(StopAccepting, listener)


def exchange_ended(cause: Cause, detail: str = "") -> Expected:
    """An exchange ended, with this outcome."""
    return Expected(Outcome, cause, detail)

"""How filters decide on a request: one after the other, with waits that last as long as they must.

A phase is a tuple of bound methods. Each is called in turn; a verdict ends the exchange or holds it,
and when what it waits for has come, the function that the verdict named decides in its filter's place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from proxycore.composition.filters import Ask, Fetch, NeedBody, Reject, Respond, Verdict, Wait
from proxycore.composition.holds import CallHold, ContentHold, FetchHold, Hold, SignalHold
from proxycore.composition.tables import EXCHANGE
from proxycore.policies.trace import Trace

if TYPE_CHECKING:
    from proxycore.composition.content import RequestContent
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange

Step = Callable[["Exchange"], Verdict | None]

FAILED = Reject(500, "A step of this server failed.", rule="fault")
"""For an exchange whose filter raised: it costs this one a 500, and no other anything."""


class Deliberation:
    """The filters at work on one exchange. It is made for an exchange that has any."""

    __slots__ = ("_engine", "_exchange", "_hold", "_next", "_phase", "_then")

    def __init__(self, exchange: Exchange, engine: Engine) -> None:
        self._exchange = exchange
        self._engine = engine
        self._hold: Hold | None = None
        self._phase: tuple[Step, ...] = ()
        self._next = 0
        self._then: Callable[[], None] = exchange.begin

    def run(self, phase: tuple[Step, ...], then: Callable[[], None]) -> None:
        """Ask the filters of `phase`; call `then` when all have let the request pass."""
        trace = self._exchange.trace
        self._phase = phase if trace is None else tuple(partial(_step_aloud, trace, step) for step in phase)
        self._next = 0
        self._then = then
        self._go_on()

    def resume(self, decide: Callable[[], Verdict | None]) -> None:
        """What a filter waited for has come: `decide`, and go on."""
        self._hold = None
        exchange = self._exchange
        exchange.state = EXCHANGE[exchange.state]["resume"]
        if self._obey(self._guarded(decide)):
            self._go_on()

    def offer(self, content: RequestContent) -> bool:
        """More content has come. True if a filter waited for it, and has gone on."""
        hold = self._hold
        return isinstance(hold, ContentHold) and hold.offer(content)

    def cancel(self) -> None:
        """The exchange ended: whatever is waited for must not come back to it."""
        if self._hold is not None:
            hold, self._hold = self._hold, None
            hold.cancel()

    def _go_on(self) -> None:
        while self._next < len(self._phase):
            step = self._phase[self._next]
            self._next += 1
            try:
                verdict = step(self._exchange)
            except Exception:
                verdict = self._failed()
            if verdict is not None and not self._obey(verdict):
                return
        self._then()

    def _guarded(self, decide: Callable[[], Verdict | None]) -> Verdict | None:
        try:
            return decide()
        except Exception:
            return self._failed()

    def _failed(self) -> Verdict:
        """A filter has raised."""
        self._engine.fault(f"a filter, in exchange {self._exchange.id}")
        return FAILED

    def _obey(self, verdict: Verdict | None) -> bool:
        """Do what a filter decided. True: go on."""
        if verdict is None:
            return True
        exchange = self._exchange
        if isinstance(verdict, Reject):
            exchange.reject(verdict)
        elif isinstance(verdict, Respond):
            exchange.respond(verdict)
        elif isinstance(verdict, Ask):
            hold = CallHold.begin(self, exchange, self._engine, verdict)
            if isinstance(hold, Reject):
                return self._obey(hold)
            self._wait_for(hold)
        elif isinstance(verdict, Fetch):
            fetch = FetchHold(self, exchange, self._engine, verdict)
            self._wait_for(fetch)
            fetch.begin()
        elif isinstance(verdict, Wait):
            if verdict.signal.fired is not None:
                return self._obey(self._guarded(partial(verdict.then, exchange, verdict.signal.fired)))
            self._wait_for(SignalHold(self, exchange, self._engine, verdict))
        elif isinstance(verdict, NeedBody):
            return self._need_content(verdict)
        else:
            return self._obey(self._guarded(partial(_refuse_to_guess, verdict)))
        return False

    def _need_content(self, need: NeedBody) -> bool:
        hold = ContentHold(self, self._exchange, need)
        decide = hold.decision(self._exchange.content)
        if decide is not None:
            return self._obey(self._guarded(decide))
        self._wait_for(hold)
        self._exchange.want_content()
        return False

    def _wait_for(self, hold: Hold) -> None:
        self._hold = hold
        self._exchange.state = EXCHANGE[self._exchange.state]["hold"]


def _step_aloud(trace: Trace, step: Step, exchange: Exchange) -> Verdict | None:
    """Take a step, and tell what it decided unless it did so itself."""
    told = len(trace)
    name = type(getattr(step, "__self__", step)).__name__
    try:
        verdict = step(exchange)
    except Exception as error:
        trace.add("filter", "failed", name, f"it raised {type(error).__name__}")
        raise
    if len(trace) == told:
        trace.add("filter", *_shown(verdict, name))
    return verdict


def _shown(verdict: Verdict | None, name: str) -> tuple[str, str, str]:
    if verdict is None:
        return "let pass", name, ""
    if isinstance(verdict, Reject):
        return "refused", name, f"{verdict.status}, rule {verdict.rule}"
    if isinstance(verdict, Respond):
        return "answered", name, str(verdict.head.status)
    if isinstance(verdict, Ask):
        return "asks", name, f"the function {verdict.name}"
    if isinstance(verdict, Fetch):
        return "asks", name, f"the upstream {verdict.upstream}"
    if isinstance(verdict, NeedBody):
        return "waits", name, f"for {verdict.limit} bytes of content"
    return "waits", name, ""


def _refuse_to_guess(verdict: object) -> Verdict | None:
    raise TypeError(f"a filter answered with {verdict!r}, which is no verdict")

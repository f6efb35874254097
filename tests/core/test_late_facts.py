"""Facts about handles that are gone, and exceptions of ours in the last facts: counted, told, and never raised."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxycore import Config, Core, Listener, Route, Upstream
from proxycore.words.ids import CallId, ConnId, LookupId
from proxycore.words.notices import Fault

GONE = 99
LATE: dict[str, Callable[[Core], object]] = {
    "data_received": lambda core: core.data_received(ConnId(GONE), b"x", 1.0),
    "eof_received": lambda core: core.eof_received(ConnId(GONE), 1.0),
    "peer_ended": lambda core: core.peer_ended(ConnId(GONE), 1.0),
    "writing_paused": lambda core: core.writing_paused(ConnId(GONE), 1.0),
    "writing_resumed": lambda core: core.writing_resumed(ConnId(GONE), 1.0),
    "connection_lost": lambda core: core.connection_lost(ConnId(GONE), None, 1.0),
    "connected": lambda core: core.connected(ConnId(GONE), "", "", 1.0),
    "connect_failed": lambda core: core.connect_failed(ConnId(GONE), "ECONNREFUSED", 1.0),
    "resolved": lambda core: core.resolved(LookupId(GONE), ["127.0.0.1"], 1.0),
    "resolve_failed": lambda core: core.resolve_failed(LookupId(GONE), "EAI_NONAME", 1.0),
    "call_completed": lambda core: core.call_completed(CallId(GONE), None, 1.0),
    "call_failed": lambda core: core.call_failed(CallId(GONE), "TypeError", 1.0),
}


def make_core() -> Core:
    config = Config(
        listeners=[Listener(name="web", bind="127.0.0.1:0")],
        upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"])},
        routes=[Route(upstream="api")],
    )
    return Core(config, now=0.0, wall=1e9, seed=1, entropy=bytes, watch=["faults"])


@pytest.mark.parametrize("fact", LATE)
def test_a_fact_about_what_is_gone_is_counted_and_does_nothing(fact: str) -> None:
    core = make_core()
    assert not LATE[fact](core)
    assert core.stale_facts == 1


class Broken:
    """Asked for a look-up and a call, and can't take their results."""

    def completed(self, result: object) -> None:
        raise RuntimeError("no use for it")

    def failed(self, error: str) -> None:
        raise RuntimeError("no use for it")

    def __repr__(self) -> str:
        return "Broken()"


@pytest.mark.parametrize("fact", ["resolved", "resolve_failed", "call_completed", "call_failed"])
def test_an_exception_of_ours_in_an_answer_is_told_and_not_raised(fact: str) -> None:
    core = make_core()
    core._engine.lookups[LookupId(GONE)] = core._engine.calls[CallId(GONE)] = Broken()
    LATE[fact](core)
    (notice,) = core.take_notices(1.0)
    assert isinstance(notice, Fault)
    assert notice.where == "Broken()"
    assert core.stale_facts == 0

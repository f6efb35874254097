"""How fast a request's content must come: between two pieces, and in all; time in which we don't read is free."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace
from typing import Any

from proxycore.composition.pace import Pace
from proxycore.mechanisms.timers import Timer, Timers

SECONDS = 10.0
RATE = 100.0


def begun() -> tuple[Pace, Timer, Any]:
    engine: Any = SimpleNamespace(now=0.0, plan=SimpleNamespace(minimum_body_rate=RATE))
    exchange: Any = SimpleNamespace(timeouts=SimpleNamespace(request_body=SECONDS))
    clock = Timer(Timers(), lambda: None)
    return Pace(engine, exchange, clock), clock, engine


def test_the_next_piece_must_come_in_time() -> None:
    pace, clock, engine = begun()
    assert clock.at == inf
    engine.now = 3.0
    pace.wait()
    assert clock.at == 13.0
    pace.end()
    assert clock.at == inf


def test_the_whole_must_come_at_a_rate_after_a_grace() -> None:
    pace, _, engine = begun()
    pace.received(1)
    engine.now = SECONDS
    assert not pace.is_too_slow
    engine.now = SECONDS + 1.0
    assert pace.is_too_slow
    pace.received(int(RATE * 11.0) - 1)
    assert not pace.is_too_slow


def test_time_in_which_it_is_held_does_not_count() -> None:
    pace, clock, engine = begun()
    pace.received(int(RATE * 11.0))
    engine.now = 5.0
    pace.hold()
    pace.hold()
    assert clock.at == inf
    engine.now = 65.0
    pace.release()
    assert clock.at == 65.0 + SECONDS
    engine.now = 71.0
    pace.release()
    assert clock.at == 65.0 + SECONDS
    assert not pace.is_too_slow
    engine.now = 72.0
    assert pace.is_too_slow

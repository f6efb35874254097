"""The queue of timers against a model that scans a plain list, under any order of calls."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxycore.mechanisms.timers import Timer, Timers

TIMES = st.integers(0, 60).map(float)
"""Few, so that many timers meet at the same time."""


class Owner:
    """Owns one timer, writes down when it was called, and may do something then."""

    def __init__(self, timers: Timers, name: int, log: list[int]) -> None:
        self.name = name
        self.log = log
        self.reaction: Callable[[], None] | None = None
        self.timer = Timer(timers, self.on_due)
        self.armed = inf
        self.is_dropped = False

    def on_due(self) -> None:
        self.log.append(self.name)
        self.armed = inf
        if self.reaction is not None:
            reaction, self.reaction = self.reaction, None
            reaction()

    def set(self, at: float) -> None:
        self.timer.set(at)
        if not self.is_dropped:
            self.armed = at

    def clear(self) -> None:
        self.timer.clear()
        self.armed = inf

    def drop(self) -> None:
        self.timer.drop()
        self.armed = inf
        self.is_dropped = True


class TimersAgainstAList(RuleBasedStateMachine):
    """Whatever is set, cleared and dropped, also by timers that are being called."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = Timers()
        self.now = 0.0
        self.log: list[int] = []
        self.owners: list[Owner] = []
        for _ in range(3):
            self.make()

    @precondition(lambda self: len(self.owners) < 8)
    @rule()
    def make(self) -> None:
        self.owners.append(Owner(self.timers, len(self.owners), self.log))

    @rule(data=st.data(), after=TIMES)
    def set(self, data: st.DataObject, after: float) -> None:
        self._one(data).set(self.now + after)

    @rule(data=st.data(), ago=TIMES)
    def set_to_the_past(self, data: st.DataObject, ago: float) -> None:
        self._one(data).set(self.now - ago)

    @rule(data=st.data())
    def clear(self, data: st.DataObject) -> None:
        self._one(data).clear()

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        self._one(data).drop()

    @rule(data=st.data(), at=TIMES, act=st.sampled_from(["set", "clear", "drop"]))
    def react(self, data: st.DataObject, at: float, act: str) -> None:
        """When it is called, this one will set, clear or drop another (or itself)."""
        other = self._one(data)
        acts = {"set": lambda: other.set(at), "clear": other.clear, "drop": other.drop}
        self._one(data).reaction = acts[act]

    @rule(passed=TIMES)
    def expire(self, passed: float) -> None:
        self.now += passed
        armed = sorted((owner.armed, owner.name) for owner in self.owners)
        due = [name for at, name in armed if at <= self.now]
        others_may_be_stopped = any(self.owners[name].reaction for name in due)
        self.log.clear()
        self.timers.expire(self.now)
        if others_may_be_stopped:
            assert [name for name in due if name in self.log] == self.log
        else:
            assert due == self.log

    @invariant()
    def nothing_is_late_or_forgotten(self) -> None:
        armed = [owner.armed for owner in self.owners if owner.armed != inf]
        deadline = self.timers.next_deadline()
        assert len(self.timers) == len(armed)
        if armed:
            assert deadline is not None
            assert deadline <= min(armed)
        assert [owner.timer.at for owner in self.owners if not owner.is_dropped] == [
            owner.armed for owner in self.owners if not owner.is_dropped
        ]

    @invariant()
    def entries_are_bounded_by_living_ones(self) -> None:
        entries = len(self.timers._heap)
        living = sum(1 for owner in self.owners if -inf < owner.timer._wake < inf)
        assert self.timers._dead == entries - living
        assert entries <= 2 * living

    def _one(self, data: st.DataObject) -> Owner:
        return data.draw(st.sampled_from(self.owners))


TestTimersAgainstAList = TimersAgainstAList.TestCase
TestTimersAgainstAList.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_queue_of_nothing_has_no_deadline() -> None:
    timers = Timers()
    timers.expire(1e9)
    assert timers.next_deadline() is None
    assert len(timers) == 0


def test_a_timer_is_called_once_for_each_arming() -> None:
    timers, calls = Timers(), []
    timer = Timer(timers, lambda: calls.append("due"))
    timer.set(5.0)
    timers.expire(4.9)
    assert calls == []
    timers.expire(5.0)
    timers.expire(6.0)
    assert calls == ["due"]
    assert timer.at == inf
    timer.set(7.0)
    timers.expire(7.0)
    assert calls == ["due", "due"]


def test_touching_later_makes_no_entries() -> None:
    timers = Timers()
    timer = Timer(timers, lambda: None)
    for touch in range(10_000):
        timer.set(10.0 + touch)
    assert len(timers._heap) == 1
    assert timers.next_deadline() == 10.0
    timers.expire(10.0)
    assert timers.next_deadline() == 10_009.0


def test_ten_thousand_short_lives_leave_nothing_behind() -> None:
    timers = Timers()
    idle = Timer(timers, lambda: None)
    most = 0
    for exchange in range(10_000):
        idle.set(exchange + 75.0)
        timer = Timer(timers, lambda: None)
        timer.set(exchange + 30.0)
        timer.set(exchange + 10.0)
        timer.drop()
        most = max(most, len(timers._heap))
    assert most <= 4
    idle.drop()
    assert timers.next_deadline() is None


def test_moving_earlier_moves_the_deadline() -> None:
    timers, calls = Timers(), []
    timer = Timer(timers, lambda: calls.append("due"))
    timer.set(75.0)
    timer.set(10.0)
    assert timers.next_deadline() == 10.0
    timers.expire(10.0)
    timers.expire(75.0)
    assert calls == ["due"]


def test_timers_of_the_same_time_run_in_the_order_of_their_making() -> None:
    timers, calls = Timers(), []
    made = [Timer(timers, lambda name=name: calls.append(name)) for name in "abc"]  # type: ignore[misc]
    made[0].set(1.0)
    for timer in reversed(made):
        timer.set(9.0)
    timers.expire(2.0)
    timers.expire(9.0)
    assert calls == ["a", "b", "c"]


@pytest.mark.parametrize("act", [Timer.clear, Timer.drop, lambda timer: timer.set(50.0)])
def test_a_timer_stopped_by_one_before_it_is_not_called(act: Callable[[Timer], None]) -> None:
    timers, calls = Timers(), []
    first = Timer(timers, lambda: act(second))
    second = Timer(timers, lambda: calls.append("second"))
    first.set(1.0)
    second.set(1.0)
    timers.expire(2.0)
    assert calls == []


def test_many_are_called_in_order_after_many_moves_and_ends() -> None:
    chance = random.Random(7)
    timers, calls = Timers(), []
    made = [Timer(timers, lambda: None) for _ in range(500)]
    for _ in range(20):
        for timer in made:
            timer.set(chance.uniform(0.0, 100.0))
        for position in chance.sample(range(len(made)), 100):
            made[position].drop()
            made[position] = timer = Timer(timers, lambda: None)
            timer.set(chance.uniform(0.0, 100.0))
    for timer in made:
        timer._on_due = lambda at=timer.at: calls.append(at)  # type: ignore[misc]
    expected = sorted(timer.at for timer in made)
    timers.expire(50.0)
    timers.expire(100.0)
    assert calls == expected


def test_a_timer_that_sets_itself_to_the_past_does_not_hang_the_queue() -> None:
    timers, calls = Timers(), []

    def again() -> None:
        calls.append("due")
        timer.set(0.0)

    timer = Timer(timers, again)
    timer.set(1.0)
    timers.expire(1.0)
    assert calls == ["due"]
    assert timers.next_deadline() == 0.0
    timers.expire(1.0)
    assert calls == ["due", "due"]


def test_a_dropped_timer_keeps_nothing_and_stays_silent() -> None:
    timers, calls = Timers(), []
    timer = Timer(timers, lambda: calls.append("due"))
    timer.set(1.0)
    timer.drop()
    timer.drop()
    timer.set(0.5)
    timers.expire(2.0)
    assert calls == []
    assert timers.next_deadline() is None
    assert len(timers) == 0


def test_an_owner_that_raises_costs_the_others_nothing() -> None:
    timers, calls = Timers(), []

    def fail() -> None:
        raise ValueError("a bug")

    Timer(timers, fail).set(1.0)
    Timer(timers, lambda: calls.append("b")).set(1.0)
    Timer(timers, lambda: calls.append("c")).set(2.0)
    with pytest.raises(ValueError, match="a bug"):
        timers.expire(3.0)
    assert len(timers) == 2
    timers.expire(3.0)
    assert calls == ["b", "c"]


def test_a_timer_that_would_be_woken_too_late_is_told_to_checkers() -> None:
    timers = Timers()
    moved, misused = Timer(timers, lambda: None), Timer(timers, lambda: None)
    for timer in (moved, misused):
        timer.set(5.0)
    moved.set(2.0)
    moved.set(8.0)
    assert timers.late() == []
    misused.at = 3.0  # not by `set`: the queue doesn't learn of it
    assert timers.late() == [misused]


def test_states_show_themselves() -> None:
    timers = Timers()
    timer = Timer(timers, lambda: None)
    assert repr(timer) == "Timer(#1, off)"
    timer.set(4.0)
    assert repr(timer) == "Timer(#1, at=4.0)"
    assert repr(timers) == "Timers(armed=1, entries=1, dead=0)"
    timer.drop()
    assert repr(timer) == "Timer(#1, dropped)"

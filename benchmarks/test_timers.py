"""What a deadline costs where it is touched, and what an expiry costs among many."""

from __future__ import annotations

from typing import Any

import pytest

from proxycore.mechanisms.timers import Timer, Timers


def _armed(count: int) -> tuple[Timers, list[Timer]]:
    timers = Timers()
    made = [Timer(timers, lambda: None) for _ in range(count)]
    for index, timer in enumerate(made):
        timer.set(75.0 + index * 0.001)
    return timers, made


@pytest.mark.parametrize("count", [1, 64, 10_000])
def test_touch_to_a_later_time(benchmark: Any, count: int) -> None:
    _, made = _armed(count)
    timer = made[count // 2]
    benchmark(timer.set, 200.0)


@pytest.mark.parametrize("count", [1, 64, 10_000])
def test_next_deadline(benchmark: Any, count: int) -> None:
    timers, _ = _armed(count)
    benchmark(timers.next_deadline)


@pytest.mark.parametrize("count", [1, 64, 10_000])
def test_move_to_an_earlier_time_and_back(benchmark: Any, count: int) -> None:
    """The worst case for the queue: each round leaves a dead entry."""
    _, made = _armed(count)
    timer = made[count // 2]
    earlier = iter(range(0, -1_000_000_000, -1))

    def move() -> None:
        timer.set(next(earlier))
        timer.set(200.0)

    benchmark(move)


@pytest.mark.parametrize("count", [1, 64, 10_000])
def test_life_of_a_timer(benchmark: Any, count: int) -> None:
    timers, _ = _armed(count)

    def live() -> None:
        timer = Timer(timers, live)
        timer.set(30.0)
        timer.drop()

    benchmark(live)


@pytest.mark.parametrize("count", [64, 10_000])
def test_expire_one_and_arm_it_again(benchmark: Any, count: int) -> None:
    timers, made = _armed(count)
    timer = made[0]

    def turn() -> None:
        timer.set(1.0)
        timers.expire(1.0)

    benchmark(turn)

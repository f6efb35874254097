"""What holds for every test: how hypothesis draws its examples, and how long the simulator searches.

`HYPOTHESIS_PROFILE` picks one: `ci` (the default where CI is set) draws the same examples in each
run, `dev` draws new ones, `thorough` draws many for a long search by hand.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# A shared machine is slow at times, so no example has a deadline: pytest-timeout bounds the whole test.
settings.register_profile("dev", deadline=None)
settings.register_profile(
    "ci", deadline=None, derandomize=True, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", deadline=None, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

# A shell ignores SIGINT in what it runs in the background, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=120, help="how many seeds the simulator runs (default: 120)")

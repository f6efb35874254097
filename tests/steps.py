"""How much work something makes, counted instead of timed: the same on each run, however busy the machine is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(action: Callable[[], object]) -> int:
    """The lines of Python that `action` runs, each as often as it runs."""
    count = 0

    def note(_frame: FrameType, _event: str, _argument: object) -> Any:
        nonlocal count
        count += 1
        return note

    before = sys.gettrace()
    sys.settrace(note)
    try:
        action()
    finally:
        sys.settrace(before)
    return count

"""Why a decision fell as it did: what was chosen, what was passed over, and for what reason.

Whoever decides takes `trace: Trace | None`. In traffic it is `None` and costs one test; where it is
given, the same code that serves tells each step in words. `proxycore explain`, the failure messages of
a user's tests and the admin API read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Step(NamedTuple):
    """One thing that was decided.

    `stage` is the policy at work (`path`, `route`, `client`, `rewrite` ...), `verdict` one word for what
    it did (`matched`, `passed over`, `refused` ...), `name` what that befell, `reason` a sentence without
    its full stop, empty where the verdict says all.
    """

    stage: str
    verdict: str
    name: str
    reason: str = ""

    def __str__(self) -> str:
        what = " ".join(part for part in (f"{self.stage}:", self.verdict, self.name) if part)
        return f"{what} ({self.reason})" if self.reason else what


class Trace:
    """The steps of one exchange's decisions, in the order in which they fell."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def add(self, stage: str, verdict: str, name: str = "", reason: str = "") -> None:
        """Note one step."""
        self.steps.append(Step(stage, verdict, name, reason))

    def of(self, stage: str) -> list[Step]:
        """The steps of one stage."""
        return [step for step in self.steps if step.stage == stage]

    def render(self) -> str:
        """The steps as text for a person, one a line."""
        return "\n".join(map(str, self.steps))

    def as_dicts(self) -> list[dict[str, str]]:
        """The steps as plain values for JSON."""
        return [step._asdict() for step in self.steps]

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        return f"Trace({self.steps!r})"

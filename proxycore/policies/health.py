"""Whether a server is well: one verdict, from what checks find and from what live traffic meets.

Theory of operation. Two witnesses speak of a server, and either may take it out:

    checks     `fall` bad ones in a row take it down, `rise` good ones bring it back. The first check of all
               decides alone: until then a server is taken for well.
    traffic    `outliers.failures` in a row eject it, and one refused connect does at once: nobody listens there.
               An ejection lasts `eject`, twice as long at each further one, up to `eject_max`; it begins anew after
               the server has served as long as its last ejection was.

An ejection ends by time, also while checks pass: a page made for checks is no proof that the others work. The exception
is the one for a refused connect: `rise` good checks that were begun after it show that somebody listens again.

Nothing here looks at a clock or sets one: times come in, and who asks (`until`, `next_check`) sets its own.
"""

from __future__ import annotations

from math import inf
from random import Random
from typing import Final, Literal

from proxycore.config import HealthCheck, Outliers

State = Literal["up", "down", "ejected"]

FASTER: Final = 4
"""Times as often is a server checked while its verdict may be changing."""

SETTLING: Final = 10
"""Intervals after a change during which it still may: a server that died is likely to be restarted, or to die again."""

JITTER: Final = 0.1
"""Share of an interval by which checks are early or late, so that those of many servers don't come together."""


class Health:
    """What is known of one server. Times are seconds, as the core's `now`.

    Tell `checked`, `failed`, `expired` and `reconfigure`: they return whether `state` changed. `failures` counts those
    of live traffic in a row; set it to 0 when an exchange went well. `until` is when an ejection ends.
    """

    __slots__ = (
        "_bad",
        "_changed_at",
        "_check",
        "_ejected_at",
        "_ejected_for",
        "_good",
        "_outliers",
        "_passes",
        "_was_checked",
        "_was_refused",
        "failures",
        "reason",
        "state",
        "until",
    )

    def __init__(self, check: HealthCheck | None, outliers: Outliers) -> None:
        self.state: State = "up"
        self.reason = ""
        self.until = -inf
        self.failures = 0
        self._check = check
        self._outliers = outliers
        self._passes = True
        self._was_checked = False
        self._good = self._bad = 0
        self._was_refused = False
        self._ejected_for = 0.0
        self._ejected_at = self._changed_at = -inf

    def reconfigure(self, check: HealthCheck | None, outliers: Outliers, now: float) -> bool:
        """Go by other rules from now on. What was found stays, but for findings of checks that are made no more."""
        self._outliers = outliers
        was_checked = self._check is not None
        self._check = check
        if check is not None or not was_checked:
            return False
        self._passes = True
        self._was_checked = False
        self._good = self._bad = 0
        return self._judge(now, "it is checked no more")

    def checked(self, error: str, now: float, *, began: float) -> bool:
        """A check that was begun at `began` has ended: well if `error` is empty."""
        check = self._check
        if check is None or (not error and began < self._ejected_at):
            return False
        self._good, self._bad = (0, self._bad + 1) if error else (self._good + 1, 0)
        if not self._was_checked:
            self._was_checked = True
            self._passes = not error
        elif self._passes:
            self._passes = self._bad < check.fall
        else:
            self._passes = self._good >= check.rise
        if self._was_refused and self._good >= check.rise:
            self.until = now
        return self._judge(now, f"check failed: {error}" if error else "checks pass")

    def failed(self, reason: str, now: float, *, refused: bool, may_eject: bool) -> bool:
        """An exchange met a failure: `refused` if its connect was. `may_eject` says that few enough are ejected."""
        self.failures += 1
        if not may_eject or self.state != "up" or not (refused or self.failures >= self._outliers.failures):
            return False
        rules = self._outliers
        has_served = now - self.until >= self._ejected_for
        self._ejected_for = rules.eject if has_served else min(2.0 * self._ejected_for, rules.eject_max)
        self._ejected_at = now
        self._was_refused = refused
        self._good = 0
        self.until = now + self._ejected_for
        return self._judge(now, reason if refused else f"{self.failures} failures in a row, then {reason}")

    def expired(self, now: float) -> bool:
        """`until` may have come."""
        return self._judge(now, "its ejection is over")

    def next_check(self, now: float, random: Random) -> float:
        """Seconds from one check to the next; only while there are checks."""
        assert self._check is not None
        interval = self._check.interval
        contrary = self._bad if self._passes else self._good
        if contrary or now - self._changed_at < SETTLING * interval:
            interval /= FASTER
        return interval * (1.0 + JITTER * (2.0 * random.random() - 1.0))

    def _judge(self, now: float, reason: str) -> bool:
        state: State = "down" if not self._passes else "ejected" if now < self.until else "up"
        if state == self.state:
            return False
        self.state = state
        self.reason = reason
        self._changed_at = now
        if state == "up":
            self.failures = 0
            self._was_refused = False
        return True

    def __repr__(self) -> str:
        return (
            f"Health({self.state}, {self.reason!r}, good={self._good}, bad={self._bad}, failures={self.failures}, "
            f"until={self.until:g} after {self._ejected_for:g})"
        )


def may_eject(ejected: int, servers: int, outliers: Outliers) -> bool:
    """Whether one more of an upstream's `servers` may be ejected when `ejected` of them are."""
    return ejected + 1 <= outliers.eject_share_max * servers


WARM_UP_STEPS: Final = 10


def warmth(elapsed: float, slow_start: float) -> float:
    """What share of its weight a server takes `elapsed` seconds after it came back, from a tenth in tenths to 1.0."""
    if elapsed >= slow_start:
        return 1.0
    return min(1.0, (1 + int(WARM_UP_STEPS * elapsed / slow_start)) / WARM_UP_STEPS)


def next_warmer(now: float, since: float, slow_start: float) -> float:
    """When that share grows next, for a server that came back at `since`; inf once it is whole."""
    elapsed = now - since
    if elapsed >= slow_start:
        return inf
    step = 1 + int(WARM_UP_STEPS * elapsed / slow_start)
    at = since + slow_start * step / WARM_UP_STEPS
    # Rounding may bring it back to now: a timer that is set to that rings for ever.
    return at if at > now else since + slow_start * (step + 1) / WARM_UP_STEPS

"""How often, and how many at once: by any key, in bounded memory.

Theory of operation
-------------------
A rate limit is a token bucket in the form of GCRA (the generic cell rate algorithm): one number for each key, the
time at which its bucket will be full again. Each request that passes moves that time on by the interval of one
request; how far it lies ahead is the key's debt, and a request passes while the debt leaves room for one more in
the burst. So within any span of time no more than `burst + rate x span` pass. All of it is counted in whole
nanoseconds, so that a burst is exactly a burst after a year of uptime.

A key without debt is like one that was never seen, so only keys in debt need to be remembered. The table holds a
number of them at most, in the order of their last use, and a new key pushes out the one that was idle longest. That
must not be a way to be rid of one's debt: what is pushed out leaves it behind in one of `POOLS` pools, by a keyed
hash that nobody outside can compute, and a key that isn't in the table begins with its pool's debt, the largest that
was left there. So pushing keys out gains nobody anything, and whoever is active stays in the table by being active.
The price is paid by strangers only, and only while more keys are in debt than the table holds: those who share a
pool then share a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Protocol

from proxycore.config.units import Rate, format_rate
from proxycore.config.variables import parse_variable
from proxycore.policies.variables import Scope, reader_of

POOLS = 4_096
"""Pools of what was pushed out, for each table. 32 KiB, and few enough strangers that meet."""

_LONGEST_KEY = 64
"""Bytes of a key that are kept; of a longer one its digest is, so that memory is bounded whatever a header holds."""

_IS_V4 = 1 << 128
_NANOSECONDS = 1_000_000_000

Key = Callable[[Scope], bytes]
"""Reads what a limit counts by."""


class RatePolicy:
    """A rate and a burst as the table needs them: whole nanoseconds.

    `interval` is the time that one request takes, rounded up; `tolerance` the debt with which a request still
    passes.
    """

    __slots__ = ("burst", "interval", "rate", "tolerance")

    def __init__(self, rate: Rate, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self.interval = max(1, -int(-rate.per * _NANOSECONDS // rate.count))
        self.tolerance = self.interval * (burst - 1)

    def is_exceeded(self, debt: int) -> bool:
        """Whether a request that met this debt was refused."""
        return debt > self.tolerance

    def left(self, debt: int) -> int:
        """How many more requests would pass at once after one that met this debt."""
        return max(0, (self.tolerance - debt) // self.interval)

    def seconds_until(self, debt: int) -> float:
        """How long until a request that was refused with this debt would pass."""
        return (debt - self.tolerance) / _NANOSECONDS

    def __str__(self) -> str:
        return f"{format_rate(self.rate)}, bursts of {self.burst}"

    def __repr__(self) -> str:
        return f"RatePolicy({self.rate}, burst={self.burst})"


class RateStore(Protocol):
    """Where debts are kept. The table below is this process's own; one that machines share is another."""

    def take(self, key: bytes, policy: RatePolicy, now: float) -> int:
        """The debt in nanoseconds that `key` had at `now`; unless that exceeds the policy, one request is added."""


class RateTable:
    """The debts of at most `capacity` keys; see the top of this module. `secret` is 16 unpredictable bytes.

    `pushed_out` counts keys that had to leave while they were in debt.
    """

    __slots__ = ("_full_at", "_pools", "_secret", "capacity", "pushed_out")

    def __init__(self, capacity: int, secret: bytes) -> None:
        self.capacity = capacity
        self.pushed_out = 0
        self._secret = secret
        self._full_at: dict[bytes, int] = {}
        self._pools: dict[int, int] = {}

    def take(self, key: bytes, policy: RatePolicy, now: float) -> int:
        at = int(now * _NANOSECONDS)
        table = self._full_at
        full_at = table.pop(key, None)
        if full_at is None:
            full_at = self._pools.get(self._pool_of(key), 0) if self._pools else 0
            if len(table) >= self.capacity:
                self._push_out(at)
            self._forget_idle(at)
        debt = full_at - at
        if debt <= 0:
            table[key] = at + policy.interval
            return 0
        # Also who is refused moves to the end: an attacker's own debt is the last to be forgotten.
        table[key] = full_at if debt > policy.tolerance else full_at + policy.interval
        return debt

    def copy(self) -> RateTable:
        """Another with the same debts."""
        copied = RateTable(self.capacity, self._secret)
        copied._full_at = self._full_at.copy()
        copied._pools = self._pools.copy()
        return copied

    def _push_out(self, at: int) -> None:
        """Make room for one key."""
        while len(self._full_at) >= self.capacity:
            key = next(iter(self._full_at))
            full_at = self._full_at.pop(key)
            if full_at > at:
                self.pushed_out += 1
                pool = self._pool_of(key)
                self._pools[pool] = max(full_at, self._pools.get(pool, 0))

    def _forget_idle(self, at: int) -> None:
        """Each new key takes two that have no debt any more with it, so that the table shrinks after a flood."""
        table = self._full_at
        for _ in range(min(2, len(table))):
            key = next(iter(table))
            if table[key] > at:
                return
            del table[key]

    def _pool_of(self, key: bytes) -> int:
        return int.from_bytes(blake2b(key, digest_size=4, key=self._secret).digest()) % POOLS

    def __len__(self) -> int:
        return len(self._full_at)

    def __repr__(self) -> str:
        return f"RateTable({len(self._full_at)} of {self.capacity} keys, {len(self._pools)} pools)"


class ConcurrencyTable:
    """How many exchanges of each key are going on. It holds no more keys than there are exchanges."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}

    def enter(self, key: bytes, most: int) -> bool:
        """Count one more of `key`. False if `most` are going on; else call `leave` when it is over."""
        count = self._counts.get(key, 0)
        if count >= most:
            return False
        self._counts[key] = count + 1
        return True

    def copy(self) -> ConcurrencyTable:
        """Another with the same counts."""
        copied = ConcurrencyTable()
        copied._counts = self._counts.copy()
        return copied

    def count(self, key: bytes) -> int:
        """How many exchanges of `key` are going on."""
        return self._counts.get(key, 0)

    def leave(self, key: bytes) -> None:
        """One of `key` is over."""
        count = self._counts[key] - 1
        if count:
            self._counts[key] = count
        else:
            del self._counts[key]

    def __len__(self) -> int:
        return len(self._counts)

    def __repr__(self) -> str:
        return f"ConcurrencyTable({self._counts!r})"


class LimitCounts:
    """What a limit did since the process began: requests that were refused, and such as had to wait."""

    __slots__ = ("delayed", "refused")

    def __init__(self) -> None:
        self.delayed = self.refused = 0


def compile_key(variables: Sequence[str]) -> Key:
    """A key of one or several variables. No two lists of values share a key."""
    if tuple(variables) == ("client_ip",):
        return _client_network  # by far the most common, and never long
    readers = [_client_network if name == "client_ip" else reader_of(parse_variable(name)) for name in variables]
    if len(readers) == 1:
        (reader,) = readers
        return lambda scope: _bounded(reader(scope))

    def key(scope: Scope) -> bytes:
        values = [reader(scope) for reader in readers]
        return _bounded(b"".join([b"%d:%b" % (len(value), value) for value in values]))

    return key


def _client_network(scope: Scope) -> bytes:
    """An address of IPv4, or the /64 of one of IPv6: so many addresses are one customer's (RFC 6177)."""
    client = scope.client
    number = client.number
    if number is None or number >= _IS_V4:
        return client.ip.encode()
    return b"%x::/64" % (number >> 64)


def _bounded(key: bytes) -> bytes:
    return key if len(key) <= _LONGEST_KEY else blake2b(key, digest_size=_LONGEST_KEY).digest()


def rate_limit_fields(name: str, policy: RatePolicy, wait: float) -> list[tuple[bytes, bytes]]:
    """What a refused client is told: Retry-After, and the fields of draft-ietf-httpapi-ratelimit-headers.

    `wait` are the seconds until a request would pass.
    """
    seconds = max(1, -int(-wait // 1))
    window = max(1, -int(-policy.rate.per // 1))
    return [
        (b"retry-after", b"%d" % seconds),
        (b"ratelimit-policy", b'"%b";q=%d;w=%d' % (name.encode(), policy.rate.count, window)),
        (b"ratelimit", b'"%b";r=0;t=%d' % (name.encode(), seconds)),
    ]

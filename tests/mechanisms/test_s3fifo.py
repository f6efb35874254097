"""What is kept in a bounded number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxycore.mechanisms.s3fifo import S3Fifo, used

CAPACITY = 20_000


class Thing:
    def __init__(self, name: int, cost: int) -> None:
        self.fingerprint = name.to_bytes(16, "big")
        self.cost = cost
        self.uses = 0


class Keeping(RuleBasedStateMachine):
    """Whatever is added, used and reserved: the bytes are counted right and bounded, and nothing is lost silently."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[bytes, Thing] = {}
        self.reserved = 0
        self.queue: S3Fifo[Thing] = S3Fifo(CAPACITY, self.dropped)

    def dropped(self, thing: Thing) -> None:
        assert self.kept.pop(thing.fingerprint) is thing

    @rule(name=st.integers(0, 60), cost=st.integers(1, 6000))
    def add(self, name: int, cost: int) -> None:
        thing = Thing(name, cost)
        self.kept.pop(thing.fingerprint, None)
        if self.queue.add(thing):
            self.kept[thing.fingerprint] = thing
        else:
            assert cost + self.reserved > self.queue.capacity

    @rule(name=st.integers(0, 60))
    def use(self, name: int) -> None:
        thing = self.kept.get(name.to_bytes(16, "big"))
        if thing is not None:
            used(thing)

    @rule(name=st.integers(0, 60))
    def remove(self, name: int) -> None:
        fingerprint = name.to_bytes(16, "big")
        assert self.queue.remove(fingerprint) is self.kept.pop(fingerprint, None)

    @rule(cost=st.integers(1, 9000))
    def reserve(self, cost: int) -> None:
        if self.queue.reserve(cost):
            self.reserved += cost
        else:
            assert self.reserved + cost > self.queue.capacity

    @rule()
    def release(self) -> None:
        self.queue.release(self.reserved)
        self.reserved = 0

    @rule(capacity=st.integers(10_000, CAPACITY))
    def resize(self, capacity: int) -> None:
        self.queue.release(self.reserved)
        self.reserved = 0
        self.queue.resize(capacity)

    @invariant()
    def bounded(self) -> None:
        assert self.queue.used <= self.queue.capacity
        assert {thing.fingerprint: thing for thing in self.queue} == self.kept
        assert self.queue.used >= sum(thing.cost for thing in self.kept.values()) + self.reserved


TestKeeping = Keeping.TestCase
TestKeeping.settings = settings(max_examples=25, stateful_step_count=30)


def zipf_trace(seed: int, things: int, length: int) -> list[int]:
    """Requests for things whose popularity falls by Zipf's law (exponent 0.9), with scans of what is asked for once."""
    random = Random(seed)
    weights = [1 / (rank + 1) ** 0.9 for rank in range(things)]
    popular = random.choices(range(things), weights, k=length)
    scanned = things
    for start in range(0, length, length // 10):
        for place in range(start, min(length, start + length // 40)):
            popular[place] = scanned = scanned + 1
    return popular


def hits_of_lru(trace: list[int], capacity: int) -> int:
    kept: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for name in trace:
        if name in kept:
            kept.move_to_end(name)
            hits += 1
            continue
        kept[name] = None
        if len(kept) > capacity:
            kept.popitem(last=False)
    return hits


def hits_of_s3fifo(trace: list[int], capacity: int) -> int:
    cost = 10_000
    kept: dict[int, Thing] = {}
    queue: S3Fifo[Thing] = S3Fifo(capacity * cost, lambda thing: kept.pop(int.from_bytes(thing.fingerprint, "big")))
    hits = 0
    for name in trace:
        if name in kept:
            used(kept[name])
            hits += 1
            continue
        kept[name] = Thing(name, cost)
        queue.add(kept[name])
    return hits


def test_it_hits_more_than_lru_on_a_zipf_trace_with_scans() -> None:
    trace = zipf_trace(seed=1, things=5_000, length=60_000)
    lru, ours = hits_of_lru(trace, 500), hits_of_s3fifo(trace, 500)
    assert ours > lru * 1.1, f"{ours / len(trace):.3f} beside LRU's {lru / len(trace):.3f}"


@given(st.integers(1, 6))
def test_a_use_keeps_what_is_used(uses: int) -> None:
    kept: dict[bytes, Thing] = {}
    queue: S3Fifo[Thing] = S3Fifo(100_000, lambda thing: kept.pop(thing.fingerprint))
    hot = Thing(0, 1000)
    kept[hot.fingerprint] = hot
    queue.add(hot)
    for name in range(1, 1000):
        used(hot)
        cold = Thing(name, 1000)
        kept[cold.fingerprint] = cold
        queue.add(cold)
    assert hot.fingerprint in kept

"""The store: found by key and Vary, bounded in bytes, nothing left behind."""

from __future__ import annotations

import tracemalloc

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxycore.policies.caching.freshness import Freshness
from proxycore.policies.caching.keys import Vary
from proxycore.policies.caching.store import VARIANTS_MAX, Store
from proxycore.policies.caching.stored import StoredResponse
from proxycore.words.commands import Purge
from proxycore.words.messages import Field, Headers, RequestHead, ResponseHead

SIZE = 60_000
FRESH = Freshness(60.0, is_explicit=True)


def stored(
    key: bytes, content: bytes = b"x", vary: Vary = (), *, made_at: float = 0.0, tag: bytes = b"t"
) -> StoredResponse:
    head = ResponseHead(200, Headers([(b"content-type", b"text/plain")]), length=len(content), has_content=True)
    return StoredResponse(
        key,
        b"http://a/" + key,
        vary,
        head,
        content,
        FRESH,
        received_at=0.0,
        initial_age=0.0,
        made_at=made_at,
        tags=frozenset((tag,)),
    )


def get(*fields: Field) -> RequestHead:
    return RequestHead(b"GET", b"/", b"a", Headers(list(fields)))


class Storing(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model: dict[tuple[bytes, bytes | None], StoredResponse] = {}
        self.store = Store(SIZE, 20_000, dropped=self.dropped)

    def dropped(self, response: StoredResponse) -> None:
        del self.model[response.key, response.vary[0][1] if response.vary else None]

    @rule(
        key=st.sampled_from([b"a", b"b", b"c", b"d"]), value=st.none() | st.sampled_from([b"1", b"2"]), data=st.data()
    )
    def put(self, key: bytes, value: bytes | None, data: st.DataObject) -> None:
        size = data.draw(st.integers(0, 25_000))
        response = stored(key, b"x" * size, () if value is None else ((b"foo", value),))
        self.model.pop((key, value), None)
        if self.store.put(response):
            self.model[key, value] = response
        else:
            assert size > 20_000 or response.cost + self.store.reserved > SIZE

    @rule(key=st.sampled_from([b"a", b"b", b"c", b"d"]), value=st.sampled_from([b"1", b"2", b"3"]))
    def find(self, key: bytes, value: bytes) -> None:
        found = self.store.find(key, get((b"foo", value)))
        fitting = [self.model.get((key, value)), self.model.get((key, None))]
        assert found in fitting if any(fitting) else found is None

    @rule(key=st.sampled_from([b"a", b"b", b"c", b"d"]))
    def invalidate(self, key: bytes) -> None:
        gone = [name for name in self.model if name[0] == key]
        for name in gone:
            del self.model[name]
        assert self.store.invalidate(b"http://a/" + key) == len(gone)

    @rule()
    def purge(self) -> None:
        assert self.store.purge(Purge("prefix", "http://a/b")) == len([n for n in self.model if n[0] == b"b"])
        self.model = {name: response for name, response in self.model.items() if name[0] != b"b"}

    @rule(size=st.integers(1, 30_000))
    def reserve_and_release(self, size: int) -> None:
        assert self.store.reserve(size)
        assert self.store.used <= SIZE
        self.store.release(size)

    @invariant()
    def consistent(self) -> None:
        assert self.store.used <= SIZE
        assert len(self.store) == len(self.model)
        assert all(self.store.has(key) for key, _ in self.model)


TestStoring = Storing.TestCase
TestStoring.settings = settings(max_examples=25, stateful_step_count=30)


def test_of_several_that_fit_the_newest_serves() -> None:
    store = Store(SIZE, SIZE)
    store.put(stored(b"a", b"old", (), made_at=1.0))
    newest = stored(b"a", b"new", ((b"foo", b"1"),), made_at=2.0)
    store.put(newest)
    assert store.find(b"a", get((b"foo", b"1"))) is newest


def test_a_vary_on_something_new_each_time_fills_nothing() -> None:
    store = Store(10_000_000, 1000)
    for number in range(VARIANTS_MAX * 3):
        store.put(stored(b"a", b"x", ((b"foo", b"%d" % number),)))
    assert len(store) == VARIANTS_MAX


def test_tags_are_purged() -> None:
    store = Store(SIZE, SIZE)
    store.put(stored(b"a", tag=b"news"))
    store.put(stored(b"b"))
    assert store.purge(Purge("tag", "news")) == 1
    assert [response.key for response in store] == [b"b"]


def test_the_bytes_that_are_counted_are_those_that_are_taken() -> None:
    store = Store(100_000_000, 1_000_000)
    tracemalloc.start()
    try:
        for number in range(600):
            fields = [(b"name-%d-%d" % (field, number), b"value %d %d" % (field, number)) for field in range(10)]
            head = ResponseHead(200, Headers(fields), length=1000, has_content=True)
            key = b"route\nupstream\n%d" % number
            content = (b"%d" % number).ljust(1000)
            store.put(
                StoredResponse(
                    key,
                    b"http://a/%d" % number,
                    (),
                    head,
                    content,
                    Freshness(60.0 + number, is_explicit=True),
                    received_at=0.0 + number,
                    initial_age=0.0,
                    made_at=0.5 + number,
                )
            )
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= store.used <= taken * 1.5

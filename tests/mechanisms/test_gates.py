"""Gates and watermarks against models too simple to be wrong."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from proxycore.mechanisms.gates import BUFFER, HELD, PEER_SLOW, Gate, Watermark

REASONS = st.sampled_from([BUFFER, PEER_SLOW, HELD])


@given(st.lists(st.tuples(st.booleans(), REASONS), max_size=60))
def test_a_gate_is_the_set_of_its_reasons(acts: list[tuple[bool, int]]) -> None:
    gate = Gate()
    model: set[int] = set()
    for shuts, reason in acts:
        was_open = not model
        if shuts:
            model.add(reason)
            assert gate.shut(reason) is (was_open and bool(model))
        else:
            model.discard(reason)
            assert gate.open(reason) is (not was_open and not model)
        assert gate.is_open is (not model)
        assert gate.reasons == sum(model)


def test_reasons_are_separate_bits() -> None:
    assert BUFFER + PEER_SLOW + HELD == BUFFER | PEER_SLOW | HELD


def test_a_gate_shows_why_it_is_shut() -> None:
    gate = Gate()
    assert repr(gate) == "Gate(open)"
    gate.shut(PEER_SLOW)
    gate.shut(BUFFER)
    assert repr(gate) == "Gate(shut: BUFFER | PEER_SLOW)"


FACTS = st.one_of(st.integers(0, 30), st.tuples(st.integers(0, 30)), st.just("resumed"))


@given(st.integers(1, 50), st.lists(FACTS, max_size=60))
def test_a_watermark_adds_up_what_was_refused_and_sent_behind_it(
    limit: int, facts: list[int | tuple[int] | str]
) -> None:
    watermark = Watermark(limit)
    since_pause: list[int] | None = None
    for fact in facts:
        full = since_pause is not None and sum(since_pause) >= limit
        if isinstance(fact, tuple):
            (refused,) = fact
            is_new = since_pause is None
            since_pause = [refused] if since_pause is None else since_pause
            assert watermark.writing_paused(refused) is (is_new and refused >= limit)
        elif fact == "resumed":
            assert watermark.writing_resumed() is full
            since_pause = None
        else:
            assert isinstance(fact, int)
            if since_pause is not None:
                since_pause.append(fact)
            is_full = since_pause is not None and sum(since_pause) >= limit
            assert watermark.sent(fact) is (is_full and not full)
        assert watermark.waiting == sum(since_pause or [])
        assert watermark.is_full is (since_pause is not None and watermark.waiting >= limit)


def test_a_watermark_without_a_limit_is_never_full() -> None:
    watermark = Watermark(inf)
    assert not watermark.writing_paused(1 << 40)
    assert not watermark.sent(1 << 40)
    assert not watermark.writing_resumed()


def test_a_watermark_shows_its_state() -> None:
    watermark = Watermark(10)
    assert repr(watermark) == "Watermark(flowing, 0/10)"
    watermark.writing_paused(1)
    watermark.sent(3)
    assert repr(watermark) == "Watermark(paused, 4/10)"
    watermark.sent(6)
    assert repr(watermark) == "Watermark(full, 10/10)"

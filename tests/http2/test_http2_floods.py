"""What a peer may send too much of: each flood ends its connection, and honest peers notice nothing."""

from __future__ import annotations

import pytest
from hpack.hpack import Encoder

from proxycore.mechanisms.http2 import frames
from proxycore.mechanisms.http2.blocks import response_block
from proxycore.mechanisms.http2.events import ConnectionFailed, Event
from proxycore.words.messages import Headers, ResponseHead
from tests.http2.wire import GET, POST, Pair, block, data, head, ping, reset
from tests.steps import steps

OK = response_block(ResponseHead(200, Headers()))


def last(events: list[Event]) -> int:
    """The code of the connection error at the end, or -1."""
    return events[-1].code if events and isinstance(events[-1], ConnectionFailed) else -1


FLOODS = {
    "PING": ping(),
    "SETTINGS": frames.settings({}),
    "acknowledgements": frames.frame(frames.SETTINGS, frames.ACK, 0),
    "PRIORITY": frames.frame(frames.PRIORITY, 0, 9, bytes(5)),
    "WINDOW_UPDATE": frames.window_update(0, 1),
    "WINDOW_UPDATE of a stream": frames.window_update(1, 1),
    "empty DATA": data(1),
    "DATA of padding alone": frames.frame(frames.DATA, 0x8, 1, b"\x03" + bytes(3)),
    "GOAWAY": frames.goaway(0, 0),
    "unknown frames": frames.frame(200, 0, 0, b"x"),
}


@pytest.mark.parametrize("frame", FLOODS.values(), ids=FLOODS.keys())
def test_frames_that_bring_nothing(frame: bytes) -> None:
    pair = Pair()
    pair.send(head(1, POST, ends=False))
    assert last(pair.send(*[frame] * 900)) == -1
    assert last(pair.send(*[frame] * 200)) == frames.ENHANCE_YOUR_CALM
    assert len(pair.session.take_output()) < 32 * 1024


def test_a_few_of_them_each_second_are_nothing_to_mind() -> None:
    pair = Pair()
    for second in range(100):
        pair.now = float(second)
        assert last(pair.send(*[ping()] * 90)) == -1


def test_window_updates_are_paid_for_by_what_is_sent() -> None:
    pair = Pair()
    pair.send(head(1), frames.settings({frames.SETTING_WINDOW: 1 << 20}), frames.window_update(0, 1 << 20))
    pair.session.send_head(1, OK, is_last=False)
    for _ in range(3000):
        pair.session.send_data(1, b"x" * 4096, is_last=False)
        assert last(pair.send(frames.window_update(1, 4096), frames.window_update(0, 4096))) == -1
        pair.session.take_output()


def test_rapid_reset() -> None:
    pair = Pair()
    sent = b"".join(head(stream) + reset(stream) for stream in range(1, 199, 2))
    assert last(pair.send(sent)) == -1
    assert last(pair.send(b"".join(head(stream) + reset(stream) for stream in range(199, 209, 2)))) == 11


def test_resets_are_forgiven_with_time() -> None:
    pair = Pair()
    for second in range(50):
        pair.now = float(second)
        at = second * 20 + 1
        assert last(pair.send(b"".join(head(stream) + reset(stream) for stream in range(at, at + 18, 2)))) == -1


PROVOKED = {
    "malformed requests": lambda stream: head(stream, GET[:2]),
    "windows opened by nothing": lambda stream: head(stream) + frames.window_update(stream, 0),
    "content behind the end": lambda stream: head(stream) + data(stream, b"x"),
    "a head behind the end": lambda stream: head(stream) + head(stream),
    "windows too wide": lambda stream: head(stream) + frames.window_update(stream, 2**31 - 1),
}


@pytest.mark.parametrize("provoke", PROVOKED.values(), ids=PROVOKED.keys())
def test_resets_that_we_are_made_to_send_count_as_well(provoke: object) -> None:
    assert callable(provoke)
    pair = Pair()
    assert last(pair.send(*[provoke(stream) for stream in range(1, 199, 2)])) == -1
    assert last(pair.send(*[provoke(stream) for stream in range(199, 219, 2)])) == frames.ENHANCE_YOUR_CALM


BEHIND_A_RESET = {
    "content": data(1, b"x"),
    "ends": data(1, ends=True),
    "trailers": head(1, [(b"x", b"y")]),
}


@pytest.mark.parametrize("frame", BEHIND_A_RESET.values(), ids=BEHIND_A_RESET.keys())
def test_frames_behind_a_reset_of_ours_are_let_pass_but_not_for_ever(frame: bytes) -> None:
    pair = Pair()
    pair.send(head(1, POST, ends=False))
    pair.session.reset(1, frames.NO_ERROR)
    assert last(pair.send(*[frame] * 900)) == -1
    assert last(pair.send(*[frame] * 200)) == frames.ENHANCE_YOUR_CALM


def test_streams_beyond_the_limit_count_as_well() -> None:
    pair = Pair(streams=1)
    pair.send(head(1))
    assert last(pair.send(*[head(stream) for stream in range(3, 300, 2)])) == frames.ENHANCE_YOUR_CALM


def test_a_header_block_without_end() -> None:
    for part in (b"", b"x" * 16_000):
        pair = Pair()
        sent = [frames.frame(frames.CONTINUATION, 0, 1, part)] * 100
        assert last(pair.send(frames.frame(frames.HEADERS, 0, 1, b""), *sent)) == frames.ENHANCE_YOUR_CALM
        assert pair.session.buffered == 0


def test_an_hpack_bomb() -> None:
    pair = Pair()
    encoder = Encoder()
    bomb = encoder.encode([*GET, (b"x", b"y" * 3900)])
    pair.send(frames.frame(frames.HEADERS, 5, 1, bomb))
    bomb = frames.frame(frames.HEADERS, 5, 3, encoder.encode(GET) + b"\xbe" * 16_000)
    events: list[Event] = []
    assert steps(lambda: events.extend(pair.send(bomb))) < 5_000
    assert last(events) == frames.ENHANCE_YOUR_CALM


def test_many_small_crumbs_take_work_in_proportion() -> None:
    def spent(fields: int) -> int:
        pair = Pair(size=1 << 20)
        fillers = [(b"x%d" % number, b"") for number in range(fields)]
        whole = block([*GET, (b"cookie", b"a"), *fillers, *[(b"cookie", b"b")] * fields])
        sent = (frames.frame(frames.HEADERS, 1, 1, whole[:8_000]), frames.frame(9, 4, 1, whole[8_000:]))
        return steps(lambda: pair.send(*sent))

    assert spent(1000) < 2.5 * spent(500)


def test_settings_that_nobody_knows() -> None:
    pair = Pair()
    assert last(pair.send(frames.settings(dict.fromkeys(range(100, 200), 1)))) == frames.ENHANCE_YOUR_CALM
    pair = Pair()
    sent = [frames.settings({number: 1}) for number in range(100, 200)]
    assert last(pair.send(*sent)) == frames.ENHANCE_YOUR_CALM

"""A session, fed frames that it may like or not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.mechanisms.http2 import frames
from proxycore.mechanisms.http2.blocks import response_block, trailer_block
from proxycore.mechanisms.http2.events import (
    Acknowledged,
    ConnectionFailed,
    DataReceived,
    Event,
    GoawayReceived,
    HeadReceived,
    RequestEnded,
    RequestRefused,
    StreamFailed,
    StreamReset,
    WindowOpened,
)
from proxycore.words.messages import Headers, ResponseHead
from tests.http2.wire import GET, OPENING, POST, SETTINGS_ACK, FrameReader, Pair, block, data, head, ping, reset

OK = response_block(ResponseHead(200, Headers(), length=2))


def kinds(events: Sequence[Event]) -> list[type[Event]]:
    return [type(event) for event in events]


def failure(events: Sequence[Event]) -> int:
    """The code of the connection error that these end with."""
    assert isinstance(events[-1], ConnectionFailed), events
    return events[-1].code


def test_a_request_and_its_response() -> None:
    pair = Pair()
    [event] = pair.send(head(1))
    assert isinstance(event, HeadReceived)
    assert event.is_whole
    assert event.head.target == b"/a"
    pair.session.send_head(1, OK, is_last=False)
    pair.session.send_data(1, b"hi", is_last=True)
    response, content = pair.got()
    assert response.fields == [(b":status", b"200"), (b"content-length", b"2")]
    assert (content.payload, content.ends) == (b"hi", True)


def test_the_greeting_tells_the_limits() -> None:
    pair = Pair(opened=False, streams=7, size=5000, window=20_000)
    greeting, opened = FrameReader().feed(pair.session.take_output())
    entries = [greeting.payload[at : at + 6] for at in range(0, len(greeting.payload), 6)]
    told = {int.from_bytes(entry[:2], "big"): int.from_bytes(entry[2:], "big") for entry in entries}
    assert told == {frames.SETTING_MAX_STREAMS: 7, frames.SETTING_WINDOW: 20_000, frames.SETTING_HEAD_SIZE: 5000}
    assert (opened.kind, opened.stream, int.from_bytes(opened.payload, "big")) == (8, 0, 2**31 - 1 - 65_535)


def test_content_and_trailers() -> None:
    pair = Pair()
    events = pair.send(head(1, POST, ends=False), data(1, b"abc"), head(1, [(b"x-sum", b"9")]))
    assert kinds(events) == [HeadReceived, DataReceived, RequestEnded]
    assert isinstance(events[2], RequestEnded)
    assert events[2].trailers == [(b"x-sum", b"9")]
    pair.session.send_head(1, OK, is_last=False)
    pair.session.send_head(1, trailer_block([(b"x-out", b"1")]), is_last=True)
    assert [got.ends for got in pair.got()] == [False, True]


def test_interim_heads_come_before_the_final_one() -> None:
    pair = Pair()
    pair.send(head(1))
    for status in (103, 103):
        pair.session.send_head(1, response_block(ResponseHead(status, Headers())), is_last=False, is_interim=True)
    pair.session.send_head(1, OK, is_last=True)
    assert [got.fields[0][1] for got in pair.got()] == [b"103", b"103", b"200"]


def test_a_head_in_many_frames() -> None:
    whole = block([*GET, (b"x-long", b"y" * 200)])
    parts = [whole[at : at + 20] for at in range(0, len(whole), 20)]
    sent = [frames.frame(frames.HEADERS, frames.END_STREAM, 1, parts[0])]
    sent += [frames.frame(frames.CONTINUATION, 0, 1, part) for part in parts[1:-1]]
    sent.append(frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, parts[-1]))
    pair = Pair()
    assert pair.send(*sent[:-1]) == []
    assert pair.session.mid_head
    assert kinds(pair.send(sent[-1])) == [HeadReceived]
    assert not pair.session.mid_head


def test_padding_and_priority_are_taken_off() -> None:
    flags = frames.END_HEADERS | frames.END_STREAM | 0x8 | 0x20
    padded = frames.frame(frames.HEADERS, flags, 1, b"\x03" + bytes(4) + b"\x10" + block(GET) + bytes(3))
    pair = Pair()
    assert kinds(pair.send(padded)) == [HeadReceived]
    pair.send(head(3, POST, ends=False))
    [event] = pair.send(frames.frame(frames.DATA, 0x8, 3, b"\x05abc" + bytes(5)))
    assert isinstance(event, DataReceived)
    assert (event.data, event.credit) == (b"abc", 9)


def test_credit_is_given_back_only_when_told() -> None:
    pair = Pair(window=16_384)
    pair.send(SETTINGS_ACK, head(1, POST, ends=False))
    pair.send(data(1, b"x" * 16_000))
    assert pair.got() == []
    pair.session.credit(1, 16_000)
    [update] = pair.got()
    assert (update.kind, update.stream, int.from_bytes(update.payload, "big")) == (frames.WINDOW_UPDATE, 1, 16_000)


def test_more_content_than_the_window_lets_in() -> None:
    pair = Pair(window=16_384)
    events = pair.send(head(1, POST, ends=False), data(1, b"x" * 16_384), data(1, b"x"))
    assert failure(events) == frames.FLOW_CONTROL_ERROR


def test_a_client_that_has_not_read_our_settings_has_the_default_window() -> None:
    pair = Pair(opened=False, window=16_384)
    sent = [data(1, b"x" * 16_000)] * 4
    assert kinds(pair.send(OPENING, head(1, POST, ends=False), *sent))[-1] is DataReceived


def test_a_stream_that_began_before_our_settings_were_read_goes_on() -> None:
    pair = Pair(opened=False, window=1_000)
    pair.send(OPENING, head(1, POST, ends=False), data(1, b"x" * 4_000))
    pair.session.credit(1, 4_000)
    pair.got()
    pair.send(SETTINGS_ACK)
    [update] = pair.got()
    assert (update.kind, update.stream, int.from_bytes(update.payload, "big")) == (frames.WINDOW_UPDATE, 1, 4_000)


def test_nothing_is_sent_beyond_the_windows() -> None:
    pair = Pair()
    pair.send(frames.settings({frames.SETTING_WINDOW: 10}), head(1))
    pair.session.send_head(1, OK, is_last=False)
    assert pair.session.room(1) == 10
    pair.session.send_data(1, b"x" * 10, is_last=False)
    assert pair.session.room(1) == 0
    assert kinds(pair.send(frames.window_update(1, 5))) == [WindowOpened]
    assert pair.session.room(1) == 5
    assert kinds(pair.send(frames.settings({frames.SETTING_WINDOW: 0}))) == [WindowOpened]
    assert pair.session.room(1) == 0


def test_malformed_requests_cost_their_stream() -> None:
    pair = Pair()
    events = pair.send(head(1, GET[:2]), head(3))
    assert kinds(events) == [StreamFailed, HeadReceived]
    [got] = pair.got()
    assert (got.kind, got.stream, got.code) == (frames.RST_STREAM, 1, frames.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "sent",
    [
        [data(1, b"abcdef")],
        [data(1, b"abc", ends=True)],
        [data(1, b"abc"), head(1, [(b"x", b"1")])],
        [data(1, b"abcde"), head(1, [(b"x", b"1")], ends=False)],
        [data(1, b"abcde"), head(1, [(b":path", b"1")])],
        [frames.window_update(1, 0)],
        [frames.window_update(1, 2**31 - 1)],
        [frames.frame(frames.PRIORITY, 0, 1, b"1234")],
    ],
    ids=["too much", "too little", "too little, trailers", "open trailers", "bad trailers", "window", "wide", "size"],
)
def test_faults_on_an_open_stream_cost_that_stream(sent: list[bytes]) -> None:
    pair = Pair()
    assert kinds(pair.send(head(1, [*POST, (b"content-length", b"5")], ends=False))) == [HeadReceived]
    assert kinds(pair.send(*sent))[-1] is StreamFailed
    assert pair.got()[-1].kind == frames.RST_STREAM
    assert kinds(pair.send(head(3))) == [HeadReceived]


def test_a_head_that_is_not_served_is_told_as_such() -> None:
    pair = Pair(size=1000)
    [refused] = pair.send(head(1, [*GET, (b"x", b"y" * 1000)]))
    assert isinstance(refused, RequestRefused)
    assert refused.refused.status == 431


def test_a_stream_too_many_is_refused() -> None:
    pair = Pair(streams=2)
    events = pair.send(head(1), head(3, POST, ends=False), head(5))
    assert kinds(events) == [HeadReceived, HeadReceived]
    [got] = pair.got()
    assert (got.stream, got.code) == (5, frames.REFUSED_STREAM)
    pair.session.send_head(1, OK, is_last=True)
    assert kinds(pair.send(head(7))) == [HeadReceived]


def test_frames_of_a_stream_that_we_reset_are_passed_over() -> None:
    pair = Pair()
    pair.send(head(1, POST, ends=False))
    pair.session.reset(1, frames.NO_ERROR)
    pair.got()
    assert pair.send(data(1, b"x" * 100), data(1, b"x", ends=True), reset(1), frames.window_update(1, 1)) == []
    assert pair.got() == []
    assert kinds(pair.send(head(3))) == [HeadReceived]


def test_a_reset_is_told() -> None:
    pair = Pair()
    [_, event] = pair.send(head(1), reset(1, frames.CANCEL))
    assert isinstance(event, StreamReset)
    assert event.code == frames.CANCEL


CONNECTION_ERRORS = {
    "DATA on an idle stream": ([data(1, b"x")], frames.PROTOCOL_ERROR),
    "RST_STREAM on an idle stream": ([reset(1)], frames.PROTOCOL_ERROR),
    "WINDOW_UPDATE on an idle stream": ([frames.window_update(1, 1)], frames.PROTOCOL_ERROR),
    "WINDOW_UPDATE on a stream of ours": ([frames.window_update(2, 1)], frames.PROTOCOL_ERROR),
    "a stream of ours": ([head(2)], frames.PROTOCOL_ERROR),
    "a lower stream": ([head(5), head(3)], frames.PROTOCOL_ERROR),
    "a CONTINUATION of nothing": ([frames.frame(frames.CONTINUATION, 4, 1, b"")], frames.PROTOCOL_ERROR),
    "a frame within a block": ([frames.frame(frames.HEADERS, 0, 1, b""), ping()], frames.PROTOCOL_ERROR),
    "PRIORITY within a block": ([frames.frame(1, 0, 1, b""), frames.frame(2, 0, 3, bytes(5))], frames.PROTOCOL_ERROR),
    "an unknown frame within a block": ([frames.frame(1, 0, 1, b""), frames.frame(77, 0, 1)], frames.PROTOCOL_ERROR),
    "PUSH_PROMISE": ([frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(4))], frames.PROTOCOL_ERROR),
    "HEADERS of no stream": ([head(0)], frames.PROTOCOL_ERROR),
    "DATA of no stream": ([data(0, b"x")], frames.PROTOCOL_ERROR),
    "PRIORITY of no stream": ([frames.frame(frames.PRIORITY, 0, 0, bytes(5))], frames.PROTOCOL_ERROR),
    "a GOAWAY of a stream": ([frames.frame(frames.GOAWAY, 0, 1, bytes(8))], frames.PROTOCOL_ERROR),
    "a PING of another size": ([ping(b"123")], frames.FRAME_SIZE_ERROR),
    "a PING of a stream": ([frames.frame(frames.PING, 0, 1, bytes(8))], frames.PROTOCOL_ERROR),
    "SETTINGS of another size": ([frames.frame(frames.SETTINGS, 0, 0, bytes(5))], frames.FRAME_SIZE_ERROR),
    "an acknowledgement that says more": ([frames.frame(frames.SETTINGS, 1, 0, bytes(6))], frames.FRAME_SIZE_ERROR),
    "a GOAWAY that is too short": ([frames.frame(frames.GOAWAY, 0, 0, bytes(7))], frames.FRAME_SIZE_ERROR),
    "a window opened by nothing": ([frames.window_update(0, 0)], frames.PROTOCOL_ERROR),
    "a window too wide": ([frames.window_update(0, 2**31 - 1)], frames.FLOW_CONTROL_ERROR),
    "an initial window too wide": ([frames.settings({4: 2**31})], frames.FLOW_CONTROL_ERROR),
    "a frame too large": ([frames.frame(frames.DATA, 0, 1, bytes(16_385))], frames.FRAME_SIZE_ERROR),
    "a block that is none": ([frames.frame(frames.HEADERS, 5, 1, b"\x80")], frames.COMPRESSION_ERROR),
    "a block that is cut": ([frames.frame(frames.HEADERS, 5, 1, b"\x40\x0aabc")], frames.COMPRESSION_ERROR),
    "a table too large": ([frames.frame(frames.HEADERS, 5, 1, b"\x3f\xff\xff\x7f")], frames.COMPRESSION_ERROR),
    "padding beyond its frame": ([frames.frame(frames.HEADERS, 0xD, 1, b"\xff\x82")], frames.PROTOCOL_ERROR),
}


@pytest.mark.parametrize(("sent", "code"), CONNECTION_ERRORS.values(), ids=CONNECTION_ERRORS.keys())
def test_connection_errors(sent: list[bytes], code: int) -> None:
    pair = Pair()
    assert failure(pair.send(*sent)) == code
    goaway = pair.got()[-1]
    assert (goaway.kind, goaway.code) == (frames.GOAWAY, code)
    assert pair.send(head(99)) == []
    assert pair.got() == []


def test_the_preface_must_be_one() -> None:
    assert failure(Pair(opened=False).send(b"GET / HTTP/1.1\r\n\r\n")) == frames.PROTOCOL_ERROR
    assert failure(Pair(opened=False).send(frames.PREFACE, head(1))) == frames.PROTOCOL_ERROR
    assert failure(Pair(opened=False).send(frames.PREFACE, SETTINGS_ACK)) == frames.PROTOCOL_ERROR


def test_a_request_on_a_stream_that_ended_is_the_connections_fault() -> None:
    pair = Pair()
    pair.send(head(1))
    pair.session.send_head(1, OK, is_last=True)
    assert failure(pair.send(head(1))) == frames.STREAM_CLOSED


def test_more_of_a_request_that_was_whole_is_a_fault_of_its_stream() -> None:
    for more in (data(1, b"x"), head(1)):
        pair = Pair()
        pair.send(head(1))
        assert kinds(pair.send(more)) == [StreamFailed]
        [got] = pair.got()
        assert (got.kind, got.code) == (frames.RST_STREAM, frames.STREAM_CLOSED)


def test_a_clients_goaway_ends_no_stream() -> None:
    pair = Pair()
    events = pair.send(head(1), frames.goaway(0, frames.NO_ERROR))
    assert kinds(events) == [HeadReceived, GoawayReceived]
    pair.session.send_head(1, OK, is_last=True)
    assert pair.got()[0].ends


def test_a_goaway_in_two_steps_lets_in_what_is_on_its_way() -> None:
    pair = Pair()
    pair.session.announce_goaway()
    first, asked = pair.got()
    assert (first.kind, first.payload[:4]) == (frames.GOAWAY, b"\x7f\xff\xff\xff")
    assert kinds(pair.send(head(1), ping(asked.payload, ack=True))) == [HeadReceived, Acknowledged]
    pair.session.goaway()
    assert pair.got()[0].payload[:4] == bytes((0, 0, 0, 1))
    assert pair.send(head(3)) == []
    [got] = pair.got()
    assert (got.stream, got.code) == (3, frames.REFUSED_STREAM)


def test_pings_are_answered_and_unknown_frames_passed_over() -> None:
    pair = Pair()
    assert pair.send(ping(b"abcdefgh"), frames.frame(99, 0xFF, 5, b"whatever"), frames.frame(2, 0, 9, bytes(5))) == []
    [got] = pair.got()
    assert (got.kind, got.flags, got.payload) == (frames.PING, frames.ACK, b"abcdefgh")


STORY = b"".join([
    OPENING, SETTINGS_ACK,
    head(1, [*POST, (b"content-length", b"6"), (b"cookie", b"a=1"), (b"cookie", b"b=2")], ends=False),
    frames.frame(frames.HEADERS, frames.END_STREAM, 3, block(GET)[:9]),
    frames.frame(frames.CONTINUATION, frames.END_HEADERS, 3, block(GET)[9:]),
    data(1, b"abc"), ping(), data(1, b"def"), head(1, [(b"x-sum", b"9")]),
    head(5, GET[:2]), head(7, POST, ends=False), reset(7), frames.window_update(3, 7), data(3, b"x"), data(9, b"y"),
])  # fmt: skip


def told(cuts: list[int]) -> tuple[list[str], bytes]:
    pair = Pair(opened=False)
    events: list[Event] = []
    ends = [*cuts, len(STORY)]
    for start, end in zip([0, *cuts], ends, strict=True):
        events += pair.send(STORY[start:end])
    return [repr(event) for event in events], pair.session.take_output()


@given(st.lists(st.integers(0, len(STORY)), max_size=8).map(sorted))
def test_any_split_of_the_same_bytes_tells_the_same(cuts: list[int]) -> None:
    assert told(cuts) == told([])


def test_byte_by_byte_tells_the_same() -> None:
    assert told(list(range(1, len(STORY)))) == told([])


FRAME = st.builds(
    frames.frame,
    st.sampled_from([0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 200]),
    st.sampled_from([0, 1, 4, 5, 8, 0xD, 0x20, 0x25, 0xFF]),
    st.sampled_from([0, 1, 1, 2, 3, 5, 2**31 - 1, 2**31]),
    st.one_of(st.binary(max_size=20), st.sampled_from([block(GET), block(POST), bytes(4), bytes(5), bytes(8)])),
)


@given(st.lists(st.one_of(FRAME, st.sampled_from([head(1), head(3, POST, ends=False), reset(1)])), max_size=12))
def test_no_frames_raise_anything(sent: list[bytes]) -> None:
    pair = Pair()
    for frame in sent:
        for event in pair.send(frame):
            if isinstance(event, HeadReceived | RequestRefused):
                pair.session.send_head(event.stream, OK, is_last=event.stream % 4 == 1)
    pair.got()

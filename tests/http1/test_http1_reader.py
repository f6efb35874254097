"""The readers' contract with whoever pulls them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from proxycore.mechanisms.http1.reader import RequestReader, ResponseReader
from proxycore.mechanisms.http1.strict import HeadLimits
from proxycore.words.errors import Malformed, Refused
from proxycore.words.messages import UNKNOWN, End, RequestHead, ResponseHead
from tests.http1.replay import TRAILER_LIMITS, pull, read_one, replay, request_reader, response_reader
from tests.steps import steps

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def targets(events: Sequence[object]) -> list[bytes]:
    return [event.target for event in events if isinstance(event, RequestHead)]


def test_pipelined_requests_wait_as_bytes() -> None:
    reader = request_reader()
    data = GET % 1 + GET % 2 + GET % 3
    reader.receive(data)
    head = reader.next_event()
    assert isinstance(head, RequestHead)
    assert head.target == b"/1"
    assert reader.buffered == 2 * len(GET % 2)
    reader.receive(GET % 4)
    assert targets(list(pull(reader))) == [b"/2", b"/3", b"/4"]
    assert reader.buffered == 0


def test_bytes_that_come_while_others_wait_keep_their_order() -> None:
    reader = request_reader()
    for number in range(1, 50):
        reader.receive(GET % (2 * number))
        reader.receive(GET % (2 * number + 1))
        head = reader.next_event()
        assert isinstance(head, RequestHead)
        assert head.target == b"/%d" % (number + 1)


def test_what_was_read_is_let_go_of() -> None:
    reader = request_reader()
    for _ in range(1000):
        reader.receive(GET % 1 + GET % 2)
        assert isinstance(reader.next_event(), RequestHead)
        reader.receive((GET % 3)[:-1])
        assert isinstance(reader.next_event(), RequestHead)
        reader.receive(b"\n")
        assert isinstance(reader.next_event(), RequestHead)
        assert reader.buffered == 0
    assert len(reader.unread) == 0


def test_content_is_handed_on_uncopied() -> None:
    reader = request_reader()
    block = bytes(64 * 1024)
    reader.receive(POST + b"Content-Length: %d\r\n\r\n" % (2 * len(block)))
    list(pull(reader))
    for _ in range(2):
        reader.receive(block)
        assert reader.next_event() is block
    assert reader.next_event() == End()


def test_content_in_one_chunk_is_handed_on_uncopied() -> None:
    reader = request_reader()
    block = bytes(64 * 1024)
    reader.receive(CHUNKED + b"%x\r\n" % (3 * len(block)))
    list(pull(reader))
    for _ in range(3):
        reader.receive(block)
        assert reader.next_event() is block


def test_a_line_between_chunks_that_is_cut_costs_no_copy_of_what_follows() -> None:
    reader = request_reader()
    reader.receive(CHUNKED + b"4\r\nabcd\r\n1000")
    assert [type(event) for event in pull(reader)] == [RequestHead, bytes]
    assert reader.buffered == 4
    block = b"0\r\n" + bytes(0x10000)
    reader.receive(block)
    assert isinstance(reader.unread, bytes), "the block was not put behind the beginning of the line"
    assert reader.next_event() == bytes(0x10000)
    assert reader.buffered == 0


def test_not_all_of_a_thousand_chunks_are_read_at_once() -> None:
    """Whoever asks for the next piece can stop in between, and serve others."""
    reader = request_reader()
    reader.receive(CHUNKED + b"3\r\nabc\r\n" * 1_000)
    pieces = [event for event in pull(reader) if isinstance(event, bytes)]
    assert max(map(len, pieces)) == 32 * 3
    assert b"".join(pieces) == b"abc" * 1_000


def test_chunks_that_lie_together_are_one_piece() -> None:
    reader = request_reader()
    reader.receive(CHUNKED + b"3\r\nabc\r\n" * 20 + b"5\r\nde")
    assert [type(event) for event in pull(reader)] == [RequestHead, bytes]
    reader.receive(b"fgh\r\n0\r\n\r\n" + GET % 1)
    events = list(pull(reader))
    assert events[:2] == [b"fgh", End()]
    assert targets(events) == [b"/1"]


def test_a_fault_comes_after_what_was_before_it() -> None:
    reader = request_reader()
    reader.receive(CHUNKED + b"3\r\nabc\r\nX\r\n")
    assert isinstance(reader.next_event(), RequestHead)
    assert reader.next_event() == b"abc"
    with pytest.raises(Refused):
        reader.next_event()
    assert reader.next_event() is None


def test_a_head_that_comes_byte_by_byte_takes_work_in_proportion() -> None:
    def spent(size: int) -> int:
        limits = HeadLimits(size=2 * size, fields=size, target=size)
        reader = RequestReader(request_reader()._codec, limits, limits)
        data = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (size // 12) + b"Y: " + b"z" * (size // 2)

        def receive_all() -> None:
            for index in range(len(data)):
                reader.receive(data[index : index + 1])
                assert reader.next_event() is None

        return steps(receive_all)

    # Four times the bytes: sixteen times the work if each looked at all before it.
    assert spent(32_000) < 5 * spent(8_000)


def test_a_message_without_content_has_no_end() -> None:
    events = replay(request_reader(), [GET % 1 + GET % 2])
    assert [type(event) for event in events] == [RequestHead, RequestHead]


def test_bytes_behind_an_offer_to_upgrade_are_kept_for_the_tunnel() -> None:
    reader = request_reader()
    reader.receive(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x85")
    head = reader.next_event()
    assert isinstance(head, RequestHead)
    assert head.upgrade == b"websocket"
    reader.receive(b"mask!")
    assert reader.take_rest() == b"\x81\x85mask!"
    reader.receive(b"more")
    assert reader.next_event() is None
    assert reader.buffered == 0


def test_after_an_offer_that_was_declined_the_next_is_a_request() -> None:
    reader = request_reader()
    reader.receive(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + GET % 1)
    assert targets(list(pull(reader))) == [b"/", b"/1"]


def test_after_close_nothing_is_kept() -> None:
    reader = request_reader()
    reader.receive(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET % 1)
    assert [type(event) for event in pull(reader)] == [RequestHead]
    assert reader.ended
    assert reader.buffered == 0
    reader.receive(GET % 2)
    assert reader.buffered == 0


def test_the_scheme_is_that_of_the_connection() -> None:
    reader = request_reader(scheme=b"https")
    reader.receive(b"GET https://a:443/x HTTP/1.1\r\nHost: A\r\n\r\n")
    head = reader.next_event()
    assert isinstance(head, RequestHead)
    assert (head.scheme, head.target, head.authority) == (b"https", b"/x", b"a:443")


def test_lines_read_before_read_the_same() -> None:
    reader = request_reader()
    data = (
        b"POST /x HTTP/1.1\r\nHost: a:1\r\nAccept: */*\r\nX_A: b\r\nX-A: b\r\nConnection: x-a\r\nCookie: a=1\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    first, second = replay(reader, [data, data])
    assert first == second
    table = reader._codec.request_fields.known
    assert set(table) == {b"Host: a:1", b"Accept: */*", b"Connection: x-a", b"Content-Length: 0"}


def test_secrets_and_long_lines_are_not_remembered() -> None:
    head = read_one(
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: s=1\r\nAUTHORIZATION: Basic x\r\nAccept: " + b"x" * 300 + b"\r\n\r\n"
    )
    assert len(head.headers) == 3
    reader = request_reader()
    replay(reader, [b"GET / HTTP/1.1\r\nHost: a\r\nCookie: s=1\r\nAccept: " + b"x" * 300 + b"\r\n\r\n"])
    assert set(reader._codec.request_fields.known) == {b"Host: a"}


def test_lines_remembered_are_bounded() -> None:
    reader = request_reader()
    for number in range(2_000):
        replay(reader, [b"GET / HTTP/1.1\r\nHost: h%d\r\n\r\n" % number])
        assert len(reader._codec.request_fields.known) <= 512


# ---- responses --------------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def test_responses_follow_each_other_on_one_connection() -> None:
    reader = response_reader()
    for _ in range(3):
        reader.receive(OK)
        assert [type(event) for event in pull(reader)] == [ResponseHead, bytes, End]
        assert reader.idle
        assert not reader.idle_excess
        reader.expect(b"GET")
        assert not reader.idle


def test_bytes_before_any_request_are_excess() -> None:
    reader = response_reader()
    replay(reader, [OK])
    reader.receive(b"H")
    assert list(pull(reader)) == []
    assert reader.idle_excess
    assert reader.buffered == 1


@pytest.mark.parametrize("before", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n"])
def test_nothing_is_expected_of_a_reader_in_mid_response_or_after_a_fault(before: bytes) -> None:
    reader = response_reader()
    replay(reader, [before])
    with pytest.raises(Malformed, match="before the request"):
        reader.expect(b"GET")
    assert replay(reader, [OK]) == []


def test_interim_heads_are_counted_for_each_request() -> None:
    reader = response_reader()
    for _ in range(3):
        events = replay(reader, [b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + OK])
        assert [event.status for event in events if isinstance(event, ResponseHead)] == [103, 103, 103, 200]
        reader.expect(b"GET")


def test_content_until_close_is_complete_by_eof_only() -> None:
    reader = response_reader()
    reader.receive(b"HTTP/1.1 200 OK\r\n\r\nhel")
    head, content = pull(reader)
    assert isinstance(head, ResponseHead)
    assert (head.length, head.persistent, content) == (UNKNOWN, False, b"hel")
    reader.receive(b"lo")
    reader.eof_received()
    assert list(pull(reader)) == [b"lo", End()]
    assert reader.idle
    assert reader.next_event() is None


def test_bytes_that_wait_come_before_the_end_that_eof_makes() -> None:
    reader = response_reader()
    reader.receive(b"HTTP/1.1 200 OK\r\n\r\n")
    assert isinstance(reader.next_event(), ResponseHead)
    reader.receive(b"a")
    reader.receive(b"b")
    reader.eof_received()
    assert list(pull(reader)) == [b"ab", End()]


def test_eof_between_responses_is_no_fault() -> None:
    reader = response_reader()
    replay(reader, [OK])
    reader.eof_received()
    assert list(pull(reader)) == []


def test_eof_after_101_is_the_tunnels_matter() -> None:
    reader = response_reader(upgrade=b"websocket")
    reader.receive(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nx")
    assert isinstance(reader.next_event(), ResponseHead)
    reader.eof_received()
    assert reader.next_event() is None
    assert reader.take_rest() == b"x"


def test_a_truncated_response_raises_once() -> None:
    reader = response_reader()
    reader.receive(OK[:-1])
    reader.eof_received()
    assert isinstance(reader.next_event(), ResponseHead)
    assert reader.next_event() == b"h"
    with pytest.raises(Malformed) as caught:
        reader.next_event()
    assert caught.value.error == "http_response_incomplete"
    assert reader.next_event() is None


def test_an_end_before_the_response_cuts_nothing_short() -> None:
    reader = response_reader()
    reader.eof_received()
    with pytest.raises(Malformed) as caught:
        reader.next_event()
    assert caught.value.error == "connection_terminated"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /\r\n", 400),
        (b"SSH-2.0-OpenSSH_9.6\r\n", 400),
        (b"GET / HTTP/2.0\r\n", 505),
        (b"TRACE / HTTP/1.1\r\n", 405),
    ],
)
@pytest.mark.parametrize("rest", [b"", b"Host: a\r\n\r\n", b"Bad name: a\r\n\x00"])
def test_a_line_that_starts_no_request_is_refused_before_the_head_is_whole(
    line: bytes, status: int, rest: bytes
) -> None:
    reader = request_reader()
    reader.receive(line + rest)
    with pytest.raises(Refused) as caught:
        reader.next_event()
    assert caught.value.status == status
    assert caught.value.line == ((b"TRACE", b"/") if status == 405 else (b"", b""))


def test_a_line_that_starts_no_response_is_told_before_the_head_is_whole() -> None:
    reader = response_reader()
    reader.receive(b"SSH-2.0-OpenSSH_9.6\r\n")
    with pytest.raises(Malformed) as caught:
        reader.next_event()
    assert caught.value.error == "http_protocol_error"


def test_the_repr_tells_the_state() -> None:
    reader = request_reader()
    reader.receive(POST + b"Content-Length: 5\r\n\r\nhel")
    reader.next_event()
    assert repr(reader) == "RequestReader(read_length, buffered=3, left=5, then=read_head)"
    assert "keep" in repr(ResponseReader(reader._codec, TRAILER_LIMITS, TRAILER_LIMITS, 1))


@pytest.mark.parametrize("here", [0, 3, 5, 9])
def test_content_is_taken_whole_only_when_all_of_it_is_here(here: int) -> None:
    reader = response_reader()
    reader.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + b"hello and"[:here])
    assert isinstance(reader.next_event(), ResponseHead)
    taken = reader.take_content()
    if here < 5:
        assert taken is None
        reader.receive(b"hello"[here:])
        assert b"".join(piece for piece in iter(reader.next_event, End()) if isinstance(piece, bytes)) == b"hello"
    else:
        assert taken == b"hello"
        assert reader.next_event() is None
        assert reader.buffered == here - 5


def test_chunks_are_never_taken_whole() -> None:
    reader = response_reader()
    reader.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
    assert isinstance(reader.next_event(), ResponseHead)
    assert reader.take_content() is None
    assert reader.next_event() == b"x"

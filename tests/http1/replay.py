"""What the tests of this folder share: readers with usual limits, and bytes replayed through them in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from proxycore.mechanisms.http1.codec import Codec, choose
from proxycore.mechanisms.http1.reader import RequestReader, ResponseReader
from proxycore.mechanisms.http1.strict import HeadLimits
from proxycore.words.errors import Malformed, Refused
from proxycore.words.messages import End, RequestHead, ResponseHead

MAX_HEAD = 4096
MAX_TARGET = 512
MAX_FIELDS = 32
MAX_TRAILERS = 512
MAX_INTERIM = 3
TRAILER_LIMITS = HeadLimits(size=MAX_TRAILERS, fields=MAX_FIELDS)

Event = RequestHead | ResponseHead | bytes | End | Refused | Malformed


def codecs() -> list[Codec]:
    """Both codecs, or h11 alone where httptools isn't installed."""
    chosen = [choose("h11"), choose("auto")]
    return chosen if chosen[1].name != "h11" else chosen[:1]


def request_reader(codec: Codec | None = None, scheme: bytes = b"http") -> RequestReader:
    limits = HeadLimits(size=MAX_HEAD, fields=MAX_FIELDS, target=MAX_TARGET)
    return RequestReader(codec or choose("auto"), limits, TRAILER_LIMITS, scheme)


def response_reader(codec: Codec | None = None, method: bytes = b"GET", upgrade: bytes | None = None) -> ResponseReader:
    limits = HeadLimits(size=MAX_HEAD, fields=MAX_FIELDS)
    reader = ResponseReader(codec or choose("auto"), limits, TRAILER_LIMITS, MAX_INTERIM)
    reader.expect(method, upgrade)
    return reader


def pull(reader: RequestReader | ResponseReader) -> Iterator[Event]:
    """Every event there is now, and the fault if one comes; never more after that."""
    try:
        while (event := reader.next_event()) is not None:
            yield event
    except (Refused, Malformed) as fault:
        yield fault


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """`data` in pieces that end at `cuts`."""
    edges = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


def replay(reader: RequestReader | ResponseReader, pieces: Sequence[bytes], *, eof: bool = False) -> list[Event]:
    """All events that come of `pieces`, with content that lies in several put together."""
    events: list[Event] = []
    for piece in pieces:
        reader.receive(piece)
        events += pull(reader)
    if eof:
        assert isinstance(reader, ResponseReader)
        reader.eof_received()
        events += pull(reader)
    joined: list[Event] = []
    for event in events:
        if isinstance(event, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += event
        else:
            joined.append(event)
    return joined


def described(events: Sequence[Event]) -> list[object]:
    """Events as values that compare: faults by what they say."""
    return [
        (type(event).__name__, event.args) if isinstance(event, (Refused, Malformed)) else event for event in events
    ]


def read_one(head: bytes, codec: Codec | None = None) -> RequestHead:
    """The one request that `head` is."""
    (event,) = replay(request_reader(codec), [head])
    assert isinstance(event, RequestHead), event
    return event


def status_of(data: bytes, codec: Codec | None = None) -> int | None:
    """The status with which the last of these requests is refused, or None."""
    events = replay(request_reader(codec), [data])
    return events[-1].status if events and isinstance(events[-1], Refused) else None

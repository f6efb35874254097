"""Readers: bytes in, heads, content and ends out, pulled one at a time.

    reader.receive(data)
    while (event := reader.next_event()) is not None:
        ...                 # a head; then, if it has content, bytes ... and one End

Whoever stops calling `next_event` leaves the rest unread, and so a pipelined request waits for its
turn as plain bytes; `buffered` says how many, and it is the caller's to stop reading the connection.

Theory of operation
-------------------
What was received lies in `unread`, and `_at` is how far it has been consumed; it is empty once all of it
has been. As a rule that is so when more comes, and the new bytes take its place uncopied; only the beginning of
a head or of trailers is kept and added to. A line between chunks that was cut in two is the exception: its
beginning moves to `_line`, so that a block of content behind it isn't copied for its sake.

`_state` is the method that reads next. It returns an event, or None when it needs more bytes; the
states of one message follow each other (head, content, end), then comes `_then`.

Content is handed on as it lies. Where several chunks lie in the same block they are joined into one
piece, since a piece costs more to pass on than to copy; a piece is cut out of its block once.

The first fault ends a reader: it is raised once, and from then on nothing is kept and nothing comes
out (CVE-2024-49768: what is pipelined behind a bad message never runs).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxycore.mechanisms.http1 import strict
from proxycore.mechanisms.http1.codec import Codec
from proxycore.words.errors import Malformed, Refused
from proxycore.words.messages import UNKNOWN, End, RequestHead, ResponseHead

_State = Callable[[Any], Any]

_CRLF = b"\r\n"
_CR = 0x0D

_OVERHEAD_MAX = 16 * 1024
"""How far the lines of chunks may outgrow their content, in bytes (CVE-2023-39326). Go's measure: each
chunk may cost 16 bytes and twice its size; what is above adds up, what is below pays it back."""

_OVERHEAD_FREE = 16

_CHUNKS_AT_ONCE = 32
"""Chunks that are joined into one piece, however many lie in the block: what a peer makes us do at once is bounded."""


class _Reader:
    """What requests and responses share: the buffer, and content.

    Between messages, `unread` is empty if nothing waits: an attribute, since it is asked for each of them.
    """

    __slots__ = (
        "_at",
        "_codec",
        "_fault",
        "_in_chunk",
        "_left",
        "_limits",
        "_line",
        "_overhead",
        "_searched",
        "_state",
        "_then",
        "_trailer_limits",
        "_watch",
        "unread",
    )

    def __init__(self, codec: Codec, limits: strict.HeadLimits, trailer_limits: strict.HeadLimits) -> None:
        self._codec = codec
        self._limits = limits
        self._trailer_limits = trailer_limits
        self.unread: bytes | bytearray = b""
        self._at = 0
        self._searched = 0  # bytes after `_at` in which the end of a head doesn't begin
        self._watch: strict.HeadWatch | None = None
        self._line = b""
        self._left = 0  # bytes still to come of the content, or of this chunk
        self._in_chunk = False  # the CR LF after its bytes hasn't been read
        self._overhead = 0
        self._fault: tuple[int, str] | None = None
        self._state: _State = _DROP
        self._then: _State = _DROP

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self._state.__name__.removeprefix('_')}, buffered={self.buffered}, "
            f"left={self._left}, then={self._then.__name__.removeprefix('_')})"
        )

    @property
    def buffered(self) -> int:
        """Bytes received and not yet handed on."""
        return len(self.unread) - self._at + len(self._line)

    def receive(self, data: bytes) -> None:
        """Take bytes of the connection. Then call `next_event` until it gives None."""
        held = self.unread
        if self._state is _DROP:
            return
        if not held:
            self.unread = data
        elif isinstance(held, bytearray):
            del held[: self._at]
            held += data
            self._at = 0
        else:
            self.unread = bytearray(memoryview(held)[self._at :])
            self.unread += data
            self._at = 0

    def take_content(self) -> bytes | None:
        """All content of the message whose head came just now, where its length is known and all of it is here.

        Then the message has ended: no piece and no End follows. None otherwise, and nothing is taken. Small
        messages come whole as a rule, and this is three events in one.
        """
        end = self._at + self._left
        if self._state is not _LENGTH or end > len(self.unread):
            return None
        self._left = 0
        self._state = self._then
        return self._cut(self._at, end)

    def take_rest(self) -> bytes:
        """Give up the bytes that weren't read: they are a tunnel's. The reader has ended."""
        rest = self._line + bytes(self.unread[self._at :])
        self._end()
        return rest

    def _end(self) -> None:
        self._state = self._then = _DROP
        self.unread = self._line = b""
        self._at = 0
        self._watch = None

    def _drop(self) -> None:
        """Nothing that comes here is read, or kept."""
        self.unread = b""
        self._at = 0

    def _raise_fault(self) -> None:
        """What was read before the fault has been handed on; now it is its turn."""
        assert self._fault is not None
        raise Refused(*self._fault)

    # ---- blocks of lines -----------------------------------------------------------------------------------------

    def _take_block(self, limits: strict.HeadLimits, start_line: strict.StartLine | None) -> bytes | None:
        """Consume the bytes up to an empty line and that; None while it isn't here."""
        data, at = self.unread, self._at
        end = data.find(b"\r\n\r\n", at + self._searched)
        if end < 0:
            if self._watch is None:
                self._watch = strict.HeadWatch(limits, start_line)
            self._watch.look(data[at:] if at else data)
            # Three bytes of the four may be here already.
            self._searched = max(len(data) - at - 3, 0)
            return None
        self._searched = 0
        self._watch = None
        end += 4
        if end == len(data) and not at and isinstance(data, bytes):
            # As a rule a head comes alone: all of `_data`, uncopied, and without one more call.
            self.unread = b""
            return data
        return self._cut(at, end)

    def _cut(self, start: int, end: int) -> bytes:
        """Consume up to `end`; give the bytes from `start`, uncopied if they are all there is."""
        data = self.unread
        if end == len(data):
            self.unread = b""
            self._at = 0
        else:
            self._at = end
        # A slice of all bytes is those bytes, uncopied.
        return data[start:end] if isinstance(data, bytes) else bytes(memoryview(data)[start:end])

    def _skip_line_end(self) -> None:
        """Consume a CR LF at the start of a block; the CR may have been looked at before its LF came."""
        self._at += 2
        if self._at == len(self.unread):
            self.unread = b""
            self._at = 0
        self._watch = None

    # ---- content -------------------------------------------------------------------------------------------------

    def _begin_content(self, length: int, then: _State) -> None:
        self._then = then
        if length == UNKNOWN:
            self._overhead = 0
            self._state = _Reader._read_chunks
        else:
            self._left = length
            self._state = _LENGTH

    def _end_content(self, end: End) -> End:
        self._state = self._then
        return end

    def _read_length(self) -> bytes | End | None:
        left = self._left
        if not left:
            return self._end_content(End())
        here = len(self.unread) - self._at
        if not here:
            return None
        taken = here if here < left else left
        self._left = left - taken
        return self._cut(self._at, self._at + taken)

    def _read_until_close(self) -> bytes | None:
        return self._cut(self._at, len(self.unread)) if self._at < len(self.unread) else None

    def _read_chunks(self) -> bytes | End | None:
        data = self.unread
        pieces: list[tuple[int, int]] = []
        try:
            while len(pieces) < _CHUNKS_AT_ONCE and (self._left or self._begin_chunk()):
                at = self._at
                taken = min(self._left, len(data) - at)
                if not taken:
                    break
                pieces.append((at, at + taken))
                self._at = at + taken
                self._left -= taken
        except Refused as fault:
            if not pieces:
                raise
            # Not the exception itself: it would hold what all its frames hold.
            self._fault = fault.status, fault.reason
            self._state = _Reader._raise_fault
        if len(pieces) == 1 and pieces[0][1] == self._at:
            return self._cut(*pieces[0])
        if self._at == len(data):
            self.unread = b""
            self._at = 0
        if pieces:
            view = memoryview(data)
            return b"".join([view[start:end] for start, end in pieces])
        return self._read_trailers() if self._state is _Reader._read_trailers else None

    def _begin_chunk(self) -> bool:
        """Read the lines before a chunk's bytes. False when they aren't all here, or the last chunk came."""
        if self._in_chunk:
            line = self._take_line(2)
            if line is None:
                return False
            # Both bytes are looked at, never skipped (CVE-2025-43859).
            if line != _CRLF:
                raise Refused(400, "a chunk longer than its size")
            self._in_chunk = False
        line = self._take_line(strict.CHUNK_LINE_MAX)
        if line is None:
            return False
        size = strict.read_chunk_size(line)
        if not size:
            self._state = _Reader._read_trailers
            return False
        self._overhead = max(self._overhead + len(line) + 2 - _OVERHEAD_FREE - 2 * size, 0)
        if self._overhead > _OVERHEAD_MAX:
            raise Refused(400, "chunks that are mostly overhead")
        self._left = size
        self._in_chunk = True
        return True

    def _take_line(self, limit: int) -> bytes | None:
        """Consume a line of at most `limit` bytes, its LF included; None while it isn't all here."""
        data, at, begun = self.unread, self._at, self._line
        end = data.find(b"\n", at, at + limit - len(begun)) + 1
        if not end:
            if len(data) - at + len(begun) >= limit:
                # Whatever follows, it is no line that we take; the caller says which it waited for.
                end = at + limit - len(begun)
            else:
                self._line = begun + data[at:]
                self._at = len(data)
                return None
        self._line = b""
        self._at = end
        return begun + data[at:end]

    def _read_trailers(self) -> End | None:
        data, at = self.unread, self._at
        if data.startswith(_CRLF, at):
            self._skip_line_end()
            return self._end_content(End())
        if len(data) == at:
            return None
        block = self._take_block(self._trailer_limits, None)
        if block is None:
            return None
        return self._end_content(End(strict.read_trailers(block, self._trailer_limits, self._codec.request_fields)))


# States that are asked for or set for each message: to get one from its class takes three times as long.
_DROP: _State = _Reader._drop
_LENGTH: _State = _Reader._read_length


class RequestReader(_Reader):
    """Reads the requests of one downstream connection, over `scheme`. Readers share their limits."""

    __slots__ = ("_blank_seen", "_scheme")

    def __init__(
        self,
        codec: Codec,
        limits: strict.HeadLimits,
        trailer_limits: strict.HeadLimits,
        scheme: bytes = b"http",
    ) -> None:
        super().__init__(codec, limits, trailer_limits)
        self._scheme = scheme
        self._blank_seen = False
        self._state = _REQUEST_HEAD

    @property
    def mid_head(self) -> bool:
        """Whether a head has begun and isn't whole. Ask after `next_event` gave None."""
        return self._state is _REQUEST_HEAD and bool(self.unread)

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more: after a fault, or the last request of the connection."""
        return self._state is _DROP

    def next_event(self) -> RequestHead | bytes | End | None:
        """The next head, piece of content or End; None when more bytes are needed.

        A head without content (`has_content`) is the whole message: no End follows. Raises Refused,
        once: the request can't be read, nor can what comes after it.
        """
        try:
            event: RequestHead | bytes | End | None = self._state(self)
        except Refused:
            self._end()
            raise
        return event

    def _read_head(self) -> RequestHead | None:
        data, at = self.unread, self._at
        if not data:
            return None
        if data[at] == _CR and not self._blank_seen and data.startswith(_CRLF, at):
            # RFC 9112 section 2.2: old clients send an empty line after a POST. One is ignored.
            self._blank_seen = True
            self._skip_line_end()
        head = self._take_block(self._limits, strict.request_line)
        if head is None:
            return None
        try:
            request = strict.read_request(head, self._codec, self._limits, self._scheme)
        except Refused as refused:
            strict.complete(refused, head, self._limits)
            raise
        self._blank_seen = False
        # RFC 9112 section 9.6: after `close` nothing is a request. (After an offer to change the protocol the
        # bytes may be that protocol's: they are kept until it is clear.)
        then = _REQUEST_HEAD if request.persistent or request.upgrade else _DROP
        if request.length > 0 or request.length == UNKNOWN:
            self._begin_content(request.length, then)
        else:
            self._state = then
        return request


_REQUEST_HEAD: _State = RequestReader._read_head


class ResponseReader(_Reader):
    """Reads the responses of one upstream connection. Call `expect` before each.

    `max_interim` is the number of 1xx heads that one request may draw.
    """

    __slots__ = ("_eof", "_interim", "_max_interim", "_method", "_upgrade")

    def __init__(
        self, codec: Codec, limits: strict.HeadLimits, trailer_limits: strict.HeadLimits, max_interim: int
    ) -> None:
        super().__init__(codec, limits, trailer_limits)
        self._max_interim = max_interim
        self._interim = 0
        self._method = b""
        self._upgrade: bytes | None = None
        self._eof = False
        self._state = _KEEP

    @property
    def idle(self) -> bool:
        """Whether the response was read to its end, and none is expected."""
        return self._state is _KEEP

    @property
    def idle_excess(self) -> bool:
        """Whether bytes came that no request asked for: never use this connection again."""
        return self._state is _KEEP and bool(self.unread)

    def expect(self, method: bytes, upgrade: bytes | None = None) -> None:
        """A request is being sent: with `method`, and offering the protocol `upgrade`.

        Raises Malformed when bytes are here already, which are no answer to it, or when the last response hasn't
        been read to its end.
        """
        if self.unread or self._state is not _KEEP:
            self._end()
            raise Malformed("bytes before the request that they would answer")
        self._method = method
        self._upgrade = upgrade
        self._interim = 0
        self._state = _RESPONSE_HEAD

    def eof_received(self) -> None:
        """The upstream has ended its side. Then call `next_event` until it gives None.

        After all bytes it gives the End of content that lasts until the close, or raises Malformed
        when a response was cut short.
        """
        self._eof = True

    def next_event(self) -> ResponseHead | bytes | End | None:
        """The next head, piece of content or End; None when more bytes are needed, or nothing is expected.

        After an interim head (status below 200) the next head follows. A final head without content
        (`has_content`) is the whole message: no End follows. After a 101 call `take_rest`. Raises
        Malformed, once.
        """
        try:
            event: ResponseHead | bytes | End | None = self._state(self)
            if event is None and self._eof:
                event = self._read_eof()
        except Refused as fault:
            in_head = self._state is _RESPONSE_HEAD
            self._end()
            raise strict.blame_upstream(fault, in_head=in_head) from None
        except Malformed:
            self._end()
            raise
        return event

    def _keep(self) -> None:
        """Nothing is expected: bytes that come now stay, as evidence, or as a tunnel's first."""

    def _read_head(self) -> ResponseHead | None:
        if not self.unread:
            return None
        head = self._take_block(self._limits, strict.status_line)
        if head is None:
            return None
        response, until_close = strict.read_response(head, self._codec, self._limits, self._method)
        if response.status < 200:
            self._follow_interim(response)
        elif not response.has_content:
            self._state = _KEEP
        elif until_close:
            self._then = _KEEP
            self._state = _Reader._read_until_close
        else:
            self._begin_content(response.length, _KEEP)
        return response

    def _follow_interim(self, response: ResponseHead) -> None:
        if response.status == 101:
            # Envoy's rule: nobody asked for it, or for this protocol.
            if self._upgrade is None or response.upgrade != self._upgrade:
                raise Malformed("a 101 that wasn't asked for", "http_upgrade_failed")
            self._state = ResponseReader._tunnel
            return
        self._interim += 1
        if self._interim > self._max_interim:
            raise Malformed("too many interim responses")

    def _tunnel(self) -> None:
        """The bytes are another protocol's: `take_rest`."""

    def _read_eof(self) -> End | None:
        if self._state is _Reader._read_until_close:
            return self._end_content(End())
        if self._state in (_KEEP, ResponseReader._tunnel, _DROP):
            return None
        if self._state is _RESPONSE_HEAD and not self._interim and not self.buffered:
            # Nothing of it came: as after a reset, a kept connection may just have been closed as it was used.
            raise Malformed("closed before the response", "connection_terminated")
        raise Malformed("the response was cut short", "http_response_incomplete")


_RESPONSE_HEAD: _State = ResponseReader._read_head
_KEEP: _State = ResponseReader._keep

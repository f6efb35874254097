"""llhttp, through httptools, reading one head at a time.

llhttp wants to read bodies too, and knows them ended only when it has seen them. It is given heads
alone: a parser that has just read a message without content stands at the start of the next, and is
used again (a new one costs as much as the parsing); in every other state it is thrown away.
"""

from __future__ import annotations

import httptools

from proxycore.mechanisms.http1.codec import CodecError
from proxycore.words.messages import Field

_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"))
"""Given to llhttp as they are. It refuses names that it has no number for, and treats some others as
another protocol's; for its reading of the rest of the head any method will do."""

_STAND_IN = b"POST"


class _RequestEvents:
    __slots__ = ("fields", "parser", "reusable", "target")

    def __init__(self) -> None:
        self.fields: list[Field] = []
        self.target = b""
        self.reusable = False
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_message_complete(self) -> None:
        # After a message that closes, llhttp takes whatever comes for an error.
        self.reusable = self.parser.should_keep_alive()


class _ResponseEvents:
    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[Field] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


class HttptoolsCodec:
    """See `codec.Codec`."""

    name = "httptools"

    def __init__(self) -> None:
        self.disagreements = 0
        self._events = _RequestEvents()

    def request(self, head: bytes) -> tuple[bytes, bytes, list[Field]]:
        events = self._events
        if events.reusable:
            events.reusable = False
            events.fields = []
        else:
            events = self._events = _RequestEvents()
        method = head[: head.find(b" ")]
        if method not in _METHODS:
            head = _STAND_IN + head[len(method) :]
        try:
            events.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            events.reusable = False
        except httptools.HttpParserError as error:
            events.reusable = False
            raise CodecError(str(error)) from None
        return method, events.target, events.fields

    def response(self, head: bytes) -> tuple[int, list[Field]]:
        events = _ResponseEvents()
        parser = httptools.HttpResponseParser(events)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise CodecError(str(error)) from None
        return parser.get_status_code(), events.fields

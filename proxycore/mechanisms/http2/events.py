"""What a session tells of: a closed set. `stream` is a stream's number throughout."""

from __future__ import annotations

from proxycore.words.errors import Refused
from proxycore.words.messages import Field, RequestHead


class Event:
    """One thing that a peer did."""

    __slots__: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class HeadReceived(Event):
    """A well-formed request; `is_whole` says that nothing follows."""

    __slots__ = ("head", "is_whole", "stream")

    def __init__(self, stream: int, head: RequestHead, is_whole: bool) -> None:
        self.stream = stream
        self.head = head
        self.is_whole = is_whole


class RequestRefused(Event):
    """A request, or its trailers, that we answer ourselves: well-formed, and nothing that we serve."""

    __slots__ = ("is_whole", "refused", "stream")

    def __init__(self, stream: int, refused: Refused, is_whole: bool) -> None:
        self.stream = stream
        self.refused = refused
        self.is_whole = is_whole


class DataReceived(Event):
    """A piece of content. Give `credit` back (`Session.credit`) when it has been taken: it counts padding, too."""

    __slots__ = ("credit", "data", "stream")

    def __init__(self, stream: int, data: bytes, credit: int) -> None:
        self.stream = stream
        self.data = data
        self.credit = credit


class RequestEnded(Event):
    """All content has come."""

    __slots__ = ("stream", "trailers")

    def __init__(self, stream: int, trailers: list[Field]) -> None:
        self.stream = stream
        self.trailers = trailers


class StreamReset(Event):
    """The peer gave the stream up. It is closed."""

    __slots__ = ("code", "stream")

    def __init__(self, stream: int, code: int) -> None:
        self.stream = stream
        self.code = code


class StreamFailed(Event):
    """A stream error (RFC 9113 section 5.4.2): the peer broke the rules on it. It has been reset and is closed.

    `line` is method and target of a request that is malformed, for the log: what of them came.
    """

    __slots__ = ("line", "reason", "stream")

    def __init__(self, stream: int, reason: str, line: tuple[bytes, bytes] = (b"", b"")) -> None:
        self.stream = stream
        self.reason = reason
        self.line = line


class WindowOpened(Event):
    """More may be sent: on this stream, or where it is 0, perhaps on all."""

    __slots__ = ("stream",)

    def __init__(self, stream: int) -> None:
        self.stream = stream


class Acknowledged(Event):
    """The peer has read all that we sent before our ping."""

    __slots__ = ()


class GoawayReceived(Event):
    """The peer will begin no more streams; those that are open go on."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        self.code = code


class ConnectionFailed(Event):
    """A connection error (RFC 9113 section 5.4.1), the last event. A GOAWAY is written: close when it has left."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason

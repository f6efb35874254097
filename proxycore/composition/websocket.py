"""A WebSocket on its way through: from the request that opens it to its last frame (RFC 6455).

The handshake is checked on both sides by `WebSocket`, which an exchange makes before any server is
asked. After the 101 its bytes pass through a `FrameTunnel` as they come, whatever extension made
them, and whatever their size. The tunnel knows no more of them than where frames end. It is enough
to count messages; to see both sides close, and not to wait for an end of file that one of them
forgets; and to say goodbye when we go.

That is a Close of our own with 1001, behind a frame of the server's that is whole. The client
answers with its Close, after whatever it was still sending; this passes to the server, whose Close
in turn has nobody left to go to. So nothing that the client sent is lost, and each side has seen a
closing handshake. What the server sends between the two Closes is dropped: section 5.5.1 has the
client ignore it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxycore.composition.answers import COMPLETED, rejection
from proxycore.composition.filters import Reject, Respond
from proxycore.composition.tunnel import Tunnel
from proxycore.mechanisms.websocket.frames import GOING_AWAY, FrameTracker, close_frame
from proxycore.mechanisms.websocket.handshake import PROTOCOL, VERSION, Opening
from proxycore.words.errors import Failure, Outcome, Refused

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.sides import UpstreamSide
    from proxycore.words.messages import RequestHead, ResponseHead

_TORN = Failure(
    "tunnel", "connection_terminated", status=502, resend="never", detail="the server's last frame is not whole"
)


class Counts(Protocol):
    """Whoever reads one direction."""

    messages: int


class WebSocket:
    """What an exchange keeps for a request that opens one. Raises Refused where it opens wrongly."""

    __slots__ = ("_counts", "_opening")

    def __init__(self, request: RequestHead) -> None:
        self._opening = Opening(request)
        self._counts: tuple[Counts, Counts] | None = None

    @property
    def messages(self) -> tuple[int, int] | None:
        """How many the client sent, and how many it was sent; None where it didn't come to that."""
        return None if self._counts is None else (self._counts[0].messages, self._counts[1].messages)

    def change_request(self, outbound: RequestHead) -> None:
        """Ask a server for what we ask for, where that isn't what the client asks."""

    def accept(self, head: ResponseHead) -> None:
        """Check the server's 101, and make of it what the client gets. Raises Malformed: nothing of it may pass."""
        self._opening.check(head)

    def tunnel(self, exchange: Exchange, engine: Engine, lease: UpstreamSide) -> Tunnel:
        """What passes its bytes from now on."""
        tunnel = FrameTunnel(exchange, engine, lease)
        self._counts = tunnel.frames
        return tunnel


def open_websocket(exchange: Exchange) -> None:
    """Look at what a request that changes the protocol asks for, before any server is asked.

    One for a WebSocket gets its `websocket`. Raises Refused for one that opens it wrongly: answer with `refusal`.
    """
    if exchange.request.upgrade == PROTOCOL:
        exchange.websocket = exchange.route.open_websocket(exchange.request)


def refusal(exchange: Exchange, refused: Refused) -> Respond:
    """The answer to one that opens wrongly. Another version is told ours (section 4.4, RFC 9110 section 15.5.22)."""
    answer = rejection(exchange, Reject(refused.status, refused.reason))
    if refused.status == 426:
        answer.head.upgrade = PROTOCOL
        answer.head.headers.add(b"sec-websocket-version", VERSION)
    return answer


class FrameTunnel(Tunnel):
    """Bytes both ways, untouched. See the module's docstring. `frames` are the client's and the server's."""

    __slots__ = ("_from_client", "_from_server", "_goodbye", "_is_ending", "frames")

    def __init__(self, exchange: Exchange, engine: Engine, lease: UpstreamSide) -> None:
        super().__init__(exchange, engine, lease)
        self.frames = self._from_client, self._from_server = FrameTracker(), FrameTracker()
        self._goodbye = ""  # then "due", then "said"
        self._is_ending = False

    def from_client(self, data: bytes) -> None:
        frames = self._from_client
        frames.follow(data)
        super().from_client(data)
        if frames.saw_close:
            self._look_whether_closed()

    def from_upstream(self, data: bytes) -> None:
        if self._goodbye:
            self._from_upstream_at_goodbye(data)
        else:
            self._from_server.follow(data)
            super().from_upstream(data)
        if self._from_server.saw_close:
            self._look_whether_closed()

    def eof_from_client(self) -> None:
        if not self._from_client.is_between_frames:
            self._exchange.client_left()
        elif self._is_closed:
            self._exchange.tunnel_ended(COMPLETED)
        else:
            super().eof_from_client()
            self._hurry()

    def eof_from_upstream(self) -> None:
        if not self._from_server.is_between_frames:
            self._exchange.tunnel_ended(Outcome("upstream_failed", "tunnel", _TORN), is_torn=True)
        elif self._is_closed:
            self._exchange.tunnel_ended(COMPLETED)
        else:
            super().eof_from_upstream()
            self._hurry()

    @property
    def _is_closed(self) -> bool:
        """Whether each side has sent a Close: only the ends of file are due (section 7.1.1)."""
        return self._from_client.saw_close and self._from_server.saw_close

    def _look_whether_closed(self) -> None:
        if self._is_closed:
            self._hurry()

    def _hurry(self) -> None:
        """What is still due comes soon, or not at all: a WebSocket isn't used with one side ended."""
        self._idle = self._exchange.timeouts.linger
        self._clock.set(self._engine.now + self._idle)
        self._is_ending = True

    def _expired(self) -> None:
        if self._is_ending:
            self._exchange.tunnel_ended(COMPLETED)
        else:
            super()._expired()

    # ---- when we go

    def drain(self) -> None:
        if not self._goodbye:
            self._goodbye = "due"
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        """Tell the client, if a frame may stand here. Where either side has said its own, ours isn't needed."""
        if self._from_client.saw_close or self._from_server.saw_close:
            self._goodbye = ""
        elif self._from_server.is_between_frames:
            self._goodbye = "said"
            self._exchange.downstream.send_raw(close_frame(GOING_AWAY, "going away"))

    def _from_upstream_at_goodbye(self, data: bytes) -> None:
        frames = self._from_server
        if self._goodbye == "due":
            end = frames.end_of_frame(data)
            frames.follow(data[:end])
            super().from_upstream(data[:end])
            data = data[end:]
            self._say_goodbye()
        frames.follow(data)
        if data and self._goodbye != "said":
            super().from_upstream(data)

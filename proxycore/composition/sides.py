"""The two sides that an exchange stands between, and all that it knows of either.

Whatever protocol a side speaks, and whether the client is a client or ourselves, the exchange sees
no more than this. A side is one exchange's: where a connection carries several at once, each has
its own. Nothing written to a side calls the exchange back before it returns, but to say that it is
blocked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxycore.policies.forwarding import Peer
from proxycore.words.messages import Field, RequestHead, ResponseHead

if TYPE_CHECKING:
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.upstreams import ServerState


class Outlet(Protocol):
    """Where the bytes of a response leave: a client's connection, or one stream of it."""

    @property
    def is_waiting(self) -> bool:
        """Whether bytes that were written haven't left yet."""

    @property
    def is_blocked(self) -> bool:
        """Whether as many wait as may: who feeds it must pause."""

    @property
    def lost(self) -> bool:
        """Whether it has ended: bytes that had not left by then never will."""

    @property
    def lost_error(self) -> str | None:
        """What it broke by, or None where we closed it."""

    def wait_to_leave(self, exchange: Exchange) -> None:
        """Call `exchange.settle` once what waits has left or is lost."""


class DownstreamSide(Protocol):
    """The client's side: who asked, and what the exchange writes to it.

    It tells the exchange `begin`, then `request_data`, `request_end`, `request_refused` or
    `request_timed_out`; `downstream_blocked` and `downstream_unblocked` as its outlet fills and
    empties; and `client_left`, `send_timed_out` or `drained` when nothing can be answered any more.
    """

    peer: Peer
    listener: str
    hsts: bytes
    """Strict-Transport-Security (RFC 6797) of every response; empty for none."""

    @property
    def outlet(self) -> Outlet: ...

    def send_interim(self, head: ResponseHead) -> None: ...
    def send_head(self, head: ResponseHead) -> None: ...
    def send_data(self, data: bytes) -> None: ...
    def send_end(self, trailers: list[Field]) -> None: ...

    def exchange_ended(self, complete: bool) -> None:
        """Go on to the next request, or close. Not `complete`: cut the response so that the client can tell."""

    def hold_request(self) -> None:
        """Read no more content for now; `release_request` takes it back."""

    def release_request(self) -> None: ...
    def start_tunnel(self, head: ResponseHead) -> None: ...
    def send_raw(self, data: bytes) -> None: ...
    def send_raw_eof(self) -> None: ...


class UpstreamSide(Protocol):
    """The server's side: the lease that the exchange has of a connection for one try.

    It tells the exchange `lease_ready` where it wasn't `is_ready` at once; then `response_interim`,
    `response_head`, `response_data`, `response_end` or `upgraded`; `upstream_blocked` and
    `upstream_unblocked`; and `upstream_failed`. It has ended when `response_end` or
    `upstream_failed` is told, and by `cancel` or `end_tunnel`. Durations are seconds.
    """

    server: ServerState
    is_ready: bool
    """Whether the request can be sent: else the connection is being dialled."""

    connect_seconds: float
    first_byte_seconds: float | None

    @property
    def is_reused(self) -> bool:
        """Whether the connection served another request before: the server may be closing it right now."""

    @property
    def is_blocked(self) -> bool:
        """Whether as much of the request waits as may."""

    def send_request(self, head: RequestHead) -> None: ...
    def send_data(self, data: bytes) -> None: ...
    def send_end(self, trailers: list[Field]) -> None: ...

    def cancel(self) -> None:
        """The exchange wants nothing of it any more."""

    def hand_over(self, exchange: Exchange) -> None:
        """What is still to come of the response is for this exchange from now on."""

    def pause_response(self) -> None:
        """Read no more of the response for now; `resume_response` takes it back."""

    def resume_response(self) -> None: ...
    def send_raw(self, data: bytes) -> None: ...
    def send_raw_eof(self) -> None: ...

    def end_tunnel(self) -> None:
        """Both sides of the tunnel are done: close once all is sent."""

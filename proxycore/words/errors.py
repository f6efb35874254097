"""What can go wrong, and whose fault it is.

A peer's misdeed is never an exception that leaves the core: `Refused` and `Malformed` are raised by
the mechanisms that read bytes and caught by the connection that fed them.
"""

from __future__ import annotations

from typing import Literal

Stage = Literal["resolve", "connect", "tls", "request", "response_head", "response_body", "tunnel", "queue", "proxy"]
"""Where an upstream try stood: what we were doing, or waiting for, when it failed."""

Resend = Literal["safe", "idempotent", "never"]
"""Whether the request may go to a server again: nothing of it was sent; only if its method is idempotent; never."""


class Refused(Exception):
    """A request that we answer ourselves, with `status` (RFC 9110 section 15) and a sentence for its sender.

    `close` tells that the connection can't be read on: where this request ends is not known. `line` is its method and
    target for the log, `accept` its Accept; both where they were read.
    """

    def __init__(self, status: int, reason: str, *, close: bool = True, line: tuple[bytes, bytes] = (b"", b"")) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.close = close
        self.line = line
        self.accept: bytes | None = None


class Malformed(Exception):
    """An upstream's bytes are no valid message. `error` is the type for Proxy-Status (RFC 9209 section 2.3)."""

    def __init__(self, reason: str, error: str = "http_protocol_error") -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error


class Failure:
    """Why one try at an upstream failed: a value, never raised.

    `error` is the error type of RFC 9209 section 2.3 (`connection_refused`,
    `http_response_timeout` ...), `detail` a sentence for the log that never reaches the client,
    `status` what the client gets when no other try helps.
    """

    __slots__ = ("detail", "error", "resend", "stage", "status")

    def __init__(self, stage: Stage, error: str, *, status: int, resend: Resend, detail: str = "") -> None:
        self.stage = stage
        self.error = error
        self.status = status
        self.resend = resend
        self.detail = detail

    def __repr__(self) -> str:
        return f"Failure({self.stage}, {self.error}, status={self.status}, resend={self.resend}, {self.detail!r})"


Cause = Literal["completed", "client_left", "refused", "upstream_failed", "timed_out", "drained"]
"""How an exchange ended. Each ends once, with one of these."""


class Outcome:
    """The one end of an exchange: its cause, and where or why.

    `detail` is the window for `client_left` (`request`, `queue`, `connect`, `response_head`,
    `response_body`, `tunnel`), the rule for `refused`, the stage for `upstream_failed`, the clock's
    name in `[timeouts]` for `timed_out`, and empty for the rest. `reason` is a sentence for the log:
    that of `failure` where there is one, else what is wrong with a request that was refused; or empty.
    """

    __slots__ = ("cause", "detail", "failure", "reason")

    def __init__(self, cause: Cause, detail: str = "", failure: Failure | None = None, *, reason: str = "") -> None:
        self.cause: Cause = cause
        self.detail = detail
        self.failure = failure
        self.reason = reason if failure is None else failure.detail

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outcome) and (self.cause, self.detail) == (other.cause, other.detail)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Outcome({self.cause!r}, {self.detail!r})" if self.detail else f"Outcome({self.cause!r})"

"""What the core asks of its driver: a closed set of small objects named in the imperative.

The driver performs them first-in first-out after the core has returned, and skips those on a
connection that is already lost. They are plain slots classes because two of them are made for each
exchange: a frozen dataclass costs three times as much to build.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxycore.words.ids import Address, CallId, ConnId, LookupId


class Effect:
    """One thing for the driver to do. Effects compare by class and by what they carry."""

    __slots__: tuple[str, ...] = ()
    __match_args__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return self.__class__ is other.__class__ and all(
            getattr(self, name) == getattr(other, name) for name in self.__match_args__
        )

    __hash__ = None  # type: ignore[assignment]  # mutable, and never a key

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({', '.join(repr(getattr(self, name)) for name in self.__match_args__)})"


class Send(Effect):
    """Write `data` on `conn`, after all that was asked to be sent there before.

    Where the kernel takes less than all, the driver keeps the rest and tells `writing_paused`;
    once nothing is left it tells `writing_resumed`.
    """

    __slots__ = ("conn", "data")
    __match_args__ = ("conn", "data")

    def __init__(self, conn: ConnId, data: bytes) -> None:
        self.conn = conn
        self.data = data


class _OnConn(Effect):
    __slots__ = ("conn",)
    __match_args__ = ("conn",)

    def __init__(self, conn: ConnId) -> None:
        self.conn = conn


class SendEof(_OnConn):
    """Shut down the writing side once all is sent. Reading goes on."""

    __slots__ = ()


class Close(_OnConn):
    """Close once all is sent; then tell `connection_lost(conn, None)`."""

    __slots__ = ()


class Abort(_OnConn):
    """Close now and drop what waits. A dial that is aborted ends with `connect_failed`."""

    __slots__ = ()


class PauseReading(_OnConn):
    """Read no bytes; go on watching for hang-ups and errors. What has been read already is still told."""

    __slots__ = ()


class ResumeReading(_OnConn):
    """Read again."""

    __slots__ = ()


class Connect(Effect):
    """Dial `address`; tell `connected` or `connect_failed`. The time limit is the core's (`Abort`)."""

    __slots__ = ("address", "conn")
    __match_args__ = ("conn", "address")

    def __init__(self, conn: ConnId, address: Address) -> None:
        self.conn = conn
        self.address = address


class Resolve(Effect):
    """Look `host` up; tell `resolved` with every address, or `resolve_failed`."""

    __slots__ = ("host", "lookup", "port")
    __match_args__ = ("lookup", "host", "port")

    def __init__(self, lookup: LookupId, host: str, port: int) -> None:
        self.lookup = lookup
        self.host = host
        self.port = port


class Call(Effect):
    """Run the function registered under `name`; tell `call_completed` or `call_failed`."""

    __slots__ = ("arguments", "call", "name")
    __match_args__ = ("call", "name", "arguments")

    def __init__(self, call: CallId, name: str, arguments: Mapping[str, Any]) -> None:
        self.call = call
        self.name = name
        self.arguments = arguments


class Cancel(Effect):
    """Stop a look-up or a call that nobody waits for; its last fact still comes."""

    __slots__ = ("handle",)
    __match_args__ = ("handle",)

    def __init__(self, handle: LookupId | CallId) -> None:
        self.handle = handle


class _OnListener(Effect):
    __slots__ = ("listener",)
    __match_args__ = ("listener",)

    def __init__(self, listener: str) -> None:
        self.listener = listener


class PauseAccepting(_OnListener):
    """Leave new connections of this listener in the kernel's queue."""

    __slots__ = ()


class ResumeAccepting(_OnListener):
    """Accept again."""

    __slots__ = ()


class StopAccepting(_OnListener):
    """Close the sockets of this listener for good."""

    __slots__ = ()

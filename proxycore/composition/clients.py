"""Where a client's connection begins: what we speak with it, by its listener and by what was agreed on.

`open_connection` makes the endpoint of an accepted connection; `speak` the one for a protocol whose
name is known: at once where the listener has no choice, after a handshake where TLS has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxycore.composition.downstream import DownstreamConnection
from proxycore.composition.engine import Endpoint
from proxycore.composition.wire import Wire
from proxycore.words.ids import ConnId

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.plan import ListenerPlan
    from proxycore.policies.forwarding import Peer


class ClientConnection(Endpoint, Protocol):
    """A client's connection, as the core knows it: an endpoint that a reload and a drain concern."""

    listener: str
    peer: Peer
    is_draining: bool

    @property
    def held_bytes(self) -> int:
        """For the ledger: bytes read that nobody has taken yet."""

    def reconfigured(self, listener: ListenerPlan | None) -> None:
        """A reload: go on under the new plan of the listener, or drain where it is gone."""

    def drain(self) -> None:
        """Finish what is under way, take nothing new, close."""

    def end_now(self) -> None:
        """The deadline of a drain."""


def open_connection(engine: Engine, conn: ConnId, listener: ListenerPlan, peer: Peer) -> ClientConnection:
    """The endpoint of a connection that `listener` has accepted."""
    return speak("http/1.1", engine, Wire(engine, conn), listener, peer)


def speak(protocol: str, engine: Engine, wire: Wire, listener: ListenerPlan, peer: Peer) -> ClientConnection:
    """The endpoint that speaks `protocol`, as the configuration calls it, on `wire`."""
    assert protocol == "http/1.1"
    return DownstreamConnection(engine, wire, listener, peer)

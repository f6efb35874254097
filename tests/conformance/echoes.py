"""Origins that speak WebSocket, by the `websockets` package: nothing of proxycore checks proxycore here."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from websockets.sync.server import ServerConnection, serve


def _echo(socket: ServerConnection) -> None:
    for message in socket:
        socket.send(message)


@contextlib.contextmanager
def websocket_echo(**options: Any) -> Iterator[str]:
    """Says everything again; `options` are those of the package's server. The URL is an upstream's."""
    with serve(_echo, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join(10)

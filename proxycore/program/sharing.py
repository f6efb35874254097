"""What a worker is told by its supervisor, and the share of the configuration that is its own.

A message is one line on a Unix socket, and descriptors with it: first a file with everything that was read from
the disk, then the listening sockets. So a worker needs no rights of its own to read or bind anything, and all
workers serve the same bytes.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from proxycore.config import UNLIMITED, Config, Listener, Rate, Upstream
from proxycore.config.process import Admin
from proxycore.program.files import Copy, Disk, Loaded, Source
from proxycore.program.private_files import private_file

LINE = b"message\n"
"""What stands in the message itself; a stream needs at least a byte to carry descriptors."""

STANDS, REFUSED = b"+", b"-"
"""A child's answers: the configuration that came last is in force there, or it is not."""

MOST_DESCRIPTORS = 253
"""In one message (Linux's SCM_MAX_FD)."""

Sockets = Mapping[str, Sequence[socket.socket]]
"""By the name of their listener."""


def tell(end: socket.socket, message: Mapping[str, Any], sockets: Sequence[socket.socket] = ()) -> None:
    """Send plain values of any length, and sockets. Raises OSError if nobody is there any more."""
    with private_file(json.dumps(message).encode()) as file:
        socket.send_fds(end, [LINE], [file.fileno(), *(sock.fileno() for sock in sockets)])


def hear(end: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Wait for what `tell` sends: the values, and descriptors that are ours to close. None when the other is gone."""
    try:
        line, fds, _, _ = socket.recv_fds(end, len(LINE), MOST_DESCRIPTORS)
    except ConnectionError:
        return None
    if not line:
        return None
    with os.fdopen(fds[0], "rb") as file:
        # All who were told share one position in this file.
        return json.loads(os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)), fds[1:]


@dataclass(slots=True)
class Assignment:
    """What one child is to serve. `sockets` are descriptors by the name of their listener, open in this process.

    A worker answers the dashboard at the Unix socket `reports_at`, and begins with the `orders` that an operator gave.
    The process of the dashboard follows the workers at `followed`, by their names.
    """

    source: Source
    files: Copy
    count: int
    sockets: Mapping[str, Sequence[int]] = field(default_factory=dict)
    reports_at: str = ""
    orders: Sequence[Mapping[str, Any]] = ()
    followed: Mapping[str, str] = field(default_factory=dict)

    def load(self) -> Loaded:
        """The configuration as this worker serves it; for the dashboard, the whole one. Raises ConfigError."""
        loaded = self.source.load(self.files)
        if self.followed:
            return loaded
        return replace(loaded, config=share(loaded.config, self.count, self.sockets, self.reports_at))

    def close(self) -> None:
        """Close the descriptors: whoever listens on them has descriptors of its own."""
        for fds in self.sockets.values():
            for fd in fds:
                os.close(fd)


def send(
    control: socket.socket,
    source: Source,
    disk: Disk,
    sockets: Sockets,
    count: int,
    *,
    reports_at: str = "",
    orders: Sequence[Mapping[str, Any]] = (),
    followed: Mapping[str, str] | None = None,
) -> None:
    """Tell a child what to serve; see `Assignment`. Raises OSError if it is gone."""
    message = {
        "source": {"file": source.file, "listen": source.listen, "to": source.to, "workers": source.workers},
        "contents": {path: content.decode("latin-1") for path, content in disk.contents.items()},
        "found": disk.found,
        "count": count,
        "sockets": {name: len(group) for name, group in sockets.items()},
        "reports_at": reports_at,
        "orders": orders,
        "followed": followed or {},
    }
    tell(control, message, [sock for group in sockets.values() for sock in group])


def receive(control: socket.socket) -> Assignment | None:
    """Wait for the next message; None when the supervisor is gone."""
    heard = hear(control)
    if heard is None:
        return None
    message, fds = heard
    descriptors = iter(fds)
    return Assignment(
        source=Source(**message["source"]),
        files=Copy({path: text.encode("latin-1") for path, text in message["contents"].items()}, message["found"]),
        count=message["count"],
        sockets={name: [next(descriptors) for _ in range(length)] for name, length in message["sockets"].items()},
        reports_at=message["reports_at"],
        orders=message["orders"],
        followed=message["followed"],
    )


def share(config: Config, count: int, sockets: Mapping[str, Sequence[int]], reports_at: str = "") -> Config:
    """One worker's share: the sockets that it was given, and an equal part of every limit on connections and rates.

    Its own `[admin]` is for the process of the dashboard alone: it stands in a folder that nobody else may enter.
    """
    return replace(
        config,
        listeners=[_listening_on(listener, sockets.get(listener.name, ())) for listener in config.listeners],
        admin=Admin(bind=f"unix:{reports_at}", mode="0666") if reports_at else None,
        limits=replace(
            config.limits,
            connections=_part(config.limits.connections, count),
            connections_per_client=_part(config.limits.connections_per_client, count),
            handshakes=_part(config.limits.handshakes, count),
            calls=_part(config.limits.calls, count),
        ),
        upstreams={name: _part_of_upstream(upstream, count) for name, upstream in config.upstreams.items()},
        rate_limits={
            name: replace(
                limit, rate=Rate(_part(limit.rate.count, count), limit.rate.per), burst=_part(limit.burst, count)
            )
            for name, limit in config.rate_limits.items()
        },
        concurrency_limits={
            name: replace(limit, max_exchanges=_part(limit.max_exchanges, count))
            for name, limit in config.concurrency_limits.items()
        },
    )


def _listening_on(listener: Listener, fds: Sequence[int]) -> Listener:
    return replace(listener, bind=[f"fd:{fd}" for fd in fds], mode=None)


def _part_of_upstream(upstream: Upstream, count: int) -> Upstream:
    return replace(
        upstream,
        servers=[replace(server, max_connections=_part(server.max_connections, count)) for server in upstream.servers],
        queue=_part(upstream.queue, count),
        max_exchanges=_part(upstream.max_exchanges, count),
        idle_connections=_part(upstream.idle_connections, count),
    )


def _part(limit: int, count: int) -> int:
    """An equal part, rounded up: together the workers allow less than `count` more than the limit."""
    return limit if limit >= UNLIMITED else -(-limit // count)

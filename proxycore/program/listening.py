"""Listening sockets: bound, unbound, kept over a reload.

A reload binds what is new before anything changes, so that a bind that fails refuses the reload whole and
leaves the old configuration serving.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from proxycore.config import Config
from proxycore.config.addresses import Bind, parse_bind
from proxycore.sockets.naming import address_of
from proxycore.words.ids import Address

BACKLOG = 4096
"""Connections that wait to be accepted. The kernel takes less where net.core.somaxconn says so."""


class Listener(Protocol):
    """What is needed of a `[[listeners]]` entry."""

    @property
    def name(self) -> str: ...
    @property
    def bind(self) -> tuple[str, ...]: ...
    @property
    def mode(self) -> str | None: ...


class ListenError(Exception):
    """An address can't be listened on. The message names the listener, the bind and the reason."""


class Opened:
    """The sockets of one bind of one listener. `inode` tells whether a Unix socket's file is still ours."""

    __slots__ = ("inode", "mode", "path", "sockets")

    def __init__(self, sockets: list[socket.socket], path: str = "", mode: int | None = None) -> None:
        self.sockets = sockets
        self.path = path
        self.mode = mode
        self.inode = os.stat(path).st_ino if path else 0

    def shared(self, mode: int | None) -> Opened:
        """The same sockets under descriptors of their own: no connection is lost as one owner follows another.

        Raises OSError where the file of a Unix socket may not be given `mode`.
        """
        if self.path and mode is not None and os.geteuid() not in (0, os.stat(self.path).st_uid):
            raise OSError(0, "its mode can't be changed, since the file belongs to another user: restart it")
        # `sock.dup` would make the socket block, for workers too: that is of the socket, not of its descriptors.
        return Opened([socket.socket(fileno=os.dup(sock.fileno())) for sock in self.sockets], self.path, mode)

    def allow(self) -> None:
        """Give the file of a Unix socket its mode, where it has another one."""
        if self.path and self.mode is not None:
            os.chmod(self.path, self.mode)

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


Key = tuple[str, str, int | None, int]
Sockets = dict[Key, Opened]
"""What is open, by name of the listener, its bind, its mode, and how many times it had that bind before."""


class ListeningSockets:
    """All listening sockets of a configuration. `prepare` and `commit` change to another; `close` ends."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        """Raises ListenError, with nothing left open."""
        self._opened: Sockets = {}
        self.commit(self.prepare(listeners))

    def prepare(self, listeners: Iterable[Listener]) -> Sockets:
        """Open what `listeners` need and we don't have. Pass the result to `commit` or `discard`.

        Raises ListenError for all that can't be opened, with nothing left open and nothing changed.
        """
        wanted = list(_keys(listeners))
        leaving = {key[1]: opened for key, opened in self._opened.items() if key not in wanted}
        result: Sockets = {}
        failures: list[str] = []
        for key in wanted:
            name, bind, mode, _ = key
            try:
                if key in self._opened:
                    result[key] = self._opened[key]
                elif bind in leaving:  # it goes from one listener to another
                    result[key] = leaving.pop(bind).shared(mode)
                else:
                    result[key] = open_bind(parse_bind(bind), mode=mode)
            except OSError as error:
                failures.append(f"listener {name!r} can't listen on {bind}: {_explain(error)}")
        if failures:
            self.discard(result)
            raise ListenError("; ".join(failures))
        return result

    def commit(self, prepared: Sockets) -> None:
        """Keep what was prepared and close what it no longer holds."""
        before, self._opened = self._opened, prepared
        for opened in prepared.values():
            opened.allow()
        _close_but(before, prepared)

    def discard(self, prepared: Sockets) -> None:
        """Close what was opened for a configuration that isn't to be."""
        _close_but(prepared, self._opened)

    def close(self) -> None:
        """Close all, and remove the files of Unix sockets."""
        self.commit({})

    @property
    def by_listener(self) -> Mapping[str, list[socket.socket]]:
        """The sockets of each listener, in the order of its binds."""
        return by_listener(self._opened)

    @property
    def addresses(self) -> dict[str, list[Address]]:
        """Where each listener listens, with the ports that the kernel chose."""
        return {
            name: [address_of(sock.getsockname()) for sock in sockets] for name, sockets in self.by_listener.items()
        }


def by_listener(sockets: Sockets) -> Mapping[str, list[socket.socket]]:
    """The sockets of each listener, in the order of its binds."""
    result: dict[str, list[socket.socket]] = {}
    for (name, *_), opened in sockets.items():
        result.setdefault(name, []).extend(opened.sockets)
    return result


def with_addresses(config: Config, sockets: Mapping[str, Sequence[socket.socket]]) -> Config:
    """`config` with the addresses of inherited sockets for its binds: `fd:4` tells nobody where that is."""
    if not any(bind.startswith("fd:") for listener in config.listeners for bind in listener.bind):
        return config
    listeners = [
        replace(listener, bind=[_bind_of(address_of(sock.getsockname())) for sock in sockets.get(listener.name, ())])
        for listener in config.listeners
    ]
    return replace(config, listeners=listeners)


def _bind_of(address: Address) -> str:
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _keys(listeners: Iterable[Listener]) -> Iterator[Key]:
    """Each bind of each listener; numbered, since one with port 0 is another one each time."""
    for listener in listeners:
        mode = None if listener.mode is None else int(listener.mode, 8)
        for number, bind in enumerate(listener.bind):
            yield listener.name, bind, mode, listener.bind[:number].count(bind)


def _close_but(sockets: Sockets, kept: Sockets) -> None:
    paths = {opened.path for opened in kept.values()}
    for key, opened in sockets.items():
        if kept.get(key) is not opened:
            opened.close()
            if opened.path not in paths:
                _unlink(opened)


def open_bind(bind: Bind, *, mode: int | None = None) -> Opened:
    """Open one bind. `mode` is that of a Unix socket's file. Raises OSError."""
    if bind.kind == "unix":
        return _open_unix(bind.path, mode)
    if bind.kind == "fd":
        return Opened([_adopt(bind.fd)])
    return Opened(_open_tcp(bind.host, bind.port))


def _open_tcp(host: str, port: int) -> list[socket.socket]:
    """One socket for an address, one for each address of a name such as `localhost`."""
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # "[::]:80" beside "0.0.0.0:80" is the usual pair, on every system.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _open_unix(path: str, mode: int | None) -> Opened:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        if mode is not None:
            os.chmod(path, mode)
        sock.listen(BACKLOG)  # only now can anyone connect, under the mode that was asked for
        return Opened([sock], path, mode)
    except OSError:
        sock.close()
        raise


def _remove_stale(path: str) -> None:
    """Remove the file of a Unix socket that nobody listens on any more, and nothing else."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(0, "the path is taken by something that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            pass  # someone listens, and has a full queue: bind will say so


def _unlink(opened: Opened) -> None:
    """Remove a Unix socket's file, unless another one has taken its place.

    Whoever gave up root may have to leave it in a folder of root's: the next who binds there removes it.
    """
    try:
        if opened.path and os.stat(opened.path).st_ino == opened.inode:
            os.unlink(opened.path)
    except (FileNotFoundError, PermissionError):
        pass


def _adopt(fd: int) -> socket.socket:
    """An inherited socket (socket activation), under a descriptor of our own: its giver goes on holding it."""
    sock = socket.socket(fileno=os.dup(fd))
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise OSError(0, "the descriptor is no listening stream socket")
    return sock


def _explain(error: OSError) -> str:
    text = (error.strerror or str(error)).lower()
    if isinstance(error, PermissionError):
        return f"{text} (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
    if error.errno == errno.EADDRINUSE:
        return f"{text} (by a program that `ss -lptn` or `lsof -i` names, perhaps this one: stop it, or bind elsewhere)"
    return text

"""The readiness set: which of many descriptors can be read or written, behind one descriptor of its own.

`select.epoll` already has the interface; where there is kqueue, `KqueueSet` gives it the same one. A platform
whose sets can't be nested needs a third class here, fed by the runtime's own watchers.
"""

from __future__ import annotations

import select
from typing import Any, Protocol

# Linux's values, so that a mask of epoll needs no translation.
READABLE = 0x001
WRITABLE = 0x004
FAILED = 0x008
HUNG_UP = 0x010
"""Nothing can be sent or received any more. It and `FAILED` are always reported, asked for or not."""
PEER_ENDED = 0x2000
"""The peer shut down its writing side; bytes that came before may still be unread."""


class ReadinessSet(Protocol):
    """Level-triggered: what is ready is told again until it is dealt with."""

    def fileno(self) -> int: ...
    def register(self, fd: int, eventmask: int, /) -> None: ...
    def modify(self, fd: int, eventmask: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...
    def poll(self, timeout: float, maxevents: int, /) -> list[tuple[int, int]]: ...
    def close(self) -> None: ...


def readiness_set() -> ReadinessSet:
    """The platform's own set."""
    return select.epoll() if hasattr(select, "epoll") else KqueueSet()


class KqueueSet:
    """kqueue in epoll's clothes. Written for macOS and the BSDs, and not yet run there.

    A kqueue has one filter for each direction. A descriptor that is watched for hang-ups alone keeps a
    read filter with a low-water mark that no buffer reaches, so that only its end-of-file flag fires.
    """

    _NEVER = 0x7FFFFFFF

    def __init__(self) -> None:
        self._select: Any = select  # the names of kqueue are absent from the typing of other platforms
        self._kqueue: Any = self._select.kqueue()
        self._masks: dict[int, int] = {}

    def fileno(self) -> int:
        number: int = self._kqueue.fileno()
        return number

    def register(self, fd: int, eventmask: int, /) -> None:
        self._masks[fd] = 0
        self.modify(fd, eventmask)

    def modify(self, fd: int, eventmask: int, /) -> None:
        kq = self._select
        low_water = 1 if eventmask & READABLE else self._NEVER
        changes = [kq.kevent(fd, kq.KQ_FILTER_READ, kq.KQ_EV_ADD, kq.KQ_NOTE_LOWAT, low_water)]
        if (eventmask ^ self._masks[fd]) & WRITABLE:
            action = kq.KQ_EV_ADD if eventmask & WRITABLE else kq.KQ_EV_DELETE
            changes.append(kq.kevent(fd, kq.KQ_FILTER_WRITE, action))
        self._kqueue.control(changes, 0)
        self._masks[fd] = eventmask

    def unregister(self, fd: int, /) -> None:
        kq = self._select
        changes = [kq.kevent(fd, kq.KQ_FILTER_READ, kq.KQ_EV_DELETE)]
        if self._masks.pop(fd) & WRITABLE:
            changes.append(kq.kevent(fd, kq.KQ_FILTER_WRITE, kq.KQ_EV_DELETE))
        self._kqueue.control(changes, 0)

    def poll(self, timeout: float, maxevents: int, /) -> list[tuple[int, int]]:
        ready: dict[int, int] = {}
        for event in self._kqueue.control(None, maxevents, timeout):
            ready[event.ident] = ready.get(event.ident, 0) | self._mask_of(event)
        return [(fd, mask) for fd, mask in ready.items() if mask]

    def _mask_of(self, event: Any) -> int:
        wanted = self._masks[event.ident]
        if event.filter == self._select.KQ_FILTER_WRITE:
            return WRITABLE
        mask = wanted & READABLE
        if event.flags & self._select.KQ_EV_EOF:
            mask |= wanted & PEER_ENDED
            if event.fflags:
                mask |= FAILED
        return mask

    def close(self) -> None:
        self._kqueue.close()

"""The driver: performs a machine's effects on non-blocking sockets and tells it the facts that come of them.

Theory of operation
-------------------
All sockets are in one readiness set, level-triggered. The set has a descriptor of its own, readable when any
socket is ready; so a runtime waits for one descriptor and one deadline, and calls `ready` and `timer_expired`.
The driver never waits, and knows neither runtime nor protocol.

*In phases.* A wake-up first reads from all that is readable, then tells the machine what came, then sends what it
wants sent: each phase runs without the others in between, and so in a warm cache, which takes a sixth off the cost of
a small exchange; and a peer that is woken by the first send is awake for the rest. What must come after a send (a
close) waits for it, what is told in the end (`take_notices`) comes when all was tried.

*One fact at a time.* A fact is told by calling the machine, which answers with effects; they are performed
first-in first-out. What happens meanwhile (a kernel that is full, a dial that is refused at once) queues in
`_arisen` and is told after the last effect, so the machine is never entered while it works or while its effects
are performed. `tell` is the door for all facts that come from outside: it queues too when the driver is at work.

*Every handle has one last fact*, `connection_lost` or, for a dial that didn't succeed, `connect_failed`; `_lose`
alone tells it, and it removes the connection from both tables, so that later effects find nothing and are skipped.

*Reading.* A readable connection is read once for each wake-up, with a small buffer until a read comes back full,
and again after something small was sent: what comes next is an answer, whose head is then not the beginning of a
large piece that must be cut and copied (a quarter of what a 1 MiB response costs). While a crowd waits to be written
reads are smaller, since what was read last stays in memory when its reader stops reading. The end of file is told
after all bytes before it. After it, or while reading is paused, the connection is watched for hang-ups only:

- An error while paused is told at once, and unread bytes are lost with it.
- The peer's end of file while paused is told at once if nothing stands before it. If unread bytes do, it would tear a
  message: `peer_ended` is told instead. It would also be reported for ever: the connection is `deaf` until resumed.
- When both directions have ended, nothing is left to happen: the driver closes, and tells `connection_lost`.

*Writing.* Each piece is tried at once. What the kernel refuses waits, in order, and `writing_paused` is told, again
whenever some of it has left and some still waits, so that the machine sees a slow peer's progress; then
`writing_resumed` when nothing waits any more. `SendEof` and `Close` take effect when nothing waits. A peer that
resets while we send may have answered before (a 413 in mid-upload): what can still be read is read and told first,
then the loss; an end of file found on that way is no proper end and isn't told.

*Aborting* sends a reset (SO_LINGER 0), to either side: the one way to tell an HTTP/1.0 client that its message,
delimited by close, was cut, and an origin that nobody listens any more. On a Unix socket it is a plain close.

*Numbers of descriptors are used again.* One wake-up's events were collected before the first of them was
handled: a descriptor closed meanwhile may already be another socket's. `_gone` has those; their events are skipped.

*Out of descriptors.* The listener stops accepting before `accept_failed` is told, and starts again by
`ResumeAccepting` only: a level-triggered set would report it for ever. A reserve is freed for dials.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from proxycore.sockets.heap import keep_freed_memory
from proxycore.sockets.machine import Machine
from proxycore.sockets.naming import address_of, error_name, family_of
from proxycore.sockets.readiness import FAILED, HUNG_UP, PEER_ENDED, READABLE, WRITABLE, readiness_set
from proxycore.sockets.records import CROWD, LARGE, MODEST, SMALL, Connection, Listening
from proxycore.sockets.reserve import Reserve
from proxycore.words.effects import (
    Abort,
    Call,
    Cancel,
    Close,
    Connect,
    Effect,
    PauseAccepting,
    PauseReading,
    Resolve,
    ResumeAccepting,
    ResumeReading,
    Send,
    SendEof,
    StopAccepting,
)
from proxycore.words.ids import CallId, ConnId, LookupId

EVENTS = 64
"""Events for each wake-up: more would keep the runtime's other tasks waiting for over a millisecond."""

ACCEPTS = 64
"""Connections accepted for each wake-up and listening socket."""

BURSTS = 128
"""How often as many are accepted before a drain: more than a kernel's queue holds as a rule, and not for ever."""

BATCH = 256 << 10
"""Bytes that are read before they are told. More would be memory for nothing."""

PIECES = 64
"""Pieces given to the kernel at once; every platform takes that many (IOV_MAX)."""

_AFTER_SENDS = frozenset((SendEof, Close, Abort, PauseReading))
"""Effects that must find what was sent before them already tried: what a failed send leaves unread is still read."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_NO_DESCRIPTORS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_PEER_GONE = frozenset((errno.EPIPE, errno.ECONNRESET))


class Driver:
    """Runs `machine` on real sockets.

    `listeners` maps the name of each listener to its bound, listening sockets; the driver owns them
    from now on. `clock` gives monotonic seconds. `resolve`, `call` and `cancel` start what the
    effects of those names ask for and never wait; their results come back through `tell`. Notices go
    to `on_notices`, if it is given, after each wake-up that made some.

    A runtime waits until `fileno()` is readable and calls `ready()`, and calls `timer_expired()` once
    `next_deadline()` has come; both may change the deadline. `close()` ends it.
    """

    def __init__(
        self,
        machine: Machine,
        listeners: Mapping[str, Sequence[socket.socket]],
        *,
        clock: Callable[[], float] = time.monotonic,
        resolve: Callable[[LookupId, str, int], None],
        call: Callable[[CallId, str, Mapping[str, Any]], None],
        cancel: Callable[[LookupId | CallId], None],
        on_notices: Callable[[Sequence[Any]], None] | None = None,
    ) -> None:
        keep_freed_memory()
        self._machine = machine
        self._clock = clock
        self._on_notices = on_notices
        self._set = readiness_set()
        self._reserve = Reserve(self._set.fileno())
        self._records: dict[int, Connection | Listening] = {}
        self._listening: list[Listening] = []
        self._connections: dict[ConnId, Connection] = {}
        self._received: list[tuple[Connection, bytes]] = []
        self._received_size = 0
        self._sends: list[Send] = []
        self._arisen: deque[tuple[Callable[..., Sequence[Effect]], tuple[Any, ...]]] = deque()
        self._gone: set[int] = set()
        self._slow = 0  # connections that have something waiting
        self._busy = False
        self._closed = False
        self._performers: dict[type[Effect], Callable[[Any], None]] = {
            SendEof: self._perform_send_eof,
            Close: self._perform_close,
            Abort: self._perform_abort,
            PauseReading: self._perform_pause_reading,
            ResumeReading: self._perform_resume_reading,
            Connect: self._perform_connect,
            Resolve: lambda effect: resolve(effect.lookup, effect.host, effect.port),
            Call: lambda effect: call(effect.call, effect.name, effect.arguments),
            Cancel: lambda effect: cancel(effect.handle),
            PauseAccepting: self._perform_pause_accepting,
            ResumeAccepting: self._perform_resume_accepting,
            StopAccepting: self._perform_stop_accepting,
        }
        self.listen(listeners)

    # ---- for the runtime ------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The descriptor to wait for: readable when there is work for `ready`."""
        return self._set.fileno()

    def next_deadline(self) -> float | None:
        """When `timer_expired` is due, by the driver's clock."""
        return self._machine.next_deadline()

    def ready(self) -> None:
        """Handle what is ready, a bounded number of events. What is left shows in the descriptor again."""
        self._enter()
        record: Connection | Listening | None = None
        try:
            records, gone, arisen = self._records, self._gone, self._arisen
            gone.clear()
            for fd, event in self._set.poll(0, EVENTS):
                record = records.get(fd)
                if record is None or (gone and fd in gone):
                    continue
                if event == READABLE and record.reading:
                    self._read(record)  # type: ignore[arg-type]  # a Listening is never `reading`
                    if self._received_size >= BATCH:
                        self._tell_received()
                        self._send_all()
                elif record.__class__ is Listening:
                    self._accept(record)
                else:
                    self._attend(record, event)  # type: ignore[arg-type]
                if arisen:
                    self._tell_arisen()
            record = None
            self._finish()
        except Exception:
            if isinstance(record, Connection) and record.fd >= 0:
                self._reset(record)
            self._finish()
            raise
        finally:
            self._busy = False
        self._pass_notices()

    def timer_expired(self) -> None:
        """Tell the machine that its deadline has come."""
        self.tell(self._machine.timer_expired)

    def tell(self, fact: Callable[..., Sequence[Effect]], *arguments: Any) -> None:
        """Tell a fact that comes from outside: `tell(core.resolved, lookup, addresses)`. The time is added last.

        When the driver is at work (a look-up that was answered before `resolve` returned), it is told
        after what is going on.
        """
        if self._closed:
            return
        self._arisen.append((fact, arguments))
        if self._busy:
            return
        self._enter()
        try:
            self._finish()
        finally:
            self._busy = False
        self._pass_notices()

    def listen(self, listeners: Mapping[str, Iterable[socket.socket]]) -> None:
        """Accept on exactly these sockets: new ones start, those that are missing are closed, others go on.

        Call it when a reload has bound what is new, before telling the machine of its new configuration.
        """
        names = {sock: name for name, sockets in listeners.items() for sock in sockets}
        for listening in self._listening.copy():
            if listening.socket in names:
                listening.name = names.pop(listening.socket)
            else:
                self._stop(listening)
        for sock, name in names.items():
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                # Accepted sockets inherit it: one system call less for each.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            local = address_of(sock.getsockname())
            wildcard = isinstance(local, tuple) and local[0] in ("0.0.0.0", "::")
            listening = Listening(name, sock, None if wildcard else local)
            self._listening.append(listening)
            self._records[listening.fd] = listening
            self._set.register(listening.fd, READABLE)

    def accept_waiting(self) -> None:
        """Accept who has connected and waits for it: closing a listening socket resets them.

        Call it before telling the machine of a drain, or that a listener goes. At work, the driver does nothing on it.
        """
        if self._closed or self._busy:
            return
        self._enter()
        try:
            for listening in self._listening.copy():
                for _ in range(BURSTS):
                    if not listening.accepting or not self._accept(listening):
                        break
            self._finish()
        finally:
            self._busy = False
        self._pass_notices()

    def close(self) -> None:
        """Close every socket, cutting connections with a reset. The machine is told nothing more."""
        self._closed = True
        for connection in list(self._connections.values()):
            self._reset(connection)
        for listening in self._listening.copy():
            self._stop(listening)
        self._arisen.clear()
        self._received.clear()
        self._sends.clear()
        self._reserve.release()
        self._set.close()

    # ---- telling facts, performing effects ------------------------------------------------------------------

    def _enter(self) -> None:
        assert not self._busy, "the driver was entered while at work: use tell"
        self._busy = True

    def _finish(self) -> None:
        """Tell all that was read and arose, and send all that is to be sent, until nothing is left of either.

        An exception costs the one connection that it was about, and is raised when all others had what is theirs.
        """
        try:
            while self._received or self._sends or self._arisen:
                self._tell_received()
                self._send_all()
                self._tell_arisen()
        except Exception:
            self._finish()
            raise

    def _tell_received(self) -> None:
        received, self._received = iter(self._received), []
        self._received_size = 0
        fact, now = self._machine.data_received, self._clock()
        for connection, data in received:
            if connection.fd < 0:
                continue  # closed meanwhile, by a fact about another
            try:
                effects = fact(connection.conn, data, now)
                if effects:
                    self._perform(effects)
            except Exception:
                # What others sent must not be missing from the midst of their messages.
                self._received[:0] = received
                self._abandon((connection.conn,))
                raise

    def _tell_arisen(self) -> None:
        arisen, clock = self._arisen, self._clock
        while arisen:
            if self._sends:
                self._send_all()
            fact, arguments = arisen.popleft()
            try:
                effects = fact(*arguments, clock())
            except Exception:
                self._abandon(arguments)
                raise
            if effects:
                self._perform(effects)

    def _abandon(self, arguments: tuple[Any, ...]) -> None:
        """The machine raised over a fact: what it wanted of that connection is unknown, so it can't go on."""
        handle = arguments[0] if arguments else None
        connection = self._connections.get(ConnId(handle)) if isinstance(handle, int) else None
        if connection is not None:
            self._reset(connection)

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if effect.__class__ is Send:
                self._sends.append(effect)
            else:
                if effect.__class__ in _AFTER_SENDS and self._sends:
                    self._send_all()
                self._performers[effect.__class__](effect)

    def _send_all(self) -> None:
        sends, self._sends = iter(self._sends), []
        connections = self._connections
        for send in sends:
            connection = connections.get(send.conn)
            if connection is not None:
                try:
                    self._send(connection, send.data)
                except Exception:
                    self._sends[:0] = sends
                    self._abandon((send.conn,))
                    raise

    def _pass_notices(self) -> None:
        """Asked for though nobody may watch: only now does the machine know that its last effects were performed."""
        notices = self._machine.take_notices(self._clock())
        if notices and self._on_notices is not None:
            self._on_notices(notices)

    # ---- events ---------------------------------------------------------------------------------------------

    def _attend(self, connection: Connection, event: int) -> None:
        """Any event but plain bytes."""
        if connection.dialling:
            self._conclude_dial(connection)
            return
        if event & WRITABLE and connection.waiting is not None:
            self._flush(connection)
            self._tell_arisen()
        if connection.reading:
            if event & ~WRITABLE:
                self._read(connection)
        elif connection.fd >= 0:
            self._hung_up(connection, event)

    def _read(self, connection: Connection) -> None:
        size = connection.size
        try:
            data = connection.socket.recv(size)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(connection, connection.broken or error_name(error))
            return
        if not data:
            if self._received:
                self._tell_received()  # what stood before it
            if connection.fd >= 0:  # else that closed it
                self._end(connection)
            return
        if len(data) == size:
            connection.size = LARGE if self._slow < CROWD else MODEST
        elif len(data) <= SMALL:
            connection.size = SMALL
        self._received.append((connection, data))
        self._received_size += len(data)

    def _end(self, connection: Connection) -> None:
        """The peer's end of file, with nothing unread before it."""
        if connection.broken is not None:
            self._lose(connection, connection.broken)
            return
        connection.ended = True
        self._watch(connection)
        self._arisen.append((self._machine.eof_received, (connection.conn,)))
        if connection.finished:
            self._lose(connection, None)

    def _hung_up(self, connection: Connection, event: int) -> None:
        """A hang-up or an error on a connection that isn't read: paused, ended or closing."""
        number = connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._lose(connection, error_name(number))
        elif not connection.paused or connection.ended or connection.closing:
            if event & (HUNG_UP | FAILED):
                self._lose(connection, None)
        else:
            self._ended_while_paused(connection, event)

    def _ended_while_paused(self, connection: Connection, event: int) -> None:
        try:
            unread = connection.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(connection, error_name(error))
            return
        if not unread:
            self._end(connection)
            return
        connection.deaf = True
        self._watch(connection)
        if event & HUNG_UP:  # reported whatever the mask
            self._unwatch(connection)
        self._arisen.append((self._machine.peer_ended, (connection.conn,)))

    def _accept(self, listening: Listening) -> bool:
        """Accept as many as came last time, doubled while more come: a lone one needs no second, failing call.

        Return whether more may wait.
        """
        for count in range(listening.burst):
            try:
                sock, peer = listening.socket.accept()
            except BlockingIOError:
                listening.burst = max(count, 1)
                return False
            except OSError as error:
                if error.errno in _NO_DESCRIPTORS:
                    self._ran_out(listening, error)
                    return False
                continue  # that one left while it was queued (ECONNABORTED and others, see accept(2))
            self._welcome(listening, sock, peer)
            if not listening.accepting:
                return False
        listening.burst = min(listening.burst * 2, ACCEPTS)
        return True

    def _welcome(self, listening: Listening, sock: socket.socket, peer: Any) -> None:
        sock.setblocking(False)
        local = listening.local if listening.local is not None else address_of(sock.getsockname())
        connection = Connection(self._machine.next_conn_id(), sock)
        self._admit(connection)
        self._arisen.append(
            (self._machine.accepted, (connection.conn, listening.name, address_of(peer), local)),
        )
        self._tell_arisen()

    def _ran_out(self, listening: Listening, error: OSError) -> None:
        self._suspend(listening)
        self._reserve.release()
        self._arisen.append((self._machine.accept_failed, (listening.name, error_name(error))))

    # ---- dialling -------------------------------------------------------------------------------------------

    def _perform_connect(self, effect: Connect) -> None:
        family = family_of(effect.address)
        try:
            sock = self._open(family)
        except OSError as error:
            self._arisen.append((self._machine.connect_failed, (effect.conn, error_name(error))))
            return
        sock.setblocking(False)
        connection = Connection(effect.conn, sock, effect.address)
        self._admit(connection)
        try:
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(effect.address)
        except BlockingIOError as error:
            if error.errno != errno.EINPROGRESS:  # EAGAIN: the queue of a Unix listener is full
                self._lose(connection, error_name(error))
        except OSError as error:
            self._lose(connection, error_name(error))
        # A dial that succeeds at once is writable, and concluded like any other.

    def _open(self, family: socket.AddressFamily) -> socket.socket:
        """A socket to dial with. Where no descriptor is left accepting stops, and the reserve has one."""
        try:
            return socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS:
                raise
            for listening in self._listening:
                if listening.accepting:
                    self._ran_out(listening, error)
        return socket.socket(family, socket.SOCK_STREAM)

    def _conclude_dial(self, connection: Connection) -> None:
        number = connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._lose(connection, error_name(number))
            return
        local = address_of(connection.socket.getsockname())
        if local == connection.address and isinstance(local, tuple):
            # Where nobody listens on a port of the ephemeral range, TCP may connect a socket to itself.
            self._lose(connection, "ECONNREFUSED")
            return
        connection.dialling = False
        self._arisen.append((self._machine.connected, (connection.conn, local, connection.address)))
        self._watch(connection)

    # ---- writing --------------------------------------------------------------------------------------------

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.finishing or connection.closing or connection.broken is not None:
            return
        if connection.waiting is not None:
            connection.waiting.append(data)
            return
        size = len(data)
        if size < SMALL:
            connection.size = SMALL
        try:
            sent = connection.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._sending_failed(connection, error)
            return
        if sent < size:
            connection.waiting = deque((_rest(data, sent),))
            self._slow += 1
            self._watch(connection)
            self._arisen.append((self._machine.writing_paused, (connection.conn,)))

    def _flush(self, connection: Connection) -> None:
        """Send what waits, as far as the kernel takes it."""
        waiting = connection.waiting
        assert waiting is not None
        try:
            while waiting:
                pieces = [waiting[i] for i in range(min(len(waiting), PIECES))]
                left = connection.socket.sendmsg(pieces)
                for piece in pieces:
                    if left < len(piece):
                        waiting[0] = _rest(piece, left)
                        self._arisen.append((self._machine.writing_paused, (connection.conn,)))
                        return
                    left -= len(piece)
                    waiting.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            self._sending_failed(connection, error)
            return
        self._all_sent(connection)

    def _all_sent(self, connection: Connection) -> None:
        self._forget_waiting(connection)
        if connection.closing:
            self._lose(connection, None)
            return
        if connection.finishing:
            self._shut(connection)
        if connection.fd >= 0:
            self._watch(connection)
            self._arisen.append((self._machine.writing_resumed, (connection.conn,)))

    def _forget_waiting(self, connection: Connection) -> None:
        if connection.waiting is not None:
            connection.waiting = None
            self._slow -= 1

    def _sending_failed(self, connection: Connection, error: OSError) -> None:
        self._forget_waiting(connection)
        if connection.reading and error.errno in _PEER_GONE:
            connection.broken = error_name(error)
            self._watch(connection)
        else:
            self._lose(connection, error_name(error))

    def _shut(self, connection: Connection) -> None:
        try:
            connection.socket.shutdown(socket.SHUT_WR)
        except OSError as error:  # ENOTCONN: the peer has reset
            self._sending_failed(connection, error)
            return
        connection.finished = True
        if connection.ended:
            self._lose(connection, None)

    def _perform_send_eof(self, effect: SendEof) -> None:
        connection = self._connections.get(effect.conn)
        if connection is None or connection.finishing or connection.closing or connection.broken is not None:
            return
        connection.finishing = True
        if connection.waiting is None:
            self._shut(connection)

    # ---- reading, closing -----------------------------------------------------------------------------------

    def _perform_pause_reading(self, effect: PauseReading) -> None:
        connection = self._connections.get(effect.conn)
        if connection is not None:
            connection.paused = True
            self._watch(connection)

    def _perform_resume_reading(self, effect: ResumeReading) -> None:
        connection = self._connections.get(effect.conn)
        if connection is not None:
            connection.paused = False
            connection.deaf = False
            self._watch(connection)

    def _perform_close(self, effect: Close) -> None:
        connection = self._connections.get(effect.conn)
        if connection is None:
            return
        if connection.waiting is None or connection.dialling:
            self._lose(connection, None)
        else:
            connection.closing = True
            self._watch(connection)

    def _perform_abort(self, effect: Abort) -> None:
        connection = self._connections.get(effect.conn)
        if connection is not None:
            self._reset(connection)

    def _reset(self, connection: Connection) -> None:
        try:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        except OSError:
            pass  # the peer was faster
        self._lose(connection, None)

    def _lose(self, connection: Connection, error: str | None) -> None:
        """The one end of a connection: out of every table, closed, and its last fact on its way."""
        del self._connections[connection.conn]
        del self._records[connection.fd]
        self._unwatch(connection)
        self._gone.add(connection.fd)
        connection.fd = -1
        self._forget_waiting(connection)
        connection.reading = False
        connection.socket.close()
        if connection.dialling:
            self._arisen.append((self._machine.connect_failed, (connection.conn, error or "ECANCELED")))
        else:
            self._arisen.append((self._machine.connection_lost, (connection.conn, error)))

    # ---- what is watched ------------------------------------------------------------------------------------

    def _admit(self, connection: Connection) -> None:
        self._connections[connection.conn] = connection
        self._records[connection.fd] = connection
        self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        """Have the set watch for what the connection's state calls for: the one place that decides it."""
        reading = not (connection.dialling or connection.paused or connection.ended or connection.closing)
        connection.reading = reading
        if reading:
            mask = READABLE
        elif connection.dialling:
            mask = WRITABLE
        elif connection.ended or connection.closing or connection.deaf:
            mask = 0
        else:
            mask = PEER_ENDED
        if connection.waiting is not None:
            mask |= WRITABLE
        if mask == connection.watched:
            return
        if connection.watched is None:
            self._set.register(connection.fd, mask)
        else:
            self._set.modify(connection.fd, mask)
        connection.watched = mask

    def _unwatch(self, connection: Connection) -> None:
        if connection.watched is not None:
            self._set.unregister(connection.fd)
            connection.watched = None

    # ---- accepting ------------------------------------------------------------------------------------------

    def _sockets_of(self, listener: str) -> list[Listening]:
        return [listening for listening in self._listening if listening.name == listener]

    def _suspend(self, listening: Listening) -> None:
        if listening.accepting:
            listening.accepting = False
            self._set.unregister(listening.fd)

    def _stop(self, listening: Listening) -> None:
        self._suspend(listening)
        self._gone.add(listening.fd)
        self._listening.remove(listening)
        del self._records[listening.fd]
        listening.socket.close()

    def _perform_pause_accepting(self, effect: PauseAccepting) -> None:
        for listening in self._sockets_of(effect.listener):
            self._suspend(listening)

    def _perform_resume_accepting(self, effect: ResumeAccepting) -> None:
        self._reserve.refill()
        for listening in self._sockets_of(effect.listener):
            if not listening.accepting:
                listening.accepting = True
                self._set.register(listening.fd, READABLE)

    def _perform_stop_accepting(self, effect: StopAccepting) -> None:
        for listening in self._sockets_of(effect.listener):
            self._stop(listening)


def _rest(piece: bytes | memoryview, sent: int) -> bytes | memoryview:
    """What is left of `piece`: uncopied, unless more than half of what that would keep in memory has left."""
    view = memoryview(piece)[sent:]
    return bytes(view) if len(view) * 2 < len(view.obj) else view  # type: ignore[arg-type]

"""The second driver: performs a machine's effects on a network in memory, under a clock of its own.

Theory of operation
-------------------
It keeps the contract that `proxycore.sockets` keeps with real sockets, so that what holds here holds
there: one fact at a time, effects performed first-in first-out after the machine has returned, facts that
arise meanwhile told after them, effects on a lost connection skipped, exactly one last fact for each
handle, `writing_paused` when the kernel refuses bytes and again whenever some of them have left.

A `Link` is one TCP connection: its near end is the proxy's socket and is worked by effects, its far end
is a `Peer`, scripted by whoever tests. Each direction is a pipe of bounded size with latency and bandwidth,
so a far end that doesn't read fills it, and the near end's bytes wait. Bytes arrive in the order in
which they were sent, cut as `Weather.cut` says; an end of file is the empty piece behind them.

What TCP does to the careless happens here too: whoever closes with unread bytes sends a reset, and so
does a closed end to which bytes still come; a reset takes with it what its receiver hasn't read.

Time passes only between events: `run` takes the earliest of all that is planned and the machine's own
deadline. Chance comes from the `Random` that is given and from nothing else, so a run can be had again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Any, Protocol

from proxycore.config import Config
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
from proxycore.words.ids import Address, ConnId, LookupId
from proxycore.words.notices import Notice

READ_MAX = 64 * 1024
"""Bytes of one `data_received` at most, as the socket driver reads them."""

BYTES_MAX = 400
"""How many bytes travel each by itself: enough for a head."""

LOOKUP_PATIENCE = 20.0
"""Seconds after which a look-up that nobody answers fails, as the system's resolver has it."""

CANCELLED = "ECANCELED"
LOCAL: Address = ("127.0.0.1", 80)


class Machine(Protocol):
    """What can be driven: `Core`, a `Recorder` around one, or any state machine of facts and effects."""

    def next_conn_id(self) -> ConnId: ...
    def next_deadline(self) -> float | None: ...
    def take_notices(self, now: float) -> Sequence[Notice]: ...


class Observer(Protocol):
    """Sees each fact with the effects that answered it, before they are performed."""

    def fact(self, now: float, name: str, arguments: tuple[Any, ...], effects: Sequence[Effect]) -> None: ...


class Peer:
    """The far end of a link. Override what you need; `link` is set before `opened`."""

    link: Link

    def opened(self) -> None:
        """The connection stands: `self.link.send` may be used."""

    def received(self, data: bytes) -> None:
        """Bytes of the proxy."""

    def ended(self) -> None:
        """The proxy has ended its side; nothing more will be received."""

    def lost(self, error: str) -> None:
        """Refused or reset: neither direction carries anything any more."""

    def sent(self) -> None:
        """All that was given to `link.send` is on its way."""


class Host:
    """What answers at an address that the proxy dials. `mode` may change at any time.

    `up` accepts, `refused` refuses, `silent` never answers (a black hole), `unreachable` fails with
    EHOSTUNREACH. `delay` is added to the latency of each dial.
    """

    def __init__(self, peer: Callable[[], Peer]) -> None:
        self.peer = peer
        self.mode = "up"
        self.delay = 0.0


@dataclass(frozen=True, slots=True)
class Weather:
    """How links behave. Times in seconds, rates in bytes per second, sizes in bytes.

    `latency` and `room` are ranges to draw from, for each link. `room` is what one direction takes
    before the sender waits. `cut` is how bytes are cut on their way to the proxy: `whole`, `some`
    (at random places), `bytes` (each by itself, the last `BYTES_MAX` of what was sent), or `mixed`: one of
    these for each link. `late` is how late the machine's timer rings.
    """

    latency: tuple[float, float] = (0.0, 0.0)
    bandwidth: float = inf
    room: tuple[int, int] = (256 * 1024, 256 * 1024)
    cut: str = "whole"
    late: float = 0.0


class Link:
    """One connection. The near end is the proxy's and is worked by effects; the methods are for the far end.

    `read_rate` is how fast the far end reads; `is_reading` false stops it altogether (see `resume`).
    `is_lost` says that the proxy's end is gone, since `lost_at`; `written_at` is when the proxy last sent something.
    """

    __slots__ = (
        "_arrived",
        "_cut",
        "_down_at",
        "_down_room",
        "_dying",
        "_far_closing",
        "_far_ended",
        "_latency",
        "_listening",
        "_network",
        "_outbox",
        "_read_planned",
        "_room",
        "_unread",
        "_up_at",
        "_up_room",
        "address",
        "closing",
        "conn",
        "dialling",
        "ended",
        "finished",
        "finishing",
        "is_closed",
        "is_lost",
        "is_reading",
        "lost_at",
        "paused",
        "peer",
        "read_rate",
        "waiting",
        "waiting_size",
        "written_at",
    )

    def __init__(self, network: Network, address: Address, latency: float, room: int, cut: str) -> None:
        self._network = network
        self._latency = latency
        self._room = self._down_room = self._up_room = room
        self._cut = cut
        self._down_at = self._up_at = 0.0
        self.address = address
        self.peer: Peer | None = None
        self.conn: ConnId | None = None
        self._listening: _Listening | None = None
        # The near end, as the socket driver knows it.
        self.dialling = self.paused = self.ended = self.finishing = self.finished = self.closing = False
        self.is_lost = False
        self.lost_at = self.written_at = network.now
        self.waiting: deque[bytes] | None = None
        self.waiting_size = 0
        self._arrived: deque[bytes] = deque()
        # The far end.
        self.is_closed = False
        self.is_reading = True
        self.read_rate = inf
        self._unread: deque[bytes] = deque()
        self._outbox: deque[bytes] = deque()
        self._far_ended = self._far_closing = self._dying = False
        self._read_planned = False

    # ---- for the peer

    def send(self, data: bytes) -> None:
        """Send bytes to the proxy, as fast as the pipe takes them."""
        if self.is_closed or self._far_ended or not data:
            return
        self._outbox.append(data)
        self._network.push_up(self)

    def send_eof(self) -> None:
        """Half-close: nothing is sent after this, reading goes on."""
        if self.is_closed or self._far_ended:
            return
        self._far_ended = True
        self._outbox.append(b"")
        self._network.push_up(self)

    def close(self) -> None:
        """Close both directions; a reset where bytes of the proxy are unread."""
        if self.is_closed:
            return
        if self._unread:
            self.reset()
            return
        self.send_eof()
        self._far_closing = True
        self.is_closed = not self._outbox

    def reset(self) -> None:
        """Break the connection now. What is on its way to the proxy arrives first, if the proxy reads it."""
        if self.is_closed and self._dying:
            return
        self.is_closed = self._dying = True
        self._outbox.clear()
        self._unread.clear()
        self._network.reset_near(self)

    def pause(self) -> None:
        """Read nothing until `resume`."""
        self.is_reading = False

    def resume(self) -> None:
        self.is_reading = True
        self._network.read_on(self)

    @property
    def unsent(self) -> int:
        """Bytes given to `send` that the pipe hasn't taken."""
        return sum(map(len, self._outbox))

    def __repr__(self) -> str:
        flags = [
            name
            for name in ("dialling", "paused", "ended", "finished", "closing", "is_lost", "is_closed")
            if getattr(self, name)
        ]
        return f"Link(conn={self.conn}, {self.address}, {' '.join(flags) or 'open'}, waiting={self.waiting_size})"


class _Listening:
    """A listening socket: `backlog` holds who knocked and was not accepted."""

    __slots__ = ("accepting", "backlog", "name", "stopped")

    def __init__(self, name: str) -> None:
        self.name = name
        self.accepting = True
        self.stopped = False
        self.backlog: deque[Link] = deque()


class Network:
    """Drives `machine`. Give it peers with `connect` and `hosts`, then `run` it.

    `hosts` are the addresses that can be dialled; what isn't there refuses. `names` are what look-ups give:
    addresses, an error's name, or None for no answer (it fails after `LOOKUP_PATIENCE`). `calls` are the
    functions that filters ask for: they return a result or raise. `out_of_files` makes accepting and dialling
    fail with EMFILE. `on_notices` gets the machine's notices. Raises whatever an observer raises.
    """

    def __init__(
        self,
        machine: Any,
        *,
        random: Random,
        weather: Weather | None = None,
        now: float = 0.0,
        observers: Sequence[Observer] = (),
        on_notices: Callable[[Sequence[Notice]], None] | None = None,
    ) -> None:
        self.machine = machine
        self.random = random
        self.weather = weather or Weather()
        self.now = now
        self.steps = 0
        self.hosts: dict[Address, Host] = {}
        self.names: dict[str, Sequence[str] | str | None] = {}
        self.calls: dict[str, Callable[[Mapping[str, Any]], Any]] = {}
        self.call_delay = 0.0
        self.out_of_files = False
        self.links: dict[ConnId, Link] = {}
        self._listening: dict[str, _Listening] = {}
        self._asked: dict[int, str] = {}
        self._observers = [observer.fact for observer in observers]
        self._on_notices = on_notices
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._planned = 0
        self._arisen: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._busy = False
        self._ports = 10_000
        self._facts: dict[str, Callable[..., Sequence[Effect]]] = {
            name: getattr(machine, name) for name in FACTS if hasattr(machine, name)
        }
        if hasattr(machine, "drain_requested"):
            self._facts["drain_requested"] = lambda deadline, now: machine.drain_requested(now, deadline=deadline)
        self._performers: dict[type[Effect], Callable[[Any], None]] = {
            Send: self._send,
            SendEof: self._send_eof,
            Close: self._close,
            Abort: self._abort,
            PauseReading: self._pause_reading,
            ResumeReading: self._resume_reading,
            Connect: self._connect,
            Resolve: self._resolve,
            Call: self._call,
            Cancel: self._cancel,
            PauseAccepting: self._pause_accepting,
            ResumeAccepting: self._resume_accepting,
            StopAccepting: self._stop_accepting,
        }

    # ---- for whoever tests

    def listen(self, names: Sequence[str]) -> None:
        """Accept on these listeners; those that stand already go on."""
        for name in names:
            listening = self._listening.get(name)
            if listening is None or listening.stopped:
                self._listening[name] = _Listening(name)

    def connect(self, listener: str, peer: Peer, address: Address | None = None) -> Link:
        """A client connects. Its `opened` is called when the connection stands, `lost` if it is refused."""
        self._ports += 1
        link = self._new_link(address or ("192.0.2.1", self._ports))
        link.peer = peer
        peer.link = link
        self.after(link._latency, self._knock, link, listener)
        return link

    def after(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call `action` then. Actions of the same time are called in the order in which they were planned."""
        self._planned += 1
        heappush(self._events, (self.now + seconds, self._planned, action, arguments))

    def tell(self, fact: str, *arguments: Any) -> None:
        """Tell a fact from outside: `tell("drain_requested", deadline)`, `tell("reconfigured", config, None)`."""
        self._arisen.append((fact, arguments))
        if not self._busy:
            self._tell_arisen()

    def reload(self, config: Config) -> None:
        """What the program does on SIGHUP: listen on what is new, then tell the machine."""
        self.listen([listener.name for listener in config.listeners])
        self.tell("reconfigured", config, None)

    def run(self, until: float = inf, *, stop: Callable[[], bool] | None = None) -> None:
        """Let time pass until `until`, or until nothing is planned, or `stop()`; the clock stands there then."""
        events = self._events
        while stop is None or not stop():
            deadline = self.machine.next_deadline()
            due = inf if deadline is None else max(deadline + self.weather.late, self.now)
            if events and events[0][0] <= due:
                if events[0][0] > until:
                    break
                self.now, _, action, arguments = heappop(events)
                action(*arguments)
            elif due <= until and due != inf:
                self.now = due
                self.tell("timer_expired")
            else:
                break
            self.steps += 1
        if until != inf and (stop is None or not stop()):
            self.now = max(self.now, until)

    # ---- telling facts, performing effects

    def _tell_arisen(self) -> None:
        assert not self._busy, "the machine was entered again"
        self._busy = True
        arisen, performers = self._arisen, self._performers
        try:
            while arisen:
                name, arguments = arisen.popleft()
                effects = self._facts[name](*arguments, self.now)
                for observe in self._observers:
                    observe(self.now, name, arguments, effects)
                for effect in effects:
                    performers[effect.__class__](effect)
        finally:
            self._busy = False
        notices = self.machine.take_notices(self.now)
        if notices and self._on_notices is not None:
            self._on_notices(notices)

    def _new_link(self, address: Address) -> Link:
        weather, random = self.weather, self.random
        latency = random.uniform(*weather.latency) if weather.latency[1] else 0.0
        room = random.randint(*weather.room)
        cut = weather.cut if weather.cut != "mixed" else random.choice(("whole", "some", "some", "bytes"))
        return Link(self, address, latency, room, cut)

    # ---- from the proxy to the peer

    def _send(self, effect: Send) -> None:
        link = self.links.get(effect.conn)
        if link is None or link.finishing or link.closing:
            return
        data = effect.data
        link.written_at = self.now
        if link.waiting is not None:
            link.waiting.append(data)
            link.waiting_size += len(data)
            return
        room = link._down_room
        if len(data) <= room:
            self._transmit(link, data)
            return
        if room:
            self._transmit(link, data[:room])
        link.waiting = deque((data[room:],))
        link.waiting_size = len(data) - room
        self._arisen.append(("writing_paused", (link.conn,)))

    def _transmit(self, link: Link, data: bytes) -> None:
        size = len(data)
        link._down_room -= size
        link._down_at = at = max(link._down_at, self.now + link._latency) + size / self.weather.bandwidth
        self._planned += 1
        heappush(self._events, (at, self._planned, self._deliver, (link, data)))

    def _deliver(self, link: Link, data: bytes) -> None:
        """A piece reaches the far end's kernel; the empty one is the end of file."""
        if link._dying:
            return
        if link.is_closed:
            if data:  # bytes for whom nobody is there any more
                link._dying = True
                self.after(link._latency, self._reset_arrives, link)
            return
        if link.is_reading and link.read_rate == inf and not link._unread:
            self._hand_over(link, data)
        else:
            link._unread.append(data)
            self.read_on(link)

    def read_on(self, link: Link) -> None:
        """Plan the far end's next read, if it reads and there is something."""
        if not link._read_planned and link.is_reading and link._unread:
            link._read_planned = True
            self.after(0.0 if link.read_rate == inf else len(link._unread[0]) / link.read_rate, self._far_read, link)

    def _far_read(self, link: Link) -> None:
        link._read_planned = False
        if link.is_reading and link._unread:
            self._hand_over(link, link._unread.popleft())
            self.read_on(link)

    def _hand_over(self, link: Link, data: bytes) -> None:
        assert link.peer is not None
        if not data:
            link.peer.ended()
            return
        link._down_room += len(data)
        if link.waiting is not None:
            self._flush(link)
        if not link.is_closed:
            link.peer.received(data)

    def _flush(self, link: Link) -> None:
        """The kernel has room again: send what waits, as far as it takes it."""
        waiting = link.waiting
        assert waiting is not None
        if link._down_room * 3 < link._room:
            return
        while waiting and link._down_room:
            piece = waiting.popleft()
            room = link._down_room
            if len(piece) > room:
                waiting.appendleft(piece[room:])
                piece = piece[:room]
            link.waiting_size -= len(piece)
            self._transmit(link, piece)
        if waiting:
            self.tell("writing_paused", link.conn)
            return
        link.waiting = None
        if link.closing:
            self._lose(link, None)
        else:
            if link.finishing:
                self._shut(link)
            if not link.is_lost:
                self._arisen.append(("writing_resumed", (link.conn,)))
        self._tell_arisen()

    def _send_eof(self, effect: SendEof) -> None:
        link = self.links.get(effect.conn)
        if link is None or link.finishing or link.closing:
            return
        link.finishing = True
        if link.waiting is None:
            self._shut(link)

    def _shut(self, link: Link) -> None:
        link.finished = True
        self._transmit(link, b"")
        if link.ended:
            self._lose(link, None)

    def _close(self, effect: Close) -> None:
        link = self.links.get(effect.conn)
        if link is None:
            return
        if link.waiting is None or link.dialling:
            self._lose(link, None)
        else:
            link.closing = True

    def _abort(self, effect: Abort) -> None:
        link = self.links.get(effect.conn)
        if link is not None:
            self._lose(link, None, reset=True)

    def _lose(self, link: Link, error: str | None, *, reset: bool = False) -> None:
        """The one end of a connection: out of the table, and its last fact on its way."""
        conn = link.conn
        assert conn is not None
        del self.links[conn]
        link.is_lost = True
        link.lost_at = self.now
        link.waiting = None
        link.waiting_size = 0
        self._arisen.append(
            ("connect_failed", (conn, error or CANCELLED)) if link.dialling else ("connection_lost", (conn, error))
        )
        if link.dialling or link._dying:
            return
        if reset or any(link._arrived):
            self.after(link._latency, self._far_reset, link, "ECONNRESET")
        elif not link.finished:
            self._transmit(link, b"")
        link._arrived.clear()

    def _far_reset(self, link: Link, error: str) -> None:
        if link._dying or link.peer is None:
            return
        was_closed = link.is_closed
        link._dying = link.is_closed = True
        link._unread.clear()
        link._outbox.clear()
        if not was_closed:
            link.peer.lost(error)

    # ---- from the peer to the proxy

    def push_up(self, link: Link) -> None:
        """Put what the far end wants to send on its way, as far as the pipe takes it."""
        outbox = link._outbox
        while outbox:
            piece = outbox[0]
            size = len(piece)
            if size:
                room = link._up_room
                if not room:
                    return
                if link._cut != "whole":
                    size = 1 if link._cut == "bytes" and size <= BYTES_MAX else self.random.randint(1, size)
                size = min(size, room)
            if size == len(piece):
                outbox.popleft()
            else:
                outbox[0] = piece[size:]
                piece = piece[:size]
            link._up_room -= size
            link._up_at = at = max(link._up_at, self.now + link._latency) + size / self.weather.bandwidth
            self._planned += 1
            heappush(self._events, (at, self._planned, self._arrive, (link, piece)))
        if link._far_closing:
            link.is_closed = True
        elif link.peer is not None and not link._far_ended:
            link.peer.sent()

    def _arrive(self, link: Link, piece: bytes) -> None:
        """A piece reaches the proxy's kernel; the empty one is the end of file."""
        if link.is_lost:
            if piece:  # the proxy has closed, and gets bytes: its kernel answers with a reset
                self.after(link._latency, self._far_reset, link, "ECONNRESET")
            return
        if link.conn is None or link._arrived or (link.paused and piece):
            link._arrived.append(piece)
            if not piece and link.conn is not None and link.paused:
                self.tell("peer_ended", link.conn)
        else:
            self._take(link, piece)

    def _take(self, link: Link, piece: bytes) -> None:
        if piece:
            link._up_room += len(piece)
            self.tell("data_received", link.conn, piece)
            if link._outbox:
                self.push_up(link)
            return
        link.ended = True
        self._arisen.append(("eof_received", (link.conn,)))
        if link.finished:
            self._lose(link, None)
        self._tell_arisen()

    def _read_near(self, link: Link) -> None:
        """The proxy's end is readable: one read, and another later if more is there."""
        arrived = link._arrived
        if link.is_lost or link.conn is None or not arrived or (link.paused and arrived[0]):
            return
        piece = arrived.popleft()
        while piece and arrived and arrived[0] and len(piece) + len(arrived[0]) <= READ_MAX:
            piece += arrived.popleft()
        self._take(link, piece)
        if arrived:
            self.after(0.0, self._read_near, link)

    def _pause_reading(self, effect: PauseReading) -> None:
        link = self.links.get(effect.conn)
        if link is not None:
            link.paused = True

    def _resume_reading(self, effect: ResumeReading) -> None:
        link = self.links.get(effect.conn)
        if link is not None:
            link.paused = False
            if link._arrived:
                self.after(0.0, self._read_near, link)

    def reset_near(self, link: Link) -> None:
        """Send a reset to the proxy's end, behind what is on its way."""
        link._up_at = at = max(link._up_at, self.now + link._latency)
        self.after(at - self.now, self._reset_arrives, link)

    def _reset_arrives(self, link: Link) -> None:
        if link.is_lost:
            return
        if link.conn is None:  # it left before it was accepted
            link.is_lost = True
            if link._listening is not None and link in link._listening.backlog:
                link._listening.backlog.remove(link)
            return
        self._lose(link, "ECONNRESET")
        self._tell_arisen()

    # ---- accepting

    def _knock(self, link: Link, listener: str) -> None:
        listening = self._listening.get(listener)
        if listening is None or listening.stopped:
            link.is_lost = True
            self._far_reset(link, "ECONNREFUSED")
            return
        assert link.peer is not None
        link._listening = listening
        listening.backlog.append(link)
        link.peer.opened()
        self._accept_all(listening)

    def _accept_all(self, listening: _Listening) -> None:
        while listening.accepting and listening.backlog:
            if self.out_of_files:
                listening.accepting = False
                self.tell("accept_failed", listening.name, "EMFILE")
                return
            link = listening.backlog.popleft()
            link.conn = conn = self.machine.next_conn_id()
            self.links[conn] = link
            self.tell("accepted", conn, listening.name, link.address, LOCAL)
            if link._arrived:
                self.after(0.0, self._read_near, link)

    def _pause_accepting(self, effect: PauseAccepting) -> None:
        self._listening[effect.listener].accepting = False

    def _resume_accepting(self, effect: ResumeAccepting) -> None:
        listening = self._listening.get(effect.listener)
        if listening is not None and not listening.stopped:
            listening.accepting = True
            self.after(0.0, self._accept_all, listening)

    def _stop_accepting(self, effect: StopAccepting) -> None:
        listening = self._listening[effect.listener]
        listening.accepting = False
        listening.stopped = True
        for link in listening.backlog:
            link.is_lost = True
            self._far_reset(link, "ECONNRESET")
        listening.backlog.clear()

    # ---- dialling

    def _connect(self, effect: Connect) -> None:
        if self.out_of_files:
            self._arisen.append(("connect_failed", (effect.conn, "EMFILE")))
            return
        host = self.hosts.get(effect.address)
        link = self._new_link(effect.address)
        link.conn = effect.conn
        link.dialling = True
        self.links[effect.conn] = link
        if host is None or host.mode != "silent":
            self.after(2 * link._latency + (host.delay if host else 0.0), self._conclude_dial, link, host)

    def _conclude_dial(self, link: Link, host: Host | None) -> None:
        if link.is_lost:
            return
        if host is None or host.mode != "up":
            error = "EHOSTUNREACH" if host is not None and host.mode == "unreachable" else "ECONNREFUSED"
            self._lose(link, error)
            self._tell_arisen()
            return
        link.dialling = False
        link.peer = peer = host.peer()
        peer.link = link
        peer.opened()
        self.tell("connected", link.conn, LOCAL, link.address)

    # ---- look-ups and calls

    def _resolve(self, effect: Resolve) -> None:
        self._asked[effect.lookup] = "lookup"
        answer = self.names.get(effect.host, "EAI_NONAME")
        if answer is None:
            self.after(LOOKUP_PATIENCE, self._answer_lookup, effect.lookup, "EAI_AGAIN")
        else:
            self.after(self._delay(), self._answer_lookup, effect.lookup, answer)

    def _answer_lookup(self, lookup: LookupId, answer: Sequence[str] | str) -> None:
        if self._asked.pop(lookup, None) is None:
            return
        if isinstance(answer, str):
            self.tell("resolve_failed", lookup, answer)
        else:
            self.tell("resolved", lookup, tuple(answer))

    def _call(self, effect: Call) -> None:
        self._asked[effect.call] = "call"
        self.after(self.call_delay + self._delay(), self._answer_call, effect)

    def _answer_call(self, effect: Call) -> None:
        if self._asked.pop(effect.call, None) is None:
            return
        function = self.calls.get(effect.name)
        if function is None:
            self.tell("call_failed", effect.call, f"no function is registered as {effect.name!r}")
            return
        try:
            result = function(effect.arguments)
        except Exception as error:
            self.tell("call_failed", effect.call, f"{type(error).__name__}: {error}")
            return
        self.tell("call_completed", effect.call, result)

    def _cancel(self, effect: Cancel) -> None:
        kind = self._asked.pop(effect.handle, None)
        if kind == "lookup":
            self._arisen.append(("resolve_failed", (effect.handle, CANCELLED)))
        elif kind == "call":
            self._arisen.append(("call_failed", (effect.handle, CANCELLED)))

    def _delay(self) -> float:
        low, high = self.weather.latency
        return self.random.uniform(low, high) if high else 0.0


FACTS = (
    "accepted",
    "accept_failed",
    "data_received",
    "eof_received",
    "peer_ended",
    "writing_paused",
    "writing_resumed",
    "connected",
    "connect_failed",
    "connection_lost",
    "resolved",
    "resolve_failed",
    "call_completed",
    "call_failed",
    "timer_expired",
    "reconfigured",
    "commanded",
    "clock_adjusted",
    "drain_requested",
)
"""The names of all facts, as methods of `Core`."""

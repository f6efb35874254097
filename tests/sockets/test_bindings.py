"""The bindings: one suite, in plain blocking code, for asyncio, uvloop, trio and gevent.

What a proxy does with HTTP is tested elsewhere; here a route of its own answers, or a small origin.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pytest
import trio

import proxycore_trio
from proxycore.config import Config, Listener, Route
from proxycore.program.listening import ListenError
from proxycore.program.service import CANCELLED, blocking
from proxycore.words.effects import Call, Cancel, Effect, Resolve
from proxycore.words.ids import CallId, LookupId
from tests.sockets.served import BINDINGS, LIMIT, Served, serving


def config(*binds: str, name: str = "web", body: str = "hello", **more: Any) -> Config:
    """A proxy that answers by itself."""
    listeners = [{"name": name, "bind": list(binds or ("127.0.0.1:0",))}]
    return Config(listeners=listeners, routes=[{"respond": {"status": 200, "body": body}}], **more)


def get(address: Any, sock: socket.socket | None = None) -> bytes:
    """The answer to one request, whole."""
    sock = sock or connect(address)
    with sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        pieces = []
        while data := sock.recv(65536):
            pieces.append(data)
    return b"".join(pieces)


def connect(address: Any) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.settimeout(LIMIT)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def ask(sock: socket.socket) -> bytes:
    """One request on a connection that is kept."""
    sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    answer = sock.recv(65536)
    while not answer.endswith(b"hello"):
        answer += sock.recv(65536)
    return answer


def eventually(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.002)


@pytest.fixture(params=BINDINGS)
def binding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def served(binding: str) -> Iterator[Served]:
    with serving(binding, config()) as served:
        yield served


# ---- serving ------------------------------------------------------------------------------------------------


def test_an_ephemeral_port_is_told_and_answers(served: Served) -> None:
    address = served.server.address
    assert address[0] == "127.0.0.1"
    assert address[1] != 0
    assert served.server.addresses == {"web": [address]}
    assert get(address).endswith(b"\r\n\r\nhello")


def test_several_binds_each_answer(binding: str, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with serving(binding, config("127.0.0.1:0", "127.0.0.1:0", f"unix:{path}", "localhost:0")) as served:
        addresses = served.server.addresses["web"]
        assert len(set(addresses)) >= 4
        for address in addresses:
            if isinstance(address, str) or ":" not in address[0]:
                assert get(address).endswith(b"hello")
    assert not os.path.exists(path)


def test_leaving_the_block_cuts_and_leaks_nothing(binding: str) -> None:
    def once() -> None:
        with serving(binding, config()) as served:
            kept = [connect(served.server.address) for _ in range(3)]
            for sock in kept:
                ask(sock)
        for sock in kept:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
            sock.close()

    once()
    before = len(os.listdir("/dev/fd"))
    once()
    assert len(os.listdir("/dev/fd")) == before


def test_an_exception_in_the_block_comes_out_as_it_is() -> None:
    async def main() -> None:
        async with proxycore_trio.serve(config()):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trio.run(main)


def test_cancelling_the_block_on_trio() -> None:
    async def main() -> None:
        with trio.move_on_after(0.01) as scope:
            async with proxycore_trio.serve(config()) as server:
                await server.wait_closed()
        assert scope.cancelled_caught

    trio.run(main)


def test_what_cannot_be_bound_is_named(binding: str) -> None:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    message = f"listener 'web' can't listen on 127.0.0.1:{port}: address already in use .by a program"
    with taken, pytest.raises(ListenError, match=message), serving(binding, config("127.0.0.1:0", f"127.0.0.1:{port}")):
        pass


def test_a_timer_of_the_core_comes(binding: str) -> None:
    with serving(binding, config(timeouts={"idle": "50ms", "request_head": "50ms"})) as served:
        sock = connect(served.server.address)
        began = time.monotonic()
        sock.sendall(b"GET / HTTP/1.1\r\nHost: te")
        while sock.recv(4096):  # a 408 perhaps, and the end
            pass
        sock.close()
        assert 0.04 < time.monotonic() - began < 2


# ---- reload, drain ------------------------------------------------------------------------------------------


def test_reload_changes_answers_and_keeps_sockets_and_connections(served: Served) -> None:
    address = served.server.address
    kept = connect(address)
    ask(kept)
    served.inside(partial(served.server.reload, config(body="changed")))
    assert served.server.address == address
    assert get(address).endswith(b"changed")
    kept.close()


def test_reload_adds_and_removes_listeners(served: Served) -> None:
    old = served.server.address
    served.inside(partial(served.server.reload, config("127.0.0.1:0", "127.0.0.1:0", name="other")))
    assert list(served.server.addresses) == ["other"]
    for address in served.server.addresses["other"]:
        assert get(address).endswith(b"hello")
    # The bind "127.0.0.1:0" went from one listener to the other, with its port.
    assert old in served.server.addresses["other"]


def test_reload_refuses_whole_what_cannot_be_bound(served: Served) -> None:
    before = served.server.addresses
    files = len(os.listdir("/dev/fd"))
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    wanted = config("127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}", body="changed")
    with taken, pytest.raises(ListenError):
        served.inside(partial(served.server.reload, wanted))
    assert served.server.addresses == before
    assert get(served.server.address).endswith(b"hello")
    eventually(lambda: len(os.listdir("/dev/fd")) == files)


def test_drain_ends_idle_connections_and_refuses_new_ones(served: Served) -> None:
    address = served.server.address
    idle = connect(address)
    ask(idle)
    served.inside(partial(served.server.request_drain, 5.0))
    assert idle.recv(1) == b""
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        connect(address)
    eventually(lambda: served.inside(lambda: served.server.core.is_drained))


def test_drain_answers_those_who_wait_to_be_accepted(served: Served) -> None:
    def crowd_and_drain() -> list[socket.socket]:
        clients = [connect(served.server.address) for _ in range(100)]
        served.server.request_drain(5.0)
        return clients

    for client in served.inside(crowd_and_drain):
        with client:
            assert ask(client).endswith(b"hello")


def test_drain_cuts_what_is_left_at_its_deadline_and_returns() -> None:
    async def main() -> None:
        async with proxycore_trio.serve(config()) as server:
            assert isinstance(server.address, tuple)
            stream = await trio.open_tcp_stream(*server.address)
            await stream.send_all(b"GET / HTTP/1.1\r\nHost:")
            await trio.sleep(0.05)
            with trio.fail_after(LIMIT):
                await server.drain(timeout=0.05)
                await server.wait_closed()
            await stream.aclose()

    trio.run(main)


# ---- look-ups and calls -------------------------------------------------------------------------------------


class Asked:
    """Has the driver perform effects as the core would, and hears what the core is told."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.told: list[tuple[Any, ...]] = []
        for name in ("resolved", "resolve_failed", "call_completed", "call_failed"):
            setattr(served.server.core, name, partial(self.hear, name))

    def hear(self, name: str, handle: int, value: Any, now: float) -> Sequence[Effect]:
        self.told.append((name, handle, value))
        return ()

    def do(self, *effects: Effect) -> None:
        tell: Any = self.served.server._tell
        self.served.inside(lambda: tell(lambda now: effects))

    def answer(self) -> tuple[Any, ...]:
        eventually(lambda: bool(self.told))
        return self.told.pop(0)


def test_a_name_is_looked_up(served: Served) -> None:
    asked = Asked(served)
    asked.do(Resolve(LookupId(1), "localhost", 80))
    name, handle, addresses = asked.answer()
    assert (name, handle) == ("resolved", 1)
    assert "127.0.0.1" in addresses
    assert len(set(addresses)) == len(addresses)


def test_a_name_that_is_none_fails(served: Served) -> None:
    asked = Asked(served)
    asked.do(Resolve(LookupId(1), "no-such-name.invalid", 80))
    name, handle, error = asked.answer()
    assert (name, handle) == ("resolve_failed", 1)
    assert error.startswith("EAI_") or "resol" in error.lower()


class Functions:
    """Functions as users give them to that binding. `gate` holds those that wait."""

    def __init__(self, binding: str) -> None:
        self.gate = threading.Event()
        self.threads: list[int] = []
        self.binding = binding

    def table(self) -> Mapping[str, Callable[..., Any]]:
        in_thread = blocking(self.in_thread_body)
        if self.binding == "gevent":
            return {"add": self.add, "fail": self.fail, "wait": self.wait_greenlet, "in_thread": in_thread}
        return {"add": self.add_async, "fail": self.fail_async, "wait": self.wait_async, "in_thread": in_thread}

    def add(self, a: int, b: int) -> int:
        self.threads.append(threading.get_ident())
        return a + b

    async def add_async(self, a: int, b: int) -> int:
        return self.add(a, b)

    def fail(self) -> None:
        raise ValueError("no good")

    async def fail_async(self) -> None:
        self.fail()

    def wait_greenlet(self) -> None:
        gevent.sleep(LIMIT)

    async def wait_async(self) -> None:
        if self.binding == "trio":
            await trio.sleep(LIMIT)
        else:
            await asyncio.sleep(LIMIT)

    @staticmethod
    def in_thread_body() -> int:
        return threading.get_ident()


@pytest.fixture
def calling(binding: str) -> Iterator[tuple[Asked, Functions]]:
    functions = Functions(binding)
    with serving(binding, config(), calls=functions.table()) as served:
        yield Asked(served), functions


def test_a_call_completes_in_the_servers_thread(calling: tuple[Asked, Functions]) -> None:
    asked, functions = calling
    asked.do(Call(CallId(1), "add", {"a": 2, "b": 3}))
    assert asked.answer() == ("call_completed", 1, 5)
    assert functions.threads == [asked.served.inside(threading.get_ident)]


def test_a_blocking_call_has_a_thread_of_its_own(calling: tuple[Asked, Functions]) -> None:
    asked, _ = calling
    asked.do(Call(CallId(1), "in_thread", {}))
    name, handle, thread = asked.answer()
    assert (name, handle) == ("call_completed", 1)
    assert thread != asked.served.inside(threading.get_ident)


def test_a_call_that_raises_fails(calling: tuple[Asked, Functions]) -> None:
    asked, _ = calling
    asked.do(Call(CallId(1), "fail", {}))
    assert asked.answer() == ("call_failed", 1, "ValueError: no good")


def test_a_call_that_nobody_registered_fails(calling: tuple[Asked, Functions]) -> None:
    asked, _ = calling
    asked.do(Call(CallId(1), "none", {}))
    assert asked.answer() == ("call_failed", 1, "no function is registered as 'none'")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_cancelled_call_has_its_last_fact(calling: tuple[Asked, Functions], at_once: bool) -> None:
    asked, _ = calling
    call, cancel = Call(CallId(1), "wait", {}), Cancel(CallId(1))
    if at_once:
        asked.do(call, cancel)
    else:
        asked.do(call)
        time.sleep(0.02)
        asked.do(cancel, cancel)
    assert asked.answer() == ("call_failed", 1, CANCELLED)
    asked.do(cancel)  # and is forgotten
    assert asked.told == []


def test_leaving_the_block_cancels_what_goes_on(calling: tuple[Asked, Functions]) -> None:
    asked, _ = calling
    asked.do(Call(CallId(1), "wait", {}), Resolve(LookupId(2), "localhost", 80))


# ---- listening ----------------------------------------------------------------------------------------------


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(binding: str, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    with serving(binding, config(f"unix:{path}")) as served:
        assert served.server.address == path
        assert get(path).endswith(b"hello")
        with pytest.raises(ListenError, match="already in use"), serving(binding, config(f"unix:{path}")):
            pass
        assert get(path).endswith(b"hello")


def test_a_unix_socket_has_its_mode_also_after_a_reload(tmp_path: Path) -> None:
    path = tmp_path / "socket"

    def with_mode(mode: str | None) -> Config:
        return Config(
            listeners=[Listener(name="web", bind=f"unix:{path}", mode=mode)],
            routes=[Route(respond={"status": 200, "body": "hello"})],
        )

    with serving("asyncio", with_mode("0640")) as served:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        served.inside(lambda: served.server.reload(with_mode("0600")))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert get(str(path)).endswith(b"hello")
    assert not path.exists()


def test_a_file_that_is_no_socket_is_left_alone(binding: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(ListenError, match="no socket"), serving(binding, config(f"unix:{path}")):
        pass
    assert path.read_text() == "precious"


def test_an_inherited_socket_serves_and_stays_open(binding: str) -> None:
    with socket.socket() as inherited:
        inherited.bind(("127.0.0.1", 0))
        inherited.listen()
        with serving(binding, config(f"fd:{inherited.fileno()}")) as served:
            assert served.server.address == inherited.getsockname()
            assert get(served.server.address).endswith(b"hello")
        assert stat.S_ISSOCK(os.fstat(inherited.fileno()).st_mode)


@pytest.mark.parametrize("kind", ["closed", "not listening", "no socket"])
def test_an_inherited_descriptor_that_does_not_listen_is_refused(kind: str, tmp_path: Path) -> None:
    sock = socket.socket()
    number = sock.fileno()
    if kind == "closed":
        sock.close()
    if kind == "no socket":
        sock.close()
        number = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(ListenError, match=f"fd:{number}"), serving("asyncio", config(f"fd:{number}")):
            pass
    finally:
        if kind == "not listening":
            sock.close()
        if kind == "no socket":
            os.close(number)

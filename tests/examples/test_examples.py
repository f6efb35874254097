"""Each example does what it says at its top, and ends well when it is told to."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.sync.client import ClientConnection, connect

from tests.conformance.echoes import websocket_echo
from tests.examples.started import ENVIRONMENT, ROOT, ask, example

ANYWHERE = "127.0.0.1:0"


@pytest.fixture(scope="module")
def origins() -> Iterator[dict[str, str]]:
    """The urls of red, green and blue."""
    with example("origins", "red=0", "green=0", "blue=0") as started:
        yield {name: started.url(name) for name in ("red", "green", "blue")}


def test_python_router(origins: dict[str, str]) -> None:
    with example("python_router", ANYWHERE, *origins.values()) as program:
        url = program.url()
        answers = {user: ask(url, x_user=user) for user in ("ann", "bob", "eve")}
        assert json.loads(answers["ann"][1])["origin"] == "red"
        assert json.loads(answers["bob"][1])["origin"] == "green"
        assert answers["eve"][0] == 403
        assert json.loads(ask(url)[1])["origin"] == "blue"
        headers = json.loads(answers["ann"][1])["headers"]
        assert ["x-authenticated-user", "ann"] in headers
        assert "x-user" not in dict(headers)
        program.stop()


def test_embedded_asyncio(origins: dict[str, str]) -> None:
    with example("embedded_asyncio", ANYWHERE, ANYWHERE) as program:
        public, control = program.url("public"), program.url("control")
        assert ask(f"{public}/ann/notebook") == (404, "no such workspace\n")
        assert ask(f"{control}/ann", "PUT", origins["red"])[0] == 204
        assert json.loads(ask(f"{public}/ann/notebook")[1])["target"] == "/notebook"
        assert ask(f"{public}/ann", "DELETE")[0] == 200, "orders are taken on the other listener only"
        assert ask(f"{control}/bob", "PUT", "ftp://127.0.0.1")[0] == 400
        assert ask(f"{control}/bob", "PUT", "x" * 3_000)[0] == 413
        assert ask(f"{control}/bob")[0] == 405
        assert ask(f"{control}/ann", "DELETE")[0] == 204
        assert ask(f"{public}/ann/notebook")[0] == 404
        program.stop()


def test_embedded_trio(origins: dict[str, str]) -> None:
    with example("embedded_trio", ANYWHERE, *origins.values()) as program:
        url = program.url()
        assert [json.loads(ask(url)[1])["origin"] for _ in range(3)] == ["red", "green", "blue"]
        assert json.loads(ask(f"{url}/_counts")[1]) == {"200 completed": 3}
        said = program.stop(signal.SIGTERM)
    assert "served: {'200 completed': 4}" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_embedded_gevent(number: signal.Signals) -> None:
    with example("embedded_gevent", ANYWHERE) as program:
        url = program.url()
        assert ask(f"{url}/hello") == (200, "hello 127.0.0.1, this is /hello\n")
        assert ask(f"{url}/healthz") == (200, "ok\n")
        program.stop(number)


def test_forward_auth(origins: dict[str, str]) -> None:
    with contextlib.ExitStack() as stack:
        served = {
            service: stack.enter_context(example("forward_auth", ANYWHERE, origins["red"], url))
            for service, url in {"good": f"{origins['green']}/health", "gone": "http://127.0.0.1:9"}.items()
        }
        url = served["good"].url()
        assert ask(url)[0] == 401
        status, content = ask(url, authorization="Bearer x", x_user="root")
        assert (status, json.loads(content)["origin"]) == (200, "red")
        assert dict(json.loads(content)["headers"])["x-user"] == "", "the service named no user"
        assert ask(served["gone"].url(), authorization="Bearer x")[0] == 503
        for program in served.values():
            program.stop()


def test_message_pace() -> None:
    def paste(socket: ClientConnection) -> None:
        for _ in range(100):
            socket.send("pasted")
            socket.recv(timeout=10)

    with websocket_echo() as origin, example("message_pace", ANYWHERE, origin, "3") as program:
        with connect(program.url().replace("http:", "ws:")) as socket:
            for _ in range(3):
                socket.send("typed")
                assert socket.recv(timeout=10) == "typed"
            with pytest.raises(ConnectionClosed) as closed:
                paste(socket)
            assert closed.value.rcvd == Close(1008, "too fast")
        program.wait_for("messages in, .* refused")
        program.stop()


def test_tested() -> None:
    """A user's own test suite, run as the user runs it."""
    suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/tested"]
    done = subprocess.run(suite, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout

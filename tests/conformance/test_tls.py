"""TLS over sockets, on every binding: real clients, real files, and what happens to them while they are served."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxycore.config import Config, Limits, Listener, ListenerTls, Route, Timeouts, Upstream
from proxycore.words.notices import ConnectionEnded, Notice
from tests.certificates import OURS, authority, client_context, leaf
from tests.conformance.conftest import Run
from tests.conformance.origins import Line, answering, origin, response
from tests.conformance.proxies import outcome_of_first, soon

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl isn't there")


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, and NAME.crt and NAME.key for a few names."""
    folder = tmp_path_factory.mktemp("pki")
    authority().cert_pem.write_to_path(str(folder / "ca.pem"))
    for name in ("localhost", "other.example", "client.example"):
        write(folder / name, name)
    return folder


def write(path: Path, *hosts: str, by: str = OURS) -> None:
    """Put a certificate into path.crt and its key into path.key."""
    certificate = leaf(*hosts, by=by)
    path.with_name(f"{path.name}.crt").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    path.with_name(f"{path.name}.key").write_bytes(certificate.private_key_pem.bytes())


def pair(path: Path) -> dict[str, str]:
    return {"certificate": f"{path}.crt", "key": f"{path}.key"}


def config(url: str, pki: Path, *names: str, timeouts: Timeouts | None = None, **tls: Any) -> Config:
    certificates = [pair(pki / name) for name in names or ("localhost",)]
    return Config(
        listeners=[Listener(name="web", bind="127.0.0.1:0", tls=ListenerTls(certificates=certificates, **tls))],
        upstreams={"api": Upstream(servers=[url], tls={"ca": str(pki / "ca.pem")})},
        routes=[Route(upstream="api", request_headers={"set": {"X-Subject": "{tls_subject}"}})],
        timeouts=timeouts or Timeouts(),
        limits=Limits(buffer="64KiB"),
    )


def curl(pki: Path, port: int, *arguments: str, host: str = "localhost") -> str:
    """What curl prints; raises where it fails."""
    command = ["curl", "-sS", "--max-time", "10", "--noproxy", "*", "--cacert", str(pki / "ca.pem")]
    command += ["--resolve", f"{host}:{port}:127.0.0.1", *arguments, f"https://{host}:{port}/"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


@contextlib.contextmanager
def connected(port: int, context: ssl.SSLContext, name: str = "localhost") -> Iterator[ssl.SSLSocket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        with context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False) as secured:
            yield secured


def read_message(sock: ssl.SSLSocket) -> bytes:
    """A head and the content that it declares."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65_536)
    head, _, begin = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    content = bytearray(begin)
    while len(content) < length:
        content += sock.recv(262_144)
    return bytes(content)


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@needs_curl
def test_curl_is_served_by_name_and_protocol(run: Run, pki: Path) -> None:
    with origin(answering(response(b"hello"))) as o, run(config(o.url, pki, "localhost", "other.example")) as proxy:
        assert curl(pki, proxy.port, "--http1.1") == "hello"
        assert curl(pki, proxy.port, "--http1.1", "--tls-max", "1.2") == "hello"
        assert curl(pki, proxy.port, "--http1.1", host="other.example") == "hello"
        assert curl(pki, proxy.port, "--http2", "-w", " %{http_version}") == "hello 2"


def test_a_megabyte_passes_both_ways(run: Run, pki: Path) -> None:
    body = os.urandom(1 << 20)
    with secure_origin(pki, respond_with_echo) as url, run(config(url, pki)) as proxy:
        with connected(proxy.port, client_context()) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert read_message(client) == body
        assert soon(lambda: proxy.ledger().downstreams == 0)


def test_a_client_that_reads_slowly_stops_the_origin(run: Run, pki: Path) -> None:
    sent = threading.Event()

    def pour(sock: ssl.SSLSocket) -> None:
        sock.recv(65_536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (16 << 20))
        for _ in range(16):
            sock.sendall(bytes(1 << 20))
        sent.set()

    with secure_origin(pki, pour) as url, run(config(url, pki)) as proxy:
        with connected(proxy.port, client_context()) as client:
            client.sendall(GET)
            assert soon(lambda: proxy.ledger().gates > 0)
            assert not sent.is_set()
            assert len(read_message(client)) == 16 << 20


def test_a_client_shows_who_it_is(run: Run, pki: Path) -> None:
    wanted: dict[str, Any] = {"client_authentication": "required", "client_ca": str(pki / "ca.pem")}
    seen: list[bytes] = []

    def remember(line: Line) -> None:
        seen.append(line.head())
        line.send(response(b"ok"))

    with origin(remember) as o, run(config(o.url, pki, **wanted)) as proxy:
        context = client_context()
        context.load_cert_chain(pki / "client.example.crt", pki / "client.example.key")
        with connected(proxy.port, context) as client:
            client.sendall(GET)
            assert read_message(client) == b"ok"
        assert b"CN=client.example," in seen[0]
        with connected(proxy.port, client_context()) as client:
            client.sendall(GET * 100)  # unread, and yet the alert isn't lost to a reset
            with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
                client.recv(1)
        assert soon(lambda: any("did not return a certificate" in reason for reason in endings(proxy.notices)))


def test_a_reload_changes_the_certificate_and_cuts_nobody(run: Run, pki: Path, tmp_path: Path) -> None:
    write(tmp_path / "changing", "localhost")
    with origin(answering(response(b"ok"))) as o:
        wanted = config(o.url, pki, str(tmp_path / "changing"))
        with run(wanted) as proxy, connected(proxy.port, client_context()) as old:
            write(tmp_path / "changing", "new.example")
            proxy.reload(wanted)
            with connected(proxy.port, client_context(), "new.example") as new:
                for client in (old, new):
                    client.sendall(GET)
                    assert read_message(client) == b"ok"


def test_a_handshake_that_nobody_finishes_is_ended(run: Run, pki: Path) -> None:
    with run(config("http://127.0.0.1:1", pki, timeouts=Timeouts(tls_handshake="200ms"))) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as sock:
            sock.sendall(b"\x16\x03\x01")
            began = time.monotonic()
            assert sock.recv(100) == b""
            assert time.monotonic() - began < 4
        assert soon(lambda: endings(proxy.notices) == ["timeouts.tls_handshake"])


def test_places_among_handshakes_are_nobodys_to_sit_on(run: Run, pki: Path) -> None:
    few = dataclasses.replace(config("http://127.0.0.1:1", pki), limits=Limits(handshakes=1))
    with run(few) as proxy, socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as attacker:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            client_context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
        attacker.sendall(outgoing.read())
        assert attacker.recv(1)  # it has the only place, and says no more
        with connected(proxy.port, client_context()) as innocent:
            innocent.sendall(GET)
            assert innocent.recv(12) == b"HTTP/1.1 502"
        assert soon(lambda: "limits.handshakes" in endings(proxy.notices))


def endings(notices: list[Notice]) -> list[str]:
    return [notice.reason for notice in notices if isinstance(notice, ConnectionEnded)]


def test_plain_http_is_told_where_it_is(run: Run, pki: Path) -> None:
    with run(config("http://127.0.0.1:1", pki)) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as sock:
            sock.sendall(GET)
            answer = b"".join(iter(partial(sock.recv, 1000), b""))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(b"ask for https.\n")


# ---- servers that speak TLS -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def secure_origin(pki: Path, serve: Callable[[ssl.SSLSocket], None], name: str = "localhost") -> Iterator[str]:
    """An origin in a thread that speaks TLS as `name`; each connection is served by `serve`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{name}.crt", pki / f"{name}.key")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listening.accept()
                    with contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as secured:
                        secured.settimeout(10)
                        serve(secured)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"https://localhost:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def respond_with_echo(sock: ssl.SSLSocket) -> None:
    content = read_message(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)


def test_a_response_that_is_cut_is_cut_for_the_client(run: Run, pki: Path) -> None:
    def cut(sock: ssl.SSLSocket) -> None:
        sock.recv(65_536)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\npart of it")
        socket.socket.shutdown(sock, socket.SHUT_WR)  # under TLS, which says nothing

    def end(sock: ssl.SSLSocket) -> None:
        sock.recv(65_536)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        with contextlib.suppress(OSError):
            sock.unwrap()

    for serve, is_whole in ((cut, False), (end, True)):
        with secure_origin(pki, serve) as url, run(config(url, pki)) as proxy:
            with connected(proxy.port, client_context()) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                data = b""
                with contextlib.suppress(OSError):
                    while piece := client.recv(65_536):
                        data += piece
            assert b"of it" in data
            assert data.endswith(b"0\r\n\r\n") == is_whole
            assert outcome_of_first(proxy)[0] == ("completed" if is_whole else "upstream_failed")


def test_a_server_that_cannot_prove_its_name_is_not_asked(run: Run, pki: Path) -> None:
    asked = threading.Event()

    def serve(sock: ssl.SSLSocket) -> None:
        if sock.recv(100):
            asked.set()

    with secure_origin(pki, serve, "other.example") as url, run(config(url, pki)) as proxy:
        with connected(proxy.port, client_context()) as client:
            client.sendall(GET)
            answer = client.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"proxy-status: proxycore; error=tls_certificate_error" in answer.lower()
    assert not asked.is_set()

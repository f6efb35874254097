"""What goes wrong: origins that fail, clients that leave, peers that are slow; and what must follow."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest

from proxycore.config import Config
from tests.conformance.conftest import Run
from tests.conformance.origins import (
    Line,
    answering,
    client,
    connect,
    echoing,
    fields_of,
    origin,
    refused_port,
    response,
    status_of,
)
from tests.conformance.proxies import Handle, outcome_of_first, soon

Configure = Callable[..., Config]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


# ---- origins


def test_a_refused_connect_goes_to_the_next_server(run: Run, configure: Configure) -> None:
    with origin(answering(response(b"x"))) as o:
        dead = f"http://127.0.0.1:{refused_port()}"
        with run(configure(dead, o.url)) as proxy, client(proxy.port) as c:
            for _ in range(4):
                c.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
                head, body = c.message()
                assert (status_of(head), body) == (200, b"x")


def test_nobody_listens(run: Run, configure: Configure) -> None:
    with run(configure(f"http://127.0.0.1:{refused_port()}")) as proxy, client(proxy.port) as c:
        c.send(GET)
        head, body = c.message()
        assert status_of(head) == 502
        assert fields_of(head)[b"proxy-status"] == b"proxycore; error=connection_refused"
        assert b"127.0.0.1" not in body
        assert outcome_of_first(proxy) == ("upstream_failed", "connect")


def test_a_name_that_is_looked_up(run: Run, configure: Configure) -> None:
    with origin(answering(response(b"x"))) as o, run(configure(f"http://localhost:{o.port}")) as proxy:
        with client(proxy.port) as c:
            c.send(GET)
            assert c.message()[1] == b"x"


def test_a_server_on_a_unix_socket(run: Run, configure: Configure, tmp_path: object) -> None:
    path = f"{tmp_path}/o.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve() -> None:
        line = Line(listener.accept()[0])
        line.head()
        line.send(response(b"x"))
        line.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener, run(configure(f"unix:{path}")) as proxy, client(proxy.port) as c:
        c.send(GET)
        assert c.message()[1] == b"x"
    thread.join(5)


CUT = {
    "in the head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "by length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    "in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
}


@pytest.mark.parametrize("where", CUT)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_response_that_was_cut_never_looks_whole(run: Run, configure: Configure, where: str, how: str) -> None:
    def cutting(line: Line) -> None:
        line.head()
        line.send(CUT[where])
        time.sleep(0.02)
        line.reset() if how == "reset" else line.close()

    with origin(cutting) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(GET)
        if where == "in the head":
            head, _ = c.message()
            assert status_of(head) == 502
            return
        with pytest.raises((EOFError, ConnectionError)):
            c.message()
        assert outcome_of_first(proxy) == ("upstream_failed", "response_body")


def test_content_until_the_close_that_ends_in_a_reset(run: Run, configure: Configure) -> None:
    def cutting(line: Line) -> None:
        line.head()
        line.send(b"HTTP/1.0 200 OK\r\n\r\nhalf")
        time.sleep(0.02)
        line.reset()

    with origin(cutting) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(b"GET / HTTP/1.0\r\n\r\n")
        c.head()
        with pytest.raises(ConnectionError):
            c.to_end()


def test_a_kept_connection_that_has_died_is_not_the_clients_trouble(run: Run, configure: Configure) -> None:
    def once(line: Line) -> None:
        line.head()
        line.send(response(b"x"))
        time.sleep(0.01)

    with origin(once) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        for _ in range(20):
            c.send(GET)
            assert c.message()[1] == b"x"
        assert {ended.outcome.cause for ended in proxy.ended} == {"completed"}


def test_a_post_is_never_sent_twice(run: Run, configure: Configure) -> None:
    requests: list[bytes] = []

    def fatal(line: Line) -> None:
        requests.append(line.message()[0])
        line.reset()

    with origin(fatal) as o, run(configure(o.url, o.url.replace("127.0.0.1", "localhost"))) as proxy:
        with client(proxy.port) as c:
            c.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
            assert status_of(c.message()[0]) == 502
    assert len(requests) == 1


def test_garbage_for_an_answer(run: Run, configure: Configure) -> None:
    with origin(answering(b"SSH-2.0-OpenSSH\r\n\r\n")) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(GET)
        head, _ = c.message()
        assert status_of(head) == 502
        assert fields_of(head)[b"proxy-status"] == b"proxycore; error=http_protocol_error"


def test_bytes_too_many_spoil_no_other_answer(run: Run, configure: Configure) -> None:
    with origin(answering(response(b"x") + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")) as o:
        with run(configure(o.url)) as proxy, client(proxy.port) as c:
            for _ in range(5):
                c.send(GET)
                assert c.message()[1] == b"x"


# ---- clients


def left_in(run: Run, config: Config, wait: Callable[[Handle], object]) -> tuple[str, str]:
    with run(config) as proxy:
        line = connect(proxy.port)
        line.send(GET)
        wait(proxy)
        line.close()
        outcome = outcome_of_first(proxy)
        assert soon(lambda: proxy.ledger().downstreams == proxy.ledger().leases == proxy.ledger().exchanges == 0)
        return outcome


def test_a_client_that_leaves_before_the_answer_ends_the_work(run: Run, configure: Configure) -> None:
    came, left = threading.Event(), threading.Event()

    def waiting(line: Line) -> None:
        line.head()
        came.set()
        if line.is_ended():
            left.set()

    with origin(waiting) as o:
        assert left_in(run, configure(o.url), lambda proxy: came.wait(5)) == ("client_left", "response_head")
        assert left.wait(5)


def test_a_client_that_leaves_in_mid_stream_ends_the_work(run: Run, configure: Configure) -> None:
    left = threading.Event()

    def streaming(line: Line) -> None:
        line.head()
        line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                line.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
                time.sleep(0.001)
        except OSError:
            left.set()

    with origin(streaming) as o:
        outcome = left_in(run, configure(o.url), lambda proxy: time.sleep(0.05))
        assert outcome == ("client_left", "response_body")
        assert left.wait(5)


def test_a_client_that_leaves_in_the_queue_leaves_no_trace(run: Run, configure: Configure) -> None:
    release = threading.Event()

    def holding(line: Line) -> None:
        line.head()
        release.wait(5)
        line.send(response(b"x"))

    with origin(holding) as o:
        config = configure({"url": o.url, "max_connections": 1})
        with run(config) as proxy, client(proxy.port) as first:
            first.send(GET)
            second = connect(proxy.port)
            second.send(GET)
            assert soon(lambda: proxy.ledger().queued == 1)
            second.close()
            assert outcome_of_first(proxy) == ("client_left", "queue")
            assert proxy.ledger().queued == 0
            release.set()
            assert first.message()[1] == b"x"


def test_a_client_that_shut_its_side_may_wait_for_its_answer(run: Run, configure: Configure) -> None:
    def slow(line: Line) -> None:
        line.head()
        time.sleep(0.05)
        line.send(response(b"x"))

    with origin(slow) as o, run(configure(o.url, listener={"half_close": "finish"})) as proxy:
        with client(proxy.port) as c:
            c.send(GET)
            c.socket.shutdown(socket.SHUT_WR)
            assert c.message()[1] == b"x"
            assert c.is_ended()


# ---- queues, clocks and limits


def test_waiting_for_a_place(run: Run, configure: Configure) -> None:
    def slow(line: Line) -> None:
        while True:
            line.head()
            time.sleep(0.02)
            line.send(response(b"x"))

    with origin(slow) as o, run(configure({"url": o.url, "max_connections": 1})) as proxy:
        lines = [connect(proxy.port) for _ in range(5)]
        for line in lines:
            line.send(GET)
        assert [line.message()[1] for line in lines] == [b"x"] * 5
        assert o.accepted == 1
        for line in lines:
            line.close()


def test_a_place_that_does_not_come(run: Run, configure: Configure) -> None:
    def never(line: Line) -> None:
        line.head()
        line.to_end()

    with origin(never) as o:
        upstream = {"queue": 1, "queue_timeout": "100ms"}
        with run(configure({"url": o.url, "max_connections": 1}, upstream=upstream)) as proxy:
            with client(proxy.port) as first, client(proxy.port) as second, client(proxy.port) as third:
                first.send(GET)
                assert soon(lambda: proxy.ledger().leases == 1)
                second.send(GET)
                assert soon(lambda: proxy.ledger().queued == 1)
                third.send(GET)
                assert status_of(third.message()[0]) == 503
                assert status_of(second.message()[0]) == 503


CLOCKS = {
    "request_head": (b"GET / HTTP/1.1\r\nHost:", 408, ("timed_out", "request_head")),
    "request_body": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx", 408, ("timed_out", "request_body")),
    "response_head": (GET, 504, ("timed_out", "response_head")),
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_clocks(run: Run, configure: Configure, clock: str) -> None:
    request, status, outcome = CLOCKS[clock]

    def silent(line: Line) -> None:
        line.to_end()

    with origin(silent) as o, run(configure(o.url, timeouts={clock: "100ms"})) as proxy, client(proxy.port) as c:
        c.send(request)
        assert status_of(c.message()[0]) == status
        assert outcome_of_first(proxy) == outcome


def test_a_head_that_drips_is_cut_off(run: Run, configure: Configure) -> None:
    with origin(echoing) as o, run(configure(o.url, timeouts={"request_head": "150ms"})) as proxy:
        began_at = time.time()
        with client(proxy.port) as c:
            for _ in range(200):
                c.send(b"G")
                time.sleep(0.01)
                if proxy.ended:
                    break
            assert status_of(c.message()[0]) == 408
            assert 0.1 < proxy.ended[0].wall - began_at < 1.0


def test_a_response_that_stops_is_cut(run: Run, configure: Configure) -> None:
    def stopping(line: Line) -> None:
        line.head()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        line.to_end()

    with origin(stopping) as o, run(configure(o.url, timeouts={"response_body": "100ms"})) as proxy:
        with client(proxy.port) as c:
            c.send(GET)
            c.head()
            with pytest.raises((ConnectionError, EOFError)):
                c.exactly(10)
            assert outcome_of_first(proxy) == ("timed_out", "response_body")


def test_a_client_that_takes_nothing_is_cut(run: Run, configure: Configure) -> None:
    def endless(line: Line) -> None:
        line.head()
        line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            line.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    with origin(endless) as o, run(configure(o.url, timeouts={"send": "200ms"})) as proxy, client(proxy.port) as c:
        c.send(GET)
        assert outcome_of_first(proxy) == ("timed_out", "send")
        assert soon(lambda: proxy.ledger().downstreams == 0)


@pytest.mark.parametrize("framing", [b"Content-Length: 2000", b"Transfer-Encoding: chunked"])
def test_too_much_content(run: Run, configure: Configure, framing: bytes) -> None:
    with origin(echoing) as o, run(configure(o.url, limits={"request_body": 1000})) as proxy, client(proxy.port) as c:
        c.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n" + b"7d0\r\n" + b"x" * 2000)
        assert status_of(c.message()[0]) == 413
        assert outcome_of_first(proxy) == ("refused", "limits.request_body")


def test_requests_for_each_connection(run: Run, configure: Configure) -> None:
    config_limits = {"requests_per_connection": 2}
    with origin(echoing) as o, run(configure(o.url, limits=config_limits)) as proxy, client(proxy.port) as c:
        c.send(GET + GET + GET)
        assert b"connection" not in fields_of(c.message()[0])
        assert fields_of(c.message()[0])[b"connection"] == b"close"
        assert c.is_ended()


def is_turned_away(port: int) -> bool:
    """Whether a new connection is reset, while it is made or at once."""
    try:
        with client(port) as line:
            return line.is_ended()
    except ConnectionError:
        return True


def test_connections_for_each_client(run: Run, configure: Configure) -> None:
    with origin(echoing) as o, run(configure(o.url, limits={"connections_per_client": 2})) as proxy:
        with client(proxy.port) as one, client(proxy.port) as two:
            for line in (one, two):
                line.send(GET)
                assert status_of(line.message()[0]) == 200
            assert is_turned_away(proxy.port)


def test_accepting_pauses_at_the_limit_and_goes_on(run: Run, configure: Configure) -> None:
    with origin(echoing) as o, run(configure(o.url, limits={"connections": 2})) as proxy:
        lines = [connect(proxy.port) for _ in range(4)]
        for line in lines:
            line.send(GET)
        assert soon(lambda: len(proxy.ended) == 2)
        time.sleep(0.05)
        assert proxy.ledger().downstreams == 2
        for line in lines[:2]:
            line.close()
        assert status_of(lines[2].message()[0]) == 200
        assert status_of(lines[3].message()[0]) == 200
        for line in lines[2:]:
            line.close()


def test_a_client_that_leaves_behind_its_upload_is_heard(run: Run, configure: Configure) -> None:
    release = threading.Event()

    def holding(line: Line) -> None:
        line.head()
        release.wait(5)
        line.send(response(b"x"))

    with origin(holding) as o, run(configure({"url": o.url, "max_connections": 1})) as proxy:
        with client(proxy.port) as first:
            first.send(GET)
            assert soon(lambda: proxy.ledger().leases == 1)
            leaver = connect(proxy.port)
            leaver.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 70_000)
            assert soon(lambda: proxy.ledger().queued == 1 and proxy.ledger().gates == 1)
            leaver.send(b"unread")
            leaver.socket.shutdown(socket.SHUT_WR)
            assert outcome_of_first(proxy) == ("client_left", "queue")
            assert soon(lambda: proxy.ledger().downstreams == 1)
            leaver.close()
            release.set()
            assert first.message()[1] == b"x"

"""HTTP/1 over real sockets: what goes through, on both sides, and in which form."""

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
    echoing,
    fields_of,
    origin,
    response,
    status_of,
)

Configure = Callable[..., Config]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_requests_share_connections_on_both_sides(run: Run, configure: Configure) -> None:
    with origin(echoing) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        for number in range(5):
            c.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            _, body = c.message()
            assert body.startswith(b"GET /%d HTTP/1.1\r\n" % number)
        assert o.accepted == 1


def test_pipelined_requests_are_answered_in_order(run: Run, configure: Configure) -> None:
    def slow_first(line: Line) -> None:
        while True:
            head, _ = line.message()
            if b"GET /0 " in head:
                time.sleep(0.05)
            line.send(response(head.split(b" ")[1]))

    with origin(slow_first) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(20)))
        assert [c.message()[1] for _ in range(20)] == [b"/%d" % number for number in range(20)]


def test_bytes_that_come_one_by_one(run: Run, configure: Configure) -> None:
    request = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"
    with origin(echoing) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        for byte in request:
            c.send(bytes([byte]))
        head, body = c.message()
        assert status_of(head) == 200
        assert body.endswith(b"hello")


def test_content_and_trailers_pass_in_chunks(run: Run, configure: Configure) -> None:
    seen: list[bytes] = []

    def trailing(line: Line) -> None:
        head = line.head()
        assert fields_of(head)[b"transfer-encoding"] == b"chunked"
        seen.append(line.until(b"\r\n\r\n"))
        line.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n"
        )
        line.head()

    with origin(trailing) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        c.send(b"5;x=y\r\nhello\r\n0\r\nX-Client-Sum: 5\r\n\r\n")
        head = c.head()
        assert fields_of(head)[b"transfer-encoding"] == b"chunked"
        assert c.until(b"\r\n\r\n") == b"3\r\nabc\r\n0\r\nx-sum: 9\r\n\r\n"
        assert seen[0].endswith(b"0\r\nx-client-sum: 5\r\n\r\n")
        assert b"x=y" not in seen[0]


def test_an_http10_client_gets_no_chunks(run: Run, configure: Configure) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    with origin(answering(chunked)) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head = c.head()
        assert b"transfer-encoding" not in fields_of(head)
        assert c.to_end() == b"abc"


def test_an_http10_client_may_keep_its_connection(run: Run, configure: Configure) -> None:
    with origin(answering(response(b"x"))) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        for _ in range(2):
            c.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            head, body = c.message()
            assert fields_of(head)[b"connection"] == b"keep-alive"
            assert body == b"x"
        c.send(b"GET / HTTP/1.0\r\n\r\n")
        c.message()
        assert c.is_ended()


def test_close_is_kept_as_a_promise(run: Run, configure: Configure) -> None:
    with origin(answering(response(b"x"))) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        head, _ = c.message()
        assert fields_of(head)[b"connection"] == b"close"
        assert c.is_ended()


def test_head_passes_the_length_and_no_content(run: Run, configure: Configure) -> None:
    def heads(line: Line) -> None:
        while True:
            line.head()
            line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")

    with origin(heads) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        for _ in range(2):
            c.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert fields_of(c.head())[b"content-length"] == b"1234"
            assert c.buffer == b""


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_responses_without_content(run: Run, configure: Configure, status: bytes) -> None:
    bare = b"HTTP/1.1 " + status + b'\r\nETag: "x"\r\n\r\n'
    with origin(answering(bare)) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        for _ in range(2):
            c.send(GET)
            head = c.head()
            assert status_of(head) == int(status[:3])
            assert fields_of(head)[b"etag"] == b'"x"'
        assert o.accepted == 1


def test_interim_responses_pass(run: Run, configure: Configure) -> None:
    def interim(line: Line) -> None:
        head = line.head()
        assert fields_of(head)[b"expect"] == b"100-continue"
        line.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        line.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        line.send(response(line.content(head)))

    with origin(interim) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        hints = c.head()
        assert status_of(hints) == 103
        assert fields_of(hints)[b"link"] == b"</a.css>"
        assert status_of(c.head()) == 100
        c.send(b"hello")
        assert c.message()[1] == b"hello"


def test_content_that_lasts_until_the_close(run: Run, configure: Configure) -> None:
    def closing(line: Line) -> None:
        line.head()
        line.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    with origin(closing) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        for _ in range(2):
            c.send(GET)
            assert c.message()[1] == b"all of it"
        assert o.accepted == 2


def test_a_tunnel_ends_side_by_side(run: Run, configure: Configure) -> None:
    def switching(line: Line) -> None:
        head = line.head()
        assert fields_of(head)[b"upgrade"] == b"echo"
        assert fields_of(head)[b"connection"] == b"upgrade"
        line.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nwelcome")
        heard = line.to_end()
        line.send(b"after your end: " + heard)

    with origin(switching) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ")
        head = c.head()
        assert status_of(head) == 101
        assert fields_of(head)[b"upgrade"] == b"echo"
        assert c.exactly(7) == b"welcome"
        c.send(b"and late")
        c.socket.shutdown(socket.SHUT_WR)
        assert c.to_end() == b"after your end: early and late"


def test_a_refused_upgrade_is_an_ordinary_response(run: Run, configure: Configure) -> None:
    with origin(answering(response(b"no", status=b"403 Forbidden"))) as o, run(configure(o.url)) as proxy:
        with client(proxy.port) as c:
            c.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            head, body = c.message()
            assert (status_of(head), body) == (403, b"no")
            c.send(GET)
            assert c.message()[1] == b"no"


def test_a_101_that_nobody_asked_for_is_a_502(run: Run, configure: Configure) -> None:
    switching = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    with origin(answering(switching)) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(GET)
        head, _ = c.message()
        assert status_of(head) == 502
        assert b"http_upgrade_failed" in fields_of(head)[b"proxy-status"]
        assert proxy.ledger().upstreams == 0


def test_an_early_answer_is_heard_in_mid_upload(run: Run, configure: Configure) -> None:
    def impatient(line: Line) -> None:
        line.head()
        line.send(response(b"too much", b"Connection: close", status=b"413 Content Too Large"))
        line.to_end()

    with origin(impatient) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 1000)
        head, body = c.message()
        assert (status_of(head), body) == (413, b"too much")
        assert fields_of(head)[b"connection"] == b"close"


def test_what_must_pass_untouched(run: Run, configure: Configure) -> None:
    answer = response(b"", b"Set-Cookie: a=1, b", b"Set-Cookie: c=2", b"X-Odd: \xe9\x80", b"Vary: A", b"Vary: B")
    heads: list[bytes] = []

    def record(line: Line) -> None:
        while True:
            heads.append(line.head())
            line.send(answer)

    target = b"/a%20c/%e4;v=1/~x//?q=%7e&&=?|"
    with origin(record) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(b"GET " + target + b" HTTP/1.1\r\nHost: A.example:81\r\nX-Two: 1\r\nX-Two: 2\r\nCookie: a=b; c\r\n\r\n")
        head = c.head()
    assert head.count(b"\r\nset-cookie: ") == 2
    assert head.count(b"\r\nvary: ") == 2
    assert b"\r\nx-odd: \xe9\x80\r\n" in head
    assert heads[0].startswith(b"GET " + target + b" HTTP/1.1\r\nhost: A.example:81\r\n")
    assert b"\r\nx-two: 1\r\nx-two: 2\r\n" in heads[0]


def test_large_content_passes_whole_both_ways(run: Run, configure: Configure) -> None:
    content = bytes(range(256)) * 16384
    with origin(echoing) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        sender = threading.Thread(
            target=c.send,
            args=(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content),),
        )
        sender.start()
        _, body = c.message()
        sender.join()
        assert body.endswith(content)


def test_events_are_passed_on_as_they_come(run: Run, configure: Configure) -> None:
    go_on = threading.Event()

    def live(line: Line) -> None:
        line.head()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            line.send(b"9\r\ndata: %d\n\n\r\n" % number)
            assert go_on.wait(5)
            go_on.clear()
        line.send(b"0\r\n\r\n")

    with origin(live) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(GET)
        c.head()
        for number in range(3):
            assert c.until(b"\n\n\r\n").endswith(b"data: %d\n\n\r\n" % number)
            go_on.set()
        assert c.until(b"0\r\n\r\n") == b"0\r\n\r\n"


REFUSED = {
    "two framings": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "a folded line": (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400),
    "a length with a sign": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400),
    "a chunk size that is none": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
    "a climbing path": (b"GET /../etc HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "NUL in the path": (b"GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
    "an unknown coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "an unknown expectation": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: more\r\n\r\n", 417),
    "a long target": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "many fields": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    "a long head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40000 + b"\r\n\r\n", 431),
    "too much announced": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 413),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_have_their_status(run: Run, configure: Configure, case: str) -> None:
    request, status = REFUSED[case]
    with origin(echoing) as o, run(configure(o.url)) as proxy:
        with client(proxy.port) as c:
            c.send(request)
            head, body = c.message()
            assert status_of(head) == status
            assert body.startswith(b"%d " % status)
        with client(proxy.port) as innocent:
            innocent.send(GET)
            assert status_of(innocent.head()) == 200
        assert o.accepted <= 2


def test_who_prefers_json_gets_a_problem_document(run: Run, configure: Configure) -> None:
    with run(configure("http://127.0.0.1:1")) as proxy, client(proxy.port) as c:
        c.send(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n")
        head, body = c.message()
    assert status_of(head) == 502
    assert fields_of(head)[b"content-type"] == b"application/problem+json"
    assert b'"status": 502' in body
    assert b"127.0.0.1" not in body

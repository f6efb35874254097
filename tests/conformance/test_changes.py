"""What changes while it serves: reloads and drains, with requests in flight."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from proxycore.config import Access, Config, ConfigError, Respond, Route
from tests.conformance.conftest import Run
from tests.conformance.origins import Line, answering, client, connect, fields_of, origin, response, status_of
from tests.conformance.proxies import soon

Configure = Callable[..., Config]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Slow:
    """Answers once it is told to."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.go = threading.Event()

    def __call__(self, line: Line) -> None:
        while True:
            line.head()
            self.came.set()
            assert self.go.wait(5)
            line.send(response(b"slow"))


def test_what_is_in_flight_ends_under_its_old_configuration(run: Run, configure: Configure) -> None:
    slow = Slow()
    with origin(slow) as old, origin(answering(response(b"new"))) as new:
        with run(configure(old.url)) as proxy, client(proxy.port) as c, client(proxy.port) as other:
            c.send(GET)
            assert slow.came.wait(5)
            proxy.reload(configure(new.url))
            other.send(GET)
            assert other.message()[1] == b"new"
            slow.go.set()
            assert c.message()[1] == b"slow"
            c.send(GET)
            assert c.message()[1] == b"new"


def test_a_configuration_that_cannot_be_served_changes_nothing(run: Run, configure: Configure) -> None:
    with origin(answering(response(b"x"))) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        unread = Route(name="unread", respond=Respond(), access=Access(allow_file="networks"))
        with pytest.raises(ConfigError, match="networks"):
            proxy.reload(replace(configure(o.url), routes=[unread]))
        c.send(GET)
        assert c.message()[1] == b"x"


def test_a_drain_loses_nothing_and_takes_nothing_new(run: Run, configure: Configure) -> None:
    slow = Slow()
    with origin(slow) as o, run(configure(o.url)) as proxy:
        lines = [connect(proxy.port) for _ in range(10)]
        with client(proxy.port) as idle:
            for line in lines:
                line.send(GET)
            assert soon(lambda: proxy.ledger().leases == 10)
            proxy.request_drain(10.0)
            assert idle.is_ended()
            with pytest.raises(OSError, match=r"."):
                connect(proxy.port)
            slow.go.set()
            for line in lines:
                head, body = line.message()
                assert (status_of(head), body) == (200, b"slow")
                assert fields_of(head)[b"connection"] == b"close"
                line.close()
        assert soon(lambda: proxy.ledger().is_empty)


def test_the_deadline_of_a_drain(run: Run, configure: Configure) -> None:
    def never(line: Line) -> None:
        line.to_end()

    with origin(never) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(GET)
        assert soon(lambda: proxy.ledger().leases == 1)
        began = time.monotonic()
        proxy.request_drain(0.2)
        with pytest.raises((ConnectionError, EOFError)):
            c.message()
        assert time.monotonic() - began < 3
        assert soon(lambda: proxy.ledger().is_empty)
        assert proxy.ended[0].outcome.cause == "drained"


def test_a_tunnel_outlives_a_reload_and_ends_with_its_listener(run: Run, configure: Configure) -> None:
    def switching(line: Line) -> None:
        line.head()
        line.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while True:
            line.send(line.exactly(1))

    with origin(switching) as o, run(configure(o.url)) as proxy, client(proxy.port) as c:
        c.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        assert status_of(c.head()) == 101
        proxy.reload(configure(o.url))
        c.send(b"1")
        assert c.exactly(1) == b"1"
        proxy.reload(configure(o.url, timeouts={"drain": "200ms"}, listener={"name": "other"}))
        c.send(b"2")
        assert c.exactly(1) == b"2"
        with pytest.raises((ConnectionError, EOFError)):
            c.exactly(1)
        assert soon(lambda: proxy.ledger().downstreams == 0)

"""What an origin learns of the client, and what a client can't make it believe; routes, rewrites and header edits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxycore.config import Config, Listener, Match, Redirect, Respond, Rewrite, Route, Upstream
from tests.conformance.conftest import Http1, Run
from tests.conformance.origins import client, echoing, fields_of, origin, status_of

Configure = Callable[..., Config]


def reached(run: Run, config: Config, request: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The request line and the fields that reached the origin for `request`."""
    with run(config) as proxy, client(proxy.port) as c:
        c.send(request)
        head, body = c.message()
        assert status_of(head) == 200, head
        return body.partition(b"\r\n")[0], fields_of(body)


def test_the_client_is_named(run: Run, configure: Configure) -> None:
    with origin(echoing) as o:
        _, fields = reached(run, configure(o.url), b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert fields[b"host"] == b"a.example"
    assert fields[b"x-forwarded-for"] == b"127.0.0.1"
    assert fields[b"x-real-ip"] == b"127.0.0.1"
    assert fields[b"x-forwarded-proto"] == b"http"
    assert fields[b"x-forwarded-host"] == b"a.example"
    assert fields[b"via"] == b"1.1 proxycore"


SPOOFED = (
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n"
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"
    b"Connection: close, X-Forwarded-For, X-Real-IP, Via, X-Gone\r\nX-Gone: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\n\r\n"
)


def test_a_stranger_is_not_believed(run: Run, configure: Configure) -> None:
    with origin(echoing) as o:
        _, fields = reached(run, configure(o.url), SPOOFED)
    assert not [value for value in fields.values() if b"6.6.6.6" in value or b"evil" in value]
    assert fields[b"x-forwarded-for"] == b"127.0.0.1"
    assert fields[b"x-forwarded-proto"] == b"http"
    assert fields[b"via"] == b"1.1 proxycore"
    assert not {b"x-gone", b"keep-alive", b"te", b"forwarded", b"connection"} & fields.keys()


def test_a_trusted_proxy_is(run: Run, configure: Configure) -> None:
    with origin(echoing) as o:
        config = configure(o.url, listener={"trusted_proxies": ["127.0.0.0/8"]})
        _, fields = reached(
            run,
            config,
            b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9, 5.5.5.5\r\nX-Forwarded-Proto: https\r\n\r\n",
        )
    assert fields[b"x-forwarded-for"] == b"9.9.9.9, 5.5.5.5, 127.0.0.1"
    assert fields[b"x-real-ip"] == b"5.5.5.5"
    assert fields[b"x-forwarded-proto"] == b"https"


@pytest.mark.parametrize(
    ("choice", "host"), [("preserve", b"a.example"), ("upstream", b"127.0.0.1"), ("b.example", b"b.example")]
)
def test_host_is_kept_taken_or_given(run: Run, configure: Configure, choice: str, host: bytes) -> None:
    with origin(echoing) as o:
        config = configure(o.url, upstream={"host": choice})
        _, fields = reached(run, config, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        assert fields[b"host"] == (host + b":%d" % o.port if choice == "upstream" else host)


def test_an_absolute_target_becomes_a_path(run: Run, configure: Configure) -> None:
    with origin(echoing) as o:
        line, fields = reached(run, configure(o.url), b"GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert line == b"GET /x?y HTTP/1.1"
    assert fields[b"host"] == b"a.example"


def test_rewrites_and_edits(run: Run, configure: Configure) -> None:
    edits = {"set": {"X-Id": "{request_id}", "X-From": "{client_ip}"}, "remove": ["X-Debug"]}
    with origin(echoing) as o:
        config = configure(o.url, route={"rewrite": {"strip_prefix": "/api"}, "request_headers": edits})
        line, fields = reached(run, config, b"GET /api/x%2f?q HTTP/1.1\r\nHost: a\r\nX-Debug: 1\r\nX-Id: mine\r\n\r\n")
    assert line == b"GET /x%2f?q HTTP/1.1"
    assert fields[b"x-from"] == b"127.0.0.1"
    assert len(fields[b"x-id"]) > 20
    assert b"x-debug" not in fields


def test_the_first_route_that_matches_wins(run: Run, http1: Http1) -> None:
    with origin(echoing) as one, origin(echoing) as other:
        config = Config(
            http1=http1,
            listeners=[Listener(name="web", bind="127.0.0.1:0")],
            upstreams={"one": Upstream(servers=[one.url]), "other": Upstream(servers=[other.url])},
            routes=[
                Route(
                    match=Match(path="/health"), respond=Respond(body="fine\n", headers={"Content-Type": "text/plain"})
                ),
                Route(match=Match(path="/old/*"), redirect=Redirect(path="/new", status=301)),
                Route(match=Match(host="*.one.example"), upstream="one", rewrite=Rewrite(add_prefix="/one")),
                Route(match=Match(method="POST"), upstream="other", response_headers={"set": {"X-Route": "{route}"}}),
            ],
        )
        with run(config) as proxy, client(proxy.port) as c:
            c.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            head, body = c.message()
            assert (status_of(head), body) == (200, b"fine\n")
            assert b"date" in fields_of(head)
            c.send(b"GET /old/thing?q=1 HTTP/1.1\r\nHost: a\r\n\r\n")
            head, _ = c.message()
            assert (status_of(head), fields_of(head)[b"location"]) == (301, b"/new?q=1")
            c.send(b"GET /x HTTP/1.1\r\nHost: b.One.example:80\r\n\r\n")
            assert c.message()[1].startswith(b"GET /one/x ")
            c.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            head, body = c.message()
            assert body.endswith(b"hi")
            assert fields_of(head)[b"x-route"] == b"route-4"
            c.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            head, _ = c.message()
            assert status_of(head) == 404


@pytest.mark.parametrize("path", [b"/ADMIN/x", b"//admin/x", b"/./admin/x", b"/a/../admin/x", b"/%61dmin/x"])
def test_there_is_no_way_round_a_rule(run: Run, http1: Http1, path: bytes) -> None:
    with origin(echoing) as o:
        config = Config(
            http1=http1,
            listeners=[Listener(name="web", bind="127.0.0.1:0")],
            upstreams={"api": Upstream(servers=[o.url])},
            routes=[Route(match=Match(path="/admin/*"), respond=Respond(status=403)), Route(upstream="api")],
        )
        with run(config) as proxy, client(proxy.port) as c:
            c.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert status_of(c.message()[0]) in (400, 403)

"""Forward auth: another upstream decides, what it says is passed on, and nothing else lets in."""

from __future__ import annotations

import pytest

from proxycore.config import Config, ForwardAuth, Listener, Match, Route, Upstream
from proxycore.testing.playbook import (
    Handle,
    Pattern,
    Playbook,
    abort,
    accepted,
    anything,
    connect,
    connected,
    containing,
    exchange_ended,
    nothing,
    received,
    send,
    tick,
)

AUTH, API = ("127.0.0.1", 4000), ("127.0.0.1", 3000)
CONFIG = Config(
    listeners=[Listener(name="web", bind="127.0.0.1:8080")],
    upstreams={"api": Upstream(servers="http://127.0.0.1:3000"), "auth": Upstream(servers="http://127.0.0.1:4000")},
    routes=[
        Route(match=Match(path="/open"), upstream="api"),
        Route(
            upstream="api",
            forward_auth=ForwardAuth(upstream="auth", path="/check", copy_headers=["X-User"], user_header="X-User"),
        ),
    ],
)
ASKED = (
    b"POST /orders?a=b HTTP/1.1\r\nHost: shop\r\nX-User: root\r\nX-Forwarded-Uri: /open\r\nCookie: s=1\r\n"
    b"If-None-Match: *\r\nIf-Modified-Since: Fri, 20 Nov 2026 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nhi"
)


def without(*parts: bytes, having: tuple[bytes, ...] = ()) -> Pattern:
    return Pattern(
        f"without {parts}, having {having}",
        lambda data: all(part not in data for part in parts) and all(part in data for part in having),
    )


QUESTION = without(
    b"root",
    b"/open",
    b"content-length",
    b"if-",
    b"hi",
    having=(
        b"GET /check HTTP/1.1\r\n",
        b"cookie: s=1\r\n",
        b"x-forwarded-method: POST\r\n",
        b"x-forwarded-uri: /orders?a=b\r\n",
        b"x-forwarded-for: 192.0.2.1\r\n",
        b"x-forwarded-host: shop\r\n",
    ),
)


def test_a_yes_lets_in_with_what_it_says_of_the_user() -> None:
    client, auth, api = Handle("client"), Handle("auth"), Handle("api")
    play = Playbook(CONFIG).run(
        accepted(client) >> nothing,
        received(client, ASKED) >> connect(auth, AUTH),
        connected(auth) >> send(auth, QUESTION),
        received(auth, b"HTTP/1.1 200 OK\r\nX-User: alice\r\nX-Other: 1\r\nContent-Length: 0\r\n\r\n")
        >> connect(api, API),
        connected(api)
        >> send(api, without(b"root", b"x-other", having=(b"POST /orders?a=b ", b"x-user: alice\r\n", b"hi"))),
        received(api, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        >> (send(client, anything), exchange_ended("completed")),
    )
    assert play.notices[-1].user == "alice"


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (
            b"HTTP/1.1 401 X\r\nWWW-Authenticate: Basic realm=x\r\n",
            (b"HTTP/1.1 401 ", b"www-authenticate: Basic realm=x\r\n"),
        ),
        (b"HTTP/1.1 403 X\r\n", (b"HTTP/1.1 403 ",)),
        (
            b"HTTP/1.1 302 X\r\nLocation: https://login\r\nSet-Cookie: a=1\r\n",
            (b"HTTP/1.1 302 ", b"location: https://login\r\n", b"set-cookie: a=1\r\n"),
        ),
        (b"HTTP/1.1 300 X\r\n", (b"HTTP/1.1 503 ",)),
        (b"HTTP/1.1 304 X\r\n", (b"HTTP/1.1 503 ",)),
        (b"HTTP/1.1 404 X\r\n", (b"HTTP/1.1 503 ",)),
        (b"HTTP/1.1 500 X\r\n", (b"HTTP/1.1 503 ",)),
    ],
)
def test_anything_else_is_a_refusal_and_the_server_sees_nothing(answer: bytes, got: tuple[bytes, ...]) -> None:
    client, auth = Handle("client"), Handle("auth")
    Playbook(CONFIG).run(
        accepted(client) >> nothing,
        received(client, ASKED) >> connect(auth, AUTH),
        connected(auth) >> send(auth, QUESTION),
        received(auth, answer + b"Content-Length: 0\r\n\r\n")
        >> (send(client, containing(*got)), exchange_ended("refused", "forward_auth")),
    )


def test_no_answer_is_a_refusal() -> None:
    client, auth = Handle("client"), Handle("auth")
    Playbook(CONFIG).run(
        accepted(client) >> nothing,
        received(client, b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n") >> connect(auth, AUTH),
        connected(auth) >> send(auth, anything),
        tick(5.0)
        >> (send(client, containing(b"HTTP/1.1 503 ")), abort(auth), exchange_ended("refused", "forward_auth")),
    )


def test_a_clients_own_word_of_its_identity_is_removed_on_open_routes_too() -> None:
    client, api = Handle("client"), Handle("api")
    Playbook(CONFIG).run(
        accepted(client) >> nothing,
        received(client, b"GET /open HTTP/1.1\r\nHost: shop\r\nX-User: root\r\n\r\n") >> connect(api, API),
        connected(api) >> send(api, without(b"root")),
    )


def test_a_client_says_nothing_of_its_identity_in_trailers_either() -> None:
    client, api = Handle("client"), Handle("api")
    chunked = b"POST /open HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
    Playbook(CONFIG).run(
        accepted(client) >> nothing,
        received(client, chunked + b"X-User: root\r\nX-Sum: 7\r\nX-Original-URL: /root\r\n\r\n") >> connect(api, API),
        connected(api) >> send(api, without(b"root", having=(b"0\r\nx-sum: 7\r\n\r\n",))),
    )


def test_what_a_route_takes_out_of_heads_is_taken_out_of_trailers() -> None:
    client, api = Handle("client"), Handle("api")
    config = Config(
        listeners=CONFIG.listeners,
        upstreams=CONFIG.upstreams,
        routes=[Route(upstream="api", request_headers={"remove": ["X-Debug"], "set": {"X-Role": "guest"}})],
    )
    chunked = b"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    Playbook(config).run(
        accepted(client) >> nothing,
        received(client, chunked + b"X-Debug: 1\r\nX-Role: admin\r\nX-Sum: 7\r\n\r\n") >> connect(api, API),
        connected(api) >> send(api, without(b"admin", b"x-debug", having=(b"0\r\nx-sum: 7\r\n\r\n",))),
    )

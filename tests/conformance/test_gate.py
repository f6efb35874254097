"""The gate over sockets: what is refused never reaches the origin, and passwords are hashed beside the traffic."""

from __future__ import annotations

import base64
from collections.abc import Callable

from proxycore.config import Config
from proxycore.config.materials import Materials
from proxycore.program.commands.hash_password import hash_password
from tests.conformance.conftest import Run
from tests.conformance.origins import answering, client, fields_of, origin, response, status_of

Configure = Callable[..., Config]
USERS = {"alice": hash_password("wonder land")}


def get(user: str, password: str) -> bytes:
    credentials = base64.b64encode(f"{user}:{password}".encode())
    return b"GET / HTTP/1.1\r\nHost: a\r\nX-User: root\r\nAuthorization: Basic " + credentials + b"\r\n\r\n"


def test_only_who_knows_the_password_reaches_the_origin_and_only_so_often(run: Run, configure: Configure) -> None:
    with origin(answering(response(b"in"))) as o:
        config = configure(
            o.url,
            basic_auth={"staff": {"file": "users", "user_header": "X-User"}},
            rate_limits={"few": {"key": "user", "rate": "1/m", "burst": 2}},
            route={"basic_auth": "staff", "rate_limits": "few", "access": {"allow": "127.0.0.0/8"}},
        )
        with run(config, materials=Materials(users={"users": USERS})) as proxy, client(proxy.port) as c:
            for request in (get("alice", "wrong"), get("mallory", "wonder land"), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
                c.send(request)
                head, _ = c.message()
                assert status_of(head) == 401
                assert fields_of(head)[b"www-authenticate"] == b'Basic realm="staff", charset="UTF-8"'
            for _ in range(2):
                c.send(get("alice", "wonder land"))
                assert c.message()[1] == b"in"
            c.send(get("alice", "wonder land"))
            assert status_of(c.message()[0]) == 429

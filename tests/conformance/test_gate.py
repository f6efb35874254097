"""The gate over sockets: what is refused never reaches the origin, and passwords are hashed beside the traffic."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path

from proxycore.config import Config, Listener, Route
from proxycore.config.materials import Materials
from proxycore.policies.auth.passwords import api_key_hash
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


def test_a_file_of_keys_that_changes_is_read_again_and_a_bad_one_is_not(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys"

    def write(key: bytes) -> None:
        file.write_text(f"partner:{api_key_hash(key)}\n")

    def status(port: int, key: bytes) -> int:
        with client(port) as c:
            c.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: %b\r\n\r\n" % key)
            return status_of(c.message()[0])

    write(b"old")
    config = Config(
        listeners=[Listener(name="web", bind="127.0.0.1:0")],
        api_keys={"partners": {"file": str(file), "header": "X-API-Key"}},
        routes=[Route(respond={}, api_key="partners")],
    )
    with run(config) as proxy:
        look = partial(proxy.do, lambda server: server.look_at_files())
        assert status(proxy.port, b"old") == 200
        write(b"new")
        look()
        assert status(proxy.port, b"old") == 200  # it may still be being written
        look()
        assert (status(proxy.port, b"old"), status(proxy.port, b"new")) == (401, 200)
        file.write_text("partner")
        look()
        look()
        assert status(proxy.port, b"new") == 200
        write(b"third")
        proxy.reload(config)
        assert status(proxy.port, b"third") == 200

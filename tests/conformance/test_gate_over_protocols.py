"""Each part of the gate over TLS on every binding, by HTTP/1.1 with both codecs and by HTTP/2.

The upstream writes down what it was asked: what is refused must not be among it.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import httpx
import jwt as library
import pytest
import trustme

from proxycore.config import Config, Listener, ListenerTls, Route, Upstream
from proxycore.config.materials import Materials
from proxycore.policies.auth.passwords import api_key_digest
from proxycore.program.commands.hash_password import hash_password
from tests.certificates import authority, client_context, leaf, server_context
from tests.conformance.conftest import Run
from tests.conformance.origins import LIMIT, Line, origin, response
from tests.conformance.proxies import Handle

SECRET = b"a secret that is long enough for it"
KEYS = [{"kty": "oct", "kid": "k", "k": "YSBzZWNyZXQgdGhhdCBpcyBsb25nIGVub3VnaCBmb3IgaXQ"}]
TOKEN = library.encode({"sub": "alice", "exp": 4e9, "iss": "https://id", "aud": "api"}, SECRET, headers={"kid": "k"})
HASH = hash_password("wonder land")
ROUTES: dict[str, dict[str, Any]] = {
    "access": {"access": {"deny": "127.0.0.0/8"}},
    "rate": {"rate_limits": "few"},
    "at-once": {"concurrency_limits": "one"},
    "cors": {"cors": {"origins": "https://app.example", "credentials": True}},
    "csrf": {"csrf": {}},
    "basic": {"basic_auth": "staff"},
    "key": {"api_key": "partners"},
    "token": {"jwt": "service"},
    "machine": {"client_certificate": {"user_header": "X-User"}},
    "asked": {"forward_auth": {"upstream": "auth", "path": "/check", "copy_headers": "X-User"}},
    "waf": {"waf": {}},
}


def configuration(url: str, auth: str, http1: str) -> Config:
    tls = ListenerTls(
        certificates={"certificate": "c", "key": "k"}, client_authentication="optional", client_ca="authority"
    )
    return Config(
        http1="h11" if http1 == "h11" else "httptools",
        listeners=[Listener(name="web", bind="127.0.0.1:0", protocols=["h2", "http/1.1"], tls=tls)],
        upstreams={"api": Upstream(servers=url), "auth": Upstream(servers=auth)},
        rate_limits={"few": {"rate": "1/m", "burst": 2}},
        concurrency_limits={"one": {"max_exchanges": 1}},
        basic_auth={"staff": {"file": "users", "user_header": "X-User"}},
        api_keys={"partners": {"file": "keys", "header": "X-API-Key", "user_header": "X-User"}},
        jwt={
            "service": {
                "algorithms": ["HS256"],
                "keys_file": "jwks",
                "issuer": "https://id",
                "audience": "api",
                "claims_to_headers": {"sub": "X-User"},
            }
        },
        routes=[
            Route(name=name, match={"path": f"/{name}"}, upstream="api", **guard) for name, guard in ROUTES.items()
        ],
    )


@cache
def materials() -> Materials:
    context = server_context("localhost", protocols=("h2", "http/1.1"))
    authority().configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    return Materials(
        users={"users": {"alice": HASH}},
        api_keys={"keys": {api_key_digest(b"right"): "alice"}},
        key_sets={"jwks": KEYS},
        listener_tls={"web": context},
    )


def judging(line: Line) -> None:
    """Lets in who brings the right word."""
    while True:
        head, _ = line.message()
        if b"authorization: please" in head:
            line.send(response(b"", b"X-User: alice"))
        else:
            line.send(response(b"", b"WWW-Authenticate: Word", status=b"401 Unauthorized"))


class World:
    """A proxy, what its upstream was asked, and a client of one protocol."""

    def __init__(
        self, port: int, asked: list[bytes], *, is_http2: bool, certificate: trustme.LeafCert | None = None
    ) -> None:
        context = client_context(protocols=("h2" if is_http2 else "http/1.1",))
        if certificate is not None:
            certificate.configure_cert(context)
        self.http = httpx.Client(http2=is_http2, verify=context, timeout=LIMIT, trust_env=False)
        self.is_http2 = is_http2
        self.port = port
        self.asked = asked

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.http.request(method, f"https://localhost:{self.port}{path}", **options)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.request("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    def refuses(self, path: str, status: int, **headers: str) -> httpx.Response:
        """The answer to a GET that no upstream has seen."""
        before = len(self.asked)
        answer = self.get(path, **headers)
        assert (answer.status_code, len(self.asked)) == (status, before), answer.text
        return answer

    def learns(self, path: str, **headers: str) -> list[str]:
        """The X-User fields with which a GET that claims to be root reaches the upstream."""
        answer = self.get(path, x_user="root", **headers)
        assert answer.status_code == 200, answer.text
        lines = self.asked[-1].decode().split("\r\n")
        return [line.partition(": ")[2] for line in lines if line.lower().startswith("x-user:")]


@pytest.fixture(params=["h11", "httptools", "h2"])
def world(run: Run, request: pytest.FixtureRequest) -> Iterator[World]:
    asked: list[bytes] = []

    def remembering(line: Line) -> None:
        while True:
            head, content = line.message()
            asked.append(head + content)
            line.send(response(b"in"))

    with ExitStack() as stack:
        url, auth = stack.enter_context(origin(remembering)).url, stack.enter_context(origin(judging)).url
        config = configuration(url, auth, request.param)
        proxy: Handle = stack.enter_context(run(config, materials=materials()))
        world = World(proxy.port, asked, is_http2=request.param == "h2")
        stack.enter_context(world.http)
        yield world


def test_every_guard_refuses_before_the_upstream_and_lets_in_who_may(world: World) -> None:
    version = world.refuses("/access", 403).http_version
    assert version == ("HTTP/2" if world.is_http2 else "HTTP/1.1")
    _limits(world)
    _browsers(world)
    _identities(world)
    _firewall(world)


def _limits(world: World) -> None:
    assert [world.get("/rate").status_code for _ in range(2)] == [200, 200]
    assert int(world.refuses("/rate", 429).headers["retry-after"]) in range(50, 62)
    meanwhile: list[int] = []

    def content() -> Iterator[bytes]:
        yield b"x"
        meanwhile.append(world.refuses("/at-once", 429).status_code)
        yield b"y"

    assert world.request("POST", "/at-once", content=content()).status_code == 200
    assert meanwhile == [429]
    assert world.get("/at-once").status_code == 200


def _browsers(world: World) -> None:
    asks = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    before = len(world.asked)
    preflight = world.request("OPTIONS", "/cors", headers=asks)
    assert (preflight.status_code, len(world.asked)) == (204, before)
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    other = world.request("OPTIONS", "/cors", headers={**asks, "Origin": "https://evil.example"})
    assert (other.status_code, len(world.asked)) == (403, before)
    assert world.get("/cors", origin="https://app.example").headers["access-control-allow-credentials"] == "true"
    assert "access-control-allow-origin" not in world.get("/cors", origin="https://evil.example").headers
    forged = world.request("POST", "/csrf", headers={"Sec-Fetch-Site": "cross-site"})
    assert forged.status_code == 403
    assert world.request("POST", "/csrf", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def _identities(world: World) -> None:
    right, wrong = "Basic YWxpY2U6d29uZGVyIGxhbmQ=", "Basic YWxpY2U6d3Jvbmc="
    assert world.refuses("/basic", 401, authorization=wrong).headers["www-authenticate"].startswith("Basic ")
    assert world.learns("/basic", authorization=right) == ["alice"]
    world.refuses("/key", 401, x_api_key="wrong")
    assert world.learns("/key", x_api_key="right") == ["alice"]
    world.refuses("/token", 401, authorization=f"Bearer {TOKEN[:-2]}")
    assert world.learns("/token", authorization=f"Bearer {TOKEN}") == ["alice"]
    assert world.refuses("/asked", 401).headers["www-authenticate"] == "Word"
    assert world.learns("/asked", authorization="please") == ["alice"]
    world.refuses("/machine", 403)
    assert world.learns("/waf") == []


def _firewall(world: World) -> None:
    world.refuses("/waf?q=%3Cscript%3Ealert(1)", 403)
    before = len(world.asked)
    for options in (
        {"json": {"a": {"b": "<script>"}}},
        {"data": {"a": "1' or '1'='1"}},
        {"files": {"a": (None, "<script>")}},
    ):
        refused = world.request("POST", "/waf", **options)
        assert (refused.status_code, len(world.asked)) == (403, before)
        assert "script" not in refused.text
    honest = {"name": "O'Reilly", "note": "a < b"}
    assert world.request("POST", "/waf", json=honest).status_code == 200
    assert json.loads(world.asked[-1].partition(b"\r\n\r\n")[2]) == honest


def test_a_client_certificate_is_an_identity(world: World) -> None:
    robot = World(world.port, world.asked, is_http2=world.is_http2, certificate=leaf("robot.example"))
    with robot.http:
        (user,) = robot.learns("/machine")
    assert "CN=robot.example" in user

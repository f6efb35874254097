"""What the gate adds to a proxied exchange without sockets: compare each with `nothing`."""

from __future__ import annotations

from typing import Any

import jwt as library
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from proxycore.config import Config, Limits, Listener, Route, Upstream
from proxycore.config.materials import Materials
from proxycore.core import Core
from proxycore.policies.addresses import AddressSet
from proxycore.words.effects import Connect

SECRET = b"a secret that is long enough for it"
KEYS = [{"kty": "oct", "kid": "k", "k": "YSBzZWNyZXQgdGhhdCBpcyBsb25nIGVub3VnaCBmb3IgaXQ"}]
TOKEN = library.encode({"sub": "alice", "exp": 2e9, "iss": "https://id", "aud": "api"}, SECRET, headers={"kid": "k"})
FIELDS = (
    b"Host: 127.0.0.1:8080\r\nAccept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"Cookie: session=5f4dcc3b5aa765d61d8327deb882cf99; theme=dark\r\nReferer: https://example.com/products?page=1\r\n"
    b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
)
REQUEST = b"GET /products/list?page=2&sort=price&q=red+shoes HTTP/1.1\r\n" + FIELDS + b"\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 128\r\n\r\n" + b"x" * 128

GATES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "access_limit_headers": {
        "access": {"deny_file": "deny"},
        "rate_limits": ["all"],
        "response_headers": {"set": {"X-Frame-Options": "DENY"}, "remove": ["Server"]},
    },
    "security_headers": {"security_headers": {}},
    "jwt": {"jwt": "service"},
    "waf": {"waf": {}},
}


@pytest.mark.parametrize("gate", GATES)
def test_gate(benchmark: BenchmarkFixture, gate: str) -> None:
    lines = "\n".join(f"{a}.{b}.{c}.0/24" for a in (10, 11) for b in range(200) for c in range(250))
    core = Core(
        Config(
            http1="httptools",
            limits=Limits(requests_per_connection="off"),
            listeners=[Listener(name="web", bind="127.0.0.1:0")],
            upstreams={"api": Upstream(servers="http://127.0.0.1:3000")},
            rate_limits={"all": {"rate": "1000000/s"}},
            jwt={"service": {"algorithms": ["HS256"], "keys_file": "keys", "issuer": "https://id", "audience": "api"}},
            routes=[Route(upstream="api", **GATES[gate])],
        ),
        Materials(networks={"deny": AddressSet.from_lines(lines)}, key_sets={"keys": KEYS}),
        now=0.0,
        wall=1e9,
        seed=1,
        entropy=bytes,
    )
    client = core.next_conn_id()
    core.accepted(client, "web", ("192.0.2.1", 50_000), ("127.0.0.1", 8080), 1.0)
    (dial,) = core.data_received(client, REQUEST, 1.0)
    assert isinstance(dial, Connect)
    core.connected(dial.conn, ("127.0.0.1", 8080), ("127.0.0.1", 3000), 1.0)
    core.data_received(dial.conn, RESPONSE, 1.0)

    def exchange() -> None:
        core.data_received(client, REQUEST, 2.0)
        core.data_received(dial.conn, RESPONSE, 2.0)

    benchmark(exchange)
    assert core.ledger().exchanges == 0

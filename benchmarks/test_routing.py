"""What it costs to find a route among 10, 1,000 and 10,000, and what else is decided on each request's head."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from ipaddress import ip_network
from typing import Any

import pytest

from proxycore.config.model import Match, Route
from proxycore.policies.addresses import AddressSet
from proxycore.policies.forwarding import Peer, outbound
from proxycore.policies.paths import normalise
from proxycore.policies.routing import RouteTable
from proxycore.words.messages import Headers, RequestHead

COUNTS = [10, 1_000, 10_000]
FIELDS = [(b"user-agent", b"curl/8.5.0"), (b"accept", b"*/*"), (b"accept-encoding", b"gzip")]

# What makes a route, and a request for the last of them, by number.
TABLES: dict[str, tuple[Callable[[int], Match], Callable[[int], tuple[str, str]]]] = {
    "prefix": (lambda n: Match(path=f"/service{n}/*"), lambda n: ("example.com", f"/service{n}/users/7")),
    "exact": (lambda n: Match(path=f"/page{n}"), lambda n: ("example.com", f"/page{n}")),
    "host": (lambda n: Match(host=f"h{n}.example.com"), lambda n: (f"h{n}.example.com", "/users/7")),
    "domain": (lambda n: Match(host=f"*.h{n}.example.com"), lambda n: (f"www.h{n}.example.com:8080", "/users/7")),
    "host and prefix": (
        lambda n: Match(host=f"h{n % 100}.example.com", path=f"/service{n}/*"),
        lambda n: (f"h{n % 100}.example.com", f"/service{n}/users/7"),
    ),
    "prefix and method": (
        lambda n: Match(path=f"/service{n}/*", method=["GET", "POST"]),
        lambda n: ("example.com", f"/service{n}/users/7"),
    ),
    "capitals in the path": (lambda n: Match(path=f"/service{n}/*"), lambda n: ("example.com", f"/service{n}/App.JS")),
    "two readings of the path": (
        lambda n: Match(path=f"/service{n}/*"),
        lambda n: ("example.com", f"/service{n}/a%2fb"),
    ),
}


@cache
def table_of(kind: str, count: int) -> RouteTable:
    make, _ = TABLES[kind]
    routes = [Route(name=f"r{n}", match=make(n), upstream="a") for n in range(count - 1)]
    return RouteTable([*routes, Route(name="rest", upstream="a")])


def request_for(host: str, target: str, fields: list[tuple[bytes, bytes]] = FIELDS) -> RequestHead:
    return RequestHead(b"GET", target.encode(), host.encode(), Headers(fields))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", TABLES)
def test_find_the_last(benchmark: Any, kind: str, count: int) -> None:
    table = table_of(kind, count)
    request = request_for(*TABLES[kind][1](count - 2))
    path = normalise(request.target)
    found = benchmark(lambda: table.find(request, path, listener="web", client_ip="192.0.2.1"))
    assert found.name == f"r{count - 2}"


@pytest.mark.parametrize("count", COUNTS)
def test_find_the_one_for_the_rest(benchmark: Any, count: int) -> None:
    table = table_of("prefix", count)
    request = request_for("example.com", "/elsewhere/x")
    path = normalise(request.target)
    found = benchmark(lambda: table.find(request, path, listener="web", client_ip="192.0.2.1"))
    assert found.name == "rest"


@pytest.mark.parametrize("target", [b"/", b"/api/v1/users/42?page=2", b"/.well-known/acme", b"/caf%c3%a9", b"/a/../b"])
def test_normalise(benchmark: Any, target: bytes) -> None:
    benchmark(normalise, target)


@pytest.mark.parametrize("trusted", [False, True])
def test_client_and_outbound_head(benchmark: Any, trusted: bool) -> None:
    peer = Peer(("10.0.0.1", 1), scheme=b"http", trusted=AddressSet([ip_network("10.0.0.0/8")] if trusted else []))
    told = (b"x-forwarded-for", b"203.0.113.9, 10.0.0.2")
    request = request_for("example.com", "/", [*FIELDS, told] if trusted else FIELDS)
    head = benchmark(lambda: outbound(request, peer.client_of(request), target=b"/", authority=b"example.com"))
    assert head.headers.get(b"x-real-ip") == (b"203.0.113.9" if trusted else b"10.0.0.1")

"""Every test here runs on each binding, and with each HTTP/1 codec."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal

import pytest

from proxycore.config import Config, Listener, Route, Upstream
from tests.conformance.proxies import BINDINGS, Handle, running

Http1 = Literal["h11", "httptools"]
Run = Callable[..., AbstractContextManager[Handle]]


@pytest.fixture(params=BINDINGS)
def run(request: pytest.FixtureRequest) -> Run:
    """`running`, on one binding after the other."""
    return partial(running, request.param)


@pytest.fixture(params=["h11", "httptools"])
def http1(request: pytest.FixtureRequest) -> Http1:
    name: Http1 = request.param
    return name


@pytest.fixture
def configure(http1: Http1) -> Callable[..., Config]:
    """Makes a configuration with one listener and one upstream of these servers; keywords go to their sections."""

    def make(
        *servers: Any,
        upstream: dict[str, Any] | None = None,
        listener: dict[str, Any] | None = None,
        route: dict[str, Any] | None = None,
        **sections: Any,
    ) -> Config:
        return Config(
            http1=http1,
            listeners=[Listener(**{"name": "web", "bind": "127.0.0.1:0", **(listener or {})})],
            upstreams={"api": Upstream(servers=list(servers), **(upstream or {}))},
            routes=[Route(name="all", upstream="api", **(route or {}))],
            **sections,
        )

    return make

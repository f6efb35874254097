"""What a hit keeps alive while its client takes it slowly: the object, and nothing of the cache."""

from __future__ import annotations

from collections.abc import Sequence

from proxycore.config import Cache, Config, Listener, Route, RouteCache, Upstream
from proxycore.core import Core
from proxycore.words.commands import Purge
from proxycore.words.effects import Connect, Effect, Send

CONTENT = b"x" * 200_000
ANSWER = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 200000\r\n\r\n" + CONTENT
HERE = ("127.0.0.1", 80)


def ask(core: Core) -> Sequence[Effect]:
    client = core.next_conn_id()
    core.accepted(client, "web", ("192.0.2.1", 1), HERE, 1.0)
    return core.data_received(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1.0)


def test_a_slow_client_keeps_the_object_that_is_stored_and_no_copy_and_the_store_may_let_go_of_it() -> None:
    config = Config(
        listeners=[Listener(name="web", bind="127.0.0.1:0")],
        upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"])},
        caches={"main": Cache(size="1MiB", object_max="512KiB")},
        routes=[Route(upstream="api", cache=RouteCache(store="main"))],
    )
    core = Core(config, now=0.0, wall=1e9, seed=1, entropy=bytes)
    (dial,) = [effect for effect in ask(core) if isinstance(effect, Connect)]
    core.connected(dial.conn, HERE, ("127.0.0.1", 3000), 1.0)
    core.data_received(dial.conn, ANSWER, 1.0)
    store = core._own_filters._caches["main"].store
    (stored,) = store

    slow = [effect for effect in ask(core) if isinstance(effect, Send)]
    core.writing_paused(slow[0].conn, 1.0)
    assert any(sent.data is stored.content for sent in slow)
    core.commanded(Purge("host", "a"), 1.0)
    assert len(store) == 0
    assert store.reserved == 0
    core.writing_resumed(slow[0].conn, 2.0)

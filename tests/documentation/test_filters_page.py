"""The filters in docs/filters.md do what the page says of them, in front of real servers."""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.sync.client import connect

from proxycore import Config, Exchange, Filter, Headers, Listener, Respond, ResponseHead, Route, Server, Upstream
from proxycore.composition.filters import PHASES
from proxycore.words.errors import Cause
from tests.conformance.echoes import websocket_echo
from tests.conformance.origins import Line, answering, client, echoing, fields_of, origin, refused_port, response
from tests.conformance.proxies import Handle, running, soon
from tests.documentation.pages import blocks_of
from tests.examples.started import ROOT

PAGE = ROOT / "docs" / "filters.md"
TEXT = b"Content-Type: text/plain"


@pytest.fixture(scope="module")
def filters() -> Mapping[str, Any]:
    """The classes of the page, by name."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks_of(PAGE):
        exec(compile("\n" * block.line + block.text, str(PAGE), "exec"), names)
    return names


@contextmanager
def proxy(*servers: str, filters: list[Filter], calls: Any = None, **upstreams: str) -> Iterator[Handle]:
    """One in front of an upstream `stable`, and of others by name."""
    config = Config(
        listeners=[Listener(bind="127.0.0.1:0")],
        upstreams={
            "stable": Upstream(servers=[Server(name=f"web{n}", url=url) for n, url in enumerate(servers, 1)]),
            **{name: Upstream(servers=url) for name, url in upstreams.items()},
        },
        routes=[
            Route(match={"path": "/local"}, respond={"body": "local"}),
            *(Route(match={"path": f"/{name}"}, upstream=name) for name in upstreams),
            Route(upstream="stable"),
        ],
    )
    with running("asyncio", config, filters, calls) as handle:
        yield handle


def ask(
    handle: Handle, target: str = "/", content: bytes = b"", method: str = "GET", **fields: str
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, fields and all content of an answer. `x_key` stands for `X-Key`."""
    lines = [f"{method} {target} HTTP/1.1", "Host: a", "Connection: close", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    with client(handle.port) as c:
        c.send("\r\n".join([*lines, "", ""]).encode() + content)
        head, _, rest = c.to_end().partition(b"\r\n\r\n")
    return int(head.split()[1]), fields_of(head), rest


def test_door(filters: Mapping[str, Any]) -> None:
    with origin(echoing) as o, proxy(o.url, filters=[filters["Door"](b"secret")]) as p:
        assert ask(p)[0] == 401
        status, _, seen = ask(p, x_key="secret")
        assert status == 200
        assert b"x-key" not in seen


def test_maintenance(filters: Mapping[str, Any]) -> None:
    maintenance = filters["Maintenance"]("192.0.2.1")
    with origin(answering(response(b"up"))) as o, proxy(o.url, filters=[maintenance]) as p:
        assert ask(p)[2] == b"up"
        maintenance.is_on = True
        status, fields, content = ask(p)
        assert (status, fields[b"retry-after"], content) == (503, b"600", b"<h1>Back soon</h1>\n")
        assert ask(p, method="HEAD")[2] == b""
        maintenance.office = "127.0.0.1"
        assert ask(p)[2] == b"up"


@pytest.mark.parametrize(("percent", "expected"), [(0, {b"old"}), (50, {b"old", b"new"}), (100, {b"new"})])
def test_canary(filters: Mapping[str, Any], percent: int, expected: set[bytes]) -> None:
    with origin(answering(response(b"old"))) as old, origin(answering(response(b"new"))) as new:
        with proxy(old.url, canary=new.url, filters=[filters["Canary"](percent)]) as p:
            assert {ask(p, x_user=f"user {n}")[2] for n in range(20)} == expected
            assert len({ask(p, x_user="ann")[2] for _ in range(5)}) == 1


def test_pinned(filters: Mapping[str, Any]) -> None:
    with origin(answering(response(b"one"))) as one, origin(answering(response(b"two"))) as two:
        with proxy(one.url, two.url, filters=[filters["Pinned"]()]) as p:
            assert [ask(p, x_server="web2")[2] for _ in range(3)] == [b"two"] * 3
            assert {ask(p)[2] for _ in range(2)} == {b"one", b"two"}
            assert ask(p, x_server="web9")[0] == 200


def test_members(filters: Mapping[str, Any]) -> None:
    async def lookup(token: str) -> str | None:
        if token == "broken":
            raise OSError("the database is gone")
        return {"let me in": "ann"}.get(token)

    with origin(echoing) as o, proxy(o.url, filters=[filters["Members"]()], calls={"lookup": lookup}) as p:
        assert b"x-user: ann" in ask(p, authorization="let me in")[2]
        assert ask(p, authorization="what")[0] == 403
        assert ask(p, authorization="broken")[0] == 200
        assert ask(p, method="POST", authorization="broken")[0] == 503


def test_badge(filters: Mapping[str, Any]) -> None:
    known = response(b"ann\n")

    def badges(line: Line) -> None:
        line.send(known if b"x-badge: 7\r\n" in line.head() else response(status=b"403 Forbidden"))

    with origin(echoing) as o, origin(badges) as b, proxy(o.url, badges=b.url, filters=[filters["Badge"]()]) as p:
        assert ask(p)[0] == 401
        assert ask(p, x_badge="7")[0] == 200


def test_signed(filters: Mapping[str, Any]) -> None:
    def signature(content: bytes) -> str:
        return hmac.new(b"secret", content, hashlib.sha256).hexdigest()

    with origin(echoing) as o, proxy(o.url, filters=[filters["Signed"](b"secret")]) as p:
        assert ask(p, content=b"event", method="POST", x_signature=signature(b"event"))[2].endswith(b"event")
        assert ask(p, content=b"other", method="POST", x_signature=signature(b"event"))[0] == 403
        assert ask(p, content=b"x" * 20_000, method="POST", x_signature=signature(b"x" * 20_000))[0] == 413
        assert o.accepted == 1


def test_one_at_a_time(filters: Mapping[str, Any]) -> None:
    inside: list[Line] = []
    at_once: list[int] = []

    def slow(line: Line) -> None:
        line.head()
        inside.append(line)
        at_once.append(len(inside))
        time.sleep(0.05)  # for another to come in, if it can
        inside.remove(line)
        line.send(response(b"done", b"Connection: close"))

    with origin(slow) as o, proxy(o.url, filters=[filters["OneAtATime"]()]) as p:
        answers: list[int] = []
        threads = [threading.Thread(target=lambda: answers.append(ask(p, "/same")[0])) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [200] * 3
    assert at_once == [1] * 3


def test_tidy(filters: Mapping[str, Any]) -> None:
    with origin(echoing) as o, proxy(o.url, filters=[filters["Tidy"]()]) as p:
        _, fields, seen = ask(p, "/page?token=1")
        assert seen.startswith(b"GET /page HTTP/1.1\r\n")
        assert b"x-request-id: " in seen
        assert fields[b"server-timing"].startswith(b"total;dur=")
        assert b"server-timing" in ask(p, "/local")[1]


def test_footer(filters: Mapping[str, Any]) -> None:
    with origin(answering(response(b"text\n", TEXT))) as text, origin(answering(response(b"{}"))) as other:
        with proxy(text.url, other=other.url, filters=[filters["Footer"](b"-- us\n")]) as p:
            status, fields, content = ask(p)
            assert (status, fields[b"transfer-encoding"]) == (200, b"chunked")
            assert content == b"5\r\ntext\n\r\n6\r\n-- us\n\r\n0\r\n\r\n"
            assert ask(p, "/other")[2] == b"{}"
            assert ask(p, "/local")[2] == b"local-- us\n"


def test_footer_leaves_the_answer_to_head_empty(filters: Mapping[str, Any]) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\n"
    with origin(answering(head)) as o, proxy(o.url, filters=[filters["Footer"](b"-- us\n")]) as p:
        assert ask(p, method="HEAD")[2] == b""


def test_numbered(filters: Mapping[str, Any]) -> None:
    with origin(echoing) as o, proxy(o.url, filters=[filters["Numbered"]()]) as p:
        _, _, seen = ask(p, content=b"upload ", method="POST")
        assert b"transfer-encoding: chunked" in seen
        assert re.search(rb"upload [0-9a-f]{28}$", seen)


def test_news(filters: Mapping[str, Any]) -> None:
    news = filters["News"]()

    class Telling(Filter):
        def on_request(self, exchange: Exchange) -> Respond | None:
            if exchange.request.target != b"/tell":
                return None
            news.tell(b"it rains")
            return Respond(ResponseHead(204, Headers()))

    with proxy(f"http://127.0.0.1:{refused_port()}", filters=[news, Telling()]) as p, client(p.port) as c:
        c.send(b"GET /news HTTP/1.1\r\nHost: a\r\n\r\n")
        assert c.until(b": welcome\n\n\r\n").startswith(b"HTTP/1.1 200 ")
        assert isinstance(next(iter(news.subscribers.values())), filters["Subscriber"])
        assert ask(p, "/tell")[0] == 204
        assert c.until(b"data: it rains\n\n\r\n")
        c.close()
        assert soon(lambda: not news.subscribers)


def test_fallback(filters: Mapping[str, Any]) -> None:
    dead = f"http://127.0.0.1:{refused_port()}"
    with proxy(dead, suggestions=dead, filters=[filters["Fallback"]()]) as p:
        status, _, content = ask(p, "/suggestions")
        assert (status, content) == (200, b"[]\n")
        assert ask(p)[0] == 502


def test_polite(filters: Mapping[str, Any]) -> None:
    polite = filters["Polite"]
    with websocket_echo() as url, proxy(url, filters=[polite({"darn"}, patience=1)]) as p:
        with connect(f"ws://127.0.0.1:{p.port}/") as socket:
            socket.send("darn it")
            assert socket.recv() == "**** it"
            socket.send("/quit")
            socket.send(b"darn, in bytes")
            assert socket.recv() == b"darn, in bytes"
            socket.send("darn, darn")
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv()
            assert closed.value.rcvd == Close(1008, "mind your language")


def test_every_filter_of_the_page_is_tried(filters: Mapping[str, Any]) -> None:
    classes = [name for name, value in filters.items() if isinstance(value, type) and value.__module__ == "page"]
    tried = Path(__file__).read_text()
    assert [name for name in classes if f'filters["{name}"]' not in tried] == []


def test_the_page_names_every_phase_and_cause() -> None:
    page = PAGE.read_text()
    assert [phase for phase in PHASES if f"`{phase}(exchange" not in page] == []
    assert [cause for cause in get_args(Cause) if f"| `{cause}` |" not in page] == []

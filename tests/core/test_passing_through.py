"""Fields that pass, or don't, where they are easily forgotten: in a 1xx, a 426 and a 405."""

from __future__ import annotations

import pytest

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Filter, Reject, Verdict
from proxycore.config import Config, HeaderEdits, Listener, Route, Upstream
from proxycore.core import Core
from proxycore.words.effects import Connect, Effect, Send
from proxycore.words.ids import ConnId
from proxycore.words.messages import Headers

HERE = ("127.0.0.1", 80)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Talk:
    """One client, and the server that its requests go to."""

    def __init__(self, *filters: Filter) -> None:
        edits = HeaderEdits(remove=["server"], set={"x-powered-by": "us"}, add={"x-more": "1"})
        config = Config(
            listeners=[Listener(name="web", bind="127.0.0.1:0")],
            upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"])},
            routes=[Route(upstream="api", response_headers=edits)],
        )
        self.core = Core(config, now=0.0, wall=1e9, seed=1, entropy=bytes, filters=filters)
        self.client = self.core.next_conn_id()
        self.core.accepted(self.client, "web", ("192.0.2.1", 1), HERE, 1.0)

    def ask(self, request: bytes = GET) -> bytes:
        """Send a request: what the client gets at once, with the server connected."""
        effects = self.core.data_received(self.client, request, 1.0)
        for effect in effects:
            if isinstance(effect, Connect):
                self.server: ConnId = effect.conn
                self.core.connected(effect.conn, HERE, HERE, 1.0)
        return self._sent(list(effects))

    def answer(self, response: bytes) -> bytes:
        return self._sent(list(self.core.data_received(self.server, response, 1.0)))

    def _sent(self, effects: list[Effect]) -> bytes:
        return b"".join(e.data for e in effects if isinstance(e, Send) and e.conn == self.client)


def test_what_a_route_hides_does_not_pass_in_an_interim_response() -> None:
    talk = Talk()
    talk.ask()
    early = talk.answer(b"HTTP/1.1 103 Early Hints\r\nServer: x/1\r\nX-Powered-By: x\r\nLink: </a>\r\n\r\n")
    assert early == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


@pytest.mark.parametrize("protocols", [b"websocket", b"HTTP/2.0, TLS/1.0"])
def test_a_426_says_what_to_upgrade_to(protocols: bytes) -> None:
    talk = Talk()
    talk.ask()
    head = b"HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: %b\r\nContent-Length: 0\r\n\r\n"
    answer = talk.answer(head % protocols)
    assert b"\r\nconnection: upgrade\r\nupgrade: %b\r\n" % protocols in answer


def test_no_other_final_response_offers_a_protocol() -> None:
    talk = Talk()
    talk.ask()
    answer = talk.answer(b"HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n")
    assert b"upgrade" not in answer


def test_a_405_of_ours_names_what_is_served() -> None:
    answer = Talk().ask(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nallow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" in answer


class ReadOnly(Filter):
    def on_request(self, exchange: Exchange) -> Verdict | None:
        return Reject(405, headers=Headers([(b"allow", b"GET, HEAD")]))


def test_a_405_of_a_filter_names_what_it_says() -> None:
    answer = Talk(ReadOnly()).ask(GET.replace(b"GET", b"POST"))
    assert answer.count(b"\r\nallow: ") == answer.count(b"\r\nallow: GET, HEAD\r\n") == 1

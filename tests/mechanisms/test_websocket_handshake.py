"""The opening handshake, as tables: what is refused of a client, and what of a server."""

from __future__ import annotations

import pytest

from proxycore.mechanisms.websocket.handshake import Opening, accept_of, extension_names
from proxycore.words.errors import Malformed, Refused
from proxycore.words.messages import Field, Headers, RequestHead, ResponseHead

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

VALID = {b"sec-websocket-key": KEY, b"sec-websocket-version": b"13"}


def request(*more: Field, method: bytes = b"GET", **fields: bytes | None) -> RequestHead:
    """A valid one; `key`, `version` and `protocol` replace a field, None takes it away."""
    values: dict[bytes, bytes | None] = dict(VALID)
    values.update({b"sec-websocket-" + name.encode(): value for name, value in fields.items()})
    headers = Headers([(name, value) for name, value in values.items() if value is not None] + list(more))
    return RequestHead(method, b"/", b"example.com", headers, upgrade=b"websocket")


def response(*fields: Field, accept: bytes | None = ACCEPT) -> ResponseHead:
    first = [] if accept is None else [(b"sec-websocket-accept", accept)]
    return ResponseHead(101, Headers(first + list(fields)), upgrade=b"websocket")


def test_the_key_of_the_rfc_has_the_answer_of_the_rfc() -> None:
    assert accept_of(KEY) == ACCEPT


def test_what_a_client_offers_is_known() -> None:
    opening = Opening(
        request(
            (b"sec-websocket-protocol", b"soap, wamp"),
            (b"sec-websocket-protocol", b"chat"),
            (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits, X-Mux;max=4"),
        )
    )
    assert opening.key == KEY
    assert opening.protocols == [b"soap", b"wamp", b"chat"]
    assert opening.extensions == [b"permessage-deflate", b"x-mux"]


@pytest.mark.parametrize(
    "head",
    [
        request(method=b"POST"),
        request(key=None),
        request(key=b""),
        request((b"sec-websocket-key", KEY)),
        request(key=KEY[:-4]),
        request(key=KEY[:-1]),
        request(key=b"AAAA" + KEY),
        request(key=KEY[:10] + b"\xff" + KEY[11:]),
        request(key=KEY + b", " + KEY),
        request(protocol=b"a b"),
        request(protocol=b"a;b"),
    ],
    ids=lambda head: repr((head.method, *head.headers)),
)
def test_a_client_that_opens_wrongly_is_refused(head: RequestHead) -> None:
    with pytest.raises(Refused) as refused:
        Opening(head)
    assert refused.value.status == 400


@pytest.mark.parametrize("version", [None, b"8", b"13, 8", b"12", b"+13", b"013", b""])
def test_a_client_of_another_version_is_told_ours(version: bytes | None) -> None:
    with pytest.raises(Refused) as refused:
        Opening(request(version=version))
    assert refused.value.status == 426


OFFERED = Opening(
    request((b"sec-websocket-protocol", b"soap, wamp"), (b"sec-websocket-extensions", b"permessage-deflate, foo"))
)


@pytest.mark.parametrize(
    "head",
    [
        response(),
        response((b"sec-websocket-protocol", b"wamp")),
        response((b"sec-websocket-extensions", b"Permessage-Deflate; server_no_context_takeover")),
        response((b"sec-websocket-extensions", b"foo"), (b"sec-websocket-extensions", b"permessage-deflate")),
        response((b"x-anything", b"else")),
    ],
    ids=lambda head: repr(list(head.headers)),
)
def test_an_answer_to_what_was_asked_passes(head: ResponseHead) -> None:
    OFFERED.check(head)


@pytest.mark.parametrize(
    "head",
    [
        response(accept=None),
        response(accept=KEY),
        response(accept=ACCEPT.lower()),
        response((b"sec-websocket-accept", ACCEPT)),
        response((b"sec-websocket-protocol", b"WAMP")),
        response((b"sec-websocket-protocol", b"wamp, soap")),
        response((b"sec-websocket-protocol", b"")),
        response((b"sec-websocket-protocol", b"wamp"), (b"sec-websocket-protocol", b"wamp")),
        response((b"sec-websocket-extensions", b"bar")),
        response((b"sec-websocket-extensions", b'foo; a="b,c"')),
    ],
    ids=lambda head: repr(list(head.headers)),
)
def test_an_answer_to_anything_else_is_none(head: ResponseHead) -> None:
    with pytest.raises(Malformed) as malformed:
        OFFERED.check(head)
    assert malformed.value.error == "http_upgrade_failed"


def test_nothing_offered_is_nothing_to_choose() -> None:
    with pytest.raises(Malformed):
        Opening(request()).check(response((b"sec-websocket-protocol", b"chat")))
    assert extension_names(Headers()) == []

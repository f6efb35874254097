"""What the writer writes, and what it refuses to write."""

from __future__ import annotations

from typing import Any

import pytest

from proxycore.mechanisms.http1 import writer
from proxycore.words.messages import ABSENT, UNKNOWN, Headers, RequestHead, ResponseHead


def request(method: bytes = b"GET", fields: list[tuple[bytes, bytes]] | None = None, **more: Any) -> bytes:
    return writer.request_head(RequestHead(method, b"/p?q", b"a.example:8080", Headers(fields or []), **more))


def response(status: int = 200, *, method: bytes = b"GET", to: bytes = b"1.1", keep: bool = True, **more: Any) -> bytes:
    head = ResponseHead(status, more.pop("headers", Headers()), **more)
    return writer.response_head(head, request_method=method, request_version=to, persistent=keep)


def test_a_request_begins_with_its_host() -> None:
    assert request(fields=[(b"accept", b"*/*"), (b"x-a", b"b")]) == (
        b"GET /p?q HTTP/1.1\r\nhost: a.example:8080\r\naccept: */*\r\nx-a: b\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("more", "lines"),
    [
        ({"length": 5}, b"content-length: 5\r\n"),
        ({"length": 0}, b"content-length: 0\r\n"),
        ({"length": UNKNOWN}, b"transfer-encoding: chunked\r\n"),
        ({"persistent": False}, b"connection: close\r\n"),
        ({"upgrade": b"websocket"}, b"connection: upgrade\r\nupgrade: websocket\r\n"),
        ({"te_trailers": True}, b"connection: te\r\nte: trailers\r\n"),
        ({"upgrade": b"w", "te_trailers": True}, b"connection: upgrade, te\r\nupgrade: w\r\nte: trailers\r\n"),
        ({"expect_continue": True, "length": 1}, b"content-length: 1\r\nexpect: 100-continue\r\n"),
        ({"version": b"1.0"}, b""),
    ],
)
def test_framing_and_the_hop_come_from_the_attributes(more: dict[str, Any], lines: bytes) -> None:
    assert request(**more) == b"GET /p?q HTTP/1.1\r\nhost: a.example:8080\r\n" + lines + b"\r\n"


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH"])
def test_where_content_is_usual_none_is_said(method: bytes) -> None:
    assert b"\r\ncontent-length: 0\r\n" in request(method)


def test_extra_fields_come_last_and_are_checked() -> None:
    head = RequestHead(b"GET", b"/", b"a", Headers([(b"x", b"1")]))
    assert writer.request_head(head, [(b"via", b"1.1 p")]).endswith(b"\r\nx: 1\r\nvia: 1.1 p\r\n\r\n")
    assert head.headers.fields == [(b"x", b"1")]
    with pytest.raises(ValueError, match="control"):
        writer.request_head(head, [(b"via", b"1.1 p\r\nx: 2")])


@pytest.mark.parametrize("upgrade", [b"a b", b"a\r\nx: y", b"a, b"])
def test_a_protocol_is_one_protocol(upgrade: bytes) -> None:
    with pytest.raises(ValueError, match="protocol"):
        request(upgrade=upgrade)
    with pytest.raises(ValueError, match="protocol"):
        response(101, upgrade=upgrade)


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ({"length": 5, "has_content": True}, b"200 OK\r\ncontent-length: 5\r\n"),
        ({"length": UNKNOWN, "has_content": True}, b"200 OK\r\ntransfer-encoding: chunked\r\n"),
        ({"length": UNKNOWN, "has_content": True, "to": b"1.0"}, b"200 OK\r\nconnection: close\r\n"),
        (
            {"length": 5, "has_content": True, "to": b"1.0"},
            b"200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n",
        ),
        ({"length": 5, "has_content": True, "keep": False}, b"200 OK\r\ncontent-length: 5\r\nconnection: close\r\n"),
        ({}, b"200 OK\r\ncontent-length: 0\r\n"),
        ({"method": b"HEAD", "length": 5}, b"200 OK\r\ncontent-length: 5\r\n"),
        ({"method": b"HEAD", "length": UNKNOWN}, b"200 OK\r\n"),
        ({"method": b"HEAD"}, b"200 OK\r\n"),
        ({"status": 204}, b"204 No Content\r\n"),
        ({"status": 204, "length": 0}, b"204 No Content\r\n"),
        ({"status": 304, "length": 5}, b"304 Not Modified\r\ncontent-length: 5\r\n"),
        ({"status": 304}, b"304 Not Modified\r\n"),
        ({"status": 100}, b"100 Continue\r\n"),
        ({"status": 103, "keep": False}, b"103 Early Hints\r\n"),
        (
            {"status": 101, "upgrade": b"websocket"},
            b"101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n",
        ),
        ({"status": 404, "reason": b"Nope", "length": 0}, b"404 Nope\r\ncontent-length: 0\r\n"),
        ({"status": 299, "reason": b"", "length": 0}, b"299 \r\ncontent-length: 0\r\n"),
    ],
)
def test_responses(arguments: dict[str, Any], written: bytes) -> None:
    assert response(**arguments) == b"HTTP/1.1 " + written + b"\r\n"


@pytest.mark.parametrize(
    ("length", "has_content", "version", "chunked", "by_close"),
    [
        (UNKNOWN, True, b"1.1", True, False),
        (UNKNOWN, True, b"1.0", False, True),
        (UNKNOWN, False, b"1.1", False, False),
        (5, True, b"1.1", False, False),
        (5, True, b"1.0", False, False),
        (ABSENT, False, b"1.0", False, False),
    ],
)
def test_how_content_ends(length: int, has_content: bool, version: bytes, chunked: bool, by_close: bool) -> None:
    head = ResponseHead(200, Headers(), length=length, has_content=has_content)
    assert writer.is_chunked(head, version) == chunked
    assert writer.ends_by_close(head, version) == by_close


@pytest.mark.parametrize(
    "field",
    [
        (b"x", b"a\r\nset-cookie: b"),
        (b"x", b"a\n"),
        (b"x", b"\r"),
        (b"x", b"\x00"),
        (b"x\r\ny", b""),
        (b"x y", b""),
        (b"X", b""),
        (b"", b""),
        (b"x:", b""),
        (b"content-length", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"upgrade", b"h2c"),
    ],
)
def test_a_response_field_that_would_change_the_message_is_refused(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match=r"field|byte"):
        response(headers=Headers([(b"server", b"x"), field]))


@pytest.mark.parametrize(("status", "reason"), [(200, b"O\r\nK"), (99, b""), (1000, b""), (200, b"\x00")])
def test_a_status_line_that_would_change_the_message_is_refused(status: int, reason: bytes) -> None:
    with pytest.raises(ValueError, match="status line"):
        response(status, reason=reason)


def test_chunks() -> None:
    data = bytes(300)
    pieces = writer.chunk(data)
    assert b"".join(pieces) == b"12c\r\n" + data + b"\r\n"
    assert any(piece is data for piece in pieces), "copied"
    assert writer.chunk(b"") == (), "which would have been the last"


def test_the_last_chunk() -> None:
    assert writer.last_chunk() == b"0\r\n\r\n"
    assert writer.last_chunk([(b"x-sum", b"1"), (b"x-b", b"")]) == b"0\r\nx-sum: 1\r\nx-b: \r\n\r\n"


@pytest.mark.parametrize(
    "field", [(b"content-length", b"1"), (b"host", b"a"), (b"x", b"a\r\nb: c"), (b"trailer", b"x")]
)
def test_trailers_are_checked(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match=r"field|byte"):
        writer.last_chunk([field])

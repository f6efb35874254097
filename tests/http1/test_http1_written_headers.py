"""Headers whose lines are written already: sent as they are, and as good as any others once somebody looks closer."""

from __future__ import annotations

from proxycore.mechanisms.http1 import writer
from proxycore.words.messages import Headers, ResponseHead, WrittenHeaders

FIELDS = [(b"a", b"1"), (b"b", b"2")]


def made() -> WrittenHeaders:
    return WrittenHeaders(FIELDS, writer.response_lines(FIELDS))


def written(headers: Headers) -> bytes:
    head = ResponseHead(200, headers, length=0)
    return writer.response_head(head, request_method=b"GET", request_version=b"1.1", persistent=True)


def test_they_are_written_like_any_others() -> None:
    assert written(made()) == written(Headers(FIELDS.copy()))
    assert written(made().copy()) == written(made())


def test_asking_whether_a_field_is_there_costs_the_lines_nothing() -> None:
    headers = made()
    assert b"a" in headers
    assert b"c" not in headers
    assert headers.lines is not None


def test_what_is_changed_is_what_is_written() -> None:
    headers = made()
    headers.add(b"c", b"3")
    headers.remove(b"a")
    assert headers.lines is None
    assert written(headers) == written(Headers([(b"b", b"2"), (b"c", b"3")]))
    assert written(headers.copy()) == written(headers)
    assert FIELDS == [(b"a", b"1"), (b"b", b"2")], "others have the same fields"


def test_fields_may_be_replaced_whole() -> None:
    headers = made()
    headers.fields = [(b"c", b"3")]
    assert b"a" not in headers
    assert headers == Headers([(b"c", b"3")])

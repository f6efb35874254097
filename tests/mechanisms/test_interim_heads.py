"""Both codecs take every interim response: a 103 that only one of them takes would be a 502 with the other."""

from __future__ import annotations

import pytest

from proxycore.mechanisms.http1.codec import choose
from proxycore.mechanisms.http1.reader import ResponseReader
from proxycore.words.messages import ResponseHead


@pytest.mark.parametrize("codec", ["h11", "httptools"])
@pytest.mark.parametrize("status", [100, 102, 103, 199])
def test_an_interim_response_is_read(codec: str, status: int) -> None:
    if codec == "httptools":
        pytest.importorskip("httptools")
    reader = ResponseReader(
        choose(codec),  # type: ignore[arg-type]
        max_head=1_000,
        max_fields=10,
        max_trailers=1_000,
        max_interim=10,
    )
    reader.expect(b"GET")
    reader.receive(b"HTTP/1.1 %d Interim\r\nLink: x\r\n\r\n" % status)
    head = reader.next_event()
    assert isinstance(head, ResponseHead)
    assert head.status == status

"""Both codecs take every interim response: a 103 that only one of them takes would be a 502 with the other."""

from __future__ import annotations

import pytest

from proxycore.mechanisms.http1.codec import choose
from proxycore.mechanisms.http1.reader import ResponseReader
from proxycore.mechanisms.http1.strict import HeadLimits
from proxycore.words.messages import ResponseHead


@pytest.mark.parametrize("codec", ["h11", "httptools"])
@pytest.mark.parametrize("status", [100, 102, 103, 199])
def test_an_interim_response_is_read(codec: str, status: int) -> None:
    if codec == "httptools":
        pytest.importorskip("httptools")
    limits = HeadLimits(size=1_000, fields=10)
    reader = ResponseReader(choose(codec), limits, limits, max_interim=10)  # type: ignore[arg-type]
    reader.expect(b"GET")
    reader.receive(b"HTTP/1.1 %d Interim\r\nLink: x\r\n\r\n" % status)
    head = reader.next_event()
    assert isinstance(head, ResponseHead)
    assert head.status == status

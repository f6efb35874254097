"""Codes content on its way to clients that take it coded: the keys `compress` of a route, and `[compression]`."""

from __future__ import annotations

from collections.abc import Mapping

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import Filter, Respond, body_changes
from proxycore.config import Compression
from proxycore.mechanisms.codings import Coding, Encoder, MakeEncoder, encoders
from proxycore.policies.compression import Offer, mark_coded, vary_by_coding
from proxycore.words.messages import UNKNOWN, ResponseHead

LEVELS: Mapping[Coding, str] = {"gzip": "gzip_level", "br": "br_level", "zstd": "zstd_level"}


class CompressFilter(Filter):
    """Raises CodingMissing for a coding whose package isn't installed."""

    def __init__(self, codings: tuple[Coding, ...], compression: Compression) -> None:
        self.offer = Offer(codings, compression)
        self._make: Mapping[Coding, MakeEncoder] = {
            coding: encoders(coding, getattr(compression, LEVELS[coding])) for coding in codings
        }

    def on_content(self, exchange: Exchange, head: ResponseHead) -> Respond | None:
        if head.status == 304:
            self._mark_not_modified(exchange, head)
        elif self.offer.covers(head):
            vary_by_coding(head.headers)
            coding = self.offer.choose(exchange.request.headers)
            if coding is not None:
                # Also for a HEAD, whose head is that of the GET (RFC 9110 section 9.3.2).
                mark_coded(head.headers, coding)
                head.length = UNKNOWN
                body_changes(head)
                if head.has_content:
                    exchange.local(self)["encoder"] = self._make[coding]()
        return None

    def _mark_not_modified(self, exchange: Exchange, head: ResponseHead) -> None:
        """A 304 stands for what the client has, which may be coded: its tag is the weak one that we gave then.

        It names in Vary what the 200 named (RFC 9110 section 15.4.5).
        """
        vary_by_coding(head.headers)
        if self.offer.choose(exchange.request.headers) is not None:
            body_changes(head)

    def on_response_data(self, exchange: Exchange, data: bytes, last: bool) -> bytes:
        encoder: Encoder | None = exchange.local(self).get("encoder")
        return data if encoder is None else encoder.encode(data, last)

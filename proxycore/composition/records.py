"""The record of an exchange that has ended, for logs and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxycore.words.errors import Outcome
from proxycore.words.notices import ExchangeEnded

if TYPE_CHECKING:
    from proxycore.composition.exchange import Exchange


def record_of(exchange: Exchange, outcome: Outcome) -> ExchangeEnded:
    """All that is known of `exchange`, which ended with `outcome`."""
    request = exchange.request
    client = exchange.client
    record = ExchangeEnded(exchange.began_at)
    record.exchange = exchange.id
    record.listener = exchange.downstream.listener
    record.route = exchange.route.name
    record.client = client.ip
    record.client_port = client.port
    record.method = request.method
    record.scheme = request.scheme
    record.authority = request.authority
    record.target = request.target
    record.version = request.version
    record.status = exchange.response.status if exchange.response is not None else 0
    record.outcome = outcome
    record.received = exchange.received
    record.sent = exchange.sent
    record.duration = exchange.ended - exchange.began
    record.upstream = exchange.upstream or ""
    attempts = exchange.attempts
    if attempts is None:
        record.queued = record.connected = record.first_byte = None
        record.server = ""
        record.retries = 0
    else:
        record.queued = attempts.queued
        record.connected = attempts.connected
        record.first_byte = attempts.first_byte
        record.server = attempts.server.name if attempts.server is not None else ""
        record.retries = attempts.retries
    record.request_id = exchange.request_id
    record.user = exchange.user
    record.tls_subject = exchange.tls_subject
    record.headers = request.headers
    record.messages = None if exchange.websocket is None else exchange.websocket.messages
    return record

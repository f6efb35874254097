"""A client's first message of TLS (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2), looked at before OpenSSL is.

It tells when a client has said enough to be worth a place among those who shake hands; and what it offers by
ALPN, which Python doesn't tell where nothing of it is ours. What can't be read here isn't judged here: OpenSSL does.
"""

from __future__ import annotations

from struct import Struct

NO_COMMON_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"
"""The alert no_application_protocol, fatal, as a record (RFC 7301 section 3.2)."""

_HANDSHAKE, _CLIENT_HELLO, _ALPN = 22, 1, 16
_RECORD_HEADER, _MESSAGE_HEADER, _EXTENSION_HEADER = 5, 4, 4
_EXTENSION = Struct("!HH")  # its type, and the length of its content

_LARGEST = 16 * 1024
"""Bytes of a message that is waited for. Those of browsers have 2 KiB."""

_RECORDS = 4
"""Records that it may come in: clients put it in one, and so in as few as its bytes need."""


def read_client_hello(data: bytes) -> bytes | None:
    """The message at the beginning of `data`. None: it isn't here whole. b"": there will be none that can be read."""
    message = b""
    at = 0
    for _ in range(_RECORDS):
        record = data[at : at + _RECORD_HEADER]
        if record and record[0] != _HANDSHAKE:
            return b""
        if len(record) < _RECORD_HEADER:
            return None
        at += _RECORD_HEADER
        length = int.from_bytes(record[3:], "big")
        message += data[at : at + length]
        if len(message) >= _MESSAGE_HEADER:
            size = _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER], "big")
            if message[0] != _CLIENT_HELLO or size > _LARGEST:
                return b""
            if len(message) >= size:
                return message[_MESSAGE_HEADER:size]
        at += length
        if at > len(data):
            return None
    return b""


def offered_protocols(hello: bytes) -> list[bytes]:
    """What a client offers by ALPN (RFC 7301 section 3.1), by falling preference; nothing where it doesn't say."""
    extension = _extension(hello, _ALPN)
    protocols: list[bytes] = []
    at = 2
    while at < len(extension):
        end = at + 1 + extension[at]
        protocols.append(extension[at + 1 : end])
        at = end
    return protocols


def _extension(hello: bytes, wanted: int) -> bytes:
    """The content of one extension; b"" without it."""
    at = 34  # a version, and 32 random bytes
    for width in (1, 2, 1):  # the session's id, ciphers, compressions: each behind its length
        at += width + int.from_bytes(hello[at : at + width], "big")
    at += 2
    read, last = _EXTENSION.unpack_from, len(hello) - _EXTENSION_HEADER
    while at <= last:
        kind, length = read(hello, at)
        at += _EXTENSION_HEADER
        if kind == wanted:
            return hello[at : at + length]
        at += length
    return b""

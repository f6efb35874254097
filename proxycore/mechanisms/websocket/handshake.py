"""The opening handshake (RFC 6455 section 4): what a client may ask, and what a server may answer to it.

A proxy stands between two parties that check each other; it checks both, so that neither gets bytes
of the other before it is certain that the other speaks WebSocket. A `101` that isn't the answer to
this very request could be a cache's, or another protocol's that a page made a server speak.
"""

from __future__ import annotations

from base64 import b64encode
from binascii import Error, a2b_base64
from hashlib import sha1

from proxycore.mechanisms.http1.fields import TCHAR
from proxycore.words.errors import Malformed, Refused
from proxycore.words.messages import Headers, RequestHead, ResponseHead

PROTOCOL = b"websocket"
"""What `RequestHead.upgrade` and `ResponseHead.upgrade` say of a WebSocket."""

VERSION = b"13"

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that answers this Sec-WebSocket-Key (section 4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


class Opening:
    """What a valid request asks for: its `key`, the subprotocols that it offers, the names of extensions."""

    __slots__ = ("extensions", "key", "protocols")

    def __init__(self, request: RequestHead) -> None:
        """Check a request whose `upgrade` is `PROTOCOL` (section 4.2.1). Raises Refused: 400, or 426 for a version.

        That it came in HTTP/1.1, with Connection: upgrade and without content, is known by its `upgrade`.
        """
        if request.method != b"GET":
            raise Refused(400, "A WebSocket opens with GET.")
        headers = request.headers
        if headers.get_list(b"sec-websocket-version") != [VERSION]:
            raise Refused(426, "This server speaks version 13 of WebSocket.")
        self.key = _key(headers.get_all(b"sec-websocket-key"))
        self.protocols = headers.get_list(b"sec-websocket-protocol")
        if any(protocol.translate(None, TCHAR) for protocol in self.protocols):
            raise Refused(400, "A subprotocol of this WebSocket has no valid name.")
        self.extensions = extension_names(headers)

    def check(self, response: ResponseHead) -> None:
        """Check the 101 that answers (section 4.1). Raises Malformed: nothing of it may reach the client.

        That it says Upgrade: websocket is the reader's to check.
        """
        headers = response.headers
        if headers.get_all(b"sec-websocket-accept") != [accept_of(self.key)]:
            raise _failed("a 101 whose Sec-WebSocket-Accept doesn't answer the key")
        protocols = headers.get_all(b"sec-websocket-protocol")
        if len(protocols) > 1 or any(protocol not in self.protocols for protocol in protocols):
            raise _failed("a 101 with a subprotocol that wasn't offered")
        if any(name not in self.extensions for name in extension_names(headers)):
            raise _failed("a 101 with an extension that wasn't offered")


def extension_names(headers: Headers) -> list[bytes]:
    """The names in Sec-WebSocket-Extensions, without their parameters.

    A quoted parameter may hold a comma; what follows it then looks like a name that nobody offered, which is
    refused in an answer. Quoted or not, the value must be a token (section 9.1), so none that is valid does.
    """
    offers = headers.get_list(b"sec-websocket-extensions")
    return [offer.partition(b";")[0].strip(b" \t").lower() for offer in offers]


def _key(keys: list[bytes]) -> bytes:
    try:
        if len(keys) == 1 and len(a2b_base64(keys[0], strict_mode=True)) == 16:
            return keys[0]
    except Error:
        pass
    raise Refused(400, "A WebSocket opens with one key of 16 bytes in base64.")


def _failed(reason: str) -> Malformed:
    return Malformed(reason, "http_upgrade_failed")

"""Writes header blocks (RFC 7541), each of which stands alone.

Theory of operation. The dynamic table is left alone and Huffman coding not used: a field is an index into the
static table, or a literal. What that costs is bytes on the wire (nginx, too, keeps no table for responses); what
it saves is a search through the table for each field, and Huffman codes of which `hpack` makes one big integer.
And a peer can't have us keep a table of the size that it likes, nor learn a secret from how well it was compressed
beside what the peer chose.

Every block is checked as it is written: like `http1.writer` for HTTP/1, this is the last place before the wire.
A name that is no lower-case token or that a connection owns, and a control byte in a value, are a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterable

from hpack.table import HeaderTable

from proxycore.mechanisms.http1.fields import COMMON_NAMES, PLAIN
from proxycore.words.messages import ABSENT, Field, ResponseHead

_NAME = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_VALUE = PLAIN + b"\t"

NO_TABLE = b"\x20"
"""Begins the first block: the dynamic table's size is 0 from here on (RFC 7541 section 6.3)."""

_OURS = frozenset(
    b"connection proxy-connection keep-alive transfer-encoding upgrade te http2-settings host content-length".split()
)
"""What belongs to the connection (RFC 9113 section 8.2.2), and what is written from the head's attributes."""

_OURS_IN_TRAILERS = _OURS | {b"trailer", b"expect"}

_NEVER_INDEXED = frozenset((b"set-cookie", b"authorization", b"proxy-authorization"))
"""Secrets, that no proxy behind us should put into its table either (RFC 7541 section 7.1.3)."""


def _integer(value: int, bits: int, first: int) -> bytes:
    """`value` behind a prefix of `bits`, whose other bits are `first` (RFC 7541 section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    out = [first | most]
    value -= most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_LENGTHS = tuple(_integer(length, 7, 0) for length in range(256))
_STATIC_NAMES = {name: index for index, (name, _) in reversed(list(enumerate(HeaderTable.STATIC_TABLE, 1)))}
_CONTENT_LENGTH = _integer(_STATIC_NAMES[b"content-length"], 4, 0)


def _literal(name: bytes) -> bytes:
    """How a field of that name begins: a literal that isn't indexed."""
    first = 0x10 if name in _NEVER_INDEXED else 0
    index = _STATIC_NAMES.get(name)
    return _integer(index, 4, first) if index else bytes((first,)) + _integer(len(name), 7, 0) + name


class _Names(dict[bytes, bytes]):
    """From a name to how its field begins. Raises ValueError for names that may not be written.

    What isn't common is checked each time: what is remembered of names that peers choose would grow.
    """

    def __init__(self, ours: frozenset[bytes]) -> None:
        super().__init__({name: _literal(name) for name in COMMON_NAMES if name not in ours})
        self._ours = ours

    def __missing__(self, name: bytes) -> bytes:
        if not name or name.translate(None, _NAME):
            raise ValueError(f"no field name in lower case: {name!r}")
        if name in self._ours:
            raise ValueError(f"a field that only the writer writes: {name!r}")
        return _literal(name)


_IN_RESPONSE = _Names(_OURS)
_IN_TRAILERS = _Names(_OURS_IN_TRAILERS)


def _status(status: int) -> bytes:
    value = b"%d" % status
    index = HeaderTable.STATIC_TABLE_MAPPING[b":status"][1].get(value)
    return _integer(index, 7, 0x80) if index else b"%b\x03%b" % (_integer(_STATIC_NAMES[b":status"], 4, 0), value)


_STATUSES = {status: _status(status) for status in range(100, 600)}


def response_block(head: ResponseHead) -> bytes:
    """The block of a response, interim or final. Raises ValueError.

    Content-Length is told where `head.length` says one, and never with an interim response or a 204.
    """
    status, length = head.status, head.length
    start = _STATUSES.get(status)
    if start is None:
        if not 600 <= status <= 999:
            raise ValueError(f"no status: {status}")
        start = _status(status)
    if length > ABSENT and status >= 200 and status != 204:
        digits = b"%d" % length
        start = b"%b%b%b%b" % (start, _CONTENT_LENGTH, _LENGTHS[len(digits)], digits)
    return _block(start, head.headers.fields, _IN_RESPONSE)


def trailer_block(trailers: Iterable[Field]) -> bytes:
    """The block of trailers. Raises ValueError."""
    return _block(b"", trailers, _IN_TRAILERS)


def _block(start: bytes, fields: Iterable[Field], names: _Names) -> bytes:
    parts = [start]
    values = []
    for name, value in fields:
        value = value.strip(b" \t")
        length = len(value)
        parts += (names[name], _LENGTHS[length] if length < 256 else _integer(length, 7, 0), value)
        values.append(value)
    if b"".join(values).translate(None, _VALUE):
        raise ValueError(f"a control byte in a field: {values!r}")
    return b"".join(parts)

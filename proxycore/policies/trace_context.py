"""W3C Trace Context: the id by which the logs and spans of all who handled a request are found.

We record no span of our own, so nothing can be a child of us: a valid `traceparent` is passed on as it came, and
the tree of spans has no gap where we are. Where there is none, or one that can't be read, a trace begins here, and
what others kept in `tracestate` for the trace that was lost goes (section 3.2 of the recommendation).
"""

from __future__ import annotations

import re

from proxycore.words.messages import Headers

ENTROPY = 24
"""Unpredictable bytes that a new trace takes: 16 for its id, 8 for the id of its parent."""

# Section 3.2.2: version, trace id, parent id, flags. A later version may have more behind them; 00 may not.
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED, _RANDOM = 1, 2
_RANDOM_BITS = 56


def trace_id_of(headers: Headers) -> bytes:
    """The id of the trace that a request belongs to: 32 hexadecimal digits, empty without one."""
    found = _read(headers.get_all(b"traceparent"))
    return found[2] if found is not None else b""


def pass_on(headers: Headers) -> bool:
    """Make the request's fields what is passed on. False: there is no trace to pass on, and one may `begin`."""
    found = _read(headers.get_all(b"traceparent"))
    if found is None:
        return False
    if found[1] != b"00":
        # Section 3.2.4: of a later version we know the beginning, and may say no more than that.
        headers.set(b"traceparent", b"00-%b-%b-%02x" % (found[2], found[3], int(found[4], 16) & _SAMPLED))
    return True


def begin(headers: Headers, entropy: bytes, sampled: float) -> bytes:
    """Begin a trace of `ENTROPY` unpredictable bytes, and give its id; the share `sampled` of all is marked so.

    Which ones is decided by the last 56 bits of the id, as others do who sample a share of all traces: so a
    smaller share elsewhere is a part of ours.
    """
    number = int.from_bytes(entropy[:16]) or 1
    is_sampled = number % (1 << _RANDOM_BITS) >= round((1.0 - sampled) * (1 << _RANDOM_BITS))
    trace_id = b"%032x" % number
    parent_id = b"%016x" % (int.from_bytes(entropy[16:ENTROPY]) or 1)
    flags = _RANDOM | _SAMPLED if is_sampled else _RANDOM
    headers.fields[:] = [field for field in headers.fields if field[0] not in (b"traceparent", b"tracestate")]
    headers.fields.append((b"traceparent", b"00-%b-%b-%02x" % (trace_id, parent_id, flags)))
    return trace_id


def _read(lines: list[bytes]) -> re.Match[bytes] | None:
    """One line that is a valid traceparent. Two lines contradict each other."""
    if len(lines) != 1:
        return None
    found = _TRACEPARENT.fullmatch(lines[0])
    return None if found is not None and found[1] == b"00" and found[5] is not None else found

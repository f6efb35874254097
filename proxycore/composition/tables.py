"""Every state of a connection and of an exchange, and every move between them, in one place.

A move that is not in its table is a bug of ours: looking it up raises KeyError, the core turns that
into a `Fault` notice and drops the one connection. Each state accepts every fact (a fact that means
nothing there is ignored by the code of that state); the tables hold the moves only. The diagrams in
the documentation are made from them by `diagram`.

States and events are plain strings: a look-up in nested dicts then costs 0.035 us, with enums 0.16.
"""

from __future__ import annotations

from collections.abc import Mapping

Table = Mapping[str, Mapping[str, str]]

# A connection of a client, in HTTP/1. `busy` holds one exchange: later requests wait in the reader,
# so answers leave in order (RFC 9112 section 9.3.2). `lingering` has answered and shut its writing
# side, and discards what still comes, so that the client reads the answer instead of a reset
# (RFC 9112 section 9.6). `closing` waits for the last fact.
DOWNSTREAM: Table = {
    "idle": {"begin": "head", "read": "busy", "linger": "lingering", "close": "closing", "lose": "lost"},
    "head": {"read": "busy", "linger": "lingering", "close": "closing", "lose": "lost"},
    "busy": {"keep": "idle", "upgrade": "tunnel", "linger": "lingering", "close": "closing", "lose": "lost"},
    "tunnel": {"close": "closing", "lose": "lost"},
    "lingering": {"close": "closing", "lose": "lost"},
    "closing": {"close": "closing", "lose": "lost"},
    "lost": {},
}

# A connection of a client, in HTTP/2. `opening` waits for its SETTINGS; `draining` has asked for no more
# streams and takes those that are on their way; `finishing` refuses new ones. `lingering` has sent its
# last GOAWAY and discards what still comes, so that the client reads it.
HTTP2: Table = {
    "opening": {
        "settle": "open",
        "drain": "draining",
        "refuse": "finishing",
        "linger": "lingering",
        "close": "closing",
        "lose": "lost",
    },
    "open": {"drain": "draining", "refuse": "finishing", "linger": "lingering", "close": "closing", "lose": "lost"},
    "draining": {"refuse": "finishing", "linger": "lingering", "close": "closing", "lose": "lost"},
    "finishing": {"refuse": "finishing", "linger": "lingering", "close": "closing", "lose": "lost"},
    "lingering": {"close": "closing", "lose": "lost"},
    "closing": {"close": "closing", "lose": "lost"},
    "lost": {},
}

# A stream of it, which carries one exchange. `half_closed` has had the whole request (RFC 9113 section
# 5.1, half-closed remote). Where the response ends before that, `discarding` drops what is still on its way.
HTTP2_STREAM: Table = {
    "open": {"request_end": "half_closed", "response_end": "discarding", "reset": "closed"},
    "half_closed": {"response_end": "closed", "reset": "closed"},
    "discarding": {"request_end": "closed", "reset": "closed"},
    "closed": {},
}

# A connection to a server, in HTTP/1. `dialling` covers the look-up's last address tried and TLS;
# `leased` carries one exchange. A dial that nobody waits for any more is aborted and stays in
# `closing` until its last fact.
UPSTREAM: Table = {
    "dialling": {"lease": "leased", "redial": "dialling", "close": "closing", "lose": "lost"},
    "leased": {"release": "idle", "upgrade": "tunnel", "close": "closing", "lose": "lost"},
    "idle": {"lease": "leased", "close": "closing", "lose": "lost"},
    "tunnel": {"close": "closing", "lose": "lost"},
    "closing": {"close": "closing", "lose": "lost"},
    "lost": {},
}

# An exchange. `deciding` runs filters, routing and balancing, and lasts no time; every wait has a
# state of its own: `held` for a filter's verdict, `queued` for a server with room, `pausing` before
# a server is tried again or until one is started, `connecting` for a dial, `awaiting` for the
# response's head. `answering` sends a response of our own.
EXCHANGE: Table = {
    "deciding": {
        "hold": "held",
        "queue": "queued",
        "pause": "pausing",
        "dial": "connecting",
        "send": "awaiting",
        "answer": "answering",
        "end": "ended",
    },
    "held": {"resume": "deciding", "answer": "answering", "end": "ended"},
    "queued": {"resume": "deciding", "answer": "answering", "end": "ended"},
    "pausing": {"resume": "deciding", "answer": "answering", "end": "ended"},
    "connecting": {
        "send": "awaiting",
        "pause": "pausing",
        "resume": "deciding",
        "answer": "answering",
        "end": "ended",
    },
    "awaiting": {
        "respond": "responding",
        "upgrade": "tunnelling",
        "pause": "pausing",
        "resume": "deciding",
        "answer": "answering",
        "end": "ended",
    },
    "responding": {"end": "ended"},
    "answering": {"end": "ended"},
    "tunnelling": {"end": "ended"},
    "ended": {},
}

# The TLS layer of a client's connection. `silent` lasts until its first message is whole; `waiting` has that, and
# no place among `limits.handshakes`; `speaking` has an endpoint inside, whose own states tell the rest. `refusing`
# has said why it goes no further, and discards what still comes, so that the client reads it.
TLS: Table = {
    "silent": {"shake": "shaking", "wait": "waiting", "refuse": "refusing", "close": "closing", "lose": "lost"},
    "waiting": {"shake": "shaking", "close": "closing", "lose": "lost"},
    "shaking": {"speak": "speaking", "refuse": "refusing", "close": "closing", "lose": "lost"},
    "speaking": {"lose": "lost"},
    "refusing": {"close": "closing", "lose": "lost"},
    "closing": {"close": "closing", "lose": "lost"},
    "lost": {},
}

TABLES: Mapping[str, Table] = {
    "downstream": DOWNSTREAM,
    "http2": HTTP2,
    "stream": HTTP2_STREAM,
    "upstream": UPSTREAM,
    "exchange": EXCHANGE,
    "tls": TLS,
}


def diagram(table: Table) -> str:
    """The table as a Mermaid state diagram; its first state is where things begin."""
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table))}"]
    for state, moves in table.items():
        lines += [f"    {state} --> {target}: {event}" for event, target in moves.items()]
        if not moves:
            lines.append(f"    {state} --> [*]")
    return "\n".join(lines) + "\n"

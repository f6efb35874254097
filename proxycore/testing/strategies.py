"""Hypothesis strategies: requests, responses, how their bytes are cut, weather, and orders of events.

They need `hypothesis`, which proxycore itself doesn't; so import them from here. With them, a test of yours
holds for whatever comes:

    @given(requests(hosts=["api.example.com"]))
    def test_nobody_gets_in_without_a_key(request: bytes) -> None:
        proxy.send(request).is_refused(401)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from proxycore.testing.network import Weather
from proxycore.testing.traffic import BAD_HEADS, BAD_REPLIES, FEATURES

_TOKEN: Final = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_SEGMENTS: Final = ("a", "b.html", "%41", "x-1", "~", "ä".encode().hex(), "longer-name")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE")


def _names() -> SearchStrategy[str]:
    # None that frames, names the hop, or is the proxy's own to write.
    return st.text(_TOKEN, min_size=1, max_size=8).map(lambda text: f"X-{text}")


def _values() -> SearchStrategy[str]:
    return st.text([chr(code) for code in range(0x21, 0x7F)], max_size=20)


def headers() -> SearchStrategy[list[tuple[str, str]]]:
    """Header fields that pass a proxy as they are: names in any case, some of them repeated."""
    return st.lists(
        st.tuples(st.one_of(st.sampled_from(["X-A", "x-a", "Accept", "Cookie"]), _names()), _values()), max_size=5
    )


def targets(paths: Sequence[str] = ()) -> SearchStrategy[str]:
    """Request targets: of these paths, or any; with and without a query."""
    drawn = st.lists(st.sampled_from(_SEGMENTS), max_size=4).map(lambda parts: "/" + "/".join(parts))
    queries = st.one_of(st.just(""), st.sampled_from(["?", "?a=1", "?a=1&b=%20", "?x=/../y"]))
    return st.tuples(st.sampled_from(paths) if paths else drawn, queries).map("".join)


@st.composite
def requests(
    draw: st.DrawFn,
    hosts: Sequence[str] = ("example.test",),
    paths: Sequence[str] = (),
    *,
    methods: Sequence[str] = _METHODS,
) -> bytes:
    """A well-formed request, as the bytes of HTTP/1.1: any method, fields, content by length or in chunks, trailers."""
    method = draw(st.sampled_from(methods))
    lines = [f"{method} {draw(targets(paths))} HTTP/1.1", f"Host: {draw(st.sampled_from(hosts))}"]
    lines += [f"{name}: {value}" for name, value in draw(headers())]
    content = b""
    if method in ("POST", "PUT", "PATCH", "PURGE"):
        framing, content = draw(_contents())
        lines.append(framing)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@st.composite
def _contents(draw: st.DrawFn) -> tuple[str, bytes]:
    pieces = draw(st.lists(st.binary(min_size=1, max_size=30), max_size=4))
    if draw(st.booleans()):
        return f"Content-Length: {sum(map(len, pieces))}", b"".join(pieces)
    trailers = draw(st.sampled_from([b"", b"X-Sum: 1\r\n", b"X-Sum: 1\r\nX-Two: 2\r\n"]))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return "Transfer-Encoding: chunked", chunks + b"0\r\n" + trailers + b"\r\n"


def bad_requests() -> SearchStrategy[bytes]:
    """Requests that are refused, and bytes that are none at all."""
    return st.one_of(
        st.sampled_from(BAD_HEADS), st.binary(min_size=1, max_size=60).map(lambda data: data + b"\r\n\r\n")
    )


@st.composite
def responses(draw: st.DrawFn, *, statuses: Sequence[int] = (200, 201, 404, 500)) -> bytes:
    """A well-formed response to anything but HEAD, as bytes; with interim ones before it, some of the time."""
    interim = draw(st.sampled_from([b"", b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]))
    lines = [f"HTTP/1.1 {draw(st.sampled_from(statuses))} Some Reason"]
    lines += [f"{name}: {value}" for name, value in draw(headers())]
    framing, content = draw(_contents())
    return interim + "\r\n".join([*lines, framing]).encode() + b"\r\n\r\n" + content


def bad_responses() -> SearchStrategy[bytes]:
    """Responses that no client may see."""
    return st.sampled_from(BAD_REPLIES)


@st.composite
def chunkings(draw: st.DrawFn, data: bytes, *, most: int = 12) -> list[bytes]:
    """The same bytes in up to `most` pieces, or each by itself."""
    if draw(st.integers(0, 9)) == 0:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=most - 1)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < end]


def weathers() -> SearchStrategy[Weather]:
    """How links of a `Network` behave."""
    return st.builds(
        Weather,
        latency=st.sampled_from([(0.0, 0.0), (0.001, 0.02), (0.05, 0.3)]),
        bandwidth=st.sampled_from([inf, 1_000_000.0, 50_000.0]),
        room=st.sampled_from([(262_144, 262_144), (4_096, 20_000), (1_000, 3_000)]),
        cut=st.sampled_from(["whole", "some", "mixed"]),
        late=st.sampled_from([0.0, 0.001, 0.05]),
    )


def faults() -> SearchStrategy[tuple[str, ...]]:
    """Features of a simulation, traffic and faults: give them to `simulate(seed, features=...)`."""
    return st.lists(st.sampled_from(FEATURES), unique=True).map(
        lambda chosen: tuple(f for f in FEATURES if f in chosen)
    )


Side = Literal["client", "server"]


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that happens in a schedule, to connection `number` (modulo how many there are) of a side.

    `what` is `accept`, `send` (`data`), `end`, `lose`, `pause` and `resume` (of writing), `dial` (it fails if
    `data` is empty), `wait` (`seconds`) or `reload`.
    """

    what: str
    side: Side = "client"
    number: int = 0
    data: bytes = b""
    seconds: float = 0.0


def schedules(*, most: int = 30) -> SearchStrategy[list[Move]]:
    """Orders of events on several connections: whole and broken messages, ends, losses, waits, in any order."""
    numbers = st.integers(0, 3)
    sides: SearchStrategy[Side] = st.sampled_from(["client", "server"])
    cut = st.tuples(requests(), st.integers(1, 400)).map(lambda drawn: drawn[0][: drawn[1]])
    answers = st.one_of(responses(), bad_responses(), responses().map(lambda data: data[: len(data) // 2]))
    moves = st.one_of(
        st.builds(Move, st.just("accept")),
        st.builds(Move, st.just("send"), st.just("client"), numbers, st.one_of(requests(), cut, bad_requests())),
        st.builds(Move, st.just("dial"), st.just("server"), numbers, st.sampled_from([b"", b"x", b"x", b"x"])),
        st.builds(Move, st.just("send"), st.just("server"), numbers, answers),
        st.builds(Move, st.sampled_from(["end", "lose", "pause", "resume"]), sides, numbers),
        st.builds(Move, st.just("wait"), seconds=st.sampled_from([0.0, 0.5, 3.0, 11.0, 80.0])),
        st.builds(Move, st.just("reload")),
    )
    return st.lists(moves, max_size=most)

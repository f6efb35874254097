"""Every fact in every state of a connection of HTTP/2 and its streams: frames in any order, at any time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.composition.http2_connection import Http2Connection
from proxycore.composition.tables import HTTP2
from proxycore.mechanisms.http2 import frames
from proxycore.testing.strategies import Move
from proxycore.words.ids import ConnId
from tests.http2.wire import GET, POST, SETTINGS_ACK, data, head, ping, reset
from tests.testing.test_every_state import AFTER, CONFIG, FACTS_OF_A_CONNECTION, REPLIES, Conn, Improviser, random_moves

OPENING = frames.PREFACE + frames.settings({frames.SETTING_WINDOW: 700})

FRAMES = ("get", "post", "data", "end", "reset", "bad", "ping", "heard", "settings", "window", "goaway", "broken")
"""What a client may send; those of a stream are for the last one that it began."""


class Streams(Improviser):
    """Its clients speak HTTP/2: the data of a move is an index into FRAMES."""

    before = replace(CONFIG, listeners=[replace(one, protocols=("h2c",)) for one in CONFIG.listeners])
    after = replace(AFTER, listeners=[replace(one, protocols=("h2c",)) for one in AFTER.listeners])

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[int, int] = {}

    def _receive(self, number: int, conn: Conn, data: bytes) -> None:
        if conn.side == "server" or not data:
            return super()._receive(number, conn, data)
        kind = FRAMES[data[0] % len(FRAMES)]
        if number not in self._last and not conn.ended and not conn.closing:
            self._last[number] = -1
            super()._receive(number, conn, OPENING)
            if kind == "settings":
                return
        self._meet(number, kind)
        super()._receive(number, conn, self._frame(number, kind))

    def _frame(self, number: int, kind: str) -> bytes:
        if kind in ("get", "post", "bad"):
            self._last[number] = self._last.get(number, -1) + 2
        last = max(self._last.get(number, 1), 1)
        made = {
            "get": head(last, GET),
            "post": head(last, POST, ends=False),
            "bad": head(last, [*GET, (b"connection", b"close")]),
            "data": data(last, b"x" * 600),
            "end": data(last, ends=True),
            "reset": reset(last),
            "ping": ping(),
            "heard": ping(b"proxycor", ack=True),
            "settings": SETTINGS_ACK,
            "window": b"".join(frames.frame(frames.WINDOW_UPDATE, 0, one, b"\0\0\2\0") for one in (0, last)),
            "goaway": frames.goaway(0, frames.NO_ERROR),
            "broken": frames.frame(frames.PUSH_PROMISE, 0, last, b"\0\0\0\2"),
        }
        return made[kind]

    def _meet(self, number: int, fact: str) -> None:
        endpoint = self.core._engine.endpoints.get(ConnId(number))
        if isinstance(endpoint, Http2Connection):
            self.met.add(("http2", endpoint.state, fact))
            self.met.update(("stream", stream.state, fact) for stream in endpoint._streams.values())

    def _note(self, fact: str, values: Sequence[Any]) -> None:
        if values and isinstance(values[0], int):
            self._meet(values[0], fact)


def moves_of(random: Random, length: int) -> list[Move]:
    """As over HTTP/1, with frames for bytes, and now and then a listener that goes while all is under way."""
    busy = random.randrange(length)
    moves = [
        replace(move, data=bytes([random.randrange(len(FRAMES) if random.random() < 0.2 else 10)]))
        if (move.what, move.side) == ("send", "client")
        else move
        for move in random_moves(random, length)
    ]
    moves.insert(busy, Move("reload"))
    return moves


MOVES = st.lists(
    st.one_of(
        st.builds(Move, st.just("accept")),
        *[
            st.builds(
                Move,
                st.just("send"),
                st.just("client"),
                st.integers(0, 1),
                st.sampled_from(range(len(FRAMES))).map(lambda n: bytes([n])),
            )
        ]
        * 3,
        st.builds(Move, st.just("dial"), st.just("server"), st.integers(0, 3), st.sampled_from([b"", b"x", b"x"])),
        st.builds(Move, st.just("send"), st.just("server"), st.integers(0, 3), st.sampled_from(REPLIES)),
        st.builds(Move, st.sampled_from(["end", "lose", "pause", "resume"]), st.sampled_from(["client", "server"])),
        st.builds(Move, st.just("wait"), seconds=st.sampled_from([0.0, 0.5, 3.0, 11.0, 80.0])),
        st.builds(Move, st.just("reload")),
    ),
    max_size=30,
)


@given(MOVES)
@settings(max_examples=100)
def test_no_order_of_frames_is_an_exception_or_a_lost_handle(moves: list[Move]) -> None:
    improviser = Streams()
    improviser.play([Move("accept"), *moves])
    improviser.finish()


def test_every_fact_is_met_in_every_state_of_streams() -> None:
    met: set[tuple[str, str, str]] = set()
    for seed in range(900):
        improviser = Streams()
        improviser.play(moves_of(Random(seed), 60))
        improviser.finish()
        met |= improviser.met
    # A connection that is closing is read no more; in `finishing` a client seldom begins to read again.
    silent = {
        *(("http2", "closing", fact) for fact in ("data_received", "eof_received", "writing_resumed")),
        ("http2", "finishing", "writing_resumed"),
    }
    wanted = {
        *(("http2", state, fact) for state in HTTP2 if state != "lost" for fact in FACTS_OF_A_CONNECTION),
        *(("http2", "open", fact) for fact in FRAMES),
        *(
            ("stream", state, fact)
            for state in ("open", "half_closed")
            for fact in (*FRAMES, "writing_paused", "writing_resumed", "connection_lost", "eof_received")
        ),
    }
    assert sorted(wanted - silent - met) == []

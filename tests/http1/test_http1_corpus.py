"""The wire corpus: files of raw bytes beside what must come of them, in whatever pieces they arrive.

Each `NAME.http` has a `NAME.toml` with `why`, the `messages` that are read (only the keys that are
given are compared; `unfinished` where no End comes), and how it ends: `refused` (a status) or
`malformed` (an error type of RFC 9209), with nothing after it. A new case is two new files.
"""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any

import pytest

from proxycore.mechanisms.http1.codec import Codec
from proxycore.mechanisms.http1.reader import RequestReader, ResponseReader
from proxycore.words.errors import Malformed, Refused
from proxycore.words.messages import ABSENT, UNKNOWN, End, RequestHead, ResponseHead
from tests.http1.replay import Event, codecs, cut, described, replay, request_reader, response_reader

CORPUS = Path(__file__).parent / "corpus"
REQUESTS = sorted((CORPUS / "requests").glob("*.http"))
RESPONSES = sorted((CORPUS / "responses").glob("*.http"))


def splits(data: bytes, name: str) -> list[list[bytes]]:
    """Whole, byte by byte, in halves, and at places that are the same in each run."""
    chance = random.Random(name)
    places = [sorted(chance.sample(range(len(data) + 1), min(len(data), count))) for count in (1, 1, 2, 3, 8)]
    return [[data], cut(data, range(len(data))), *(cut(data, cuts) for cuts in places)]


def messages(events: list[Event]) -> list[dict[str, Any]]:
    """The events of each message in the form of the corpus."""
    found: list[dict[str, Any]] = []
    for event in events:
        if isinstance(event, (RequestHead, ResponseHead)):
            found.append(as_table(event))
        elif isinstance(event, bytes):
            found[-1]["content"] = event.decode("latin-1")
        elif isinstance(event, End):
            found[-1]["trailers"] = pairs(event.trailers)
            del found[-1]["unfinished"]
    return found


def as_table(head: RequestHead | ResponseHead) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name in head.__slots__:
        value = getattr(head, name)
        table[name] = value.decode("latin-1") if isinstance(value, bytes) else value
    table["fields"] = pairs(head.headers.fields)
    table["length"] = {ABSENT: "absent", UNKNOWN: "unknown"}.get(head.length, head.length)
    table["upgrade"] = table["upgrade"] or ""
    if head.has_content:
        table |= {"content": "", "unfinished": True}
    return table


def pairs(fields: list[tuple[bytes, bytes]]) -> list[list[str]]:
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in fields]


def check(case: dict[str, Any], events: list[Event]) -> None:
    assert not any(isinstance(event, (Refused, Malformed)) for event in events[:-1]), "something came after a fault"
    fault = events[-1] if events else None
    assert (fault.status if isinstance(fault, Refused) else None) == case.get("refused"), fault
    assert (fault.error if isinstance(fault, Malformed) else None) == case.get("malformed"), fault
    found = messages(events)
    expected = case.get("messages", [])
    assert [message.get("unfinished", False) for message in found] == [m.get("unfinished", False) for m in expected]
    for message, wanted in zip(found, expected, strict=True):
        assert {key: message.get(key) for key in wanted} == wanted


def load(path: Path) -> tuple[dict[str, Any], bytes]:
    return tomllib.loads(path.with_suffix(".toml").read_text()), path.read_bytes()


def name_of(value: object) -> str:
    return value.stem if isinstance(value, Path) else str(getattr(value, "name", value))


@pytest.mark.parametrize("codec", codecs(), ids=name_of)
@pytest.mark.parametrize("path", REQUESTS, ids=name_of)
def test_requests(path: Path, codec: Codec) -> None:
    case, data = load(path)
    outcomes = []
    for pieces in splits(data, path.stem):
        reader: RequestReader = request_reader(codec)
        events = replay(reader, pieces)
        check(case, events)
        assert reader.mid_head == case.get("mid_head", False)
        assert "refused" not in case or (reader.ended and not reader.buffered)
        outcomes.append(described(events))
    assert all(outcome == outcomes[0] for outcome in outcomes), "the pieces made a difference"
    assert codec.disagreements == 0


@pytest.mark.parametrize("codec", codecs(), ids=name_of)
@pytest.mark.parametrize("path", RESPONSES, ids=name_of)
def test_responses(path: Path, codec: Codec) -> None:
    case, data = load(path)
    upgrade = case["upgrade"].encode() if "upgrade" in case else None
    outcomes = []
    for pieces in splits(data, path.stem):
        reader: ResponseReader = response_reader(codec, case.get("method", "GET").encode(), upgrade)
        events = replay(reader, pieces, eof=case.get("eof", False))
        check(case, events)
        assert reader.idle_excess == case.get("excess", False)
        if "rest" in case:
            assert reader.take_rest() == case["rest"].encode("latin-1")
        outcomes.append(described(events))
    assert all(outcome == outcomes[0] for outcome in outcomes), "the pieces made a difference"
    assert codec.disagreements == 0


def test_every_file_has_its_expectation() -> None:
    assert len(REQUESTS) > 200
    assert len(RESPONSES) > 50
    for path in [*REQUESTS, *RESPONSES]:
        assert path.with_suffix(".toml").exists(), path
    assert sum(1 for _ in CORPUS.rglob("*.toml")) == len(REQUESTS) + len(RESPONSES)

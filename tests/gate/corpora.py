"""The corpora of attacks and honest requests as requests: see `corpora/`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

from proxycore.words.messages import ABSENT, Headers, RequestHead

FOLDER = Path(__file__).parent / "corpora"
AGENT = b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
# A payload stands in the files plain, or as an attacker's client would encode it; what no target may hold is encoded.
_AS_IT_IS = "%!$'()*,/:;?@[]\\\"<>{}|^`~="


def corpus(name: str) -> Iterator[tuple[str, RequestHead, bytes]]:
    """Each line of a file as a request: the line, its head and its content."""
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            place, _, payload = line.partition("\t")
            yield line, *as_request(place, payload)


def spellings() -> Iterator[tuple[str, bytes, str]]:
    """Each line of `spellings.txt`: the form to ask for, the spelling, and what it says."""
    for line in (FOLDER / "spellings.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            form, spelling, normal = line.split("\t")
            yield form, spelling.encode(), normal.replace("\\n", "\n").replace("\\t", "\t").replace("\\\\", "\\")


def as_request(place: str, payload: str) -> tuple[RequestHead, bytes]:
    """A request that carries a payload in one place, and is ordinary elsewhere."""
    target, fields, content = b"/search?page=2&q=shoes", [(b"user-agent", AGENT), (b"accept", b"*/*")], b""
    match place:
        case "query":
            target = b"/search?page=2&q=" + quote(payload, safe=_AS_IT_IS).encode()
        case "path":
            target = quote(payload, safe=_AS_IT_IS).encode()
        case "cookie":
            fields.append((b"cookie", b"lang=en; session=" + payload.replace(";", "%3B").encode()))
        case "header":
            fields.append((b"x-value", payload.encode()))
        case "agent":
            fields[0] = (b"user-agent", payload.encode())
        case "form":
            content = b"page=2&comment=" + quote_plus(payload).encode()
            fields.append((b"content-type", b"application/x-www-form-urlencoded"))
        case "json":
            value = json.loads(payload) if payload.startswith('{"__proto__') else payload
            content = json.dumps({"page": 2, "comment": value}).encode()
            fields.append((b"content-type", b"application/json"))
        case _:
            raise ValueError(place)
    method = b"POST" if content else b"GET"
    length = len(content) if content else ABSENT
    return RequestHead(method, target, b"example.com", Headers(fields), length=length), content

"""The parts of multipart content (RFC 7578), read so that none can pass for a file that a server takes for a field.

What files hold isn't inspected, so that is where an attack would hide. Servers differ in what they take for a line's
end, a boundary or a parameter; whatever some of them read otherwise counts as a field here.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import NamedTuple

_BOUNDARY = re.compile(rb";\s*boundary\s*=\s*(?:\"([^\"\\]{1,70})\"|([^\s;,\"]{1,70}))\s*(?:;|$)", re.IGNORECASE)
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_DISPOSITION = re.compile(rb"^content-disposition\s*:(.*)", re.IGNORECASE | re.MULTILINE)
_PARAMETER = re.compile(rb';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^;"\s]*+))\s*', re.DOTALL)
_is_well_formed = re.compile(rb'[\s\w-]*+(?:;\s*[\w*-]+\s*=\s*(?:"(?:[^"\\]|\\.)*+"|[^;"\s]*+)\s*)*+').fullmatch
_is_base64 = re.compile(rb"^content-transfer-encoding\s*:\s*base64", re.IGNORECASE | re.MULTILINE).search


class Part(NamedTuple):
    """One part: the names that its head gives, and what it holds; empty for a file."""

    names: list[bytes]
    value: bytes


def boundary_of(media_type: bytes) -> bytes | None:
    """What parts are set apart by; None where servers wouldn't agree on it."""
    found = _BOUNDARY.search(media_type)
    if found is None or media_type.lower().count(b"boundary") != 1:
        return None
    return found[1] or found[2]


def parts_of(content: bytes, boundary: bytes, most: int) -> Iterator[Part]:
    """The parts of content, in their order; what comes after `most` of them counts as one."""
    marker = b"--" + boundary
    delimiter = re.compile(rb"(?:\A|\r?\n)" + re.escape(marker) + rb"(?:--)?[ \t]*(?:\r?\n|\Z)")
    for text in delimiter.split(content, max(1, most)):
        if text:
            yield _part(text, marker)


def _part(text: bytes, marker: bytes) -> Part:
    end = _END_OF_HEAD.search(text)
    if end is None:
        return Part([], text)
    head, value = text[: end.start()], text[end.end() :]
    dispositions = [found[1].rstrip(b"\r") for found in _DISPOSITION.finditer(head)]
    parameters = [found for line in dispositions for found in _PARAMETER.finditer(line)]
    names = [found[2] or found[3] or b"" for found in parameters]
    files = [found for found in parameters if found[1].lower() == b"filename"]
    if len(files) == len(dispositions) == 1 and _is_well_formed(dispositions[0]) and marker not in value:
        return Part(names, b"")
    return Part(names, _decoded(value) if _is_base64(head) else value)


def _decoded(value: bytes) -> bytes:
    """Undone by some, though no browser asks for it (RFC 7578 section 4.7)."""
    try:
        return b64decode(value)
    except ValueError:
        return value

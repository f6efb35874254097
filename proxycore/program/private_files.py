"""Files that nobody else can open, for what may hold secrets."""

from __future__ import annotations

import os
import tempfile
from typing import BinaryIO


def private_file(content: bytes) -> BinaryIO:
    """A file with `content` and without a name: in memory where there is such a thing. It ends when it is closed."""
    file: BinaryIO
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("proxycore"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - it is given away open
    file.write(content)
    file.flush()
    file.seek(0)
    return file

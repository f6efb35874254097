"""Files and folders that nobody else can open, for what may hold secrets."""

from __future__ import annotations

import os
import pwd
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


def private_folder(owner: str | None) -> str:
    """A new folder that only `owner` (None: who we are) may enter, for Unix sockets: its name is short."""
    folder = tempfile.mkdtemp(prefix="proxycore-")
    if owner is not None and os.geteuid() == 0:
        entry = pwd.getpwnam(owner)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    return folder

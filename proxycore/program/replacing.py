"""A file gets another content all at once, or keeps the one that it has."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def replacing(path: str, text: str) -> Iterator[None]:
    """Put `text` into the file at `path` once the block has ended well; if it raises, nothing happened.

    The new file is written beside the old one before the block begins, so that only its renaming is left to do: who
    reads the file meanwhile reads the old text or the new one. It has the old one's mode and owner; of a symbolic link,
    the file that it leads to is replaced. Raises OSError where that can't be done, mostly before the block.
    """
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    old = os.stat(path)
    descriptor, fresh = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fchmod(file.fileno(), old.st_mode & 0o7777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        raise
    _sync(folder)


def _sync(folder: str) -> None:
    """Have the renaming outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Memory that was freed and will be needed again in a moment: how to have the C library keep it."""

from __future__ import annotations

KEPT = 8 << 20
"""Bytes of free memory that stay with the process: the content of 64 uploads on their way, and a crowd's reads."""


def keep_freed_memory() -> None:
    """Have malloc keep up to `KEPT` bytes that are free, instead of giving them back and taking them again.

    What is read is freed as soon as it was sent. By default glibc gives free memory back from 128 KiB on, and each
    page of it is mapped and cleared anew when the next reads need it: a third of what an upload of 64 KiB costs.
    glibc learns from a large block that is freed: blocks of its size are henceforth kept, and twice as much free
    memory in all (mallopt(3), M_MMAP_THRESHOLD). Elsewhere this is one block taken and freed, untouched.
    """
    bytes(KEPT // 2)

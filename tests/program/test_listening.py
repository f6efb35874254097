"""Listening sockets that change hands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxycore.config import Listener
from proxycore.program.listening import ListenError, ListeningSockets


def test_a_socket_that_gets_another_name_still_never_blocks_the_workers_that_accept_on_it() -> None:
    sockets = ListeningSockets([Listener(name="before", bind=["127.0.0.1:0"])])
    try:
        # O_NONBLOCK is of the open socket, so a worker sets it for all who share it.
        os.set_blocking(sockets.by_listener["before"][0].fileno(), False)
        sockets.commit(sockets.prepare([Listener(name="after", bind=["127.0.0.1:0"])]))
        assert not os.get_blocking(sockets.by_listener["after"][0].fileno())
    finally:
        sockets.close()


def test_a_socket_file_that_may_not_be_removed_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sockets = ListeningSockets([Listener(name="web", bind=[f"unix:{tmp_path}/socket"])])

    def forbidden(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "unlink", forbidden)
    sockets.close()
    assert sockets.by_listener == {}


def test_a_mode_that_can_not_be_given_refuses_the_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root bound it, and was given up since."""
    bind = [f"unix:{tmp_path}/socket"]
    sockets = ListeningSockets([Listener(name="web", bind=bind, mode="0600")])
    try:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(ListenError, match="belongs to another user"):
            sockets.prepare([Listener(name="web", bind=bind, mode="0660")])
    finally:
        sockets.close()

"""Giving up root once everything is bound."""

from __future__ import annotations

import os
import pwd

from proxycore.program.exits import NotStarted


def check_user(name: str | None) -> None:
    """Raise NotStarted if this process can't become that user. None is to stay who we are."""
    if name is None:
        return
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise NotStarted(f'user = "{name}": there is no such user on this machine') from None
    if os.geteuid() not in (0, entry.pw_uid):
        raise NotStarted(f'user = "{name}": only root can become another user; start it as root, or take the key out')


def become(name: str | None) -> None:
    """Become that user for good, with that user's groups. Raises NotStarted where that isn't possible."""
    check_user(name)
    if name is None or os.geteuid() != 0:
        return
    entry = pwd.getpwnam(name)
    try:
        os.initgroups(name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except OSError as error:
        raise NotStarted(f'user = "{name}": {(error.strerror or str(error)).lower()}') from None
    if entry.pw_uid != 0 and _can_return():
        raise NotStarted(f'user = "{name}": root was not given up')


def _can_return() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True

"""Passwords and API keys at rest: hashes of them, in files of `name:hash` lines.

People choose passwords, and few of them, so a hash must be slow to guess: argon2 or bcrypt, some 20 ms for each try,
which `verify_password` takes in a thread. An API key is drawn by us, 256 bits of it; nobody guesses that, so SHA-256
is enough, and it can be looked up at once by its digest alone.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

VERIFY_PASSWORD = "proxycore.verify_password"
"""The name under which every binding runs `verify_password`."""

_ARGON2 = re.compile(r"\$argon2(?:id|i|d)\$v=[0-9]+\$[a-z0-9=,]+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_BCRYPT = re.compile(r"\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}")
_API_KEY = re.compile(r"\$sha256\$([0-9a-f]{64})")
_BCRYPT_LONGEST = 72

MISSING = 'passwords need the packages argon2-cffi and bcrypt: pip install "proxycore[auth]"'


def parse_users(text: str) -> Mapping[str, str]:
    """The hashes of a file of users, by name. Raises `ValueError` that names the line."""

    def check(value: str) -> str:
        if _ARGON2.fullmatch(value):
            _import_argon2()
        elif _BCRYPT.fullmatch(value):
            _import_bcrypt()
        else:
            raise ValueError("this is no hash of argon2 or bcrypt; `proxycore hash-password` makes one")
        return value

    return dict(_entries(text, check))


def parse_api_keys(text: str) -> Mapping[bytes, str]:
    """The names of a file of API keys, by the digest of the key. Raises `ValueError` that names the line."""

    def check(value: str) -> bytes:
        found = _API_KEY.fullmatch(value)
        if found is None:
            raise ValueError("this is no hash of an API key; `proxycore hash-password --api-key` makes one")
        return bytes.fromhex(found[1])

    return {digest: name for name, digest in _entries(text, check)}


def _entries(text: str, check: Callable[[str], Any]) -> list[tuple[str, Any]]:
    entries: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        try:
            if not colon or not name:
                raise ValueError("a line is name:hash")
            if name in entries:
                raise ValueError(f'"{name}" stands here twice')
            entries[name] = check(value)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return list(entries.items())


def api_key_digest(key: bytes) -> bytes:
    """What a key is looked up by."""
    return sha256(key).digest()


def api_key_hash(key: bytes) -> str:
    """A key as it stands in a file."""
    return f"$sha256${api_key_digest(key).hex()}"


def verify_password(password: bytes, stored: str) -> bool:
    """Whether a password is the one of a stored hash.

    It takes as long as the hash was made to take: call it in a thread.
    """
    if stored.startswith("$argon2"):
        argon2 = _import_argon2()
        try:
            return bool(argon2.PasswordHasher().verify(stored, password))
        except argon2.exceptions.Argon2Error:
            return False
    try:
        # Longer passwords were cut by every bcrypt that ever made a hash, and the package refuses to do it silently.
        return bool(_import_bcrypt().checkpw(password[:_BCRYPT_LONGEST], stored.encode()))
    except ValueError:
        return False


def parse_basic(value: bytes) -> tuple[str, bytes] | None:
    """User and password of an Authorization (RFC 7617); None for what is no such thing."""
    scheme, _, encoded = value.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = b64decode(encoded.strip(b" "), validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except ValueError:
        return None


def _import_argon2() -> Any:
    try:
        import argon2
    except ImportError:
        raise ValueError(MISSING) from None
    return argon2


def _import_bcrypt() -> Any:
    try:
        import bcrypt
    except ImportError:
        raise ValueError(MISSING) from None
    return bcrypt

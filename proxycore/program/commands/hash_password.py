"""`proxycore hash-password`: a password as a file of users holds it, or a new API key with its hash."""

from __future__ import annotations

import argparse
import getpass
import secrets
import sys
from typing import Any

from proxycore.policies.auth.passwords import MISSING, api_key_hash
from proxycore.program import exits
from proxycore.program.exits import Misused, NotStarted

EXAMPLES = """\
examples:
  proxycore hash-password --name alice >> secrets/users
  pass show staff/alice | proxycore hash-password --name alice >> secrets/users
  proxycore hash-password --api-key --name partner >> secrets/keys
"""


def add_parser(commands: Any) -> None:
    """Describe the command to argparse."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "hash-password",
        help="hash a password or make an API key, for the files that the gate reads",
        description="Read a password, from the terminal or as one line of standard input, and print its hash. With "
        "--api-key, draw a new key, print it to standard error, once, and its hash to standard output.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", metavar="NAME", help="print a whole line, NAME:HASH")
    parser.add_argument("--bcrypt", action="store_true", help="use bcrypt, as htpasswd does, instead of argon2")
    parser.add_argument("--api-key", action="store_true", help="make an API key")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it, and return the exit code."""
    if arguments.name is not None and (":" in arguments.name or not arguments.name.strip()):
        raise Misused("a name is not empty and holds no colon")
    if arguments.api_key:
        key = secrets.token_urlsafe(32)
        print(f"the key, which is not shown again: {key}", file=sys.stderr)
        hashed = api_key_hash(key.encode())
    else:
        hashed = hash_password(_read_password(), bcrypt=arguments.bcrypt)
    print(hashed if arguments.name is None else f"{arguments.name}:{hashed}")
    return exits.OK


def hash_password(password: str, *, bcrypt: bool = False) -> str:
    """A new hash of a password, with a salt of its own."""
    try:
        if bcrypt:
            import bcrypt as library

            if len(password.encode()) > 72:
                raise NotStarted("bcrypt sees 72 bytes of a password and no more; use argon2")
            return library.hashpw(password.encode(), library.gensalt(12)).decode()
        import argon2
    except ImportError:
        raise NotStarted(MISSING) from None
    # OWASP's choice for argon2id: as hard to guess as more memory, and a burst of logins takes less of it.
    return argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1).hash(password)


def _read_password() -> str:
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise NotStarted("they differ")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise NotStarted("the password is empty")
    return password

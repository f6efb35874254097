"""`proxycore cert`: a certificate to develop with, and an authority of its own that signed it."""

from __future__ import annotations

import argparse
import os
from typing import Any

from proxycore.program import exits
from proxycore.program.exits import NotStarted

EXAMPLES = """\
examples:
  proxycore cert
  proxycore cert --host localhost --host '*.dev.example' --host 127.0.0.1 --out tls
  curl --cacert tls/ca.pem https://localhost:8443/
"""

HOSTS = ("localhost", "127.0.0.1", "::1")

AUTHORITY, CERTIFICATE, KEY = "ca.pem", "dev.crt", "dev.key"


def add_parser(commands: Any) -> None:
    """Describe the command to argparse."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "cert",
        help="make a certificate to develop with",
        description=f"Make an authority ({AUTHORITY}) and a certificate ({CERTIFICATE}, {KEY}) that it signed. The "
        "authority's own key is thrown away: nobody can sign anything else that your clients would then trust.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--host", metavar="HOST", action="append", help=f"a name or address it is for ({', '.join(HOSTS)})"
    )
    parser.add_argument("--out", metavar="DIR", default="tls", help="the folder for the three files (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it, and return the exit code."""
    hosts = arguments.host or list(HOSTS)
    try:
        paths = make(hosts, arguments.out)
    except (OSError, ValueError) as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise NotStarted(f"no certificate was made: {reason}") from None
    print(f"made {', '.join(paths)} for {', '.join(hosts)}\n\nin a listener:\n")
    print("[listeners.tls]")
    print(f'certificates = {{ certificate = "{paths[1]}", key = "{paths[2]}" }}\n')
    print(f"then: curl --cacert {paths[0]} https://{hosts[0]}:PORT/ (PORT: that of the listener)")
    return exits.OK


def make(hosts: list[str], folder: str) -> tuple[str, str, str]:
    """Write the authority, the certificate and its key; their paths. Raises NotStarted, OSError or ValueError.

    A file that is there already is never written over.
    """
    try:
        import trustme
    except ImportError:
        raise NotStarted("making certificates needs trustme: pip install 'proxycore[tls-dev]'") from None
    os.makedirs(folder, exist_ok=True)
    authority, certificate, key = paths = [os.path.join(folder, name) for name in (AUTHORITY, CERTIFICATE, KEY)]
    for path in paths:
        if os.path.lexists(path):
            raise NotStarted(f"{path} is there already, and is kept: remove it, or give another folder with --out DIR")
    made = trustme.CA(organization_name="proxycore development")
    leaf = made.issue_cert(*hosts, common_name=hosts[0].removeprefix("*."))
    _write(key, leaf.private_key_pem.bytes(), 0o600)
    _write(certificate, b"".join(pem.bytes() for pem in leaf.cert_chain_pems), 0o644)
    _write(authority, made.cert_pem.bytes(), 0o644)
    return authority, certificate, key


def _write(path: str, content: bytes, mode: int) -> None:
    """Write a new file that has had its mode from the first."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)

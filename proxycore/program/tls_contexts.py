"""The SSLContexts that a configuration asks for, made of the contents of its files.

Keys and certificates come as bytes, perhaps from another process that could read them; OpenSSL takes a path.
So they go through a file without a name, in memory where that exists: no key ever lies on the disk for us.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from proxycore.config import Certificate, Config, Listener, ListenerTls, UpstreamTls
from proxycore.config.listeners import dashboard_listener
from proxycore.mechanisms import tls
from proxycore.program.private_files import private_file

_log = logging.getLogger("proxycore")
_Parsed = TypeVar("_Parsed")

_OLDEST = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENTS = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

_PEM = " (-----BEGIN %s-----)"

TICKETS = 1
"""Session tickets for each handshake in TLS 1.3, as Go gives: each costs a twentieth of the handshake."""


class Contents(Protocol):
    """Reads the files of one configuration, and notes what is wrong with them."""

    def read(self, path: str, place: str, parse: Callable[[bytes], _Parsed]) -> _Parsed: ...
    def note(self, place: str, message: str) -> None: ...


def serving_contexts(config: Config, contents: Contents) -> dict[str, ssl.SSLContext]:
    """One context for each listener that speaks TLS, by its name: it shows the certificate that a client asks for."""
    return {
        listener.name: _serving(listener, listener.tls, contents, f"listeners[{index}].tls")
        for index, listener in enumerate(config.listeners)
        if listener.tls is not None
    }


def dashboard_context(config: Config, contents: Contents) -> ssl.SSLContext | None:
    """The context of `[admin]`, where it speaks TLS."""
    if config.admin is None or config.admin.tls is None:
        return None
    listener = dashboard_listener(config.admin)
    assert listener.tls is not None
    return _serving(listener, listener.tls, contents, "admin.tls")


def dialling_contexts(config: Config, contents: Contents) -> dict[str, ssl.SSLContext]:
    """One context for each upstream that has servers by https, by its name."""
    return {
        name: _dialling(upstream.tls, contents, f"upstreams.{name}.tls")
        for name, upstream in config.upstreams.items()
        if upstream.speaks_tls
    }


def _serving(listener: Listener, wanted: ListenerTls, contents: Contents, place: str) -> ssl.SSLContext:
    contexts: list[ssl.SSLContext] = []
    shown: list[tuple[ssl.SSLContext, tls.Certificate]] = []
    for index, pair in enumerate(wanted.certificates):
        context = _bare(ssl.PROTOCOL_TLS_SERVER, listener.protocols)
        context.minimum_version = _OLDEST[wanted.minimum_version]
        context.num_tickets = TICKETS
        context.options |= ssl.OP_NO_RENEGOTIATION
        at = f"{place}.certificates[{index}]"
        contexts.append(context)
        if _load_pair(context, pair, contents, at):
            certificate = _shown(context, pair, contents, at)
            if certificate is not None:
                shown.append((context, certificate))
    if wanted.ciphers is not None:
        _set_ciphers(contexts, wanted.ciphers, contents, f"{place}.ciphers")
    if wanted.client_ca is not None:
        # Only now: a client without a certificate has looked at ours.
        for context in contexts:
            context.verify_mode = _CLIENTS[wanted.client_authentication]
        _trust(contexts, wanted.client_ca, contents, f"{place}.client_ca")
    return tls.choose_by_name(shown) if shown else contexts[0]


def _dialling(wanted: UpstreamTls, contents: Contents, place: str) -> ssl.SSLContext:
    context = _bare(ssl.PROTOCOL_TLS_CLIENT, ("http/1.1",))
    if not wanted.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif wanted.ca is not None:
        _trust([context], wanted.ca, contents, f"{place}.ca")
    else:
        context.load_default_certs()
    if wanted.certificate is not None:
        _load_pair(context, wanted.certificate, contents, f"{place}.certificate")
    return context


def _bare(side: int, protocols: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.set_alpn_protocols(protocols)
    return context


def _set_ciphers(contexts: list[ssl.SSLContext], ciphers: str, contents: Contents, place: str) -> None:
    try:
        for context in contexts:
            context.set_ciphers(ciphers)
    except ssl.SSLError:
        contents.note(place, f'OpenSSL knows none of "{ciphers}": give a list of its names, as `openssl ciphers` does')


def _trust(contexts: list[ssl.SSLContext], path: str, contents: Contents, place: str) -> None:
    """Trust the authorities in a file, and no others."""
    authorities = contents.read(path, place, bytes)
    try:
        for context in contexts if authorities else ():
            context.load_verify_locations(cadata=authorities.decode("latin-1"))
    except ssl.SSLError:
        contents.note(place, f'"{path}" holds no certificates of authorities in PEM{_PEM % "CERTIFICATE"}')


# ---- certificates with their keys ------------------------------------------------------------------------------------


def _load_pair(context: ssl.SSLContext, pair: Certificate, contents: Contents, place: str) -> bool:
    """Load a certificate and its key. False: that can't be, and was noted."""
    chain = contents.read(pair.certificate, f"{place}.certificate", bytes)
    key = contents.read(pair.key, f"{place}.key", bytes)
    if not chain or not key or not _are_pem(pair, chain, key, contents, place):
        return False
    try:
        with private_file(chain) as chain_file, private_file(key) as key_file:
            context.load_cert_chain(f"/dev/fd/{chain_file.fileno()}", f"/dev/fd/{key_file.fileno()}", password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f'"{pair.key}" isn\'t the key of "{pair.certificate}": give the one that it was made with'
            contents.note(f"{place}.key", message)
        else:
            why = error.reason or str(error)
            contents.note(place, f'OpenSSL refuses "{pair.certificate}" or its key: {why.lower().replace("_", " ")}')
        return False
    return True


def _are_pem(pair: Certificate, chain: bytes, key: bytes, contents: Contents, place: str) -> bool:
    """Whether the files hold what they should: OpenSSL's own errors don't say which one doesn't."""
    message = ""
    if b"-----BEGIN CERTIFICATE-----" not in chain:
        place += ".certificate"
        message = f'"{pair.certificate}" holds no certificate in PEM{_PEM % "CERTIFICATE"}'
    elif b"PRIVATE KEY-----" not in key:
        place += ".key"
        message = f'"{pair.key}" holds no private key in PEM{_PEM % "PRIVATE KEY"}'
    elif b"ENCRYPTED" in key:
        # Nobody is there to type the passphrase when a process starts again by itself.
        place += ".key"
        message = f'"{pair.key}" is encrypted: take the passphrase off it (openssl pkey -in KEY -out PLAIN)'
    if message:
        contents.note(place, message)
    return not message


def _shown(context: ssl.SSLContext, pair: Certificate, contents: Contents, place: str) -> tls.Certificate | None:
    """What clients are shown. Warns where they will refuse it, and notes it where no client ever takes it."""
    try:
        shown = tls.certificate_of(context)
    except ValueError as error:
        contents.note(f"{place}.certificate", f'no client takes "{pair.certificate}": {error}')
        return None
    now = time.time()
    if not shown.begins <= now < shown.ends:
        day, verb = (shown.ends, "expired") if shown.ends <= now else (shown.begins, "isn't valid before")
        date = time.strftime("%Y-%m-%d", time.gmtime(day))
        _log.warning('%s: "%s" %s %s: clients will refuse it', place, pair.certificate, verb, date)
    return shown

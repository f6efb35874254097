"""`[[listeners]]`: where we listen, and what is spoken there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from proxycore.config import forms
from proxycore.config.addresses import Bind, parse_bind
from proxycore.config.kinds import Duration, IPAddress, ListOf, Network, NetworkOf, OneOf, Text
from proxycore.config.problems import Place
from proxycore.config.process import Admin, Certificate
from proxycore.config.sections import (
    DERIVED,
    Nested,
    OptionalWord,
    Seconds,
    Section,
    Setting,
    Word,
    Words,
    section,
    setting,
)

Protocol = Literal["http/1.1", "h2", "h2c"]
HalfClose = Literal["abort", "finish"]
TlsVersion = Literal["1.2", "1.3"]
ClientAuthentication = Literal["off", "optional", "required"]


@section
class ListenerTls(Section):
    """`[listeners.tls]`: TLS that ends here."""

    certificates: Setting[
        Certificate | Mapping[str, Any] | Sequence[Certificate | Mapping[str, Any]], tuple[Certificate, ...]
    ] = setting(
        ListOf(Nested(lambda: Certificate), least=1), "Certificates; the first is the default, the client's SNI picks."
    )
    minimum_version: Setting[TlsVersion, TlsVersion] = setting(
        OneOf[TlsVersion](get_args(TlsVersion)), "Oldest version of TLS that is spoken.", default="1.2"
    )
    ciphers: OptionalWord = setting(
        forms.TEXT, "OpenSSL's list of ciphers for TLS 1.2; else Python's default.", default=None
    )
    client_authentication: Setting[ClientAuthentication, ClientAuthentication] = setting(
        OneOf[ClientAuthentication](get_args(ClientAuthentication)),
        "Whether a client's certificate is asked for, or required.",
        default="off",
    )
    client_ca: OptionalWord = setting(forms.FILE, "Authorities, in PEM, that sign clients' certificates.", default=None)
    hsts: Seconds = setting(
        Duration(off=0.0), "Strict-Transport-Security on TLS responses, with this max-age.", default="off"
    )

    def check(self, place: Place) -> None:
        if self.client_authentication != "off" and self.client_ca is None:
            place.at("client_ca").problem(
                f'this key is needed with client_authentication = "{self.client_authentication}"'
            )


@section
class Listener(Section):
    """One of `[[listeners]]`: an address or several, and what is spoken there."""

    name: Word = setting(forms.NAME, "Its name in routes, logs and metrics; else its first address.", default=DERIVED)
    bind: Words = setting(
        ListOf(forms.BIND, least=1),
        'One address or several: "0.0.0.0:80", "[::]:80", "unix:/run/proxycore.sock", "fd:3" (socket activation).',
    )
    mode: OptionalWord = setting(
        Text("file mode", forms.check_mode), 'Permissions of its Unix sockets, in octal: "0660".', default=None
    )
    protocols: Setting[Protocol | Sequence[Protocol], tuple[Protocol, ...]] = setting(
        ListOf(OneOf[Protocol](get_args(Protocol)), least=1),
        'What is spoken: "http/1.1", "h2" (over TLS), "h2c" (without, by prior knowledge only); else http/1.1, and h2 '
        "where there is TLS.",
        default=DERIVED,
    )
    trusted_proxies: Setting[Network | IPAddress | str | Sequence[Network | IPAddress | str], tuple[Network, ...]] = (
        setting(
            ListOf(NetworkOf()),
            "Whose X-Forwarded-* and Forwarded are believed; from others they are replaced.",
            default=(),
        )
    )
    half_close: Setting[HalfClose, HalfClose] = setting(
        OneOf[HalfClose](get_args(HalfClose)),
        "A client that shut its writing side has left (`abort`), or waits for its answer (`finish`).",
        default="abort",
    )
    tls: Setting[ListenerTls | Mapping[str, Any] | None, ListenerTls | None] = setting(
        Nested(lambda: ListenerTls), "Serve TLS here.", default=None
    )

    @property
    def binds(self) -> tuple[Bind, ...]:
        """`bind`, parsed."""
        return tuple(map(parse_bind, self.bind))

    def complete(self) -> dict[str, object]:
        derived: dict[str, object] = {}
        if not self.name:
            derived["name"] = self.bind[0]
        if not self.protocols:
            derived["protocols"] = ("http/1.1",) if self.tls is None else ("h2", "http/1.1")
        return derived

    def check(self, place: Place) -> None:
        if "h2" in self.protocols and self.tls is None:
            place.at("protocols").problem("h2 is spoken over TLS only", "h2c")
        if "h2c" in self.protocols and self.tls is not None:
            place.at("protocols").problem("h2c is spoken without TLS only", "h2")
        if self.mode is not None and not any(bind.kind == "unix" for bind in self.binds):
            place.at("mode").problem("only a Unix socket has a mode")
        for index, protocol in enumerate(self.protocols):
            if protocol in self.protocols[:index]:
                place.at("protocols", index).problem(f'"{protocol}" stands here twice')


def dashboard_listener(admin: Admin) -> Listener:
    """Where `[admin]` listens."""
    tls = None if admin.tls is None else ListenerTls(certificates=[admin.tls])
    return Listener(name="admin", bind=admin.bind, mode=admin.mode, tls=tls)

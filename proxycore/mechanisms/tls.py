"""One TLS connection over memory (RFC 8446, RFC 5246): ciphertext in, plaintext out, ciphertext to send.

Theory of operation. OpenSSL does the cryptography. Between it and us are two `ssl.MemoryBIO`: what the
peer sent and OpenSSL hasn't used, and what it wants sent. `receive` fills the first and reads until a
record is missing its end, so no more than that part of one record ever waits there. Whatever makes
OpenSSL write (a step of the handshake, a key update, an alert, our own data) shows in the second, and
is taken with `take`, or by `encrypt` and `close` together with what they add.

A peer's misdeed is never an exception: it is `failure`, after which nothing more is read or written but the
alert that tells the peer (still to be taken). `has_ended` is the peer's close_notify. It alone ends a stream:
who meets the connection's end without it has a stream that somebody cut (RFC 8446 section 6.1), and must not
take what came for the whole.

`certificate_of` and `choose_by_name` are for whoever makes contexts: the certificate that one shows, and one
context that answers for several by the name that the client asks for.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

RECORD = 16 * 1024
"""Plaintext of the largest record (RFC 8446 section 5.1): what OpenSSL gives with one read."""

_ANY_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, which Python has no name for."""

# RFC 4514 section 3: the short names that every reader of a distinguished name knows.
_SHORT_NAMES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_ESCAPED = {ord(letter): f"\\{letter}" for letter in '"+,;<>\\'} | {number: f"\\{number:02X}" for number in range(32)}

TlsError = Literal["tls_protocol_error", "tls_certificate_error", "tls_alert_received"]
"""What went wrong, as a Proxy-Status error type (RFC 9209 section 2.3)."""


class TlsFailure:
    """Why a TLS connection can't go on: a value, never raised. `reason` is OpenSSL's, for a log."""

    __slots__ = ("error", "reason")

    def __init__(self, error: TlsError, reason: str) -> None:
        self.error: TlsError = error
        self.reason = reason

    @classmethod
    def of(cls, error: ssl.SSLError) -> TlsFailure:
        if isinstance(error, ssl.SSLCertVerificationError):
            return cls("tls_certificate_error", error.verify_message)
        reason = error.reason or "UNKNOWN"
        words = reason.lower().replace("_", " ")
        if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            return cls("tls_certificate_error", words)
        return cls("tls_alert_received" if "_ALERT_" in reason else "tls_protocol_error", words)

    def __str__(self) -> str:
        return f"{self.error}: {self.reason}"

    def __repr__(self) -> str:
        return f"TlsFailure({self.error}, {self.reason!r})"


class TlsSession:
    """One side of a TLS connection. See the module's docstring.

    A client gives the `server_name` that it asks for and, if the context checks names, holds the certificate to;
    `resume` may be a `ticket` of an earlier session under the same context. A client calls `start` first.

    `is_established`: the handshake is done; from then on `protocol` and `subject` are known, and `encrypt`
    may be called. `has_ended`: the peer said that nothing more will come. `failure`: why it can't go on.
    """

    __slots__ = ("_has_closed", "_incoming", "_object", "_outgoing", "failure", "has_ended", "is_established")

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_name: str | None = None,
        resume: ssl.SSLSession | None = None,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name, session=resume
        )
        self._has_closed = False
        self.is_established = self.has_ended = False
        self.failure: TlsFailure | None = None

    # ---- what has come

    def start(self) -> None:
        """Have a client's first message to `take`."""
        self._shake_hands()

    def receive(self, data: bytes) -> bytes:
        """Take ciphertext; gives the plaintext that is complete now, b"" if none is.

        Look at `has_output` and `is_over` afterwards: `has_ended` and `failure` come behind the plaintext
        that is returned.
        """
        if self.failure is not None or self.has_ended:
            return b""
        self._incoming.write(data)
        if not self.is_established and not self._shake_hands():
            return b""
        return self._read()

    def _shake_hands(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            self.failure = TlsFailure.of(error)
            return False
        self.is_established = True
        return True

    def _read(self) -> bytes:
        incoming, read = self._incoming, self._object.read
        pieces: list[bytes] = []
        try:
            while incoming.pending:
                piece = read(RECORD)
                if not piece:
                    self.has_ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        except ssl.SSLError as error:
            self.failure = TlsFailure.of(error)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def is_settled(self) -> bool:
        """Whether the handshake is done for both: only tickets (RFC 8446 section 4.6.1) may still be there to `take`.

        Never in TLS 1.2, where a client may send its data ahead of our Finished (RFC 7918).
        """
        return self.is_established and self.failure is None and self._object.version() == "TLSv1.3"

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come: `has_ended`, or a `failure`."""
        return self.has_ended or self.failure is not None

    # ---- what goes out

    @property
    def has_output(self) -> bool:
        """Whether there is something to `take`."""
        return self._outgoing.pending > 0

    def take(self) -> bytes:
        """Ciphertext that is to be sent."""
        return self._outgoing.read()

    def encrypt(self, pieces: Iterable[bytes]) -> bytes:
        """Ciphertext that is to be sent, with these pieces of plaintext in its end: each in records of its own."""
        if self.failure is not None or self._has_closed:
            return self._outgoing.read()
        write = self._object.write
        try:
            for piece in pieces:
                if piece:
                    write(piece)
        except ssl.SSLError as error:
            self.failure = TlsFailure.of(error)
        return self._outgoing.read()

    def close(self) -> bytes:
        """Ciphertext that is to be sent, and behind it close_notify: nothing of ours follows. We may go on reading."""
        if self.is_established and self.failure is None and not self._has_closed:
            self._has_closed = True
            try:
                self._object.unwrap()
            except ssl.SSLError:
                pass  # the peer's own close_notify isn't here: it may still send, and we may still read
        return self._outgoing.read()

    # ---- what was agreed on

    @property
    def protocol(self) -> str | None:
        """What is spoken inside (ALPN, RFC 7301); None where the peer didn't say."""
        return self._object.selected_alpn_protocol()

    @property
    def subject(self) -> str:
        """The subject of the peer's certificate, which was verified (RFC 4514); empty if there is none."""
        certificate = self._object.getpeercert()
        return _distinguished(certificate.get("subject", ())) if certificate else ""

    @property
    def ticket(self) -> ssl.SSLSession | None:
        """What a client can resume with. In TLS 1.3 it comes after the handshake, with the first data or before."""
        session = self._object.session
        return session if session is not None and session.has_ticket else None

    def __repr__(self) -> str:
        state = "established" if self.is_established else "shaking hands"
        return f"TlsSession({state}, has_ended={self.has_ended}, failure={self.failure!r})"


def _distinguished(subject: Any) -> str:
    """A distinguished name as text (RFC 4514), the most specific part first."""
    return ",".join(
        "+".join(f"{_SHORT_NAMES.get(name, name)}={_escaped(value)}" for name, value in part)
        for part in reversed(subject)
    )


def _escaped(value: str) -> str:
    text = value.translate(_ESCAPED)
    if text.startswith(("#", " ")):
        text = f"\\{text}"
    return f"{text[:-1]}\\ " if value.endswith(" ") and len(value) > 1 else text


# ---- contexts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server's context shows to its clients.

    `names` are the hosts that it is for, in lower case, `*.example.com` for every host one label below;
    `begins` and `ends` bound its validity, in seconds since the epoch.
    """

    names: tuple[str, ...]
    begins: float
    ends: float


def certificate_of(context: ssl.SSLContext) -> Certificate:
    """The certificate that clients of `context` are shown, expired or not. Raises ValueError where none would take it.

    Python shows no certificate but a peer's. So a client in memory meets the context, and then another
    that trusts what the first was shown.
    """
    looking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    looking.check_hostname = False
    looking.verify_mode = ssl.CERT_NONE
    encoded = _shown(context, looking).getpeercert(binary_form=True)
    assert encoded is not None
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.load_verify_locations(cadata=encoded)
    trusting.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _ANY_TIME)
    fields: Any = _shown(context, trusting).getpeercert()
    return Certificate(
        tuple(value.lower() for kind, value in fields.get("subjectAltName", ()) if kind == "DNS"),
        float(ssl.cert_time_to_seconds(fields["notBefore"])),
        float(ssl.cert_time_to_seconds(fields["notAfter"])),
    )


def _shown(context: ssl.SSLContext, by: ssl.SSLContext) -> ssl.SSLObject:
    """A client under the context `by` that has met `context`."""
    server = TlsSession(context, server_side=True)
    client = TlsSession(by, server_side=False)
    client.start()
    message = client.take()
    while message and not client.is_established:
        server.receive(message)
        client.receive(server.take())
        message = client.take()
    failure = client.failure or server.failure
    if not client.is_established:
        raise ValueError(failure.reason if failure is not None else "the handshake doesn't end")
    return client._object


def choose_by_name(contexts: Sequence[tuple[ssl.SSLContext, Certificate]]) -> ssl.SSLContext:
    """One context that answers for all: the first, unless a client asks for a name of another one (SNI, RFC 6066).

    An exact name stands above a wildcard, and the earlier above the later. Give the result to the sessions of
    servers; all of the contexts must agree on everything but the certificate.
    """
    first = contexts[0][0]
    by_name: dict[str, ssl.SSLContext | None] = {}
    for context, certificate in contexts:
        for name in certificate.names:
            # None is the first: a context that held itself would live until a collection.
            by_name.setdefault(name, None if context is first else context)

    def choose(session: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None:
            name = name.lower()
            wildcard = f"*.{name.partition('.')[2]}"
            chosen = by_name[name] if name in by_name else by_name.get(wildcard)
            if chosen is not None:
                session.context = chosen

    if len(contexts) > 1:
        first.sni_callback = choose
    return first

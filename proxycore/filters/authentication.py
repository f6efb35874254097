"""`basic_auth`, `jwt`, `api_key` and `client_certificate`: who the client is, or a refusal.

Each sets `exchange.user`, has the server told by `IdentityFilter`, and says in the trace why it refused. A route
with several lets in who passes all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from proxycore.composition.filters import Ask, Filter, Reject, Signal, Verdict, Wait
from proxycore.config import ApiKeys, BasicAuth, ClientCertificate, Jwt
from proxycore.filters.identity import IdentityFilter
from proxycore.policies.auth.memory import Remembered
from proxycore.policies.auth.passwords import VERIFY_PASSWORD, api_key_digest, parse_basic
from proxycore.policies.auth.tokens import Token, TokenPolicy, TokenRefused
from proxycore.policies.conditions import parameter_values
from proxycore.words.errors import Outcome
from proxycore.words.messages import Field, Headers

if TYPE_CHECKING:
    from proxycore.composition.exchange import Exchange

HASHES_AT_ONCE = 16
"""Passwords that are hashed at once for one of `[basic_auth]`: each takes a thread and 20 MiB. Others get a 503."""

_WAIT_MAX = 60.0
"""Seconds that an exchange waits for another's verdict where `timeouts.call` is off."""


class _Authenticator(Filter):
    """What the ways to prove an identity share."""

    def __init__(self, kind: str, name: str, identity: IdentityFilter, user_header: str | None) -> None:
        self._rule = f"{kind}.{name}" if name else kind
        self._kind = kind
        self._identity = identity
        self._user_header = None if user_header is None else user_header.encode()

    def _admit(self, exchange: Exchange, user: str, fields: Sequence[Field] = ()) -> None:
        exchange.user = user
        if self._user_header is not None:
            fields = [*fields, (self._user_header, user.encode())]
        if fields:
            self._identity.tell(exchange, list(fields))
        if exchange.trace is not None:
            exchange.trace.add(self._kind, "let in", user)

    def _refuse(self, exchange: Exchange, why: str, reject: Reject) -> Reject:
        if exchange.trace is not None:
            exchange.trace.add(self._kind, "refused", "", why)
        return reject

    def _challenge(self, challenge: str, status: int = 401) -> Reject:
        reason = "Say who you are." if status == 401 else "You may not do that."
        fields: list[Field] = [(b"www-authenticate", challenge.encode())]
        return Reject(status, reason, rule=self._rule, headers=Headers(fields))


class BasicAuthFilter(_Authenticator):
    """Users with passwords (RFC 7617).

    A password is hashed by a function that the binding runs in a thread. An unknown user's is hashed too, against
    the hash of somebody, so that the time tells nothing. Who is let in is remembered for a while; requests that
    come with the same password meanwhile wait for the one verdict. `remembered` and `hashing` (what is being hashed
    now, by its proof) are those of all routes with this `[basic_auth]`.
    """

    def __init__(
        self,
        basic: BasicAuth,
        users: Mapping[str, str],
        remembered: Remembered[str],
        hashing: dict[bytes, Signal],
        identity: IdentityFilter,
    ) -> None:
        super().__init__("basic_auth", basic.name, identity, basic.user_header)
        self._users = users
        self._decoys = list(users.values())
        self._remember = basic.remember
        self._remembered = remembered
        self._hashing = hashing
        realm = basic.realm.replace("\\", "\\\\").replace('"', '\\"')
        self._unproved = self._challenge(f'Basic realm="{realm}", charset="UTF-8"')
        self._busy = Reject(
            503,
            "Too many log in at the moment. Try again.",
            rule=f"{self._rule}.busy",
            headers=Headers([(b"retry-after", b"1")]),
        )

    def on_route(self, exchange: Exchange) -> Verdict | None:
        given = exchange.request.headers.get_all(b"authorization")
        credentials = parse_basic(given[0]) if len(given) == 1 else None
        if credentials is None:
            return self._refuse(exchange, "no user and password were given", self._unproved)
        user, password = credentials
        stored = self._users.get(user)
        name = user.encode()
        proof = self._remembered.digest(name, password, b"" if stored is None else stored.encode())
        if stored is not None and self._remembered.get(proof, exchange.now) is not None:
            self._admit(exchange, user)
            return None
        under_way = self._hashing.get(proof)
        if under_way is not None:
            return Wait(under_way, min(exchange.timeouts.call, _WAIT_MAX), partial(self._told, user, proof))
        if not self._decoys:
            return self._refuse(exchange, "there are no users", self._unproved)
        if len(self._hashing) >= HASHES_AT_ONCE:
            return self._refuse(exchange, "too many passwords are being hashed", self._busy)
        if stored is None:
            # Always the same one for a name, as a user's own hash is.
            decoy = int.from_bytes(self._remembered.digest(name)[:4]) % len(self._decoys)
        self._hashing[proof] = Signal()
        exchange.local(self)["proof"] = proof
        arguments = {"password": password, "stored": self._decoys[decoy] if stored is None else stored}
        return Ask(VERIFY_PASSWORD, arguments, partial(self._hashed, None if stored is None else user, proof))

    def _hashed(self, user: str | None, proof: bytes, exchange: Exchange, verified: Any) -> Verdict | None:
        """The hash is there; `user` is None for one that isn't known."""
        if verified is not True or user is None:
            self._over(exchange, proof, fired=True)
            why = "the password is wrong" if user is not None else "the user is not known"
            return self._refuse(exchange, why, self._unproved)
        # Those who wait for this verdict read it here, however short the memory is.
        self._remembered.put(proof, user, exchange.now + max(self._remember, 1e-3))
        self._over(exchange, proof, fired=True)
        self._admit(exchange, user)
        return None

    def _told(self, user: str, proof: bytes, exchange: Exchange, fired: bool) -> Verdict | None:
        """Another exchange has asked for the same password."""
        if not fired:
            # Whoever asked has left: it is our turn to ask. Or nobody has, and it took too long.
            return self.on_route(exchange) if proof not in self._hashing else self._busy
        if self._remembered.get(proof, exchange.now) is None:
            return self._refuse(exchange, "the password is wrong", self._unproved)
        self._admit(exchange, user)
        return None

    def _over(self, exchange: Exchange, proof: bytes, *, fired: bool) -> None:
        exchange.local(self).pop("proof", None)
        signal = self._hashing.pop(proof)
        if fired:
            signal.fire()
        else:
            signal.abandon()

    def on_finished(self, exchange: Exchange, outcome: Outcome) -> None:
        proof = exchange.local(self).get("proof")
        if proof is not None:
            self._over(exchange, proof, fired=False)


class ApiKeyFilter(_Authenticator):
    """Keys in a header or in the query."""

    def __init__(self, keys: ApiKeys, names: Mapping[bytes, str], identity: IdentityFilter) -> None:
        super().__init__("api_keys", keys.name, identity, keys.user_header)
        self._names = names
        self._header = None if keys.header is None else keys.header.encode()
        self._query = (keys.query or "").encode()
        self._unproved = self._challenge(f'ApiKey realm="{keys.name}"')

    def on_route(self, exchange: Exchange) -> Verdict | None:
        request = exchange.request
        if self._header is not None:
            given = request.headers.get_all(self._header)
        else:
            given = parameter_values(request.target.partition(b"?")[2], self._query)
        if len(given) != 1:
            why = "several keys were given" if given else "no key was given"
            return self._refuse(exchange, why, self._unproved)
        name = self._names.get(api_key_digest(given[0]))
        if name is None:
            return self._refuse(exchange, "the key is not known", self._unproved)
        self._admit(exchange, name)
        return None


class JwtFilter(_Authenticator):
    """Bearer tokens."""

    def __init__(self, jwt: Jwt, policy: TokenPolicy, remembered: Remembered[Token], identity: IdentityFilter) -> None:
        super().__init__("jwt", jwt.name, identity, None)
        self._policy = policy
        self._remembered = remembered
        self._realm = f'Bearer realm="{jwt.name}"'
        self._scope = " ".join(jwt.scopes)
        self._unproved = self._challenge(self._realm)

    def on_route(self, exchange: Exchange) -> Verdict | None:
        given = exchange.request.headers.get_all(b"authorization")
        if len(given) != 1 or given[0][:7].lower() != b"bearer ":
            return self._refuse(exchange, "no bearer token was given", self._unproved)
        token = given[0][7:].strip(b" ")
        wall = exchange.began_at
        digest = self._remembered.digest(token)
        found = self._remembered.get(digest, wall)
        if found is None:
            try:
                found = self._policy.read(token, wall)
            except TokenRefused as refused:
                return self._refuse(exchange, refused.reason, self._refusal(refused))
            self._remembered.put(digest, found, found.not_after)
        elif wall < found.not_before:
            return self._refuse(exchange, "it isn't valid yet", self._unproved)
        self._admit(exchange, found.user, found.fields)
        return None

    def _refusal(self, refused: TokenRefused) -> Reject:
        challenge = f'{self._realm}, error="{refused.error}"'
        if refused.error == "insufficient_scope":
            return self._challenge(f'{challenge}, scope="{self._scope}"', 403)
        return self._challenge(challenge)


class ClientCertificateFilter(_Authenticator):
    """Clients that proved by TLS who they are: the listener has verified their certificate."""

    def __init__(self, certificate: ClientCertificate, identity: IdentityFilter) -> None:
        super().__init__("client_certificate", "", identity, certificate.user_header)
        self._subjects = frozenset(certificate.subjects)
        self._unproved = Reject(403, "A client certificate is needed.", rule=self._rule)

    def on_route(self, exchange: Exchange) -> Verdict | None:
        subject = exchange.tls_subject
        if not subject:
            return self._refuse(exchange, "there is no verified certificate", self._unproved)
        if self._subjects and subject not in self._subjects:
            return self._refuse(exchange, f"{subject} is not among the subjects", self._unproved)
        self._admit(exchange, subject)
        return None

"""JSON Web Tokens as bearer tokens (RFC 7519, RFC 6750, and what RFC 8725 learnt from their holes).

PyJWT checks signatures, and nothing else is left to it: which key and which algorithm may be used is decided here from
the configuration and the key set, never from the token, and claims are judged by the core's own clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from proxycore.config import Jwt
from proxycore.policies.rewriting import fit_for_field
from proxycore.words.messages import Field

_LONGEST = 16_384
"""Bytes of a token: more is no honest one, and decoding takes time."""

_KEYS_TRIED = 8
"""Keys that a token without a key id is tried with: each costs 50 to 100 us."""

_OF_CURVE = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("EdDSA",), "Ed448": ("EdDSA",)}
_OF_TYPE = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "oct": ("HS256", "HS384", "HS512"),
}

MISSING = 'tokens need the package PyJWT: pip install "proxycore[auth]"'


class TokenRefused(Exception):
    """Why a token lets nobody in. `error` is the code of RFC 6750 section 3.1, `reason` a sentence for the log."""

    def __init__(self, reason: str, error: str = "invalid_token") -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error


class Token:
    """What a token that was verified says: who it is for, the fields that the server gets, and until when."""

    __slots__ = ("fields", "not_after", "not_before", "user")

    def __init__(self, user: str, fields: list[Field], not_before: float, not_after: float) -> None:
        self.user = user
        self.fields = fields
        self.not_before = not_before
        self.not_after = not_after


def parse_key_set(content: bytes) -> Sequence[Mapping[str, Any]]:
    """The keys of a JWK set (RFC 7517 section 5). Raises `ValueError`."""
    try:
        keys = json.loads(content)["keys"]
    except (ValueError, TypeError, KeyError):
        raise ValueError('this is no JWK set: {"keys": [...]}') from None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ValueError('"keys" of a JWK set is a list of keys')
    return keys


class TokenPolicy:
    """One of `[jwt]`, compiled. Raises `ValueError` where its keys can't be used."""

    __slots__ = ("_algorithms", "_jwt", "_keys", "_library", "_signatures")

    def __init__(self, jwt: Jwt, keys: Sequence[Mapping[str, Any]]) -> None:
        try:
            import jwt as library
        except ImportError:
            raise ValueError(MISSING) from None
        self._library = library
        self._signatures = library.PyJWS(algorithms=list(jwt.algorithms))
        self._jwt = jwt
        self._algorithms = frozenset(jwt.algorithms)
        self._keys = [
            (str(key["kid"]) if "kid" in key else None, algorithm, self._prepared(key, algorithm))
            for key in keys
            for algorithm in _algorithms_of(key)
            if algorithm in self._algorithms
        ]
        if not self._keys:
            raise ValueError(f"no key of the set is for {' or '.join(jwt.algorithms)}")

    def _prepared(self, key: Mapping[str, Any], algorithm: str) -> Any:
        try:
            return self._library.PyJWK(dict(key), algorithm=algorithm).key
        except (self._library.PyJWTError, ValueError, KeyError) as error:
            raise ValueError(f'key "{key.get("kid", "?")}" can\'t be used: {error}') from None

    def read(self, token: bytes, wall: float) -> Token:
        """What a token says, verified. `wall` is the time in seconds since 1970. Raises `TokenRefused`."""
        if len(token) > _LONGEST:
            raise TokenRefused("it is too long")
        return self._judged(self._verified(token), wall)

    def _verified(self, token: bytes) -> dict[str, Any]:
        """The claims, once some key fits the signature."""
        try:
            header = self._signatures.get_unverified_header(token)
        except (self._library.PyJWTError, ValueError):
            raise TokenRefused("it is no token") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise TokenRefused("its algorithm is not accepted")
        if "crit" in header:  # RFC 7515 section 4.1.11: we understand no extension
            raise TokenRefused("it demands an extension")
        keys = [key for name, of, key in self._keys if of == algorithm and (kid is None or name is None or name == kid)]
        for key in keys[:_KEYS_TRIED]:
            try:
                decoded = self._signatures.decode_complete(token, key, algorithms=[algorithm])
            except (self._library.PyJWTError, ValueError):
                continue
            return _claims(decoded["payload"])
        raise TokenRefused("no key fits its signature" if keys else "its key is not known")

    def _judged(self, claims: dict[str, Any], wall: float) -> Token:
        jwt = self._jwt
        for name in jwt.required_claims:
            if name not in claims:
                raise TokenRefused(f"it has no claim {name}")
        not_after = _time(claims, "exp", float("inf")) + jwt.leeway
        not_before = _time(claims, "nbf", 0.0) - jwt.leeway
        if wall >= not_after:
            raise TokenRefused("it has expired")
        if wall < not_before:
            raise TokenRefused("it isn't valid yet")
        if jwt.issuer is not None and claims.get("iss") != jwt.issuer:
            raise TokenRefused("it has another issuer")
        if jwt.audience and not set(_texts(claims.get("aud"))) & set(jwt.audience):
            raise TokenRefused("it is for another audience")
        scopes = {*_texts(claims.get("scope"), " "), *_texts(claims.get("scp"), " ")}
        if not scopes.issuperset(jwt.scopes):
            raise TokenRefused("it lacks a scope", "insufficient_scope")
        fields = [
            (header.encode(), value)
            for claim, header in jwt.claims_to_headers.items()
            if (value := _field_value(claims.get(claim)))
        ]
        return Token(_user(claims.get(jwt.user_claim)), fields, not_before, not_after)


def _algorithms_of(key: Mapping[str, Any]) -> Sequence[str]:
    """What a key may verify, by its own account (RFC 7517 section 4): its type, and where it says so its purpose."""
    if key.get("use", "sig") != "sig" or "verify" not in key.get("key_ops", ("verify",)):
        return ()
    possible = _OF_TYPE.get(key.get("kty", ""), ()) or _OF_CURVE.get(key.get("crv", ""), ())
    return [algorithm for algorithm in possible if key.get("alg", algorithm) == algorithm]


def _claims(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise TokenRefused("it has no claims")
    return claims


def _time(claims: Mapping[str, Any], name: str, absent: float) -> float:
    value = claims.get(name)
    if value is None:
        return absent
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > 1e15:
        raise TokenRefused(f"its {name} is no time")
    return float(value)


def _user(value: object) -> str:
    """Whom a token names; nobody where the claim is no text."""
    return _utf8(value).decode() if isinstance(value, str) else ""


def _utf8(text: str) -> bytes:
    """JSON can escape half a character (RFC 8259 section 8.2): no header, log or limit could hold that."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise TokenRefused("a claim of it is no Unicode text") from None


def _texts(value: object, separator: str | None = None) -> list[str]:
    """A claim that is a text or a list of texts; a text may hold several where there is a separator."""
    if isinstance(value, str):
        return value.split(separator) if separator else [value]
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _field_value(value: object) -> bytes:
    """A claim as a header's value: texts as they are, lists joined by commas, the rest as JSON."""
    if value is None:
        return b""
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        value = ",".join(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return fit_for_field(_utf8(text))

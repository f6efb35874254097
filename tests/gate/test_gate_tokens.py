"""Bearer tokens: what is let in, what isn't, and what is never believed of a token."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt as library
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxycore.config import Config, ConfigError, Listener, Route, Upstream
from proxycore.config.materials import Materials
from proxycore.policies.auth.tokens import parse_key_set
from proxycore.testing import Proxy
from proxycore.testing.proxy import WALL

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
STRANGER = ec.generate_private_key(ec.SECP256R1())
SECRET = b"a secret that is long enough for it"


def as_jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    algorithm = (
        library.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else library.algorithms.ECAlgorithm
    )
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


KEYS = [as_jwk(RSA, "r"), as_jwk(EC, "e")]
CLAIMS = {"sub": "alice", "iss": "https://id", "aud": "api", "exp": WALL + 60, "scope": "read write"}


def token(
    claims: dict[str, Any] | None = None, key: Any = EC, algorithm: str = "ES256", kid: str | None = "e", **header: Any
) -> str:
    headers = {**header, **({"kid": kid} if kid is not None else {})}
    return library.encode(CLAIMS if claims is None else claims, key, algorithm=algorithm, headers=headers)


def unsigned(header: dict[str, Any]) -> str:
    parts = (json.dumps(part).encode() for part in (header, CLAIMS))
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts).decode()


def proxy(keys: Any = KEYS, **jwt: Any) -> Proxy:
    settings = {"algorithms": ["ES256", "RS256"], "keys_file": "keys", "issuer": "https://id", "audience": ["api", "x"]}
    config = Config(
        listeners=[Listener(name="web", bind="127.0.0.1:8080")],
        upstreams={"api": Upstream(servers="http://127.0.0.1:3000")},
        jwt={"service": {**settings, **jwt}},
        routes=[Route(match={"path": "/open"}, upstream="api"), Route(upstream="api", jwt="service")],
    )
    return Proxy(config, materials=Materials(key_sets={"keys": keys}))


def bearing(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.mark.parametrize(
    "good",
    [
        token(),
        token(key=RSA, algorithm="RS256", kid="r"),
        token(kid=None),
        token({**CLAIMS, "aud": ["y", "x"]}),
        token({**CLAIMS, "exp": WALL - 29}),
        token({**CLAIMS, "nbf": WALL + 29}),
    ],
)
def test_a_good_token_lets_in(good: str) -> None:
    proxy().get("http://a/", headers=bearing(good)).goes_to("api")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (token({**CLAIMS, "exp": WALL - 31}), "it has expired"),
        (token({**CLAIMS, "nbf": WALL + 31}), "it isn't valid yet"),
        (token({key: value for key, value in CLAIMS.items() if key != "exp"}), "it has no claim exp"),
        (token({**CLAIMS, "iss": "https://other"}), "it has another issuer"),
        (token({**CLAIMS, "aud": "other"}), "it is for another audience"),
        (token({key: value for key, value in CLAIMS.items() if key != "aud"}), "it is for another audience"),
        (token(key=STRANGER), "no key fits its signature"),
        (token(kid="unknown"), "its key is not known"),
        (token(key=SECRET, algorithm="HS256"), "its algorithm is not accepted"),
        (token()[:-8] + "AAAAAAAA", "no key fits its signature"),
        ("x.y.z", "it is no token"),
        ("x" * 20_000, "it is too long"),
        (unsigned({"alg": "none"}) + ".", "its algorithm is not accepted"),
    ],
)
def test_a_bad_token_does_not_and_the_trace_says_why(bad: str, why: str) -> None:
    journey = proxy().get("http://a/", headers=bearing(bad))
    journey.is_refused(401, rule="jwt.service")
    journey.gets(www_authenticate='Bearer realm="service", error="invalid_token"')
    assert [step.reason for step in journey.trace.of("jwt")] == [why]
    assert why.encode() not in journey.body


def test_a_token_that_demands_an_extension_is_refused() -> None:
    proxy().get("http://a/", headers=bearing(token(crit=["exp"]))).is_refused(401)


@pytest.mark.parametrize("algorithm", [["ES256"], {"ES256": 1}, None, 256])
def test_an_algorithm_that_is_no_text_is_refused(algorithm: Any) -> None:
    bad = unsigned({"alg": algorithm}) + ".c2ln"
    proxy().get("http://a/", headers=bearing(bad)).is_refused(401, rule="jwt.service")


@pytest.mark.parametrize("time", ["soon", True, {}, 1e300])
def test_a_time_that_is_none_is_refused(time: Any) -> None:
    signed = library.PyJWS().encode(json.dumps({**CLAIMS, "exp": time}).encode(), EC, algorithm="ES256")
    proxy().get("http://a/", headers=bearing(signed)).is_refused(401)


def test_a_public_key_is_never_taken_for_a_shared_secret() -> None:
    """The oldest hole of all (RFC 8725 section 2.1): sign with HMAC, by the key that everyone knows."""
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signing = unsigned({"alg": "HS256", "kid": "r"}).encode()
    hmac = library.algorithms.HMACAlgorithm(library.algorithms.HMACAlgorithm.SHA256)
    forged = signing + b"." + base64.urlsafe_b64encode(hmac.sign(signing, pem)).rstrip(b"=")
    shared = {"kty": "oct", "kid": "s", "k": base64.urlsafe_b64encode(SECRET).decode()}
    guarded = proxy([*KEYS, shared], algorithms=["HS256", "RS256"])
    guarded.get("http://a/", headers=bearing(forged.decode())).is_refused(401)
    guarded.get("http://a/", headers=bearing(token(key=SECRET, algorithm="HS256", kid="s"))).goes_to("api")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic x"}, {"Authorization": ["Bearer x", "Bearer y"]}])
def test_no_token_is_challenged_without_an_error(headers: Any) -> None:
    proxy().get("http://a/", headers=headers).is_refused(401).gets(www_authenticate='Bearer realm="service"')


def test_a_missing_scope_is_forbidden() -> None:
    proxy(scopes=["read"]).get("http://a/", headers=bearing(token())).goes_to("api")
    journey = proxy(scopes=["read", "admin"]).get("http://a/", headers=bearing(token()))
    journey.is_refused(403)
    journey.gets(www_authenticate='Bearer realm="service", error="insufficient_scope", scope="read admin"')


def test_claims_become_headers_and_a_clients_own_are_removed() -> None:
    guarded = proxy(claims_to_headers={"sub": "X-User", "roles": "X-Roles", "level": "X-Level", "none": "X-None"})
    claims = {**CLAIMS, "roles": ["a", "b"], "level": 7}
    spoofed = {"X-User": "root", "X-None": "root"}
    journey = guarded.get("http://a/", headers={**bearing(token(claims)), **spoofed}).goes_to("api")
    journey.sends(x_user="alice", x_roles="a,b", x_level="7", x_none=None)
    guarded.get("http://a/open", headers=spoofed).goes_to("api").sends(x_user=None, x_none=None)


def test_a_claim_cannot_break_a_header() -> None:
    guarded = proxy(claims_to_headers={"sub": "X-User"})
    journey = guarded.get("http://a/", headers=bearing(token({**CLAIMS, "sub": "a\r\nX-Admin: 1"})))
    journey.goes_to("api").sends(x_user="a%0D%0AX-Admin: 1", x_admin=None)


def test_a_token_is_verified_once_and_remembered_until_it_expires() -> None:
    guarded = proxy()
    good = token({**CLAIMS, "exp": WALL + 60})
    guarded.get("http://a/", headers=bearing(good)).goes_to("api")
    without = Materials(key_sets={"keys": [as_jwk(STRANGER, "e")]})
    guarded.pass_time(80)
    guarded.get("http://a/", headers=bearing(good)).goes_to("api")
    guarded.core.reconfigured(guarded.core.config, without, guarded.now)
    guarded.get("http://a/", headers=bearing(good)).is_refused(401)
    guarded.core.reconfigured(guarded.core.config, Materials(key_sets={"keys": KEYS}), guarded.now)
    guarded.get("http://a/", headers=bearing(good)).goes_to("api")
    guarded.pass_time(10)
    guarded.get("http://a/", headers=bearing(good)).is_refused(401)


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [as_jwk(EC, "e", use="enc")],
        [as_jwk(EC, "e", alg="ES384")],
        [as_jwk(EC, "e", key_ops=["sign"])],
        [{"kty": "oct", "k": "AAAA"}],
        [{"kty": "EC", "crv": "P-256"}],
    ],
)
def test_a_set_without_a_fitting_key_is_an_error(keys: Any) -> None:
    with pytest.raises(ConfigError, match=r"jwt\.service: "):
        proxy(keys)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [1]}', b"\xff"])
def test_what_is_no_key_set_is_told(content: bytes) -> None:
    with pytest.raises(ValueError, match="JWK set"):
        parse_key_set(content)


@pytest.mark.parametrize("name", ["sub", "email"])
@pytest.mark.parametrize("value", ["\ud800", "a\udfffb"])
def test_half_a_character_in_a_claim_that_is_used_is_refused(name: str, value: str) -> None:
    policy = proxy(claims_to_headers={"email": "x-email"})
    policy.get("http://a/", headers=bearing(token({**CLAIMS, name: value}))).is_refused(401, rule="jwt.service")


def test_a_token_whose_head_is_nested_without_end_is_refused() -> None:
    nested = base64.urlsafe_b64encode(b"[" * 9_000).rstrip(b"=").decode()
    proxy().get("http://a/", headers=bearing(f"{nested}.e30.e30")).is_refused(401, rule="jwt.service")

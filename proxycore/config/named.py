"""What routes refer to by name: caches, rate limits and users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from proxycore.config import forms
from proxycore.config.kinds import Duration, Integer, ListOf, OneOf, RateOf, Size, TableOf
from proxycore.config.problems import Place
from proxycore.config.sections import (
    DERIVED,
    Bytes,
    Count,
    OptionalWord,
    Seconds,
    Section,
    Setting,
    Word,
    Words,
    section,
    setting,
)
from proxycore.config.tables import Table
from proxycore.config.units import Rate, format_size

Excess = Literal["refuse", "delay"]
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"
]


@section
class Cache(Section):
    """One of `[caches]`: a shared cache (RFC 9111) in memory."""

    name: Word = setting(forms.NAME, "Its key in `[caches]`.", default=DERIVED, from_table_key=True)
    size: Bytes = setting(Size(off=False), "Memory that it takes at most, overhead included.", default="256MiB")
    object_max: Bytes = setting(Size(off=False), "A larger response isn't stored.", default="8MiB")

    def check(self, place: Place) -> None:
        if self.object_max > self.size:
            size, most = format_size(self.size), format_size(self.object_max)
            place.at("object_max").problem(f"a response of {most} has no room in a cache of {size}; give a smaller one")


@section
class RateLimit(Section):
    """One of `[rate_limits]`: how often whoever shares a key may ask."""

    name: Word = setting(forms.NAME, "Its key in `[rate_limits]`.", default=DERIVED, from_table_key=True)
    key: Words = setting(
        ListOf(forms.VARIABLE, least=1),
        "Variables, without braces; encoded so that no two lists collide. Of an IPv6 client_ip, the /64 counts.",
        default=("client_ip",),
    )
    rate: Setting[str | Rate, Rate] = setting(RateOf(), "How many requests in which time.")
    burst: Count = setting(Integer(1), "How many may come at once; else the count of `rate`.", default=DERIVED)
    excess: Setting[Excess, Excess] = setting(
        OneOf[Excess](get_args(Excess)),
        "`refuse`: a burst passes at once. `delay`: it is held to the rate. More than the burst is refused either way.",
        default="refuse",
    )
    status: Count = setting(
        Integer(400, 599), "What is answered above it, with Retry-After and RateLimit fields.", default=429
    )
    capacity: Count = setting(
        Integer(16, 10_000_000), "Keys that are remembered one by one; the oldest make way.", default=100_000
    )

    def complete(self) -> dict[str, object]:
        return {} if self.burst else {"burst": self.rate.count}


@section
class ConcurrencyLimit(Section):
    """One of `[concurrency_limits]`: how many exchanges whoever shares a key may have going on."""

    name: Word = setting(forms.NAME, "Its key in `[concurrency_limits]`.", default=DERIVED, from_table_key=True)
    key: Words = setting(ListOf(forms.VARIABLE, least=1), "As in `[rate_limits]`.", default=("client_ip",))
    max_exchanges: Count = setting(Integer(1), "So many at once.")
    status: Count = setting(Integer(400, 599), "What is answered above it.", default=429)


@section
class BasicAuth(Section):
    """One of `[basic_auth]`: users with passwords."""

    name: Word = setting(forms.NAME, "Its key in `[basic_auth]`.", default=DERIVED, from_table_key=True)
    file: Word = setting(
        forms.FILE, "Lines of name:hash from `proxycore hash-password`; htpasswd's bcrypt is read too."
    )
    realm: Word = setting(forms.FIELD_VALUE, "What the browser shows; else the name.", default=DERIVED)
    remember: Seconds = setting(
        Duration(off=0.0), "How long a password that was right isn't hashed again.", default="5m"
    )
    user_header: OptionalWord = setting(
        forms.EDITED_FIELD_NAME,
        "The header by which servers are told the name; a client's own is removed.",
        default=None,
    )

    def complete(self) -> dict[str, object]:
        return {} if self.realm else {"realm": self.name}


@section
class Jwt(Section):
    """One of `[jwt]`: bearer tokens."""

    name: Word = setting(forms.NAME, "Its key in `[jwt]`.", default=DERIVED, from_table_key=True)
    algorithms: Setting[Algorithm | list[Algorithm] | tuple[Algorithm, ...], tuple[Algorithm, ...]] = setting(
        ListOf(OneOf[Algorithm](get_args(Algorithm)), least=1), "Algorithms that are accepted; no other is."
    )
    keys_file: Word = setting(forms.FILE, "A JWK set; read with the configuration, and again when it changes.")
    issuer: OptionalWord = setting(forms.TEXT, "What `iss` must be.", default=None)
    audience: Words = setting(ListOf(forms.TEXT), "What `aud` must hold: any of these.", default=())
    leeway: Seconds = setting(Duration(off=0.0), "How far clocks may differ.", default="30s")
    required_claims: Words = setting(ListOf(forms.TEXT), "Claims that must be there.", default=("exp",))
    scopes: Words = setting(
        ListOf(forms.FIELD_TOKEN), "Scopes that `scope` or `scp` must hold, all of them; else 403.", default=()
    )
    user_claim: Word = setting(forms.TEXT, "The claim that is the user's name: {user}.", default="sub")
    claims_to_headers: Setting[Mapping[str, str], Table[str, str]] = setting(
        TableOf(forms.TEXT, forms.EDITED_FIELD_NAME),
        "Claims that servers get as headers; a client's own are removed.",
        default=Table(),
    )


@section
class ApiKeys(Section):
    """One of `[api_keys]`: keys in a header or in the query."""

    name: Word = setting(forms.NAME, "Its key in `[api_keys]`.", default=DERIVED, from_table_key=True)
    file: Word = setting(forms.FILE, "Lines of name:hash from `proxycore hash-password --api-key`.")
    header: OptionalWord = setting(forms.FIELD_NAME, "The header that holds the key.", default=None)
    query: OptionalWord = setting(forms.TEXT, "The query parameter that holds the key.", default=None)
    user_header: OptionalWord = setting(
        forms.EDITED_FIELD_NAME,
        "The header by which servers are told the key's name; a client's own is removed.",
        default=None,
    )

    def check(self, place: Place) -> None:
        if (self.header is None) == (self.query is None):
            place.problem("give one of header and query")

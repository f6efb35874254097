"""The filters of the gate: who may come in, how often, and with what.

Made for a route in the order in which they see its requests:

    identity              what clients say of theirs     is removed before anything believes it
    response fields       cookies, security headers      first here is last on a response: whoever made it
    access                networks of clients            before all that costs anything
    cors                  preflights are answered        they carry no credentials
    csrf
    rate limits           by what anyone has             so that guessing passwords is limited too
    authentication        certificate, key, token, password, another upstream's word
    rate limits           by who the client is
    concurrency limits
    waf                   what comes in                  content is waited for, by those only who may come
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from proxycore.composition.filters import Filter, Signal
from proxycore.composition.overview import LimitView, RuleView
from proxycore.config import Config, ConfigError, Jwt, Problem, RateLimit, Route
from proxycore.config.materials import Materials
from proxycore.filters.access import AccessFilter
from proxycore.filters.authentication import ApiKeyFilter, BasicAuthFilter, ClientCertificateFilter, JwtFilter
from proxycore.filters.browsers import CorsFilter, CsrfFilter, ResponseFieldsFilter
from proxycore.filters.forward_auth import ForwardAuthFilter
from proxycore.filters.identity import IdentityFilter, identity_fields
from proxycore.filters.limits import ConcurrencyLimitFilter, RateLimitFilter
from proxycore.filters.waf import RuleCounts, WafFilter
from proxycore.policies.access import AccessList
from proxycore.policies.addresses import AddressSet
from proxycore.policies.auth.memory import Remembered
from proxycore.policies.auth.tokens import Token, TokenPolicy
from proxycore.policies.cors import CorsPolicy, CsrfPolicy
from proxycore.policies.limits import ConcurrencyTable, LimitCounts, RateTable
from proxycore.policies.reversal import Reversal
from proxycore.policies.security_fields import CookieGuard, SecurityFields

_Content = TypeVar("_Content")

REMEMBERED = 10_000
"""Passwords or tokens that are remembered for each of `[basic_auth]` and `[jwt]`: some 2 MiB of them."""


class Gate:
    """Makes the gate's filters, and keeps over reloads what they remember, by its name in the configuration.

    `entropy(n)` gives n unpredictable bytes.
    """

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._rates: dict[str, RateTable] = {}
        self._concurrency: dict[str, ConcurrencyTable] = {}
        self._rate_counts: defaultdict[str, LimitCounts] = defaultdict(LimitCounts)
        self._concurrency_counts: defaultdict[str, LimitCounts] = defaultdict(LimitCounts)
        self._rule_counts: dict[str, RuleCounts] = {}
        self._passwords: dict[str, Remembered[str]] = {}
        self._hashing: defaultdict[str, dict[bytes, Signal]] = defaultdict(dict)
        self._tokens: dict[str, _Tokens] = {}

    def twin(self, entropy: Callable[[int], bytes]) -> Gate:
        """Another that remembers what this one does of who came how often."""
        twin = Gate(entropy)
        twin._rates = {name: table.copy() for name, table in self._rates.items()}
        twin._concurrency = {name: table.copy() for name, table in self._concurrency.items()}
        return twin

    def filters(self, route: Route, config: Config, materials: Materials) -> Iterator[Filter]:
        """Those of a route. Raises ConfigError where the materials lack something or can't be used."""
        names = identity_fields(config)
        identity = IdentityFilter(names)
        limits = [config.rate_limits[name] for name in route.rate_limits]
        if names:
            yield identity
        yield from _response_fields(route, config)
        yield from _access(route, materials)
        if route.cors is not None:
            yield CorsFilter(CorsPolicy(route.cors))
        if route.csrf is not None:
            yield CsrfFilter(CsrfPolicy(route.csrf))
        yield from self._rate_limits([limit for limit in limits if "user" not in limit.key])
        yield from self._authentication(route, config, materials, identity)
        yield from self._rate_limits([limit for limit in limits if "user" in limit.key])
        for name in route.concurrency_limits:
            table = self._concurrency.setdefault(name, ConcurrencyTable())
            yield ConcurrencyLimitFilter(config.concurrency_limits[name], table, self._concurrency_counts[name])
        if route.waf is not None and route.waf.mode != "off":
            yield WafFilter(route.waf, self._rule_counts)

    def reconfigured(self, config: Config) -> None:
        """This configuration is in force: what it no longer names is forgotten, and tables hold what it says."""
        for kept, names in (
            (self._rates, config.rate_limits),
            (self._rate_counts, config.rate_limits),
            (self._concurrency, config.concurrency_limits),
            (self._concurrency_counts, config.concurrency_limits),
            (self._passwords, config.basic_auth),
            (self._tokens, config.jwt),
        ):
            _keep_only(kept, names)
        for name, table in self._rates.items():
            table.capacity = config.rate_limits[name].capacity

    def limits(self, config: Config) -> Iterator[LimitView]:
        """What each limit of `config` that a route names holds and has done."""
        for name in config.rate_limits:
            table = self._rates.get(name)
            if table is not None:
                counts = self._rate_counts[name]
                yield LimitView(
                    name, "rate", counts.refused, counts.delayed, len(table), table.capacity, table.pushed_out
                )
        for name in config.concurrency_limits:
            if name in self._concurrency:
                counts = self._concurrency_counts[name]
                yield LimitView(name, "concurrency", counts.refused, 0, len(self._concurrency[name]), None, 0)

    def rules(self) -> Iterator[RuleView]:
        """What each rule of `waf` that found something has found."""
        for rule, counts in sorted(self._rule_counts.items()):
            yield RuleView(rule, counts.name, counts.found, counts.blocked)

    def _rate_limits(self, limits: Sequence[RateLimit]) -> Iterator[Filter]:
        if not limits:
            return
        for limit in limits:
            if limit.name not in self._rates:
                self._rates[limit.name] = RateTable(limit.capacity, self._entropy(16))
        yield RateLimitFilter([(limit, self._rates[limit.name], self._rate_counts[limit.name]) for limit in limits])

    def _authentication(
        self, route: Route, config: Config, materials: Materials, identity: IdentityFilter
    ) -> Iterator[Filter]:
        if route.client_certificate is not None:
            yield ClientCertificateFilter(route.client_certificate, identity)
        if route.api_key is not None:
            keys = config.api_keys[route.api_key]
            names = _given(materials.api_keys, keys.file, f"api_keys.{keys.name}.file")
            yield ApiKeyFilter(keys, names, identity)
        if route.jwt is not None:
            jwt = config.jwt[route.jwt]
            key_set = _given(materials.key_sets, jwt.keys_file, f"jwt.{jwt.name}.keys_file")
            tokens = self._tokens_of(jwt, key_set)
            yield JwtFilter(jwt, tokens.policy, tokens.remembered, identity)
        if route.basic_auth is not None:
            basic = config.basic_auth[route.basic_auth]
            users = _given(materials.users, basic.file, f"basic_auth.{basic.name}.file")
            if basic.name not in self._passwords:
                self._passwords[basic.name] = Remembered(REMEMBERED, self._entropy(16))
            yield BasicAuthFilter(basic, users, self._passwords[basic.name], self._hashing[basic.name], identity)
        if route.forward_auth is not None:
            yield ForwardAuthFilter(route.forward_auth, identity)

    def _tokens_of(self, jwt: Jwt, key_set: Sequence[Mapping[str, Any]]) -> _Tokens:
        """One for each of `[jwt]`, for as long as neither it nor its keys change."""
        tokens = self._tokens.get(jwt.name)
        if tokens is None or (tokens.jwt, tokens.key_set) != (jwt, key_set):
            try:
                tokens = self._tokens[jwt.name] = _Tokens(jwt, key_set, Remembered(REMEMBERED, self._entropy(16)))
            except ValueError as error:
                raise ConfigError([Problem("configuration", None, f"jwt.{jwt.name}", str(error))]) from None
        return tokens


class _Tokens:
    """How tokens are judged, and those that were judged so."""

    __slots__ = ("jwt", "key_set", "policy", "remembered")

    def __init__(self, jwt: Jwt, key_set: Sequence[Mapping[str, Any]], remembered: Remembered[Token]) -> None:
        self.jwt = jwt
        self.key_set = key_set
        self.policy = TokenPolicy(jwt, key_set)
        self.remembered = remembered


def _keep_only(kept: dict[str, Any], names: Container[str]) -> None:
    for name in [name for name in kept if name not in names]:
        del kept[name]


def _access(route: Route, materials: Materials) -> Iterator[Filter]:
    access = route.access
    if access is None:
        return
    lists = [
        [
            *([AddressSet(networks)] if networks else []),
            *([_given(materials.networks, file, f'routes "{route.name}".access')] if file is not None else []),
        ]
        for networks, file in ((access.allow, access.allow_file), (access.deny, access.deny_file))
    ]
    yield AccessFilter(AccessList(*lists))


def _response_fields(route: Route, config: Config) -> Iterator[Filter]:
    reversal = Reversal(route.rewrite) if route.rewrite_responses else None
    cookies = CookieGuard(route.cookies) if route.cookies is not None else None
    security = SecurityFields(route.security_headers) if route.security_headers is not None else None
    if reversal or cookies or security:
        host = "preserve" if route.upstream is None else config.upstreams[route.upstream].host
        yield ResponseFieldsFilter(reversal, cookies, security, host)


def _given(contents: Mapping[str, _Content], name: str, place: str) -> _Content:
    """The content of a file that the configuration names. Raises ConfigError where it wasn't read."""
    if name not in contents:
        message = f'the contents of "{name}" were not given: see Materials'
        raise ConfigError([Problem("configuration", None, place, message)])
    return contents[name]

"""What is allowed and hardly meant: routes that nothing reaches, doors left open, clocks switched off.

A good configuration has none of it, but none of it is an error either: each finding says what will
happen and how to mend it, and `proxycore check --lint` prints them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf

from proxycore.config.kinds import Network
from proxycore.config.listeners import Listener
from proxycore.config.model import Config
from proxycore.config.problems import Finding, Path, Place
from proxycore.config.process import RouteTimeouts
from proxycore.config.routes import Match, Route
from proxycore.config.sections import options_of, references
from proxycore.config.units import UNLIMITED
from proxycore.config.upstreams import Upstream

WIDE = {4: 8, 6: 16}
"""Prefixes shorter than these trust whole registries' worth of strangers."""

NEEDED_CLOCKS = {
    "connect": "a server that doesn't answer the dial holds its requests for ever",
    "tls_handshake": "a client that never ends its handshake holds a connection for ever",
    "request_head": "a client that sends its head byte by byte holds a connection for ever (Slowloris)",
    "request_body": "a client that stops in mid-upload holds a connection and a server for ever",
    "response_head": "a server that hangs holds its requests for ever",
    "response_body": "a server that hangs in mid-response holds its clients for ever",
    "send": "a client that reads nothing holds a connection and what waits for it for ever",
    "idle": "idle connections stay until their clients leave",
    "drain": "a stop waits for the last connection, however long that lasts",
}

NEEDED_LIMITS = {
    "connections": "the process runs out of files before it refuses anybody",
    "connections_per_client": "one client can take every connection",
    "request_body": "an upload has no end, unless the server refuses it",
}


def lint(config: Config) -> list[Finding]:
    """Everything that is worth a second look, each with its reason and what to do about it."""
    place = Place()
    _lint_clocks_and_limits(config, place)
    for index, listener in enumerate(config.listeners):
        _lint_listener(listener, place.at("listeners", index))
    for name, upstream in config.upstreams.items():
        _lint_upstream(upstream, place.at("upstreams", name))
    _lint_routes(config, place.at("routes"))
    _lint_unused(config, place)
    _lint_admin(config, place.at("admin"))
    return place.findings


def secrets(config: Config) -> Iterator[tuple[Path, str]]:
    """Place and name of every file that nobody else should be able to read."""
    for index, listener in enumerate(config.listeners):
        if listener.tls is not None:
            for number, pair in enumerate(listener.tls.certificates):
                yield ("listeners", index, "tls", "certificates", number, "key"), pair.key
    for name, upstream in config.upstreams.items():
        if upstream.sticky is not None:
            yield ("upstreams", name, "sticky", "secret_file"), upstream.sticky.secret_file
        if upstream.tls.certificate is not None:
            yield ("upstreams", name, "tls", "certificate", "key"), upstream.tls.certificate.key
    for name, users in config.basic_auth.items():
        yield ("basic_auth", name, "file"), users.file
    for name, keys in config.api_keys.items():
        yield ("api_keys", name, "file"), keys.file
    for name, jwt in config.jwt.items():
        if any(algorithm.startswith("HS") for algorithm in jwt.algorithms):
            yield ("jwt", name, "keys_file"), jwt.keys_file
    if config.admin is not None and config.admin.tls is not None:
        yield ("admin", "tls", "key"), config.admin.tls.key
    if config.admin is not None and config.admin.password_file is not None:
        yield ("admin", "password_file"), config.admin.password_file


def _lint_clocks_and_limits(config: Config, place: Place) -> None:
    for key, consequence in NEEDED_CLOCKS.items():
        if getattr(config.timeouts, key) == inf:
            place.at("timeouts", key).problem(f"switched off: {consequence}; give it a long time instead")
    for key, consequence in NEEDED_LIMITS.items():
        if getattr(config.limits, key) >= UNLIMITED:
            place.at("limits", key).problem(f"switched off: {consequence}; give it a high number instead")


def _lint_listener(listener: Listener, place: Place) -> None:
    for index, network in enumerate(listener.trusted_proxies):
        if network.prefixlen < WIDE[network.version]:
            place.at("trusted_proxies", index).problem(
                f"{network} is more than any proxies of yours: whoever connects from there is believed who the "
                "client is; name the proxies' own addresses"
            )


def _lint_upstream(upstream: Upstream, place: Place) -> None:
    if upstream.health_check is None and len(upstream.servers) > 1:
        place.problem(
            "no health_check: that a server has died, or is back, is learnt from requests that meet it; "
            'add health_check = { path = "/health" }, or type = "tcp"'
        )
    if not upstream.tls.verify:
        place.at("tls", "verify").problem(
            "off: whoever stands between can be the server; give its certificate as ca instead"
        )
    if upstream.retries.non_idempotent:
        place.at("retries", "non_idempotent").problem(
            "a POST that failed may have been carried out, and is sent again: orders happen twice"
        )


def _lint_routes(config: Config, place: Place) -> None:
    exposed = {listener.name for listener in config.listeners if listener.tls is None and _is_public(listener)}
    for index, route in enumerate(config.routes):
        here = place.at(index)
        for earlier in config.routes[:index]:
            if covers(earlier.match, route.match):
                here.at("match").problem(
                    f'never reached: route "{earlier.name}" before it takes all of these; put this one first, or take '
                    "it out"
                )
                break
        unsafe = {name for name in exposed if _arrives(route, name, config.routes[:index])}
        _lint_identity(route, unsafe, here)
        _lint_match(route, config, here.at("match"))
        _lint_certificates(route, config, here)
        _lint_route_clocks(route, here)
        if route.cors is not None and "*" in route.cors.origins and route.cors.credentials:
            here.at("cors", "origins").problem(
                'any site may read answers that were meant for this user; name the origins instead of "*"'
            )


def _lint_identity(route: Route, exposed: set[str], place: Place) -> None:
    guards = [key for key in ("basic_auth", "jwt", "api_key", "forward_auth") if getattr(route, key) is not None]
    if guards and exposed:
        place.at(guards[0]).problem(
            "passwords and tokens arrive here in clear over plain HTTP; match a listener that has tls, and redirect "
            "the other one"
        )
    if guards and route.cache is not None and not {"user", "tls_subject"} & set(route.cache.key):
        place.at("cache", "key").problem(
            f"answers behind {guards[0]} are stored for everybody who gets past it, where the server allows it; "
            'if they differ by user, add "user" to key'
        )


def _lint_match(route: Route, config: Config, place: Place) -> None:
    """What no request can be."""
    match = route.match
    if match.not_ is not None and covers(match.not_, replace(match, not_=None)):
        place.at("not").problem("never matches: this excludes all that the rest of the match takes; narrow it")
    if match.scheme and not any(_may_tell(listener, match.scheme) for listener in _listeners_of(route, config)):
        place.at("scheme").problem(
            "never matches: no listener of this route takes it; give one tls, or the trusted_proxies that tell it"
        )


def _may_tell(listener: Listener, schemes: Sequence[str]) -> bool:
    """Whether a request to it can be of one of these schemes."""
    return bool(listener.trusted_proxies) or ("http" if listener.tls is None else "https") in schemes


def _listeners_of(route: Route, config: Config) -> list[Listener]:
    return [listener for listener in config.listeners if listener.name in (route.match.listener or (listener.name,))]


def _lint_certificates(route: Route, config: Config, place: Place) -> None:
    """A subject is asked for, where nobody is asked for a certificate."""
    chosen = _listeners_of(route, config)
    if any(listener.tls is not None and listener.tls.client_authentication != "off" for listener in chosen):
        return
    cure = 'give [listeners.tls] client_authentication = "optional", or "required", and client_ca'
    if route.match.tls_subject:
        place.at("match", "tls_subject").problem(
            f"never matches: no listener of this route asks clients for a certificate; {cure}"
        )
    if route.client_certificate is not None:
        place.at("client_certificate").problem(
            f"refuses everybody: no listener of this route asks clients for a certificate; {cure}"
        )


def _arrives(route: Route, listener: str, before: Sequence[Route]) -> bool:
    """Whether requests of this listener come to `route`, and not to a redirect to https before it."""
    if route.match.listener and listener not in route.match.listener:
        return False
    here = replace(route.match, listener=[listener])
    for earlier in before:
        redirect = earlier.redirect
        if redirect is None or not (redirect.scheme == "https" or (redirect.to or "").startswith("https:")):
            continue
        spared = earlier.match.not_
        if covers(replace(earlier.match, not_=None), here) and (spared is None or not covers(spared, here)):
            return False
    return True


def _lint_route_clocks(route: Route, place: Place) -> None:
    for option in options_of(RouteTimeouts):
        if getattr(route.timeouts, option.attribute) == inf and option.key in NEEDED_CLOCKS:
            place.at("timeouts", option.key).problem(
                f"switched off: {NEEDED_CLOCKS[option.key]}; give it a long time instead"
            )


def _is_public(listener: Listener) -> bool:
    return any(not bind.startswith(("127.", "[::1]", "localhost:", "unix:", "fd:")) for bind in listener.bind)


def _lint_unused(config: Config, place: Place) -> None:
    used = {(table, name) for _, table, name in references(config, Place())}
    for table in ("upstreams", "caches", "rate_limits", "basic_auth", "jwt", "api_keys"):
        for name in getattr(config, table):
            if (table, name) not in used:
                place.at(table, name).problem("no route names this; it does nothing")


def _lint_admin(config: Config, place: Place) -> None:
    admin = config.admin
    is_near = admin is None or admin.bind.startswith(("127.", "[::1]", "localhost:", "unix:"))
    if not is_near and admin is not None and admin.tls is None:
        place.at("tls").problem("the password travels in clear; give tls, or bind to 127.0.0.1")


# ---- which requests a match has for itself


def covers(first: Match, second: Match) -> bool:
    """Whether every request that `second` matches is matched by `first`. False also where that can't be told."""
    if first == second:
        return True
    if first.path_regex is not None and first.path_regex != second.path_regex:
        return False
    if first.not_ is not None and first.not_ != second.not_:
        return False
    if first.any and first.any != second.any and not any(covers(match, second) for match in first.any):
        return False
    return (
        _covers_words(first.listener, second.listener)
        and _covers_words(first.scheme, second.scheme)
        and _covers_all(first.host, second.host, _host_covers)
        and _covers_all(first.path, second.path, _path_covers)
        and _covers_words(_methods(first), second.method)
        and all(_covers_table(getattr(first, key), getattr(second, key)) for key in ("header", "query", "cookie"))
        and _covers_networks(first.client_ip, second.client_ip)
        and _covers_subjects(first.tls_subject, second.tls_subject)
    )


def _methods(match: Match) -> tuple[str, ...]:
    return (*match.method, "HEAD") if "GET" in match.method else match.method


def _covers_words(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    return not first or (bool(second) and set(second) <= set(first))


def _covers_subjects(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    return _covers_words(first, second) or ("*" in first and bool(second))


def _covers_all(first: tuple[str, ...], second: tuple[str, ...], one_covers: Callable[[str, str], bool]) -> bool:
    return not first or (bool(second) and all(any(one_covers(f, s) for f in first) for s in second))


def _host_covers(first: str, second: str) -> bool:
    return first == second or (first.startswith("*.") and second.removeprefix("*").endswith(first[1:]))


def _path_covers(first: str, second: str) -> bool:
    if not first.endswith("/*"):
        return first == second
    prefix = first.removesuffix("/*")
    return second.removesuffix("/*") == prefix or second.startswith(f"{prefix}/")


def _covers_table(first: Mapping[str, tuple[str, ...]], second: Mapping[str, tuple[str, ...]]) -> bool:
    return all(name in second and ("*" in values or set(second[name]) <= set(values)) for name, values in first.items())


def _covers_networks(first: tuple[Network, ...], second: tuple[Network, ...]) -> bool:
    return not first or (bool(second) and all(any(_contains(f, s) for f in first) for s in second))


def _contains(first: Network, second: Network) -> bool:
    return first.version == second.version and first.prefixlen <= second.prefixlen and second[0] in first

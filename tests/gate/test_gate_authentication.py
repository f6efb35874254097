"""Passwords, API keys, certificates: who is let in, what servers are told, and that no path leads round."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.composition.exchange import Exchange
from proxycore.config import Config, Listener, Route, Upstream
from proxycore.config.materials import Materials
from proxycore.policies.auth.passwords import (
    VERIFY_PASSWORD,
    api_key_digest,
    parse_api_keys,
    parse_users,
    verify_password,
)
from proxycore.program.commands.hash_password import hash_password
from proxycore.testing import Proxy
from proxycore.testing.playbook import (
    Handle,
    Playbook,
    accepted,
    call,
    call_completed,
    call_failed,
    cancel,
    connect,
    containing,
    exchange_ended,
    lost,
    nothing,
    received,
    send,
    tick,
)
from proxycore.testing.strategies import requests

HASHES = {"alice": "alice's hash", "bob": "bob's hash"}
PASSWORDS = {"alice's hash": b"wonder land", "bob's hash": b"builder"}
MATERIALS = Materials(users={"users": HASHES}, api_keys={"keys": {api_key_digest(b"k1"): "partner"}})


def configuration(**changes: Any) -> Config:
    settings = {
        "listeners": [Listener(name="web", bind="127.0.0.1:8080")],
        "upstreams": {"api": Upstream(servers="http://127.0.0.1:3000")},
        "basic_auth": {"staff": {"file": "users", "user_header": "X-User"}},
        "api_keys": {
            "partners": {"file": "keys", "header": "X-API-Key", "user_header": "X-Partner"},
            "linked": {"file": "keys", "query": "key"},
        },
        "routes": [
            Route(name="staff", match={"path": "/staff/*"}, upstream="api", basic_auth="staff"),
            Route(name="partners", match={"path": "/partners/*"}, upstream="api", api_key="partners"),
            Route(name="linked", match={"path": "/linked"}, upstream="api", api_key="linked"),
            Route(name="machines", match={"path": "/machines"}, upstream="api", client_certificate={}),
            Route(name="open", upstream="api"),
        ],
    }
    return Config(**{**settings, **changes})


class Hashing:
    """Verifies passwords and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, given: Any) -> bool:
        self.asked.append(given["stored"])
        return bool(PASSWORDS[given["stored"]] == given["password"])


def proxy(hashing: Any = None, **changes: Any) -> Proxy:
    return Proxy(configuration(**changes), materials=MATERIALS, calls={VERIFY_PASSWORD: hashing or Hashing()})


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


# ---- passwords


def test_the_right_password_lets_in_and_the_server_learns_who() -> None:
    journey = proxy().get("http://a/staff/x", headers=basic("alice", "wonder land"))
    journey.goes_to("api").sends(x_user="alice")
    assert [str(step) for step in journey.trace.of("basic_auth")] == ["basic_auth: let in alice"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("alice", "wrong"),
        basic("mallory", "wonder land"),
        basic("alice", ""),
        {"Authorization": "Bearer x"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic"},
        {"Authorization": "Basic " + base64.b64encode(b"alice").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"\xff:x").decode()},
        {"Authorization": [basic("alice", "wonder land")["Authorization"]] * 2},
    ],
)
def test_anything_else_is_challenged(headers: Any) -> None:
    journey = proxy().get("http://a/staff/x", headers=headers)
    journey.is_refused(401, rule="basic_auth.staff").gets(www_authenticate='Basic realm="staff", charset="UTF-8"')


def test_a_password_is_hashed_once_and_remembered_for_a_while() -> None:
    hashing = Hashing()
    guarded = proxy(hashing)
    for _ in range(3):
        guarded.get("http://a/staff/x", headers=basic("alice", "wonder land")).goes_to("api")
    assert hashing.asked == ["alice's hash"]
    guarded.pass_time(301)
    guarded.get("http://a/staff/x", headers=basic("alice", "wonder land")).goes_to("api")
    assert len(hashing.asked) == 2


def test_an_unknown_users_password_is_hashed_like_any_other() -> None:
    hashing = Hashing()
    guarded = proxy(hashing)
    guarded.get("http://a/staff/x", headers=basic("mallory", "builder")).is_refused(401)
    guarded.get("http://a/staff/x", headers=basic("mallory", "wonder land")).is_refused(401)
    assert len(hashing.asked) == 2


def test_a_changed_password_is_not_remembered_over_a_reload() -> None:
    guarded = proxy()
    guarded.get("http://a/staff/x", headers=basic("alice", "wonder land")).goes_to("api")
    changed = Materials(users={"users": {"alice": "bob's hash"}}, api_keys=MATERIALS.api_keys)
    guarded.core.reconfigured(configuration(), changed, guarded.now)
    guarded.get("http://a/staff/x", headers=basic("alice", "wonder land")).is_refused(401)
    guarded.core.reconfigured(configuration(), MATERIALS, guarded.now)
    guarded.get("http://a/staff/x", headers=basic("alice", "wonder land")).goes_to("api")


def head(user: str, password: str) -> bytes:
    return (
        f"GET /staff/ HTTP/1.1\r\nHost: a\r\nAuthorization: {basic(user, password)['Authorization']}\r\n\r\n".encode()
    )


ALICE = {"password": b"wonder land", "stored": "alice's hash"}


def test_many_with_the_same_password_wait_for_one_hash() -> None:
    one, two, three, hashing = Handle("one"), Handle("two"), Handle("three"), Handle("hashing")
    request = head("alice", "wonder land")
    address = ("127.0.0.1", 3000)
    Playbook(configuration(), materials=MATERIALS).run(
        *(accepted(client) >> nothing for client in (one, two, three)),
        received(one, request) >> call(hashing, VERIFY_PASSWORD, ALICE),
        received(two, request) >> nothing,
        received(three, request) >> nothing,
        lost(three) >> exchange_ended("client_left", "request"),
        call_completed(hashing, True) >> (connect(Handle("server"), address), connect(Handle("another"), address)),
    )


def test_routes_with_the_same_users_wait_for_one_hash() -> None:
    one, two, hashing = Handle("one"), Handle("two"), Handle("hashing")
    routes = [
        Route(match={"path": "/staff/*"}, upstream="api", basic_auth="staff"),
        Route(match={"path": "/more/*"}, upstream="api", basic_auth="staff"),
    ]
    request = head("alice", "wonder land")
    Playbook(configuration(routes=routes), materials=MATERIALS).run(
        accepted(one) >> nothing,
        accepted(two) >> nothing,
        received(one, request) >> call(hashing, VERIFY_PASSWORD, ALICE),
        received(two, request.replace(b"/staff/", b"/more/")) >> nothing,
    )


def test_who_waits_for_a_hash_that_is_given_up_asks_for_it() -> None:
    one, two, hashing, again = Handle("one"), Handle("two"), Handle("hashing"), Handle("again")
    request = head("alice", "wonder land")
    Playbook(configuration(), materials=MATERIALS).run(
        accepted(one) >> nothing,
        accepted(two) >> nothing,
        received(one, request) >> call(hashing, VERIFY_PASSWORD, ALICE),
        received(two, request) >> nothing,
        lost(one) >> (cancel(hashing), exchange_ended("client_left", "request")),
        tick(0.1) >> call(again, VERIFY_PASSWORD, ALICE),
        call_failed(hashing, "ECANCELED") >> nothing,
        call_failed(again, "no thread") >> (send(two, containing(b"HTTP/1.1 503 ")), exchange_ended("refused", "call")),
    )


def test_only_so_many_passwords_are_hashed_at_once() -> None:
    clients = [Handle(f"client {n}") for n in range(17)]
    calls = [Handle(f"call {n}") for n in range(16)]
    Playbook(configuration(), materials=MATERIALS).run(
        *(accepted(client) >> nothing for client in clients),
        *(
            received(client, head("alice", f"guess {n}"))
            >> call(calls[n], VERIFY_PASSWORD, {"password": f"guess {n}".encode(), "stored": "alice's hash"})
            for n, client in enumerate(clients[:16])
        ),
        received(clients[16], head("alice", "guess 17"))
        >> (send(clients[16], containing(b"HTTP/1.1 503 ")), exchange_ended("refused", "basic_auth.staff.busy")),
        call_completed(calls[0], False)
        >> (send(clients[0], containing(b"HTTP/1.1 401 ")), exchange_ended("refused", "basic_auth.staff")),
        tick(0.0) >> nothing,
    )


@pytest.mark.parametrize("bcrypt", [False, True])
def test_what_hash_password_makes_is_what_verifies(bcrypt: bool) -> None:
    hashed = hash_password("wonder länd", bcrypt=bcrypt)
    assert parse_users(f"# staff\n\nalice:{hashed}\n") == {"alice": hashed}
    assert verify_password("wonder länd".encode(), hashed)
    assert not verify_password(b"wonder land", hashed)
    assert not verify_password(b"", hashed)
    assert not verify_password(b"\0" * 100, hashed)


def test_htpasswds_bcrypt_is_read() -> None:
    hashed = "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"
    assert parse_users(f"joe:{hashed}") == {"joe": hashed}
    assert verify_password(b"myPassword", hashed)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("alice", "line 1: a line is name:hash"),
        ("\nalice:plain", "line 2: this is no hash of argon2 or bcrypt"),
        ("alice:$apr1$x$y", "line 1: this is no hash"),
        (":x", "line 1: a line is name:hash"),
    ],
)
def test_a_bad_line_of_a_users_file_is_named(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("$", r"\$")):
        parse_users(text)


# ---- API keys


def test_a_key_lets_in_by_header_or_by_query() -> None:
    guarded = proxy()
    guarded.get("http://a/partners/x", headers={"X-API-Key": "k1"}).goes_to("api").sends(x_partner="partner")
    guarded.get("http://a/linked?a=b&key=k1").goes_to("api")


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://a/partners/x", {}),
        ("http://a/partners/x", {"X-API-Key": "k2"}),
        ("http://a/partners/x", {"X-API-Key": ["k1", "k1"]}),
        ("http://a/partners/x?key=k1", {}),
        ("http://a/linked?key=k2", {}),
        ("http://a/linked?key=k1&key=k2", {}),
        ("http://a/linked", {"X-API-Key": "k1"}),
    ],
)
def test_no_other_key_does(url: str, headers: Any) -> None:
    proxy().get(url, headers=headers).is_refused(401)


def test_keys_are_kept_as_digests() -> None:
    digest = api_key_digest(b"k1").hex()
    assert parse_api_keys(f"partner:$sha256${digest}") == {api_key_digest(b"k1"): "partner"}
    with pytest.raises(ValueError, match="line 1: this is no hash of an API key"):
        parse_api_keys("partner:k1")


# ---- certificates


def test_without_a_verified_certificate_nobody_gets_in() -> None:
    proxy().get("http://a/machines").is_refused(403, rule="client_certificate")


@pytest.mark.parametrize(("subjects", "passes"), [([], True), (["CN=robot"], True), (["CN=other"], False)])
def test_a_certificate_lets_in_by_its_subject(
    subjects: list[str], passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Exchange, "tls_subject", "CN=robot")
    guarded = proxy(
        routes=[Route(upstream="api", client_certificate={"subjects": subjects, "user_header": "X-Machine"})]
    )
    journey = guarded.get("http://a/")
    if passes:
        journey.goes_to("api").sends(x_machine="CN=robot")
    else:
        journey.is_refused(403)


# ---- identity


@pytest.mark.parametrize("path", ["/staff/x", "/partners/x", "/"])
def test_what_clients_say_of_their_identity_is_removed_on_every_route(path: str) -> None:
    told = {"X-User": "root", "x-partner": "root", "X-USER": ["root", "admin"], "X-API-Key": "k1"}
    journey = proxy().get(f"http://a{path}", headers={**told, **basic("alice", "wonder land")}).goes_to("api")
    assert journey.outbound is not None
    fields = journey.outbound.headers.fields
    assert b"root" not in [value for _, value in fields]
    assert [value for name, value in fields if name == b"x-user"] == ([b"alice"] if path == "/staff/x" else [])


GUARDED = "/staff/x /staff /staff/../staff/x /%73taff/x /STAFF/x //staff//x /a/../staff/x /staff/x?y".split()
PIECES = "/ staff %73taff STAFF .. . %2e%2e %2F ;a=b x %5C //".split()
HEADERS = "X-User Authorization X-API-Key X-Original-URL X-Forwarded-For X-Rewrite-URL".split()
VALUES = ["", "alice", "Basic", "Basic YWxpY2U6", "basic YWxpY2U6d29uZGVy", "Bearer x", "/", "127.0.0.1"]
TRICKS = st.lists(st.tuples(st.sampled_from(HEADERS), st.sampled_from(VALUES)), max_size=4)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "get", "X"])


def reads_as_guarded(target: bytes) -> bool:
    """Whether some origin could take the target for one below /staff."""
    path = target.partition(b"?")[0].lower()
    for code, character in ((b"%2f", b"/"), (b"%5c", b"/"), (b"%2e", b"."), (b"%73", b"s")):
        path = path.replace(code, character)
    parts: list[bytes] = []
    for part in path.split(b"/"):
        part = part.partition(b";")[0]
        if part == b"..":
            parts = parts[:-1]
        elif part not in (b"", b"."):
            parts.append(part)
    return parts[:1] == [b"staff"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=7), METHODS, TRICKS)
def test_no_spelling_of_a_path_method_or_header_gets_round_the_guard(
    parts: list[str], method: str, tricks: list[tuple[str, str]]
) -> None:
    target = "/" + "".join(parts)
    lines = [f"{method} {target} HTTP/1.1", "Host: a", *(f"{name}: {value}" for name, value in tricks)]
    journey = SHARED.send("\r\n".join(lines).encode() + b"\r\n\r\n")
    if journey.outbound is not None:
        assert not reads_as_guarded(journey.outbound.target), journey.trace.render()
        assert b"x-user" not in journey.outbound.headers


@settings(max_examples=100, deadline=None)
@given(requests(hosts=["a"], paths=GUARDED))
def test_no_request_gets_in_without_an_identity(request: bytes) -> None:
    journey = SHARED.send(request)
    assert journey.outbound is None or not reads_as_guarded(journey.outbound.target)


SHARED = proxy()

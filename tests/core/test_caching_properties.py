"""What no cache may do, whatever a client and an origin say: drawn, and asked of the whole proxy.

What is allowed is said here once more, in the words of RFC 9111, so that the proxy's own reading has a second one.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import example, given
from hypothesis import strategies as st

from proxycore.config import Cache, Config, Listener, Route, RouteCache, Upstream
from proxycore.policies.dates import http_date
from proxycore.testing import Proxy
from proxycore.testing.proxy import WALL, Journey

URL = "http://example.com/a"


def caching_proxy(**cache: object) -> Proxy:
    config = Config(
        listeners=[Listener(name="web", bind="127.0.0.1:0", trusted_proxies=("192.0.2.1/32",))],
        upstreams={"api": Upstream(servers=["http://127.0.0.1:3000"])},
        caches={"main": Cache(size="1MiB", object_max="64KiB")},
        routes=[Route(upstream="api", cache=RouteCache(store="main", **cache))],  # type: ignore[arg-type]
    )
    return Proxy(config)


SECONDS = st.integers(0, 100)


@dataclass(frozen=True)
class Said:
    """What an origin says about how long its response serves."""

    max_age: int | None
    s_maxage: int | None
    expires: int | None
    age: int
    flags: frozenset[str]

    def fields(self) -> dict[str, str]:
        members = [*sorted(self.flags)]
        members += [] if self.max_age is None else [f"max-age={self.max_age}"]
        members += [] if self.s_maxage is None else [f"s-maxage={self.s_maxage}"]
        fields = {"Date": http_date(WALL).decode(), "Age": str(self.age), "ETag": '"1"'}
        if members:
            fields["Cache-Control"] = ", ".join(members)
        if self.expires is not None:
            fields["Expires"] = http_date(WALL + self.expires).decode()
        return fields

    @property
    def lifetime(self) -> int:
        """RFC 9111 section 4.2.1."""
        return next((told for told in (self.s_maxage, self.max_age, self.expires) if told is not None), 0)

    @property
    def is_never_stale(self) -> bool:
        """Sections 5.2.2.2, 5.2.2.8 and 5.2.2.10."""
        return self.s_maxage is not None or bool(self.flags & {"must-revalidate", "proxy-revalidate"})


SAID = st.builds(
    Said,
    max_age=st.none() | SECONDS,
    s_maxage=st.none() | SECONDS,
    expires=st.none() | SECONDS,
    age=st.just(0) | SECONDS,
    flags=st.frozensets(st.sampled_from(["must-revalidate", "proxy-revalidate", "no-cache", "public"]), max_size=2),
)


@given(said=SAID, passed=st.integers(0, 150), max_stale=st.none() | SECONDS, max_age=st.none() | SECONDS)
@example(said=Said(60, None, None, 0, frozenset()), passed=59, max_stale=None, max_age=None)
@example(said=Said(60, None, None, 0, frozenset()), passed=60, max_stale=None, max_age=None)
def test_a_hit_is_as_fresh_as_was_told_and_what_is_fresh_is_a_hit(
    said: Said, passed: int, max_stale: int | None, max_age: int | None
) -> None:
    proxy = caching_proxy()
    proxy.get(URL).returns(200, said.fields(), b"one").is_answered(200, body=b"one")
    proxy.pass_time(passed)
    asked = {"max-stale": max_stale, "max-age": max_age}
    value = ", ".join(f"{name}={seconds}" for name, seconds in asked.items() if seconds is not None)
    journey = proxy.get(URL, headers={"Cache-Control": value} if value else {})
    age = said.age + passed
    beyond = 0 if max_stale is None or said.is_never_stale else max_stale
    may_serve = "no-cache" not in said.flags and age < said.lifetime + beyond and (max_age is None or age <= max_age)
    assert (journey.outbound is None) == may_serve
    if may_serve:
        journey.is_answered(200, body=b"one").gets(age=str(age))


DIRECTIVES = ["no-store", "private", "public", "s-maxage=60", "must-revalidate", "must-understand", "no-transform"]


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "OPTIONS"]),
    status=st.sampled_from([200, 203, 299, 301, 404, 500, 503]),
    directives=st.frozensets(st.sampled_from(DIRECTIVES), max_size=3),
    targeted=st.booleans(),
    known=st.booleans(),
    sets_cookie=st.booleans(),
    varies=st.sampled_from([None, "X-Who", "*"]),
    asked=st.sampled_from([None, "no-store", "no-cache"]),
    body=st.none() | st.just(b"x"),
)
@example("GET", 200, frozenset(), False, False, False, None, None, None)
@example("GET", 200, frozenset(["public"]), False, True, True, None, None, None)
@example("GET", 200, frozenset(), True, True, False, None, None, None)
def test_what_one_client_was_told_reaches_another_only_if_it_may_be_stored_for_all(
    method: str,
    status: int,
    directives: frozenset[str],
    targeted: bool,
    known: bool,
    sets_cookie: bool,
    varies: str | None,
    asked: str | None,
    body: bytes | None,
) -> None:
    proxy = caching_proxy()
    headers = {"X-Who": "ann"}
    headers |= {"Authorization": "Basic eDp5"} if known else {}
    headers |= {"Cache-Control": asked} if asked else {}
    told = {"CDN-Cache-Control" if targeted else "Cache-Control": ", ".join(["max-age=60", *sorted(directives)])}
    told |= {"Set-Cookie": "user=ann"} if sets_cookie else {}
    told |= {"Vary": varies} if varies else {}
    proxy.request(method, URL, headers=headers, body=body).returns(status, told, b"" if method == "HEAD" else b"ann's")
    other = proxy.get(URL, headers={"X-Who": "bob"})

    understood = "must-understand" in directives and status != 299
    forbidden = "private" in directives or ("no-store" in directives and not understood)
    forbidden |= "must-understand" in directives and not understood
    for_all = bool(directives & {"public", "s-maxage=60"})
    if known:
        forbidden |= not for_all and "must-revalidate" not in directives
    if sets_cookie:
        forbidden |= not for_all
    may_serve = method == "GET" and body is None and asked != "no-store" and varies is None and not forbidden
    assert (other.outbound is None) == may_serve, proxy


KEYED, VARIED = "X-Tenant", "X-Varied"
BEHIND = ["Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Host", "X-Original-URL",
          "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Forwarded-Port", "Front-End-Https"]  # fmt: skip
WORDS = st.sampled_from(["one", "two", "https", "DELETE", "/admin"])


@dataclass(frozen=True)
class Question:
    """One client's request."""

    method: str
    host: str
    target: str
    fields: tuple[tuple[str, str], ...]
    connection: str | None

    def ask(self, proxy: Proxy) -> Journey:
        headers = dict(self.fields)
        if self.connection is not None:
            headers["Connection"] = self.connection
        return proxy.request(self.method, f"http://{self.host}{self.target}", headers=headers)


HOSTS = ["example.com", "EXAMPLE.com", "example.com:80", "example.com:8080", "example.com.", "evil.example"]
TARGETS = ["/a", "/a?", "/a?x=1", "/a/", "/A", "/%61", "/a;x", "/a?x=1&x=2", "/a%3Fx=1", "/b/../a"]
QUESTIONS = st.builds(
    Question,
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    host=st.sampled_from(HOSTS),
    target=st.sampled_from(TARGETS),
    fields=st.dictionaries(st.sampled_from([*BEHIND, KEYED, VARIED]), WORDS, max_size=3).map(
        lambda fields: tuple(fields.items())
    ),
    connection=st.none() | st.sampled_from([KEYED, VARIED, "X-Forwarded-Host, X-Forwarded-Proto", "Host"]),
)


def reflected(journey: Journey) -> bytes:
    """All that an origin goes by: the request's line, its host, what frameworks believe, and what it names in Vary."""
    outbound = journey.outbound
    assert outbound is not None
    names = {name.lower().encode() for name in (*BEHIND, KEYED, VARIED)}
    fields = sorted(field for field in outbound.headers if field[0] in names)
    return b"|".join([outbound.target, outbound.authority, *(b"%b=%b" % field for field in fields)])


@given(first=QUESTIONS, second=QUESTIONS)
@example(Question("GET", "example.com", "/a", (), None), Question("GET", "EXAMPLE.com", "/a", (), None))
def test_a_field_that_changes_what_is_stored_is_in_the_key_or_in_vary_or_not_forwarded(
    first: Question, second: Question
) -> None:
    proxy = caching_proxy(key=["scheme", "host", "path", "query", f"header.{KEYED}"])
    told = {"Cache-Control": "max-age=60", "Vary": VARIED}
    stored = first.ask(proxy)
    if stored.outbound is not None:
        stored.returns(200, told, b"" if first.method == "HEAD" else reflected(stored))
    hit = second.ask(proxy)
    if hit.outbound is None and hit.status == 200 and second.method == "GET":
        # What the origin would have said to this client, had it been asked.
        assert hit.body == reflected(second.ask(caching_proxy(key=["path", f"header.{KEYED}"])))

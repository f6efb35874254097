"""`[[routes]]`: which request goes where, and what happens to it on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from proxycore.config import forms
from proxycore.config.kinds import (
    Duration,
    Flag,
    Integer,
    IPAddress,
    ListOf,
    Network,
    NetworkOf,
    OneOf,
    Optional,
    Reference,
    Size,
    Statuses,
    TableOf,
    Text,
)
from proxycore.config.problems import Place
from proxycore.config.process import RouteTimeouts
from proxycore.config.sections import (
    DERIVED,
    Bytes,
    Count,
    Nested,
    OptionalWord,
    Seconds,
    Section,
    Setting,
    Switch,
    Word,
    Words,
    section,
    setting,
)
from proxycore.config.tables import Table
from proxycore.config.units import StatusRange

Scheme = Literal["http", "https"]
RedirectStatus = Literal[301, 302, 303, 307, 308]
Coding = Literal["zstd", "br", "gzip"]
FrameOptions = Literal["DENY", "SAMEORIGIN"]
SameSite = Literal["strict", "lax", "none"]
WafMode = Literal["off", "detect", "block"]

Networks = Setting[Network | IPAddress | str | Sequence[Network | IPAddress | str], tuple[Network, ...]]
WordTable = Setting[Mapping[str, str | Sequence[str]], Table[str, tuple[str, ...]]]

_GROUP = re.compile(r"\$(?:([0-9]+)|\{([0-9]+)\})", re.ASCII)


@section
class Match(Section):
    """`match`: all of its keys must hold; of a list, any value. An empty one matches every request.

    What isn't given is an empty tuple. An empty list that is given is an error: whoever wrote it hardly
    meant every request.
    """

    listener: Words = setting(ListOf(Reference("listeners"), least=1), "Names of listeners.", default=())
    scheme: Setting[Scheme | Sequence[Scheme], tuple[Scheme, ...]] = setting(
        ListOf(OneOf[Scheme](get_args(Scheme)), least=1), "`http` or `https`, as the client used it.", default=()
    )
    host: Words = setting(
        ListOf(forms.HOST_PATTERN, least=1),
        "Host without port; `*.example.com` is every host below example.com.",
        default=(),
    )
    path: Words = setting(
        ListOf(forms.PATH_PATTERN, least=1), "`/x` is that path alone, `/x/*` is /x and all below it.", default=()
    )
    path_regex: OptionalWord = setting(forms.REGEX, "A pattern that matches the whole path.", default=None)
    method: Words = setting(ListOf(forms.METHOD, least=1), "Methods; GET implies HEAD.", default=())
    header: WordTable = setting(
        TableOf(forms.MATCHED_FIELD_NAME, ListOf(forms.ANY_TEXT, least=1)),
        "Header fields and their values; `*` is any value.",
        default=Table(),
    )
    query: WordTable = setting(
        TableOf(forms.TEXT, ListOf(forms.ANY_TEXT, least=1)),
        "Query parameters and their values; `*` is any.",
        default=Table(),
    )
    cookie: WordTable = setting(
        TableOf(forms.FIELD_TOKEN, ListOf(forms.ANY_TEXT, least=1)),
        "Cookies and their values; `*` is any.",
        default=Table(),
    )
    client_ip: Networks = setting(ListOf(NetworkOf(), least=1), "Networks of the client.", default=())
    tls_subject: Words = setting(
        ListOf(forms.TEXT, least=1),
        "Subjects of the client's certificate, as `{tls_subject}` has them; `*` is any certificate.",
        default=(),
    )
    any: Setting[Match | Mapping[str, Any] | Sequence[Match | Mapping[str, Any]], tuple[Match, ...]] = setting(
        ListOf(Nested(lambda: Match), least=1), "Matches of which at least one must hold.", default=()
    )
    not_: Setting[Match | Mapping[str, Any] | None, Match | None] = setting(
        Nested(lambda: Match), "A match that must not hold.", default=None
    )


@section
class Redirect(Section):
    """`redirect`: sends the client elsewhere. What isn't given stays as in the request."""

    to: OptionalWord = setting(forms.REDIRECT_TARGET, 'The whole target: "https://example.com{target}".', default=None)
    scheme: Setting[Scheme | None, Scheme | None] = setting(
        OneOf[Scheme](get_args(Scheme)), "Another scheme.", default=None
    )
    host: OptionalWord = setting(forms.REDIRECT_TARGET, "Another host, with its port if need be.", default=None)
    path: OptionalWord = setting(forms.REDIRECT_TARGET, "Another path; the query stays.", default=None)
    status: Setting[RedirectStatus, RedirectStatus] = setting(
        OneOf[RedirectStatus](get_args(RedirectStatus)), "301, 302, 303, 307 or 308.", default=308
    )

    def check(self, place: Place) -> None:
        parts = [key for key in ("scheme", "host", "path") if getattr(self, key) is not None]
        if self.to is None and not parts:
            place.problem("give at least one of to, scheme, host and path")
        if self.to is not None and parts:
            place.at(parts[0]).problem("to is the whole target and stands alone")
        if self.path is not None and self.path[0] not in "/{":
            place.at("path").problem("a path begins with a slash", f"/{self.path}")


@section
class Respond(Section):
    """`respond`: an answer of our own."""

    status: Count = setting(Integer(200, 599), "Status of the answer.", default=200)
    body: Word = setting(forms.ANY_TEXT, "Its content, sent as UTF-8.", default="")
    headers: WordTable = setting(
        TableOf(forms.EDITED_FIELD_NAME, ListOf(forms.FIELD_TEMPLATE)),
        "Its headers; values take {variables}.",
        default=Table(),
    )

    def check(self, place: Place) -> None:
        if self.body and self.status in (204, 205, 304):
            place.at("body").problem(f"a response with status {self.status} has no content")


@section
class Rewrite(Section):
    """`rewrite`: the path that the server sees. One of strip_prefix, add_prefix, and pattern with replacement."""

    strip_prefix: OptionalWord = setting(forms.PATH_PREFIX, "Leading segments to take away.", default=None)
    add_prefix: OptionalWord = setting(forms.PATH_PREFIX, "Leading segments to add.", default=None)
    pattern: OptionalWord = setting(forms.REGEX, "A pattern searched for in the path.", default=None)
    replacement: OptionalWord = setting(forms.ANY_TEXT, "What replaces it; $1 is its first group.", default=None)

    def check(self, place: Place) -> None:
        ways = [key for key in ("strip_prefix", "add_prefix", "pattern") if getattr(self, key) is not None]
        if len(ways) != 1:
            place.problem("give exactly one of strip_prefix, add_prefix, and pattern with replacement")
        if (self.pattern is None) != (self.replacement is None):
            place.at("replacement" if self.replacement is None else "pattern").problem(
                "pattern and replacement are given together"
            )
        if self.pattern is not None and self.replacement is not None:
            self._check_groups(self.pattern, self.replacement, place.at("replacement"))

    def _check_groups(self, pattern: str, replacement: str, place: Place) -> None:
        groups = re.compile(pattern).groups
        for match in _GROUP.finditer(replacement):
            if int((match[1] or match[2])[:4]) > groups:
                place.problem(f"{match[0]}: the pattern has {groups or 'no'} group{'' if groups == 1 else 's'}")


@section
class HeaderEdits(Section):
    """`request_headers`, `response_headers`: what is changed, in this order: remove, set, add."""

    set: WordTable = setting(
        TableOf(forms.EDITED_FIELD_NAME, ListOf(forms.FIELD_TEMPLATE)),
        "Fields that replace their namesakes; values take {variables}.",
        default=Table(),
    )
    add: WordTable = setting(
        TableOf(forms.EDITED_FIELD_NAME, ListOf(forms.FIELD_TEMPLATE)),
        "Fields that come beside their namesakes; values take {variables}.",
        default=Table(),
    )
    remove: Words = setting(ListOf(forms.EDITED_FIELD_NAME), "Fields that go.", default=())


@section
class Cors(Section):
    """`cors`: which scripts of other origins may ask, and see the answer."""

    origins: Words = setting(
        ListOf(forms.ORIGIN, least=1), 'Origins that may; `https://*.example.com` is every host below, "*" all.'
    )
    methods: Words = setting(ListOf(forms.METHOD), "Methods that they may use.", default=("GET", "HEAD", "POST"))
    headers: Words = setting(ListOf(forms.FIELD_NAME), 'Request headers that they may send; "*" is all.', default=())
    expose: Words = setting(ListOf(forms.FIELD_NAME), "Response headers that they may see.", default=())
    credentials: Switch = setting(Flag(), "With cookies and Authorization.", default=False)
    max_age: Seconds = setting(
        Duration(off=0.0), "How long a browser remembers the answer to its preflight.", default="10m"
    )

    def check(self, place: Place) -> None:
        if self.credentials and "*" in self.origins:
            place.at("credentials").problem('credentials are never given to every origin ("*")')


@section
class Csrf(Section):
    """`csrf`: requests that change something and were made by other sites are refused, by Sec-Fetch-Site or Origin."""

    origins: Words = setting(
        ListOf(forms.ORIGIN), "Other origins whose requests are let in, written as in `cors`.", default=()
    )


@section
class SecurityHeaders(Section):
    """`security_headers`: a preset for browsers; `{}` is enough. A header that the server sent itself stays."""

    nosniff: Switch = setting(Flag(), "X-Content-Type-Options: nosniff.", default=True)
    frame_options: Setting[FrameOptions | None, FrameOptions | None] = setting(
        Optional(OneOf[FrameOptions](get_args(FrameOptions))), "X-Frame-Options.", default="SAMEORIGIN"
    )
    referrer_policy: OptionalWord = setting(
        Optional(forms.FIELD_VALUE), "Referrer-Policy.", default="strict-origin-when-cross-origin"
    )
    permissions_policy: OptionalWord = setting(
        Optional(forms.FIELD_VALUE), "Permissions-Policy.", default="camera=(), geolocation=(), microphone=()"
    )
    content_security_policy: OptionalWord = setting(
        forms.FIELD_VALUE, "Content-Security-Policy: there is none that fits every site.", default=None
    )


@section
class CookieFlags(Section):
    """`cookies`: flags for the cookies that servers set; `{}` is enough. A flag that the server set itself stays."""

    secure: Switch = setting(Flag(), "Only over TLS.", default=True)
    http_only: Switch = setting(Flag(), "Not for scripts.", default=True)
    same_site: Setting[SameSite | None, SameSite | None] = setting(
        Optional(OneOf[SameSite](get_args(SameSite))), "Whether other sites' requests carry them.", default="lax"
    )
    exempt: Words = setting(
        ListOf(forms.FIELD_TOKEN), "Cookies that stay as they are, such as one that scripts read.", default=()
    )

    def check(self, place: Place) -> None:
        if self.same_site == "none" and not self.secure:
            place.at("same_site").problem("browsers drop cookies with SameSite=None that are not Secure")


@section
class RouteCache(Section):
    """`cache`: responses of this route are stored."""

    store: Word = setting(Reference("caches"), "Which of `[caches]`.")
    valid: Setting[Mapping[int | str | StatusRange, str | float], Table[StatusRange, float]] = setting(
        TableOf(Statuses(), Duration(off=0.0)),
        "For how long responses are fresh that don't say so themselves, by status.",
        default=Table(),
    )
    key: Words = setting(
        ListOf(forms.VARIABLE, least=1), "What tells responses apart.", default=("scheme", "host", "path", "query")
    )
    lock: Switch = setting(Flag(), "One request to the origin for many clients that wait.", default=True)
    lock_timeout: Seconds = setting(
        Duration(), "How long one waits for the answer to another's request, before it asks for itself.", default="5s"
    )
    stale_if_error: Seconds = setting(
        Duration(off=0.0), "How long beyond its time a response serves while the origin fails.", default="off"
    )
    stale_while_revalidate: Seconds = setting(
        Duration(off=0.0), "How long beyond its time a response serves while it is renewed.", default="off"
    )
    bypass: Setting[Match | Mapping[str, Any] | None, Match | None] = setting(
        Nested(lambda: Match), "Requests that neither ask the cache nor fill it.", default=None
    )


@section
class ForwardAuth(Section):
    """`forward_auth`: an upstream is asked whether the request may pass (nginx's auth_request)."""

    upstream: Word = setting(Reference("upstreams"), "Which of `[upstreams]` is asked.")
    path: Word = setting(forms.REQUEST_PATH, "Path that it is asked for.", default="/")
    copy_headers: Words = setting(
        ListOf(forms.EDITED_FIELD_NAME),
        "Fields of its answer that the request takes along; a client's own are removed.",
        default=(),
    )
    user_header: OptionalWord = setting(
        forms.EDITED_FIELD_NAME, "The field of its answer that is the user's name: {user}.", default=None
    )


@section
class ClientCertificate(Section):
    """`client_certificate`: clients need a certificate that `client_ca` of the listener vouches for; `{}` takes any."""

    subjects: Words = setting(ListOf(forms.TEXT), "Subjects that are let in, as `{tls_subject}` has them.", default=())
    user_header: OptionalWord = setting(
        forms.EDITED_FIELD_NAME,
        "The header by which servers are told the subject; a client's own is removed.",
        default=None,
    )


@section
class Waf(Section):
    """`waf`: known attacks are looked for."""

    mode: Setting[WafMode, WafMode] = setting(
        OneOf[WafMode](get_args(WafMode)), "`off`, `detect` (log only) or `block`.", default="block"
    )
    level: Count = setting(Integer(1, 4), "Paranoia, as in OWASP's rules: higher catches, and errs, more.", default=1)
    threshold: Count = setting(
        Integer(1), "Anomaly score from which a request is an attack; most rules add 5, the doubtful 3.", default=5
    )
    body: Bytes = setting(
        Size(off=False),
        "How much of a form, JSON or text is looked at before a server sees any; at most `limits.buffer`.",
        default="64KiB",
    )
    exclude: Words = setting(ListOf(Text("rule id")), "Rules that don't apply here.", default=())


@section
class WebSocket(Section):
    """`websocket`: messages are read and limited. Without it a WebSocket is a plain tunnel."""

    max_message: Bytes = setting(Size(), "A larger message closes with 1009.", default="1MiB")
    ping_interval: Seconds = setting(Duration(), "How often an idle peer is pinged.", default="30s")
    origins: Words = setting(
        ListOf(forms.ORIGIN, least=1), "Origins that may connect; none given: all may.", default=()
    )


@section
class Access(Section):
    """`access`: with `allow`, all else is denied; with `deny` alone, all else is allowed.

    A client on a Unix socket counts as 127.0.0.1.
    """

    allow: Networks = setting(ListOf(NetworkOf(), least=1), "Networks of clients that may come.", default=())
    allow_file: OptionalWord = setting(
        forms.FILE, "More of them: one network a line, `#` begins a comment.", default=None
    )
    deny: Networks = setting(
        ListOf(NetworkOf(), least=1), "Networks of clients that may not, even if allowed.", default=()
    )
    deny_file: OptionalWord = setting(forms.FILE, "More of them, as in `allow_file`.", default=None)

    def check(self, place: Place) -> None:
        if not (self.allow or self.allow_file or self.deny or self.deny_file):
            place.problem("give at least one of allow, allow_file, deny and deny_file")


@section
class Route(Section):
    """One of `[[routes]]`: a match and an action. The first route that matches wins."""

    name: Word = setting(forms.NAME, "Its name in logs and metrics; else `route-N` by its position.", default=DERIVED)
    match: Setting[Match | Mapping[str, Any], Match] = setting(
        Nested(lambda: Match), "Which requests it takes.", default=Match()
    )
    upstream: OptionalWord = setting(Reference("upstreams"), "Action: send to one of `[upstreams]`.", default=None)
    redirect: Setting[Redirect | Mapping[str, Any] | None, Redirect | None] = setting(
        Nested(lambda: Redirect), "Action: send the client elsewhere.", default=None
    )
    respond: Setting[Respond | Mapping[str, Any] | None, Respond | None] = setting(
        Nested(lambda: Respond), "Action: answer at once.", default=None
    )
    rewrite: Setting[Rewrite | Mapping[str, Any] | None, Rewrite | None] = setting(
        Nested(lambda: Rewrite), "Change the path for the server.", default=None
    )
    rate_limits: Words = setting(
        ListOf(Reference("rate_limits")), "Which of `[rate_limits]` hold, all of them.", default=()
    )
    concurrency_limits: Words = setting(
        ListOf(Reference("concurrency_limits")), "Which of `[concurrency_limits]` hold, all of them.", default=()
    )
    basic_auth: OptionalWord = setting(Reference("basic_auth"), "Which of `[basic_auth]` lets in.", default=None)
    jwt: OptionalWord = setting(Reference("jwt"), "Which of `[jwt]` lets in.", default=None)
    api_key: OptionalWord = setting(Reference("api_keys"), "Which of `[api_keys]` lets in.", default=None)
    client_certificate: Setting[ClientCertificate | Mapping[str, Any] | None, ClientCertificate | None] = setting(
        Nested(lambda: ClientCertificate), "Let in who has a client certificate.", default=None
    )
    forward_auth: Setting[ForwardAuth | Mapping[str, Any] | None, ForwardAuth | None] = setting(
        Nested(lambda: ForwardAuth), "Ask an upstream whether to let in.", default=None
    )
    access: Setting[Access | Mapping[str, Any] | None, Access | None] = setting(
        Nested(lambda: Access), "Client networks that may come.", default=None
    )
    waf: Setting[Waf | Mapping[str, Any] | None, Waf | None] = setting(
        Nested(lambda: Waf), "Look for attacks.", default=None
    )
    compress: Setting[Coding | Sequence[Coding], tuple[Coding, ...]] = setting(
        ListOf(OneOf[Coding](get_args(Coding))),
        "Codings that we offer; the client's q-values count first, this order among equals.",
        default=(),
    )
    timeouts: Setting[RouteTimeouts | Mapping[str, Any], RouteTimeouts] = setting(
        Nested(lambda: RouteTimeouts), "Timeouts of this route's own.", default=RouteTimeouts()
    )
    request_headers: Setting[HeaderEdits | Mapping[str, Any], HeaderEdits] = setting(
        Nested(lambda: HeaderEdits), "Changes to the headers that the server gets.", default=HeaderEdits()
    )
    response_headers: Setting[HeaderEdits | Mapping[str, Any], HeaderEdits] = setting(
        Nested(lambda: HeaderEdits), "Changes to the headers that the client gets.", default=HeaderEdits()
    )
    cors: Setting[Cors | Mapping[str, Any] | None, Cors | None] = setting(
        Nested(lambda: Cors), "Let scripts of other origins in.", default=None
    )
    csrf: Setting[Csrf | Mapping[str, Any] | None, Csrf | None] = setting(
        Nested(lambda: Csrf), "Refuse requests that other sites made a browser send.", default=None
    )
    security_headers: Setting[SecurityHeaders | Mapping[str, Any] | None, SecurityHeaders | None] = setting(
        Nested(lambda: SecurityHeaders), "Headers that tell browsers to be careful.", default=None
    )
    cookies: Setting[CookieFlags | Mapping[str, Any] | None, CookieFlags | None] = setting(
        Nested(lambda: CookieFlags), "Flags for the cookies that servers set.", default=None
    )
    rewrite_responses: Switch = setting(
        Flag(),
        "Put Location, Content-Location and the path and domain of cookies into the client's words where a server "
        "speaks of itself, or of paths that `rewrite` changed (nginx's proxy_redirect).",
        default=False,
    )
    cache: Setting[RouteCache | Mapping[str, Any] | None, RouteCache | None] = setting(
        Nested(lambda: RouteCache), "Store responses.", default=None
    )
    websocket: Setting[WebSocket | Mapping[str, Any] | None, WebSocket | None] = setting(
        Nested(lambda: WebSocket), "Read and limit WebSocket messages.", default=None
    )

    def check(self, place: Place) -> None:
        actions = [key for key in ("upstream", "redirect", "respond") if getattr(self, key) is not None]
        if len(actions) != 1:
            found = " and ".join(actions) if actions else "none"
            place.problem(f"a route has exactly one of upstream, redirect and respond; here is {found}")
            return
        if self.basic_auth is not None and self.jwt is not None:
            place.at("jwt").problem("basic_auth and jwt both need Authorization, which a request has once")
        if actions == ["upstream"]:
            return
        for key in ("rewrite", "rewrite_responses", "cache", "compress", "websocket"):
            if getattr(self, key):
                place.at(key).problem(f"{key} goes with upstream, not with {actions[0]}")

"""A cache in a drawn world: an origin whose pages change, clients that ask in every way, and what a cache may never do.

    report = simulate_cache(seed=7)

In the first phase things go wrong (answers are cut, reset, refused; clients leave), in the second only clients leave,
in the third nobody does. Checked are, at each answer: it is for what was asked, byte for byte one version of the page,
and no older than its headers allow; at each fact: the store's bytes; in the second phase: who stays gets all of it; in
the third: one request to the origin for all that ask for a page; in the end: nothing is left. A violation raises
`SimulationFailed`, by the same seed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from proxycore.config import Cache, Config, Limits, Listener, Retries, Route, RouteCache, Timeouts, Upstream
from proxycore.core import Core
from proxycore.filters.filling import SharedCache
from proxycore.testing.checkers import Checker, Violation, all_checkers
from proxycore.testing.far_reader import Data, Event, FarReader, Head
from proxycore.testing.network import Host, Network, Peer, Weather
from proxycore.testing.simulator import SimulationFailed
from proxycore.testing.traffic import content
from proxycore.words.commands import Purge
from proxycore.words.effects import Effect
from proxycore.words.notices import Fault, Notice

START, WALL = 1_000.0, 1_800_000_000.0
TROUBLED, RESTLESS, CALM = 60.0, 20.0, 30.0
"""Seconds of the phases. Pages that live longer than the last are asked for once in it."""

FORGOTTEN = 30.0
"""Seconds between phases, after which no cache remembers that a page could not be shared."""

Phase = Literal["troubled", "restless", "calm"]
LEAVING: Mapping[Phase, float] = {"troubled": 0.15, "restless": 0.4, "calm": 0.0}
"""The share of clients that leave in the middle of something."""

LATENCY_MAX = 0.1
LANGUAGES = (b"de", b"en")
ADDRESS = ("10.0.0.1", 8080)


@dataclass(slots=True)
class Page:
    """What the origin has at `path`, with `directives` as its Cache-Control.

    It may serve for `lifetime` seconds, and for `stale` beyond them. `valid_at` is when the origin last said so, by
    language and version.
    """

    path: bytes
    directives: bytes
    lifetime: float
    stale: float
    varies: bool
    size: int
    has_length: bool
    version: int = 0
    asked: int = 0
    valid_at: dict[tuple[bytes, int], float] = field(default_factory=dict)

    def language(self, head: Head) -> bytes:
        return (head.get(b"accept-language") or b"de") if self.varies else b"all"

    def text(self, language: bytes, version: int) -> bytes:
        return content(b"%b-%b-%d" % (self.path, language, version), self.size)

    def tag(self, language: bytes) -> bytes:
        return b'"%b-%d"' % (language, self.version)


def draw_pages(random: Random) -> dict[bytes, Page]:
    """A page of each kind, in several sizes."""
    kinds = (
        (b"max-age=120", 120.0, 0.0),
        (b"max-age=3", 3.0, 0.0),
        (b"s-maxage=2", 2.0, 0.0),
        (b"max-age=2, must-revalidate", 2.0, 0.0),
        (b"max-age=2, stale-while-revalidate=5", 2.0, 5.0),
        (b"max-age=2, stale-if-error=20", 2.0, 20.0),
        (b"no-cache, max-age=60", 0.0, 0.0),
        (b"no-store, max-age=60", 0.0, 0.0),
        (b"private, max-age=60", 0.0, 0.0),
    )
    pages = {}
    for number in range(14):
        directives, lifetime, stale = random.choice(kinds)
        path = b"/page-%d" % number
        size = random.choice((0, 10, 1_000, random.randint(1, 30_000)))
        pages[path] = Page(path, directives, lifetime, stale, random.random() < 0.4, size, random.random() < 0.6)
    return pages


class World:
    """What origin, clients and checkers share."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.pages = draw_pages(random)
        self.phase: Phase = "troubled"
        self.whole_max = 0  # bytes of a page that a store takes, so that nobody can fall too far behind
        self.answers = self.hits = 0
        self.network: Network

    def violate(self, text: str) -> None:
        raise Violation("cache", text)

    def chance(self, share: float) -> bool:
        """Whether something goes wrong now."""
        return self.phase == "troubled" and self.random.random() < share


class OriginConnection(Peer):
    """Answers requests for pages, mostly."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._reader = FarReader("request")
        self._head: Head | None = None

    def received(self, data: bytes) -> None:
        for event in self._reader.feed(data):
            if isinstance(event, Head):
                self._head = event
            elif not isinstance(event, Data):
                assert self._head is not None
                delay = self._world.random.choice((0.0, 0.01, 0.3))
                self._world.network.after(delay, self._answer, self._head)

    def _answer(self, head: Head) -> None:
        world = self._world
        method, target, _ = head.start
        page = world.pages[target]
        if world.chance(0.06):
            return self.link.reset()
        if world.chance(0.08):
            return self.link.send(b"HTTP/1.1 503 X\r\nContent-Length: 5\r\n\r\nsorry")
        if method == b"POST":
            page.version += 1
            return self.link.send(b"HTTP/1.1 204 X\r\n\r\n")
        language = page.language(head)
        page.valid_at[language, page.version] = world.network.now
        lines = [b"ETag: " + page.tag(language), b"Cache-Control: " + page.directives]
        if page.varies:
            lines.append(b"Vary: Accept-Language")
        if head.get(b"if-none-match") == page.tag(language):
            return self.link.send(b"HTTP/1.1 304 X\r\n%b\r\n\r\n" % b"\r\n".join(lines))
        page.asked += method == b"GET"
        self._send(page, language, lines, with_content=method == b"GET")

    def _send(self, page: Page, language: bytes, lines: list[bytes], *, with_content: bool) -> None:
        text = page.text(language, page.version)
        lines.append(b"Content-Length: %d" % len(text) if page.has_length else b"Transfer-Encoding: chunked")
        head = b"HTTP/1.1 200 X\r\n%b\r\n\r\n" % b"\r\n".join(lines)
        pieces = list(_framed(text, page.has_length)) if with_content else []
        if len(text) > 1 and with_content and self._world.chance(0.08):
            pieces = pieces[: len(pieces) // 2]
            self._world.network.after(1.0, self._cut)
        self.link.send(head)
        self._send_on(pieces, self._world.random.choice((0.0, 0.0, 0.05)))

    def _send_on(self, pieces: list[bytes], gap: float) -> None:
        for number, piece in enumerate(pieces):
            if gap:
                self._world.network.after(gap * (number + 1), self.link.send, piece)
            else:
                self.link.send(piece)

    def _cut(self) -> None:
        if not self.link.is_lost:
            self.link.reset()

    def ended(self) -> None:
        self.link.close()


def _framed(text: bytes, has_length: bool) -> Iterator[bytes]:
    for start in range(0, len(text), 5_000):
        piece = text[start : start + 5_000]
        yield piece if has_length else b"%x\r\n%b\r\n" % (len(piece), piece)
    if not has_length:
        yield b"0\r\n\r\n"


class Client(Peer):
    """Asks for one page after the other, and checks what it gets."""

    def __init__(self, world: World, requests: Sequence[tuple[Page, bytes, list[bytes]]], leaves: bool) -> None:
        self._world = world
        self._requests = list(requests)
        self._leaves = leaves
        self._reader = FarReader("response")
        self._page: Page | None = None
        self._language = b""
        self._method = b""
        self._lines: list[bytes] = []
        self._sent_at = 0.0
        self._head: Head | None = None
        self._content = b""

    def opened(self) -> None:
        self._ask()

    def _ask(self) -> None:
        if not self._requests:
            self._page = None
            return self.link.close()
        self._page, self._method, self._lines = self._requests.pop()
        asked = Head(
            (b"", b"", b""), [(b"accept-language", line[17:]) for line in self._lines if line[:6] == b"Accept"]
        )
        self._language = self._page.language(asked)
        self._head, self._content = None, b""
        self._sent_at = self._world.network.now
        self._reader.methods.append(self._method)
        self.link.send(
            b"\r\n".join([b"%b %b HTTP/1.1" % (self._method, self._page.path), b"Host: a", *self._lines, b"", b""])
        )
        if self._leaves:
            self._world.network.after(self._world.random.uniform(0.0, 0.5), self._leave)

    def _leave(self) -> None:
        if not self.link.is_lost:
            self._page = None
            self.link.reset()

    def received(self, data: bytes) -> None:
        for event in self._reader.feed(data):
            self._follow(event)

    def ended(self) -> None:
        self._check_end()
        self.link.close()

    def lost(self, error: str) -> None:
        self._check_end()

    def _check_end(self) -> None:
        world, page = self._world, self._page
        if world.phase == "restless" and page is not None and page.size <= world.whole_max:
            world.violate(f"{page.path!r} broke off for one who stayed, after {len(self._content)} bytes")

    def _follow(self, event: Event) -> None:
        if isinstance(event, Head):
            self._head = event
            self._check_head(event)
        elif isinstance(event, Data):
            self._content += event.data
        else:
            assert self._head is not None
            self._check_content(self._head)
            self._ask()

    def _version(self, head: Head) -> int | None:
        """The version of the page that an answer is of; None for an error."""
        tag = head.get(b"etag")
        return None if tag is None else int(tag.strip(b'"').rpartition(b"-")[2])

    def _check_head(self, head: Head) -> None:
        world, page = self._world, self._page
        version = self._version(head)
        assert page is not None
        if version is None or self._method == b"POST":
            return
        world.answers += 1
        tag = head.get(b"etag") or b""
        if tag.strip(b'"').rpartition(b"-")[0] != self._language:
            world.violate(f"{page.path!r} in {self._language!r} was asked for, and {tag!r} came")
        told = page.valid_at.get((self._language, version))
        if told is None:
            return world.violate(f"{page.path!r}: the origin never had version {version}")
        self._check_age(head, page, world.network.now - told)

    def _check_age(self, head: Head, page: Page, age: float) -> None:
        world = self._world
        hit = b"; hit" in (head.get(b"cache-status") or b"")
        world.hits += hit
        # A request takes as long to come to us as its answer takes back; and what was asked for is valid when it came.
        slack = 2 * LATENCY_MAX + 0.01 + page.size / self.link.read_rate
        allowed = page.lifetime + page.stale
        if b"Cache-Control: no-cache" in self._lines:
            allowed = 0.0
        elif b"Cache-Control: max-age=1" in self._lines:
            allowed = min(allowed, 1.0)
        if hit and age > allowed + slack:
            world.violate(
                f"{page.path!r} is {age:.2f} s old, and {allowed:g} are allowed: {self._lines}, {head.fields}"
            )
        if hit and allowed == 0.0:
            world.violate(f"{page.path!r} came from the store: {page.directives!r}, {self._lines}")
        told = int(head.get(b"age") or b"0")
        if hit and told < age - slack - 1.0:
            world.violate(f"{page.path!r} is {age:.2f} s old, and its Age says {told}")

    def _check_content(self, head: Head) -> None:
        page, version = self._page, self._version(head)
        assert page is not None
        if version is None or self._method != b"GET" or head.status not in (200, 206):
            return
        text = page.text(self._language, version)
        if head.status == 206:
            first, _, rest = (head.get(b"content-range") or b"").removeprefix(b"bytes ").partition(b"-")
            if b"Range: bytes=%b-" % first not in self._lines:
                self._world.violate(f"{page.path!r}: {head.fields} for {self._lines}")
            text = text[int(first) : int(rest.partition(b"/")[0]) + 1]
        if self._content != text:
            self._world.violate(f"{page.path!r}: {len(self._content)} bytes that are not version {version}")


class Bytes(Checker):
    """The store never holds more than it may, and what it reserves is given back."""

    name = "cache"

    def __init__(self, core: Core) -> None:
        self._core = core

    @property
    def _shared(self) -> SharedCache:
        return self._core._own_filters._caches["main"]

    def fact(self, now: float, name: str, arguments: tuple[Any, ...], effects: Sequence[Effect]) -> None:
        store = self._shared.store
        if store.used > store.size:
            self.violate(f"{store.used} bytes are stored, and {store.size} may be")

    def finished(self) -> None:
        shared = self._shared
        if shared.store.reserved or shared.flights or shared._fills:
            self.violate(f"left: {shared.store.reserved} bytes, flights {shared.flights}, fills {len(shared._fills)}")


@dataclass(frozen=True, slots=True)
class CacheReport:
    """What a run was: answers of pages that clients got, hits among them, requests that pages saw."""

    seed: int
    answers: int
    hits: int
    asked: int


def _configuration(random: Random) -> Config:
    cache = RouteCache(store="main", lock_timeout=20)
    return Config(
        timeouts=Timeouts(response_head=5, response_body=5, send=5, drain=15),
        limits=Limits(buffer=random.choice((1_024, 65_536))),
        listeners=[Listener(name="web", bind="192.0.2.10:80")],
        upstreams={"api": Upstream(servers=["http://10.0.0.1:8080"], retries=Retries(max=1))},
        caches={"main": Cache(size=random.choice((60_000, 1_000_000)), object_max=random.choice((20_000, 50_000)))},
        routes=[Route(upstream="api", cache=cache)],
    )


class CacheSimulation:
    """One run; `simulate_cache` is the usual way to have it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random = Random(seed)
        self.world = World(random)
        self.config = _configuration(random)
        self.core = Core(
            self.config, now=START, wall=WALL, seed=1, entropy=Random(seed).randbytes, watch=("faults", "exchanges")
        )
        self.checkers = [*all_checkers(self.core), Bytes(self.core)]
        weather = Weather(
            latency=random.choice(((0.0, 0.0), (0.001, LATENCY_MAX))), cut=random.choice(("whole", "some"))
        )
        observers = [checker for checker in self.checkers if type(checker).fact is not Checker.fact]
        self.network = self.world.network = Network(
            self.core, random=random, weather=weather, now=START, observers=observers, on_notices=self._noticed
        )
        self.world.whole_max = self.config.caches["main"].object_max
        self.network.hosts[ADDRESS] = Host(lambda: OriginConnection(self.world))
        self.network.listen(["web"])

    def _noticed(self, notices: Sequence[Notice]) -> None:
        for checker in self.checkers:
            noticed = getattr(checker, "noticed", None)
            if noticed is not None:
                noticed(notices)
        for notice in notices:
            if isinstance(notice, Fault):
                raise Violation("faults", notice.traceback)

    def run(self) -> CacheReport:
        """Both phases. Raises SimulationFailed."""
        try:
            self._play(TROUBLED, clients=30)
            self.network.run(START + TROUBLED + FORGOTTEN)
            self._be_restless()
            self._play(RESTLESS, clients=20)
            self.network.run(self.network.now + FORGOTTEN)
            self._be_calm()
            self._play(CALM, clients=10)
            self.network.run(self.network.now + CALM + 10.0)
            self._check_asked()
            self.network.tell("drain_requested", self.network.now + 15.0)
            self.network.run(self.network.now + 100.0)
            for checker in self.checkers:
                checker.finished()
        except Violation as violation:
            raise SimulationFailed(self.seed, violation, "(proxycore.testing.cache_simulation)") from violation
        except AssertionError as error:
            raise SimulationFailed(self.seed, Violation("exceptions", repr(error)), "") from error
        world = self.world
        return CacheReport(self.seed, world.answers, world.hits, sum(page.asked for page in world.pages.values()))

    def _be_restless(self) -> None:
        """From here on clients leave, and an operator purges; nothing else goes wrong."""
        self.world.phase = "restless"
        for page in self.world.pages.values():
            for _ in range(5):
                after = self.random.uniform(0.0, RESTLESS)
                self.network.after(after, self.network.tell, "commanded", Purge("url", f"http://a{page.path.decode()}"))

    def _be_calm(self) -> None:
        """From here on nobody leaves, and the store begins empty."""
        self.world.phase = "calm"
        shared = self.core._own_filters._caches["main"]
        for page in self.world.pages.values():
            shared.invalidate(b"http://a" + page.path)
            page.asked = 0

    def _play(self, seconds: float, *, clients: int) -> None:
        random, network = self.random, self.network
        for _ in range(clients):
            network.after(random.uniform(0.0, seconds), self._connect)
        if self.world.phase != "calm":
            for _ in range(20):
                network.after(
                    random.uniform(0.0, seconds), self._change, random.choice(list(self.world.pages.values()))
                )
        network.run(network.now + seconds)

    def _change(self, page: Page) -> None:
        page.version += 1

    def _connect(self) -> None:
        random, world = self.random, self.world
        pages = list(world.pages.values())
        # Some pages are asked for by many, at once.
        chosen = [pages[min(random.randrange(len(pages)), random.randrange(len(pages)))] for _ in range(6)]
        requests = [(page, *self._draw(page)) for page in chosen]
        for _ in range(5 if world.phase == "restless" else random.choice((1, 1, 5))):
            client = Client(world, requests, leaves=random.random() < LEAVING[world.phase])
            link = self.network.connect("web", client)
            if random.random() < 0.1:
                link.read_rate = 50_000.0

    def _draw(self, page: Page) -> tuple[bytes, list[bytes]]:
        random = self.random
        lines = [b"Accept-Language: " + random.choice(LANGUAGES)]
        if self.world.phase == "calm":
            return b"GET", lines
        draw = random.random()
        if draw < 0.05:
            return b"POST", [*lines, b"Content-Length: 0"]
        if draw < 0.15:
            return b"HEAD", lines
        if draw < 0.25:
            lines.append(b"Cache-Control: " + random.choice((b"no-cache", b"max-age=1")))
        elif draw < 0.35:
            lines.append(b'If-None-Match: "%b-%d"' % (lines[0][17:] if page.varies else b"all", page.version))
        elif draw < 0.45:
            lines.append(b"Range: bytes=%d-" % random.randint(0, 50))
        return b"GET", lines

    def _check_asked(self) -> None:
        """Of what outlives the calm phase, the origin was asked once for each language that was wanted."""
        cache = self.config.caches["main"]
        if cache.size < 500_000:
            return  # what was asked for once may have had to go
        for page in self.world.pages.values():
            if page.lifetime > 2 * CALM and page.size < cache.object_max and page.asked > (2 if page.varies else 1):
                self.world.violate(f"{page.path!r} was asked for {page.asked} times, and lives {page.lifetime:g} s")


def simulate_cache(seed: int) -> CacheReport:
    """One run by a seed. Raises SimulationFailed."""
    return CacheSimulation(seed).run()


def statistics(seeds: Sequence[int]) -> Counter[str]:
    """Answers, hits and requests to the origin, over some runs."""
    total: Counter[str] = Counter()
    for seed in seeds:
        report = simulate_cache(seed)
        total.update(answers=report.answers, hits=report.hits, asked=report.asked)
    return total

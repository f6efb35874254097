"""Every policy: what it may never pick, how it shares, and that it looks at few servers for a pick."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from itertools import groupby, pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxycore.policies.balancing.balancers import POLICIES, make_balancer
from proxycore.policies.balancing.load import LeastTime
from proxycore.policies.balancing.ring import Hashed
from proxycore.policies.balancing.rotation import schedule, smooth_order, spread_order
from proxycore.policies.balancing.tiers import ATTEMPTS, Balancer, Candidate
from proxycore.policies.trace import Trace

NAMES = sorted(POLICIES)
HASHES = [name for name in NAMES if POLICIES[name] is Hashed]


class Server:
    """A candidate that counts how often it is looked at."""

    def __init__(self, index: int, weight: float = 1.0, *, backup: bool = False, limit: float = inf) -> None:
        self.index = index
        self.name = f"10.0.{index // 250}.{index % 250}:8080"
        self.weight = self.full_weight = weight
        self.reason = ""
        self.active = 0
        self.backup = backup
        self.available = True
        self.limit = limit
        self.looks = 0

    @property
    def is_full(self) -> bool:
        self.looks += 1
        return self.active >= self.limit

    def __repr__(self) -> str:
        return f"Server(#{self.index}, weight={self.weight}, {self.active}/{self.limit})"


def servers_of(*weights: float) -> list[Server]:
    return [Server(index, weight) for index, weight in enumerate(weights)]


def balancer_of(policy: str, servers: Sequence[Server], seed: int = 1) -> Balancer:
    balancer = make_balancer(policy, Random(seed))
    balancer.rebuild(servers)
    return balancer


def pick(balancer: Balancer, key: bytes | None = None, tried: tuple[Candidate, ...] = ()) -> Server:
    server = balancer.pick(key, tried)
    assert isinstance(server, Server)
    return server


def start(balancer: Balancer, server: Server) -> None:
    server.active += 1
    balancer.started(server)


def end(balancer: Balancer, server: Server, seconds: float | None = 0.01) -> None:
    server.active -= 1
    balancer.ended(server, seconds)


# ---- what holds for every policy -----------------------------------------------------------------------------------


class AnyPolicy(RuleBasedStateMachine):
    """Servers come, go, fill up and fail, exchanges start and end, also elsewhere than where the balancer said."""

    @initialize(policy=st.sampled_from(NAMES), seed=st.integers(0, 5))
    def begin(self, policy: str, seed: int) -> None:
        self.policy = policy
        self.balancer = make_balancer(policy, Random(seed))
        self.made = 0
        self.servers: list[Server] = []
        self.running: list[Server] = []
        for limit in (inf, 1, 2):
            self.join(1.0, False, limit)

    @precondition(lambda self: self.made < 12)
    @rule(weight=st.sampled_from([1.0, 2.0, 5.0, 0.3]), backup=st.booleans(), limit=st.sampled_from([1, 2, 3, inf]))
    def join(self, weight: float, backup: bool, limit: float) -> None:
        self.servers.append(Server(self.made, weight, backup=backup, limit=limit))
        self.made += 1
        self.balancer.rebuild(self.servers)

    @precondition(lambda self: self.servers)
    @rule(data=st.data(), change=st.sampled_from(["leave", "fail", "recover", "weigh", "drain"]))
    def change(self, data: st.DataObject, change: str) -> None:
        server = data.draw(st.sampled_from(self.servers))
        if change == "leave":
            self.servers.remove(server)
        elif change == "fail":
            server.available = False
        elif change == "recover":
            server.available = True
        else:
            server.weight = server.full_weight = 4.0 if change == "weigh" else 0.0
        self.balancer.rebuild(self.servers)

    @rule(data=st.data(), key=st.sampled_from([None, b"", b"a", b"/b"]), tries=st.integers(0, 3))
    def send(self, data: st.DataObject, key: bytes | None, tries: int) -> None:
        tried = tuple(data.draw(st.permutations(self.servers)))[:tries]
        able = [s for s in self.servers if s.available and s.weight and not s.is_full and s not in tried]
        primaries = [server for server in able if not server.backup]
        server = self.balancer.pick(key, tried)
        if not able:
            assert server is None
            return
        assert server in (primaries or able)
        assert isinstance(server, Server)
        if self.policy == "least_connections":
            assert server.active / server.weight == min(s.active / s.weight for s in primaries or able)
        start(self.balancer, server)
        self.running.append(server)

    @precondition(lambda self: self.servers)
    @rule(data=st.data())
    def send_elsewhere(self, data: st.DataObject) -> None:
        server = data.draw(st.sampled_from(self.servers))
        if not server.is_full:
            start(self.balancer, server)
            self.running.append(server)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), seconds=st.sampled_from([None, 0.0, 0.001, 5.0]))
    def end(self, data: st.DataObject, seconds: float | None) -> None:
        server = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        end(self.balancer, server, seconds)

    @invariant()
    def everyone_is_found(self) -> None:
        if not hasattr(self, "servers"):
            return
        able = any(s.available and s.weight and not s.is_full for s in self.servers)
        assert (self.balancer.pick(None) is not None) is able


TestAnyPolicy = AnyPolicy.TestCase
TestAnyPolicy.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("policy", NAMES)
def test_the_same_seed_and_facts_give_the_same_picks(policy: str) -> None:
    def run() -> list[int]:
        balancer, picked, running = balancer_of(policy, servers_of(1, 2, 3, 4)), [], deque[Server]()
        for turn in range(200):
            server = pick(balancer, b"%d" % turn)
            picked.append(server.index)
            start(balancer, server)
            running.append(server)
            if turn % 3:
                end(balancer, running.popleft(), 0.001 * (turn % 7))
        return picked

    assert run() == run()


@pytest.mark.parametrize("policy", NAMES)
@pytest.mark.parametrize("situation", ["idle", "busy", "one is open", "all are full"])
def test_a_pick_looks_at_few_of_many_servers(policy: str, situation: str) -> None:
    servers = [Server(index, 1.0 + index % 3, limit=3) for index in range(3000)]
    balancer = balancer_of(policy, servers)
    load = {"idle": 0, "busy": 2, "one is open": 3, "all are full": 3}[situation]
    for _ in range(load):
        for server in servers:
            start(balancer, server)
    if situation == "one is open":
        end(balancer, servers[1234])
    before = sum(server.looks for server in servers)
    for turn in range(200):
        assert (balancer.pick(b"%d" % turn) is None) is (situation == "all are full")
    looks = sum(server.looks for server in servers) - before
    # Those by load put each server that has filled up aside when they first come upon it, once.
    put_aside = len(servers) if policy.startswith("least") else 0
    assert looks <= put_aside + 200 * ((Hashed.WALK if policy in HASHES else ATTEMPTS) + 2)
    if situation == "idle":
        assert looks <= 200 * 5


@pytest.mark.parametrize("policy", NAMES)
def test_no_servers_give_none(policy: str) -> None:
    assert make_balancer(policy, Random(1)).pick(b"key") is None
    assert balancer_of(policy, []).pick(b"key") is None


@pytest.mark.parametrize("policy", NAMES)
def test_facts_about_a_server_that_is_gone_are_ignored(policy: str) -> None:
    servers = servers_of(1, 1)
    balancer = balancer_of(policy, servers)
    start(balancer, servers[0])
    balancer.rebuild(servers[1:])
    end(balancer, servers[0])
    assert pick(balancer, b"key") is servers[1]


@pytest.mark.parametrize("policy", NAMES)
def test_a_trace_tells_who_was_passed_over_and_why(policy: str) -> None:
    servers = servers_of(1, 1, 1, 0, 1)
    servers[0].available = False
    servers[0].reason = "down: check failed"
    servers[1].limit = 0
    servers[4].backup = True
    balancer = balancer_of(policy, servers)
    trace = Trace()
    balancer.pick(b"key", (servers[2],), trace)
    assert [(step.verdict, step.name, step.reason) for step in trace][:4] == [
        ("passed over", servers[0].name, "down: check failed"),
        ("passed over", servers[1].name, "at max_connections"),
        ("passed over", servers[2].name, "tried already"),
        ("passed over", servers[3].name, "its weight is 0"),
    ]
    assert trace.steps[-1].name == servers[4].name
    assert trace.steps[-1].reason.startswith("no primary can take it")
    trace = Trace()
    assert balancer.pick(b"key", servers, trace) is None
    assert trace.steps[-1].verdict == "found none"


@pytest.mark.parametrize("policy", NAMES)
def test_a_server_that_starts_slowly_takes_its_part_of_a_share(policy: str) -> None:
    servers = servers_of(*[1] * 5)
    servers[0].weight = 0.2
    balancer = balancer_of(policy, servers)
    shares: Counter[str] = Counter()
    for turn in range(4_000):
        server = pick(balancer, b"/page/%d" % turn)
        shares[server.name] += 1
        start(balancer, server)
        end(balancer, server)
    # With one exchange at a time there is no load to compare: these two prefer who could take more.
    least = 0.0 if policy in ("random_two", "least_time") else 0.2 / 4.2
    assert least * 0.5 * 4_000 <= shares[servers[0].name] <= 0.11 * 4_000


# ---- round robin ---------------------------------------------------------------------------------------------------


def naive_nginx_order(weights: Sequence[int]) -> list[int]:
    """`ngx_http_upstream_get_peer`, as it is written there."""
    credits = [0] * len(weights)
    order = []
    for _ in range(sum(weights)):
        best = None
        for position, weight in enumerate(weights):
            credits[position] += weight
            if best is None or credits[position] > credits[best]:
                best = position
        assert best is not None
        credits[best] -= sum(weights)
        order.append(best)
    return order


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12))
def test_the_order_is_that_of_nginx(weights: list[int]) -> None:
    assert smooth_order(weights) == naive_nginx_order(weights)


def test_the_order_of_nginx_is_kept_where_fractions_or_divisors_hide_it() -> None:
    assert [*map("abc".__getitem__, schedule([5, 1, 1]))] == [*"aabacaa"]
    assert schedule([10, 2, 2]) == schedule([2.5, 0.5, 0.5]) == schedule([5, 1, 1])
    assert schedule([0.7] * 5) == [0, 1, 2, 3, 4]
    assert schedule([]) == []


@given(st.lists(st.integers(1, 9), min_size=2, max_size=9))
def test_shares_are_exact_over_a_period_and_runs_are_short(weights: list[int]) -> None:
    order = schedule(weights)
    counts = Counter(order)
    assert [counts[position] * sum(weights) for position in range(len(weights))] == [
        weight * len(order) for weight in weights
    ]
    for position, run in groupby(order + order):
        others = sum(weights) - weights[position]
        assert len(list(run)) <= -(-weights[position] // others) + 2


@given(st.lists(st.floats(0.01, 1000.0), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_irregular_weights_are_right_to_a_turn_and_never_far_from_it(weights: list[float]) -> None:
    order = schedule(weights)
    shares = [weight / sum(weights) for weight in weights]
    period = max(4096, 8 * len(weights))
    if len(order) < period - len(weights):
        period = len(order)  # weights in a ratio that a short period gives exactly
    if len(order) > period / 2:
        counts = Counter(order)
        assert all(abs(counts[position] - share * period) <= 1 for position, share in enumerate(shares))
    true_shares = [Counter(order)[position] / len(order) for position in range(len(weights))]
    seen = [0] * len(weights)
    for turn, position in enumerate(order, 1):
        seen[position] += 1
        share = true_shares[position]
        assert abs(seen[position] - turn * share) <= 1 + share * len(weights)


def test_large_coprime_weights_have_a_bounded_period() -> None:
    order = schedule([1_000_003, 999_983, 500_009])
    assert 4000 <= len(order) <= 4200
    assert abs(order.count(0) / len(order) - 0.4) < 0.001
    assert max(len(list(run)) for _, run in groupby(order)) <= 2


def test_hundreds_of_different_weights_do_not_come_in_bursts() -> None:
    order = spread_order(range(1, 301))
    assert len(order) == sum(range(1, 301))
    assert max(len(list(run)) for _, run in groupby(order)) <= 2


def test_a_heavy_server_does_not_wait_for_all_the_light_ones() -> None:
    order = spread_order([50] + [1] * 50)
    turns = [turn for turn, position in enumerate(order) if position == 0]
    assert max(later - turn for turn, later in pairwise(turns)) <= 5


def test_round_robin_begins_with_the_first_and_goes_round() -> None:
    servers = servers_of(1, 1, 1)
    balancer = balancer_of("round_robin", servers)
    assert [pick(balancer).index for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    servers[1].available = False
    balancer.rebuild(servers)
    assert Counter(pick(balancer).index for _ in range(100)) == {0: 50, 2: 50}


def test_round_robin_is_fair_though_something_changes_after_each_pick() -> None:
    servers = servers_of(3, 2, 1)
    balancer = balancer_of("round_robin", servers)
    picked: Counter[int] = Counter()
    for _ in range(6000):
        picked[pick(balancer).index] += 1
        balancer.rebuild(servers)
    assert picked[0] == pytest.approx(3000, abs=150)
    assert picked[2] == pytest.approx(1000, abs=120)


# ---- random --------------------------------------------------------------------------------------------------------


def test_random_shares_by_weight() -> None:
    balancer = balancer_of("random", servers_of(1, 2, 5))
    picked = Counter(pick(balancer).index for _ in range(16_000))
    assert [picked[0], picked[1], picked[2]] == pytest.approx([2000, 4000, 10_000], abs=300)


def test_random_shares_by_weight_among_those_that_are_left() -> None:
    servers = servers_of(1, 2, 5)
    balancer = balancer_of("random", servers)
    picked = Counter(pick(balancer, tried=(servers[2],)).index for _ in range(9_000))
    assert [picked[0], picked[1]] == pytest.approx([3000, 6000], abs=300)


def test_two_choices_are_two_different_servers_by_weight() -> None:
    servers = servers_of(1, 1, 8)
    servers[2].active = 9
    balancer = balancer_of("random_two", servers)
    picked = Counter(pick(balancer).index for _ in range(10_000))
    # The heavy one is the more loaded (9/8), so it always loses: each of the others wins with it or with its twin.
    assert picked[2] == 0
    assert picked[0] == pytest.approx(5000, abs=300)


def test_the_less_loaded_of_two_servers_is_always_found() -> None:
    for busy in (0, 1):
        servers = servers_of(1, 1)
        servers[busy].active = 5
        balancer = balancer_of("random_two", servers)
        assert {pick(balancer).index for _ in range(100)} == {1 - busy}


def test_two_choices_keep_loads_nearly_even() -> None:
    servers = servers_of(*[1] * 100)
    balancers = {name: balancer_of(name, servers) for name in ("random", "random_two")}
    most = {}
    for name, balancer in balancers.items():
        for server in servers:
            server.active = 0
        balancer.rebuild(servers)
        for _ in range(10_000):
            start(balancer, pick(balancer))
        most[name] = max(server.active for server in servers)
    assert most["random_two"] <= 104
    assert most["random"] >= 115


# ---- by load -------------------------------------------------------------------------------------------------------


def test_equals_take_turns_by_weight_when_all_are_idle() -> None:
    servers = servers_of(1, 2, 3)
    balancer = balancer_of("least_connections", servers)
    picked: Counter[int] = Counter()
    for _ in range(600):
        server = pick(balancer)
        picked[server.index] += 1
        start(balancer, server)
        end(balancer, server)
    assert [picked[0], picked[1], picked[2]] == pytest.approx([100, 200, 300], abs=2)


def test_who_was_busy_for_long_does_not_make_up_for_it() -> None:
    servers = servers_of(1, 1)
    balancer = balancer_of("least_connections", servers)
    start(balancer, servers[0])
    for _ in range(1000):
        server = pick(balancer)
        assert server is servers[1]
        start(balancer, server)
        end(balancer, server)
    end(balancer, servers[0])
    assert Counter(pick(balancer).index for _ in range(100))[0] <= 51


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(0, 200), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_entries_stay_bounded_and_loads_follow_weights(weights: list[int], exchanges: int, seed: int) -> None:
    servers = servers_of(*weights)
    balancer, chance = balancer_of("least_connections", servers), Random(seed)
    running: list[Server] = []
    for _ in range(exchanges):
        server = pick(balancer)
        assert server.active / server.weight == min(other.active / other.weight for other in servers)
        start(balancer, server)
        running.append(server)
        while running and chance.random() < 0.45:
            end(balancer, running.pop(chance.randrange(len(running))))
    assert len(balancer._primaries._heap) <= 2 * len(servers)  # type: ignore[attr-defined]


def test_a_server_that_joins_takes_turns_like_the_rest() -> None:
    servers = servers_of(1, 1, 1)
    balancer = balancer_of("least_connections", servers[:2])
    serve_one_by_one(balancer, {0: 0.01, 1: 0.01}, 1000)
    balancer.rebuild(servers)
    assert serve_one_by_one(balancer, dict.fromkeys(range(3), 0.01), 99)[2] <= 34


def serve_one_by_one(balancer: Balancer, seconds: dict[int, float], exchanges: int) -> Counter[int]:
    picked: Counter[int] = Counter()
    for _ in range(exchanges):
        server = pick(balancer)
        picked[server.index] += 1
        start(balancer, server)
        end(balancer, server, seconds[server.index])
    return picked


def test_least_time_prefers_the_fast_and_tries_the_slow_again() -> None:
    balancer = balancer_of("least_time", servers_of(1, 1, 1))
    seconds = {0: 0.010, 1: 0.100, 2: 0.012}
    serve_one_by_one(balancer, seconds, 300)
    picked = serve_one_by_one(balancer, seconds, 3000)
    assert picked[0] > 2500 > picked[2] > picked[1] > 5
    seconds = {0: 0.010, 1: 0.001, 2: 0.012}
    serve_one_by_one(balancer, seconds, 1500)
    assert serve_one_by_one(balancer, seconds, 1000)[1] > 900


def test_least_time_weighs_what_is_in_flight() -> None:
    servers = servers_of(1, 1)
    balancer = balancer_of("least_time", servers)
    for _ in range(50):
        for server, seconds in zip(servers, (0.010, 0.030), strict=True):
            start(balancer, server)
            end(balancer, server, seconds)
    for _ in range(80):
        start(balancer, pick(balancer))
    assert servers[0].active == pytest.approx(60, abs=3)


def test_least_time_treats_a_new_server_as_an_average_one() -> None:
    servers = servers_of(1, 1, 1)
    balancer = balancer_of("least_time", servers[:2])
    serve_one_by_one(balancer, {0: 0.010, 1: 0.010}, 100)
    balancer.rebuild(servers)
    for _ in range(90):
        start(balancer, pick(balancer))
    assert servers[2].active == pytest.approx(30, abs=2)


def test_least_time_counts_immeasurable_times_as_the_least_that_it_can_tell() -> None:
    servers = servers_of(1, 1)
    balancer = balancer_of("least_time", servers)
    picked = serve_one_by_one(balancer, {0: 0.0, 1: LeastTime.FLOOR / 2}, 200)
    assert picked[0] == pytest.approx(100, abs=10)


# ---- by key --------------------------------------------------------------------------------------------------------

KEYS = [b"/page/%d?q=%d" % (number, number * 7) for number in range(4000)]


def places(servers: Sequence[Server]) -> dict[bytes, str]:
    balancer = balancer_of("uri_hash", servers)
    return {key: pick(balancer, key).name for key in KEYS}


@pytest.mark.parametrize("policy", HASHES)
def test_a_key_stays_where_it_is(policy: str) -> None:
    servers = servers_of(*[1] * 10)
    first, second = balancer_of(policy, servers, seed=1), balancer_of(policy, servers[::-1], seed=2)
    assert all(pick(first, key) is pick(second, key) for key in KEYS)


@given(st.integers(2, 30), st.data())
@settings(max_examples=15, deadline=None)
def test_a_server_that_leaves_moves_only_its_own_keys(count: int, data: st.DataObject) -> None:
    servers = servers_of(*[1.0] * count)
    before = places(servers)
    leaver = data.draw(st.sampled_from(servers))
    rest = [server for server in servers if server is not leaver]
    after = places(rest)
    assert {key for key in KEYS if before[key] != after[key]} == {key for key in KEYS if before[key] == leaver.name}
    leaver.available = False
    assert places(servers) == after
    moved = sum(before[key] != after[key] for key in KEYS)
    assert moved <= 2 * len(KEYS) / count


def test_the_keys_of_a_server_that_leaves_are_shared_by_all_the_rest() -> None:
    servers = servers_of(*[1.0] * 10)
    before, after = places(servers), places(servers[1:])
    heirs = Counter(after[key] for key in KEYS if before[key] == servers[0].name)
    assert len(heirs) == 9


def test_shares_follow_weights() -> None:
    shares = Counter(places(servers_of(1, 2, 5)).values())
    total = sum(shares.values())
    assert [shares[server.name] / total for server in servers_of(1, 2, 5)] == pytest.approx(
        [1 / 8, 2 / 8, 5 / 8], abs=0.05
    )


def test_a_weight_that_grows_only_draws_keys() -> None:
    before, after = places(servers_of(1, 1, 1, 1)), places(servers_of(2, 1, 1, 1))
    gainer = servers_of(1)[0].name
    assert {after[key] for key in KEYS if before[key] != after[key]} == {gainer}


def test_a_server_that_starts_slowly_only_draws_keys_until_it_has_its_own() -> None:
    servers = servers_of(1, 1, 1, 1)
    full, absent = places(servers), places(servers[1:])
    shares, before = [], absent
    for tenths in range(1, 11):
        servers[0].weight = tenths / 10
        now = places(servers)
        assert {now[key] for key in KEYS if now[key] != before[key]} <= {servers[0].name}
        shares.append(sum(place == servers[0].name for place in now.values()))
        before = now
    assert before == full
    assert shares[0] <= 0.25 * shares[-1]
    assert shares[-1] * 0.35 <= shares[4] <= shares[-1] * 0.65


@given(st.lists(st.sampled_from([1.0, 2.0, 4.0]), min_size=2, max_size=12), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_load_is_bounded_though_all_want_few_keys(weights: list[float], keys: int) -> None:
    servers = servers_of(*weights)
    balancer = balancer_of("header_hash", servers)
    for turn in range(500):
        server = pick(balancer, b"%d" % (turn % keys))
        fair = (turn + 1) * server.weight / sum(weights)
        assert server.active < max(Hashed.SPARE, Hashed.EXCESS * fair)
        start(balancer, server)


def test_an_overloaded_server_gets_its_keys_back() -> None:
    servers = servers_of(1, 1, 1)
    balancer = balancer_of("uri_hash", servers)
    home = pick(balancer, b"/hot")
    running = []
    while (server := pick(balancer, b"/hot")) is home:
        start(balancer, server)
        running.append(server)
    assert len(running) == Hashed.SPARE
    end(balancer, running.pop())
    assert pick(balancer, b"/hot") is home


def test_without_a_key_the_place_is_random_by_weight() -> None:
    balancer = balancer_of("header_hash", servers_of(1, 3))
    picked = Counter(pick(balancer, None).index for _ in range(4000))
    assert picked[1] == pytest.approx(3000, abs=350)


def test_a_ring_of_very_heavy_servers_stays_bounded() -> None:
    balancer = balancer_of("uri_hash", servers_of(*[1000.0] * 20, 500.0))
    assert len(balancer._primaries._ring) <= Hashed.MOST_POINTS  # type: ignore[attr-defined]
    assert len({pick(balancer, key).name for key in KEYS}) == 21


# ---- a policy of the user's own ------------------------------------------------------------------------------------


class Highest:
    """Chooses the last of what it is offered, and writes down what that was."""

    def __init__(self) -> None:
        self.offers: list[list[int]] = []

    def choose(self, servers: Sequence[Candidate], key: bytes | None) -> Candidate | None:
        self.offers.append([server.index for server in servers])
        return None if key == b"none" else servers[-1]


def test_a_policy_of_the_users_own_is_offered_only_who_can_take_it() -> None:
    servers = servers_of(1, 1, 1, 1)
    servers[3].available = False
    servers[1].limit = 0
    chooser = Highest()
    balancer = make_balancer(chooser, Random(1))
    balancer.rebuild(servers)
    assert balancer.pick(b"key") is servers[2]
    assert balancer.pick(b"key", (servers[2],)) is servers[0]
    assert balancer.pick(b"none") is None
    assert balancer.pick(b"key", servers) is None
    assert chooser.offers == [[0, 2], [0], [0, 2]]

"""What Prometheus scrapes: the tallies and the state of servers, by its conventions for names, units and labels.

Values of labels are names of the configuration, statuses and causes: a client can't make new ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from proxycore.policies.statistics import BOUNDS, Tally, Where

if TYPE_CHECKING:
    from prometheus_client.core import Metric

MISSING = "metrics need the package prometheus-client: pip install 'proxycore[metrics]'"

SHOWN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)
"""Bounds of the histograms: a part of those that are counted, since each is a line for each series."""

_PATH = ("listener", "route", "upstream", "server")


def exposition(tallies: Mapping[Where, Tally], status: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The text, and its content type. `status` is what the API shows. Raises ImportError without the extra."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    from prometheus_client.registry import Collector

    class Families(Collector):
        def collect(self) -> Iterable[Metric]:
            return [
                *_of_exchanges(tallies),
                *_of_durations(tallies),
                *_of_upstreams(status["upstreams"]),
                *_of_caches(status["caches"]),
                *_of_guards(status["limits"], status["rules"]),
                *_of_process(status),
            ]

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families())
    return generate_latest(registry), CONTENT_TYPE_LATEST.encode()


def _of_exchanges(tallies: Mapping[Where, Tally]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    requests = CounterMetricFamily(
        "proxycore_requests",
        "Exchanges that have ended; code is empty where no response was sent.",
        labels=[*_PATH, "code"],
    )
    ends = CounterMetricFamily(
        "proxycore_incomplete",
        "Exchanges that were not completed, by cause and by where or why.",
        labels=[*_PATH, "cause", "detail"],
    )
    retries = CounterMetricFamily("proxycore_retries", "Tries beyond the first.", labels=_PATH)
    received = CounterMetricFamily("proxycore_received_bytes", "Content received from clients.", labels=_PATH)
    sent = CounterMetricFamily("proxycore_sent_bytes", "Content sent to clients.", labels=_PATH)
    for where, tally in tallies.items():
        for status, count in tally.statuses.items():
            requests.add_metric([*where, str(status) if status else ""], count)
        for (cause, detail), count in tally.causes.items():
            ends.add_metric([*where, cause, detail], count)
        retries.add_metric(where, tally.retries)
        received.add_metric(where, tally.received)
        sent.add_metric(where, tally.sent)
    yield from (requests, ends, retries, received, sent)


def _of_durations(tallies: Mapping[Where, Tally]) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    durations = HistogramMetricFamily(
        "proxycore_request_duration_seconds", "From the head that was read to the last byte that left.", labels=_PATH
    )
    first_bytes = HistogramMetricFamily(
        "proxycore_first_byte_seconds", "From the request sent upstream to the head of its response.", labels=_PATH
    )
    for where, tally in tallies.items():
        durations.add_metric(where, _cumulative(tally.durations), tally.duration_sum)
        first_bytes.add_metric(where, _cumulative(tally.first_bytes), tally.first_byte_sum)
    yield from (durations, first_bytes)


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    shown = []
    total = 0
    for bound, count in zip(BOUNDS, counts, strict=False):
        total += count
        if bound in SHOWN:
            shown.append((f"{bound:g}", float(total)))
    return [*shown, ("+Inf", float(sum(counts)))]


Views = Iterable[Mapping[str, Any]]
"""Entries of the status."""


def _of_upstreams(upstreams: Views) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    queued = GaugeMetricFamily("proxycore_upstream_queued", "Exchanges that wait for a server.", labels=["upstream"])
    labels = ["upstream", "server"]
    up = GaugeMetricFamily(
        "proxycore_server_up", "1: it takes requests. 0: it is down, ejected or taken out.", labels=labels
    )
    weight = GaugeMetricFamily("proxycore_server_weight", "Its share beside the other servers.", labels=labels)
    active = GaugeMetricFamily("proxycore_server_exchanges", "Exchanges that a server has.", labels=labels)
    open_ = GaugeMetricFamily("proxycore_server_connections", "Connections to a server.", labels=labels)
    changes = CounterMetricFamily(
        "proxycore_server_changes",
        "How often a server became up, down, ejected, drained ...",
        labels=[*labels, "state"],
    )
    for upstream in upstreams:
        queued.add_metric([upstream["name"]], upstream["queued"])
        for server in upstream["servers"]:
            key = [upstream["name"], server["name"]]
            up.add_metric(key, float(server["state"] == "up"))
            weight.add_metric(key, server["weight"])
            active.add_metric(key, server["active"])
            open_.add_metric(key, server["connections"])
            for state, count in server["turns"].items():
                changes.add_metric([*key, state], count)
    yield from (queued, up, weight, active, open_, changes)


_CACHE_RESULTS = {
    "hits": "hit",
    "stale": "stale",
    "revalidated": "revalidated",
    "joined": "joined",
    "misses": "miss",
    "bypassed": "bypass",
}


def _of_caches(caches: Views) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    requests = CounterMetricFamily(
        "proxycore_cache_requests", "Requests of routes with this cache, by what it did.", labels=["cache", "result"]
    )
    stored = CounterMetricFamily("proxycore_cache_stored", "Responses that came in.", labels=["cache"])
    evicted = CounterMetricFamily("proxycore_cache_evicted", "Responses that left for want of room.", labels=["cache"])
    purged = CounterMetricFamily("proxycore_cache_purged", "Responses that an operator removed.", labels=["cache"])
    objects = GaugeMetricFamily("proxycore_cache_objects", "Responses that it holds.", labels=["cache"])
    used = GaugeMetricFamily("proxycore_cache_used_bytes", "What they take.", labels=["cache"])
    size = GaugeMetricFamily("proxycore_cache_size_bytes", "What they may take.", labels=["cache"])
    for cache in caches:
        for figure, result in _CACHE_RESULTS.items():
            requests.add_metric([cache["name"], result], cache[figure])
        for family, figure in (
            (stored, "stored"),
            (evicted, "evicted"),
            (purged, "purged"),
            (objects, "objects"),
            (used, "used"),
            (size, "size"),
        ):
            family.add_metric([cache["name"]], cache[figure])
    yield from (requests, stored, evicted, purged, objects, used, size)


def _of_guards(limits: Views, rules: Views) -> Iterator[Metric]:
    """Of rate and concurrency limits, and of the firewall's rules."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    labels = ["limit", "kind"]
    refused = CounterMetricFamily("proxycore_limit_refused", "Requests that a limit refused.", labels=labels)
    delayed = CounterMetricFamily("proxycore_limit_delayed", "Requests that a limit made wait.", labels=labels)
    pushed_out = CounterMetricFamily(
        "proxycore_limit_keys_pushed_out", "Keys in debt that made way for others.", labels=labels
    )
    keys = GaugeMetricFamily("proxycore_limit_keys", "Keys that a limit remembers.", labels=labels)
    for limit in limits:
        key = [limit["name"], limit["kind"]]
        for family, figure in ((refused, "refused"), (delayed, "delayed"), (pushed_out, "pushed_out"), (keys, "keys")):
            family.add_metric(key, limit[figure])
    found = CounterMetricFamily(
        "proxycore_waf_found", "Heads and contents in which a rule found something.", labels=["rule"]
    )
    blocked = CounterMetricFamily("proxycore_waf_blocked", "Those of them that were refused.", labels=["rule"])
    for rule in rules:
        found.add_metric([rule["id"]], rule["found"])
        blocked.add_metric([rule["id"]], rule["blocked"])
    yield from (refused, delayed, pushed_out, keys, found, blocked)


def _of_process(status: Mapping[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

    yield InfoMetricFamily(
        "proxycore_build", "What serves.", value={"version": status["version"], "binding": status["binding"]}
    )
    yield GaugeMetricFamily("proxycore_workers", "Processes that serve.", value=status["workers"])
    yield GaugeMetricFamily("proxycore_draining", "1: it takes nothing new.", value=float(status["draining"]))
    yield GaugeMetricFamily("proxycore_exchanges_in_flight", "Exchanges going on.", value=status["exchanges"])
    connections = GaugeMetricFamily("proxycore_connections", "Connections of clients.", labels=["listener"])
    for listener in status["listeners"]:
        connections.add_metric([listener["name"]], listener["connections"])
    yield connections
    yield GaugeMetricFamily(
        "proxycore_start_time_seconds", "When the process began, since 1970.", value=status["started"]
    )
    yield CounterMetricFamily(
        "proxycore_notices_dropped", "Records that came too fast to be counted.", value=status["dropped"]
    )

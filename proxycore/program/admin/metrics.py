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
            return [*_of_exchanges(tallies), *_of_durations(tallies), *_of_state(status)]

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


def _of_state(status: Mapping[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    yield GaugeMetricFamily("proxycore_exchanges_in_flight", "Exchanges going on.", value=status["exchanges"])
    connections = GaugeMetricFamily("proxycore_connections", "Connections of clients.", labels=["listener"])
    for listener in status["listeners"]:
        connections.add_metric([listener["name"]], listener["connections"])
    yield connections
    queued = GaugeMetricFamily("proxycore_upstream_queued", "Exchanges that wait for a server.", labels=["upstream"])
    labels = ["upstream", "server"]
    up = GaugeMetricFamily(
        "proxycore_server_up", "1: it takes requests. 0: it is down, ejected or taken out.", labels=labels
    )
    active = GaugeMetricFamily("proxycore_server_exchanges", "Exchanges that a server has.", labels=labels)
    open_ = GaugeMetricFamily("proxycore_server_connections", "Connections to a server.", labels=labels)
    for upstream in status["upstreams"]:
        queued.add_metric([upstream["name"]], upstream["queued"])
        for server in upstream["servers"]:
            key = [upstream["name"], server["name"]]
            up.add_metric(key, float(server["state"] == "up"))
            active.add_metric(key, server["active"])
            open_.add_metric(key, server["connections"])
    yield from (queued, up, active, open_)
    yield GaugeMetricFamily(
        "proxycore_start_time_seconds", "When the process began, since 1970.", value=status["started"]
    )
    yield CounterMetricFamily(
        "proxycore_notices_dropped", "Records that came too fast to be counted.", value=status["dropped"]
    )

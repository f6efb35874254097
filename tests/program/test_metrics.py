"""What Prometheus scrapes, read as Prometheus reads it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from proxycore.policies.statistics import Statistics, Tally, Where
from proxycore.program.admin.metrics import exposition
from proxycore.program.admin.reports import Board, report
from proxycore.testing import Proxy
from proxycore.words.notices import Notice, ServerChanged

EVERYTHING = """
[[listeners]]
name = "web"
bind = "127.0.0.1:8080"
[upstreams.api]
servers = [{ name = "one", url = "http://127.0.0.1:3000", weight = 3 }]
[caches.main]
size = "1MiB"
object_max = "64KiB"
[rate_limits.few]
key = "client_ip"
rate = "1/h"
[[routes]]
name = "few"
match = { path = "/few" }
rate_limits = "few"
respond = {}
[[routes]]
name = "stored"
match = { path = "/stored" }
upstream = "api"
cache = { store = "main", valid = { 200 = "1m" } }
[[routes]]
name = "rest"
waf = { mode = "block" }
respond = {}
"""


class Counted(Proxy):
    """A proxy in memory whose records are counted as they come."""

    statistics = Statistics()

    def _notice(self, notices: Sequence[Notice]) -> None:
        self.statistics.take(notices)
        super()._notice(notices)


@pytest.fixture(scope="module")
def text() -> str:
    proxy = Counted.from_toml(EVERYTHING)
    for _ in range(3):
        proxy.get("http://a/few")
        journey = proxy.get("http://a/stored")
        if journey.outbound is not None:
            journey.returns(200, {}, b"kept")
        proxy.get("http://a/?q=<script>alert(1)</script>").is_refused(403)
    Counted.statistics.take([ServerChanged(1.0, "api", "one", "ejected", "a refused connect")])
    board = Board(version="1.2", binding="asyncio", started=5.0)
    board.take([report(proxy.core, Counted.statistics, {"began": 0.0})], 1.0)
    text, media_type = exposition(board.tallies, board.status())
    assert media_type.startswith(b"text/plain; version=")
    return text.decode()


@pytest.fixture(scope="module")
def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    family = name.removesuffix("_total")
    (found,) = [
        sample.value
        for sample in families[family].samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return float(found)


def test_every_figure_is_there(families: dict[str, Metric]) -> None:
    assert value(families, "proxycore_requests_total", route="few", code="200") == 1
    assert value(families, "proxycore_requests_total", route="few", code="429") == 2
    assert value(families, "proxycore_incomplete_total", cause="refused", detail="rate_limits.few") == 2
    assert value(families, "proxycore_limit_refused_total", limit="few", kind="rate") == 2
    assert value(families, "proxycore_limit_keys", limit="few", kind="rate") == 1
    assert value(families, "proxycore_cache_requests_total", cache="main", result="hit") == 2
    assert value(families, "proxycore_cache_requests_total", cache="main", result="miss") == 1
    assert value(families, "proxycore_cache_size_bytes", cache="main") == 1 << 20
    assert 0 < value(families, "proxycore_cache_used_bytes", cache="main") < 1 << 20
    assert {sample.value for sample in families["proxycore_waf_blocked"].samples} == {3}
    assert value(families, "proxycore_server_changes_total", upstream="api", server="one", state="ejected") == 1
    assert value(families, "proxycore_server_weight", upstream="api", server="one") == 3
    assert value(families, "proxycore_build_info", version="1.2", binding="asyncio") == 1
    assert value(families, "proxycore_start_time_seconds") == 5


def test_names_and_units_are_as_prometheus_wants_them(families: dict[str, Metric], text: str) -> None:
    """The rules of `promtool check metrics`, and of the page on naming."""
    for name, family in families.items():
        assert re.fullmatch(r"proxycore_[a-z]+(_[a-z]+)*", name)
        assert family.documentation.endswith((".", "..."))
        assert re.search(r"milli|micro|kilo|mega|_ms|_kb|_total|counter|gauge", name) is None
        samples = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert samples <= {f"{name}_total"}
        else:
            assert not any(sample.endswith("_total") for sample in samples)
        for sample in family.samples:
            assert all(re.fullmatch("[a-z]+", label) for label in sample.labels)
        series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
        assert len(series) == len(set(series))
    assert text.count("# HELP ") == text.count("# TYPE ") == len(families)


def test_histograms_are_cumulative_and_whole(families: dict[str, Metric]) -> None:
    for name in ("proxycore_request_duration_seconds", "proxycore_first_byte_seconds"):
        by_place: dict[tuple[str, ...], list[tuple[float, float]]] = {}
        totals: dict[tuple[str, ...], float] = {}
        for sample in families[name].samples:
            place = tuple(value for label, value in sorted(sample.labels.items()) if label != "le")
            if sample.name.endswith("_bucket"):
                by_place.setdefault(place, []).append((float(sample.labels["le"]), sample.value))
            elif sample.name.endswith("_count"):
                totals[place] = sample.value
        assert by_place
        for place, buckets in by_place.items():
            bounds, counts = zip(*buckets, strict=True)
            assert list(bounds) == sorted(bounds)
            assert bounds[-1] == math.inf
            assert list(counts) == sorted(counts)
            assert counts[-1] == totals[place]


def test_labels_are_bounded_and_escaped() -> None:
    """What a client sends is no label; a name of the configuration may be anything."""
    tally, where = Tally(), Where("web", 'a "quoted"\\route\n', "api", "one")
    tally.statuses[200] = 1
    board = Board(version="1", binding="asyncio", started=0.0)
    board.take([report(Proxy.from_toml(EVERYTHING).core, Statistics(), {"began": 0.0})], 1.0)
    text, _ = exposition({where: tally}, board.status())
    parsed = {family.name: family for family in text_string_to_metric_families(text.decode())}
    assert parsed["proxycore_requests"].samples[0].labels["route"] == where.route
    labels = {label for family in parsed.values() for sample in family.samples for label in sample.labels}
    assert not labels & {"client", "method", "target", "authority", "user", "request_id"}

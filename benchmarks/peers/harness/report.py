"""Medians of rounds, and tables of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from harness.measuring import Idle, Measured, Round
from harness.scenarios import Scenario

YARDSTICK = "nginx"
"""The proxy whose CPU the others are told in."""

DISTURBED = 0.2
"""The share of a core taken by others above which the summary marks a figure: it is larger than it would be alone."""


def report(scenario: Scenario, measured: Measured) -> str:
    """The scenario's table in Markdown, the least CPU first, and why what is missing is missing."""
    table = _idle_table(measured.idle) if scenario.generator == "idle" else _load_table(scenario, measured.rounds)
    notes = "".join(f"\n- {name}: not measured: {reason}" for name, reason in measured.failures.items())
    return f"### {scenario.name}: {scenario.title}\n\n{table}\n{notes}{notes and chr(10)}"


def _load_table(scenario: Scenario, rounds: dict[str, list[Round]]) -> str:
    header = ["proxy", "CPU us", f"x {YARDSTICK}", "msg/s" if scenario.generator == "websocket" else "req/s", "min-max"]
    header += ["MB/s"] if scenario.megabytes else []
    header += ["p50 ms", "p99 ms", "proxy core", "load core", "other", "RSS MiB", "errors"]
    cpu = {name: middle(of, lambda one: one.cpu_us) for name, of in rounds.items()}
    yardstick = cpu.get(YARDSTICK, 0.0)
    rows = []
    for name in sorted(rounds, key=cpu.__getitem__):
        of = rounds[name]
        rates = [one.per_second for one in of]
        row = [name, f"{cpu[name]:,.1f}", f"{cpu[name] / yardstick:.2f}" if yardstick else "-"]
        row += [f"{median(rates):,.0f}", f"{min(rates):,.0f}-{max(rates):,.0f}"]
        if scenario.megabytes:
            sent = middle(
                of, lambda one: (one.burst.bytes + scenario.upload_bytes * one.burst.requests) / one.burst.seconds
            )
            row.append(f"{sent / 1e6:,.0f}")
        row += [f"{middle(of, lambda one: one.burst.p50_ms):,.2f}", f"{middle(of, lambda one: one.burst.p99_ms):,.2f}"]
        row += [f"{middle(of, share):.0%}" for share in SHARES]
        row += [f"{middle(of, lambda one: one.rss_mib):,.0f}", str(sum(one.burst.errors for one in of))]
        rows.append(row)
    return markdown(header, rows)


def summary(results: Mapping[str, Measured]) -> str:
    """All scenarios in one table, a line each: CPU us for each request, or KiB for each idle connection."""
    columns = list(dict.fromkeys(name for measured in results.values() for name in [*measured.rounds, *measured.idle]))
    rows = [[scenario, *(_cell(measured, name) for name in columns)] for scenario, measured in results.items()]
    return markdown(["", *columns], rows)


def _cell(measured: Measured, name: str) -> str:
    if name in measured.idle:
        return f"{measured.idle[name].kib_per_connection:.1f} KiB"
    of = measured.rounds.get(name)
    if of is None:
        return ""
    cpu, foreign = middle(of, lambda one: one.cpu_us), middle(of, lambda one: one.foreign)
    return (f"{cpu:,.0f}" if cpu >= 100 else f"{cpu:.1f}") + (" ~" if foreign > DISTURBED else "")


SHARES: tuple[Callable[[Round], float], ...] = (
    lambda one: one.proxy_core,
    lambda one: one.load_core,
    lambda one: one.foreign,
)


def middle(rounds: Sequence[Round], what: Callable[[Round], float]) -> float:
    return median(what(one) for one in rounds)


def _idle_table(idle: dict[str, Idle]) -> str:
    header = [
        "proxy",
        "KiB/connection",
        "alive",
        "asked",
        "PSS MiB before",
        "after",
        "RSS MiB before",
        "after",
        "open s",
    ]
    rows = [
        [name, f"{one.kib_per_connection:.1f}", str(one.alive), str(one.asked)]
        + [f"{value:.1f}" for value in (one.pss_before_mib, one.pss_after_mib, one.rss_before_mib, one.rss_after_mib)]
        + [f"{one.open_seconds:.1f}"]
        for name, one in sorted(idle.items(), key=lambda item: item[1].kib_per_connection)
    ]
    return markdown(header, rows)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns line up as text too; the first is aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join([first, *others]) + " |"

    first, *others = widths
    rule = "|".join(["", "-" * (first + 2), *("-" * (width + 1) + ":" for width in others), ""])
    return "\n".join([line(header), rule, *map(line, rows)])

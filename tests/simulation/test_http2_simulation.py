"""Clients that speak HTTP/2 in simulated worlds, and the bugs that they must notice there."""

from __future__ import annotations

import pytest

from proxycore.testing import simulate
from tests.simulation.mutants import Mutant, first_catch

SEEDS = 30

MUTANTS = (
    Mutant(
        "windows are not looked at",
        "mechanisms.http2.session",
        "        return max(min(self._h2.local_flow_control_window(stream), frames.FRAME_MAX), 0)",
        "        return frames.FRAME_MAX",
        ("faults", "conversation"),
    ),
    Mutant(
        "credit is never given back",
        "composition.http2_stream",
        "        if self._owed:",
        "        if False:",
        ("verdicts", "liveness"),
        seed=1,
    ),
    Mutant(
        "what was held is never credited",
        "composition.http2_stream",
        "        self._is_held = False\n        self._give_credit()",
        "        pass",
        ("verdicts", "liveness"),
        seed=7,
    ),
    Mutant(
        "a stream whose window opens is not pumped",
        "composition.http2_connection",
        "            if stream is not None and stream.has_output:",
        "            if False:",
        ("verdicts", "liveness"),
    ),
    Mutant(
        "a server that was paused stays so",
        "composition.http2_stream",
        "            exchange.downstream_unblocked()",
        "            pass",
        ("verdicts", "gates", "liveness"),
        seed=4,
    ),
    Mutant(
        "a reset by the client lets its server work on",
        "composition.http2_stream",
        "        if exchange is not None:\n            exchange.client_left()\n\n    def has_failed",
        "\n    def has_failed",
        ("books", "endings", "ledger", "liveness", "exceptions", "faults"),
        seed=1,
    ),
    Mutant(
        "a cut response ends like a whole one",
        "composition.http2_stream",
        "        if not complete and self.state != \"closed\":",
        "        if not complete and self.state != \"closed\" and self._left == -2:\n"
        "            self._is_ending = True\n            self._connection.queue(self)\n"
        "        elif not complete and self.state != \"closed\":",
        ("conversation", "verdicts"),
        seed=2,
    ),
    Mutant(
        "a drained connection stays open",
        "composition.http2_connection",
        "        elif self.state == \"finishing\":\n            self._linger()",
        "        elif False:\n            self._linger()",
        ("liveness", "verdicts", "books"),
    ),
    Mutant(
        "fields of a connection pass",
        "mechanisms.http2.heads",
        "    elif name in _FORBIDDEN:",
        "    elif False:",
        ("verdicts", "conversation", "faults"),
        seed=3,
    ),
    Mutant(
        "the request's end is lost",
        "composition.http2_stream",
        "            self.exchange.request_end(trailers)",
        "            pass",
        ("verdicts", "liveness"),
        seed=3,
    ),
)  # fmt: skip


@pytest.mark.parametrize("start", range(0, 20, 10))
def test_nothing_false_happens_on_streams(start: int) -> None:
    for seed in range(start, start + 10):
        simulate(seed, http2=True)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_of_http2_is_caught(mutant: Mutant) -> None:
    seeds = [mutant.seed, *(seed for seed in range(SEEDS) if seed != mutant.seed)]
    caught = first_catch(mutant, seeds, http2=True)
    assert caught is not None, f"no checker notices in {SEEDS} seeds that {mutant.name}"
    seed, checker, text = caught
    assert checker in mutant.caught_by, f"seed {seed} was caught by {checker}: {text}"


def test_the_same_seed_gives_the_same_run_on_streams() -> None:
    first, second = (simulate(5, http2=True, with_digest=True) for _ in range(2))
    assert first == second

"""A recording gives the same effects again, and says so where it doesn't."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from proxycore.config import Config, Limits, Listener, Rate, Route, Server, Timeouts, Upstream, load_toml
from proxycore.testing import Simulation
from proxycore.testing.recording import NotARecording, Recorder, plain, replay
from proxycore.testing.simulator import default_config

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "proxycore.example.toml"


def recorded(seed: int) -> list[str]:
    lines: list[str] = []
    Simulation(seed, core=lambda *arguments, **named: Recorder(*arguments, write=lines.append, **named)).run()
    return lines


@pytest.mark.parametrize("seed", [1, 2, 8])
def test_a_recording_gives_the_same_effects_again(seed: int) -> None:
    lines = recorded(seed)
    steps = list(replay(lines))
    assert len(steps) > 500
    assert all(step.is_same for step in steps)
    assert {"accepted", "data_received", "connected", "timer_expired", "drain_requested"} <= {s.fact for s in steps}


def test_a_recording_holds_nothing_but_text_that_any_reader_takes() -> None:
    for line in recorded(2):
        assert "\n" not in line
        assert isinstance(json.loads(line), dict)


def test_recording_changes_nothing() -> None:
    lines: list[str] = []
    recording = Simulation(
        2, with_digest=True, core=lambda *arguments, **named: Recorder(*arguments, write=lines.append, **named)
    )
    assert recording.run() == Simulation(2, with_digest=True).run()


def test_a_step_that_differs_says_so() -> None:
    lines = recorded(2)
    at = next(n for n, line in enumerate(lines) if '"data_received"' in line)
    lines[at] = lines[at].replace(json.loads(lines[at])["effects"], "0" * 16)
    different = [step for step in replay(lines) if not step.is_same]
    assert len(different) == 1
    assert "DIFFERS" in str(different[0])


def test_a_step_shows_its_time_its_fact_and_its_effects() -> None:
    step = next(step for step in replay(recorded(2)) if step.fact == "data_received" and step.effects)
    assert f"{step.at:.6f} data_received(" in str(step)
    assert repr(step.effects[0])[:20] in str(step)


@pytest.mark.parametrize("lines", [[], ["nonsense"], ["[]"], ['{"proxycore": 99}'], ['{"fact": "accepted"}']])
def test_other_files_are_refused(lines: list[str]) -> None:
    with pytest.raises(NotARecording):
        list(replay(lines))


@pytest.mark.parametrize(
    "config",
    [
        *(default_config(Random(seed)) for seed in range(3)),
        load_toml(EXAMPLE.read_text(), source="example"),
        Config(
            timeouts=Timeouts(exchange="off", idle=0.25, send="off"),
            limits=Limits(minimum_rate="1KiB/10s", connections="off", stream_resets=Rate(5, 2.0), request_body="off"),
            listeners=[Listener(bind="[::1]:80", trusted_proxies="10.0.0.0/8")],
            upstreams={"a": Upstream(servers=[Server(url="unix:/run/a.sock", max_connections="off")])},
            routes=[Route(match={"not": {"path": "/x"}, "header": {"a": ["1", "*"]}}, upstream="a")],
        ),
    ],
)
def test_a_configuration_survives_json(config: Config) -> None:
    values: dict[str, Any] = json.loads(json.dumps(plain(config), allow_nan=False))
    assert Config(**values) == config

"""Effects are compared in every playbook, so comparing and printing them must look at all that they carry."""

from __future__ import annotations

import pytest

from proxycore.words.effects import Abort, Close, Connect, Effect, PauseAccepting, Send
from proxycore.words.ids import ConnId


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Abort(ConnId(1)), Abort(ConnId(2))),
        (Abort(ConnId(1)), Close(ConnId(1))),
        (PauseAccepting("a"), PauseAccepting("b")),
        (Send(ConnId(1), b"a"), Send(ConnId(1), b"b")),
    ],
)
def test_effects_that_differ_are_not_equal(one: Effect, other: Effect) -> None:
    assert one != other
    assert one == one


def test_an_effect_shows_what_it_carries() -> None:
    assert repr(Connect(ConnId(3), ("10.0.0.1", 80))) == "Connect(3, ('10.0.0.1', 80))"
    assert repr(Abort(ConnId(3))) == "Abort(3)"

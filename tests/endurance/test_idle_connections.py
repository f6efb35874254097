"""Connections that are kept and do nothing: what each costs, and when it goes."""

from __future__ import annotations

import time
from pathlib import Path

from tests.conformance.origins import Line
from tests.conformance.proxies import soon
from tests.endurance.conftest import Tell
from tests.endurance.innocents import Waits, ask, crowd, ended
from tests.endurance.programs import OriginProgram, ProxyProgram, write_config

KIBIBYTES_EACH = 6.0


def test_idle_connections_are_small_and_go(
    folder: Path, origin: OriginProgram, binding: str, is_long: bool, tell: Tell
) -> None:
    count, idle = (2_000, 15) if is_long else (500, 1.5)
    file = write_config(folder, origin.url, timeouts={"idle": f"{idle * 1000:.0f}ms"})
    with ProxyProgram(file, binding) as proxy:
        waits = Waits()
        waits.measure(proxy.port, 0.2, pause=0)
        files, before = proxy.open_files(), proxy.memory()
        began = time.monotonic()
        with crowd(proxy.port, count) as sockets:
            for sock in sockets:
                ask(Line(sock))
            each = (proxy.memory() - before) / count
            opened = time.monotonic() - began
            assert opened < idle, "this machine is too slow for the test"
            waits = Waits()
            waits.measure(proxy.port, 0.5)
            tell(f"{each:.2f} KiB each; {waits}")
            assert ended(sockets) == 0
            assert each <= KIBIBYTES_EACH
            assert waits.worst < 0.5
            time.sleep(max(0.0, began + idle - time.monotonic()))
            assert soon(lambda: ended(sockets) == count, opened + 2)
            # Those of the upstream's pool may stay.
            assert soon(lambda: proxy.open_files() <= files + 2)

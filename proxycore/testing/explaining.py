"""What a configuration does with a request, and why: as text for a person, or as plain values for JSON.

    explanation = explain(config, "GET https://api.example.com/api/x", {"Accept": "text/html"})
    explanation.text            # one line for each decision, in the order in which they fell
    explanation.as_dict()

The trace is made by the code that serves. Nothing is dialled: it ends where a server would be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proxycore.composition.filters import Filter
from proxycore.config import Config
from proxycore.config.materials import Materials
from proxycore.testing.proxy import CLIENT_IP, Headers, Journey, Proxy


@dataclass(frozen=True, slots=True)
class Explanation:
    """One request's decisions. `journey` has everything, for whoever wants more."""

    journey: Journey

    @property
    def text(self) -> str:
        """Lines for a person."""
        journey = self.journey
        lines = [journey.name, *(f"  {step}" for step in journey.trace), f"it {journey.result}"]
        if journey.outbound is not None and not journey.status:
            outbound = journey.outbound
            lines += [f"  {outbound.method.decode()} {outbound.target.decode('latin-1')}"]
            lines += [f"  host: {outbound.authority.decode('latin-1')}"]
            lines += [f"  {name.decode()}: {value.decode('latin-1')}" for name, value in outbound.headers]
        else:
            lines += [f"  {name}: {value}" for name, value in journey.headers]
        return "\n".join(lines) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        journey = self.journey
        found: dict[str, Any] = {
            "request": journey.name,
            "listener": journey.listener,
            "route": journey.route,
            "steps": journey.trace.as_dicts(),
        }
        if journey.status:
            found["answer"] = {"status": journey.status, "headers": journey.headers}
            if journey.outcome is not None:
                found["outcome"] = {"cause": journey.outcome.cause, "detail": journey.outcome.detail}
        elif journey.outbound is not None:
            outbound = journey.outbound
            found["upstream"] = {
                "name": journey.upstream,
                "server": journey.server,
                "method": outbound.method.decode(),
                "target": outbound.target.decode("latin-1"),
                "host": outbound.authority.decode("latin-1"),
                "headers": [(name.decode(), value.decode("latin-1")) for name, value in outbound.headers],
            }
        return found


def explain(
    config: Config,
    request: str,
    headers: Headers | None = None,
    *,
    materials: Materials | None = None,
    filters: Sequence[Filter] = (),
    client_ip: str = CLIENT_IP,
    listener: str | None = None,
) -> Explanation:
    """What `config` does with `request`, a method and a URL ("GET https://example.com/"), or a URL alone.

    Raises ConfigError, ValueError for what is no URL, and NoListener.
    """
    method, _, url = request.rpartition(" ")
    proxy = Proxy(config, materials=materials, filters=filters)
    journey = proxy.request(method or "GET", url, headers=headers, client_ip=client_ip, listener=listener)
    return Explanation(journey)

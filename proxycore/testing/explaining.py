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
from proxycore.core import Core
from proxycore.policies.addresses import parse_address
from proxycore.policies.trace import Step
from proxycore.testing.proxy import CLIENT_IP, Headers, Journey, NoListener, Proxy


@dataclass(frozen=True, slots=True)
class Explanation:
    """One request's decisions, as `steps`. `journey` has everything, None where no listener takes the request."""

    request: str
    steps: Sequence[Step]
    journey: Journey | None

    @property
    def text(self) -> str:
        """Lines for a person."""
        return "\n".join([self.request, *(f"  {step}" for step in self.steps), *self.outcome_lines]) + "\n"

    @property
    def outcome_lines(self) -> list[str]:
        """What became of it, and what the server was sent or the client got."""
        journey = self.journey
        if journey is None:
            return ["it reaches nobody"]
        lines = [f"it {journey.result}"]
        if journey.outbound is not None and not journey.status:
            outbound = journey.outbound
            lines += [f"  {outbound.method.decode()} {outbound.target.decode('latin-1')}"]
            lines += [f"  host: {outbound.authority.decode('latin-1')}"]
            lines += [f"  {name.decode()}: {value.decode('latin-1')}" for name, value in outbound.headers]
        else:
            lines += [f"  {name}: {value}" for name, value in journey.headers]
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        journey = self.journey
        found: dict[str, Any] = {
            "request": self.request,
            "listener": "" if journey is None else journey.listener,
            "route": "" if journey is None else journey.route,
            "steps": [step._asdict() for step in self.steps],
            "result": "reaches nobody" if journey is None else journey.result,
        }
        if journey is None:
            return found
        if journey.status:
            found["answer"] = {"status": journey.status, "headers": journey.headers}
            if journey.outcome is not None:
                found["outcome"] = {key: getattr(journey.outcome, key) for key in ("cause", "detail", "reason")}
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
    tls_subject: str = "",
    listener: str | None = None,
    like: Core | None = None,
    now: float = 0.0,
    known: Sequence[Step] = (),
) -> Explanation:
    """What `config` does with `request`, a method and a URL ("GET https://example.com/"), or a URL alone.

    `like` is a core at work, whose clock says `now`: its servers' health, its limits and its caches count. `known` are
    steps that come before all others. Raises ConfigError; ValueError for what is no URL or no address, or a
    `tls_subject` where no certificate is asked for; and NoListener for a `listener` that isn't there or can't take it.
    """
    method, _, url = request.rpartition(" ")
    if parse_address(client_ip) is None:
        raise ValueError(f"no IP address: {client_ip!r}")
    proxy = Proxy(config, materials=materials, filters=filters, like=like, now=now)
    try:
        journey = proxy.request(
            method or "GET", url, headers=headers, client_ip=client_ip, tls_subject=tls_subject, listener=listener
        )
    except NoListener as error:
        if listener is not None:
            raise
        return Explanation(f"{method or 'GET'} {url}", [*known, Step("listener", "found none", "", str(error))], None)
    return Explanation(journey.name, [*known, *journey.trace], journey)

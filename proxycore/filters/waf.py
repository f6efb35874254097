"""`waf`: requests that look like known attacks are told, and with `block` refused before a server sees any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxycore.composition.filters import Filter, NeedBody, Reject
from proxycore.composition.filters import Verdict as Decision
from proxycore.config import Waf
from proxycore.policies.waf.inspection import (
    Inspector,
    Undecodable,
    Verdict,
    can_be_decoded,
    is_readable,
    is_told_plainly,
)
from proxycore.words.messages import Headers
from proxycore.words.notices import AttackFound

if TYPE_CHECKING:
    from proxycore.composition.exchange import Exchange


_UNREADABLE = Reject(
    415,
    "Content in that coding isn't taken here.",
    rule="waf.coding",
    headers=Headers([(b"accept-encoding", b"gzip, deflate")]),  # RFC 9110 section 12.5.3
)
_AMBIGUOUS = Reject(400, "What the content is can't be told from its type.", rule="waf.content_type")


class RuleCounts:
    """What a rule found since the process began, and how much of that was refused."""

    __slots__ = ("blocked", "found", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.found = self.blocked = 0


class WafFilter(Filter):
    """Looks at heads, then at the beginning of content that rules can read. Clients are never told what was found.

    `counts` are kept by the rule's id, for all routes together.
    """

    def __init__(self, waf: Waf, counts: dict[str, RuleCounts]) -> None:
        self._inspector = Inspector(waf)
        self._counts = counts
        self._blocks = waf.mode == "block"
        self._window = waf.body

    def on_route(self, exchange: Exchange) -> Decision | None:
        request = exchange.request
        verdict = self._inspector.head(request)
        refusal = None if verdict is None else self._judge(exchange, verdict)
        if refusal is not None or not request.has_content:
            return refusal
        if not is_told_plainly(request):
            refusal = self._doubt(exchange, _AMBIGUOUS, "content of several types, boundaries, or an odd charset")
            if refusal is not None:
                return refusal
        if not is_readable(request):
            return None
        if not can_be_decoded(request):
            return self._undecodable(exchange)
        exchange.local(self)["score"] = 0 if verdict is None else verdict.score
        return NeedBody(min(self._window, exchange.plan.limits.buffer), self._read_content)

    def _read_content(self, exchange: Exchange, content: bytes, complete: bool) -> Decision | None:
        try:
            verdict = self._inspector.body(exchange.request, content)
        except Undecodable:
            return self._undecodable(exchange)
        if verdict is None:
            return None
        return self._judge(exchange, verdict, exchange.local(self)["score"])

    def _undecodable(self, exchange: Exchange) -> Reject | None:
        return self._doubt(exchange, _UNREADABLE, "content in a coding that rules can't read")

    def _doubt(self, exchange: Exchange, reject: Reject, why: str) -> Reject | None:
        """Refuse content that may hold anything; where nothing is blocked, tell that it would be."""
        if exchange.trace is not None:
            exchange.trace.add("waf", "refused" if self._blocks else "let in", "", why)
        if self._blocks:
            return reject
        self._notify(exchange, self._inspector.threshold, [(reject.rule.removeprefix("waf."), why, "content", "")])
        return None

    def _judge(self, exchange: Exchange, verdict: Verdict, before: int = 0) -> Reject | None:
        """Tell what was found, and refuse if it is enough. `before` is the score of what was found earlier."""
        score = before + verdict.score
        blocks = self._blocks and score >= self._inspector.threshold
        self._count(verdict, blocks)
        if exchange.trace is not None:
            for rule, where, _ in verdict.findings:
                exchange.trace.add("waf", "found", rule.id, f"{rule.name} in {where}")
            exchange.trace.add("waf", "refused" if blocks else "let in", "", f"score {score}")
        findings = [(rule.id, rule.name, where, matched) for rule, where, matched in verdict.findings]
        self._notify(exchange, score, findings, blocked=blocks)
        if not blocks:
            return None
        return Reject(403, "This request was refused.", rule=f"waf.{verdict.findings[0].rule.id}")

    def _notify(
        self, exchange: Exchange, score: int, findings: list[tuple[str, str, str, str]], *, blocked: bool = False
    ) -> None:
        exchange.notify(
            "attacks",
            lambda wall: AttackFound(
                wall,
                client=exchange.client.ip,
                route=exchange.route.name,
                request_id=exchange.request_id,
                score=score,
                blocked=blocked,
                findings=findings,
            ),
        )

    def _count(self, verdict: Verdict, blocks: bool) -> None:
        """Each rule once, in however many values it found something."""
        for rule in {finding.rule.id: finding.rule for finding in verdict.findings}.values():
            counts = self._counts.get(rule.id)
            if counts is None:
                counts = self._counts[rule.id] = RuleCounts(rule.name)
            counts.found += 1
            counts.blocked += blocks

"""A configuration made ready to serve: everything that a request would else have to look up or compile.

A plan never changes. A reload makes a new one; an exchange keeps the plan that it began under. What
changes while serving (servers, their health and connections) is `upstreams` state, which plans share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from proxycore.composition.filters import Chain, Filter, Respond
from proxycore.composition.unbuilt import check_built
from proxycore.config import Config, Listener, Route, Timeouts
from proxycore.mechanisms.http1 import RequestReader, ResponseReader, choose_codec
from proxycore.mechanisms.http1.strict import HeadLimits
from proxycore.policies.forwarding import Identity
from proxycore.policies.routing import RouteTable
from proxycore.policies.trace import Trace
from proxycore.words.ids import Address
from proxycore.words.messages import RequestHead

if TYPE_CHECKING:
    from proxycore.composition.engine import Engine
    from proxycore.composition.exchange import Exchange
    from proxycore.composition.upstreams import UpstreamState


@dataclass(frozen=True, slots=True)
class Materials:
    """What the program read for a configuration, since the core reads no files: contents, not paths.

    `error_pages` are HTML documents by status.
    """

    error_pages: Mapping[int, bytes] = field(default_factory=lambda: MappingProxyType({}))

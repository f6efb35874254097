"""A reverse proxy whose whole behaviour is a pure state machine: the public names, nothing else.

To serve, take `serve` from `proxycore_asyncio`, `proxycore_trio` or `proxycore_gevent`. The other sections of
a configuration are in `proxycore.config`, which has a `Respond` of its own: the action of a route.
"""

from proxycore.composition.exchange import Exchange
from proxycore.composition.filters import (
    Ask,
    CloseWebSocket,
    Drop,
    Fetch,
    Fetched,
    Filter,
    NeedBody,
    Reject,
    Respond,
    Retry,
    Signal,
    Verdict,
    Wait,
    body_changes,
)
from proxycore.composition.ledger import Ledger
from proxycore.composition.streaming import BodyCut, BodySource
from proxycore.composition.upstreams import ServerState
from proxycore.config import (
    Config,
    ConfigError,
    Listener,
    Match,
    Problem,
    Route,
    Server,
    Upstream,
    from_dict,
    load_toml,
)
from proxycore.config.materials import Materials
from proxycore.core import Core
from proxycore.words import effects, notices
from proxycore.words.errors import Failure, Outcome
from proxycore.words.messages import ABSENT, UNKNOWN, Headers, RequestHead, ResponseHead

__version__ = "0.1.0"

__all__ = [
    "ABSENT",
    "UNKNOWN",
    "Ask",
    "BodyCut",
    "BodySource",
    "CloseWebSocket",
    "Config",
    "ConfigError",
    "Core",
    "Drop",
    "Exchange",
    "Failure",
    "Fetch",
    "Fetched",
    "Filter",
    "Headers",
    "Ledger",
    "Listener",
    "Match",
    "Materials",
    "NeedBody",
    "Outcome",
    "Problem",
    "Reject",
    "RequestHead",
    "Respond",
    "ResponseHead",
    "Retry",
    "Route",
    "Server",
    "ServerState",
    "Signal",
    "Upstream",
    "Verdict",
    "Wait",
    "__version__",
    "body_changes",
    "effects",
    "from_dict",
    "load_toml",
    "notices",
]

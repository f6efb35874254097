"""Which of our filters a route has, in the order in which they see a request; a response passes them in reverse.

The user's filters come between the two groups: after those that decide who may come in, so that they can rely
on `exchange.user`, and before those that may answer in the origin's place.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxycore.composition.filters import Filter
from proxycore.config import Config, Route
from proxycore.config.materials import Materials


class OwnFilters:
    """Makes our filters, and keeps over reloads what they remember: one for each core.

    Whatever must outlive a plan (a store, a table of limits) is kept here by its name in the configuration.
    """

    def gate(self, route: Route, config: Config, materials: Materials) -> Sequence[Filter]:
        """Those before the user's: who may come in, how often, and with what."""
        return ()

    def content(self, route: Route, config: Config, materials: Materials) -> Sequence[Filter]:
        """Those after the user's: what may answer in the origin's place, and how content is coded."""
        return ()

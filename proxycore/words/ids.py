"""Handles. The core mints all of them, from one counter, and never uses one again."""

from __future__ import annotations

from typing import NewType

ConnId = NewType("ConnId", int)
"""A connection, accepted or dialled."""

LookupId = NewType("LookupId", int)
"""A name look-up under way (`Resolve`)."""

CallId = NewType("CallId", int)
"""An embedder's asynchronous step under way (`Call`)."""

Address = tuple[str, int] | str
"""`(host, port)` with an IP literal as host (no scope, no brackets), or the path of a Unix socket."""

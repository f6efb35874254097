"""What the program read for a configuration, since the core reads no files: contents, not paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Materials:
    """Contents by what names them in the configuration. `error_pages` are HTML documents by status."""

    error_pages: Mapping[int, bytes] = field(default_factory=lambda: MappingProxyType({}))

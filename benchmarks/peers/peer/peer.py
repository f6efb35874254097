"""What the harness needs to know of a proxy."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.origin import Certificate
from harness.scenarios import Feature, Mode, Scenario


@dataclass(frozen=True)
class Run:
    """One start of one proxy: listen on `port` of 127.0.0.1, forward to `upstream_port` there."""

    mode: Mode
    port: int
    upstream_port: int
    directory: Path
    """A scratch folder of its own."""
    installs: Path
    """Where install.sh put the peers."""
    certificate: Certificate

    @property
    def tls(self) -> bool:
        return self.mode == "tls"

    @property
    def cert_and_key(self) -> list[str]:
        """The two files as arguments, where this run is one over TLS."""
        return [str(self.certificate.certificate), str(self.certificate.key)] if self.tls else []

    @property
    def environment(self) -> dict[str, str]:
        return {"BENCH_UPSTREAM_PORT": str(self.upstream_port)}

    def write(self, name: str, text: str) -> str:
        """Make a file in the scratch folder; its path."""
        path = self.directory / name
        path.write_text(text)
        return str(path)


@dataclass(frozen=True)
class Peer:
    """A proxy: how to install it, what it can do, and how to start it.

    `{installs}` in `programs` and `version_argv` is the folder of install.sh. A peer without a
    command is the origin itself.
    """

    name: str
    kind: Literal["proxycore", "native", "node", "python", "reference", "candidate"]
    install: str
    features: frozenset[Feature]
    programs: tuple[str, ...]
    """What must exist: names to find on the path, or files."""
    version_argv: tuple[str, ...]
    command: Callable[[Run], list[str]] | None
    environment: Mapping[str, str] = field(default_factory=dict)
    client_keepalive: bool = True
    """False: it takes part only where each request has a new connection."""

    def can_do(self, scenario: Scenario) -> bool:
        return scenario.needs in self.features and (self.client_keepalive or scenario.close)

    def missing(self, installs: Path) -> str | None:
        """What must be installed before it can be measured."""
        for program in self.programs:
            program = program.format(installs=installs)
            if not (os.path.exists(program) if os.sep in program else shutil.which(program)):
                return f"{program} is not installed ({self.install})"
        return None

    def version(self, installs: Path) -> str:
        """The first line of what it says of itself."""
        argv = [word.format(installs=installs) for word in self.version_argv]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"? ({error})"
        lines = (done.stdout + done.stderr).split("\n")  # nginx tells it on standard error
        return next((line.strip() for line in lines if line.strip()), "?")

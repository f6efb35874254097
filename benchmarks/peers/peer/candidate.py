"""Any command as a peer."""

from __future__ import annotations

from pathlib import Path

from harness.scenarios import Feature
from peer.peer import Peer, Run


def candidate(name: str, command_line: str, features: frozenset[Feature], template: Path | None) -> Peer:
    """A proxy that `command_line` starts: one program, or wrapped in `sh -c`.

    {port} {upstream_port} {mode} {cert} {key} {dir} are filled in, in the command line and in the
    template of its configuration, whose filled-in copy is {config}.
    """

    def command(run: Run) -> list[str]:
        words = {
            "{port}": str(run.port),
            "{upstream_port}": str(run.upstream_port),
            "{mode}": run.mode,
            "{cert}": str(run.certificate.certificate),
            "{key}": str(run.certificate.key),
            "{dir}": str(run.directory),
        }
        if template:
            words["{config}"] = run.write(f"config{template.suffix}", filled(template.read_text(), words))
        return ["sh", "-c", "exec " + filled(command_line, words)]

    # A version is formatted with {installs}: the braces of the command line are its own.
    version = command_line.replace("{", "{{").replace("}", "}}")
    return Peer(name, "candidate", "", features, (), ("echo", version), command)


def filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text

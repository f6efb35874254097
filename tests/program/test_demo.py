"""`make run` does what it prints: each line that it says to try works, and Ctrl-C ends it clean."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess

import pytest

from tests.program.programs import PATIENCE, ROOT, Program


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_line_to_try_works() -> None:
    with Program(script=[str(ROOT / "examples" / "demo.py")]) as demo:
        assert demo.process.stdout is not None
        printed = ""
        while "The log" not in printed:
            printed += demo.process.stdout.readline()
        lines = re.findall(r"^  (curl .*?) +#", printed, re.MULTILINE)
        assert len(lines) == 8
        answers = {line.split("127.0.0.1", 1)[-1]: _run(line) for line in lines}
        demo.signal(signal.SIGINT)
        code, log = demo.end()
        assert (code, demo.said) == (0, "")
    assert all(answers.values())
    assert log.count("200") >= len(lines)


def _run(line: str) -> str:
    faster = re.sub("seconds=2|every=1", "seconds=0.1", line).replace("curl ", "curl -fsS ", 1)
    return subprocess.run(faster, shell=True, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout

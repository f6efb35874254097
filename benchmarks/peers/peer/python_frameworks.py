"""What people hand-roll on a Python web framework."""

from __future__ import annotations

from collections.abc import Callable

from harness.origin import APPS
from peer.peer import Peer, Run

PYTHON = "{installs}/py/bin/python"
UVICORN = "{installs}/py/bin/uvicorn"


def versions(*packages: str) -> tuple[str, ...]:
    described = " + ', ' + ".join(f"'{package} ' + version('{package}')" for package in packages)
    return (PYTHON, "-c", f"from importlib.metadata import version; print({described})")


def script(name: str) -> Callable[[Run], list[str]]:
    def command(run: Run) -> list[str]:
        python = [PYTHON.format(installs=run.installs), "-B", str(APPS / name)]
        return [*python, str(run.port), str(run.upstream_port), *run.cert_and_key]

    return command


def starlette(run: Run) -> list[str]:
    # fmt: off
    argv = ["env", "PYTHONDONTWRITEBYTECODE=1", UVICORN.format(installs=run.installs), "--app-dir", str(APPS),
            "starlette_httpx_proxy:app", "--host", "127.0.0.1", "--port", str(run.port), "--loop", "uvloop",
            "--http", "httptools", "--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "75",
            "--backlog", "4096", "--no-server-header", "--no-date-header"]
    # fmt: on
    if run.tls:
        argv += ["--ssl-certfile", str(run.certificate.certificate), "--ssl-keyfile", str(run.certificate.key)]
    return argv


PEERS = [
    Peer(
        name="aiohttp",
        kind="python",
        install="pip install aiohttp uvloop",
        features=frozenset({"http", "tls", "ws"}),
        programs=(PYTHON,),
        version_argv=versions("aiohttp", "uvloop"),
        command=script("aiohttp_proxy.py"),
    ),
    Peer(
        name="starlette-httpx",
        kind="python",
        install="pip install starlette httpx uvicorn httptools uvloop",
        features=frozenset({"http", "tls"}),
        programs=(UVICORN,),
        version_argv=versions("starlette", "httpx", "uvicorn"),
        command=starlette,
    ),
    Peer(
        name="twisted",
        kind="python",
        install="pip install twisted",
        features=frozenset({"http"}),
        programs=(PYTHON,),
        version_argv=versions("twisted"),
        command=script("twisted_proxy.py"),
    ),
]

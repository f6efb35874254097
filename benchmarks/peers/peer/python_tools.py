"""Ready-made Python proxies."""

from __future__ import annotations

from harness.origin import APPS
from peer.peer import Peer, Run
from peer.python_frameworks import PYTHON, versions

MITMDUMP = "{installs}/mitm/bin/mitmdump"


def proxy_py(run: Run) -> list[str]:
    # fmt: off
    argv = ["env", f"PYTHONPATH={APPS}", PYTHON.format(installs=run.installs), "-B", "-m", "proxy",
            "--hostname", "127.0.0.1", "--port", str(run.port), "--num-acceptors", "1", "--num-workers", "1",
            "--threadless", "--local-executor", "1", "--enable-reverse-proxy", "--disable-http-proxy",
            "--plugins", "proxy_py_plugin.EverythingToUpstream", "--log-level", "CRITICAL", "--backlog", "4096"]
    # fmt: on
    if run.tls:
        argv += ["--cert-file", str(run.certificate.certificate), "--key-file", str(run.certificate.key)]
    return argv


def mitmproxy(run: Run) -> list[str]:
    # fmt: off
    argv = [MITMDUMP.format(installs=run.installs), "-q", "--mode", f"reverse:http://127.0.0.1:{run.upstream_port}",
            "--listen-host", "127.0.0.1", "--listen-port", str(run.port),
            "--set", f"confdir={run.directory}", "--set", "flow_detail=0",
            "--set", "stream_large_bodies=64k", "--set", "keep_host_header=true",
            "--modify-headers", "/~q/X-Forwarded-For/127.0.0.1", "--modify-headers", "/~q/X-Forwarded-Proto/http"]
    # fmt: on
    return argv + (["--certs", str(run.certificate.both)] if run.tls else [])


PEERS = [
    Peer(
        name="proxy.py",
        kind="python",
        install="pip install proxy.py",
        features=frozenset({"http", "tls", "ws"}),
        programs=(PYTHON,),
        version_argv=versions("proxy.py"),
        command=proxy_py,
        client_keepalive=False,  # a second request on a client's connection ends its worker's event loop (2.4.10)
    ),
    Peer(
        name="mitmproxy",
        kind="python",
        install="pip install mitmproxy",
        features=frozenset({"http", "tls", "h2", "ws"}),
        programs=(MITMDUMP,),
        version_argv=(MITMDUMP, "--version"),
        command=mitmproxy,
    ),
]

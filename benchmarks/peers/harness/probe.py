"""Does a proxy really do the work? Asked once for each start, before anything is timed."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable

from harness import processes

Findings = dict[str, object]


def _connect(port: int, *, tls: bool) -> http.client.HTTPConnection:
    if tls:
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=4, context=processes.insecure_client_context())
    return http.client.HTTPConnection("127.0.0.1", port, timeout=4)


def check_body(port: int, path: str, expected: bytes, *, tls: bool, patience: float = 4.0) -> None:
    """Raise unless the proxy returns exactly the origin's body, soon after it began to listen."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return _check_body_once(port, path, expected, tls=tls)
        except (OSError, RuntimeError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _check_body_once(port: int, path: str, expected: bytes, *, tls: bool) -> None:
    connection = _connect(port, tls=tls)
    connection.request("GET", path, headers={"Host": "bench.local"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if response.status != 200 or body != expected:
        raise RuntimeError(f"{path}: status {response.status}, {len(body)} bytes, wanted {len(expected)}")


def behaviour(port: int, *, tls: bool) -> Findings:
    """What the origin saw, and how the proxy treats the client's connection; what failed says so."""
    questions: dict[str, Callable[..., Findings]] = {"forwarding": _forwarding, "connection_close": _connection_close}
    found: Findings = {}
    for question, ask in questions.items():
        try:
            found.update(ask(port, tls=tls))
        except (OSError, http.client.HTTPException, ValueError) as error:
            found[question] = f"failed: {type(error).__name__}: {error}"
    return found


def _forwarding(port: int, *, tls: bool) -> Findings:
    seen: list[dict[str, str]] = []
    kept_open = True
    for _ in range(2):
        connection = _connect(port, tls=tls)
        for _ in range(2):
            connection.request("GET", "/probe", headers={"Host": "bench.local"})
            response = connection.getresponse()
            seen.append(dict(re.findall(r"(\w+)=(\S*)", response.read().decode())))
            kept_open = kept_open and not response.will_close
        connection.close()
    return {
        "client_keepalive": kept_open,
        "origin_connections_for_4_requests": len({answer.get("connection") for answer in seen}),
        "x_forwarded_for": seen[-1].get("xff"),
        "x_forwarded_proto": seen[-1].get("proto"),
        "host": seen[-1].get("host"),
    }


def _connection_close(port: int, *, tls: bool) -> Findings:
    connection = _connect(port, tls=tls)
    connection.request("GET", "/probe", headers={"Host": "bench.local", "Connection": "close"})
    response = connection.getresponse()
    response.read()
    answered = response.will_close
    connection.close()
    return {"connection_close_answered": answered}

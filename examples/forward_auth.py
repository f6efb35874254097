"""Asking another service who may pass, as nginx's auth_request and Traefik's ForwardAuth do.

    python examples/origins.py                      # red, green and blue, on ports 9001 to 9003
    python examples/forward_auth.py 127.0.0.1:8080 http://127.0.0.1:9001 http://127.0.0.1:9002/health

    curl -H 'Authorization: Bearer x' http://127.0.0.1:8080/

The filter says what it wants to know and how it goes on. The function that finds it out is plain blocking code
here, and runs in a thread; a coroutine function would run in the loop. Meanwhile the exchange waits, at most
`timeouts.call`, and nothing of the request has reached the origin.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass
from functools import partial
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from proxycore import Ask, Config, Exchange, Filter, Headers, Reject, RequestHead, Verdict
from proxycore_asyncio import serve

UNAUTHORIZED = Reject(
    401, "Say who you are.", rule="auth", headers=Headers([(b"www-authenticate", b'Bearer realm="example"')])
)
FORBIDDEN = Reject(403, "This is not for you.", rule="auth")


@dataclass(frozen=True)
class Judgement:
    """What the service said."""

    status: int
    user: str


def judge(url: str, authorization: str, method: str, target: str) -> Judgement:
    """Ask the service at `url`. It blocks."""
    headers = {"Authorization": authorization, "X-Original-Method": method, "X-Original-Target": target}
    try:
        with urlopen(Request(url, headers=headers), timeout=5) as response:
            return Judgement(response.status, response.headers.get("X-User", ""))
    except HTTPError as error:
        return Judgement(error.code, "")


class ForwardAuth(Filter):
    """Lets pass whom the service lets pass, and tells the origin who it is."""

    def on_request(self, exchange: Exchange) -> Verdict | None:
        """Ask. If the service doesn't answer, the client gets a 503 and the request goes nowhere."""
        request = exchange.request
        authorization = request.headers.get(b"authorization")
        if authorization is None:
            return UNAUTHORIZED
        arguments = {
            "authorization": authorization.decode("latin-1"),
            "method": request.method.decode("latin-1"),
            "target": request.target.decode("latin-1"),
        }
        return Ask("judge", arguments, self._decide)

    def _decide(self, exchange: Exchange, judgement: Judgement) -> Verdict | None:
        if judgement.status == 401:
            return UNAUTHORIZED
        if not 200 <= judgement.status < 300:
            return FORBIDDEN
        exchange.user = judgement.user
        return None

    def on_upstream_request(self, exchange: Exchange, outbound: RequestHead) -> None:
        """Whatever the client called itself, the origin learns what the service said."""
        outbound.headers.set(b"x-user", exchange.user.encode("latin-1"))


async def main(listen: str, origin: str, service: str) -> None:
    """Serve until Ctrl-C."""
    config = Config.reverse_proxy(listen, to=origin)
    async with serve(config, [ForwardAuth()], calls={"judge": partial(judge, service)}) as server:
        print("listening on http://{}:{}".format(*server.address), flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))

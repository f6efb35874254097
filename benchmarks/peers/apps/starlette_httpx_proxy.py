"""The reverse proxy people hand-roll on FastAPI/Starlette with httpx; served by uvicorn."""

import contextlib
import os

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse
from starlette.routing import Route

HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@contextlib.asynccontextmanager
async def lifespan(app):
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=128)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{os.environ['BENCH_UPSTREAM_PORT']}", limits=limits, timeout=30
    ) as client:
        app.state.client = client
        yield


async def proxy(request):
    client = request.app.state.client
    headers = [(name, value) for name, value in request.headers.raw if name not in HOP_BY_HOP]
    headers += [(b"x-forwarded-for", request.client.host.encode()), (b"x-forwarded-proto", request.url.scheme.encode())]
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    outgoing = client.build_request(
        request.method,
        httpx.URL(path=request.url.path, query=request.url.query.encode()),
        headers=headers,
        content=request.stream() if has_body else None,
    )
    answer = await client.send(outgoing, stream=True)
    response = StreamingResponse(
        answer.aiter_raw(), status_code=answer.status_code, background=BackgroundTask(answer.aclose)
    )
    response.raw_headers = [
        (name.lower(), value) for name, value in answer.headers.raw if name.lower() not in HOP_BY_HOP
    ]
    return response


app = Starlette(routes=[Route("/{path:path}", proxy, methods=METHODS)], lifespan=lifespan)

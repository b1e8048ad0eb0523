"""A reverse proxy for one path, as an Ingress has it: the path stays, and others do not exist."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

#: They concern one connection only.
_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "upgrade", "content-encoding")


@asynccontextmanager
async def reverse_proxy(path: str, target: str) -> AsyncIterator[str]:
    """Serve what is below a path from elsewhere; yield the address of the proxy."""
    async with aiohttp.ClientSession(auto_decompress=True) as client:

        async def handle(request: web.Request) -> web.StreamResponse:
            url = f"{target}{request.rel_url}"
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await _websocket(client, request, url)
            body = await request.read()
            async with client.request(
                request.method, url, data=body, allow_redirects=False
            ) as answer:
                headers = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
                headers.pop("Content-Length", None)
                return web.Response(status=answer.status, headers=headers, body=await answer.read())

        app = web.Application()
        app.router.add_route("*", f"{path}/{{rest:.*}}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def _websocket(
    client: aiohttp.ClientSession, request: web.Request, url: str
) -> web.StreamResponse:
    protocols = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    here = web.WebSocketResponse(protocols=protocols[:1])
    async with client.ws_connect(url, protocols=protocols, max_msg_size=0) as there:
        await here.prepare(request)
        tasks = [
            asyncio.ensure_future(_carried(here, there)),
            asyncio.ensure_future(_carried(there, here)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await here.close()
    return here


async def _carried(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    sink: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)

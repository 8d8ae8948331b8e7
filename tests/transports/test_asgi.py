"""The ASGI door over uvicorn, around an application without a framework."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from coinslot.transports.asgi import CoinslotMiddleware, Receive, Scope, Send
from coinslot.transports.slot import Slot
from support.doorcases import GET_PATHS, DoorCases, House, Site
from support.serving import asgi_server

ROUTES = {"/free": None, "GET /**": "0.01", "POST /echo": "0.01"}


def application(house: House) -> Any:
    """Handlers in plain ASGI."""

    async def body(receive: Receive) -> bytes:
        read = b""
        while True:
            message = await receive()
            read += message.get("body", b"")
            if not message.get("more_body"):
                return read

    async def stream(chunks: Iterator[bytes], receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.create_task(receive())
        while not gone.done() and (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if gone.cancel():
            await send({"type": "http.response.body", "body": b""})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"].strip("/")
        if name == "stream":
            await body(receive)
            await stream(house.handshake.chunks(), receive, send)
            return
        if name == "endless":
            await body(receive)
            await stream(house.endless(), receive, send)
            return
        if name in GET_PATHS:
            status, content = await asyncio.to_thread(house.reply, name, scope.get("coinslot.receipt"))
        else:
            status, content = 200, b"free" if name == "free" else await body(receive)
        headers = [(b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})

    return app


@pytest.fixture
def site() -> Site:
    """uvicorn, the middleware, the handlers."""

    def serve(slot: Slot, house: House) -> AbstractContextManager[str]:
        return asgi_server(CoinslotMiddleware(application(house), slot, ROUTES))

    return serve


class TestAsgi(DoorCases):
    """The cases of all doors."""

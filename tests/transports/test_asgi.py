"""The ASGI door over uvicorn, around an application without a framework."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

from coinslot.errors import ConfigError, UsageError
from coinslot.transports.asgi import CoinslotMiddleware, Receive, Scope, Send
from coinslot.transports.slot import Slot
from support.doorcases import GET_PATHS, DoorCases, House, Site, present
from support.serving import Payer, asgi_server
from support.toybank import Bank

ROUTES = {"/free": None, "GET /**": "0.01", "POST /echo": "0.01"}


def application(house: House) -> Any:
    """Handlers in plain ASGI."""

    async def body(receive: Receive) -> bytes:
        read: bytes = b""
        while True:
            message = await receive()
            read += message.get("body", b"")
            if not message.get("more_body"):
                return read

    async def stream(chunks: Iterator[bytes], receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.ensure_future(receive())
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


@pytest.mark.guard("T25")
def test_hanging_up_is_no_free_pass(url: str, house: House, payer: Payer) -> None:
    """A stream that was left in the middle was delivered, as far as money goes."""
    DoorCases().test_who_hangs_up_on_a_stream_had_the_delivery(url, house, payer)


@pytest.mark.guard("T25")
def test_a_server_that_cancels_on_hang_up_records_as_well(slot: Slot, payer: Payer) -> None:
    """Some servers tell a handler by cancelling its task instead of a message."""
    ran = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ran.append(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await asyncio.Event().wait()

    door = CoinslotMiddleware(app, slot, {"/paid": "0.01"})

    async def cancelling(scope: Scope, receive: Receive, send: Send) -> None:
        messages = [await receive()]

        async def whole() -> Any:
            return messages.pop() if messages else await asyncio.Event().wait()

        inner = asyncio.create_task(door(scope, whole, send))
        gone = asyncio.ensure_future(receive())
        await asyncio.wait([gone, inner], return_when=asyncio.FIRST_COMPLETED)
        inner.cancel()
        await asyncio.wait([inner])

    with asgi_server(cancelling) as url:
        authorization = payer.credential(payer.client.get(f"{url}/paid"))
        with payer.client.stream("GET", f"{url}/paid", headers={"Authorization": authorization}) as answer:
            assert next(answer.iter_raw()) == b"first"
        again = present(payer, f"{url}/paid", authorization)
    assert again.json()["type"].endswith("/already-delivered")
    assert ran == [1]


@pytest.mark.guard("T39")
@pytest.mark.spec("CORE-111", "CORE-112")
def test_caches_keep_neither_the_402_nor_what_was_paid_for(slot: Slot, payer: Payer) -> None:
    """Whatever the application says to caches: no-store on the 402, private and by Authorization on the answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"cache-control", b"public, max-age=60, s-maxage=600"), (b"vary", b"Accept")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"done"})

    with asgi_server(CoinslotMiddleware(app, slot, {"/paid": "0.01"})) as url:
        asked, given = payer.client.get(f"{url}/paid"), payer.get(f"{url}/paid")
    assert asked.headers["cache-control"] == "no-store"
    assert given.headers["cache-control"] == "private, max-age=60"
    assert given.headers["vary"] == "Accept, Authorization"


@pytest.mark.guard("T40")
@pytest.mark.parametrize("text", ["a\r\nSet-Cookie: x=1", "a\nb", "a\0b"])
def test_what_could_end_a_header_is_refused_at_start_up(slot: Slot, bank: Bank, text: str) -> None:
    """In a description and in a realm, before anybody can ask."""
    with pytest.raises(UsageError, match="description"):
        slot.price("0.01", description=text)
    with pytest.raises(ConfigError, match="realm"):
        Slot(text, store="memory:", toy={"bank": bank.path, "recipient": "shop"})


def test_a_request_that_breaks_off_is_not_charged(slot: Slot, payer: Payer) -> None:
    """Half a body is no request: nothing is claimed for it, and the whole one is paid and served."""
    ran = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ran.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    with asgi_server(CoinslotMiddleware(app, slot, {"/paid": "0.01"})) as url:
        authorization = payer.credential(payer.client.post(f"{url}/paid", content=b"whole"))
        head = f"POST /paid HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nContent-Length: 5\r\n\r\nwh"
        where = httpx.URL(url)
        with socket.create_connection((where.host, where.port or 80)) as wire:
            wire.sendall(head.encode())
        answer = payer.client.post(f"{url}/paid", content=b"whole", headers={"Authorization": authorization})
    assert answer.status_code == 200
    assert ran == [b"whole"]


def test_what_passes_by_our_messages_is_not_offered_to_a_priced_handler(slot: Slot, payer: Payer) -> None:
    """A file sent by the server itself would be neither recorded nor carry a receipt."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(set(scope["extensions"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    door = CoinslotMiddleware(app, slot, {"/paid": "0.01"})

    async def able(scope: Scope, receive: Receive, send: Send) -> None:
        await door({**scope, "extensions": {"http.response.pathsend": {}, "tls": {}}}, receive, send)

    with asgi_server(able) as url:
        payer.client.get(f"{url}/free")
        payer.get(f"{url}/paid")
    assert seen == [{"http.response.pathsend", "tls"}, {"tls"}]

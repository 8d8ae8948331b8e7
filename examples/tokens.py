"""A model paid token by token, from a session. Needs `pip install 'coinslot[starlette,tempo]' uvicorn`, and a chain:

coinslot devnet &
export RECIPIENT=0x70997970C51812dc3A010C7d01b50e0d17dc79C8
export SESSION_KEY=0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d
uvicorn examples.tokens:app &
coinslot fetch --rpc-url http://127.0.0.1:8545 -d 'a word or two' --session --close -v http://127.0.0.1:8000/chat
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from coinslot.transports.asgi import CoinslotMiddleware
from coinslot.transports.slot import Slot
from coinslot.transports.starlette import events

slot = Slot(
    "tokens.example",
    store=os.environ.get("STORE", "sqlite:///tokens.sqlite"),
    tempo={
        "recipient": os.environ["RECIPIENT"],
        "session_key": os.environ["SESSION_KEY"],  # settles what the vouchers say
        "rpc_url": os.environ.get("RPC_URL", "http://127.0.0.1:8545"),
    },
)


async def model(question: str) -> AsyncIterator[str]:
    """Says the question backwards, a word at a time."""
    for word in reversed(question.split()):
        yield word
        await asyncio.sleep(float(os.environ.get("PAUSE_S", "0.05")))


async def chat(request: Request) -> StreamingResponse:
    """Each event is charged before it is sent; who hangs up pays for no more."""
    return events(request, model((await request.body()).decode()))


app = CoinslotMiddleware(
    Starlette(routes=[Route("/chat", chat, methods=["POST"])]),
    slot,
    {"POST /chat": slot.metered("0.0001", unit="token", deposit="0.5")},
)

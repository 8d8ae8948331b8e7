"""A paid stream: the longer the countdown, the dearer. Needs `pip install 'coinslot[fastapi,tempo]' uvicorn`, a chain:

coinslot devnet &
export RECIPIENT=0x70997970C51812dc3A010C7d01b50e0d17dc79C8
uvicorn examples.stream:app &
coinslot fetch --rpc-url http://127.0.0.1:8545 'http://127.0.0.1:8000/countdown?from_=3'
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import FastAPI, Query
from fastapi.responses import StreamingResponse

from coinslot.server.request import Incoming
from coinslot.transports.fastapi import install, paid
from coinslot.transports.slot import Slot

slot = Slot(
    "countdown.example",
    store=os.environ.get("STORE", "sqlite:///countdown.sqlite"),
    tempo={"recipient": os.environ["RECIPIENT"], "rpc_url": os.environ.get("RPC_URL", "http://127.0.0.1:8545")},
)
app = FastAPI()
install(app, slot)


def cent_a_number(request: Incoming) -> str:
    """Asked once for each challenge; FastAPI has checked the parameter before."""
    numbers = parse_qs(request.query).get("from_", ["10"])[0]
    return str(Decimal(numbers) / 100)


@app.get("/countdown")
@paid(slot, cent_a_number, description="a countdown, a cent a number")
async def countdown(from_: Annotated[int, Query(ge=1, le=100)] = 10) -> StreamingResponse:
    """One line every second."""

    async def lines() -> AsyncIterator[str]:
        for number in range(from_, 0, -1):
            yield f"{number}\n"
            await asyncio.sleep(float(os.environ.get("PAUSE_S", "1")))

    return StreamingResponse(lines(), media_type="text/plain")

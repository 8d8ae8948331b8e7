"""solana-pay-kit's sessions, a round at a time: one line of JSON in, one line out. solanavouchers.py runs this.

First on stdin comes the work: {"secret", "realm", "amount", "mint", "recipient", "network", "channel", "signer",
"open_slot", "deposit", "idle_s", "seed", "look_after", "headers": [text, ...], "vouchers": [{...}, ...]}. Each
further line NAME N does a thing N times and answers with the processor's microseconds for one: `handle` its gate with
the next headers, `verify` the next vouchers read from JSON and verified, `sign` vouchers signed. It runs under its own
interpreter and imports no coinslot.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from solana_pay_kit.protocols.mpp.client.session import ActiveSession
from solana_pay_kit.protocols.mpp.intents.session import SignedVoucher
from solana_pay_kit.protocols.mpp.server import session_voucher
from solana_pay_kit.protocols.mpp.server.session_method import SessionChallengeOptions, SessionOptions, new_session
from solana_pay_kit.protocols.mpp.server.session_store import ChannelState, MemoryChannelStore
from solders.keypair import Keypair
from solders.pubkey import Pubkey

WORK = Callable[[], Awaitable[None]]


class NoChain:
    """A session without a node is refused; this one is never asked anything."""


async def works(told: dict[str, Any]) -> dict[str, WORK]:
    """What can be asked for, on a fresh channel that is open."""
    store = MemoryChannelStore()
    state = ChannelState(
        channel_id=told["channel"],
        authorized_signer=told["signer"],
        deposit=told["deposit"],
        open_slot=told["open_slot"],
        payer=told["signer"],
        rent_payer=told["signer"],
        idle_timeout_seconds=told["idle_s"],
    )
    await store.update_channel(told["channel"], lambda _: state)
    session = new_session(
        SessionOptions(
            recipient=told["recipient"],
            amount=told["amount"],
            currency=told["mint"],
            network=told["network"],
            secret_key=told["secret"],
            realm=told["realm"],
            idle_timeout_seconds=told["idle_s"],
            store=store,
            rpc=NoChain(),
        )
    )
    options, headers, vouchers = SessionChallengeOptions(), iter(told["headers"]), itertools.cycle(told["vouchers"])
    key = Keypair.from_seed(bytes.fromhex(told["seed"]))
    mine, totals = ActiveSession(Pubkey.from_string(told["channel"]), key, 0), itertools.count(1)

    async def handle() -> None:
        answer = await session.handle(next(headers), options)
        assert answer.ok, answer.body

    async def verify() -> None:
        signed = SignedVoucher.from_dict(next(vouchers))
        assert session_voucher.verify_session_voucher(signed, told["signer"]) is None

    async def sign() -> None:
        mine.prepare_voucher(next(totals)).to_dict()

    return {"handle": handle, "verify": verify, "sign": sign}


async def main() -> None:
    """Answer until stdin ends."""
    told = json.loads(sys.stdin.readline())
    work = await works(told)
    gc.collect()
    gc.freeze()
    gc.set_threshold(told["look_after"])
    for line in sys.stdin:
        name, times = line.split()
        begun = time.thread_time()
        for _ in range(int(times)):
            await work[name]()
        print(json.dumps((time.thread_time() - begun) / int(times) * 1e6), flush=True)


if __name__ == "__main__":
    asyncio.run(main())

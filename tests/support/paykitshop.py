"""A server of solana-pay-kit that sells from channels, and a client of ours that buys there.

with mainlike() as svm, opened(paykit, svm) as theirs: Buyer(theirs).client().get(theirs.url)
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from solders.pubkey import Pubkey

from coinslot.client.events import Event
from coinslot.devnet.channels.solana.program import MAINNET_TREASURY_OWNER, PROGRAM_ID, elf
from coinslot.devnet.solana import DEVNET
from coinslot.intents.acts import Held
from coinslot.store.book_memory import MemoryBook
from support.peers import Peer
from support.solanapeers import DOLLAR, MINTS, REALM, Theirs, paying, seed
from support.svm import SvmChain

COST = 1_000
DEPOSIT = 10_000


@contextmanager
def mainlike() -> Iterator[SvmChain]:
    """A chain whose channel program has mainnet's treasury, the only one that this server knows."""
    with DEVNET.start() as running:
        running.chain.add_program(Pubkey.from_string(PROGRAM_ID), elf(MAINNET_TREASURY_OWNER))
        chain = SvmChain(running)
        for token in ("USDC", "PYUSD"):
            chain.fund(MAINNET_TREASURY_OWNER, 1, token)
        yield chain


@contextmanager
def opened(paykit: Peer, svm: SvmChain, token: str = "USDC", **session: Any) -> Iterator[Theirs]:
    """A server that sells from channels for a thousandth; it pays for opening unless told otherwise. With `metering`
    its streams are paid after they came.
    """
    owner = svm.keypair(**{token: 1})
    more = {"metering": session.pop("metering")} if "metering" in session else {}
    settings = {
        "recipient": str(owner.pubkey()),
        "signer": seed(owner),
        "amount": COST,
        "currency": MINTS[token],
        "fee_payer": True,
        "suggested_deposit": DEPOSIT,
        **session,
    }
    secret = secrets.token_hex(32)
    order = {"rpc_url": svm.rpc_url, "realm": REALM, "secret_key": secret, "session": settings}
    url = paykit.call("serve", **order, **more)["url"]
    yield Theirs(svm, paykit, url, token, settings["recipient"], ("", ""))
    paykit.call("close", url=url)


class Buyer:
    """Our client: an account without SOL, a book, and what it noticed."""

    def __init__(self, theirs: Theirs, **purse: Any) -> None:
        lamports = purse.pop("lamports", 0)
        self.theirs, self.book, self.events = theirs, MemoryBook(), list[Event]()
        self.purse = {"operator_deposit": "0.03", **purse}
        self.pair = theirs.svm.keypair(lamports=lamports, **{theirs.token: DOLLAR})

    def client(self, **limits: Any) -> httpx.Client:
        """With up to three cents for a channel, also where the server signs."""
        limits = {"max_deposit": "0.03", "prefer_sessions": True, **limits}
        return paying(self.theirs.svm, self.pair, book=self.book, events=self.events, purse=self.purse, **limits)

    @property
    def held(self) -> Held:
        """Its only channel."""
        (held,) = self.book.all().result()
        return held

    @property
    def purse_units(self) -> int:
        """What it holds beside the channel."""
        return self.theirs.svm.balance(str(self.pair.pubkey()), self.theirs.token)

    def count(self, kind: type[Event]) -> int:
        """How often something happened."""
        return sum(isinstance(one, kind) for one in self.events)

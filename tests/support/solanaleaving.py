"""Payers that leave a shop on a local Solana chain, and what happens to their channels meanwhile."""

from __future__ import annotations

import base64
from typing import Any

from solders.keypair import Keypair

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.message import build_message, sign_partially
from coinslot.chains.solana.programs import SYSTEM_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.client.wallet import wallet
from coinslot.drive import RealWorld, run
from coinslot.intents.acts import Held
from coinslot.method import SessionPayer
from coinslot.methods.solana.session.escrow import CHANNEL_PROGRAM
from coinslot.methods.solana.session.program import Settle, build_settle
from coinslot.methods.solana.session.voucher import build_voucher_instruction, decode_voucher
from coinslot.methods.solana.tokens import USDC
from coinslot.store.book_memory import MemoryBook
from support.solanasession import owner_of, paying, secret, shop
from support.svm import SvmChain

GRACE_S = 60


def payer_of(svm: SvmChain, pair: Keypair, world: RealWorld, **purse: Any) -> SessionPayer:
    """A payer by its settings."""
    table = {"rpc_url": svm.rpc_url, "network": "localnet", "private_key": secret(pair), **purse}
    (payer,) = run(wallet(solana=table).session_payers(), world)
    return payer


def bought(
    svm: SvmChain, pair: Keypair, *, requests: int = 3, owner: Keypair | None = None, **settings: Any
) -> MemoryBook:
    """The book of a payer whose server is gone: a channel of so many requests, nothing of them settled."""
    book = MemoryBook()
    with (
        shop(svm, owner or owner_of(svm), **{"grace_s": GRACE_S, **settings}) as url,
        paying(svm, pair, book, []) as client,
    ):
        assert [client.get(url).status_code for _ in range(requests)] == [200] * requests
    return book


def settle(svm: SvmChain, pair: Keypair, owner: Keypair, held: Held) -> None:
    """What a seller's watcher does in time: the channel's highest voucher, settled."""
    voucher = build_voucher_instruction(decode_voucher(held.voucher))
    call = build_settle(CHANNEL_PROGRAM, Settle(held.channel_id))
    key = Key(bytes(owner.secret()))
    raw = sign_partially(build_message(key.address, [voucher, call], svm.blockhash()), [key])
    svm.rpc("sendTransaction", base64.b64encode(raw).decode(), {"encoding": "base64"})


def close_account(svm: SvmChain, owner: Keypair) -> None:
    """The owner's token account is no more."""
    place = derive_ata(str(owner.pubkey()), USDC, TOKEN_PROGRAM)
    svm.rpc("surfnet_setAccount", place, {"lamports": 0, "data": "", "owner": SYSTEM_PROGRAM})

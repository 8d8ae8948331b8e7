"""A payer of Solana sessions that asks no chain, and challenges for it."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

from coinslot.chains.solana.signature import Key
from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge, KeyRing
from coinslot.core.instant import format_instant
from coinslot.intents.acts import Held, Standing
from coinslot.methods.solana.paying import PayerConfig
from coinslot.methods.solana.session.channel import Seeds
from coinslot.methods.solana.session.escrow import CHANNEL_PROGRAM
from coinslot.methods.solana.session.payer import SolanaSessionPayer
from coinslot.methods.solana.session.record import Recorded
from coinslot.methods.solana.session.terms import SessionTerms, write_session_request
from coinslot.methods.solana.session.wallet import SessionPayerConfig
from coinslot.methods.solana.tokens import LOCALNET, USDC, asset, pinned

NETWORK = "solana:5wzTU9MauiMdjuCcRH9Yqzrviyk6o9pM"
PAYER, PAYEE, SERVER, DELEGATE, OTHER = (Key(bytes([each]) * 32) for each in range(1, 6))
BLOCKHASH = Key(bytes([9]) * 32).address
PRICE = 1_000
DEPOSIT = 100_000
_RING = KeyRing((bytes(range(32)),))
TOKEN = pinned(LOCALNET)[USDC]
TERMS = SessionTerms(
    network=LOCALNET,
    program=CHANNEL_PROGRAM,
    asset=asset(NETWORK, USDC, TOKEN),
    recipient=PAYEE.address,
    amount_units=PRICE,
    decimals=6,
    unit_type="request",
    grace_s=900,
    blockhash=BLOCKHASH,
    recent_slot=1_000,
)


def wallet_config(rpc_url: str = "http://127.0.0.1:1", network: str = NETWORK, key: Key = PAYER) -> PayerConfig:
    """Settings of a wallet on a local chain."""
    return PayerConfig(
        rpc_url=rpc_url,
        cluster=LOCALNET,
        network=network,
        key=key,
        mode="pull",
        unit_price=1_000,
        max_fee_lamports=10_000_000,
        tokens=pinned(LOCALNET),
    )


def payer(**changes: Any) -> SolanaSessionPayer:
    """A payer that signs its own vouchers; `operator` is a limit in whole tokens."""
    most = changes.pop("operator", None)
    given: dict[str, Any] = {"wallet": wallet_config(), "voucher_key": PAYER, **changes}
    config = SessionPayerConfig(**given)
    return SolanaSessionPayer(config if most is None else replace(config, operator_deposit=Decimal(most)))


def challenge(terms: SessionTerms = TERMS, /, **changes: Any) -> Challenge:
    """Terms, offered as a server would; `request` changes members of the request object itself."""
    request = changes.pop("request", {})
    details = changes.pop("details", {})
    told = write_session_request(replace(terms, **changes)) | request
    told["methodDetails"] = told["methodDetails"] | details
    expires = format_instant(time.time() + 120)
    return _RING.issue(Challenge("", "shop.example", "solana", "session", encode_object(told), expires=expires))


def recorded(**changes: Any) -> Recorded:
    """The record of a channel between them."""
    signer = changes.pop("signer", PAYER.address)
    seeds = Seeds(PAYER.address, PAYEE.address, USDC, signer, salt=7, open_slot=1_000)
    base = Recorded(NETWORK, CHANNEL_PROGRAM, seeds, TOKEN.program, SERVER.address, 900)
    return replace(base, **changes)


def held(signed: int = 0, **changes: Any) -> Held:
    """An open channel on record, with a voucher for so much."""
    state = changes.pop("recorded", None) or recorded()
    one = replace(state.held(DEPOSIT), standing=Standing.OPEN, signed_units=signed)
    if signed and not state.operator:
        one = replace(one, voucher=payer(voucher_key=DELEGATE).sign(one, signed))
    return replace(one, **changes)

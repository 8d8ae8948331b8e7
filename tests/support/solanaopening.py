"""Openings and top-ups of Solana channels for tests, with one thing changed where a test says so. No chain."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from typing import Any

from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.message import build_message, sign_partially
from coinslot.chains.solana.programs import TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.methods.solana.session.bearer import sign_bearer
from coinslot.methods.solana.session.channel import Seeds, derive_channel
from coinslot.methods.solana.session.distribution import Split
from coinslot.methods.solana.session.escrow import CHANNEL_PROGRAM
from coinslot.methods.solana.session.payload import OpenPayload, TopUpPayload, read_payload
from coinslot.methods.solana.session.program import Open, TopUp, build_open, build_top_up
from coinslot.methods.solana.session.record import Recorded
from coinslot.methods.solana.session.terms import SessionTerms
from coinslot.methods.solana.session.transaction import Opening, ToppingUp, read_opening, read_topping_up
from coinslot.money import Asset

USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
NETWORK = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"
ASSET = Asset(NETWORK, USDC, 6, "USDC", "USD")
SLOT = 380_000_000
CHALLENGE = "aChallengeOfOurs"
IDLE_S = 3_600
DEPOSIT = 10_000


def key(name: str) -> Key:
    """The key of somebody, the same each time."""
    return Key(hashlib.sha256(name.encode()).digest())


PAYER, FEES, PAYEE, OPERATOR, OTHER = key("payer"), key("fees"), key("payee"), key("operator"), key("other")
BLOCKHASH, OTHER_BLOCKHASH = key("a block").address, key("another block").address
SPLITS = (Split(key("first").address, 250), Split(key("second").address, 100))


def asset_of(network: str, mint: str, decimals: int) -> Asset:
    """As sellers name assets."""
    return Asset(NETWORK, mint, decimals)


def terms(**changes: Any) -> SessionTerms:
    """Terms of 1000 units a request for PAYEE, sponsored by FEES, that a new channel can be opened under."""
    base = SessionTerms(
        network="mainnet",
        program=CHANNEL_PROGRAM,
        asset=ASSET,
        recipient=PAYEE.address,
        amount_units=1_000,
        decimals=6,
        unit_type="request",
        minimum_deposit_units=5_000,
        token_program=TOKEN_PROGRAM,
        fee_payer=FEES.address,
        splits=SPLITS,
        grace_s=900,
        idle_options_s=(60, 3_600),
        blockhash=BLOCKHASH,
        recent_slot=SLOT,
    )
    return replace(base, **changes)


def by_operator(**changes: Any) -> SessionTerms:
    """The same, OPERATOR signing the vouchers."""
    return terms(operator=OPERATOR.address, **changes)


def seeds(asked: SessionTerms, **changes: Any) -> Seeds:
    """The parts of the channel that PAYER opens under these terms."""
    base = Seeds(PAYER.address, asked.recipient, asked.mint, asked.operator or PAYER.address, 7, SLOT - 3)
    return replace(base, **changes)


def call(asked: SessionTerms, **changes: Any) -> Open:
    """What opens it."""
    given = seeds(asked, **changes.pop("seeds", {}))
    rent_payer = asked.fee_payer or PAYER.address
    base = Open(given, asked.token_program or TOKEN_PROGRAM, rent_payer, DEPOSIT, asked.grace_s or 900, asked.splits)
    return replace(base, **changes)


@dataclass(frozen=True)
class Made:
    """A transaction to be: the first of `keys` that is its payer signs for the fee only if it is PAYER."""

    instructions: tuple[Instruction, ...]
    fee_payer: str
    blockhash: str = BLOCKHASH
    keys: tuple[Key, ...] = (PAYER,)

    @property
    def raw(self) -> bytes:
        """Its bytes."""
        return sign_partially(build_message(self.fee_payer, self.instructions, self.blockhash), self.keys)


def payload(asked: SessionTerms, opens: Open | None = None, raw: bytes | None = None, **members: Any) -> dict[str, Any]:
    """The payload of an opening; None leaves a member out."""
    opens = opens or call(asked)
    channel = derive_channel(asked.program, opens.seeds)
    made = Made((build_open(asked.program, opens),), asked.fee_payer or PAYER.address)
    told: dict[str, Any] = {
        "action": "open",
        "channelId": channel,
        "payer": opens.seeds.payer,
        "payee": opens.seeds.payee,
        "mint": opens.seeds.mint,
        "authorizedSigner": opens.seeds.authorized_signer,
        "salt": str(opens.seeds.salt),
        "depositAmount": str(opens.deposit_units),
        "gracePeriodSeconds": opens.grace_s,
        "openSlot": str(opens.seeds.open_slot),
        "distributionSplits": [{"recipient": one.recipient, "shareBps": one.share_bps} for one in opens.splits] or None,
        "transaction": base64.b64encode(raw or made.raw).decode(),
    }
    if asked.operator is not None:
        told["authentication"] = sign_bearer(PAYER, channel, CHALLENGE).members()
    return {name: value for name, value in {**told, **members}.items() if value is not None}


def read_open(asked: SessionTerms, told: dict[str, Any] | None = None, slot: int = SLOT + 5) -> Opening:
    """What the server makes of it."""
    shown = read_payload(payload(asked) if told is None else told, operator=asked.operator is not None)
    assert isinstance(shown, OpenPayload)
    return read_opening(shown, asked, CHALLENGE, slot, IDLE_S)


def recorded(asked: SessionTerms, **changes: Any) -> Recorded:
    """The record of the channel."""
    opens = call(asked)
    base = Recorded(
        NETWORK, asked.program, opens.seeds, opens.token_program, opens.rent_payer, opens.grace_s, opens.splits, IDLE_S
    )
    return replace(base, **changes)


def read_add(asked: SessionTerms, call_changes: dict[str, Any] | None = None, **members: Any) -> ToppingUp:
    """What the server makes of a top-up of 500 units."""
    mine = recorded(asked)
    given = {"channel": mine.id, "payer": PAYER.address, "mint": USDC, "token_program": TOKEN_PROGRAM}
    adds = TopUp(**{**given, "amount_units": 500, **(call_changes or {})})
    made = Made((build_top_up(asked.program, adds),), asked.fee_payer or PAYER.address)
    told = {"action": "topUp", "channelId": mine.id, "additionalAmount": "500"}
    told["transaction"] = base64.b64encode(members.pop("raw", made.raw)).decode()
    shown = read_payload({**told, **members}, operator=False)
    assert isinstance(shown, TopUpPayload)
    return read_topping_up(shown, mine, asked.fee_payer)

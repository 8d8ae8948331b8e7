"""The rent of channels that are over, collected now and then: many `reclaim` in one transaction (SSES "reclaim").

A drained channel keeps its address occupied until nobody could open another there any more; then anybody may have its
account freed, and the rent goes back to who paid it. Nobody waits for that, and doing it twice does no harm.

A payer can take its deposit out of a channel by itself and leave the rent in it, which a sponsor paid. What such
channels need to be drained is done first, so that opening and abandoning them costs a sponsor fees and no rent. T31
"""

from __future__ import annotations

from dataclasses import replace

from coinslot.chains.solana.address import address_bytes
from coinslot.chains.solana.budget import build_unit_limit
from coinslot.chains.solana.message import build_message, sign_partially
from coinslot.chains.solana.rpc import Account, Commitment, Memcmp, latest_blockhash, program_accounts
from coinslot.chains.solana.sending import await_status, send_transaction
from coinslot.chains.solana.signature import Key
from coinslot.drive import Flow
from coinslot.errors import BadTransaction
from coinslot.methods.solana.session.channel import (
    CHANNEL_BYTES,
    PAYEE_AT,
    RENT_PAYER_AT,
    STATUS_AT,
    ChannelAccount,
    Status,
    read_channel,
)
from coinslot.methods.solana.session.distribution import Split, distribution_hash
from coinslot.methods.solana.session.escrow import can_reclaim
from coinslot.methods.solana.session.program import Reclaim, build_reclaim
from coinslot.methods.solana.session.record import Recorded

# 38 bytes each, next to the 270 of the transaction itself.
AT_ONCE = 20
RECLAIM_UNITS = 10_000
# A sweep is one of many, and must not hold up what people wait for.
MAX_TRANSACTIONS = 5
MAX_DRAINED = 10


def collect_rent(url: str, program: str, payer: Key, commitment: Commitment) -> Flow[int]:
    """Free the drained channels whose rent `payer` paid, as many as one sweep takes. How many. Raises ChainError."""
    where = (
        Memcmp(STATUS_AT, bytes((Status.DISTRIBUTED,))),
        Memcmp(RENT_PAYER_AT, address_bytes(payer.address)),
    )
    found = yield from program_accounts(url, program, size=CHANNEL_BYTES, where=where, commitment=commitment)
    ready = [one.address for one in found if _ready(program, one)][: AT_ONCE * MAX_TRANSACTIONS]
    for first in range(0, len(ready), AT_ONCE):
        yield from _reclaim(url, program, payer, ready[first : first + AT_ONCE], commitment)
    return len(ready)


def abandoned(
    url: str, like: Recorded, others: tuple[tuple[Split, ...], ...], commitment: Commitment
) -> Flow[tuple[tuple[Recorded, ChannelAccount], ...]]:
    """The sealed and closing channels of the same program, payee, token and rent payer as `like`; those with its splits
    or one of the `others`, since nobody can distribute without knowing them. Raises ChainError.
    """
    where = (
        Memcmp(PAYEE_AT, address_bytes(like.seeds.payee)),
        Memcmp(RENT_PAYER_AT, address_bytes(like.rent_payer)),
    )
    hashes = {distribution_hash(splits): splits for splits in (like.splits, *others)}
    found = yield from program_accounts(url, like.program, size=CHANNEL_BYTES, where=where, commitment=commitment)
    over: list[tuple[Recorded, ChannelAccount]] = []
    for one in found:
        try:
            state = read_channel(like.program, one)
        except BadTransaction:
            continue
        known = state.seeds.mint == like.seeds.mint and state.distribution_hash in hashes
        if known and state.status in (Status.SEALED, Status.CLOSING):
            splits = hashes[state.distribution_hash]
            over.append((replace(like, seeds=state.seeds, grace_s=state.grace_s, splits=splits), state))
    return tuple(over[:MAX_DRAINED])


def _ready(program: str, found: Account) -> bool:
    """Whether its address can never be opened again; what is no channel is passed over."""
    try:
        state = read_channel(program, found)
    except BadTransaction:
        return False
    return state.status is Status.DISTRIBUTED and can_reclaim(state.seeds.open_slot, found.slot)


def _reclaim(url: str, program: str, payer: Key, channels: list[str], commitment: Commitment) -> Flow[None]:
    calls = [build_reclaim(program, Reclaim(one, payer.address)) for one in channels]
    recent = yield from latest_blockhash(url, commitment=commitment)
    limit = build_unit_limit(RECLAIM_UNITS * len(calls))
    raw = sign_partially(build_message(payer.address, [limit, *calls], recent.blockhash), (payer,))
    signature = yield from send_transaction(url, raw, commitment=commitment)
    yield from await_status(url, signature, commitment=commitment)

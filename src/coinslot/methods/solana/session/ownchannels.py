"""A payer's channels as the chain has them: one by its record, or all of an account. All flows.

The chain frees the account of a drained channel 1,500 slots after its opening or later. Until then it stays, so an
account that is not there was never opened, or not yet; after that nothing can be opened at its address any more. F12
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coinslot.chains.solana.address import address_bytes
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.rpc import (
    Account,
    Memcmp,
    account,
    accounts,
    block_time,
    is_blockhash_valid,
    program_accounts,
    slot,
)
from coinslot.chains.solana.sending import get_transaction, signatures_for_address
from coinslot.drive import Flow
from coinslot.errors import BadTransaction, ChainError, RpcUnreachable
from coinslot.intents.acts import Held, OnChain, Standing
from coinslot.methods.solana.session.channel import (
    CHANNEL_BYTES,
    PAYER_AT,
    ChannelAccount,
    Status,
    derive_channel,
    read_channel,
)
from coinslot.methods.solana.session.distribution import Split, distribution_hash
from coinslot.methods.solana.session.escrow import can_reclaim
from coinslot.methods.solana.session.looking import own_state
from coinslot.methods.solana.session.opening import MOST_BEHIND_SLOTS
from coinslot.methods.solana.session.program import Open, read_open, read_settle, read_settle_and_seal, read_top_up
from coinslot.methods.solana.session.record import Recorded
from coinslot.methods.solana.session.voucher import read_voucher_instruction

# The life of a blockhash, in slots of which each has a block; with fewer blocks it lasts longer.
BLOCKHASH_SLOTS = 150
# Transactions of one channel that are read to learn how it ended: settlements are some minutes apart.
MAX_TRANSACTIONS = 200
_DISCRIMINATOR_AND_VERSION = b"\x01\x01"


# --- one channel ---------------------------------------------------------------------------------


def look_up(url: str, held: Held, recorded: Recorded, blockhash: str | None) -> Flow[OnChain]:
    """The channel at the newest slot. `blockhash`: what its opening or top-up was built on, while its end is not known.

    Raises RpcRefused, RpcUnreachable.
    """
    (found,) = yield from accounts(url, [recorded.id])
    state = own_state(recorded, found)  # T08 T47: owner, address, terms
    if state is not None:
        shown = on_chain(held.key, state)
        if blockhash is None:
            return shown
        return replace(shown, alive=(yield from is_blockhash_valid(url, blockhash, commitment="processed")))
    finalized = yield from slot(url, commitment="finalized")
    if can_reclaim(recorded.seeds.open_slot, finalized):  # nothing can be opened there any more
        return (yield from _gone(url, held, recorded))
    if held.standing is not Standing.OPENING or blockhash is None:
        return OnChain(held.key, False, 0, 0)  # the node is behind
    return (yield from _perhaps_dead(url, held, recorded, (blockhash, finalized)))


def on_chain(key: str, state: ChannelAccount) -> OnChain:
    """A state as a payer reads it: once it has its rest back, the channel is over."""
    closing_at_s: float | None = None
    if state.status is Status.CLOSING:
        closing_at_s = float(state.closure_started_at)
    elif state.status is Status.SEALED:  # nothing to wait for
        closing_at_s = 0.0
    returned = state.status is Status.SEALED and state.payer_withdrawn_at != 0
    over = state.status is Status.DISTRIBUTED or returned
    return OnChain(key, True, state.deposit_units, state.settled_units, closing_at_s, over)


def _perhaps_dead(url: str, held: Held, recorded: Recorded, built_on: tuple[str, int]) -> Flow[OnChain]:
    """An opening whose blockhash the finalized chain has known and forgotten can't appear in any later block. F13

    A blockhash that is too new for the finalized chain is not known there either, so that must be further. How far is
    not the server's word: it chose slot and blockhash, and our node knew the blockhash when it was at most so far ahead
    of the slot.
    """
    blockhash, finalized = built_on
    missing = OnChain(held.key, False, 0, 0)
    if (yield from is_blockhash_valid(url, blockhash, commitment="processed")):
        return replace(missing, alive=True)
    if finalized <= recorded.seeds.open_slot + MOST_BEHIND_SLOTS + BLOCKHASH_SLOTS:  # F13
        return missing
    if (yield from is_blockhash_valid(url, blockhash, commitment="finalized")):
        return missing
    (found,) = yield from accounts(url, [recorded.id], commitment="finalized")
    return replace(missing, dead=own_state(recorded, found) is None)


@dataclass(frozen=True, slots=True)
class _History:
    """What the transactions of a channel did, in base units."""

    opened: bool = False
    deposit_units: int = 0
    settled_units: int = 0


def _gone(url: str, held: Held, recorded: Recorded) -> Flow[OnChain]:
    """A channel whose account was freed, or whose opening came too late for ever."""
    try:
        told = yield from _history(url, recorded)
    except ChainError:
        if held.standing is Standing.OPENING:
            raise
        told = _History(opened=True, deposit_units=held.deposit_units, settled_units=held.spent_units)
    if held.standing is Standing.OPENING and not told.opened:
        return OnChain(held.key, False, 0, 0, dead=True)
    deposit_units = max(told.deposit_units, held.deposit_units)
    return OnChain(held.key, False, deposit_units, min(told.settled_units, deposit_units), closed=True)


def _history(url: str, recorded: Recorded) -> Flow[_History]:
    """What the chain's record says that happened to a channel."""
    told = _History()
    for each in (yield from signatures_for_address(url, recorded.id, limit=MAX_TRANSACTIONS)):
        if each.failure is not None:
            continue
        landed = yield from get_transaction(url, each.signature)
        if landed is not None and landed.failure is None:
            told = _read(told, recorded, landed.instructions)
    return told


def _read(told: _History, recorded: Recorded, instructions: Sequence[Instruction]) -> _History:
    opened, deposit, settled = told.opened, told.deposit_units, told.settled_units
    for before, each in zip((None, *instructions), instructions, strict=False):
        if each.program != recorded.program:
            continue
        try:
            match each.data[:1]:
                case b"\x01":
                    call = read_open(recorded.program, each)
                    if call.seeds == recorded.seeds:
                        opened, deposit = True, deposit + call.deposit_units
                case b"\x02" | b"\x04":
                    settled = max(settled, _settled(recorded, before, each))
                case b"\x03":
                    more = read_top_up(recorded.program, each)
                    deposit += more.amount_units if more.channel == recorded.id else 0
        except BadTransaction:
            continue
    return _History(opened, deposit, settled)


def _settled(recorded: Recorded, before: Instruction | None, each: Instruction) -> int:
    """The voucher that a settlement of this channel applied. Raises BadTransaction for none."""
    if each.data[:1] == b"\x02":
        channel = read_settle(recorded.program, each).channel
    else:
        channel = read_settle_and_seal(recorded.program, each).channel
    if channel != recorded.id or before is None:
        return 0
    voucher = read_voucher_instruction(before)
    return voucher.cumulative_units if voucher.channel_id == recorded.id else 0


# --- all of an account ---------------------------------------------------------------------------


def find_channels(
    url: str, network: str, programs: Sequence[str], payer: str, since_s: float
) -> Flow[tuple[Held, ...]]:
    """The channels of an account that these programs have, opened since then, those that are over and not freed too.

    What was signed is not on the chain: `signed_units` is what was settled, and may be far too low. Raises RpcRefused,
    RpcUnreachable.
    """
    found: list[Held] = []
    where = (Memcmp(0, _DISCRIMINATOR_AND_VERSION), Memcmp(PAYER_AT, address_bytes(payer)))
    for program in programs:
        for each in (yield from program_accounts(url, program, size=CHANNEL_BYTES, where=where)):
            try:
                state = read_channel(program, each)
            except BadTransaction as error:  # T47
                raise RpcUnreachable(f"what stands at {each.address} is no channel: {error}") from None
            opened_at_s = yield from block_time(url, state.seeds.open_slot)
            if opened_at_s is None or opened_at_s >= since_s:
                recorded = yield from recorded_on_chain(url, network, program, (each, state))
                found.append(_held(recorded, state, since_s if opened_at_s is None else float(opened_at_s)))
    return tuple(sorted(found, key=lambda one: one.opened_at_s))


def _held(recorded: Recorded, state: ChannelAccount, opened_at_s: float) -> Held:
    """A record with what the chain shows."""
    shown = on_chain(recorded.key, state)
    standing = Standing.OPEN if shown.closing_at_s is None else Standing.CLOSING
    return replace(
        recorded.held(state.deposit_units),
        signed_units=state.settled_units,
        acknowledged_units=state.settled_units,
        spent_units=state.settled_units,
        settled_units=state.settled_units,
        standing=Standing.CLOSED if shown.closed else standing,
        opened_at_s=opened_at_s,
        closing_at_s=shown.closing_at_s,
    )


def recorded_on_chain(url: str, network: str, program: str, found: tuple[Account, ChannelAccount]) -> Flow[Recorded]:
    """What the chain tells of a channel's terms: of its splits only a hash, and the rest by its opening.

    Raises RpcUnreachable, RpcRefused.
    """
    at, state = found
    mint = yield from account(url, state.seeds.mint)
    if mint is None:
        raise RpcUnreachable(f"the node doesn't know the token of channel {at.address}")
    splits: tuple[Split, ...] = ()
    if state.distribution_hash != distribution_hash(()):
        splits = (yield from _opening(url, program, at.address)).splits
    if state.distribution_hash != distribution_hash(splits):
        raise RpcUnreachable(f"the node tells of other splits than those of channel {at.address}")
    return Recorded(network, program, state.seeds, mint.owner, state.rent_payer, state.grace_s, splits)


def _opening(url: str, program: str, channel: str) -> Flow[Open]:
    """The opening of a channel: one of its oldest transactions."""
    for each in reversed((yield from signatures_for_address(url, channel, limit=MAX_TRANSACTIONS))):
        landed = None if each.failure is not None else (yield from get_transaction(url, each.signature))
        for instruction in () if landed is None else landed.transaction.instructions:
            try:
                call = read_open(program, instruction)
            except BadTransaction:
                continue
            if derive_channel(program, call.seeds) == channel:
                return call
    raise RpcUnreachable(f"the node doesn't tell how channel {channel} was opened; ask one with a longer memory")

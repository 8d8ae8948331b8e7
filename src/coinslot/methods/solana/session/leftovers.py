"""What channels that are over still hold of a payer's own: the rent of those that it opened at its own cost.

    drained (Distributed)         its account can be freed 1,500 slots after its opening: `reclaim`, many at once
    sealed, our rest taken back   paid out first, where nobody's share would be lost by that: `distribute`

Nobody else would do either, since the rent is ours and it comes back to us whoever asks. The chain tells which channels
these are, so that a lost book loses none; where a node doesn't tell all of a program's accounts, the book does. A sweep
that is done twice does no harm. F04
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from coinslot.chains.solana.address import address_bytes
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.rpc import MAX_ACCOUNTS, Account, Commitment, Memcmp, accounts, program_accounts, slot
from coinslot.drive import Flow
from coinslot.errors import BadTransaction, RpcRefused, RpcUnreachable, UsageError
from coinslot.intents.acts import Held
from coinslot.methods.solana.session import exit as leaving
from coinslot.methods.solana.session.channel import (
    CHANNEL_BYTES,
    RENT_PAYER_AT,
    ChannelAccount,
    Status,
    read_channel,
)
from coinslot.methods.solana.session.escrow import can_reclaim
from coinslot.methods.solana.session.ownchannels import recorded_on_chain
from coinslot.methods.solana.session.program import Reclaim, build_reclaim
from coinslot.methods.solana.session.record import Recorded, read_record
from coinslot.methods.solana.session.rent import AT_ONCE, RECLAIM_UNITS

# Of the book's channels, the newest: a node tells a hundred at once.
MOST_REMEMBERED = 1_000
_CONFIRMED: Commitment = "confirmed"


@dataclass(frozen=True, slots=True)
class Batch:
    """Instructions of one transaction, the units that they may compute, and of how many channels they are."""

    calls: tuple[Instruction, ...]
    units: int
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What can be had now, in transactions, and the channels that can't be freed yet."""

    batches: tuple[Batch, ...]
    waiting: tuple[str, ...]


def leftovers(
    url: str, network: str, programs: Sequence[str], payer: str, known: Sequence[Held], treasury: dict[str, str]
) -> Flow[Leftovers]:
    """The channels whose rent is `payer`'s and to be had. `known` are closed ones of its book, `treasury` the owners of
    the treasuries of those programs that it knows. Raises ChainError.
    """
    ready: list[Instruction] = []
    names: list[str] = []
    batches: list[Batch] = []
    waiting: list[str] = []
    newest = yield from slot(url, commitment=_CONFIRMED)
    for program, found, state in (yield from _ours(url, programs, payer, known)):
        if state.status is Status.DISTRIBUTED:
            if can_reclaim(state.seeds.open_slot, newest):
                ready.append(build_reclaim(program, Reclaim(found.address, payer)))
                names.append(found.address)
            else:
                waiting.append(found.address)
        elif state.status is Status.SEALED and state.payer_withdrawn_at and state.seeds.payer == payer:
            recorded = yield from _recorded(url, network, (program, found, state), known)
            calls: list[Instruction] = []
            if recorded is not None:
                calls = yield from leaving.payout(url, recorded, state, treasury.get(program))
            if calls:
                batches.append(Batch(tuple(calls), leaving.DISTRIBUTE_UNITS, (found.address,)))
    for first in range(0, len(ready), AT_ONCE):
        part = tuple(ready[first : first + AT_ONCE])
        batches.append(Batch(part, RECLAIM_UNITS * len(part), tuple(names[first : first + AT_ONCE])))
    return Leftovers(tuple(batches), tuple(waiting))


_Found = tuple[str, Account, ChannelAccount]


def _ours(url: str, programs: Sequence[str], payer: str, known: Sequence[Held]) -> Flow[list[_Found]]:
    """The channels whose rent this account paid, by the chain; else those of the book that are still there."""
    told: list[_Found] = []
    where = (Memcmp(RENT_PAYER_AT, address_bytes(payer)),)
    try:
        for program in programs:
            found = yield from program_accounts(url, program, size=CHANNEL_BYTES, where=where)
            told += _read(program, found)
    except RpcRefused:  # F04: public nodes tell no program's accounts
        told = []
        closed = _closed(known, programs)
        for first in range(0, len(closed), MAX_ACCOUNTS):
            part = closed[first : first + MAX_ACCOUNTS]
            some = yield from accounts(url, [one for _, one in part])
            for (program, _), each in zip(part, some, strict=True):
                told += _read(program, () if each is None else (each,))
    return [each for each in told if each[2].rent_payer == payer]


def _closed(known: Sequence[Held], programs: Sequence[str]) -> list[tuple[str, str]]:
    """The program and the id of those channels of the book that have one of these programs."""
    found: list[tuple[str, str]] = []
    for held in known[:MOST_REMEMBERED]:
        try:
            recorded = read_record(held.state)
        except UsageError:
            continue
        if recorded.program in programs and recorded.rent_payer == held.payer:
            found.append((recorded.program, held.channel_id))
    return found


def _read(program: str, found: Sequence[Account]) -> Iterator[_Found]:
    for each in found:
        try:
            yield program, each, read_channel(program, each)
        except BadTransaction:  # what is no channel has no rent of ours
            continue


def _recorded(url: str, network: str, one: _Found, known: Sequence[Held]) -> Flow[Recorded | None]:
    """The channel's terms by the book, else by its opening; None where this node doesn't know that any more."""
    program, found, state = one
    for held in known:
        if held.channel_id == found.address:
            return read_record(held.state)
    try:
        return (yield from recorded_on_chain(url, network, program, (found, state)))
    except RpcUnreachable:
        return None

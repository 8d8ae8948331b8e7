"""What the chain says of many channels now: how a closing that its payer asked for is noticed in time (T27).

Accounts are read a hundred at a time. A channel that is drained is deallocated sooner or later: then nothing is there,
as nothing is there before its opening landed. What stands at a channel's address and is not that channel, by its owner,
its shape, or any member that never changes, is a fault of the node and no news of the channel. F12 T07
"""

from __future__ import annotations

from collections.abc import Sequence

from coinslot.chains.solana.address import address_bytes
from coinslot.chains.solana.programs import SYSTEM_PROGRAM
from coinslot.chains.solana.rpc import MAX_ACCOUNTS, Account, Commitment, Memcmp, accounts, program_accounts
from coinslot.drive import Flow
from coinslot.errors import BadTransaction, RpcUnreachable
from coinslot.intents.acts import OnChain
from coinslot.intents.session import Channel
from coinslot.methods.solana.session.channel import (
    CHANNEL_BYTES,
    MINT_AT,
    PAYEE_AT,
    STATUS_AT,
    ChannelAccount,
    Status,
    read_channel,
)
from coinslot.methods.solana.session.distribution import distribution_hash
from coinslot.methods.solana.session.record import Recorded, recorded_of


def look(url: str, channels: Sequence[Channel], commitment: Commitment) -> Flow[tuple[OnChain, ...]]:
    """These channels at the newest slot, in order. Raises ChainError, UsageError for a record of another channel."""
    states = yield from read_states(url, [recorded_of(each.state, each.id) for each in channels], commitment)
    return tuple(_shown(channel, state) for channel, state in zip(channels, states, strict=True))


def read_states(
    url: str, recorded: Sequence[Recorded], commitment: Commitment
) -> Flow[tuple[ChannelAccount | None, ...]]:
    """The accounts of these channels, None where there is none. Raises ChainError."""
    states: list[ChannelAccount | None] = []
    for first in range(0, len(recorded), MAX_ACCOUNTS):
        part = recorded[first : first + MAX_ACCOUNTS]
        found = yield from accounts(url, [each.id for each in part], commitment=commitment)
        states += [own_state(each, account) for each, account in zip(part, found, strict=True)]
    return tuple(states)


def own_state(recorded: Recorded, found: Account | None) -> ChannelAccount | None:
    """The channel of this record, None where nothing is but perhaps a gift of lamports. Raises RpcUnreachable."""
    if found is None or (found.owner == SYSTEM_PROGRAM and not found.data):
        return None
    try:
        state = read_channel(recorded.program, found)  # T07: owner, shape, and the address by its own terms
    except BadTransaction as error:
        raise RpcUnreachable(f"what stands at {recorded.id} is not that channel: {error}") from None
    same = (
        state.seeds == recorded.seeds
        and state.grace_s == recorded.grace_s  # T28
        and state.rent_payer == recorded.rent_payer
        and state.distribution_hash == distribution_hash(recorded.splits)
    )
    if not same:  # T08
        raise RpcUnreachable(f"the node tells of another channel than {recorded.id}")
    return state


def open_channels(url: str, program: str, to: tuple[str, str], commitment: Commitment) -> Flow[tuple[str, ...]]:
    """The ids of a program's open channels to a payee in a token (`to`), of anybody. Raises ChainError."""
    payee, mint = to
    where = (
        Memcmp(STATUS_AT, bytes((Status.OPEN,))),
        Memcmp(PAYEE_AT, address_bytes(payee)),
        Memcmp(MINT_AT, address_bytes(mint)),
    )
    found = yield from program_accounts(url, program, size=CHANNEL_BYTES, where=where, commitment=commitment)
    return tuple(one.address for one in found if _is_channel(program, one))


def _is_channel(program: str, found: Account) -> bool:
    try:
        read_channel(program, found)
    except BadTransaction:
        return False
    return True


def _shown(channel: Channel, state: ChannelAccount | None) -> OnChain:
    if state is None:
        return OnChain(channel.key, False, 0, 0)  # F12
    closing_at_s: float | None = None
    if state.status is Status.CLOSING:  # T27
        closing_at_s = float(state.closure_started_at)
    elif state.status is Status.SEALED:  # whoever sealed it: it only waits to be paid out
        closing_at_s = 0.0
    return OnChain(
        key=channel.key,
        exists=True,
        deposit_units=state.deposit_units,
        settled_units=state.settled_units,
        closing_at_s=closing_at_s,
        closed=state.status is Status.DISTRIBUTED,
    )

"""A payer's channels as the chain has them: one by its record, or all of an account since a time. All flows.

The v2 reserve forgets a channel that is closed: its state is then that of one that never was, and only the event of its
end tells the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coinslot.chains.evm.rpc import Block, get_block, latest_block
from coinslot.drive import Flow
from coinslot.errors import ChannelNotFound, RpcUnreachable, UsageError
from coinslot.intents.acts import Held, OnChain, Standing
from coinslot.methods.tempo.session.escrow import V1, Escrow
from coinslot.methods.tempo.session.events import ChannelClosed, ChannelOpened, Event
from coinslot.methods.tempo.session.history import BLOCKS_AT_ONCE, channel_of, find_events
from coinslot.methods.tempo.session.record import Recorded, record_opened
from coinslot.methods.tempo.session.reserve import MAX_BATCH, ChainChannel, ChannelState, read_channel, read_states
from coinslot.methods.tempo.tokens import network

# How far back a forgotten channel is looked for: 400 questions are half an hour of a slow node, and 23 days of blocks.
MAX_PARTS = 400
# Our clock, by which `opened_at_s` was taken, may differ from the chain's.
CLOCK_SLACK_S = 3600


# --- one channel ---------------------------------------------------------------------------------


def look_up(url: str, held: Held, recorded: Recorded) -> Flow[OnChain]:
    """The channel at the newest block. Raises RpcRefused, RpcUnreachable."""
    try:
        found = yield from read_channel(url, recorded.ref)
    except ChannelNotFound:
        if recorded.ref.escrow.version == V1:  # a v1 escrow remembers what it closed
            return OnChain(held.key, False, 0, 0)
        return (yield from _forgotten(url, held, recorded))
    _require_same(found, recorded)
    return on_chain(held.key, found.state)


def _require_same(found: ChainChannel, recorded: Recorded) -> None:
    """That the chain speaks of the channel that our record's id stands for. Raises RpcUnreachable. T08"""
    terms = recorded.terms
    told = (found.payer, found.payee, found.token, found.authorized_signer)
    if not found.state.finalized and told != (terms.payer, terms.payee, terms.token, terms.authorized_signer):
        raise RpcUnreachable("the node tells of a channel whose id is not that of its terms")


def on_chain(key: str, state: ChannelState) -> OnChain:
    """A state as the engine reads it."""
    closing_at_s = float(state.close_requested_at) if state.close_requested_at else None
    return OnChain(key, state.exists, state.deposit_units, state.settled_units, closing_at_s, state.finalized)


def _forgotten(url: str, held: Held, recorded: Recorded) -> Flow[OnChain]:
    """What the events say of a channel that the chain does not know: closed, or nothing yet.

    From the newest block back, since a channel is looked for soon after its end, as far as its opening.
    """
    escrow, last = recorded.ref.escrow, (yield from latest_block(url)).number
    for _ in range(MAX_PARTS):
        first = max(0, last - BLOCKS_AT_ONCE + 1)
        told = yield from find_events(url, escrow, (first, last), channel_id=held.channel_id, payer=held.payer)
        for event in told:
            if isinstance(event, ChannelClosed):
                return _closed(held.key, event)
        if first == 0 or any(isinstance(event, ChannelOpened) for event in told):
            break
        if (yield from _time_of(url, first)) < held.opened_at_s - CLOCK_SLACK_S:
            break
        last = first - 1
    return OnChain(held.key, False, 0, 0)


def _closed(key: str, event: ChannelClosed) -> OnChain:
    deposit = event.settled_units + event.refunded_units
    return OnChain(key, False, deposit, event.settled_units, closed=True)


def _time_of(url: str, number: int) -> Flow[int]:
    block = yield from get_block(url, number)
    if block is None:
        raise RpcUnreachable("the node does not have a block before its newest")
    return block.timestamp_s


# --- all of an account ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    """A channel that an event tells of, with how it stands now."""

    recorded: Recorded
    now: OnChain


def find_channels(url: str, escrows: Sequence[Escrow], payer: str, since_s: float) -> Flow[tuple[Held, ...]]:
    """The channels that an account opened on these escrows since then, oldest first, closed ones too.

    What was signed is not on the chain: `signed_units` is what was settled, and may be far too low. `opened_at_s` is
    `since_s`. Raises RpcRefused, RpcUnreachable.
    """
    head = yield from latest_block(url)
    first = yield from _first_block_since(url, head, since_s)
    found: list[Held] = []
    for escrow in escrows:
        events = yield from find_events(url, escrow, (first, head.number), payer=payer)
        found += [_held(each, since_s) for each in (yield from _standing(url, escrow, events))]
    return tuple(found)


def _held(found: _Found, since_s: float) -> Held:
    """A record with what the chain shows."""
    now = found.now
    standing = Standing.OPEN if now.closing_at_s is None else Standing.CLOSING
    return replace(
        found.recorded.held(now.deposit_units),
        signed_units=now.settled_units,
        acknowledged_units=now.settled_units,
        spent_units=now.settled_units,
        settled_units=now.settled_units,
        standing=Standing.CLOSED if now.closed or not now.exists else standing,
        opened_at_s=since_s,
        closing_at_s=now.closing_at_s,
    )


def _first_block_since(url: str, head: Block, since_s: float) -> Flow[int]:
    """The number of the first block that is not older than `since_s`; one after the head if there is none."""
    low, high = 0, head.number + 1
    if head.timestamp_s < since_s:
        return high
    while low < high:
        middle = (low + high) // 2
        if (yield from _time_of(url, middle)) < since_s:
            low = middle + 1
        else:
            high = middle
    return low


def _standing(url: str, escrow: Escrow, events: Sequence[Event]) -> Flow[list[_Found]]:
    records = [_recorded(escrow, event) for event in events if isinstance(event, ChannelOpened)]
    closed = {event.channel_id: event for event in events if isinstance(event, ChannelClosed)}
    found: list[_Found] = []
    for at in range(0, len(records), MAX_BATCH):
        part = records[at : at + MAX_BATCH]
        states = yield from read_states(url, escrow, [each.ref.id for each in part])
        for each, state in zip(part, states, strict=True):
            key = f"{network(escrow.chain_id)}/{each.ref.id}"
            end = closed.get(each.ref.id)
            gone = end is not None and not state.exists
            found.append(_Found(each, _closed(key, end) if gone and end else on_chain(key, state)))
    return found


def _recorded(escrow: Escrow, opened: ChannelOpened) -> Recorded:
    """The record of an opened channel. Raises RpcUnreachable if its id is not that of its terms. T08"""
    try:
        return record_opened(channel_of(escrow, opened), opened.payer, opened)
    except UsageError as error:
        raise RpcUnreachable(f"the node's word on a channel: {error}") from None

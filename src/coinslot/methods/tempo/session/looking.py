"""What the chain says of many channels now: how a closing that its payer asked for is noticed in time (T27).

Channels of one escrow are asked for together. The v2 reserve forgets a channel that was closed, and a replica that is
behind has not seen its opening yet: both answer nothing. The event of its closing tells them apart. F12
"""

from __future__ import annotations

from collections.abc import Sequence

from coinslot.chains.evm.rpc import latest_block
from coinslot.drive import Flow
from coinslot.errors import RpcRefused
from coinslot.intents.acts import OnChain
from coinslot.intents.session import Channel, Stage
from coinslot.methods.tempo.session.channel import ChannelRef
from coinslot.methods.tempo.session.escrow import V1, Escrow
from coinslot.methods.tempo.session.events import ChannelClosed
from coinslot.methods.tempo.session.history import BLOCKS_AT_ONCE, find_events
from coinslot.methods.tempo.session.payout import recorded_ref
from coinslot.methods.tempo.session.reserve import MAX_BATCH, ChannelState, read_states

# Back to about five hours ago, in parts that public nodes answer; a watcher looks every few minutes.
MAX_LOOK_BACK = 4


def look(url: str, channels: Sequence[Channel]) -> Flow[tuple[OnChain, ...]]:
    """These channels at the newest block, in order. Raises ChainError, UsageError for a record of another channel."""
    refs = [recorded_ref(channel) for channel in channels]
    states: dict[str, ChannelState] = {}
    by_escrow: dict[Escrow, list[str]] = {}
    for ref in refs:
        by_escrow.setdefault(ref.escrow, []).append(ref.id)
    for escrow, ids in by_escrow.items():
        for first in range(0, len(ids), MAX_BATCH):
            part = ids[first : first + MAX_BATCH]
            states |= zip(part, (yield from read_states(url, escrow, part)), strict=True)
    seen = []
    for channel, ref in zip(channels, refs, strict=True):
        state = states[ref.id]
        seen.append(_shown(channel, state) if state.exists else (yield from _missing(url, channel, ref)))
    return tuple(seen)


def _shown(channel: Channel, state: ChannelState) -> OnChain:
    return OnChain(
        key=channel.key,
        exists=True,
        deposit_units=state.deposit_units,
        settled_units=state.settled_units,
        closing_at_s=float(state.close_requested_at) or None,  # T27
        closed=state.finalized,
    )


def _missing(url: str, channel: Channel, ref: ChannelRef) -> Flow[OnChain]:
    """A channel that the escrow doesn't know. Only the event of its closing shows that it was closed. F12"""
    unknown = OnChain(channel.key, False, 0, 0)  # F12
    if channel.stage is Stage.OPENING or ref.escrow.version == V1:  # the v1 escrow forgets nothing: it has not seen it
        return unknown
    head = yield from latest_block(url)
    found = yield from _find_closed(url, ref, head.number)
    if found is None:
        return unknown
    deposit = found.settled_units + found.refunded_units
    return OnChain(channel.key, True, deposit, found.settled_units, closed=True)


def _find_closed(url: str, ref: ChannelRef, last: int) -> Flow[ChannelClosed | None]:
    """The newest event of its closing, or None: too long ago, or this node doesn't keep events."""
    for _ in range(MAX_LOOK_BACK):
        first = max(last - BLOCKS_AT_ONCE + 1, 0)
        try:
            events = yield from find_events(url, ref.escrow, (first, last), channel_id=ref.id)
        except RpcRefused:
            return None
        closed = [event for event in events if isinstance(event, ChannelClosed)]
        if closed:
            return closed[-1]
        last = first - 1
        if last < 0:
            break
    return None

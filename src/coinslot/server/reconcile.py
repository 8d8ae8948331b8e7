"""A channel's record follows the chain: what the settler does with one look at one channel.

The record may only grow, and so may what the chain shows of it: an older block, or a node that lags, changes nothing.
Where the two can't both be true the channel is frozen: nothing is sold, settled or closed on it, and people are told.
That is how a backup looks that was restored: the chain paid out more than any voucher on record. F27
"""

from __future__ import annotations

from contextlib import suppress

from coinslot.drive import Flow, failpoint, wait
from coinslot.errors import LedgerError
from coinslot.intents.acts import OnChain
from coinslot.intents.session import Channel, Rules, Stage
from coinslot.ledger import post_found, post_refund, post_settlement
from coinslot.method import SessionSeller
from coinslot.server.events import ChannelClosed, ChannelFrozen, ChannelStopped
from coinslot.server.rounds import Round
from coinslot.store.channels import JobStage
from coinslot.store.protocol import Query
from coinslot.store.protocol import Stage as PaymentStage

_UNDER_WAY = frozenset({PaymentStage.CLAIMED, PaymentStage.PREPARED})


def reconcile(
    going: Round, seller: SessionSeller, channel: Channel, state: OnChain, rules: Rules
) -> Flow[Channel | None]:
    """The record after this look; None if nothing more is to be done with the channel in this round. T27

    Raises StoreError. `channel` was read before the chain was asked.
    """
    try:
        if not state.exists:
            yield from _gone(going, seller, channel)
            return None
        if state.closed:
            yield from _closed(going, channel, state.settled_units, max(state.deposit_units, channel.deposit))
            return None
        closing = state.closing_at_s is not None and channel.stage is Stage.OPEN  # T27
        if closing:
            yield from _stop(going, channel, state.closing_at_s or going.at_s, "payer")
        if state.settled_units > channel.accepted:
            raise LedgerError("the chain has paid out more than any voucher on record says")
        more = state.deposit_units > channel.deposit or state.settled_units > channel.settled
        if not closing and not more:
            return channel
        yield from _deposit(going, channel, state, rules)
        yield from _settled(going, channel, state)
        return (yield from wait(going.store.find_channel(channel.key)))
    except LedgerError as error:  # F27: this one, and not the round
        yield from _freeze(going, channel, str(error))
        return None


def _stop(going: Round, channel: Channel, at_s: float, why: str) -> Flow[None]:
    marked = yield from wait(going.store.mark_closing(channel.key, at_s))
    failpoint("settler.stopped")
    if isinstance(marked, Channel) and marked.closing_at_s == at_s:
        going.stopped(ChannelStopped(channel.method, channel.id, why))


def _freeze(going: Round, channel: Channel, why: str) -> Flow[None]:
    """Unless the record moved on since we read it: sell nothing more, and tell; each round anew."""
    current = yield from wait(going.store.find_channel(channel.key))
    if current is None or current.stage is Stage.CLOSED or current.settled != channel.settled:
        return
    yield from wait(going.store.mark_closing(channel.key, going.at_s))
    going.frozen.append(channel.key)
    if channel.stage is Stage.OPEN:
        going.tell(ChannelFrozen(channel.method, channel.id, why))


# --- what the chain shows ------------------------------------------------------------------------


def _under_way(going: Round, channel: Channel) -> Flow[bool]:
    """Whether a job of ours moves this channel now: its own end will be put on record, with its transaction."""
    jobs = yield from wait(going.store.jobs_of(channel.key, 1))
    return bool(jobs) and jobs[0].stage is JobStage.PREPARED


def _settled(going: Round, channel: Channel, state: OnChain) -> Flow[None]:
    if state.settled_units <= channel.settled or (yield from _under_way(going, channel)):
        return
    entry = post_settlement(channel, state.settled_units, going.at_s, channel.id)
    yield from wait(going.store.note_settled(channel.key, state.settled_units, entry))


def _deposit(going: Round, channel: Channel, state: OnChain, rules: Rules) -> Flow[None]:
    """More in escrow than on record: the payer added it without telling us, or a backup forgot it. Not while a payment
    of this payer is under way, which will put it on record itself."""
    if state.deposit_units <= channel.deposit or channel.stage is not Stage.OPEN:
        return
    if (yield from wait(going.store.payments(Query(_UNDER_WAY, payer=channel.payer, limit=1)))):
        return
    current = yield from wait(going.store.find_channel(channel.key))
    if current is None or current.stage is not Stage.OPEN or state.deposit_units <= current.deposit:
        return
    entry = post_found(current, state.deposit_units)
    with suppress(LedgerError):  # somebody else was first
        yield from wait(going.store.top_up(channel.key, state.deposit_units, rules, entry))
    failpoint("settler.found")


def _closed(going: Round, channel: Channel, settled_units: int, deposit_units: int) -> Flow[None]:
    """Closed on the chain, and not by a job of ours: for ever."""
    if (yield from _under_way(going, channel)):
        return
    refunded_units = deposit_units - settled_units
    entry = post_refund(channel, settled_units, refunded_units, going.at_s, channel.id)
    yield from wait(going.store.mark_closed(channel.key, settled_units, entry))
    failpoint("settler.closed")
    going.counts["closed"] += 1
    going.tell(
        ChannelClosed(
            channel.method, channel.payer, channel.asset, settled_units, refunded_units, channel.id, channel.id
        )
    )


def _gone(going: Round, seller: SessionSeller, channel: Channel) -> Flow[None]:
    """Some chains forget what is closed. A node that knows less than others says the same: so sell nothing more, and
    believe it only when a payer could have withdrawn; what was paid out by then we know, since only we settle."""
    if channel.stage is Stage.OPEN:
        yield from _stop(going, channel, going.at_s, "gone")
    elif going.at_s - (channel.closing_at_s or going.at_s) >= seller.grace_s:
        yield from _closed(going, channel, channel.settled, channel.deposit)

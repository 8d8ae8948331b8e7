"""Money into a channel: an open or a top-up that the chain shows is put on record, by whoever learns of it first."""

from __future__ import annotations

from concurrent.futures import Future

from coinslot.drive import Flow, failpoint, wait
from coinslot.errors import LedgerError
from coinslot.intents.acts import Act, Funded
from coinslot.intents.charge import Prepared
from coinslot.intents.session import Channel, Refused, Rules, Stage, Why, issued_id
from coinslot.ledger import Entry, post_deposit
from coinslot.method import SessionSeller
from coinslot.store.channels import ChannelQuery, SessionStore
from coinslot.store.protocol import Delivery, Lease, Payment, Query
from coinslot.store.protocol import Stage as PaymentStage

# What an act that moves money into a channel is answered with: the money is there, and nothing else was asked for.
NO_CONTENT = 204
# A payer with more openings than that in doubt at once waits for the next look.
MAX_OPENINGS = 32
_UNDER_WAY = frozenset({PaymentStage.CLAIMED, PaymentStage.PREPARED})


def record(
    store: SessionStore, lease: Lease, prepared: Prepared, funded: Funded, seller: SessionSeller
) -> Flow[Channel | Refused]:
    """Put it on record and end its payment, which owes no content. Every step may be repeated. Raises StoreError.

    Refused: the channel was closed meanwhile; the money is the payer's to claim back. Its payment ends all the same.
    """
    terms = seller.terms(prepared.challenge.request_object())
    state, stopped = funded.state, None
    entry = _entry(state.key, terms.asset.key, prepared, funded, funded.added_units)
    channel = yield from wait(_noted(store, funded, seller.rules(terms), entry))
    if isinstance(channel, Channel) and (state.closed or state.closing_at_s is not None):
        # T27: it was closed, or is being closed, before we learnt of it; the watcher finds out how far that is
        yield from wait(store.mark_closing(state.key, state.closing_at_s or funded.settled_at_s))
        stopped = Refused(Why.CLOSING, channel)
    failpoint("funding.noted")
    known = channel if isinstance(channel, Channel) else channel.channel
    if known is None:  # recorded before it was sent, and never deleted
        return channel
    receipt = seller.receipt(known, issued_id(prepared.challenge), funded.settled_at_s, None, funded.reference)
    if isinstance(channel, Refused):  # what a close found in escrow and did not know, it has accounted for
        nothing = _entry(state.key, terms.asset.key, prepared, funded, 0)
        try:
            yield from wait(store.settle(lease, receipt, nothing))
        except LedgerError:  # F10: it was noted before, and posted with that
            yield from wait(store.settle(lease, receipt, None))
    else:  # F10: posted with the channel, for as much as nobody had found before
        yield from wait(store.settle(lease, receipt, None))
    failpoint("funding.settled")
    yield from wait(store.deliver(lease, Delivery(NO_CONTENT, (), b"")))
    return stopped or channel


def _entry(key: str, asset_key: str, prepared: Prepared, funded: Funded, units: int) -> Entry:
    return post_deposit(key, prepared.payer, asset_key, units, prepared.proof, funded.settled_at_s, funded.reference)


def give_up(store: SessionStore, seller: SessionSeller, payment: Payment) -> Flow[bool]:
    """The transaction of this payment can never happen: a channel that it was to open is closed for good.

    Nothing but its payer leads from the payment to the channel, so that one must have no other payment under way, and
    the chain must not know the channel: False if it does. Raises StoreError, ChainError.
    """
    query = Query(_UNDER_WAY, payer=payment.payer, limit=2)
    others = [one for one in (yield from wait(store.payments(query))) if one.challenge.id != payment.challenge.id]
    opening = ChannelQuery(frozenset({Stage.OPENING}), payer=payment.payer, limit=MAX_OPENINGS)
    channels = [one for one in (yield from wait(store.list_channels(opening))) if seller.serves(one)]
    if others or not channels:
        return True
    known = False
    for channel, state in zip(channels, (yield from seller.look(channels)), strict=True):
        if not state.exists:
            yield from wait(store.mark_closed(channel.key, 0))
            failpoint("funding.given_up")
        known = known or state.exists
    return not known


def _noted(store: SessionStore, funded: Funded, rules: Rules, entry: Entry) -> Future[Channel | Refused]:
    state = funded.state
    if funded.act is Act.OPEN:
        # F10: not what was paid out or added since, if we come late; that is noted with an entry of its own
        return store.confirm_open(state.key, min(state.deposit_units, funded.added_units), 0, rules, entry)
    return store.top_up(state.key, state.deposit_units, rules, entry)

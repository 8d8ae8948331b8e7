"""Money into a channel: an open or a top-up that the chain shows is put on record, by whoever learns of it first."""

from __future__ import annotations

from concurrent.futures import Future

from coinslot.drive import Flow, failpoint, wait
from coinslot.intents.acts import Act, Funded
from coinslot.intents.charge import Prepared
from coinslot.intents.session import Channel, Refused, Rules, issued_id
from coinslot.ledger import post_deposit
from coinslot.method import SessionSeller
from coinslot.store.channels import SessionStore
from coinslot.store.protocol import Delivery, Lease

# What an act that moves money into a channel is answered with: the money is there, and nothing else was asked for.
NO_CONTENT = 204


def record(
    store: SessionStore, lease: Lease, prepared: Prepared, funded: Funded, seller: SessionSeller
) -> Flow[Channel | Refused]:
    """Put it on record and end its payment, which owes no content. Every step may be repeated. Raises StoreError.

    Refused: the channel was closed meanwhile; the money is the payer's to claim back. Its payment ends all the same.
    """
    terms = seller.terms(prepared.challenge.request_object())
    state = funded.state
    channel = yield from wait(_noted(store, funded, seller.rules(terms)))
    failpoint("funding.noted")
    known = channel if isinstance(channel, Channel) else channel.channel
    if known is None:  # recorded before it was sent, and never deleted
        return channel
    receipt = seller.receipt(known, issued_id(prepared.challenge), funded.settled_at_s, None, funded.reference)
    entry = post_deposit(
        state.key,
        prepared.payer,
        terms.asset.key,
        funded.added_units,
        prepared.proof,
        funded.settled_at_s,
        funded.reference,
    )
    yield from wait(store.settle(lease, receipt, entry))
    failpoint("funding.settled")
    yield from wait(store.deliver(lease, Delivery(NO_CONTENT, (), b"")))
    return channel


def _noted(store: SessionStore, funded: Funded, rules: Rules) -> Future[Channel | Refused]:
    state = funded.state
    if funded.act is Act.OPEN:
        return store.confirm_open(state.key, state.deposit_units, state.settled_units, rules)
    return store.top_up(state.key, state.deposit_units, rules)

"""A server's suggestion to go on with a channel: in the challenge or in headers, and what a payer makes of it.

What contradicts itself, the terms, or what we know to have signed is refused (T24). What is merely not shown to be ours
(a voucher key that is no more, a claim without our signature on it after our record was lost) is passed over, so that
another channel can be opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from coinslot.errors import NoPayableOffer, UsageError, VerificationFailed
from coinslot.intents.acts import Held, Standing
from coinslot.methods.tempo.session.escrow import V2
from coinslot.methods.tempo.session.record import record
from coinslot.methods.tempo.session.snapshot import (
    CHANNEL_HEADER,
    SNAPSHOT_HEADER,
    Snapshot,
    believe_snapshot,
    decode_snapshot,
    proven_units,
)
from coinslot.methods.tempo.session.terms import SessionTerms, require_parties

# In these a channel is of no more use, whatever a server says of it.
_OVER = frozenset({Standing.CLOSED, Standing.LOST})


def told_snapshot(terms: SessionTerms, fields: Mapping[str, str]) -> Snapshot | None:
    """What the server says of a channel, in the challenge or else in a header (lower-case names); v2 only.

    Raises NoPayableOffer for one that can't be read.
    """
    header = fields.get(SNAPSHOT_HEADER.lower())
    if terms.version != V2 or terms.snapshot is not None or header is None:
        return terms.snapshot
    try:
        return decode_snapshot(header)
    except UsageError as error:
        raise NoPayableOffer(f"tempo: {error}") from None


def names(terms: SessionTerms, fields: Mapping[str, str], channel_id: str) -> bool:
    """Whether the server suggests this channel by its id alone."""
    header = fields.get(CHANNEL_HEADER.lower(), "").strip().lower()
    return channel_id in (terms.channel_id, header)


def believed(
    snapshot: Snapshot, terms: SessionTerms, account: str, signers: frozenset[str], held: Held | None
) -> Held | None:
    """The channel of a snapshot, with what it proves; None if it is not shown to be ours. Pure.

    `signers` are the addresses of our voucher keys, `held` our record of that very channel, if there is one. What is
    signed next must be above what it says was signed: our own signature in the snapshot makes up for a record that is
    lost (F04) or old (F05). Raises NoPayableOffer for a snapshot that can't be true.
    """
    descriptor = snapshot.descriptor
    if held is not None and held.standing in _OVER:
        return None
    if descriptor.payer != account or descriptor.signer not in signers:  # T15
        return None
    signed = 0 if held is None else held.signed_units
    proven = proven_units(snapshot, signer=descriptor.signer, signed_units=signed)
    unproven = held is None and snapshot.accepted_units > proven
    try:
        # Without a record of ours the claim itself is not judged here, only whether all else could be true.
        most = snapshot.accepted_units if unproven else signed
        believe_snapshot(snapshot, terms.escrow, signer=descriptor.signer, signed_units=most)  # T07 T08 T24
        require_parties(descriptor, terms)
    except (UsageError, VerificationFailed) as error:
        raise NoPayableOffer(f"tempo: the server's word on the channel can't be true: {error}") from None
    if unproven:  # T24
        return None
    fresh = record(snapshot.escrow, descriptor).held(snapshot.deposit_units)
    return _brought_forward(held or fresh, snapshot, proven)


def _brought_forward(held: Held, snapshot: Snapshot, proven: int) -> Held:
    """The record with what the snapshot proves of our signatures, and with the server's word on the rest."""
    told = snapshot.highest_voucher
    voucher = held.voucher
    if told is not None and proven > held.signed_units:
        voucher = told.signature
    standing, closing_at_s = held.standing, held.closing_at_s
    if snapshot.close_requested_at and standing is not Standing.CLOSING:
        standing, closing_at_s = Standing.CLOSING, float(snapshot.close_requested_at)
    elif standing is Standing.OPENING:
        standing = Standing.OPEN
    return replace(
        held,
        deposit_units=max(held.deposit_units, snapshot.deposit_units),
        signed_units=proven,
        acknowledged_units=max(held.acknowledged_units, snapshot.accepted_units),
        spent_units=snapshot.spent_units,
        settled_units=max(held.settled_units, snapshot.settled_units),
        standing=standing,
        voucher=voucher,
        closing_at_s=closing_at_s,
    )

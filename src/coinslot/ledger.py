"""Double entry: every settled payment is an entry whose postings sum to zero per asset.

Accounts are text: `payer:WHO` gives, `payee:WHO` receives, `channel:KEY` is what a payment channel holds in escrow. A
posting is signed: what an account receives is positive. An entry's id names the event for ever ("charge/PROOF"): the
store keeps each id once, so no crash can post twice (F10).

A channel's account starts empty, takes its deposits, and ends empty when the channel is closed:

    deposit/PROOF      payer -> channel; KEY/TOTAL in place of a proof where the chain showed it and nobody told. Posted
                       for as much as the record of the deposit grows by it: what another entry has brought in is not
                       brought in again
    payout/KEY/FROM    channel -> payee, from a total of FROM to a larger one; closing also pays channel -> payer

Whoever sees a payout happen may post it: our own process when its transaction is known, another that looks at the
chain. The total that it starts from is in its id, so of two that saw the same one (or, late, a part of it) the second
is refused and has to look at the record again: nothing is ever posted twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from coinslot.errors import LedgerError
from coinslot.intents.charge import Prepared, Settled, Terms
from coinslot.intents.session import Channel


@dataclass(frozen=True, slots=True)
class Posting:
    """`units` base units of the asset with key `asset` into an account (negative: out of it)."""

    account: str
    asset: str
    units: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One event. `at_s` is the chain's time, `reference` what to look up there. LedgerError if it does not balance."""

    id: str
    at_s: float
    reference: str
    postings: tuple[Posting, ...]

    def __post_init__(self) -> None:
        off = {asset: total for asset, total in totals(self.postings).items() if total}
        if off:
            raise LedgerError(f"entry {self.id} does not sum to zero: {off}")


def totals(postings: Iterable[Posting]) -> dict[str, int]:
    """Base units per asset key over all postings: zero everywhere, or something is wrong."""
    sums: defaultdict[str, int] = defaultdict(int)
    for posting in postings:
        sums[posting.asset] += posting.units
    return dict(sums)


def post_charge(terms: Terms, prepared: Prepared, settled: Settled) -> Entry:
    """The entry of a settled charge: the payer gives, each payee receives."""
    postings = [Posting(f"payer:{prepared.payer}", terms.asset.key, -terms.amount_units)]
    postings += [Posting(f"payee:{one.recipient}", terms.asset.key, one.amount_units) for one in terms.payees]
    return Entry(f"charge/{prepared.proof}", settled.settled_at_s, settled.reference, tuple(postings))


# --- payment channels ----------------------------------------------------------------------------


def escrow_account(channel_key: str) -> str:
    """The account of what a channel holds in escrow."""
    return f"channel:{channel_key}"


def post_deposit(
    channel_key: str,
    payer: str,
    asset_key: str,
    added_units: int,
    proof: str,
    settled_at_s: float,
    reference: str,
) -> Entry:
    """The entry of an opening or a top-up: the payer gives `added_units` into escrow. Raises LedgerError for less than
    nothing."""
    if added_units < 0:
        raise LedgerError(f"channel {channel_key}: a deposit can't shrink")
    postings = _moved(f"payer:{payer}", escrow_account(channel_key), asset_key, added_units)
    return Entry(f"deposit/{proof}", settled_at_s, reference, postings)


def post_found(channel: Channel, deposit_units: int) -> Entry:
    """The entry of money that the chain shows in escrow, `deposit_units` in all, and nobody told us of.

    The same for whoever finds it, whenever. Raises LedgerError if it is less than the record says.
    """
    proof = f"{channel.key}/{deposit_units}"
    added = deposit_units - channel.deposit
    return post_deposit(channel.key, channel.payer, channel.asset, added, proof, channel.opened_at_s, channel.id)


def deposited(entry: Entry) -> int:
    """How much the entry of an opening or a top-up brings into escrow, in base units."""
    return sum(posting.units for posting in entry.postings if posting.units > 0)


def brought(entry: Entry, units: int) -> Entry:
    """The entry of an opening or a top-up, for so much of it (in base units) as nobody has posted yet. F10"""
    if units == deposited(entry):
        return entry
    signed = (replace(one, units=units if one.units > 0 else -units) for one in entry.postings if units)
    return replace(entry, postings=tuple(signed))


def post_settlement(channel: Channel, total_units: int, settled_at_s: float, reference: str) -> Entry:
    """The entry of a settlement that brings what was paid out to `total_units` in all, `channel` as recorded before.

    Raises LedgerError if that is not more than the record says.
    """
    if total_units <= channel.settled:
        raise LedgerError(f"channel {channel.key}: {total_units} were paid out before")
    postings = _moved(
        escrow_account(channel.key), f"payee:{channel.payee}", channel.asset, total_units - channel.settled
    )
    return Entry(_payout(channel), settled_at_s, reference, postings)


def post_refund(channel: Channel, total_units: int, refunded_units: int, settled_at_s: float, reference: str) -> Entry:
    """The entry of a close: `total_units` paid out in all, the rest refunded; `channel` as recorded before.

    What the payer had put into escrow without telling us comes in by this entry as well. Raises LedgerError if that is
    less than what is on record.
    """
    escrow, payer = escrow_account(channel.key), f"payer:{channel.payer}"
    untold = total_units + refunded_units - channel.deposit
    if total_units < channel.settled or refunded_units < 0 or untold < 0:
        raise LedgerError(f"channel {channel.key}: closing it paid out other sums than are on record")
    postings = (
        *_moved(payer, escrow, channel.asset, untold),
        *_moved(escrow, f"payee:{channel.payee}", channel.asset, total_units - channel.settled),
        *_moved(escrow, payer, channel.asset, refunded_units),
    )
    return Entry(_payout(channel), settled_at_s, reference, postings)


def _payout(channel: Channel) -> str:
    return f"payout/{channel.key}/{channel.settled}"  # F10


def _moved(giver: str, taker: str, asset: str, units: int) -> tuple[Posting, ...]:
    return (Posting(giver, asset, -units), Posting(taker, asset, units)) if units else ()

"""Double entry: every settled payment is an entry whose postings sum to zero per asset.

Accounts are text: `payer:WHO` gives, `payee:WHO` receives. A posting is signed: what an account receives is positive.
An entry's id names the event for ever ("charge/PROOF"): the store keeps each id once, so no crash can post twice (F10).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from coinslot.errors import LedgerError
from coinslot.intents.charge import Prepared, Settled, Terms


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

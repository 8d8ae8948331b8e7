"""Does the record tell the truth? Ledger against payments, payments against the chain, clock against clock.

Nothing is mended here: every difference is a finding for a person. Reading a store in use gives no false findings: the
journal is read before the payments, since an entry never comes before its payment, and what was posted meanwhile after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from coinslot.drive import Flow, now, wait
from coinslot.errors import CoinslotError, ConfigError, LedgerError, RpcUnreachable
from coinslot.intents import session
from coinslot.intents.acts import Funded, FundingOutcome
from coinslot.intents.charge import Outcome, Pending, Refused, Settled, Terms
from coinslot.ledger import Entry, post_charge
from coinslot.method import keys_of, sells_sessions
from coinslot.services.accepting import Accepted, all_sellers
from coinslot.services.channelaudit import ChannelReport, audit_channels
from coinslot.store.channels import SessionStore
from coinslot.store.protocol import Payment, Query, Stage, Store

# Large enough that a million payments are a few thousand reads, small enough to hold.
PAGE = 500
# The specification's own allowance for clocks (30 s): beyond it challenges expire early or payments look late. T10
MOST_AHEAD_S = 30.0
# Blocks of a quiet chain may be old, and a node that catches up is behind; two minutes are neither.
MOST_BEHIND_S = 120.0
# A resolver asks the chain every few seconds; nothing stays unknown for ten minutes while one runs.
STUCK_S = 600.0
PAID = frozenset({Stage.SETTLED, Stage.DELIVERED})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is wrong: which check found it ("ledger", "chain", "clock" ...), on what, and what it is."""

    check: str
    subject: str
    text: str


@dataclass(slots=True)
class Report:
    """What was looked at, and what was found."""

    payments: int = 0
    entries: int = 0
    confirmed: int = 0
    channels: ChannelReport = field(default_factory=ChannelReport)
    findings: list[Finding] = field(default_factory=list)

    def find(self, check: str, subject: str, text: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(check, subject, text))


def audit(store: SessionStore, accepted: Sequence[Accepted], since_s: float | None) -> Flow[Report]:
    """Check everything; ask the chain about payments claimed since `since_s` (all: None), if anything is accepted.

    Raises StoreError if the store can't be read, RpcUnreachable if a chain can't be asked at all.
    """
    report = Report()
    yield from wait(store.ping())
    yield from _sums(store, report)
    yield from _stuck(store, report)
    for each in accepted:
        yield from _clock(each, report)
    entries = yield from _entries(store, None, report)
    paid = yield from _payments(store, PAID)
    later = yield from _entries(store, next(reversed(entries), None), report)
    report.payments, report.entries = len(paid), len(entries) + len(later)
    known = {_entry_of(payment) for payment in paid}
    for entry in entries.values():
        if entry.id.startswith("charge/") and entry.id not in known:
            report.find("ledger", entry.id, "an entry is posted, and no settled payment belongs to it")
    for payment in paid:
        posted = entries.get(_entry_of(payment)) or later.get(_entry_of(payment))
        if posted is None:
            report.find("ledger", payment.challenge.id, "the payment is settled, and no entry is posted for it")
        if accepted and (since_s is None or payment.claimed_at_s >= since_s):
            yield from _against_chain(payment, posted, accepted, report)
    sessions = [one for one in all_sellers(accepted) if sells_sessions(one)]
    report.channels = yield from audit_channels(store, sessions)
    for finding in report.channels.findings:
        report.find(*finding)
    return report


def _entry_of(payment: Payment) -> str:
    """The journal's name of a payment: a charge, or money into a channel."""
    kind = "deposit" if payment.challenge.intent == session.INTENT else "charge"
    return f"{kind}/{payment.proof}"


def _sums(store: Store, report: Report) -> Flow[None]:
    for asset, accounts in (yield from wait(store.balances())).items():
        if off := sum(accounts.values()):
            report.find("ledger", asset, f"the accounts of this asset sum to {off} base units instead of zero")


def _stuck(store: Store, report: Report) -> Flow[None]:
    """Payments that were broadcast and whose end nobody asks about: no gate runs on this store, or its node fails."""
    at_s = yield from now()
    for payment in (yield from wait(store.unresolved(PAGE))):
        if at_s - payment.claimed_at_s > STUCK_S:
            reference = payment.prepared.reference if payment.prepared else "?"
            report.find("store", payment.challenge.id, f"broadcast as {reference} long ago; its outcome is not known")


def _entries(store: Store, after: str | None, report: Report) -> Flow[dict[str, Entry]]:
    found: dict[str, Entry] = {}
    while True:
        try:
            page = yield from wait(store.entries(after, PAGE))
        except LedgerError as error:
            report.find("ledger", after or "journal", f"the journal can't be read from here on: {error}")
            return found
        found |= {entry.id: entry for entry in page}
        if len(page) < PAGE:
            return found
        after = page[-1].id


def _payments(store: Store, stages: frozenset[Stage]) -> Flow[list[Payment]]:
    found: list[Payment] = []
    while True:
        before = found[-1].challenge.id if found else None
        page = yield from wait(store.payments(Query(stages, before=before, limit=PAGE)))
        found += page
        if len(page) < PAGE:
            return found


def _clock(accepted: Accepted, report: Report) -> Flow[None]:
    url = getattr(accepted.settings, "rpc_url", None)
    try:
        keys = keys_of(accepted.method)
    except ConfigError:
        return
    if not isinstance(url, str):
        return
    ahead = (yield from keys.chain_time_s(url)) - (yield from now())
    if ahead > MOST_AHEAD_S:
        report.find("clock", accepted.method.name, f"the chain's newest block is {ahead:.0f} s ahead of this clock")
    elif -ahead > MOST_BEHIND_S:
        report.find("clock", accepted.method.name, f"the chain's newest block is {-ahead:.0f} s behind this clock")


def _against_chain(payment: Payment, posted: Entry | None, accepted: Sequence[Accepted], report: Report) -> Flow[None]:
    subject = payment.challenge.id
    if payment.prepared is None or payment.receipt is None:
        report.find("store", subject, f"the payment is {payment.stage} without a prepared transaction or a receipt")
        return
    challenge = payment.challenge
    wanted = (challenge.method, challenge.intent)
    sellers = [one for one in all_sellers(accepted) if (one.method, one.intent) == wanted]
    for seller in sellers:
        try:
            terms = seller.terms(challenge.request_object())
        except CoinslotError:
            continue
        break
    else:
        report.find(
            "chain",
            subject,
            f"nothing accepted here can check it (method {challenge.method}, intent {challenge.intent})",
        )
        return
    try:
        outcome: Outcome | FundingOutcome = yield from seller.confirm(payment.prepared)
    except RpcUnreachable:
        raise
    except CoinslotError as error:
        report.find("chain", subject, f"the chain could not be asked about {payment.prepared.reference}: {error}")
        return
    match outcome:
        case Refused(reason):
            report.find("chain", subject, f"recorded as paid; the chain says it never was: {reason}")
        case Pending(reason):
            report.find("chain", subject, f"recorded as paid; the chain does not show it: {reason}")
        case Funded():
            report.confirmed += 1
        case Settled() if outcome.reference != payment.receipt.reference:
            report.find("chain", subject, f"the receipt names {payment.receipt.reference}, not {outcome.reference}")
        case Settled() if isinstance(terms, Terms):
            report.confirmed += 1
            due = post_charge(terms, payment.prepared, outcome)
            if posted is not None and (posted.postings, posted.reference) != (due.postings, due.reference):
                report.find("ledger", due.id, "the entry's postings are not what the chain shows to be paid")

"""Commits: a delivery that came is paid by a voucher that is posted, and paid once, whatever becomes of the answer.

    note what is meant -> sign and write down (visit.py) -> post -> an acknowledgement moves the watermark
                                                              402: once more, with what its server may have sent ahead

What is noted stands in the book as a channel's pending move, so that the same commit goes out again, byte for byte,
before the channel pays anything else: vouchers are read from the book, and their signatures are deterministic. F01 F03
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from coinslot.client.debts import Debt
from coinslot.client.events import Metered
from coinslot.client.outcome import pause_after, refusal
from coinslot.client.presenting import MAX_PROBLEM_BYTES, PAYMENT_REQUIRED, Answer, Ask
from coinslot.client.text import origin_of
from coinslot.client.visit import Visit, sign
from coinslot.core.canonical import canonical, parse_object
from coinslot.drive import Cancelled, Flow, call, failpoint, now, send, sleep, wait
from coinslot.errors import MalformedHeader, PaymentOutcomeUnknown, PaymentRefused, PolicyRefused, UsageError
from coinslot.intents.acts import Act, Held
from coinslot.intents.deliveries import CommitReceipt, read_commit_receipt
from coinslot.store.book import SETTLED, Pending, Word

# How often one commit is posted at once: a connection that broke, and a server that is busy for a moment.
MAX_POSTS = 3
PAUSE_S = 0.2
# And the longest that a busy server is waited for between two of them.
MAX_PAUSE_S = 10.0
# One post in a hurry: a round trip across the world, and a server that is busy for a moment.
LEAST_WAIT_S = 5.0
# The answer while a delivery has not ended, as far as its server knows.
RUNNING = 409
# How long a commit whose end is not known stands in the way of the next payment, if its directive says nothing shorter.
MAX_PENDING_S = 3600.0
# Not here any more, or not yet: answers to a credential that are no refusal of it.
_BUSY = frozenset({408, 409, 425, 429})
_JSON = ("Content-Type", "application/json")


@dataclass(frozen=True, slots=True)
class Commit:
    """What is to be paid: `total_units` is the voucher's, `amount_units` what it adds for this delivery.

    `before_units` is what was signed when it was noted (None: not known), `more_units` what may be added where that is
    not enough.
    """

    url: str
    delivery_id: str
    amount_units: int
    total_units: int
    before_units: int | None = None
    more_units: int = 0

    def encode(self) -> bytes:
        """As the book keeps it."""
        kept = _Kept(
            self.url, self.delivery_id, self.amount_units, self.total_units, self.before_units, self.more_units
        )
        return msgspec.json.encode(kept)


class _Kept(msgspec.Struct, frozen=True):
    commit: str
    id: str
    amount: int
    total: int
    before: int | None = None
    more: int = 0


def commit_of(opening: bytes) -> Commit | None:
    """The commit that a channel's pending move is; None for a move of its deposit, or for none."""
    try:
        kept = msgspec.json.decode(opening, type=_Kept)
    except msgspec.DecodeError:
        return None
    return Commit(kept.commit, kept.id, kept.amount, kept.total, kept.before, kept.more)


def begin(visit: Visit, held: Held, commit: Commit, dead_after_s: float) -> Flow[Held]:
    """Note a commit and sign its voucher; the channel's deposit covers it. F01 F02

    Raises PolicyRefused where a budget would be passed: nothing was signed, and it is over.
    """
    pending = Pending(commit.encode(), held.reference, dead_after_s)
    yield from wait(visit.book.note(held.key, Word(pending=pending)))
    visit.purse.desk.debts.drop(held.key, commit.delivery_id)  # from here on the book has it. F14
    failpoint("client.committing")
    return (yield from _signed(visit, held, commit))


def _signed(visit: Visit, held: Held, commit: Commit) -> Flow[Held]:
    """The channel with the voucher of a commit that is noted. Raises PolicyRefused."""
    streams = visit.purse.desk.streams.get(held.key)
    if streams is not None:
        streams.beside(held.signed_units)
    try:
        signed = yield from sign(visit, held, commit.total_units)  # F01 F02
    except PolicyRefused:
        yield from wait(visit.book.note(held.key, Word(pending=SETTLED)))
        raise
    if streams is not None:
        streams.signed_units = signed.signed_units  # what it pays was received by one of them. T24
    return signed


def post(
    visit: Visit, held: Held, commit: Commit, debt: Debt | None = None, within_s: float | None = None
) -> Flow[Held]:
    """Post a commit whose voucher is in the book, and write down what is acknowledged.

    `debt`: what was left early; its server may not have heard of that (409), and then it is owed on. `within_s`: no
    more tries are begun later than that.

    Raises PaymentRefused: it will never be taken. PaymentOutcomeUnknown: it is on record, and goes out again first.
    """
    status, body = yield from _posted(visit, held, commit, within_s, running=None if debt is None else RUNNING)
    if status == RUNNING and debt is not None:
        debt.agreed.deliveries.pop(debt.delivery_id, None)
        until_s = debt.until_s if held.dead_after_s is None else min(debt.until_s, held.dead_after_s)
        visit.purse.desk.debts.owe(held.key, replace(debt, until_s=until_s))
        return (yield from wait(visit.book.note(held.key, Word(pending=SETTLED))))
    if status == PAYMENT_REQUIRED and commit.more_units:
        more = yield from _more(visit, held, commit, debt)
        if more is not None:
            return (yield from post(visit, *more, debt, within_s))
    if not 200 <= status < 300:
        problem, detail = refusal(body, visit.voucher(held)[1])
        yield from wait(visit.book.note(held.key, Word(pending=SETTLED)))
        reason = ": ".join(one for one in (problem, detail) if one) or "no reason given"
        raise PaymentRefused(
            f"{visit.origin} refused the voucher for a delivery that came (HTTP {status}, {reason}).",
            status=status,
            problem=problem,
            detail=detail,
        )
    try:
        receipt = _read(body, held, commit)
    except (MalformedHeader, UsageError) as error:
        raise _unknown(visit, commit, f"what it answered is no acknowledgement: {error}") from None
    return (yield from _acknowledged(visit, held, commit, receipt))


def _more(visit: Visit, held: Held, commit: Commit, debt: Debt | None) -> Flow[tuple[Held, Commit] | None]:
    """The last word on what was left early: with what its server may have sent ahead. None: the limits don't allow it,
    or the deposit. T24 T46
    """
    total = commit.total_units + commit.more_units
    if total > held.deposit_units:
        return None
    amount = commit.amount_units + commit.more_units
    again = Commit(commit.url, commit.delivery_id, amount, total, held.signed_units)
    dead_after_s = held.dead_after_s if held.dead_after_s is not None else (yield from now()) + MAX_PENDING_S
    try:
        signed = yield from begin(visit, held, again, dead_after_s)
    except PolicyRefused:
        return None
    if debt is not None:
        debt.agreed.deliveries[commit.delivery_id] = amount
        debt.agreed.committed_units += commit.more_units
    return signed, again


def _posted(
    visit: Visit, held: Held, commit: Commit, within_s: float | None, *, running: int | None
) -> Flow[tuple[int, bytes]]:
    """The final answer, after as many tries as it takes within reason; the same bytes every time. `running`: a status
    that is no doubt but an answer, though one that may change.

    Raises PaymentOutcomeUnknown.
    """
    header, body = visit.voucher(held), _body(visit, held, commit)
    hurry_s = None if within_s is None else max(within_s, LEAST_WAIT_S)
    ask = Ask((header, _JSON), body, paid=True, verb="POST", url=commit.url, within_s=hurry_s)
    until_s = None if within_s is None else (yield from now()) + within_s
    tries_left = MAX_POSTS
    while True:
        tries_left -= 1
        try:
            status, told, pause_s = yield from _once(visit, commit, ask)
            if not _in_doubt(status):
                return status, told
            unknown = _unknown(visit, commit, f"HTTP {status}")
        except PaymentOutcomeUnknown as error:
            unknown, status, told, pause_s = error, 0, b"", None
        wait_s = PAUSE_S if pause_s is None else min(pause_s, MAX_PAUSE_S)
        ended = not tries_left if until_s is None else (yield from now()) + wait_s > until_s
        if status == running and ended:
            return status, told
        if ended or isinstance(unknown.__cause__, Cancelled):
            raise unknown
        try:
            yield from sleep(wait_s)
        except Cancelled as error:  # F29
            raise _unknown(visit, commit, "its next try was cancelled") from error


def _once(visit: Visit, commit: Commit, ask: Ask) -> Flow[tuple[int, bytes, float | None]]:
    """The answer, and how long it wants to be left alone. Raises PaymentOutcomeUnknown."""
    try:
        answer: Answer = yield from send(ask)
        failpoint("client.committed")
        pause_s = pause_after(answer.status, answer.fields("retry-after"), (yield from now()))
        told: bytes = yield from call(answer.read, MAX_PROBLEM_BYTES)
    except (Exception, Cancelled) as error:  # broad on purpose: whatever stopped us, the voucher has left. F03 F29
        raise _unknown(visit, commit, f"no answer came ({type(error).__name__})") from error
    return answer.status, told, pause_s


def _in_doubt(status: int) -> bool:
    return status >= 500 or status in _BUSY


def _body(visit: Visit, held: Held, commit: Commit) -> bytes:
    """What a credential would say of the voucher, and the delivery that it is for."""
    payload = visit.payer.payload(held, Act.VOUCHER, commit.total_units, held.voucher)
    told = {name: value for name, value in payload.items() if name != "action"}
    return canonical({**told, "deliveryId": commit.delivery_id})


def _read(body: bytes, held: Held, commit: Commit) -> CommitReceipt:
    """Raises MalformedHeader, UsageError: a receipt of another channel or delivery, or one that can't be true. T24"""
    told: Mapping[str, Any] = parse_object(body)
    receipt = read_commit_receipt(told)
    if receipt.channel_id != held.channel_id:  # T24
        raise UsageError("sessionId is another channel")
    if receipt.delivery_id != commit.delivery_id:  # T24
        raise UsageError("deliveryId is another delivery")
    return receipt


def _acknowledged(visit: Visit, held: Held, commit: Commit, receipt: CommitReceipt) -> Flow[Held]:
    """The watermark: as far as the server's word goes, and never above what we signed. T24"""
    accepted = min(receipt.cumulative_units, commit.total_units)  # T24
    spent = min(held.spent_units + min(receipt.amount_units, commit.amount_units), accepted)
    word = Word(accepted, spent, used_at_s=(yield from now()), pending=SETTLED)
    noted = yield from wait(visit.book.note(held.key, word))
    visit.purse.observe(Metered(visit.origin, noted.channel_id, noted.asset, noted.spent_units, None))
    return noted


def _unknown(visit: Visit, commit: Commit, why: str) -> PaymentOutcomeUnknown:
    return PaymentOutcomeUnknown(
        f"a voucher for delivery {commit.delivery_id} was posted to {visit.origin}, and whether it counts is not "
        f"known: {why}. It is on record; the next payment from this channel posts it again first.",
        reference=commit.delivery_id,
    )


def resume(visit: Visit, held: Held, commit: Commit) -> Flow[Held]:
    """Bring a pending commit to its end: post it again, signed first where we died before that, unless it can't count
    any more.

    Raises PaymentOutcomeUnknown. A refusal ends it: what was signed stays signed, and is used up by what comes next.
    """
    visit.purse.desk.debts.drop(held.key, commit.delivery_id)  # F14
    late = held.dead_after_s is not None and (yield from now()) > held.dead_after_s
    signed = held.signed_units == commit.total_units
    meant = held.signed_units == commit.before_units and commit.total_units <= held.deposit_units  # F01
    if late or not (signed or meant):
        return (yield from wait(visit.book.note(held.key, Word(pending=SETTLED))))
    if origin_of(commit.url) != visit.origin:  # T37: it waits for its own site to be asked again
        return held
    try:
        if not signed:
            held = yield from _signed(visit, held, commit)
        return (yield from post(visit, held, commit))
    except (PaymentRefused, PolicyRefused):
        current = yield from wait(visit.book.get(held.key))
        return held if current is None else current

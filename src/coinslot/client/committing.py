"""Commits: a delivery that came is paid by a voucher that is posted, and paid once, whatever becomes of the answer.

    note what is meant -> sign and write down (visit.py) -> post -> an acknowledgement moves the watermark

What is noted stands in the book as a channel's pending move, so that the same commit goes out again, byte for byte,
before the channel pays anything else: vouchers are read from the book, and their signatures are deterministic. F01 F03
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from coinslot.client.events import Metered
from coinslot.client.outcome import pause_after, refusal
from coinslot.client.presenting import MAX_PROBLEM_BYTES, Answer, Ask
from coinslot.client.text import origin_of
from coinslot.client.visit import Visit
from coinslot.core.canonical import canonical, parse_object
from coinslot.drive import Cancelled, Flow, call, failpoint, now, send, sleep, wait
from coinslot.errors import MalformedHeader, PaymentOutcomeUnknown, PaymentRefused, UsageError
from coinslot.intents.acts import Act, Held
from coinslot.intents.deliveries import CommitReceipt, read_commit_receipt
from coinslot.store.book import SETTLED, Word

# How often one commit is posted at once: a connection that broke, and a server that is busy for a moment.
MAX_POSTS = 3
PAUSE_S = 0.2
# And the longest that a busy server is waited for between two of them.
MAX_PAUSE_S = 10.0
# How long a commit whose end is not known stands in the way of the next payment, if its directive says nothing shorter.
MAX_PENDING_S = 3600.0
# Not here any more, or not yet: answers to a credential that are no refusal of it.
_BUSY = frozenset({408, 409, 425, 429})
_JSON = ("Content-Type", "application/json")


@dataclass(frozen=True, slots=True)
class Commit:
    """What is to be paid: `total_units` is the voucher's, `amount_units` what it adds for this delivery."""

    url: str
    delivery_id: str
    amount_units: int
    total_units: int

    def encode(self) -> bytes:
        """As the book keeps it."""
        kept = {"commit": self.url, "id": self.delivery_id, "amount": self.amount_units, "total": self.total_units}
        return msgspec.json.encode(kept)


class _Kept(msgspec.Struct, frozen=True):
    commit: str
    id: str
    amount: int
    total: int


def commit_of(opening: bytes) -> Commit | None:
    """The commit that a channel's pending move is; None for a move of its deposit, or for none."""
    try:
        kept = msgspec.json.decode(opening, type=_Kept)
    except msgspec.DecodeError:
        return None
    return Commit(kept.commit, kept.id, kept.amount, kept.total)


def post(visit: Visit, held: Held, commit: Commit) -> Flow[Held]:
    """Post a commit whose voucher is in the book, and write down what is acknowledged.

    Raises PaymentRefused: it will never be taken. PaymentOutcomeUnknown: it is on record, and goes out again first.
    """
    status, body = yield from _posted(visit, held, commit)
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


def _posted(visit: Visit, held: Held, commit: Commit) -> Flow[tuple[int, bytes]]:
    """The final answer, after as many tries as it takes within reason; the same bytes every time.

    Raises PaymentOutcomeUnknown.
    """
    ask = Ask((visit.voucher(held), _JSON), _body(visit, held, commit), paid=True, verb="POST", url=commit.url)
    for tries_left in reversed(range(MAX_POSTS)):
        try:
            return (yield from _once(visit, commit, ask))
        except PaymentOutcomeUnknown as error:
            if not tries_left or isinstance(error.__cause__, Cancelled):
                raise
        yield from sleep(PAUSE_S)
    raise AssertionError("the last try returns or raises")


def _once(visit: Visit, commit: Commit, ask: Ask) -> Flow[tuple[int, bytes]]:
    """Raises PaymentOutcomeUnknown."""
    try:
        answer: Answer = yield from send(ask)
        failpoint("client.committed")
        pause_s = pause_after(answer.status, answer.fields("retry-after"), (yield from now()))
        told: bytes = yield from call(answer.read, MAX_PROBLEM_BYTES)
        if pause_s is not None:
            yield from sleep(min(pause_s, MAX_PAUSE_S))
    except (Exception, Cancelled) as error:  # broad on purpose: whatever stopped us, the voucher has left. F03 F29
        raise _unknown(visit, commit, f"no answer came ({type(error).__name__})") from error
    if _in_doubt(answer.status):
        raise _unknown(visit, commit, f"HTTP {answer.status}")
    return answer.status, told


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
    """Bring a pending commit to its end: post it again, unless it was never signed, or can't count any more.

    Raises PaymentOutcomeUnknown. A refusal ends it: what was signed stays signed, and is used up by what comes next.
    """
    late = held.dead_after_s is not None and (yield from now()) > held.dead_after_s
    signed = held.signed_units == commit.total_units  # F01: else we died before
    if late or not signed:
        return (yield from wait(visit.book.note(held.key, Word(pending=SETTLED))))
    if origin_of(commit.url) != visit.origin:  # T37: it waits for its own site to be asked again
        return held
    try:
        return (yield from post(visit, held, commit))
    except PaymentRefused:
        current = yield from wait(visit.book.get(held.key))
        return held if current is None else current

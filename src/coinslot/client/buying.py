"""Buy one request from a channel, with two vouchers at most (T46).

    our turn -> a channel -> enough deposit -> sign and write down -> present -> what the server says:

    2xx                      bought; its receipt is noted, up to what we signed
    2xx, nothing bought      an equal voucher was known there: once more with a higher one
    402, deposit used up     of a channel whose payee signs: more deposit, and the same proof once more (using.py)
    402, fresh challenge     the terms are as before, or nothing more happens: once more, with the higher voucher that
                             this request's price allows, or the same one where only the challenge was too old
    410, or no known reason  the chain says whether the channel is gone; then once more with another one
    anything else            as for a charge: returned with a note, or "outcome unknown"

All attempts of one request carry one Idempotency-Key, so that a server that did deliver delivers the same again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from coinslot.client import channels, owing
from coinslot.client.choose import judged
from coinslot.client.events import Declined
from coinslot.client.journey import Journey, Resume
from coinslot.client.managing import STALE, Said, balance_in, refresh, said_of, say
from coinslot.client.pieces import Pieces, block_of
from coinslot.client.presenting import (
    MAX_PROBLEM_BYTES,
    PAYMENT_REQUIRED,
    Answer,
    Errand,
    conclude,
    lost,
    offers,
    persist,
    refused,
)
from coinslot.client.purse import Purse, Quote
from coinslot.client.streaming import Tap
from coinslot.client.terms import as_charge, metered_unit
from coinslot.client.text import plain
from coinslot.client.using import ready_to_use, refilled
from coinslot.client.visit import Visit, note, sign, turn
from coinslot.client.watermark import Agreed, Purchase, Streams
from coinslot.core.challenge import Challenge
from coinslot.core.problem import problem_members
from coinslot.drive import Cancelled, Flow, call, failpoint, random_bytes, wait
from coinslot.errors import ChainError, NoPayableOffer, PaymentOutcomeUnknown, PolicyRefused, UsageError
from coinslot.intents.acts import Balance, Held, Standing
from coinslot.method import SessionPayer
from coinslot.money import parse_units
from coinslot.store.book import Word

# Vouchers that one request may sign. T46
MAX_SIGNED = 2
# Credentials that one request may present: those, one more each for a challenge too old and for a channel that is gone.
MAX_PRESENTED = 4
KEY_HEADER = "Idempotency-Key"
GONE = 410
# No answer is longer than a number of these digits says.
MAX_LENGTH_DIGITS = 18
NO_CONTENT = 204
# Problems that a higher voucher, as far as the price allows one, may mend.
SHORT = frozenset(
    {
        "session/insufficient-balance",
        "insufficient-balance",
        "session/delta-too-small",
        "delta-too-small",
        "stale-voucher",
        "payment-insufficient",
        "payment-required",
    }
)


@dataclass(frozen=True)
class Changed:
    """The server asks for something else now than the challenge that was remembered: decide anew."""

    challenges: tuple[Challenge, ...]


@dataclass
class _Attempts:
    """One logical request, while it has its turn."""

    visit: Visit
    body: bytes
    key: tuple[str, str]
    held: Held
    purchase: Purchase
    signed: int = 0
    presented: int = 0
    moved: bool = False
    may_refill: bool = True

    @property
    def may_sign(self) -> bool:
        return self.signed < MAX_SIGNED

    def on(self, held: Held) -> None:
        """Go on with another record: of this channel, or of another one."""
        if held.key != self.held.key or held.signed_units > self.held.signed_units:
            self.purchase = self.visit.purchase(held)
        self.held = held


def buy(
    visit: Visit, errand: Errand, body: bytes, journey: Journey, fields: dict[str, str], *, remembered: bool
) -> Flow[Answer | Changed]:
    """The answer to a request, bought from a channel. `remembered`: the challenge is not from an answer to it.

    Raises what channels.ready raises, PaymentRefused, PaymentOutcomeUnknown.
    """
    visit.remembered = remembered
    lease = yield from turn(visit.book, visit.scope)
    try:
        held = yield from channels.ready(visit, fields)
        visit.purse.tally.begin(held, visit.terms.asset)
        held = yield from owing.settled(visit, held)
        given = errand.fields(KEY_HEADER)
        key = (KEY_HEADER, given[0] if given else f'"{(yield from random_bytes(16)).hex()}"')
        ready = yield from ready_to_use(visit, held)
        refilled_now = ready.deposit_units > held.deposit_units
        attempts = _Attempts(visit, body, key, ready, visit.purchase(ready), may_refill=not refilled_now)
        return (yield from _until_bought(attempts, errand, journey, remembered=remembered))
    finally:
        lease.release()


def _until_bought(attempts: _Attempts, errand: Errand, journey: Journey, *, remembered: bool) -> Flow[Answer | Changed]:
    visit, total = attempts.visit, attempts.purchase.first_units
    while True:
        if total > attempts.held.signed_units:
            attempts.held = yield from channels.covered(visit, attempts.held, total)
            attempts.held = yield from sign(visit, attempts.held, total)
            attempts.signed += 1
        resume = _resume(attempts, errand)
        journey.resume = resume  # from here on, losing an answer is losing what was signed for. F03
        answer = yield from _present(attempts, resume)
        attempts.presented += 1
        credential = resume.header[1]
        if 200 <= answer.status < 300:
            said = balance_in(visit.payer, answer)
            attempts.held = yield from note(visit, attempts.held, said)
            nothing = attempts.purchase.signs and _nothing_bought(answer, said, attempts.held)
            if not nothing or not attempts.may_sign:
                return _bought(attempts, answer, said, journey, resume)
            yield from said_of(visit, answer, credential, attempts.held)
            # an old backup met its equal. F05
            attempts.purchase = visit.purchase(attempts.held)
            total = attempts.purchase.first_units
            continue
        challenged = answer.status == PAYMENT_REQUIRED and bool(offers(answer)[0])
        if not challenged and answer.status != GONE:
            attempts.held = yield from note(visit, attempts.held, balance_in(visit.payer, answer))
            return conclude(answer, visit.purse, journey, resume)
        problem: bytes = yield from call(answer.read, MAX_PROBLEM_BYTES)
        verdict = say(visit, answer, credential, attempts.held, problem)
        ended = attempts.presented >= MAX_PRESENTED  # T46
        next_total = None if ended else (yield from _next(attempts, verdict, problem))
        if next_total is None and remembered and attempts.presented == 1 and verdict.challenges and not verdict.fresh:
            journey.resume = None  # refused in full: the decision is made anew, from what was signed before
            return Changed(verdict.challenges)
        if next_total is None:
            journey.finished = True
            raise refused(visit.purse, resume, answer.status, problem, doubt=False, hint=_hint(attempts, problem))
        total = next_total


def _resume(attempts: _Attempts, errand: Errand) -> Resume:
    visit, purchase = attempts.visit, attempts.purchase
    start = purchase.basis_units if purchase.opened else purchase.signed_units
    return Resume(
        visit.origin,
        errand.method,
        visit.price,
        attempts.held.channel_id,
        errand.url,
        hashlib.sha256(attempts.body).digest(),
        visit.voucher(attempts.held),
        visit.payer.method,
        (attempts.key,),
        attempts.held.key,
        visit.challenge,
        Agreed(start, attempts.held.signed_units - start),
    )


def _present(attempts: _Attempts, resume: Resume) -> Flow[Answer]:
    purse = attempts.visit.purse
    try:
        answer, _ = yield from persist(purse, resume, attempts.body, again=False)
        failpoint("client.sent")
    except PaymentOutcomeUnknown:
        raise
    except (Exception, Cancelled) as error:  # broad on purpose: whatever stopped us, the voucher has left. F03 F29
        raise lost(purse, resume, error) from error
    return answer


def _nothing_bought(answer: Answer, said: Balance | None, held: Held) -> bool:
    """Whether a success says that our voucher was known there and bought nothing. T02"""
    if said is None or said.units != 0 or answer.fields("idempotent-replayed"):
        return False
    empty = answer.status == NO_CONTENT or answer.fields("content-length")[:1] == ["0"]
    return empty and said.channel_id == held.channel_id and (said.accepted_units or 0) >= held.signed_units


def _bought(attempts: _Attempts, answer: Answer, said: Balance | None, journey: Journey, resume: Resume) -> Answer:
    visit = attempts.visit
    if answer.fields("payment-receipt"):  # what gives none may be free by now
        visit.purse.desk.remember(visit.verb, visit.url, visit.challenge, visit.expires_at_s)
    concluded = conclude(answer, visit.purse, journey, resume)
    assert resume.agreed is not None  # noqa: S101 - as _resume made it
    _watch(visit, attempts.held, answer, resume.agreed, said, again=False)
    return concluded


def _watch(visit: Visit, held: Held, answer: Answer, agreed: Agreed, said: Balance | None, *, again: bool) -> None:
    """Let what is paid while it comes flow through its tap. `again`: it was agreed to before, and its answer lost."""
    kind = (answer.fields("content-type") or [""])[0].partition(";")[0].strip().lower()
    coded = (answer.fields("content-encoding") or ["identity"])[0].strip().lower() != "identity"
    block = block_of(visit.terms.unit_type)
    if kind == "text/event-stream" and not coded:
        answer.watch(Tap(visit, held, _streams(visit, held, agreed, said, again=again), agreed))
    elif block is not None:
        told = (answer.fields("content-length") or [""])[0]
        length = int(told) if told.isascii() and told.isdigit() and len(told) <= MAX_LENGTH_DIGITS else None
        streams = _streams(visit, held, agreed, said, again=again)
        answer.watch(Pieces(visit, held, streams, agreed, block=block, length=length))


def _streams(visit: Visit, held: Held, agreed: Agreed, said: Balance | None, *, again: bool) -> Streams:
    """What the stream that begins now belongs to: those that run on the same channel."""
    streams = visit.purse.desk.streams.get(held.key)
    if streams is None or not streams.running:
        # What the server admits was not used before counts for this stream; more than was signed it can't claim. T24
        start = agreed.start_units(held.signed_units)
        basis = min(start, held.spent_units) if said else start
        streams = visit.purse.desk.streams[held.key] = Streams(basis, held.signed_units)
        streams.asked_units = agreed.asked_units
    elif again:
        streams.beside(held.signed_units)
        streams.again(agreed)
    else:
        streams.beside(held.signed_units, visit.terms.amount_units)
    return streams


def _missing(problem: bytes) -> int:
    """What a server says is missing, in base units; 0 where it doesn't, or not readably."""
    try:
        return parse_units(problem_members(problem).get("requiredTopUp"))
    except UsageError:
        return 0


def _hint(attempts: _Attempts, problem: bytes) -> str:
    """What to do where a server wants more set aside than the policy allows; empty where that was not the reason."""
    visit, purchase, missing = attempts.visit, attempts.purchase, _missing(problem)
    metered = purchase.signs and metered_unit(visit.terms) is not None
    if not metered or not purchase.excessive(attempts.held.signed_units, missing):
        return ""
    shown = visit.terms.asset.text
    return (
        f" It wants {shown(missing)} more authorized before it answers, and {shown(visit.aside_units)} may be: raise "
        "max_per_request or max_window to allow it."
    )


def _next(attempts: _Attempts, said: Said, problem: bytes) -> Flow[int | None]:
    """The total to present next, or None: no more. Raises what can't be true, or can't be known."""
    visit = attempts.visit
    if said.status == GONE:
        return (yield from _elsewhere(attempts))
    if said.fresh is None:  # other terms: T46 T47
        return None
    refresh(visit, said.fresh)
    known, acknowledged = attempts.held.signed_units, attempts.held.acknowledged_units
    found = yield from channels.believed(visit, said.fields, attempts.held)
    if found is not None and found.standing is Standing.OPEN:
        attempts.on(found)  # an old backup catches up. F05
    if attempts.held.signed_units > known:
        return attempts.purchase.first_units if attempts.may_sign else None
    if said.problem in STALE:
        return attempts.held.signed_units
    missing = _missing(problem)
    if said.problem is not None and said.problem not in SHORT and not missing:
        equal = acknowledged < known <= attempts.held.acknowledged_units  # an old backup met its equal. F05
        total = None if equal else (yield from _caught_up(attempts))
        total = (yield from _elsewhere(attempts)) if total is None else total
        if total is None and equal and attempts.may_sign:  # F05
            attempts.purchase = visit.purchase(attempts.held)
            return attempts.purchase.first_units
        return total
    if missing and not attempts.purchase.signs:
        return (yield from _refilled(attempts, missing))
    if (said.problem or "").endswith("delta-too-small"):  # a server's least step may be more than ours
        attempts.purchase = replace(attempts.purchase, opened=False)
    if not attempts.may_sign:
        return None
    total = attempts.purchase.next_units(attempts.held.signed_units, missing)
    if total is not None and total > attempts.purchase.most_units:
        yield from _approve(visit, total - attempts.held.signed_units)
    return total


def _approve(visit: Visit, aside_units: int) -> Flow[None]:
    """Ask, where somebody is to be asked: what was approved was the price of a unit. Raises PolicyRefused. T24"""
    approve = visit.purse.policy.approve
    terms, words = as_charge(visit.terms, aside_units), plain(visit.challenge.description or "")
    quote = Quote(visit.origin, visit.verb, terms, visit.expires_at_s, words)
    if approve is not None and not (yield from call(approve, quote)):  # T24
        raise PolicyRefused("what was to be set aside was not approved. Nothing more was signed.")


def _refilled(attempts: _Attempts, missing: int) -> Flow[int | None]:
    """What its payee signs for is used up: more deposit, once for a request. T46"""
    if not attempts.may_refill:
        return None
    attempts.may_refill = False
    attempts.on((yield from refilled(attempts.visit, attempts.held, missing)))
    return attempts.purchase.first_units


def _caught_up(attempts: _Attempts) -> Flow[int | None]:
    """Refused for no reason that a price mends: perhaps an old backup is behind, which some servers tell nobody who
    has not proven who they are. Asked once. F05
    """
    known = attempts.held
    for found in (yield from channels.introduced(attempts.visit)):
        if found.key == known.key and found.signed_units > known.signed_units:
            attempts.on(found)
            return attempts.purchase.first_units if attempts.may_sign else None
    return None


def _elsewhere(attempts: _Attempts) -> Flow[int | None]:
    """The server says that the channel is gone, or not why it takes no voucher of it. Where the chain shows it gone,
    another one buys this request, once.
    """
    visit = attempts.visit
    try:
        held = yield from channels.look_again(visit, attempts.held)
    except ChainError:
        return None  # nobody knows: the channel stays on record
    if held.standing is Standing.OPEN or attempts.moved:
        return None
    attempts.moved = True
    attempts.on((yield from channels.ready(visit, {})))
    visit.purse.tally.begin(attempts.held, visit.terms.asset)
    return attempts.purchase.first_units if attempts.may_sign else None


def resumed(purse: Purse, errand: Errand, resume: Resume, answer: Answer) -> Flow[None]:
    """After a voucher was presented again: write down what a receipt says, and pay a stream as it would have been."""
    held = None if resume.channel is None else (yield from wait(purse.desk.book.get(resume.channel)))
    if held is None or held.standing is not Standing.OPEN:
        return
    for payer in (yield from purse.wallet.session_payers()):
        if (payer.method, payer.account) != (resume.payment_method, held.payer):
            continue
        visit = _visit_again(purse, payer, errand, resume)
        if visit is not None:
            purse.tally.begin(held, visit.terms.asset)
        said = balance_in(payer, answer)
        if said is not None and said.channel_id == held.channel_id:
            held = yield from wait(purse.desk.book.note(held.key, Word(said.accepted_units, said.spent_units)))
        if 200 <= answer.status < 300 and visit is not None and resume.agreed is not None:
            _watch(visit, held, answer, resume.agreed, said, again=True)
        return


def _visit_again(purse: Purse, payer: SessionPayer, errand: Errand, resume: Resume) -> Visit | None:
    """What a stream that comes again is paid under: what was agreed, as far as this policy agrees; else None, and
    nothing more is signed for it.
    """
    if resume.challenge is None:
        return None
    try:
        choice = judged(resume.challenge, payer, purse.policy, resume.origin, 0.0)
    except (NoPayableOffer, PolicyRefused) as error:
        purse.observe(Declined(resume.origin, plain(str(error))))
        return None
    assert choice.session is not None  # noqa: S101 - for the type checker
    visit = Visit(purse, payer, resume.origin, errand.method, errand.url, resume.challenge, choice.session, 0.0)
    refresh(visit, resume.challenge)
    return visit

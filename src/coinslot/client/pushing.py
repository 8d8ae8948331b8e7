"""Charges that the payer sends itself: on its record before they are sent, and never paid twice.

Between sending and the server's answer everything may be lost but what was written down. So the signed transaction and
the credential are in the book before anything leaves (F01 F02), and stay there until the server's last word on them.
Whoever asks for the very same before that, in whatever process, goes on with that payment instead of making another
(F03 F14), unless somebody living is doing so: a record's owner holds its lock, which ends with the process (F25).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from coinslot.client.choose import Choice
from coinslot.client.events import Declined, Resumed, Unknown
from coinslot.client.journey import Journey, Resume
from coinslot.client.presenting import Answer, Errand, conclude, lost, present, second
from coinslot.client.purse import Purse
from coinslot.client.text import origin_of, plain
from coinslot.core.challenge import Challenge
from coinslot.core.credential import decode_credential
from coinslot.drive import Cancelled, Flow, call, failpoint, now, random_bytes, wait
from coinslot.errors import (
    ConfigError,
    MalformedCredential,
    NoPayableOffer,
    PaymentOutcomeUnknown,
    PaymentRefused,
    StoreError,
)
from coinslot.intents.charge import Terms
from coinslot.method import ChargePayer, Sending, pays_charges
from coinslot.money import Asset
from coinslot.store.book import Lease, PushedCharge

# What no two charges of one book share.
ID_BYTES = 16
# "Already delivered": the one answer besides success and refusal after which a payment buys nothing more.
CONFLICT = 409
# The caller's own word on what is one purchase, whom it is for (T49), and how much of it. Not cookies: servers change
# those with each answer, and nothing would be gone on with.
_SAME = ("idempotency-key", "authorization", "x-api-key", "range")
_SPENT = "It was sent by this wallet itself, so it is spent; asking once more pays anew."


@dataclass(frozen=True, slots=True)
class _Owned:
    """A charge on record that this task speaks for."""

    charge: PushedCharge
    lease: Lease


def request_of(errand: Errand, body: bytes) -> str:
    """What makes two requests the same purchase: HTTP method, URL, body, and the headers of _SAME.

    A login with parameters (Digest, signatures) is made anew for each request, and tells nothing.
    """
    said = [f"{name}: {value}" for name in _SAME for value in errand.fields(name)]
    said = [one for one in said if not (one.startswith("authorization") and "," in one)]
    parts = [errand.method, errand.url, hashlib.sha256(body).hexdigest(), *said]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _place(errand: Errand, origin: str) -> str:
    """The request for people: that there is a query, but not what it says, which may be a secret. T38"""
    parts = urlsplit(errand.url)
    return f"{errand.method} {origin}{parts.path or '/'}{'?...' if parts.query else ''}"


# --- a new one -----------------------------------------------------------------------------------


def push(
    errand: Errand, purse: Purse, journey: Journey, payer: ChargePayer, sending: Sending, resume: Resume, body: bytes
) -> Flow[Answer]:
    """Write a signed charge down, send it, and present it.

    Raises NoPayableOffer where nothing moved, PaymentRefused, PaymentOutcomeUnknown, StoreError (nothing was sent).
    """
    asset, book = resume.terms.asset, purse.desk.book
    charge = PushedCharge(
        (yield from random_bytes(ID_BYTES)).hex(),
        request_of(errand, body),
        resume.origin,
        resume.payment_method,
        payer.source(),
        asset.key,
        resume.terms.amount_units,
        resume.header,
        sending.raw,
        sending.valid_until,
        resume.reference,
        (yield from now()),
        _place(errand, resume.origin),
    )
    lease = yield from call(book.try_lock, charge)
    owned = _Owned(charge, lease)
    try:
        yield from wait(book.begin_charge(charge))  # F01 F02
    except StoreError:
        yield from _end(purse, charge.id)  # F01: should it be written all the same, it was never sent
        lease.release()
        raise
    except BaseException:
        lease.release()
        raise
    failpoint("client.charge_recorded")
    try:
        return (yield from _through(purse, journey, payer, owned, replace(resume, charge=charge.id), body, again=False))
    except NoPayableOffer as error:
        purse.observe(Declined(resume.origin, plain(str(error))))
        raise


def _through(
    purse: Purse, journey: Journey, payer: ChargePayer, owned: _Owned, resume: Resume, body: bytes, *, again: bool
) -> Flow[Answer]:
    """Send and present what is on record. Raises NoPayableOffer where it never moved: then it is off the record."""
    kept = False
    try:
        yield from _send(purse, payer, owned.charge, resume, again=again)
        failpoint("client.charge_sent")
        journey.resume = resume  # from here on this request never pays again. F14
        answer = yield from _present(purse, journey, resume, body, doubt=again)
        failpoint("client.charge_presented")
        kept = _received(answer, purse, resume, owned.lease)
        return answer
    finally:
        if not kept:
            owned.lease.release()


def _send(purse: Purse, payer: ChargePayer, charge: PushedCharge, resume: Resume, *, again: bool) -> Flow[None]:
    try:
        yield from payer.send(Sending(charge.raw, charge.valid_until), again=again)
    except NoPayableOffer:
        yield from _end(purse, charge.id)
        raise
    except PaymentOutcomeUnknown as error:
        purse.observe(Unknown(resume.origin, resume.terms, resume.reference, plain(str(error))))
        raise
    except (Exception, Cancelled) as error:  # broad on purpose: whatever stopped us, it may have left. F03 F29
        purse.observe(Unknown(resume.origin, resume.terms, resume.reference, type(error).__name__))
        raise PaymentOutcomeUnknown(
            f"the payment {resume.reference} may have been sent, and its end is not known ({type(error).__name__}). "
            "It is on record: asking for the same goes on with it.",
            reference=resume.reference,
        ) from error


# --- one that was left ---------------------------------------------------------------------------


def may_be_left(purse: Purse, choice: Choice, challenges: Sequence[Challenge]) -> Flow[bool]:
    """Whether this wallet sends the charge of one of these offers itself: then the same may have been paid so before,
    though another offer is the best by now.
    """
    if pays_charges(choice.payer) and choice.payer.pushes(choice.terms):
        return True
    if purse.desk.open_book is None:  # nothing was ever written down
        return False
    payers = yield from purse.wallet.payers()
    return any(_would_send(payer, one) for payer in payers for one in challenges)  # F14


def _would_send(payer: ChargePayer, challenge: Challenge) -> bool:
    if (payer.method, payer.intent) != (challenge.method, challenge.intent):
        return False
    try:
        return payer.pushes(payer.terms(challenge))
    except NoPayableOffer:
        return False


def go_on(errand: Errand, purse: Purse, journey: Journey, body: bytes) -> Flow[Answer | None]:
    """The answer to a request that was paid for before, by a payment whose end nobody saw; None: there is none.

    No limit is drawn on and nobody is asked: that was done when it was signed. Raises as `push` does.
    """
    payers = yield from purse.wallet.payers()
    dead: set[str] = set()
    while (found := (yield from _left(purse, payers, request_of(errand, body), dead))) is not None:
        payer, owned = found
        charge = owned.charge
        resume = Resume(
            origin_of(errand.url),
            errand.method,
            _terms(payer, charge),
            charge.reference,
            errand.url,
            hashlib.sha256(body).digest(),
            charge.header,
            charge.method,
            charge=charge.id,
        )
        purse.observe(Resumed(resume.origin, resume.terms, charge.reference, charge.made_at_s))
        with suppress(NoPayableOffer):  # it never moved, and never will
            return (yield from _through(purse, journey, payer, owned, resume, body, again=True))
        dead.add(charge.id)
    return None


def _left(
    purse: Purse, payers: Sequence[ChargePayer], request: str, dead: Collection[str]
) -> Flow[tuple[ChargePayer, _Owned] | None]:
    """The oldest charge of ours for a request that nobody living speaks for; now we do. F25"""
    book = purse.desk.book
    for charge in (yield from wait(book.find_charges(request))):
        mine = (one for one in payers if (one.method, one.source()) == (charge.method, charge.payer))  # T49
        payer = next(mine, None)
        if payer is None or charge.id in dead:
            continue
        lease = yield from call(book.try_lock, charge)
        if lease is None:
            continue
        try:
            still = yield from wait(book.find_charges(request))
        except BaseException:
            lease.release()
            raise
        if any(one.id == charge.id for one in still):  # its owner may have ended it since
            return payer, _Owned(charge, lease)
        try:
            yield from _end(purse, charge.id)  # F28: the lock's file, which is ours by now
        finally:
            lease.release()
    return None


def _terms(payer: ChargePayer, charge: PushedCharge) -> Terms:
    """What was paid, to show."""
    try:
        return payer.terms(decode_credential(charge.header[1].partition(" ")[2]).challenge)
    except (NoPayableOffer, MalformedCredential):  # the wallet's settings have changed since, or the record was damaged
        network, _, name = charge.asset.rpartition("/")
        return Terms(Asset(network, name), charge.units, ())


# --- the server's last word ----------------------------------------------------------------------


def present_again(errand: Errand, purse: Purse, journey: Journey, resume: Resume, body: bytes) -> Flow[Answer]:
    """Present what was presented before, as its owner wishes. Raises PaymentRefused, PaymentOutcomeUnknown."""
    if resume.charge is None:
        return (yield from present(purse, journey, resume, body, doubt=True))
    lease = yield from _lease_of(errand, purse, resume, body)
    kept = False
    try:
        answer = yield from _present(purse, journey, resume, body, doubt=True)
        kept = _received(answer, purse, resume, lease)
        return answer
    finally:
        if lease is not None and not kept:
            lease.release()


def _lease_of(errand: Errand, purse: Purse, resume: Resume, body: bytes) -> Flow[Lease | None]:
    """The right to speak for it, where that can be had: who holds the credential needs no book to present it."""
    with suppress(StoreError, ConfigError):  # F17
        for charge in (yield from wait(purse.desk.book.find_charges(request_of(errand, body)))):
            if charge.id == resume.charge:
                lease: Lease | None = yield from call(purse.desk.book.try_lock, charge)
                return lease
    return None


def arrived(answer: Answer, purse: Purse, journey: Journey) -> Answer:
    """An answer that asks for no payment, where a redirect may have led after one."""
    if journey.resume is None:
        return answer
    conclude(answer, purse, journey, journey.resume)
    if journey.resume.charge is not None:
        _received(answer, purse, journey.resume, None)
    return answer


def asked_twice(purse: Purse, origin: str, resume: Resume) -> Flow[PaymentRefused]:
    """The error for a bill that comes after a redirect."""
    if resume.charge is not None:
        yield from _end(purse, resume.charge)
    return second(purse, origin, resume)


def _present(purse: Purse, journey: Journey, resume: Resume, body: bytes, *, doubt: bool) -> Flow[Answer]:
    """As presenting.present; what was refused for good is off the record, and told to be spent."""
    assert resume.charge is not None  # noqa: S101 - for the type checker
    try:
        answer = yield from present(purse, journey, resume, body, doubt=doubt)
    except PaymentRefused as error:
        yield from _end(purse, resume.charge)
        text = f"{error} {_SPENT}"
        raise PaymentRefused(
            text, status=error.status, reference=error.reference, problem=error.problem, detail=error.detail
        ) from None
    except PaymentOutcomeUnknown as error:
        if error.resume is not None:  # F03
            raise
        yield from _end(purse, resume.charge)
        text = f"{error} A payment for this request was made and could not be used. {_SPENT}"
        raise PaymentOutcomeUnknown(text, reference=error.reference) from error
    if answer.status == CONFLICT:
        yield from _end(purse, resume.charge)
    return answer


def _end(purse: Purse, charge_id: str) -> Flow[None]:
    """Off the record. Where that fails it is presented once more some day, and the server says again what it said."""
    with suppress(StoreError, ConfigError):  # F17
        yield from wait(purse.desk.book.end_charge(charge_id))


def _received(answer: Answer, purse: Purse, resume: Resume, lease: Lease | None) -> bool:
    """Whether this is what was paid for: then it is on record, and the lock held, until all of it was read."""
    if not 200 <= answer.status < 300:
        return False
    answer.watch(_Receiving(purse, resume, lease))
    return True


@dataclass(frozen=True, slots=True)
class _Receiving:
    """What was bought, on its way to its reader. Broken off, it stays on record: whoever asks again gets it again."""

    purse: Purse
    resume: Resume
    lease: Lease | None

    def feed(self, chunk: bytes) -> Flow[bytes]:
        """The chunk as it is."""
        yield from ()
        return chunk

    def overdue(self) -> None:
        """Nothing is kept back."""

    def end(self) -> Flow[None]:
        """All of it came. F03 Raises PaymentOutcomeUnknown where its reader is cancelled before it has it."""
        assert self.resume.charge is not None  # noqa: S101 - for the type checker
        try:
            yield from _end(self.purse, self.resume.charge)
        except Cancelled as error:  # F29
            raise lost(self.purse, self.resume, error) from error

    def lose(self) -> None:
        """It stays on record."""

    def leave(self) -> Flow[None]:
        """All was paid before it came."""
        yield from ()

    def finish(self) -> bytes:
        """Let go of it."""
        if self.lease is not None:
            self.lease.release()
        return b""

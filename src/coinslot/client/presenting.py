"""Present a credential, as often as the server says "come back", and say honestly how it ended.

Once a credential has left, there are three ends: success is returned, a refusal raised, and everything in between is
either returned with a note or raised as "outcome unknown" with what is needed to look it up and to present it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from coinslot.client.events import Paid, Paying, Presented, Refused, Unknown
from coinslot.client.journey import Journey, Resume
from coinslot.client.outcome import pause_after, read_receipt, refusal
from coinslot.client.purse import Purse
from coinslot.client.text import plain
from coinslot.core.challenge import Challenge, parse_challenges
from coinslot.drive import Cancelled, Flow, call, now, send, sleep
from coinslot.errors import MalformedHeader, PaymentError, PaymentOutcomeUnknown, PaymentRefused

PAYMENT_REQUIRED = 402
# How often one credential is presented while the server says "409 or 503, come back": every second or two, for as long
# as the pauses may last.
MAX_PRESENTATIONS = 30
# And how long all its pauses together may last, in seconds: about as long as a person waits.
MAX_WAIT_S = 60.0
# What is read of an answer that nobody else will see: problem details are a few hundred bytes.
MAX_PROBLEM_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Ask:
    """Send the caller's request with these headers in place of its own of the same name.

    `body` None: as the caller gave it, else exactly these bytes. `paid`: a credential is on board; be patient. `verb`:
    not the request itself but one about its channel, by this HTTP method, without the caller's body; it goes to the
    same URL, or to `url` on the same origin. `within_s`: nothing of it is waited for longer, whatever the caller's
    timeouts are.
    """

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes | None = field(default=None, repr=False)
    paid: bool = False
    verb: str | None = None
    url: str | None = None
    within_s: float | None = None


class Tapped(Protocol):
    """Something that a body flows through on its way to its reader."""

    def feed(self, chunk: bytes) -> Flow[bytes]:
        """What the reader gets of a chunk. May ask for effects, and raise; where some of the chunk is paid for, not
        before the reader has it (`overdue`).
        """

    def overdue(self) -> None:
        """Raise what `feed` kept back until its bytes were read."""

    def end(self) -> Flow[None]:
        """The body came to its end, and did not break off. May ask for effects, and raise."""

    def lose(self) -> None:
        """The body broke off, by no wish of its reader: what had not come to its end is not paid. `finish` follows."""

    def finish(self) -> bytes:
        """What the reader gets at the end. Also called where the body is closed before that; a second time: nothing."""

    def leave(self) -> Flow[None]:
        """After `finish`, the connection closed: pay what came before its reader left, if that is to be paid.

        Takes some seconds at most, and raises nothing of ours: what can't be done now waits for the next request.
        """


class Answer(Protocol):
    """A response whose body has not been read."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    def fields(self, name: str) -> Sequence[str]:
        """The values of a header, one for each field line."""

    def read(self, limit: int) -> bytes | Awaitable[bytes]:
        """At most so many bytes of the body, as much as came without an error; then it is closed."""

    def attach(self, payment: Paid | Presented) -> None:
        """Let the caller find this with the response."""

    def watch(self, tap: Tapped) -> None:
        """Let the body flow through this while the caller reads it."""


class Errand(Protocol):
    """The caller's request."""

    @property
    def method(self) -> str:
        """The HTTP method."""

    @property
    def url(self) -> str:
        """The whole URL."""

    def fields(self, name: str) -> Sequence[str]:
        """The values of a header."""

    def body(self) -> bytes | Awaitable[bytes | None] | None:
        """The bytes that were or will be sent, or None if they can't be had again."""


def offers(answer: Answer) -> tuple[list[Challenge], int]:
    """The challenges of an answer, and how many can't be read."""
    try:
        challenges, bad = parse_challenges(answer.fields("www-authenticate"))
    except MalformedHeader:
        return [], 1
    return challenges, len(bad)


def present(purse: Purse, journey: Journey, resume: Resume, body: bytes, *, doubt: bool) -> Flow[Answer]:
    """Send the credential and conclude. `doubt`: it was sent before, so a refusal may mean that it had worked."""
    try:
        answer, again = yield from persist(purse, resume, body, again=doubt)
        challenged = answer.status == PAYMENT_REQUIRED and bool(offers(answer)[0])
        problem = (yield from call(answer.read, MAX_PROBLEM_BYTES)) if challenged else b""
    except PaymentOutcomeUnknown as error:
        purse.observe(Unknown(resume.origin, resume.terms, resume.reference, plain(str(error))))
        raise
    except (Exception, Cancelled) as error:  # broad on purpose: whatever stopped us, the credential has left. F03 F29
        raise lost(purse, resume, error) from error
    if not challenged:
        return conclude(answer, purse, journey, resume)
    journey.finished = True
    raise refused(purse, resume, answer.status, problem, doubt=again)


def persist(purse: Purse, resume: Resume, body: bytes, *, again: bool) -> Flow[tuple[Answer, bool]]:
    """The first final answer, and whether the credential had been presented before. The same one every time. F11"""
    waited_s = 0.0
    for _ in range(MAX_PRESENTATIONS):
        purse.observe(Paying(resume.origin, resume.terms, resume.reference, again))
        answer: Answer = yield from send(Ask((resume.header, *resume.more), body, paid=True))
        pause_s = pause_after(answer.status, answer.fields("retry-after"), (yield from now()))
        if pause_s is None:
            return answer, again
        yield from call(answer.read, MAX_PROBLEM_BYTES)
        again, waited_s = True, waited_s + pause_s
        if waited_s > MAX_WAIT_S:
            break
        yield from sleep(pause_s)
    raise unknown(resume, "the server has not finished yet")


# --- how it ended --------------------------------------------------------------------------------


def unknown(resume: Resume, why: str, *, resumable: bool = True) -> PaymentOutcomeUnknown:
    """The error for a payment that may have been taken."""
    return PaymentOutcomeUnknown(
        f"a payment was presented to {resume.origin} and its outcome is unknown: {why}. "
        f"Reference: {resume.reference or 'none'}. Don't pay again before looking it up.",
        reference=resume.reference,
        resume=resume if resumable else None,
    )


def lost(purse: Purse, resume: Resume, error: BaseException) -> PaymentOutcomeUnknown:
    """The error for an answer that did not come."""
    purse.observe(Unknown(resume.origin, resume.terms, resume.reference, type(error).__name__))
    return unknown(resume, f"no answer came ({type(error).__name__})")


def second(purse: Purse, origin: str, resume: Resume) -> PaymentRefused:
    """The error for a bill that comes after a redirect."""
    message = (
        f"{origin} asks for a second payment after a redirect; this request has paid once "
        f"(reference: {resume.reference or 'none'}) and does not pay again"
    )
    purse.observe(Refused(origin, resume.terms, resume.reference, message))
    return PaymentRefused(message, status=PAYMENT_REQUIRED, reference=resume.reference)


def refused(purse: Purse, resume: Resume, status: int, body: bytes, *, doubt: bool, hint: str = "") -> PaymentError:
    """The error for a 402 that answers our credential. Never a reason to pay again. T46 `hint`: what would help."""
    problem, detail = refusal(body, resume.header[1])
    said = ": ".join(one for one in (problem, detail) if one) or "no reason given"
    if doubt:
        purse.observe(Unknown(resume.origin, resume.terms, resume.reference, said))
        return unknown(resume, f"presented again, it was refused ({said})", resumable=False)
    purse.observe(Refused(resume.origin, resume.terms, resume.reference, said))
    return PaymentRefused(
        f"{resume.origin} refused the payment (HTTP {status}, {said}). Reference: {resume.reference or 'none'}. "
        f"Nothing more was paid.{hint}",
        status=status,
        reference=resume.reference,
        problem=problem,
        detail=detail,
    )


def conclude(answer: Answer, purse: Purse, journey: Journey, resume: Resume) -> Answer:
    """Note on a response how the payment stands. A redirect, or an error of the application, is the caller's to see."""
    event: Paid | Presented
    if 200 <= answer.status < 300:
        receipt, warning = read_receipt(answer.fields("payment-receipt"), resume.payment_method)
        # What was paid is what we signed, whatever the receipt claims. T24
        event = Paid(resume.origin, resume.terms, resume.reference, receipt, warning, resume)
        journey.finished = True
    else:
        event = Presented(resume.origin, resume.terms, resume.reference, answer.status, resume)
    answer.attach(event)
    purse.observe(event)
    return answer

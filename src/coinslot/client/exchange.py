"""One request, paid at most once: ask, read the 402, decide, pay, present, and say honestly how it ended.

After a credential has left there is no second payment for the same request, whatever the server says (T46): success is
returned, a refusal raised, and everything in between is either returned with a note or raised as "outcome unknown" with
what is needed to look it up and to present the same payment again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from coinslot.client.choose import Choice, Situation, choose, offer_name
from coinslot.client.events import (
    Declined,
    Offered,
    Paid,
    Paying,
    Presented,
    Refused,
    Unknown,
)
from coinslot.client.journey import Journey, Resume
from coinslot.client.outcome import pause_after, read_receipt, refusal
from coinslot.client.purse import Policy, Purse, Quote
from coinslot.client.text import is_private, origin_of, plain
from coinslot.core.accept import Range, format_accept, parse_accept
from coinslot.core.challenge import ALTERNATE_HEADER, Challenge, parse_challenges
from coinslot.core.credential import encode_credential
from coinslot.drive import Cancelled, Flow, call, now, send, sleep
from coinslot.errors import (
    BodyNotRepeatable,
    MalformedHeader,
    NoPayableOffer,
    PaymentError,
    PaymentOutcomeUnknown,
    PaymentRefused,
    PolicyRefused,
)

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

    `body` None: as the caller gave it, else exactly these bytes. `paid`: a credential is on board; be patient.
    """

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes | None = field(default=None, repr=False)
    paid: bool = False


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


def exchange(errand: Errand, purse: Purse, journey: Journey) -> Flow[Answer]:
    """The answer to a request, paid for if that is asked and allowed.

    Raises PolicyRefused, NoPayableOffer, BodyNotRepeatable (nothing was signed), PaymentRefused,
    PaymentOutcomeUnknown, and whatever the door's own client raises for a request that is not paid.
    """
    origin = origin_of(errand.url)
    journey.arrive(origin)
    if errand.fields(ALTERNATE_HEADER) or any(_is_ours(value) for value in errand.fields("authorization")):
        own: Answer = yield from send(Ask())  # the caller pays by hand; a request carries one credential
        return own
    if journey.due is not None:
        return (yield from _present_again(errand, purse, journey, journey.due))
    headers = () if errand.fields("accept-payment") or not purse.likes else (_accept(purse.likes),)
    answer = yield from _ask(purse, journey, headers)
    if answer.status != PAYMENT_REQUIRED:
        return answer if journey.resume is None else _conclude(answer, purse, journey, journey.resume)
    challenges, unreadable = _offers(answer)
    if not challenges:  # a 402 of the application's own, or of another scheme
        return answer if journey.resume is None else _conclude(answer, purse, journey, journey.resume)
    yield from call(answer.read, MAX_PROBLEM_BYTES)
    purse.observe(Offered(origin, tuple(offer_name(one) for one in challenges), unreadable))
    if journey.resume is not None:
        raise _second(purse, origin, journey.resume)
    try:
        choice, body = yield from _decide(errand, purse, journey, challenges)
    except PaymentError as error:
        purse.observe(Declined(origin, plain(str(error))))
        raise
    resume = yield from _pay(errand, purse, choice, body)
    journey.resume = resume  # from here on this request never pays again. F14
    return (yield from _present(purse, journey, resume, body, doubt=False))


def _ask(purse: Purse, journey: Journey, headers: tuple[tuple[str, str], ...]) -> Flow[Answer]:
    """The answer to the request without a credential. Where a paid request was redirected to, losing it loses what was
    paid for. F03
    """
    answer: Answer
    try:
        answer = yield from send(Ask(headers))
    except (Exception, Cancelled) as error:  # broad on purpose, see _present
        if journey.resume is not None:
            raise _lost(purse, journey.resume, error) from error
        raise
    return answer


# --- before anything is signed -------------------------------------------------------------------


def _is_ours(authorization: str) -> bool:
    return authorization[:8].lower() == "payment "


def _accept(likes: Sequence[Range]) -> tuple[str, str]:
    return "Accept-Payment", format_accept(likes)


def _offers(answer: Answer) -> tuple[list[Challenge], int]:
    try:
        challenges, bad = parse_challenges(answer.fields("www-authenticate"))
    except MalformedHeader:
        return [], 1
    return challenges, len(bad)


def _likes(errand: Errand, purse: Purse) -> Sequence[Range]:
    try:
        given = [one for value in errand.fields("accept-payment") for one in parse_accept(value)]
    except MalformedHeader:
        given = []
    return given or purse.likes


def _body(errand: Errand) -> Flow[bytes]:
    body: bytes | None = yield from call(errand.body)
    if body is None:
        raise BodyNotRepeatable(
            "this request must be paid for and sent again, but its body can be read once only; "
            "pass bytes instead of a stream. Nothing was signed."
        )
    return body


def _decide(
    errand: Errand, purse: Purse, journey: Journey, challenges: Sequence[Challenge]
) -> Flow[tuple[Choice, bytes]]:
    """The offer to pay and the body to send again. Nothing is signed here."""
    origin = origin_of(errand.url)
    if not is_private(origin):  # T37
        raise PolicyRefused(f"{origin} is not encrypted: anyone between could take the payment. Nothing was signed.")
    if journey.strayed:  # T37
        raise PolicyRefused(
            f"a redirect led from {journey.origin} to another site, and {origin} wants to be paid; "
            "ask it directly if you mean to. Nothing was signed."
        )
    body = yield from _body(errand)
    payers = yield from purse.wallet.payers()
    here = Situation(origin, body, (yield from now()))
    choice = choose(challenges, payers, _likes(errand, purse), purse.policy, here)
    if purse.policy.approve is not None:
        yield from _approve(errand, purse.policy, choice)
    return choice, body


def _approve(errand: Errand, policy: Policy, choice: Choice) -> Flow[None]:
    assert policy.approve is not None  # noqa: S101 - for the type checker; the caller has looked
    words = plain(choice.challenge.description or "")
    quote = Quote(origin_of(errand.url), errand.method, choice.terms, choice.expires_at_s, words)
    if not (yield from call(policy.approve, quote)):
        raise PolicyRefused("the payment was not approved. Nothing was signed.")
    if (yield from now()) >= choice.expires_at_s:  # people take their time
        raise NoPayableOffer("the offer expired while it waited for approval. Nothing was signed.")


# --- paying and presenting -----------------------------------------------------------------------


def _pay(errand: Errand, purse: Purse, choice: Choice, body: bytes) -> Flow[Resume]:
    challenge, origin = choice.challenge, origin_of(errand.url)
    try:
        presentation = yield from choice.payer.pay(challenge, choice.terms)
    except PaymentOutcomeUnknown as error:  # the method moved money itself, and lost the answer
        purse.observe(Unknown(origin, choice.terms, error.reference, plain(str(error))))
        raise
    except PaymentError as error:
        purse.observe(Declined(origin, plain(str(error))))
        raise
    value = encode_credential(challenge, presentation.payload, presentation.source)
    return Resume(
        origin,
        errand.method,
        choice.terms,
        presentation.reference,
        errand.url,
        hashlib.sha256(body).digest(),
        ("Authorization" if challenge.header is None else ALTERNATE_HEADER, value),
        challenge.method,
    )


def _present_again(errand: Errand, purse: Purse, journey: Journey, resume: Resume) -> Flow[Answer]:
    body = yield from _body(errand)
    resume.check(errand.method, errand.url, body)
    return (yield from _present(purse, journey, resume, body, doubt=True))


def _present(purse: Purse, journey: Journey, resume: Resume, body: bytes, *, doubt: bool) -> Flow[Answer]:
    """Send the credential and conclude. `doubt`: it was sent before, so a refusal may mean that it had worked."""
    try:
        answer, again = yield from _persist(purse, resume, body, again=doubt)
        challenged = answer.status == PAYMENT_REQUIRED and bool(_offers(answer)[0])
        problem = (yield from call(answer.read, MAX_PROBLEM_BYTES)) if challenged else b""
    except PaymentOutcomeUnknown as error:
        purse.observe(Unknown(resume.origin, resume.terms, resume.reference, plain(str(error))))
        raise
    except (Exception, Cancelled) as error:  # broad on purpose: whatever stopped us, the credential has left. F03 F29
        raise _lost(purse, resume, error) from error
    if not challenged:
        return _conclude(answer, purse, journey, resume)
    journey.finished = True
    raise _refused(purse, resume, answer.status, problem, doubt=again)


def _persist(purse: Purse, resume: Resume, body: bytes, *, again: bool) -> Flow[tuple[Answer, bool]]:
    """The first final answer, and whether the credential had been presented before. The same one every time. F11"""
    waited_s = 0.0
    for _ in range(MAX_PRESENTATIONS):
        purse.observe(Paying(resume.origin, resume.terms, resume.reference, again))
        answer: Answer = yield from send(Ask((resume.header,), body, paid=True))
        pause_s = pause_after(answer.status, answer.fields("retry-after"), (yield from now()))
        if pause_s is None:
            return answer, again
        yield from call(answer.read, MAX_PROBLEM_BYTES)
        again, waited_s = True, waited_s + pause_s
        if waited_s > MAX_WAIT_S:
            break
        yield from sleep(pause_s)
    raise _unknown(resume, "the server has not finished yet")


# --- how it ended --------------------------------------------------------------------------------


def _unknown(resume: Resume, why: str, *, resumable: bool = True) -> PaymentOutcomeUnknown:
    return PaymentOutcomeUnknown(
        f"a payment was presented to {resume.origin} and its outcome is unknown: {why}. "
        f"Reference: {resume.reference or 'none'}. Don't pay again before looking it up.",
        reference=resume.reference,
        resume=resume if resumable else None,
    )


def _lost(purse: Purse, resume: Resume, error: BaseException) -> PaymentOutcomeUnknown:
    purse.observe(Unknown(resume.origin, resume.terms, resume.reference, type(error).__name__))
    return _unknown(resume, f"no answer came ({type(error).__name__})")


def _second(purse: Purse, origin: str, resume: Resume) -> PaymentRefused:
    message = (
        f"{origin} asks for a second payment after a redirect; this request has paid once "
        f"(reference: {resume.reference or 'none'}) and does not pay again"
    )
    purse.observe(Refused(origin, resume.terms, resume.reference, message))
    return PaymentRefused(message, status=PAYMENT_REQUIRED, reference=resume.reference)


def _refused(purse: Purse, resume: Resume, status: int, body: bytes, *, doubt: bool) -> PaymentError:
    """The error for a 402 that answers our credential. Never a reason to pay again. T46"""
    problem, detail = refusal(body, resume.header[1])
    said = ": ".join(one for one in (problem, detail) if one) or "no reason given"
    if doubt:
        purse.observe(Unknown(resume.origin, resume.terms, resume.reference, said))
        return _unknown(resume, f"presented again, it was refused ({said})", resumable=False)
    purse.observe(Refused(resume.origin, resume.terms, resume.reference, said))
    return PaymentRefused(
        f"{resume.origin} refused the payment (HTTP {status}, {said}). Reference: {resume.reference or 'none'}. "
        "Nothing more was paid.",
        status=status,
        reference=resume.reference,
        problem=problem,
        detail=detail,
    )


def _conclude(answer: Answer, purse: Purse, journey: Journey, resume: Resume) -> Answer:
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

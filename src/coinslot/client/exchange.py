"""One request, paid at most once: ask, read the 402, decide, pay, present, and say honestly how it ended.

After a charge's credential has left there is no second payment for the same request, whatever the server says (T46).
From a channel it is bought by buying.py, with two vouchers at most.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from coinslot.client.choose import Choice, Situation, choose, offer_name
from coinslot.client.events import Declined, Offered, Unknown
from coinslot.client.journey import Journey, Resume
from coinslot.client.presenting import (
    MAX_PROBLEM_BYTES,
    PAYMENT_REQUIRED,
    Answer,
    Ask,
    Errand,
    conclude,
    lost,
    offers,
    present,
    second,
)
from coinslot.client.purse import Policy, Purse, Quote
from coinslot.client.text import is_private, origin_of, plain
from coinslot.core.accept import Range, format_accept, parse_accept
from coinslot.core.challenge import ALTERNATE_HEADER, Challenge
from coinslot.core.credential import encode_credential
from coinslot.drive import Cancelled, Flow, call, now, send
from coinslot.errors import (
    BodyNotRepeatable,
    MalformedHeader,
    NoPayableOffer,
    PaymentError,
    PaymentOutcomeUnknown,
    PolicyRefused,
)


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
        return answer if journey.resume is None else conclude(answer, purse, journey, journey.resume)
    challenges, unreadable = offers(answer)
    if not challenges:  # a 402 of the application's own, or of another scheme
        return answer if journey.resume is None else conclude(answer, purse, journey, journey.resume)
    yield from call(answer.read, MAX_PROBLEM_BYTES)
    purse.observe(Offered(origin, tuple(offer_name(one) for one in challenges), unreadable))
    if journey.resume is not None:
        raise second(purse, origin, journey.resume)
    try:
        choice, body = yield from _decide(errand, purse, journey, challenges)
    except PaymentError as error:
        purse.observe(Declined(origin, plain(str(error))))
        raise
    resume = yield from _pay(errand, purse, choice, body)
    journey.resume = resume  # from here on this request never pays again. F14
    return (yield from present(purse, journey, resume, body, doubt=False))


def _ask(purse: Purse, journey: Journey, headers: tuple[tuple[str, str], ...]) -> Flow[Answer]:
    """The answer to the request without a credential. Where a paid request was redirected to, losing it loses what was
    paid for. F03
    """
    answer: Answer
    try:
        answer = yield from send(Ask(headers))
    except (Exception, Cancelled) as error:  # broad on purpose, see present
        if journey.resume is not None:
            raise lost(purse, journey.resume, error) from error
        raise
    return answer


# --- before anything is signed -------------------------------------------------------------------


def _is_ours(authorization: str) -> bool:
    return authorization[:8].lower() == "payment "


def _accept(likes: Sequence[Range]) -> tuple[str, str]:
    return "Accept-Payment", format_accept(likes)


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
    return (yield from present(purse, journey, resume, body, doubt=True))
